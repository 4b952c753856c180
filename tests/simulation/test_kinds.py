"""Kinds of CHILD_SA between two gateways: transport mode, and which child carries what."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.ike.attempts import Attempt
from gateway.ike.plane import Direction
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle
from gateway.policy.peers import Child, Mode, Peer, Start
from gateway.policy.selectors import Selector
from gateway.wire.numbers import NotifyType
from tests.simulation.network import ESP, Host, Network, peer, two

LEFT, RIGHT, OUTSIDE = "192.0.2.1", "192.0.2.2", "203.0.113.9"
TRANSPORT = {"mode": Mode.TRANSPORT}


def nets(*texts: str) -> tuple[Selector, ...]:
    return tuple(map(Selector.parse, texts))


def child(local: str, remote: str, name: str = "net", start: Start = Start.ALWAYS, **more: Any) -> Child:
    """A child of networks written with blanks between them."""
    return Child(name, nets(*local.split()), nets(*remote.split()), ESP, start, **more)


def left_peer(*children: Child, **more: Any) -> Peer:
    base = peer("right", me="left.example", them="right.example", remote=RIGHT)
    return replace(base, children=children, **more)


def right_peer(*children: Child, remote: str | None = LEFT, **more: Any) -> Peer:
    """The responder: its children wait."""
    base = peer("left", me="right.example", them="left.example", remote=remote)
    return replace(base, children=tuple(replace(one, start=Start.PASSIVE) for one in children), **more)


def up(network: Network, left: Peer, right: Peer, seconds: float = 1.0) -> tuple[Host, Host]:
    a, b = two(network, left=left, right=right)
    network.run(seconds)
    return a, b


def standing(host: Host) -> list[ChildSa]:
    """The CHILD_SAs of the one IKE SA that stands."""
    sas: list[IkeSa] = [sa for sa in host.engine.ike_sas() if sa.state == Lifecycle.ESTABLISHED]
    assert len(sas) == 1
    return list(sas[0].children.values())


def texts(selectors: tuple[Selector, ...]) -> list[str]:
    return [selector.text for selector in selectors]


def failed(host: Host) -> Attempt:
    """The newest attempt, which failed."""
    attempt = host.engine.core.attempts.latest(1)[0]
    assert attempt.cause, attempt
    return attempt


def assert_nothing_of_esp(*hosts: Host) -> None:
    for host in hosts:
        assert not host.plane.states()
        assert not host.plane.policies()
        assert not host.plane.held


# --- transport mode ---


@pytest.mark.parametrize("wide", [False, True])
def test_transport_mode_is_for_the_two_ends(wide: bool) -> None:
    ours, theirs = ("0.0.0.0/0", "0.0.0.0/0") if wide else (f"{LEFT}/32", f"{RIGHT}/32")
    a, b = up(Network(1), left_peer(child(ours, theirs, **TRANSPORT)), right_peer(child(theirs, ours, **TRANSPORT)))
    for host, here, there in ((a, LEFT, RIGHT), (b, RIGHT, LEFT)):
        (made,) = standing(host)
        assert (texts(made.local), texts(made.remote)) == ([f"{here}/32"], [f"{there}/32"])
        for state in (made.inbound, made.outbound):
            assert state.mode is Mode.TRANSPORT
            assert state.original is None
        assert made.outbound.selectors == (made.local[0], made.remote[0])
        assert made.inbound.selectors == (made.remote[0], made.local[0])
        assert {(policy.direction, policy.mode) for policy in host.plane.policies()} == {
            (Direction.OUT, Mode.TRANSPORT),
            (Direction.IN, Mode.TRANSPORT),
        }
        assert not host.plane.routes()


def test_transport_mode_keeps_protocols_and_ports() -> None:
    ours, theirs = f"{LEFT}/32[tcp] {LEFT}/32[udp/53]", f"{RIGHT}/32"
    a, b = up(Network(2), left_peer(child(ours, theirs, **TRANSPORT)), right_peer(child(theirs, ours, **TRANSPORT)))
    assert texts(standing(a)[0].local) == texts(standing(b)[0].remote) == [f"{LEFT}/32[tcp]", f"{LEFT}/32[udp/53]"]
    assert standing(a)[0].inbound.selectors is None


@pytest.mark.parametrize("what", ["child", "sa"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_rekey_keeps_transport_mode(side: str, what: str) -> None:
    network = Network(3)
    every = "0.0.0.0/0"
    a, b = up(network, left_peer(child(every, every, **TRANSPORT)), right_peer(child(every, every, **TRANSPORT)))
    before = standing(a)[0].spi_in
    host, other = (a, "right") if side == "left" else (b, "left")
    network.perform(host, host.engine.rekey(other, "net" if what == "child" else None, network.now)[1])
    network.run(60)
    for end in (a, b):
        (made,) = standing(end)
        assert made.inbound.mode is made.outbound.mode is Mode.TRANSPORT
    assert (standing(a)[0].spi_in == before) is (what == "sa")


def test_transport_mode_through_a_nat_uses_the_addresses_that_each_end_sees() -> None:
    network = Network(4)
    network.nat[LEFT] = (OUTSIDE, 1000)
    a, b = up(
        network,
        left_peer(child(f"{LEFT}/32", f"{RIGHT}/32", **TRANSPORT)),
        right_peer(child("0.0.0.0/0", "0.0.0.0/0", **TRANSPORT), remote=None),
    )
    (ours,), (theirs,) = standing(a), standing(b)
    assert (texts(ours.local), texts(ours.remote)) == ([f"{LEFT}/32"], [f"{RIGHT}/32"])
    assert (texts(theirs.local), texts(theirs.remote)) == ([f"{RIGHT}/32"], [f"{OUTSIDE}/32"])
    # RFC 7296 2.23.1: what the peer itself sees as source and destination
    assert ours.inbound.original == (RIGHT, OUTSIDE)
    assert theirs.inbound.original == (LEFT, RIGHT)
    assert ours.outbound.original is theirs.outbound.original is None
    assert ours.inbound.encapsulation is not None


@pytest.mark.parametrize("ours", [Mode.TRANSPORT, Mode.TUNNEL])
def test_one_end_wants_transport_mode_and_the_other_a_tunnel(ours: Mode) -> None:
    theirs = Mode.TUNNEL if ours is Mode.TRANSPORT else Mode.TRANSPORT
    here, there = f"{LEFT}/32", f"{RIGHT}/32"
    a, b = up(Network(5), left_peer(child(here, there, mode=ours)), right_peer(child(there, here, mode=theirs)))
    assert not standing(a)
    assert not standing(b)
    told = failed(a if ours is Mode.TRANSPORT else b)
    assert told.cause == "mode"
    assert "tunnel mode" in told.reason
    assert "transport mode" in told.reason
    assert "same mode" in told.advice
    assert_nothing_of_esp(a, b)


def test_networks_without_the_ends_are_no_matter_for_transport_mode() -> None:
    a, b = up(
        Network(6),
        left_peer(child("10.1.0.0/24", "10.2.0.0/24", **TRANSPORT)),
        right_peer(child("10.2.0.0/24", "10.1.0.0/24", **TRANSPORT)),
    )
    told = failed(a)
    assert told.cause == "ends"
    assert f"{LEFT} = {RIGHT}" in told.reason
    assert_nothing_of_esp(a, b)


def test_a_peer_that_asks_for_transport_mode_gets_the_tunnel_that_it_may_have() -> None:
    every = "0.0.0.0/0"
    tunnel, other = child(every, every, "tunnel"), child("10.9.0.0/24", "10.8.0.0/24", "other", **TRANSPORT)
    a, b = up(Network(7), left_peer(child(every, every, **TRANSPORT)), right_peer(other, tunnel))
    assert failed(a).cause == "mode"
    assert "tunnel" in [event.data.get("child") for event in b.events if event.kind == "child-sa.installed"]
    assert_nothing_of_esp(a, b)


def test_transport_mode_says_what_padding_it_cannot_tell() -> None:
    network = Network(8)
    every = "0.0.0.0/0"
    a, _ = up(network, left_peer(child(every, every, **TRANSPORT)), right_peer(child(every, every, **TRANSPORT)))
    seen = [name for message in a.engine.core.attempts.latest(1)[0].messages for name in message.payloads]
    for notify in (NotifyType.USE_TRANSPORT_MODE, NotifyType.ESP_TFC_PADDING_NOT_SUPPORTED):
        assert seen.count(f"N({notify.name})") == 2


# --- narrowing ---


def test_the_child_that_covers_most_answers() -> None:
    here, there = "10.1.0.0/16", "10.2.0.0/16"
    small, whole = child("10.2.0.0/24", "10.1.0.0/24", "small"), child(there, here, "whole")
    a, b = up(Network(20), left_peer(child(here, there)), right_peer(small, whole))
    assert [made.name for made in standing(b)] == ["whole"]
    assert texts(standing(a)[0].local) == [here]


def test_of_two_that_cover_all_the_narrower_answers() -> None:
    here, there = "10.1.0.0/24", "10.2.0.0/24"
    wide, exact = child("10.0.0.0/8", "10.0.0.0/8", "wide"), child(there, here, "exact")
    _, b = up(Network(21), left_peer(child(here, there)), right_peer(wide, exact))
    assert [made.name for made in standing(b)] == ["exact"]


def test_selectors_that_no_packet_can_match_are_not_agreed_on() -> None:
    ours = child("10.1.0.0/24 fd01::/64", "10.2.0.0/24 fd02::/64")
    theirs = child("10.2.0.0/24", "10.1.0.0/24 fd01::/64")
    a, b = up(Network(22), left_peer(ours), right_peer(theirs))
    assert texts(standing(a)[0].local) == texts(standing(b)[0].remote) == ["10.1.0.0/24"]


@pytest.mark.parametrize(
    ("asked", "accepted", "agreed"),
    [
        ("[tcp]", "", "[tcp]"),
        ("", "[tcp/443]", "[tcp/443]"),
        ("[tcp/0-1023]", "[tcp/443-2000]", "[tcp/443-1023]"),
        ("[icmp]", "[icmp/8]", "[icmp/8]"),
        ("[icmp/3]", "[icmp/3(4)]", "[icmp/3(4)]"),
        ("[udp/opaque]", "[udp]", "[udp/opaque]"),
        ("[udp/opaque]", "[udp/53]", ""),
        ("[tcp]", "[udp]", ""),
    ],
)
def test_protocols_and_ports_are_narrowed(asked: str, accepted: str, agreed: str) -> None:
    here, there = "10.1.0.0/24", "10.2.0.0/24"
    a, b = up(Network(23), left_peer(child(here, there + asked)), right_peer(child(there + accepted, here)))
    if agreed:
        assert texts(standing(a)[0].remote) == texts(standing(b)[0].local) == [there + agreed]
    else:
        assert failed(a).cause == failed(b).cause == "networks"
        assert_nothing_of_esp(a, b)
