"""Both packet paths, joined by real UDP sockets on the loopback device."""

import contextlib
import os
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.crypto.suites import Encryption, Integrity, by_keyword
from gateway.dataplane.tun import PLAIN, VNET_OCTETS
from gateway.dataplane.userspace_inbound import Inbound
from gateway.dataplane.userspace_outbound import Outbound
from gateway.dataplane.userspace_policies import PolicyTable
from gateway.dataplane.userspace_sas import Drops, InboundSa, OutboundSa
from gateway.dataplane.userspace_udp import prepare
from gateway.ike.plane import Direction, Encapsulation, EspState, Policy
from gateway.ike.plane_events import PlaneEvent
from gateway.policy.selectors import Selector
from tests.dataplane.test_userspace_packets import ipv4, ipv6

IP_PKTINFO = 8
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class PipeTun:
    """A TUN device's two ends: packets given with `put` are read by the plane, what the plane writes is in `taken`."""

    mtu = 1400

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._theirs.setblocking(False)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        self.fd = self._theirs.fileno()
        self.taken: list[bytes] = []

    def put(self, packet: bytes | memoryview) -> None:
        self._ours.send(PLAIN + bytes(packet))

    def write(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        self.taken.append(b"".join(buffers)[VNET_OCTETS:])

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


def row(keyword: str) -> Encryption:
    found = by_keyword(keyword)
    assert isinstance(found, Encryption)
    return found


@dataclass
class Ends:
    """One outbound and one inbound path, joined by the loopback device."""

    out: Outbound
    into: Inbound
    tun: PipeTun
    policies: PolicyTable
    drops: Drops
    sender: socket.socket
    receiver: socket.socket
    sockets: dict[int, socket.socket]
    now: list[float]
    marker: socket.socket
    heard: list[PlaneEvent] = field(default_factory=list)
    ike: list[tuple[bytes, tuple[str, int], str]] = field(default_factory=list)
    paused: list[bool] = field(default_factory=list)
    lost: list[OSError] = field(default_factory=list)

    def state(
        self, *, inbound: bool, spi: int = 0x1001, encr: str = "aes256gcm16", esn: bool = False, **also: object
    ) -> EspState:
        cipher = row(encr)
        integ = None if cipher.aead else by_keyword("sha256")
        assert integ is None or isinstance(integ, Integrity)
        address, ports = self.sender.getsockname()[0], [sock.getsockname()[1] for sock in (self.sender, self.receiver)]
        return EspState(
            spi, address, address, inbound, 1, cipher, bytes(cipher.key_material_octets), integ,
            bytes(integ.key_octets) if integ else b"", esn, encapsulation=Encapsulation(*ports),
            **also,  # type: ignore[arg-type]
        )  # fmt: skip

    def add(self, **what: object) -> tuple[OutboundSa, InboundSa]:
        return self.add_outbound(**what), self.add_inbound(**what)

    def add_outbound(self, **what: object) -> OutboundSa:
        """In place of the one of that SPI."""
        sa = OutboundSa(self.state(inbound=False, **what), os.urandom)  # type: ignore[arg-type]
        self.out.remove(sa.state.key)
        self.out.add(sa)
        return sa

    def add_inbound(self, **what: object) -> InboundSa:
        """In place of the one of that SPI."""
        sa = InboundSa(self.state(inbound=True, **what))  # type: ignore[arg-type]
        self.into.add(sa)
        return sa

    def allow(self, source: str, destination: str, spi: int | None = 0x1001) -> None:
        for direction in (Direction.OUT, Direction.IN):
            address = self.sender.getsockname()[0]
            pair = Selector.parse(source), Selector.parse(destination)
            self.policies.add(
                Policy(direction, *pair, address, address, 1, spi if direction is Direction.OUT else None)
            )

    def pump(self) -> None:
        """Let everything pass that waits."""
        for _ in range(6):
            self.out.drain()
            self._arrived()
            self.into.drain(self.receiver, lambda *message: self.ike.append(message))

    def _arrived(self) -> None:
        """What was sent over the loopback device, which keeps the order, is in the receiver's queue by now."""
        self.marker.sendto(b"now", self.marker.getsockname())
        readable, _, _ = select.select([self.marker], [], [], 20)
        assert readable
        self.marker.recv(8)


@contextlib.contextmanager
def joined(family: int) -> Iterator[Ends]:
    tun, policies, drops, now = PipeTun(), PolicyTable(), Drops(), [1000.0]
    with contextlib.ExitStack() as stack:
        stack.callback(tun.close)
        pair = []
        for _ in range(2):
            sock = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            sock.bind((LOOPBACK[socket.AddressFamily(family)], 0))
            prepare(sock)
            pair.append(sock)
        marker = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        marker.bind(("127.0.0.1", 0))
        sockets = {4 if family == socket.AF_INET else 6: pair[0]}
        out = Outbound(tun, policies, sockets, drops, lambda: now[0])  # type: ignore[arg-type]
        into = Inbound(tun, policies, drops, lambda: now[0])  # type: ignore[arg-type]
        ends = Ends(out, into, tun, policies, drops, pair[0], pair[1], sockets, now, marker)
        out.begin(ends.heard.append, lambda: ends.paused.append(True), ends.lost.append)
        into.begin(ends.heard.append)
        yield ends


def udp4(number: int, octets: int = 100) -> bytes:
    return bytes(ipv4(struct.pack("!HHHH", 1000, 2000, octets, number) + bytes(octets), protocol=17))


def udp6(number: int, octets: int = 100) -> bytes:
    return bytes(ipv6(struct.pack("!HHHH", 1000, 2000, octets, number) + bytes(octets), protocol=17))


def strike(ends: Ends, datagram: bytes) -> None:
    ends.sender.sendto(datagram, ends.receiver.getsockname())
    ends.pump()


class FullSocket:
    """A socket that takes nothing while `full`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self.full = sock, True

    def sendmsg(self, *what: object) -> int:
        if self.full:
            raise BlockingIOError
        return self._sock.sendmsg(*what)  # type: ignore[arg-type]


class NoSegments(FullSocket):
    """A kernel that cannot segment on this path (a small MTU, no checksum offload)."""

    def sendmsg(self, *what: object) -> int:
        control = what[1]
        assert isinstance(control, list)
        if any((level, kind) == (17, 103) for level, kind, _ in control):
            raise OSError(22, "Invalid argument")
        return self._sock.sendmsg(*what)  # type: ignore[arg-type]
