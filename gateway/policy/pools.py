"""Address pools: what remote-access peers are given, and which addresses they hold (RFC 7296 2.19)."""

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from gateway.policy.identities import Identity
from gateway.policy.selectors import Selector, subtract

MOST_LEASES = 65_536
"""How many leases of one pool and IP version are remembered; beyond it the longest unused goes to a newcomer."""


class Reservation(NamedTuple):
    """An address of the pool that nobody but this identity gets, and always does."""

    identity: Identity
    address: str


@dataclass(frozen=True, slots=True)
class Pool:
    """Addresses for peers that ask for one, and what they are told beside it.

    `networks` and `excluded` hold networks or ranges such as `10.9.0.0/24`, `fd00:9::/64`, `10.9.0.10-10.9.0.99`. Of a
    network written with its prefix, the first address is not given out, nor IPv4's last one. `domains` are those that
    `dns` resolves (RFC 8598), all where there are none. `subnets` are the networks reached through us; empty stands for
    the local networks of the peer's children.
    """

    name: str
    networks: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    nbns: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    description: str = ""

    @property
    def selectors(self) -> tuple[Selector, ...]:
        """All that can be given out or reserved, as traffic."""
        return tuple(Selector.parse(network) for network in self.networks)

    def ranges(self, version: int) -> tuple[tuple[int, int], ...]:
        """First and last address of each stretch that can be given out, reserved ones among them; none overlap."""
        return _ranges(self.networks, self.excluded, version)

    def holds(self, version: int, address: int) -> bool:
        """Whether this address can be given out."""
        return any(first <= address <= last for first, last in self.ranges(version))

    def size(self, version: int) -> int:
        """How many addresses of that IP version can be given out."""
        return sum(last - first + 1 for first, last in self.ranges(version))


@dataclass(frozen=True, slots=True)
class Lease:
    """An address of a pool and whose it is; times are Unix seconds.

    `released` None says that it is in use. One that is not stays its last holder's as long as the pool has others.
    """

    pool: str
    address: str
    identity: Identity
    since: float
    released: float | None = None

    @property
    def version(self) -> int:
        return 6 if ":" in self.address else 4

    @property
    def selector(self) -> Selector:
        """All traffic of its holder."""
        return Selector.of_address(self.address)


@lru_cache(1024)
def _ranges(networks: tuple[str, ...], excluded: tuple[str, ...], version: int) -> tuple[tuple[int, int], ...]:
    wanted = [_assignable(text) for text in networks]
    apart: list[Selector] = []
    for one in wanted:  # what two networks have in common is there once
        apart += subtract([one], apart)
    left = subtract(apart, [Selector.parse(text) for text in excluded])
    return tuple(sorted((one.start, one.end) for one in left if one.version == version))


def _assignable(text: str) -> Selector:
    """Without the network's own address, IPv6's of any router (RFC 4291 2.6.1), and IPv4's broadcast address."""
    whole = Selector.parse(text)
    size = whole.end - whole.start + 1
    if "-" in text or size <= 2:
        return whole
    return whole._replace(start=whole.start + 1, end=whole.end - (whole.version == 4))


def address_text(version: int, value: int) -> str:
    """The address as it is written."""
    return str(ipaddress.IPv4Address(value) if version == 4 else ipaddress.IPv6Address(value))
