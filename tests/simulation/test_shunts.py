"""Shunts beside children, and over them."""

from dataclasses import replace

import pytest

from gateway.ike.plane import Action, Direction, Policy
from gateway.policy.peers import Shunt, ShuntAction
from tests.simulation.kinds import (
    HERE,
    LEFT,
    RIGHT,
    THERE,
    child,
    configure,
    left_peer,
    nets,
    right_peer,
    standing,
    up,
)
from tests.simulation.network import Host, Network


def shunt(action: str, local: str, remote: str, priority: int = 100, name: str = "shunt") -> Shunt:
    return Shunt(name, ShuntAction(action), nets(*local.split()), nets(*remote.split()), priority)


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
