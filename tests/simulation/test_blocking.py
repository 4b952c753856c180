"""What becomes of a child's packets while it has no CHILD_SA: looked at after every single order to the data plane."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.ike.plane import Action, AddPolicy, Direction, Order, Policy, PolicyKey, RemovePolicy, RemoveState
from gateway.ike.plane_events import Acquire
from gateway.policy.peers import Mode, Peer, Start, WhenDown
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot
from tests.simulation.agreement import assert_agree, established
from tests.simulation.network import Host, Network, peer, psk, two

BOTH = {("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")}
WAYS = {Direction.OUT, Direction.IN, Direction.FORWARD}


def left(start: Start = Start.ALWAYS, when_down: WhenDown = WhenDown.DROP, **more: object) -> Peer:
    found = peer("right", me="left.example", them="right.example", remote="192.0.2.2", start=start)
    return replace(found, children=(replace(found.children[0], when_down=when_down, **more),))  # type: ignore[arg-type]


def actions(host: Host) -> dict[Direction, Action]:
    """What is done with the packets between the two whole nets."""
    nets = Selector.parse("10.1.0.0/24"), Selector.parse("10.2.0.0/24")
    return {
        policy.direction: policy.action
        for policy in host.plane.policies()
        if (policy.source, policy.destination) in (nets, nets[::-1])
    }


def assert_never_open(orders: Sequence[Order]) -> None:
    """From the first order on each place holds a policy, and no state goes while a policy counts on it."""
    lying: dict[PolicyKey, Policy] = {}
    for order in orders:
        match order:
            case AddPolicy(policy):
                lying[policy.key] = policy
            case RemovePolicy(policy):
                raise AssertionError(f"nothing lies at {policy.direction} {policy.source} = {policy.destination}")
            case RemoveState(key) if not order.inbound:
                assert key.spi not in {policy.spi for policy in lying.values()}
    assert {policy.direction for policy in lying.values()} == WAYS


def test_a_tunnel_that_comes_and_goes_is_never_open() -> None:
    network = Network(1)
    network.cut = set(BOTH)
    a, b = two(network, left=left())
    assert actions(a) == dict.fromkeys(WAYS, Action.DROP)
    network.run(100)
    assert actions(a) == dict.fromkeys(WAYS, Action.DROP), "called, and called again, in vain"
    network.cut = set()
    network.run(400)
    assert_agree(a, b)
    for host in (a, b):
        assert actions(host) == dict.fromkeys(WAYS, Action.PROTECT)
    for what in ("net", None):
        network.perform(a, a.engine.rekey("right", what, network.now)[1])
        network.run(30)
    network.cut = set(BOTH)
    network.run(200)
    assert actions(a) == dict.fromkeys(WAYS, Action.DROP)
    network.cut = set()
    network.run(400)
    assert_agree(a, b)
    assert len([order for order in a.plane.orders if isinstance(order, AddPolicy)]) >= 15
    assert_never_open(a.plane.orders)
    assert_never_open(b.plane.orders)


def test_what_an_administrator_disconnected_is_not_open_and_what_is_disabled_or_gone_is() -> None:
    network = Network(2)
    a, _ = two(network, left=left())
    network.run(1)
    network.perform(a, a.engine.disconnect("right", None, network.now)[1])
    network.run(60)
    assert actions(a) == dict.fromkeys(WAYS, Action.DROP)
    network.apply(a, Snapshot.build(2, [replace(left(), enabled=False)], [psk()]))
    network.run(1)
    assert not a.plane.policies()
    network.apply(a, Snapshot.build(3, [left()], [psk()]))
    network.run(5)
    assert actions(a) == dict.fromkeys(WAYS, Action.PROTECT)
    network.apply(a, Snapshot.build(4, [], []))
    network.run(5)
    assert not a.plane.policies()


def test_a_child_that_may_pass_has_no_policy_while_it_is_down() -> None:
    network = Network(3)
    network.cut = set(BOTH)
    a, _ = two(network, left=left(when_down=WhenDown.PASS))
    network.run(5)
    assert not a.plane.policies()
    network.apply(a, Snapshot.build(2, [left()], [psk()]))
    assert actions(a) == dict.fromkeys(WAYS, Action.DROP)
    network.apply(a, Snapshot.build(3, [left(when_down=WhenDown.PASS)], [psk()]))
    assert not a.plane.policies()


def test_an_on_demand_child_lets_no_packet_in_and_waits_for_one_to_go_out() -> None:
    network = Network(4)
    network.names["vpn.example"] = ""
    wanted = replace(left(Start.ON_DEMAND), remote_addresses=("vpn.example",))
    a, b = two(network, left=wanted)
    network.run(1)
    assert actions(a) == dict.fromkeys(WAYS, Action.DROP), "where the peer is nobody knows yet"
    network.names["vpn.example"] = "192.0.2.2"
    network.run(400)
    waiting = {Direction.OUT: Action.PROTECT, Direction.IN: Action.DROP, Direction.FORWARD: Action.DROP}
    assert actions(a) == waiting
    (trap,) = a.protecting()
    (route,) = a.plane.routes()
    assert (route.destination.text, route.remote) == ("10.2.0.0/24", "192.0.2.2"), "what has no way meets no trap"
    network.perform(a, a.engine.kernel(Acquire(trap.reqid), network.now))
    network.run(1)
    assert_agree(a, b)
    assert actions(a) == dict.fromkeys(WAYS, Action.PROTECT)
    network.perform(b, b.engine.disconnect("left", None, network.now)[1])
    network.run(1)
    assert actions(a) == waiting
    assert a.plane.routes() == (route,)
    assert_never_open(a.plane.orders)
    network.apply(a, Snapshot.build(2, [], [psk()]))
    assert not a.plane.routes()


def test_a_route_that_a_trap_could_not_get_is_asked_for_again() -> None:
    network = Network(6)
    wanted = left(Start.ON_DEMAND)
    a, _ = network.host("left", "192.0.2.1"), network.host("right", "192.0.2.2")
    for _ in range(4 + 3):  # two batches whole, and each of their orders
        a.plane.fail_next("there is no way to 192.0.2.2")
    network.apply(a, Snapshot.build(1, [wanted], [psk()]))
    network.run(1)
    assert not a.plane.routes()
    told = [event.text for event in a.events if event.kind == "data-plane.refused"]
    assert "traffic for a tunnel that is down may have no route: there is no way to 192.0.2.2" in told
    network.perform(a, a.engine.network_changed(("192.0.2.1",), network.now))
    network.run(5)
    assert len(a.plane.routes()) == 1


def test_what_was_narrowed_away_is_dropped_while_the_rest_is_protected() -> None:
    network = Network(5)
    right = peer(
        "left",
        me="right.example",
        them="left.example",
        remote=None,
        mine="10.2.0.0/24[tcp/443]",
        theirs="10.1.0.0/25",
        start=Start.PASSIVE,
    )
    a, b = two(network, left=left(), right=right)
    network.run(1)
    assert_agree(a, b)
    assert actions(a) == dict.fromkeys(WAYS, Action.DROP)
    assert {policy.source.text for policy in a.protecting()} == {"10.1.0.0/25", "10.2.0.0/24[tcp/443]"}


def test_two_peers_with_the_same_networks_share_one_place() -> None:
    network = Network(6)
    second = replace(left(), name="other", remote_addresses=("192.0.2.9",))
    a, b = two(network, left=left())
    network.run(1)
    network.apply(a, Snapshot.build(2, [left(), second], [psk()]))
    network.run(30)
    assert_agree(a, b)
    assert actions(a) == dict.fromkeys(WAYS, Action.PROTECT)
    network.apply(a, Snapshot.build(3, [second], [psk()]))
    network.run(5)
    assert actions(a) == dict.fromkeys(WAYS, Action.DROP)
    network.apply(a, Snapshot.build(4, [], [psk()]))
    assert not a.plane.policies()


@pytest.mark.parametrize(("remote", "blocked"), [("192.0.2.2", ["192.0.2.2/32"]), ("vpn.example", [])])
def test_transport_mode_blocks_only_what_goes_to_the_peer_itself(remote: str, blocked: list[str]) -> None:
    network = Network(7)
    network.cut = set(BOTH)
    network.names["vpn.example"] = "192.0.2.2"
    every = (Selector.parse("0.0.0.0/0"),)
    wanted = replace(left(mode=Mode.TRANSPORT, local=every, remote=every), remote_addresses=(remote,))
    a, _ = two(network, left=wanted)
    out = [policy for policy in a.plane.policies() if policy.direction is Direction.OUT]
    assert [policy.destination.text for policy in out] == blocked


def test_what_the_data_plane_refuses_is_told_and_the_rest_is_still_dropped() -> None:
    network = Network(8)
    a = network.host("left", "192.0.2.1")
    for _ in range(2):
        a.plane.fail_next("no such policy")
    network.apply(a, Snapshot.build(1, [left()], [psk()]))
    assert len(actions(a)) == 2
    assert [event.text for event in a.events if event.kind == "data-plane.refused"] == [
        "what should be dropped while a tunnel is down is not: no such policy"
    ]


def test_a_child_that_cannot_be_removed_lets_nothing_pass() -> None:
    network = Network(9)
    a, _ = two(network, left=left())
    network.run(1)
    (child,) = established(a)[0].children.values()
    a.plane.fail_next("out of memory")
    network.perform(a, a.engine.disconnect("right", None, network.now)[1])
    network.run(5)
    assert not a.plane.states()
    assert actions(a) == dict.fromkeys(WAYS, Action.PROTECT), "without a state they let nothing through"
    assert child.spi_in not in {state.spi for state in a.plane.states()}


def test_what_is_routed_into_an_interface_is_routed_there_while_it_is_down_too() -> None:
    network = Network(10)
    wide = Selector.parse("0.0.0.0/0")
    wanted = left(interface_id=7)
    (nets,) = wanted.children
    every = replace(nets, name="every", local=(wide,), remote=(wide,), interface_id=8)
    a, b = two(network, left=replace(wanted, children=(nets, every)))
    network.cut = set(BOTH)
    network.run(300)
    assert not a.plane.policies(), "an interface drops what has no policy"
    assert [(route.destination.text, route.interface) for route in a.plane.routes()] == [("10.2.0.0/24", "ipsec7")]
    network.cut = set()
    network.run(400)
    assert established(a) and established(b)
    network.apply(a, Snapshot.build(2, [replace(wanted, children=(replace(nets, when_down=WhenDown.PASS),))], [psk()]))
    network.run(5)
    network.apply(a, Snapshot.build(3, [], []))
    network.run(5)
    assert not a.plane.routes()
    assert not a.plane.interfaces()
