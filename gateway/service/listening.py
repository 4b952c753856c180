"""Which of our addresses IKE is served at."""

import ipaddress
import socket
from collections.abc import Iterable, Mapping


class Listening:
    """The addresses named, and those that the interfaces named have at the moment; all, where nothing is named."""

    def __init__(self, wanted: tuple[str, ...] = ()) -> None:
        self.wanted = wanted
        self._named = frozenset(str(ipaddress.ip_address(one)) for one in wanted if is_address(one))
        self._devices = tuple(one for one in wanted if not is_address(one))
        self._served = self._named

    def learn(self, devices: Mapping[str, int]) -> None:
        """Take over where our addresses are now: the number of each one's interface."""
        numbers = set()
        for name in self._devices:
            try:
                numbers.add(socket.if_nametoindex(name))
            except OSError:
                continue  # it may come later: then we hear of it
        self._served = self._named | {address for address, number in devices.items() if number in numbers}

    def serves(self, local: str) -> bool:
        return not self.wanted or local in self._served

    def served(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """Those of the addresses at which peers are served."""
        return tuple(address for address in addresses if self.serves(address))

    def places(self, bound: Iterable[tuple[str, int]]) -> tuple[str, ...]:
        """Where IKE is served, in words, by sockets that are bound there: at what was named, else wherever they are."""
        if not self.wanted:
            return tuple(_place(host, port) for host, port in bound)
        ports = dict.fromkeys(port for _, port in bound)
        return tuple(_place(one, port) for one in self.wanted for port in ports)

    @property
    def sources(self) -> tuple[str, ...]:
        """From where to call where the kernel's own choice is not served; empty when all are."""
        return tuple(sorted(self._served)) if self.wanted else ()


def _place(where: str, port: int) -> str:
    return f"udp [{where}]:{port}" if ":" in where else f"udp {where}:{port}"


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
