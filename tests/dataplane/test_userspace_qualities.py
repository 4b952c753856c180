"""What one userspace state has and another has not: limits, what is copied outside, the MSS, and moving elsewhere."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.esp import OutboundEsp
from gateway.dataplane.userspace import UserspacePlane
from gateway.dataplane.userspace_packets import TCP, checksum, clamp_mss
from gateway.ike.plane import (
    AddInterface,
    AddPolicy,
    AddState,
    Encapsulation,
    Interface,
    Limits,
    MoveState,
    Refused,
    RemoveState,
    StateKey,
)
from gateway.ike.plane_events import Acquire, Expire
from gateway.policy.peers import Mark, Mode, Offload
from gateway.policy.selectors import Selector
from tests.dataplane.test_userspace_packets import ipv4
from tests.dataplane.userspace_paths import Ends, joined, strike
from tests.dataplane.userspace_samples import POLICY, STATE
from tests.lab.namespaces import Network, two_sites


@pytest.fixture
def plain() -> Iterator[Ends]:
    with joined(socket.AF_INET) as ends:
        yield ends


def udp(number: int = 0, octets: int = 72) -> bytes:
    """An IPv4 packet of 28 octets more."""
    return ipv4(struct.pack("!HHHH", 1000, 2000, octets + 8, 0) + bytes(octets - 1) + bytes([number]), protocol=17)


KEY = StateKey("127.0.0.1", 0x1001)


@pytest.mark.parametrize(
    "limits",
    [Limits(soft_packets=2, hard_packets=4), Limits(soft_octets=200, hard_octets=400)],
    ids=["packets", "octets"],
)
@pytest.mark.parametrize("inbound", [False, True], ids=["outbound", "inbound"])
def test_each_limit_is_told_once_and_the_hard_one_ends_it(plain: Ends, limits: Limits, inbound: bool) -> None:
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    out, into = plain.add()
    if inbound:
        plain.add_inbound(limits=limits)
    else:
        out = plain.add_outbound(limits=limits)
    told = []
    for number in range(7):
        plain.tun.put(udp(number))
        plain.pump()
        told.append([event.hard for event in plain.heard if isinstance(event, Expire) and event.key == KEY])
    first = 4 if inbound else 5  # outbound it is the packet beyond that finds nothing left
    assert told == [[], *[[False]] * (first - 2), *[[False, True]] * (8 - first)]
    assert len(plain.tun.taken) == 4
    if inbound:
        assert plain.into.find(0x1001) is None
        assert plain.drops.unknown_spi == 3
    else:
        assert (out.packets, plain.drops.exhausted) == (4, 3)
    assert into.packets <= 4


def test_a_state_without_limits_has_none(plain: Ends) -> None:
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    plain.add()
    for number in range(50):
        plain.tun.put(udp(number))
    plain.pump()
    assert plain.heard == []
    assert len(plain.tun.taken) == 50


def test_df_is_cleared_outside_for_the_states_that_want_it(plain: Ends) -> None:
    def discovery() -> int:
        return plain.sender.getsockopt(socket.IPPROTO_IP, 10)  # IP_MTU_DISCOVER

    usual = discovery()
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    for copied, expected in ((False, 0), (True, usual), (False, 0)):
        plain.out.remove(KEY)
        plain.add_outbound(copy_df=copied)
        plain.tun.put(udp())
        plain.out.drain()
        assert discovery() == expected


def test_dscp_stays_inside_unless_it_is_wanted_outside_and_ecn_is_copied(plain: Ends) -> None:
    plain.add()
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    plain.tun.put(ipv4(struct.pack("!HHHH", 1000, 2000, 8, 0), protocol=17, tos=0xBA))
    plain.out.drain()
    _, control, _, _ = plain.receiver.recvmsg(2048, 256)
    assert [data[0] for level, kind, data in control if (level, kind) == (socket.IPPROTO_IP, socket.IP_TOS)] == [2]


def test_dscp_and_ecn_are_copied_outside_and_congestion_inside(plain: Ends) -> None:
    plain.add(copy_dscp=True)
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    head = struct.pack("!HHHH", 1000, 2000, 8, 0)
    for tos in (0xBA, 0x00, 0xBA):
        plain.tun.put(ipv4(head, protocol=17, tos=tos))
    plain.out.drain()
    seen = []
    for _ in range(3):
        _, control, _, _ = plain.receiver.recvmsg(2048, 256)
        seen += [data[0] for level, kind, data in control if (level, kind) == (socket.IPPROTO_IP, socket.IP_TOS)]
    assert seen == [0xBA, 0x00, 0xBA]
    esp = OutboundEsp(plain.state(inbound=False))
    esp.sequence = 3
    plain.sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 3)
    strike(plain, esp.seal(bytes(ipv4(head, protocol=17, tos=0xBA)), 4))
    strike(plain, esp.seal(bytes(ipv4(head, protocol=17, tos=0xB8)), 4))
    assert plain.tun.taken == [bytes(ipv4(head, protocol=17, tos=0xBB))]
    assert plain.drops.congested == 1


def syn(mss: int, *, version: int = 4, padding: int = 0, flags: int = 0x02) -> bytearray:
    """A TCP segment with that MSS option behind `padding` no-operations, and right checksums."""
    options = b"\1" * padding + struct.pack("!BBH", 2, 4, mss)
    options += b"\0" * (-len(options) % 4)
    tcp = bytearray(struct.pack("!HHIIBBHHH", 1000, 80, 7, 0, (20 + len(options)) * 4, flags, 9000, 0, 0) + options)
    ends = (
        bytes([10, 1, 0, 5, 10, 2, 0, 5])
        if version == 4
        else Selector.parse("fd01::5").start.to_bytes(16, "big") + Selector.parse("fd02::5").start.to_bytes(16, "big")
    )
    tcp[16:18] = checksum(ends + struct.pack("!HH", TCP, len(tcp)) + bytes(tcp)).to_bytes(2, "big")
    if version == 4:
        return bytearray(ipv4(bytes(tcp), protocol=TCP))
    return bytearray(struct.pack("!IHBB", 6 << 28, len(tcp), TCP, 64) + ends + tcp)


@given(st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([4, 6]), st.integers(0, 5))
def test_an_mss_is_lowered_and_never_raised_and_the_checksum_stays_right(
    told: int, most: int, version: int, padding: int
) -> None:
    packet = syn(told, version=version, padding=padding)
    clamp_mss(memoryview(packet), most)
    right = syn(min(told, most), version=version, padding=padding)
    where = (20 if version == 4 else 40) + 16
    sums = [int.from_bytes(each[where : where + 2], "big") % 0xFFFF for each in (packet, right)]
    assert sums[0] == sums[1]
    assert packet[:where] + packet[where + 2 :] == right[:where] + right[where + 2 :]


@given(st.binary(min_size=1, max_size=120), st.integers(0, 65535))
def test_whatever_a_packet_holds_clamping_changes_at_most_its_mss(octets: bytes, most: int) -> None:
    for head in (b"", bytes(syn(1460)), bytes(syn(1460, version=6))):
        packet = bytearray((head[: len(octets)] + octets)[:200] or b"\0")
        before = bytes(packet)
        clamp_mss(memoryview(packet), most)
        assert sum(one != two for one, two in zip(packet, before, strict=True)) <= 4


def test_what_is_no_syn_keeps_what_looks_like_an_mss(plain: Ends) -> None:
    packet = syn(1460, flags=0x10)
    before = bytes(packet)
    clamp_mss(memoryview(packet), 1000)
    assert packet == before


@pytest.mark.parametrize("clamping", ["outbound", "inbound"])
def test_the_mss_of_a_state_is_clamped_on_its_way(plain: Ends, clamping: str) -> None:
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    plain.add()
    if clamping == "outbound":
        plain.add_outbound(mss=1200)
    else:
        plain.add_inbound(mss=1200)
    plain.tun.put(bytes(syn(1460)))
    plain.tun.put(bytes(syn(1100)))
    plain.pump()
    assert plain.tun.taken == [bytes(syn(1200)), bytes(syn(1100))]


def test_what_met_a_trap_waits_for_its_state_and_not_for_ever(plain: Ends) -> None:
    plain.allow("10.1.0.0/24", "10.2.0.0/24", spi=None)
    for number in range(20):
        plain.tun.put(udp(number))
        plain.out.drain()  # after each: one call reads for a while only
    assert plain.heard == [Acquire(1)]
    assert plain.out.waiting
    assert plain.drops.no_state == 4, "beyond the sixteen"
    plain.out.release()
    assert plain.out.waiting, "there is no state yet"
    plain.add()
    plain.out.release()
    plain.pump()
    assert [packet[-1] for packet in plain.tun.taken] == list(range(16))
    assert not plain.out.waiting
    plain.out.remove(KEY)
    plain.tun.put(udp(30))
    plain.out.drain()
    plain.now[0] += 11
    plain.tun.put(udp(31))
    plain.out.drain()
    assert plain.drops.no_state == 5
    plain.into.remove(KEY)
    plain.add()
    plain.out.release()
    plain.pump()
    assert [packet[-1] for packet in plain.tun.taken[16:]] == [31]


def test_another_spi_in_the_policy_moves_outbound_traffic_without_a_loss(plain: Ends) -> None:
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    old, new = plain.add()[0], plain.add(spi=0x2002)[0]
    for number in range(60):
        plain.tun.put(udp(number))
        if number % 10 == 9:
            plain.allow("10.1.0.0/24", "10.2.0.0/24", spi=0x2002 if number % 20 == 9 else 0x1001)
            plain.out.drain()
    plain.pump()
    assert [packet[-1] for packet in plain.tun.taken] == list(range(60))
    assert (old.packets, new.packets) == (30, 30)


# -- a plane


@pytest.fixture
def plane(network: Network) -> Iterator[UserspacePlane]:
    with two_sites(network)[0].entered():
        made = UserspacePlane()
    yield made
    made.close()


needs = pytest.mark.requires("root", "tun", "netns")
OUT = replace(STATE, spi=0x1002, source="192.0.2.1", destination="192.0.2.2", inbound=False)


@needs
def test_a_moved_state_goes_on_with_its_window_its_numbers_and_its_counts(plane: UserspacePlane) -> None:
    plane.apply([AddState(STATE), AddState(OUT)])
    into, out = plane._inbound.find(STATE.spi), plane._outbound.find(OUT.key)
    assert into
    assert out
    into.esp.window.accept(40)
    into.packets, out.packets, out.esp.sequence = 3, 5, 77
    moved = (
        replace(STATE, source="192.0.2.99", destination="192.0.2.11", encapsulation=Encapsulation(61000, 4500)),
        replace(OUT, destination="192.0.2.99", source="192.0.2.11", encapsulation=Encapsulation(4500, 61000)),
    )
    plane.apply([MoveState(STATE.key, moved[0]), MoveState(OUT.key, moved[1])])
    assert [state.key for state in plane.states()] == [state.key for state in moved]
    assert [plane.counters()[state.key].packets for state in moved] == [3, 5]
    into, out = plane._inbound.find(STATE.spi), plane._outbound.find(moved[1].key)
    assert into
    assert out
    assert into.peer == ("192.0.2.99", 61000)
    assert not into.esp.window.fresh(40)
    assert (out.address, out.esp.sequence) == (("192.0.2.99", 61000), 77)
    plane.apply([MoveState(moved[1].key, OUT), RemoveState(OUT.key, False)])
    assert [state.key for state in plane.states()] == [moved[0].key]


@needs
def test_a_move_that_cannot_be_leaves_all_as_it_was(plane: UserspacePlane) -> None:
    plane.apply([AddState(STATE), AddState(OUT)])
    elsewhere = replace(OUT, destination="192.0.2.99")
    for orders, why in (
        ([MoveState(OUT.key, elsewhere), MoveState(OUT.key, elsewhere)], "no state with SPI 00001002"),
        ([MoveState(elsewhere.key, OUT)], "no state with SPI 00001002 to 192.0.2.99 to move"),
        ([MoveState(OUT.key, replace(elsewhere, encr_key=bytes(35) + b"\1"))], "not become another SA"),
        ([MoveState(OUT.key, replace(elsewhere, spi=7))], "not become another SA"),
        ([AddState(elsewhere), MoveState(OUT.key, elsewhere)], "exists already"),
        ([MoveState(OUT.key, elsewhere), AddState(STATE)], "exists already"),
    ):
        with pytest.raises(Refused, match=why):
            plane.apply(orders)
        assert [state.key for state in plane.states()] == [STATE.key, OUT.key]


@needs
@pytest.mark.parametrize(
    ("order", "why"),
    [
        (AddState(replace(STATE, mode=Mode.TRANSPORT)), "tunnel mode alone"),
        (AddState(replace(STATE, interface_id=5)), "XFRM interfaces are the kernel's"),
        (AddState(replace(STATE, mark=Mark(5))), "does not see the marks"),
        (AddState(replace(STATE, offload=Offload.CRYPTO)), "no device can take it off its hands"),
        (AddPolicy(POLICY._replace(mode=Mode.TRANSPORT)), "tunnel mode alone"),
        (AddPolicy(POLICY._replace(interface_id=5)), "XFRM interfaces are the kernel's"),
        (AddPolicy(POLICY._replace(mark=Mark(5))), "does not see the marks"),
        (AddInterface(Interface("ipsec5", 5)), "the interface ipsec5: XFRM interfaces are the kernel's"),
    ],
)
def test_what_userspace_cannot_do_is_refused_in_a_sentence(
    plane: UserspacePlane, order: AddState | AddPolicy | AddInterface, why: str
) -> None:
    with pytest.raises(Refused, match=why):
        plane.apply([AddState(OUT), order])
    assert not plane.states()
    assert not plane.policies()
