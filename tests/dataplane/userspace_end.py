"""One end of a hand-made tunnel: a process with a userspace data plane, told what to do by lines of JSON on its stdin.

`python -m tests.dataplane.userspace_end SETTINGS`, SETTINGS a JSON object; see `End`. It writes one JSON line for each
event and each answer. It ends with its stdin.
"""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from typing import Any

from gateway.crypto.suites import Encryption, Integrity, by_keyword
from gateway.dataplane.userspace import UserspacePlane
from gateway.ike.plane import AddPolicy, AddRoute, AddState, Direction, Encapsulation, EspState, Order, Policy, Route
from gateway.ike.plane_events import PlaneEvent
from gateway.policy.selectors import Selector

IP_PKTINFO = 8


@dataclass(slots=True)
class End:
    """What an end needs to know. `ours` and `theirs` pair selectors by position; the SPIs are our states'."""

    here: str
    there: str
    ours: list[str]
    theirs: list[str]
    spi_in: int
    spi_out: int
    encr: str = "aes256gcm16"
    integ: str = ""
    esn: bool = False
    routes: list[str] | None = None
    trap: bool = False

    def key(self, spi: int, octets: int) -> bytes:
        """The same at both ends, different for each state. Never use such keys for anything."""
        return (spi.to_bytes(4, "big") * 16)[:octets]

    def state(self, *, inbound: bool) -> EspState:
        encr, integ = by_keyword(self.encr), by_keyword(self.integ)
        assert isinstance(encr, Encryption)
        assert integ is None or isinstance(integ, Integrity)
        spi = self.spi_in if inbound else self.spi_out
        source, destination = (self.there, self.here) if inbound else (self.here, self.there)
        mac_key = self.key(spi + 1, integ.key_octets) if integ else b""
        key, encapsulation = self.key(spi, encr.key_material_octets), Encapsulation(4500, 4500)
        return EspState(
            spi, source, destination, inbound, 1, encr, key, integ, mac_key, self.esn, encapsulation=encapsulation
        )

    def states(self) -> list[Order]:
        return [AddState(self.state(inbound=True)), AddState(self.state(inbound=False))]

    def policies(self) -> list[Order]:
        orders: list[Order] = []
        for ours, theirs in zip(map(Selector.parse, self.ours), map(Selector.parse, self.theirs), strict=True):
            spi = None if self.trap else self.spi_out
            orders += [
                AddPolicy(Policy(Direction.OUT, ours, theirs, self.here, self.there, 1, spi)),
                AddPolicy(Policy(Direction.IN, theirs, ours, self.there, self.here, 1)),
            ]
        return orders

    def route_orders(self) -> list[Order]:
        sources = tuple(map(Selector.parse, self.ours))
        wanted = self.theirs if self.routes is None else self.routes
        return [AddRoute(Route(Selector.parse(text), sources, self.there)) for text in wanted]


def nat_t_socket(family: int) -> socket.socket:
    """A socket for port 4500 as the service makes it."""
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 4500))
    sock.setblocking(False)
    return sock


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - this is how it answers


def heard(event: PlaneEvent) -> None:
    say(event=type(event).__name__, text=str(event))


def answer(plane: UserspacePlane, end: End, line: str) -> bool:
    """Do what a line asks for; False at its end."""
    match json.loads(line):
        case "counters":
            counted = {f"{key.spi:08x}": asdict(value) for key, value in plane.counters().items()}
            say(counters=counted, drops=asdict(plane.drops))
        case "states":
            plane.apply(end.states())
            say(done="states")
        case "close":
            plane.close()
            say(done="close")
        case "end":
            return False
    return True


async def serve(end: End) -> None:
    loop = asyncio.get_running_loop()
    plane = UserspacePlane()
    sockets = [nat_t_socket(family) for family in (socket.AF_INET, socket.AF_INET6)]
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    try:
        for sock in sockets:
            plane.adopt(sock, lambda data, peer, ours: say(ike=data.hex(), peer=peer, ours=ours))
        plane.apply([*([] if end.trap else end.states()), *end.policies(), *end.route_orders()])
        plane.listen(heard)
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        say(ready=plane.device)

        async def listen_to_orders() -> None:
            while (line := await reader.readline()) and answer(plane, end, line.decode()):
                pass
            done.set()

        listening = asyncio.create_task(listen_to_orders())
        await done.wait()
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
    finally:
        plane.close()
        for sock in sockets:
            sock.close()


if __name__ == "__main__":
    asyncio.run(serve(End(**json.loads(sys.argv[1]))))
