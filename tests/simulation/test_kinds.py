"""Kinds of CHILD_SA between two gateways: transport mode, and which child carries what."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.ike.attempts import Attempt, Outcome
from gateway.ike.plane import Action, Direction, Interface, Policy
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle
from gateway.policy.peers import Child, Mark, Mode, Peer, Shunt, ShuntAction, Start
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot
from gateway.wire.numbers import ExchangeType, NotifyType
from tests.simulation.network import ESP, Host, Network, peer, psk, two

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
        assert not host.protecting()
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
        assert {(policy.direction, policy.mode) for policy in host.protecting()} == {
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


# --- shunts ---

HERE, THERE = "10.1.0.0/24", "10.2.0.0/24"


def shunt(action: str, local: str, remote: str, priority: int = 100, name: str = "shunt") -> Shunt:
    return Shunt(name, ShuntAction(action), nets(*local.split()), nets(*remote.split()), priority)


def configure(network: Network, host: Host, *peers: Peer, shunts: tuple[Shunt, ...] = ()) -> None:
    network.apply(host, Snapshot.build(network.random.getrandbits(30), peers, [psk()], shunts=shunts))


def shunted(host: Host) -> set[tuple[Direction, str, str, Action, int | None]]:
    return {
        (policy.direction, policy.source.text, policy.destination.text, policy.action, policy.priority)
        for policy in host.plane.policies()
        if policy.action is not Action.PROTECT
    }


def out_policy(host: Host, local: str = HERE, remote: str = THERE) -> Policy:
    (found,) = [
        policy
        for policy in host.plane.policies()
        if (policy.direction, policy.source, policy.destination) == (Direction.OUT, *nets(local, remote))
    ]
    return found


def test_shunts_lie_in_every_direction_and_only_differences_are_touched() -> None:
    network = Network(30)
    host = network.host("left", LEFT)
    local = shunt("pass", "10.1.0.0/16", "10.1.0.0/24 fd01::/64", name="local")
    configure(network, host, shunts=(local, shunt("drop", "10.1.0.0/16", "10.9.0.0/16[tcp/25]", 7)))
    passing = {
        (direction, source, destination, Action.PASS, 100)
        for source, destination in (("10.1.0.0/16", "10.1.0.0/24"), ("10.1.0.0/24", "10.1.0.0/16"))
        for direction in (Direction.OUT, Direction.IN, Direction.FORWARD)
        if (direction, source) not in ((Direction.OUT, "10.1.0.0/24"), (Direction.IN, "10.1.0.0/16"))
    }
    mail = ("10.1.0.0/16", "10.9.0.0/16[tcp/25]")
    dropping = {
        (Direction.OUT, *mail, Action.DROP, 7),
        (Direction.IN, *mail[::-1], Action.DROP, 7),
        (Direction.FORWARD, *mail, Action.DROP, 7),
        (Direction.FORWARD, *mail[::-1], Action.DROP, 7),
    }
    assert shunted(host) == passing | dropping
    orders = len(host.plane.orders)
    configure(network, host, shunts=(replace(local, description="for all of us"), shunt("drop", *mail, 7)))
    assert len(host.plane.orders) == orders
    configure(network, host, shunts=(local,))
    assert len(host.plane.orders) == orders + 4
    assert shunted(host) == passing
    configure(network, host)
    assert not host.plane.policies()


def test_of_two_shunts_for_the_same_packets_the_lower_priority_wins() -> None:
    network = Network(31)
    host = network.host("left", LEFT)
    two_of_them = shunt("pass", HERE, THERE, 20), shunt("drop", HERE, THERE, 10, name="other")
    configure(network, host, shunts=two_of_them)
    assert (out_policy(host).action, out_policy(host).priority) == (Action.DROP, 10)
    configure(network, host, shunts=two_of_them[:1])
    assert (out_policy(host).action, out_policy(host).priority) == (Action.PASS, 20)


@pytest.mark.parametrize("first", ["shunt", "child"])
def test_a_shunt_lies_over_a_child_with_the_same_networks(first: str) -> None:
    network = Network(32)
    left = left_peer(child(HERE, THERE))
    if first == "child":
        a, _ = up(network, left, right_peer(child(THERE, HERE)))
        configure(network, a, left, shunts=(shunt("drop", HERE, THERE),))
    else:
        a, b = network.host("left", LEFT), network.host("right", RIGHT)
        configure(network, b, right_peer(child(THERE, HERE)))
        configure(network, a, left, shunts=(shunt("drop", HERE, THERE),))
        network.run(1)
    assert out_policy(a).action is Action.DROP
    network.perform(a, a.engine.rekey("right", "net", network.now)[1])
    network.run(60)
    (made,) = standing(a)
    assert out_policy(a).action is Action.DROP
    configure(network, a, left)
    assert standing(a) == [made]
    assert (out_policy(a).action, out_policy(a).spi) == (Action.PROTECT, made.spi_out)
    assert not shunted(a)


def test_a_child_that_goes_beneath_a_shunt_does_not_come_back_with_its_end() -> None:
    network = Network(33)
    a, _ = up(network, left_peer(child(HERE, THERE)), right_peer(child(THERE, HERE)))
    configure(network, a, left_peer(child(HERE, THERE)), shunts=(shunt("drop", HERE, THERE),))
    configure(network, a, shunts=(shunt("drop", HERE, THERE),))
    network.run(5)
    assert len(a.plane.policies()) == 4
    configure(network, a)
    assert not a.plane.policies()


def test_shunts_that_the_data_plane_refuses_are_told_and_tried_again() -> None:
    network = Network(34)
    host = network.host("left", LEFT)
    host.plane.fail_next("no room for policies")
    configure(network, host, shunts=(shunt("drop", HERE, THERE),))
    assert "could not lay the shunts: no room for policies" in [event.text for event in host.events]
    assert not host.plane.policies()
    configure(network, host, shunts=(shunt("drop", HERE, THERE),))
    assert len(shunted(host)) == 4


# --- route-based ---


def test_a_route_based_child_has_its_interface_from_configuration_on() -> None:
    network = Network(40)
    every = "0.0.0.0/0 ::/0"
    left = left_peer(child(every, every, interface_id=7, start=Start.PASSIVE), child(HERE, THERE, "plain"))
    right = right_peer(child(every, every, interface_id=9, interface="branch"), child(THERE, HERE, "plain"))
    a, b = two(network, left=left, right=right)
    assert a.plane.interfaces() == (Interface("ipsec7", 7),)
    assert b.plane.interfaces() == (Interface("branch", 9),)
    network.run(1)
    network.perform(a, a.engine.connect("right", "net", network.now)[1])
    network.run(1)
    for host, number in ((a, 7), (b, 9)):
        (made,) = [one for one in standing(host) if one.name == "net"]
        assert made.inbound.interface_id == made.outbound.interface_id == number
        assert {policy.interface_id for policy in made.policies} == {number}
        assert not made.routes
        assert all(not state.interface_id for one in standing(host) if one is not made for state in (one.inbound,))
    configure(network, a)
    assert not a.plane.interfaces()
    network.run(5)
    assert b.plane.interfaces()


def test_networks_of_a_route_based_child_are_routed_into_its_interface() -> None:
    a, b = up(Network(41), left_peer(child(HERE, THERE, interface_id=7)), right_peer(child(THERE, HERE)))
    assert {(route.destination.text, route.interface) for route in a.plane.routes()} == {(THERE, "ipsec7")}
    assert {(route.destination.text, route.interface) for route in b.plane.routes()} == {(HERE, "")}


def test_two_peers_on_one_interface_keep_it_until_both_are_gone() -> None:
    network = Network(42)
    host = network.host("left", LEFT)
    first = left_peer(child(HERE, THERE, interface_id=7, start=Start.PASSIVE))
    second = replace(first, name="second", remote_addresses=("192.0.2.9",))
    configure(network, host, first, second)
    configure(network, host, second)
    assert host.plane.interfaces() == (Interface("ipsec7", 7),)
    configure(network, host, replace(second, enabled=False))
    assert not host.plane.interfaces()


def test_a_route_based_child_does_not_come_up_without_its_interface() -> None:
    network = Network(43)
    a, b = network.host("left", LEFT), network.host("right", RIGHT)
    configure(network, b, right_peer(child(THERE, HERE)))
    for _ in range(2):
        a.plane.fail_next("this kernel has no XFRM interfaces")
    configure(network, a, left_peer(child(HERE, THERE, interface_id=7)))
    network.run(1)
    told = failed(a)
    assert (told.cause, told.reason) == ("data-plane", "this kernel has no XFRM interfaces")
    assert not a.plane.states()
    network.run(60)
    assert standing(a)[0].outbound.interface_id == 7
    assert a.plane.interfaces() == (Interface("ipsec7", 7),)


def test_a_mark_is_on_states_and_policies() -> None:
    mark = Mark(0x2A, 0xFF)
    a, _ = up(Network(44), left_peer(child(HERE, THERE, mark=mark)), right_peer(child(THERE, HERE)))
    (made,) = standing(a)
    assert {policy.mark for policy in made.policies} == {made.outbound.mark} == {made.inbound.mark} == {mark}


# --- childless ---


def payloads_sent(host: Host, exchange: ExchangeType) -> list[tuple[str, ...]]:
    """The payloads of our requests of this exchange, as the attempts tell them."""
    return [
        message.payloads
        for attempt in reversed(host.engine.core.attempts.latest(99))
        for message in attempt.messages
        if message.exchange == exchange and message.outgoing and not message.response
    ]


@pytest.mark.parametrize("supported", [True, False])
def test_childless_leaves_all_children_to_exchanges_of_their_own(supported: bool) -> None:
    network = Network(50)
    more = child("10.1.1.0/24", "10.2.1.0/24", "more"), child("10.2.1.0/24", "10.1.1.0/24", "more")
    left, right = left_peer(child(HERE, THERE), more[0], childless=supported), right_peer(child(THERE, HERE), more[1])
    a, b = up(network, left, right, 5)
    (auth,) = payloads_sent(a, ExchangeType.IKE_AUTH)
    assert ("SA" in auth, "TSi" in auth, "TSr" in auth) == (not supported,) * 3
    assert "N(INITIAL_CONTACT)" in auth
    assert {made.name for made in standing(a)} == {made.name for made in standing(b)} == {"net", "more"}
    own = {made.name for made in standing(b) if made.chosen.ke}
    assert own == ({"net", "more"} if supported else {"more"})
    for host in (a, b):
        assert {attempt.outcome for attempt in host.engine.core.attempts.latest(9)} == {Outcome.ESTABLISHED}


def test_an_ike_sa_may_stand_alone() -> None:
    network = Network(51)
    a, b = up(network, left_peer(childless=True), right_peer(child(THERE, HERE)))
    network.perform(a, a.engine.connect("right", None, network.now)[1])
    network.run(1)
    assert not standing(a)
    assert not standing(b)
    assert len(a.engine.core.attempts.latest(9)) == 1
    assert a.engine.core.attempts.latest(1)[0].outcome == Outcome.ESTABLISHED
    network.run(200)
    assert not standing(a)


def test_a_second_childless_ike_sa_takes_the_place_of_the_first() -> None:
    network = Network(52)
    _, b = up(network, left_peer(child(HERE, THERE), childless=True), right_peer(child(THERE, HERE)))
    (first,) = b.engine.ike_sas()
    again = network.host("left", LEFT)
    configure(network, again, left_peer(child(HERE, THERE), childless=True))
    network.run(5)
    assert first not in b.engine.ike_sas()
    assert "INITIAL_CONTACT" in first.reason
    (made,) = standing(b)
    assert {state.spi for state in b.plane.states()} == {made.spi_in, made.spi_out}
    assert standing(again)[0].spi_in == made.spi_out
