"""Packets through two kernels that we configured: what is carried, what is counted, what is told."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.dataplane.kernel import bypass
from gateway.ike.plane import (
    AddPolicy,
    AddState,
    Encapsulation,
    EspState,
    MoveState,
    Order,
    Policy,
    Refused,
    RemoveState,
    SkipSequence,
    StateKey,
)
from gateway.ike.plane_events import Acquire, EventsLost, Expire, PlaneEvent, Remapped
from tests.kernel.conftest import ANY, OUTER, Child, Site, cipher, mac, port_4500, told
from tests.lab.in_kernel import in_kernel

pytestmark = [in_kernel, pytest.mark.requires("root", "netns", "esp", "ping")]

Moving = TypeVar("Moving", EspState, Policy)


@pytest.fixture
def sockets(sites: tuple[Site, Site]) -> Iterator[Callable[[int], list[socket.socket]]]:
    made: list[socket.socket] = []

    def both(version: int) -> list[socket.socket]:
        made.extend(port_4500(site, version) for site in sites)
        return made

    yield both
    for sock in made:
        sock.close()


@pytest.mark.parametrize(
    ("encr", "integ"),
    [("aes256gcm16", ""), ("chacha20poly1305", ""), ("aes128ccm16", ""), ("aes256", "sha256"), ("aes128ctr", "sha512")],
)
@pytest.mark.parametrize("esn", [False, True])
def test_pings_are_carried_and_counted(sites: tuple[Site, Site], encr: str, integ: str, esn: bool) -> None:
    child = Child(sites, encr=cipher(encr), integ=mac(integ) if integ else None, esn=esn).install()
    assert child.pings(count=3)
    for end, site in enumerate(sites):
        counters = site.plane.counters()
        assert len(counters) == 2
        for inbound in (True, False):
            counted = counters[child.state(end, inbound=inbound).key]
            assert counted.packets == 3
            assert counted.octets >= 3 * 84
            assert (counted.replays, counted.forged) == (0, 0)
            assert time.time() - 10 < counted.last_used <= time.time()


@pytest.mark.parametrize("encapsulated", [False, True], ids=["esp", "udp"])
@pytest.mark.parametrize(("outer", "inner"), [(4, 4), (4, 6), (6, 4), (6, 6)])
def test_each_ip_version_in_each(
    sites: tuple[Site, Site],
    sockets: Callable[[int], list[socket.socket]],
    outer: int,
    inner: int,
    encapsulated: bool,
) -> None:
    if encapsulated:
        sockets(outer)
    child = Child(sites, outer=outer, inner=inner, encapsulated=encapsulated).install()
    assert child.pings(count=2, size=1000)
    assert all(c.packets == 2 for site in sites for c in site.plane.counters().values())


@pytest.mark.parametrize("encapsulated", [False, True], ids=["esp", "udp"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_child_for_all_traffic_does_not_catch_ike_nor_itself(
    sites: tuple[Site, Site], sockets: Callable[[int], list[socket.socket]], version: int, encapsulated: bool
) -> None:
    everything = ("0.0.0.0/0", "0.0.0.0/0") if version == 4 else ("::/0", "::/0")
    left, right = sockets(version)
    child = Child(sites, outer=version, inner=version, encapsulated=encapsulated, selectors=everything).install()
    for site in sites:  # the neighbour must be found anew, and must not be asked for through the tunnel
        site.ns.ip("neighbour", "flush", "dev", "to-right" if site.end == 0 else "to-left")
    assert child.pings()
    left.sendto(b"\0\0\0\0question", (OUTER[version][1], 4500))
    assert right.recv(100) == b"\0\0\0\0question"
    right.sendto(b"\0\0\0\0answer", (OUTER[version][0], 4500))
    assert left.recv(100) == b"\0\0\0\0answer"
    assert all(c.packets == 1 for site in sites for c in site.plane.counters().values())


@pytest.mark.parametrize("version", [4, 6])
def test_a_socket_without_bypass_is_caught_and_one_with_it_is_not(sites: tuple[Site, Site], version: int) -> None:
    outer = OUTER[version]
    child = Child(sites, outer=version, inner=version, selectors=outer)
    child.allocate()
    sites[0].plane.apply([AddPolicy(policy) for policy in child.policies(0, trap=True)])
    with sites[1].ns.entered():
        there = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    there.bind((outer[1], 500))
    there.settimeout(1)
    with sites[0].ns.entered():
        here = socket.socket(there.family, socket.SOCK_DGRAM)
    here.bind((outer[0], 500))
    with here, there:
        here.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # a packet that waits for its state
            here.sendto(b"caught", (outer[1], 500))
        with pytest.raises(TimeoutError):
            there.recv(100)
        bypass(here)
        here.sendto(b"exempt", (outer[1], 500))
        assert there.recv(100) == b"exempt"


def test_forged_and_replayed_packets_are_counted(sites: tuple[Site, Site]) -> None:
    child = Child(sites).install()
    right = sites[1]
    key = child.state(1, inbound=True).key
    wrong = Child(sites, spis=child.spis)
    wrong.key = lambda end, octets: bytes(octets)  # type: ignore[method-assign]
    outbound = wrong.state(0, inbound=False)
    assert child.pings(count=2)
    # Other keys are another SA: it starts with sequence number 1, and what was there before is not even looked into.
    sites[0].plane.apply([RemoveState(outbound.key, False), AddState(outbound)])
    assert not child.pings(count=3)
    counted = right.plane.counters()[key]
    assert (counted.replays, counted.forged, counted.packets) == (2, 1, 2)
    # Removed in one batch and added in another, the rightful state starts anew, too.
    sites[0].plane.apply([RemoveState(outbound.key, False)])
    sites[0].plane.apply([AddState(child.state(0, inbound=False))])
    assert not child.pings()
    counted = right.plane.counters()[key]
    assert (counted.replays, counted.forged, counted.packets) == (3, 1, 2)


@pytest.mark.parametrize(("esn", "skips"), [(False, (5, 1 << 30)), (True, (1 << 30, 3 << 30))])
def test_sequence_numbers_skip_while_packets_pass(sites: tuple[Site, Site], esn: bool, skips: tuple[int, ...]) -> None:
    child = Child(sites, esn=esn).install()
    assert child.pings(count=2)
    outbound = child.state(0, inbound=False)
    sent = 2
    for skip in skips:
        sites[0].plane.apply([SkipSequence(outbound.key, skip)])
        assert child.pings(count=2)
        sent += 2
    shown = sites[0].xfrm("state")
    assert ("oseq-hi 0x1, oseq 0x6" if esn else "oseq 0x40001006") in shown, shown
    for site in sites:
        assert {one.packets for one in site.plane.counters().values()} == {sent}
        assert {one.replays for one in site.plane.counters().values()} == {0}


def test_a_state_that_is_not_there_does_not_skip(sites: tuple[Site, Site]) -> None:
    child = Child(sites).install()
    with pytest.raises(Refused, match=r"skipping sequence numbers of state 00000309: the kernel says .*ESRCH"):
        sites[0].plane.apply([SkipSequence(StateKey("192.0.2.2", 777), 5)])
    assert child.pings(count=1)


@pytest.mark.parametrize("ordered", ["move", "again"])
@pytest.mark.parametrize(("esn", "window"), [(False, 32), (False, 128), (True, 128)])
def test_a_moved_child_goes_on_where_it_was(sites: tuple[Site, Site], esn: bool, window: int, ordered: str) -> None:
    """New outer addresses for the same keys: neither end may see a sequence number twice."""
    left = sites[0]
    child = Child(sites, esn=esn, window=window).install()
    assert child.pings(count=3)
    left.ns.address("to-right", "192.0.2.101/24")
    try:
        for end, site in enumerate(sites):
            before = [child.state(end, inbound=inbound) for inbound in (True, False)]
            moved = [_moved(state, "192.0.2.1", "192.0.2.101") for state in before]
            states: list[Order] = [MoveState(old.key, new) for old, new in zip(before, moved, strict=True)]
            if ordered == "again":
                states = [RemoveState(state.key, state.inbound) for state in before]
                states += [AddState(state) for state in moved]
            policies = [AddPolicy(_moved(policy, "192.0.2.1", "192.0.2.101")) for policy in child.policies(end)]
            site.plane.apply([*states, *policies])
            assert {state.key for state in site.plane.states()} == {state.key for state in moved}
        assert child.pings(count=2)
        for site in sites:
            assert {c.packets for c in site.plane.counters().values()} == {5}
            assert {c.replays for c in site.plane.counters().values()} == {0}
    finally:
        left.ns.ip("address", "delete", "192.0.2.101/24", "dev", "to-right")


def test_a_peer_with_another_port_is_followed_in_place(
    sites: tuple[Site, Site], sockets: Callable[[int], list[socket.socket]]
) -> None:
    left, right = sites
    sockets(4)
    child = Child(sites, encapsulated=True).install()
    assert child.pings(count=2)
    with left.ns.entered():
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with other:
        other.bind((ANY[4], 4501))
        left.plane.adopt(other, lambda *_: None)
        for end, site in enumerate(sites):
            for inbound in (True, False):
                state = child.state(end, inbound=inbound)
                ports = Encapsulation(4501, 4500) if inbound is bool(end) else Encapsulation(4500, 4501)
                site.plane.apply([MoveState(state.key, replace(state, encapsulation=ports))])
        assert child.pings(count=3)
    # In place: not one sequence number was skipped.
    assert "seq-hi 0x0, seq 0x00000005" in right.xfrm("state") or "seq 0x5" in right.xfrm("state")
    for site in sites:
        assert {c.packets for c in site.plane.counters().values()} == {5}
        assert {state.encapsulation for state in site.plane.states()} == {
            Encapsulation(4501, 4500),
            Encapsulation(4500, 4501),
        }


def test_what_was_refused_before_a_move_is_still_counted_after_it(sites: tuple[Site, Site]) -> None:
    left, right = sites
    child = Child(sites).install()
    assert child.pings(count=3)
    outbound = child.state(0, inbound=False)
    left.plane.apply([RemoveState(outbound.key, False)])
    left.plane.apply([AddState(outbound)])  # anew, with numbers that were sent
    assert not child.pings(count=2)
    inbound = child.state(1, inbound=True)
    assert right.plane.counters()[inbound.key].replays == 2
    for source in ("192.0.2.101", "192.0.2.1"):
        moved = replace(inbound, source=source)
        right.plane.apply([MoveState(inbound.key, moved)])
        counted = right.plane.counters()[moved.key]
        assert (counted.replays, counted.packets) == (2, 3)
    assert not child.pings()
    assert right.plane.counters()[inbound.key].replays == 3


def test_a_move_that_fails_with_its_batch_leaves_the_state_as_it_was(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    child = Child(sites).install()
    assert child.pings(count=2)
    outbound, inbound = child.state(0, inbound=False), child.state(0, inbound=True)
    moved = [_moved(state, "192.0.2.1", "192.0.2.101") for state in (outbound, inbound)]
    strange = replace(moved[0], encr_key=bytes(36))
    for last, why in (
        (AddState(moved[0]), "EEXIST"),
        (MoveState(StateKey("192.0.2.2", 0x4711), moved[0]), "no state with SPI 00004711 to 192.0.2.2 to move"),
    ):
        with pytest.raises(Refused, match=why):
            left.plane.apply([MoveState(outbound.key, moved[0]), MoveState(inbound.key, moved[1]), last])
        assert {state.key for state in left.plane.states()} == {outbound.key, inbound.key}
        assert {counted.packets for counted in left.plane.counters().values()} == {2}
    with pytest.raises(Refused, match="not become another SA"):
        left.plane.apply([MoveState(outbound.key, strange)])
    assert child.pings(count=2)


def _moved(thing: Moving, old: str, new: str) -> Moving:
    changes = {
        name: new
        for name in ("source", "destination", "tunnel_source", "tunnel_destination")
        if getattr(thing, name, None) == old
    }
    return thing._replace(**changes) if isinstance(thing, Policy) else replace(thing, **changes)


async def test_a_packet_into_a_trap_is_told_with_its_reqid(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    child = Child(sites, reqid=42)
    left.plane.apply(child.trap(0))
    events = await told(left, child.pings)
    assert events
    assert set(events) == {Acquire(42)}


async def test_a_packet_into_anothers_trap_is_not_ours(sites: tuple[Site, Site]) -> None:
    left, child = sites[0], Child(sites)
    words = "src 10.1.0.0/24 dst 10.2.0.0/24 dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 42 mode tunnel"
    left.ns.ip("xfrm", "policy", "add", *words.split())
    left.plane.apply(child.trap(0)[-1:])
    assert await told(left, child.pings, seconds=1) == []


async def test_a_trapped_ping_goes_through_as_soon_as_the_child_stands(sites: tuple[Site, Site]) -> None:
    left, right = sites
    child = Child(sites, reqid=7)
    child.allocate()
    right.plane.apply(child.orders(1))
    left.plane.apply(child.trap(0))
    events: list[PlaneEvent] = []

    def heard(event: PlaneEvent) -> None:
        events.append(event)
        if len(events) == 1:
            left.plane.apply(child.orders(0))

    left.plane.listen(heard)
    assert await asyncio.to_thread(child.pings), "not even the first packet is lost"
    assert events[0] == Acquire(7)
    assert {policy.spi for policy in left.plane.policies()} == {None, child.spis[1]}


def test_the_kernel_drops_first_packets_again_when_we_are_gone(sites: tuple[Site, Site]) -> None:
    left = sites[0]

    def larval_drop() -> str:
        with left.ns.entered():
            return Path("/proc/sys/net/core/xfrm_larval_drop").read_text().strip()

    before = larval_drop()
    child = Child(sites).install()
    assert larval_drop() == before, "not touched without a trap"
    left.plane.apply([AddPolicy(policy) for policy in child.policies(0, trap=True)])
    assert larval_drop() == "0"
    left.plane.close()
    assert larval_drop() == before


async def test_expiry_is_told_for_ours_alone(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    child = Child(sites).install()
    ours = child.state(0, inbound=False)
    limit = "limit packet-soft 2 limit packet-hard 4"
    key = "0x" + ours.encr_key.hex()
    name = f"src {ours.source} dst {ours.destination} proto esp spi {ours.spi:#x}"
    rest = f"reqid 1 mode tunnel flag af-unspec aead rfc4106(gcm(aes)) {key} 128 {limit}"
    left.ns.ip("xfrm", "state", "delete", *name.split())
    left.ns.ip("xfrm", "state", "add", *name.split(), *rest.split())
    foreign = name.replace(f"{ours.spi:#x}", "0x4711") + " reqid 99 mode tunnel"
    left.ns.ip("xfrm", "state", "add", *f"{foreign} aead rfc4106(gcm(aes)) {key} 128 limit time-hard 1".split())
    events = await told(left, lambda: child.pings(count=5), count=2, seconds=4)
    assert [event for event in events if isinstance(event, Expire)] == [
        Expire(StateKey(ours.destination, ours.spi), hard=False),
        Expire(StateKey(ours.destination, ours.spi), hard=True),
    ]
    assert ours.key not in left.plane.counters()


@pytest.mark.parametrize("version", [4, 6])
async def test_a_peer_that_moves_is_told_once(
    sites: tuple[Site, Site], sockets: Callable[[int], list[socket.socket]], version: int
) -> None:
    """The left end sends from port 4501 all of a sudden, as behind a NAT that forgot."""
    left, right = sites
    sockets(version)
    child = Child(sites, outer=version, inner=version, encapsulated=True).install()
    with left.ns.entered():
        other = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    with other:
        other.bind((ANY[version], 4501))
        left.plane.adopt(other, lambda *_: None)
        outbound = child.state(0, inbound=False)
        moved = replace(outbound, encapsulation=Encapsulation(4501, 4500))
        left.plane.apply([RemoveState(outbound.key, False), AddState(moved)])
        events = await told(right, lambda: child.pings(count=3))
        await asyncio.sleep(0.3)
    assert events == [Remapped(child.state(1, inbound=True).key, OUTER[version][0], 4501)]


async def test_too_many_events_are_told_as_lost(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    child = Child(sites, reqid=3)
    left.plane.apply(child.trap(0))
    events: list[PlaneEvent] = []
    left.plane.listen(events.append)
    left.plane._events._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the smallest there is
    with left.ns.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        sender.bind(("10.1.0.1", 0))
        sender.setblocking(False)
        for _ in range(20):  # the kernel asks again when the state that waits for its keys is gone
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                sender.sendto(b"x", ("10.2.0.1", 9))
            left.ns.ip("xfrm", "state", "flush")
    await asyncio.sleep(0.3)
    assert EventsLost() in events
    assert Acquire(3) in events
