"""What ends by time or by how much it carried is made anew before; what cannot be is ended."""

from dataclasses import replace

import pytest

from gateway.ike.plane_events import Expire
from gateway.ike.sa import Lifecycle
from gateway.policy.peers import Child, Start
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot
from tests.simulation.agreement import established
from tests.simulation.network import ESP, Host, Network, peer, psk, right_end, two


def ends(network: Network, child: dict[str, object] | None = None, **more: object) -> tuple[Host, Host]:
    """Two gateways with two children; `child` and `more` are further settings of the left one."""
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2")
    right = right_end(remote=None)
    six, mirror = (Selector.parse("fd00:1::/64"),), (Selector.parse("fd00:2::/64"),)
    left = replace(left, children=(replace(left.children[0], **(child or {})), Child("six", six, mirror, ESP)))
    right = replace(right, children=(*right.children, Child("six", mirror, six, ESP, Start.PASSIVE)))
    theirs = {name: more.pop(name) for name in list(more) if name.startswith("their_")}
    right = replace(right, **{name.removeprefix("their_"): value for name, value in theirs.items()})
    a, b = two(network, left=replace(left, **more), right=right)
    network.run(5)
    return a, b


def names(host: Host) -> list[str]:
    return sorted(child.name for sa in host.engine.ike_sas() for child in sa.children.values())


def never_without(network: Network, host: Host, seconds: float) -> None:
    """All the time each child of the host stands at least once."""
    for _ in range(round(seconds / 0.25)):
        network.run(0.25)
        assert set(names(host)) == {"net", "six"}


def expire(network: Network, host: Host, *, hard: bool) -> None:
    child = next(child for sa in established(host) for child in sa.children.values() if child.name == "net")
    network.perform(host, host.engine.kernel(Expire(child.outbound.key, hard), network.now))


def test_limits_reach_the_states_a_little_early_and_differ() -> None:
    network = Network(1)
    a, _ = ends(network, {"rekey_octets": 1_000_000, "rekey_packets": 1000})
    found = [state.limits for state in a.plane.states() if state.limits.soft_octets]
    assert len(found) == 2
    for limits in found:
        assert 850_000 <= limits.soft_octets <= 1_000_000 < limits.hard_octets
        assert 850 <= limits.soft_packets <= 1000 < limits.hard_packets
    assert found[0] != found[1]


@pytest.mark.parametrize("hard", [False, True])
def test_a_state_that_carried_enough_is_replaced(hard: bool) -> None:
    network = Network(2)
    a, b = ends(network)
    before = {child.id for sa in established(a) for child in sa.children.values()}
    expire(network, a, hard=hard)
    network.run(10)
    assert names(a) == names(b) == ["net", "six"]
    assert len({child.id for sa in established(a) for child in sa.children.values()} & before) == 1


def test_a_child_that_the_peer_has_not_is_made_anew_before_its_end() -> None:
    network = Network(3)
    a, b = ends(network, {"rekey_time": 100.0})
    # B has lost all memory of the one child, but not its states: a rekey finds nothing, a new one is welcome
    (sa,) = established(b)
    lost = next(spi for spi, child in sa.children.items() if child.name == "net")
    del sa.children[lost]
    network.run(130)
    assert names(a) == names(b) == ["net", "six"]


def test_a_child_whose_peer_makes_no_other_ends_in_time() -> None:
    network = Network(4)
    a, b = ends(network, {"rekey_time": 100.0})
    config = b.engine.core.snapshot.peers["left"]
    (sa,) = established(b)
    sa.peer = replace(config, children=config.children[1:])
    network.run(140)
    assert names(a) == ["six"]
    assert "child-sa.closed" in a.kinds()


@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_an_authentication_is_renewed_before_it_ends_and_nothing_is_missing_meanwhile(who: str) -> None:
    """RFC 7296 2.8.3; by our own wish, or because the responder says AUTH_LIFETIME (RFC 4478)."""
    network = Network(5)
    a, b = ends(network, **({"reauth_time": 100.0} if who == "ours" else {"their_reauth_time": 100.0}))
    (first,) = established(a)
    never_without(network, a, 250)
    never_without(network, b, 20)
    (last,) = established(a)
    assert last.established is not None
    assert last.established > first.created + 100
    assert names(a) == names(b) == ["net", "six"]
    assert not [event for event in a.events if event.kind in ("ike-sa.failed", "exchange.failed")]


def test_the_limit_outlives_a_rekey_of_the_ike_sa() -> None:
    network = Network(6)
    a, _ = ends(network, their_reauth_time=100.0)
    network.run(60)
    network.perform(a, a.engine.rekey("right", None, network.now)[1])
    network.run(1)
    (rekeyed,) = established(a)
    network.run(60)
    (renewed,) = established(a)
    assert renewed is not rekeyed
    assert renewed.created <= 1000 + 95


def test_who_does_not_authenticate_again_is_ended() -> None:
    """RFC 4478 2: the responder deletes, and as it cannot call, it waits to be called."""
    network = Network(7)
    a, b = ends(network, their_reauth_time=100.0)
    (first,) = established(a)
    a.engine.core.timers.cancel(("reauth", first))
    network.run(100)
    assert established(b)[0].spi_i == first.spi_i
    network.run(10)
    assert "was not renewed" in next(event.text for event in b.events if event.kind == "ike-sa.closed")
    network.run(10)
    assert names(a) == names(b) == ["net", "six"]


def test_a_reauthentication_that_fails_leaves_the_old_one_and_is_tried_again() -> None:
    network = Network(8)
    a, b = ends(network, reauth_time=100.0)
    (first,) = established(a)
    right = b.engine.core.snapshot.peers["left"]
    b.engine.core.snapshot = Snapshot.build(7, [right], [psk(b"another")])  # it did not tell its engine of a change
    network.run(105)
    assert established(a) == [first]
    assert names(a) == ["net", "six"]
    b.engine.core.snapshot = Snapshot.build(8, [right], [psk()])
    network.run(100)
    (last,) = established(a)
    assert last is not first
    assert names(a) == names(b) == ["net", "six"]


def test_an_ike_sa_that_cannot_be_rekeyed_is_replaced_before_its_end() -> None:
    network = Network(10)
    a, b = ends(network, rekey_time=100.0)
    # B closes the SA for ever, and refuses (TEMPORARY_FAILURE)
    (sa,) = established(b)
    sa.state = Lifecycle.DELETING
    (first,) = established(a)
    never_without(network, a, 150)
    assert established(a)[-1] is not first
    network.run(100)
    assert_one(a, b)


def assert_one(a: Host, b: Host) -> None:
    assert len(established(a)) == len(established(b)) == 1
    assert established(a)[0].keys == established(b)[0].keys
    assert names(a) == names(b) == ["net", "six"]
