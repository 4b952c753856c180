"""Lifetimes that are changed while SAs stand: each keeps to the new one, and nothing is dropped for it."""

from dataclasses import replace

import pytest

from gateway.ike.sa import Lifecycle
from gateway.policy.snapshot import Snapshot
from tests.simulation.agreement import established
from tests.simulation.network import Host, Network
from tests.simulation.test_lifetimes import ends, never_without


def change(network: Network, host: Host, child: dict[str, object] | None = None, **more: object) -> None:
    """The administrator gives the host's only peer, or all its children, other times."""
    was = host.engine.core.snapshot
    (config,) = was.peers.values()
    children = tuple(replace(one, **(child or {})) for one in config.children)  # type: ignore[arg-type]
    config = replace(config, children=children, **more)  # type: ignore[arg-type]
    network.apply(host, Snapshot.build(was.revision + 1, [config], was.psks, was.settings))


def test_a_shorter_rekey_time_rekeys_children_that_are_older_soon() -> None:
    network = Network(1)
    a, _ = ends(network)
    network.run(1000)
    before = {child.name: child.spi_in for child in established(a)[0].children.values()}
    change(network, a, {"rekey_time": 100.0})
    never_without(network, a, 11)
    after = {child.name: child for child in established(a)[0].children.values()}
    assert all(after[name].spi_in != before[name] for name in before)
    assert {child.rekeys for child in after.values()} == {1}
    assert "child-sa.closed" not in a.kinds()
    network.run(400)
    assert min(child.rekeys for child in established(a)[0].children.values()) >= 4


def test_they_do_not_go_all_at_once() -> None:
    network = Network(1)
    a, _ = ends(network)
    network.run(2000)
    change(network, a, {"rekey_time": 1000.0})
    due = [a.engine.core.timers.when(("rekey-child", sa, spi)) for sa in established(a) for spi in sa.children]
    assert all(when is not None and network.now <= when <= network.now + 100 for when in due)
    assert len(set(due)) == 2


def test_a_longer_rekey_time_counts_from_the_beginning() -> None:
    network = Network(1)
    a, _ = ends(network, {"rekey_time": 300.0}, rekey_time=300.0)
    began = network.now
    network.run(200)
    change(network, a, {"rekey_time": 5000.0}, rekey_time=5000.0)
    (sa,) = established(a)
    rekeys = [a.engine.core.timers.when(("rekey-child", sa, spi)) for spi in sa.children]
    for when in [*rekeys, a.engine.core.timers.when(("rekey", sa))]:
        assert when is not None and began + 4400 < when < began + 5000
    network.run(1000)
    assert established(a) == [sa]
    assert {child.rekeys for child in sa.children.values()} == {0}


def test_without_a_rekey_time_nothing_is_rekeyed_any_more() -> None:
    network = Network(1)
    a, _ = ends(network, {"rekey_time": 100.0}, rekey_time=100.0)
    network.run(50)
    change(network, a, {"rekey_time": 0.0}, rekey_time=0.0)
    (sa,) = established(a)
    network.run(2000)
    assert established(a) == [sa]
    assert {child.rekeys for child in sa.children.values() if child.name == "net"} == {0}


def test_a_shorter_rekey_time_rekeys_an_older_ike_sa_soon() -> None:
    network = Network(1)
    a, b = ends(network, rekey_time=10_000.0)
    network.run(5000)
    (old,) = established(a)
    change(network, a, rekey_time=200.0)
    never_without(network, a, 22)
    (new,) = established(a)
    assert new is not old
    assert old.state is Lifecycle.CLOSED or old.replaced_by is new
    assert established(b)[0].keys == new.keys
    assert "ike-sa.closed" not in a.kinds()
    assert "child-sa.closed" not in a.kinds()


def test_a_description_reschedules_nothing() -> None:
    network = Network(1)
    a, _ = ends(network, {"rekey_time": 300.0})
    network.run(100)
    (sa,) = established(a)
    before = [a.engine.core.timers.when(("rekey-child", sa, spi)) for spi in sa.children]
    change(network, a, {"description": "words"}, description="words")
    assert [a.engine.core.timers.when(("rekey-child", sa, spi)) for spi in sa.children] == before


@pytest.mark.parametrize("rekeyed", [False, True])
def test_who_called_authenticates_again_by_its_new_time(rekeyed: bool) -> None:
    network = Network(1)
    a, b = ends(network)
    if rekeyed:  # by the other end: the roles of the IKE SA are the other way round
        network.perform(b, b.engine.rekey("left", None, network.now)[1])
        network.run(2)
    (old,) = established(a)
    change(network, a, reauth_time=100.0)
    never_without(network, a, 95)
    (new,) = established(a)
    assert new.id != old.id
    assert old.state is Lifecycle.CLOSED
    change(network, a, reauth_time=0.0)
    network.run(1000)
    assert established(a) == [new]


def test_who_was_called_tells_its_new_time_and_the_other_end_keeps_to_it() -> None:
    network = Network(1)
    a, b = ends(network)
    (old,) = established(a)
    change(network, b, reauth_time=100.0)
    never_without(network, a, 95)
    (new,) = established(a)
    assert new.id != old.id
    assert "it was authenticated again" in old.reason
    network.run(1000)
    assert "was not renewed" not in " ".join(event.text for event in b.events)


def test_a_limit_of_the_peers_outlives_a_change_of_ours() -> None:
    network = Network(1)
    a, _ = ends(network, their_reauth_time=300.0)
    (sa,) = established(a)
    told = a.engine.core.timers.when(("reauth", sa))
    assert told is not None
    change(network, a, reauth_time=5000.0)
    assert a.engine.core.timers.when(("reauth", sa)) == told
    change(network, a, reauth_time=10.0)
    assert (a.engine.core.timers.when(("reauth", sa)) or 0) < network.now + 10
    change(network, a, reauth_time=0.0)
    assert a.engine.core.timers.when(("reauth", sa)) == told
