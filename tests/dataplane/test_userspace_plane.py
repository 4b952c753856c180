"""One userspace data plane in this process: what it keeps, does whole or not at all, and leaves behind."""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gateway.dataplane.driver import Driver
from gateway.dataplane.tun import Tun
from gateway.dataplane.userspace import UserspacePlane
from gateway.ike.plane import (
    AddPolicy,
    AddRoute,
    AddState,
    Encapsulation,
    Order,
    Refused,
    RemovePolicy,
    RemoveRoute,
    RemoveState,
    Route,
    SkipSequence,
    StateKey,
)
from tests.dataplane.userspace_samples import POLICY, STATE, selector
from tests.dataplane.userspace_sites import lies_there
from tests.lab.namespaces import Namespace, Network, two_sites

pytestmark = [pytest.mark.requires("root", "tun", "netns", "ping"), pytest.mark.timeout(90)]
ROUTE = Route(selector("10.2.0.0/24"), (selector("10.1.0.0/24"),), "192.0.2.2")


@pytest.fixture
def site(network: Network) -> Namespace:
    return two_sites(network)[0]


@pytest.fixture
def plane(site: Namespace) -> Iterator[UserspacePlane]:
    with site.entered():
        made = UserspacePlane()
    yield made
    made.close()
    assert lies_there(site) == []


def test_keeps_what_it_was_told_without_the_keys(plane: UserspacePlane) -> None:
    out = replace(STATE, spi=0x1002, source="192.0.2.1", destination="192.0.2.2", inbound=False)
    plane.apply([AddState(STATE), AddState(out), AddPolicy(POLICY), AddRoute(ROUTE)])
    assert list(plane.states()) == [replace(STATE, encr_key=b""), replace(out, encr_key=b"")]
    assert list(plane.policies()) == [POLICY]
    assert list(plane.routes()) == [ROUTE]
    assert set(plane.counters()) == {STATE.key, out.key}
    plane.apply([RemoveState(STATE.key, True), RemoveState(out.key, False), RemovePolicy(POLICY), RemoveRoute(ROUTE)])
    plane.apply([RemoveState(STATE.key, True), RemoveState(out.key, False), RemovePolicy(POLICY), RemoveRoute(ROUTE)])
    assert not plane.states()
    assert not plane.policies()
    assert not plane.routes()


BAD_KEY = AddState(replace(STATE, spi=0x1003, encr_key=bytes(3)))
NOWHERE = AddRoute(Route(selector("10.7.0.0/24"), (), "no address"))


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (AddState(STATE), "00001001 to 192.0.2.1 exists"),
        (AddState(replace(STATE, destination="2001:db8::1")), "exists"),
        (BAD_KEY, "octets of key"),
        (NOWHERE, "no route to 10.7.0.0/24"),
    ],
    ids=["twice", "spi", "key", "route"],
)
def test_a_batch_is_carried_out_whole_or_not(plane: UserspacePlane, site: Namespace, last: Order, why: str) -> None:
    with pytest.raises(Refused, match=why):
        plane.apply([AddState(STATE), AddPolicy(POLICY), AddRoute(ROUTE), last])
    assert not plane.states()
    assert not plane.policies()
    assert not plane.routes()
    assert not [line for line in lies_there(site) if "10.2.0.0" in line or "192.0.2.2" in line]
    plane.apply([AddState(STATE)])
    with pytest.raises(Refused):
        plane.apply([RemoveState(STATE.key, True), last, AddState(STATE), AddState(STATE)])
    assert [each.key for each in plane.states()] == [STATE.key]


def test_a_state_given_another_peer_address_keeps_its_window_and_counts(plane: UserspacePlane) -> None:
    plane.apply([AddState(STATE)])
    before = plane._inbound.find(STATE.spi)
    assert before is not None
    before.esp.window.accept(40)
    before.packets = 3
    moved = replace(STATE, source="192.0.2.99", encapsulation=Encapsulation(61000, 4500))
    plane.apply([RemoveState(STATE.key, True), AddState(moved)])
    after = plane._inbound.find(STATE.spi)
    assert after is not None
    assert after.peer == ("192.0.2.99", 61000)
    assert not after.esp.window.fresh(40)
    assert plane.counters()[STATE.key].packets == 3
    other_key = replace(STATE, encr_key=bytes(35) + b"\1")
    plane.apply([RemoveState(STATE.key, True), AddState(other_key)])
    assert plane.counters()[STATE.key].packets == 0


def test_an_outbound_state_skips_sequence_numbers(plane: UserspacePlane) -> None:
    sending = replace(STATE, inbound=False, source="192.0.2.1", destination="192.0.2.2")
    with pytest.raises(Refused, match="no state with SPI"):
        plane.apply([SkipSequence(sending.key, 5)])
    plane.apply([AddState(sending), SkipSequence(sending.key, 5)])
    found = plane._outbound.find(sending.key)
    assert found is not None
    assert found.esp.sequence == 5


