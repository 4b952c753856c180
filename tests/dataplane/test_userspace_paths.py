"""Both packet paths over real UDP sockets on the loopback device; only the TUN device is a pair of Unix sockets."""

import os
import socket
import struct
from dataclasses import replace

import pytest

from gateway.dataplane import userspace_outbound
from gateway.dataplane.esp import OutboundEsp
from gateway.dataplane.userspace_outbound import PACKETS_AT_ONCE
from gateway.dataplane.userspace_sas import Drops, InboundSa, OutboundSa, Sparingly
from gateway.ike.plane import Direction, Policy, StateKey
from gateway.ike.plane_events import Acquire, Expire, Remapped, UnknownSpi
from gateway.policy.selectors import Selector
from tests.dataplane.userspace_paths import Ends, FullSocket, NoSegments, strike, udp4, udp6


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
