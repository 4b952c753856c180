"""Both packet paths over real UDP sockets on the loopback device; only the TUN device is a pair of Unix sockets."""

import contextlib
import os
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from gateway.crypto.suites import Encryption, Integrity, by_keyword
from gateway.dataplane import userspace_outbound
from gateway.dataplane.esp import OutboundEsp
from gateway.dataplane.tun import PLAIN, VNET_OCTETS
from gateway.dataplane.userspace_inbound import Inbound
from gateway.dataplane.userspace_outbound import PACKETS_AT_ONCE, Outbound
from gateway.dataplane.userspace_policies import PolicyTable
from gateway.dataplane.userspace_sas import Drops, InboundSa, OutboundSa, Sparingly
from gateway.dataplane.userspace_udp import prepare
from gateway.ike.plane import Direction, Encapsulation, EspState, Policy, StateKey
from gateway.ike.plane_events import Acquire, Expire, PlaneEvent, Remapped, UnknownSpi
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


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["outer-v4", "outer-v6"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    try:
        with joined(request.param) as made:
            yield made
    except OSError as error:
        if error.errno == 99:  # EADDRNOTAVAIL
            pytest.skip("no IPv6 on the loopback device")
        raise


@pytest.fixture
def plain() -> Iterator[Ends]:
    with joined(socket.AF_INET) as made:
        yield made


def udp4(number: int, octets: int = 100) -> bytes:
    return bytes(ipv4(struct.pack("!HHHH", 1000, 2000, octets, number) + bytes(octets), protocol=17))


def udp6(number: int, octets: int = 100) -> bytes:
    return bytes(ipv6(struct.pack("!HHHH", 1000, 2000, octets, number) + bytes(octets), protocol=17))


@pytest.mark.parametrize(
    "encr", ["aes256gcm16", "chacha20poly1305", "aes256", "aes128ctr", "aes128ccm12", "aes256gcm8"]
)
@pytest.mark.parametrize("esn", [False, True], ids=["", "esn"])
def test_packets_of_both_families_and_all_lengths_pass_in_order(ends: Ends, encr: str, esn: bool) -> None:
    one, two = ends.add(encr=encr, esn=esn)
    ends.allow("10.1.0.0/24", "10.2.0.0/24")
    ends.allow("fd01::/64", "fd02::/64")
    packets = [
        make(number, octets)
        for number, octets in enumerate([8, 100, 100, 100, 7, 1300, 1300, 9])
        for make in (udp4, udp6)
    ]
    packets += [udp4(number, 1300) for number in range(150)]
    for packet in packets:
        ends.tun.put(packet)
    ends.pump()
    assert ends.tun.taken == packets
    assert ends.drops == Drops()
    octets = sum(map(len, packets))
    for sa in (one, two):
        assert (sa.counters().packets, sa.counters().octets) == (len(packets), octets)
        assert sa.counters().last_used == 1000.0


def test_one_turn_of_the_loop_reads_no_more_than_its_share(plain: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userspace_outbound, "SECONDS_AT_ONCE", 60)  # whatever else this machine does
    one, _ = plain.add()
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    for number in range(PACKETS_AT_ONCE + 30):
        plain.tun.put(udp4(number))
    plain.out.drain()
    assert one.packets == PACKETS_AT_ONCE
    plain.pump()
    assert len(plain.tun.taken) == PACKETS_AT_ONCE + 30


def test_a_packet_without_a_policy_is_dropped(plain: Ends) -> None:
    plain.add()
    plain.allow("10.1.0.0/24", "10.2.0.0/24[udp/53]")
    plain.tun.put(udp4(1))
    plain.tun.put(udp6(1))
    plain.tun.put(b"\x45" + bytes(30))
    plain.pump()
    assert plain.drops.no_policy == 3
    assert not plain.tun.taken


def test_a_trap_asks_for_a_state_sparingly(plain: Ends) -> None:
    plain.allow("10.1.0.0/24", "10.2.0.0/24", None)
    for number in range(5):
        plain.tun.put(udp4(number))
    plain.pump()
    assert plain.heard == [Acquire(1)]
    assert plain.heard[0].packet == (Selector.parse("10.1.0.1[udp/1000]"), Selector.parse("10.2.0.1[udp/2000]"))
    assert plain.drops.no_state == 0
    assert plain.out.waiting
    plain.now[0] += 1.5
    plain.tun.put(udp4(9))
    plain.pump()
    assert plain.heard == [Acquire(1), Acquire(1)]
    plain.add()
    plain.tun.put(udp4(10))
    plain.pump()
    assert plain.tun.taken == [udp4(10)]


def test_a_pinned_policy_without_its_state_drops_and_asks_for_nothing(plain: Ends) -> None:
    plain.allow("10.1.0.0/24", "10.2.0.0/24", 0x7777)
    plain.tun.put(udp4(1))
    plain.pump()
    assert plain.drops.no_state == 1
    assert not plain.heard


def test_a_policy_leads_to_its_own_state_and_without_one_to_the_newest(plain: Ends) -> None:
    first, second = plain.add(spi=0x1001)[0], plain.add(spi=0x2002)[0]
    for pinned, expected in ((0x1001, first), (0x2002, second), (None, second)):
        plain.allow("10.1.0.0/24", "10.2.0.0/24", pinned)
        before = expected.packets
        plain.tun.put(udp4(1))
        plain.pump()
        assert expected.packets == before + 1
    plain.out.remove(second.state.key)
    plain.tun.put(udp4(1))
    plain.pump()
    assert first.packets == 2


def test_an_inner_packet_outside_the_policies_is_not_admitted(plain: Ends) -> None:
    """RFC 4301 5.2: whoever has a tunnel for one net may not send as another."""
    plain.add()
    everything, net = Selector.parse("0.0.0.0/0"), Selector.parse("10.1.0.0/24")
    other, ours = Selector.parse("10.1.0.0/32"), Selector.parse("10.2.0.0/24")
    plain.policies.add(Policy(Direction.OUT, everything, everything, "127.0.0.1", "127.0.0.1", 1, 0x1001))
    plain.policies.add(Policy(Direction.IN, other, ours, "", "", 1))
    plain.policies.add(Policy(Direction.IN, net, ours, "", "", 2))
    plain.tun.put(udp4(1))
    plain.pump()
    assert plain.drops.not_admitted == 1
    assert not plain.tun.taken
    plain.policies.add(Policy(Direction.IN, net, ours, "", "", 1))
    plain.tun.put(udp4(2))
    plain.pump()
    assert plain.tun.taken == [udp4(2)]
    plain.policies.remove(Policy(Direction.IN, net, ours, "", "", 1))
    plain.tun.put(udp4(3))
    plain.pump()
    assert plain.drops.not_admitted == 2, "an admitted flow must not outlive its policy"


def strike(ends: Ends, datagram: bytes) -> None:
    ends.sender.sendto(datagram, ends.receiver.getsockname())
    ends.pump()


def test_forged_replayed_truncated_and_unknown_packets_are_counted(plain: Ends) -> None:
    _, two = plain.add()
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    esp = OutboundEsp(plain.state(inbound=False))
    genuine = esp.seal(udp4(1), 4)
    forged = bytearray(esp.seal(udp4(2), 4))
    forged[30] ^= 1
    strike(plain, genuine)
    strike(plain, genuine)
    strike(plain, bytes(forged))
    strike(plain, genuine[:30])
    strike(plain, genuine[:5])
    strike(plain, b"")
    strike(plain, b"\0")
    strike(plain, esp.seal(b"\x45" + bytes(30), 4))
    strike(plain, b"\0\0\7\7" + genuine[4:])
    assert plain.tun.taken == [udp4(1)]
    assert (two.replays, two.forged) == (1, 1)
    assert plain.drops == Drops(replayed=1, forged=1, malformed=2, too_short=2, unknown_spi=1)
    assert plain.heard == [UnknownSpi(0x0707, "127.0.0.1")]


def test_unknown_spis_are_told_sparingly(plain: Ends) -> None:
    for _ in range(5):
        strike(plain, b"\0\0\7\7" + bytes(40))
    assert plain.heard == [UnknownSpi(0x0707, "127.0.0.1")]
    for spi in range(300, 400):
        plain.sender.sendto(struct.pack("!I", spi) + bytes(40), plain.receiver.getsockname())
    plain.pump()
    assert plain.drops.unknown_spi == 105
    assert len(plain.heard) <= 16


def test_ike_keepalives_and_esp_share_the_socket(ends: Ends) -> None:
    ends.add()
    ends.allow("10.1.0.0/24", "10.2.0.0/24")
    esp = OutboundEsp(ends.state(inbound=False))
    message = bytes(range(60))
    for datagram in (esp.seal(udp4(1), 4), b"\0\0\0\0" + message, b"\xff", esp.seal(udp4(2), 4)):
        ends.sender.sendto(datagram, ends.receiver.getsockname())
    ends.pump()
    assert ends.tun.taken == [udp4(1), udp4(2)]
    address, port = ends.sender.getsockname()[:2]
    assert ends.ike == [(message, (address, port), address)]
    assert ends.drops == Drops()


def test_ike_messages_of_one_length_that_arrive_as_one_are_taken_apart(plain: Ends) -> None:
    datagrams = [bytes(4) + bytes([number]) * 60 for number in range(5)]
    plain.sender.sendmsg([b"".join(datagrams)], [(17, 103, struct.pack("=H", 64))], 0, plain.receiver.getsockname())
    plain.pump()
    assert [data for data, _, _ in plain.ike] == [datagram[4:] for datagram in datagrams]


def test_a_peer_behind_a_moved_nat_is_told_once_and_only_if_it_is_genuine(plain: Ends) -> None:
    _, two = plain.add()
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    esp = OutboundEsp(plain.state(inbound=False))
    old = esp.seal(udp4(1), 4)
    strike(plain, esp.seal(udp4(2), 4))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        forged = bytearray(esp.seal(udp4(3), 4))
        forged[-1] ^= 1
        for datagram in (bytes(forged), old):  # old: genuine, but late, and possibly kept back by somebody
            elsewhere.sendto(datagram, plain.receiver.getsockname())
            plain.pump()
        assert not plain.heard
        for _ in range(3):
            elsewhere.sendto(esp.seal(udp4(4), 4), plain.receiver.getsockname())
            plain.pump()
        assert plain.heard == [Remapped(two.state.key, *elsewhere.getsockname())]
    assert len(plain.tun.taken) == 5


def test_numbers_that_run_out_are_told_before_and_when_they_have(plain: Ends) -> None:
    one, two = plain.add()
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    one.esp.sequence = one.esp.soft - 2
    two.esp.window.accept(one.esp.sequence)
    for number in range(4):
        plain.tun.put(udp4(number))
        plain.pump()
    key = StateKey("127.0.0.1", 0x1001)
    assert plain.heard == [Expire(key, hard=False)]
    one.esp.sequence = one.esp.hard - 1
    for number in range(4):
        plain.tun.put(udp4(number))
        plain.pump()
    assert plain.heard == [Expire(key, hard=False), Expire(key, hard=True)]
    assert plain.drops.exhausted == 3
    assert len(plain.tun.taken) == 5


def test_without_a_socket_of_the_family_packets_are_counted(plain: Ends) -> None:
    one, _ = plain.add()
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    plain.sockets.clear()
    plain.tun.put(udp4(1))
    plain.pump()
    assert plain.drops.not_sent == 1
    assert one.packets == 0


class FullSocket:
    """A socket that takes nothing while `full`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self.full = sock, True

    def sendmsg(self, *what: object) -> int:
        if self.full:
            raise BlockingIOError
        return self._sock.sendmsg(*what)  # type: ignore[arg-type]


def test_a_full_socket_pauses_reading_and_loses_nothing_that_was_sealed(plain: Ends) -> None:
    one, _ = plain.add()
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    full = FullSocket(plain.sender)
    plain.sockets[4] = full  # type: ignore[assignment]
    for number in range(10):
        plain.tun.put(udp4(number))
    plain.out.drain()
    assert plain.paused == [True]
    assert one.packets == 0
    assert not plain.out.resume()
    full.full = False
    assert plain.out.resume()
    plain.pump()
    assert plain.tun.taken == [udp4(number) for number in range(10)]
    assert one.packets == 10


class NoSegments(FullSocket):
    """A kernel that cannot segment on this path (a small MTU, no checksum offload)."""

    def sendmsg(self, *what: object) -> int:
        control = what[1]
        assert isinstance(control, list)
        if any((level, kind) == (17, 103) for level, kind, _ in control):
            raise OSError(22, "Invalid argument")
        return self._sock.sendmsg(*what)  # type: ignore[arg-type]


def test_where_the_kernel_cannot_segment_datagrams_go_one_by_one(plain: Ends) -> None:
    one, _ = plain.add()
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    plain.sockets[4] = NoSegments(plain.sender)  # type: ignore[assignment]
    packets = [udp4(number) for number in range(10)] + [udp4(10, 50)]
    for packet in packets:
        plain.tun.put(packet)
    plain.pump()
    assert plain.tun.taken == packets
    assert one.packets == 11
    assert one.lane(0).whole


def test_a_state_ordered_again_goes_on_where_it_was(plain: Ends) -> None:
    one, two = plain.add()
    one.esp.sequence, one.packets = 77, 5
    again = OutboundSa(replace(one.state, destination="127.0.0.2"), os.urandom)
    again.inherit(one)
    assert (again.esp.sequence, again.packets, again.address[0]) == (77, 5, "127.0.0.2")
    two.esp.window.accept(9)
    moved = InboundSa(replace(two.state, source="127.0.0.3"))
    moved.inherit(two)
    assert moved.esp.window.top == 9
    assert moved.peer[0] == "127.0.0.3"


def test_sparingly_remembers_no_more_than_its_burst() -> None:
    now = [0.0]
    sparingly = Sparingly(lambda: now[0], interval=1.0, burst=4)
    assert [sparingly.allows(key) for key in (1, 1, 2, 3, 4, 5)] == [True, False, True, True, True, False]
    now[0] = 1.0
    assert [sparingly.allows(key) for key in (1, 5)] == [True, True]