def test_allocated_spis_differ_for_all_our_addresses(site: Namespace) -> None:
    answers = [b"\0\0\0\7", b"\0\0\1\0", b"\0\0\1\0", b"\0\0\1\1", b"\0\0\1\1", b"\0\0\1\2", b"\0\0\1\0"]
    with site.entered():
        plane = UserspacePlane(random=lambda _: answers.pop(0))
    with contextlib.closing(plane):
        assert plane.allocate_spi("192.0.2.2", "192.0.2.1") == 256
        assert plane.allocate_spi("192.0.2.2", "2001:db8::1") == 257
        assert plane.allocate_spi("192.0.2.2", "192.0.2.1") == 258
        plane.apply([RemoveState(StateKey("192.0.2.1", 256), True)])
        assert plane.allocate_spi("192.0.2.2", "192.0.2.1") == 256


def test_a_route_lies_there_as_long_as_one_wants_it(plane: UserspacePlane, site: Namespace) -> None:
    wider = Route(selector("10.2.0.0-10.2.0.255"), (), "192.0.2.2")
    assert wider.destination == ROUTE.destination
    plane.apply([AddRoute(ROUTE), AddRoute(ROUTE), AddRoute(wider)])

    def lines() -> list[str]:
        return site.ip("route", "show", "table", "all").splitlines()

    for order in (RemoveRoute(ROUTE), RemoveRoute(ROUTE)):
        plane.apply([order])
        assert any("10.2.0.0/24 dev ikegate0" in line for line in lines())
    plane.apply([RemoveRoute(wider)])
    assert not any("10.2.0.0" in line for line in lines())
    around = Route(selector("192.0.2.0/24"), (), "192.0.2.2")
    plane.apply([AddRoute(around)])
    assert any("throw 192.0.2.2" in line for line in lines()), "where the peer is, inside what it is asked for"
    plane.apply([RemoveRoute(around)])
    assert not any("throw" in line for line in lines())


def test_a_trap_brings_its_route_until_it_is_replaced_or_lifted(plane: UserspacePlane, site: Namespace) -> None:
    trap = POLICY._replace(spi=None, destination=selector("10.2.0.0/24[tcp/443]"))

    def lines() -> str:
        return "".join(re.findall(r"10.2.0.0/24 dev ikegate0 .*src 10.1.0.1", site.ip("route", "show", "table", "all")))

    for gone in ([AddPolicy(trap._replace(spi=0x1002))], [RemovePolicy(trap)]):
        plane.apply([AddPolicy(trap)])
        plane.apply([AddPolicy(trap)])
        assert lines()
        plane.apply(gone)
        assert not lines()
    plane.apply([AddPolicy(trap)])
    plane.apply([AddPolicy(trap._replace(spi=0x1002)), AddRoute(ROUTE)])
    assert lines()
    plane.apply([RemovePolicy(trap), RemoveRoute(ROUTE)])
    assert not lines()


def test_a_range_that_is_no_prefix_needs_several_routes(plane: UserspacePlane, site: Namespace) -> None:
    plane.apply([AddRoute(Route(selector("10.2.0.1-10.2.0.6"), (), "192.0.2.2"))])
    found = re.findall(r"^(\S+) dev ikegate0", site.ip("route", "show", "table", "all"), re.MULTILINE)
    assert found == ["10.2.0.1", "10.2.0.2/31", "10.2.0.4/31", "10.2.0.6"]


NAMES = ("ikegate0", "ikegate1")


def test_two_planes_take_the_next_device_and_their_own_tables(plane: UserspacePlane, site: Namespace) -> None:
    with site.entered():
        second = UserspacePlane()
    assert (plane.device, second.device) == ("ikegate0", "ikegate1")
    plane.apply([AddRoute(ROUTE)])
    second.apply([AddRoute(ROUTE)])
    tables = [set(re.findall(rf"dev {name} .*table (\d+)", site.ip("route", "show", "table", "all"))) for name in NAMES]
    assert all(tables)
    assert not tables[0] & tables[1]
    second.close()
    assert "ikegate1" not in site.ip("route", "show", "table", "all")
    assert "ikegate0" in site.ip("route", "show", "table", "all")
    rules = site.ip("rule")
    assert any(f"lookup {table}" in rules for table in tables[0])
    assert not any(f"lookup {table}" in rules for table in tables[1])


def test_a_device_that_cannot_be_made_is_refused_with_its_reason(plane: UserspacePlane, site: Namespace) -> None:
    with site.entered(), pytest.raises(Refused, match=r"no TUN device ikegate0: .*busy"):
        Tun("ikegate0")


async def test_a_device_deleted_by_somebody_is_said_once(
    plane: UserspacePlane, site: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    plane.listen(lambda event: None)
    site.ip("link", "delete", "ikegate0")
    async with asyncio.timeout(20):
        while not caplog.records:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "ikegate0 is gone" in caplog.text


def test_close_twice_and_without_a_loop_is_silent(plane: UserspacePlane) -> None:
    plane.close()
    plane.close()
    assert not plane.states()


def test_its_name_and_description_say_what_it_is(plane: UserspacePlane) -> None:
    driver: Driver = plane
    assert driver.name == "userspace"
    assert plane.needs_encapsulation
    assert "ikegate0" in plane.describe()
