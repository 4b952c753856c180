"""Configuration payloads that no honest peer sends, from who asks for an address and from who gives one."""

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from gateway.policy.peers import Child, Start
from gateway.policy.pools import Pool
from gateway.policy.selectors import Selector
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import CfgAttribute, CfgType, NotifyType, TsType
from tests.hostile.rogue import AUTH, Rogue, errors, half_open, proving
from tests.hostile.scene import Scene
from tests.simulation.network import ESP

FOUR, SIX = CfgAttribute.INTERNAL_IP4_ADDRESS, CfgAttribute.INTERNAL_IP6_ADDRESS
HOME = (Selector.parse("10.1.0.0/24"),)
OFFICE = Pool("office", ("10.9.0.0/29", "fd00:9::/64"), dns=("10.1.0.53",), domains=("corp.example",))
ANY = [wire.TrafficSelector(TsType.TS_IPV4_ADDR_RANGE, 0, 0, 65535, bytes(4), b"\xff" * 4)]


def giving() -> Scene:
    """A gateway that gives the rogue an address."""
    child = Child("net", HOME, (), ESP, Start.PASSIVE)
    scene = Scene(children=(child,), pools=("office",))
    snapshot = replace(scene.engine.core.snapshot, pools=MappingProxyType({"office": OFFICE}))
    scene.network.apply(scene.gate, snapshot)
    scene.before = scene.books()
    return scene


def ask(rogue: Rogue, *cp: wire.Payload) -> Message | None:
    sa = next(payload for payload in rogue.child() if isinstance(payload, wire.SA))
    return rogue.request(AUTH, *rogue.credentials(), *cp, sa, wire.TSi(ANY), wire.TSr(ANY))


def request(*attributes: tuple[int, bytes]) -> wire.CP:
    return wire.CP(CfgType.CFG_REQUEST, [wire.Attribute(kind, value) for kind, value in attributes])


@pytest.mark.parametrize(
    ("payloads", "error"),
    [
        ([], NotifyType.FAILED_CP_REQUIRED),
        ([request()], NotifyType.FAILED_CP_REQUIRED),
        ([request((0, b""), (0x7FFF, b"\xff" * 60))], NotifyType.FAILED_CP_REQUIRED),
        ([wire.CP(CfgType.CFG_REPLY, [wire.Attribute(FOUR, bytes(4))])], NotifyType.FAILED_CP_REQUIRED),
        ([wire.CP(CfgType.CFG_SET, [wire.Attribute(FOUR, bytes(4))])], NotifyType.FAILED_CP_REQUIRED),
        ([wire.CP(0, [wire.Attribute(FOUR, b"")])], NotifyType.FAILED_CP_REQUIRED),
        ([request((FOUR, b"\x0a"))], NotifyType.INVALID_SYNTAX),
        ([request((FOUR, bytes(17)))], NotifyType.INVALID_SYNTAX),
        ([request((SIX, bytes(4)))], NotifyType.INVALID_SYNTAX),
        ([request((SIX, bytes(60_000)))], NotifyType.INVALID_SYNTAX),
        ([request((FOUR, b"")), request((FOUR, b""))], NotifyType.INVALID_SYNTAX),
    ],
)
def test_a_wish_that_makes_no_sense_gets_no_address(payloads: list[wire.Payload], error: int) -> None:
    scene = giving()
    rogue = half_open(scene)
    assert errors(ask(rogue, *payloads)) == [error]
    assert scene.engine.core.extensions.leases.all() == []
    assert not scene.gate.plane.states()
    scene.assert_serves()
    scene.assert_forgets()


def test_however_often_it_is_asked_for_one_address_of_each_version_is_given() -> None:
    scene = giving()
    rogue = half_open(scene)
    many = [(FOUR, bytes((10, 9, 0, host % 250))) for host in range(120)] + [(SIX, b"")] * 120
    answer = ask(rogue, request(*many))
    assert answer is not None
    given = [one for one in answer.one(wire.CP).attributes if one.type in (FOUR, SIX)]
    assert [one.type for one in given] == [FOUR, SIX]
    assert len(scene.engine.core.extensions.leases.all()) == 2
    scene.assert_serves()


@pytest.mark.parametrize("wanted", ["10.9.0.7", "10.9.0.0", "192.0.2.1", "10.1.0.5", "255.255.255.255", "127.0.0.1"])
def test_an_address_outside_of_the_pool_is_not_given(wanted: str) -> None:
    scene = giving()
    octets = bytes(map(int, wanted.split(".")))
    answer = ask(half_open(scene), request((FOUR, octets)))
    assert answer is not None
    (given,) = [one.value for one in answer.one(wire.CP).attributes if one.type == FOUR]
    assert given == bytes((10, 9, 0, 1))


def test_the_child_is_for_the_address_alone_whatever_is_asked() -> None:
    scene = giving()
    answer = ask(half_open(scene), request((FOUR, b"")))
    assert answer is not None
    (selector,) = answer.one(wire.TSi).selectors
    assert (selector.start, selector.end) == (bytes((10, 9, 0, 1)),) * 2


def taking() -> tuple[Scene, Rogue]:
    """A gateway that asks the rogue for an address."""
    child: dict[str, Any] = {"local": (), "remote": HOME, "proposals": ESP}
    scene = Scene(children=(Child("net", **child),), virtual_ip=True)
    return scene, proving(scene)


@pytest.mark.parametrize(
    "value",
    [b"", b"\x7f\0\0\1", bytes(4), b"\xe0\0\0\1", b"\xa9\xfe\0\1", b"\xff" * 4],
    ids=["none", "loopback", "unspecified", "multicast", "link-local", "broadcast"],
)
def test_an_address_that_no_host_can_have_is_not_set(value: bytes) -> None:
    scene, rogue = taking()
    reply = wire.CP(CfgType.CFG_REPLY, [wire.Attribute(FOUR, value)])
    rogue.respond(*rogue.credentials(), reply, *rogue.child())
    assert scene.gate.plane.addresses() == ()
    assert not scene.gate.plane.states()
    scene.assert_serves()


def test_a_gateway_that_lends_an_address_lends_it_once_and_it_goes_with_the_ike_sa() -> None:
    scene, rogue = taking()
    values = [wire.Attribute(FOUR, bytes((10, 66, 0, host))) for host in range(1, 200)]
    rogue.respond(*rogue.credentials(), wire.CP(CfgType.CFG_REPLY, values), *rogue.child())
    assert scene.gate.plane.addresses() == ("10.66.0.1",)
    scene.network.perform(scene.gate, scene.engine.stop(scene.network.now))
    scene.network.run(200)
    assert scene.gate.plane.addresses() == ()
