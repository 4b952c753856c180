"""The memory plane remembers exactly what it was told, and refuses what a kernel would."""

import hashlib
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.crypto import suites
from gateway.dataplane.driver import Driver
from gateway.dataplane.memory import MemoryPlane
from gateway.ike.plane import (
    AddPolicy,
    AddRoute,
    AddState,
    Counters,
    Direction,
    EspState,
    MoveState,
    Order,
    Policy,
    Refused,
    RemovePolicy,
    RemoveRoute,
    RemoveState,
    Route,
    SkipSequence,
    StateKey,
)
from gateway.ike.plane_events import Acquire
from gateway.policy.selectors import Selector

AES = suites.encryption(20, 256)
assert AES is not None
STATE = EspState(0x1001, "192.0.2.1", "192.0.2.2", False, 7, AES, bytes(36))
HERE, THERE = Selector.parse("10.1.0.0/24"), Selector.parse("10.2.0.0/24")
POLICY = Policy(Direction.OUT, HERE, THERE, "192.0.2.1", "192.0.2.2", 7, 0x1001)
ROUTE = Route(THERE, (HERE,), "192.0.2.2")


def seeded(seed: int) -> Callable[[int], bytes]:
    count = 0

    def random(octets: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.sha256(f"{seed}/{count}".encode()).digest()[:octets]

    return random


def test_is_a_driver_that_shares_no_socket() -> None:
    driver: Driver = MemoryPlane(seeded(1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert not driver.adopt(sock, lambda data, peer, ours: None)
    assert driver.name == "memory"
    assert "no packet" in driver.describe()


def test_remembers_what_it_was_told_in_order() -> None:
    plane = MemoryPlane(seeded(1), remember=True)
    orders: list[Order] = [AddState(STATE), AddPolicy(POLICY), AddRoute(ROUTE)]
    plane.apply(orders)
    assert plane.states() == (STATE,)
    assert plane.policies() == (POLICY,)
    assert plane.routes() == (ROUTE,)
    assert plane.orders == orders
    plane.apply([RemoveRoute(ROUTE), RemovePolicy(POLICY), RemoveState(STATE.key, False)])
    assert not plane.states()
    assert not plane.policies()
    assert not plane.routes()


def test_the_same_seed_allocates_the_same_spis_and_none_twice() -> None:
    one, two = MemoryPlane(seeded(5)), MemoryPlane(seeded(5))
    spis = [one.allocate_spi("192.0.2.2", "192.0.2.1") for _ in range(50)]
    assert spis == [two.allocate_spi("192.0.2.2", "192.0.2.1") for _ in range(50)]
    assert len(set(spis)) == 50
    assert min(spis) >= 256


def test_an_allocated_spi_is_held_until_added_or_given_back() -> None:
    answers = [b"\0\0\0\xff", b"\0\0\1\0", b"\0\0\1\0", b"\0\0\1\1", b"\0\0\1\0"]
    plane = MemoryPlane(lambda _: answers.pop(0))
    assert plane.allocate_spi("192.0.2.2", "192.0.2.1") == 256  # 255 is reserved
    assert plane.allocate_spi("192.0.2.2", "192.0.2.1") == 257  # 256 is held
    key = StateKey("192.0.2.1", 256)
    plane.apply([RemoveState(key, True)])
    assert plane.held == {StateKey("192.0.2.1", 257)}
    assert plane.allocate_spi("192.0.2.2", "192.0.2.1") == 256
    plane.apply([AddState(replace(STATE, spi=256, destination="192.0.2.1", inbound=True))])
    assert key not in plane.held


def test_no_free_spi_is_refused_instead_of_looking_for_ever() -> None:
    plane = MemoryPlane(lambda _: b"\0\0\0\1")
    with pytest.raises(Refused, match="no free SPI"):
        plane.allocate_spi("192.0.2.2", "192.0.2.1")


def test_a_duplicate_state_is_refused_and_nothing_of_the_batch_stays() -> None:
    plane = MemoryPlane(seeded(1), remember=True)
    with pytest.raises(Refused, match=r"00001001 to .* exists"):
        plane.apply([AddPolicy(POLICY), AddState(STATE), AddRoute(ROUTE), AddState(STATE)])
    assert not plane.states()
    assert not plane.policies()
    assert not plane.routes()
    assert not plane.orders
    plane.apply([AddState(STATE), RemoveState(STATE.key, False), AddState(STATE)])
    assert plane.states() == (STATE,)


def test_removing_the_absent_is_silent() -> None:
    plane = MemoryPlane(seeded(1))
    plane.apply([RemoveState(STATE.key, False), RemovePolicy(POLICY), RemoveRoute(ROUTE)])
    assert not plane.states()
    assert not plane.orders, "they are remembered only where somebody wants them: they would grow for ever"


def test_a_policy_ordered_again_is_replaced_and_a_route_is_counted() -> None:
    plane = MemoryPlane(seeded(1))
    newer = POLICY._replace(spi=0x2002)
    plane.apply([AddPolicy(POLICY), AddPolicy(newer), AddRoute(ROUTE), AddRoute(ROUTE), RemoveRoute(ROUTE)])
    assert plane.policies() == (newer,)
    assert plane.routes() == (ROUTE,)
    plane.apply([RemoveRoute(ROUTE)])
    assert not plane.routes()


def test_refusals_can_be_asked_for() -> None:
    plane = MemoryPlane(seeded(1))
    plane.fail_next("no memory")
    plane.fail_next_allocation("no SPI")
    plane.apply([RemoveState(STATE.key, False)])  # to remove cannot fail, so the refusal waits
    with pytest.raises(Refused) as refused:
        plane.apply([AddState(STATE)])
    assert refused.value.why == "no memory"
    with pytest.raises(Refused, match="no SPI"):
        plane.allocate_spi("192.0.2.2", "192.0.2.1")
    assert not plane.states()
    plane.apply([AddState(STATE)])
    assert plane.states() == (STATE,)


def test_counters_are_of_the_states_that_are_there() -> None:
    plane = MemoryPlane(seeded(1))
    plane.apply([AddState(STATE)])
    assert plane.counters() == {STATE.key: Counters()}
    plane.count(STATE.key, Counters(octets=100, packets=1))
    assert plane.counters()[STATE.key].octets == 100
    plane.apply([RemoveState(STATE.key, False)])
    assert plane.counters() == {}
    with pytest.raises(KeyError):
        plane.count(STATE.key, Counters())


def test_skips_add_up_until_their_state_goes() -> None:
    plane = MemoryPlane(seeded(1))
    with pytest.raises(Refused, match="no state with SPI 00001001"):
        plane.apply([SkipSequence(STATE.key, 5)])
    plane.apply([AddState(STATE), SkipSequence(STATE.key, 5), SkipSequence(STATE.key, 6)])
    moved = replace(STATE, destination="192.0.2.9")
    plane.apply([MoveState(STATE.key, moved)])
    assert plane.skipped() == {moved.key: 11}
    plane.apply([RemoveState(moved.key, False)])
    assert not plane.skipped()


def test_events_reach_the_listener() -> None:
    plane = MemoryPlane(seeded(1))
    with pytest.raises(RuntimeError):
        plane.report(Acquire(7))
    heard: list[object] = []
    plane.listen(heard.append)
    plane.report(Acquire(7))
    assert heard == [Acquire(7)]
    plane.close()
    assert not plane.states()
