"""Kinds of CHILD_SA between two gateways: transport mode, childless, route-based."""

from dataclasses import replace

import pytest

from gateway.ike.answering import script as honest
from gateway.ike.attempts import Outcome
from gateway.ike.core import Core
from gateway.ike.plane import Direction, Interface
from gateway.ike.sa import IkeSa
from gateway.policy.peers import Mark, Mode, Offload, Start
from gateway.policy.proposals import Proposal
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol
from tests.simulation.kinds import (
    HERE,
    LEFT,
    OUTSIDE,
    RIGHT,
    THERE,
    assert_nothing_of_esp,
    child,
    configure,
    failed,
    left_peer,
    right_peer,
    standing,
    texts,
    up,
)
from tests.simulation.network import Host, Network, two

TRANSPORT = {"mode": Mode.TRANSPORT}


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


@pytest.mark.parametrize(
    ("ours", "theirs", "asked", "answered"),
    [("", "", True, True), ("[tcp]", "", True, True), ("[tcp/443]", "", False, False), ("", "[tcp/443]", True, False)],
)
def test_fragments_without_ports_go_where_no_port_is_asked_for(
    ours: str, theirs: str, asked: bool, answered: bool
) -> None:
    told: list[tuple[set[int], set[int]]] = []

    def watched(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
        """Also offers compression, and keeps the notifies of each request and of its answer."""
        asked = {notify.type for notify in request.all(wire.Notify)}
        if request.exchange == ExchangeType.CREATE_CHILD_SA:
            request.payloads.append(wire.Notify(0, b"", NotifyType.IPCOMP_SUPPORTED, bytes(2) + b"\x02"))
        response = honest(core, sa, request)
        told.append((asked, {one.type for one in response if isinstance(one, wire.Notify)}))
        return response

    network = Network(9)
    a, b = network.host("left", LEFT), network.host("right", RIGHT)
    b.engine.core.answers = watched
    configure(network, b, right_peer(child(THERE + theirs, HERE)))
    configure(network, a, left_peer(child(HERE, THERE + ours), childless=True))
    network.run(1)
    assert len(standing(a)) == len(standing(b)) == 1
    fragments = NotifyType.NON_FIRST_FRAGMENTS_ALSO
    request, response = told[-1]
    assert (fragments in request, fragments in response) == (asked, answered)
    # Compression was offered, too: there is none, and it is no reason to refuse (RFC 7296 2.22).
    assert response <= {fragments}


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


def test_what_a_child_wants_of_the_data_plane_is_handed_on() -> None:
    more = {"offload": Offload.CRYPTO, "copy_dscp": True, "copy_df": False, "mss": 1300, "replay_window": 0}
    esn = (Proposal.parse("aes256gcm16-esn", Protocol.ESP),)
    ours, theirs = child(HERE, THERE, **more), child(THERE, HERE, replay_window=4096)
    left, right = left_peer(replace(ours, proposals=esn)), right_peer(replace(theirs, proposals=esn))
    a, b = up(Network(60), left, right)
    for state in a.plane.states():
        assert (state.offload, state.copy_dscp, state.copy_df, state.mss) == (Offload.CRYPTO, True, False, 1300)
        assert (state.esn, state.replay_window) == (True, 0)
    for state in b.plane.states():
        assert (state.offload, state.copy_dscp, state.copy_df, state.mss) == (Offload.NONE, False, True, 0)
        assert (state.esn, state.replay_window) == (True, 4096)


def test_of_two_children_for_the_same_packets_the_other_carries_them_when_one_goes() -> None:
    network = Network(61)
    ours = child(HERE, THERE, "first"), child(HERE, THERE, "second")
    a, b = up(network, left_peer(*ours), right_peer(child(THERE, HERE, "one"), child(THERE, HERE, "two")), 5)
    for gone, left_over in (("second", "first"), ("first", "second")):
        network.perform(a, a.engine.connect("right", None, network.now)[1])
        network.run(5)
        assert sorted(made.name for made in standing(a)) == ["first", "second"]
        assert sorted(made.name for made in standing(b)) == ["one", "two"]
        before = {made.spi_in for made in standing(a)}
        network.run(120)
        assert {made.spi_in for made in standing(a)} == before
        network.perform(a, a.engine.disconnect("right", gone, network.now)[1])
        network.run(30)
        (made,) = standing(a)
        assert made.name == left_over
        sending = {policy.spi for policy in a.plane.policies() if policy.direction is Direction.OUT}
        assert sending == {made.spi_out}
        assert len(standing(b)) == 1
