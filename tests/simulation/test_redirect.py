"""Three gateways: one calls, one sends on, one takes over (RFC 5685)."""

from dataclasses import replace

import pytest

from gateway.ike.plane import AddState
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.peers import Peer, Start, Unique
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.wire.message import parse
from gateway.wire.numbers import ExchangeType, NotifyType
from tests.simulation.network import Host, Network, peer, psk

CLIENT, FIRST, SECOND = "192.0.2.1", "192.0.2.2", "192.0.2.3"


def gateway_peer() -> Peer:
    return peer(
        "client",
        me="gateway.example",
        them="client.example",
        remote=None,
        mine="10.2.0.0/24",
        theirs="10.1.0.0/24",
        start=Start.PASSIVE,
    )


def three(
    network: Network, redirect_to: str = "", back: str = "", belongs: tuple[str, str] = ("", ""), **more: object
) -> tuple[Host, Host, Host]:
    """A client that calls the first of two gateways; they may send on to each other, all or this proven peer."""
    client, first, second = (
        network.host("client", CLIENT),
        network.host("first", FIRST),
        network.host("second", SECOND),
    )
    for host, everybody, him in ((first, redirect_to, belongs[0]), (second, back, belongs[1])):
        config = replace(gateway_peer(), redirect_to=him)
        network.apply(host, Snapshot.build(1, [config], [psk()], EngineSettings(redirect_to=everybody)))
    config = replace(peer("office", me="client.example", them="gateway.example", remote=FIRST), **more)  # type: ignore[arg-type]
    network.apply(client, Snapshot.build(1, [config], [psk()]))
    return client, first, second


def established(host: Host) -> list[IkeSa]:
    return [sa for sa in host.engine.ike_sas() if sa.state == Lifecycle.ESTABLISHED]


def assert_stands_with(client: Host, there: Host) -> None:
    (sa,), (other,) = established(client), established(there)
    assert sa.keys == other.keys
    assert sa.path.remote == there.address
    assert len(sa.children) == len(other.children) == 1
    assert len(list(client.plane.states())) == len(list(there.plane.states())) == 2


def test_a_call_is_sent_on() -> None:
    network = Network(1)
    client, first, second = three(network, SECOND)
    network.run(2)
    assert_stands_with(client, second)
    assert not first.engine.ike_sas()
    assert not first.engine.core.attempts.latest(9)
    (attempt,) = client.engine.core.attempts.latest(9)
    assert attempt.outcome == "established"
    assert f"{FIRST}:500 sends us on to {SECOND}" in attempt.steps[0].text
    assert attempt.remote == f"{SECOND}:500"
    assert len(network.carried) == 6
    asked = [parse(data) for _, source, to, data in network.carried if source == CLIENT and data[18] == 34]
    assert [message.notify(NotifyType.REDIRECTED_FROM) is not None for message in asked] == [False, True]
    assert asked[0].spi_i != asked[1].spi_i
    assert len(client.engine.core.sas) == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_call_is_sent_on_over_a_bad_network(seed: int) -> None:
    network = Network(seed)
    network.weather = replace(network.weather, loss=0.25, duplicate=0.2, jitter=0.5)
    client, _, second = three(network, SECOND)
    network.run(300)
    network.weather = replace(network.weather, loss=0.0)
    network.run(60)
    assert_stands_with(client, second)


def test_two_gateways_that_send_each_other_callers_serve_them() -> None:
    network = Network(1)
    client, _, second = three(network, SECOND, back=FIRST)
    network.run(2)
    assert_stands_with(client, second)


def test_a_peer_that_must_not_be_sent_on_is_served() -> None:
    network = Network(1)
    client, first, _ = three(network, SECOND, redirect=False)
    network.run(2)
    assert_stands_with(client, first)
    assert first.engine.redirect("client", SECOND, network.now) == (0, [])


@pytest.mark.parametrize("childless", [False, True])
def test_who_belongs_elsewhere_is_sent_on_when_it_has_proven_itself(childless: bool) -> None:
    network = Network(1)
    client, first, second = three(network, belongs=(SECOND, ""), childless=childless)
    network.run(3)
    assert_stands_with(client, second)
    assert not first.engine.ike_sas()
    assert not [order for order in first.plane.orders if isinstance(order, AddState)]
    attempt = first.engine.core.attempts.latest(1)[0]
    assert attempt.outcome == "established"
    assert f"sent on to {SECOND}, its gateway" in str(attempt)
    assert [event.data["to"] for event in first.events if event.kind == "ike-sa.redirected"] == [SECOND]


def test_only_a_proven_peer_is_told_where_it_belongs() -> None:
    network = Network(1)
    client, first, second = three(network, belongs=(SECOND, ""))
    network.apply(client, Snapshot.build(2, client.engine.core.snapshot.peers.values(), [psk(b"another key")]))
    network.run(3)
    assert not established(second)
    assert client.engine.core.attempts.latest(1)[0].cause == "peer-refused-us"
    assert "ike-sa.redirected" not in first.kinds()


def test_a_peer_that_cannot_be_sent_on_is_served_though_it_belongs_elsewhere() -> None:
    network = Network(1)
    client, first, _ = three(network, belongs=(SECOND, ""), redirect=False)
    network.run(3)
    assert_stands_with(client, first)


def test_a_peer_sent_here_from_where_it_belongs_is_served() -> None:
    """Else the two gateways would send it to each other until it gives up (RFC 5685 7)."""
    network = Network(1)
    client, _, second = three(network, belongs=(SECOND, FIRST))
    network.run(3)
    assert_stands_with(client, second)


def test_a_peer_that_belongs_to_this_very_gateway_is_served() -> None:
    network = Network(1)
    client, first, _ = three(network, belongs=(FIRST, ""))
    network.run(3)
    assert_stands_with(client, first)


def test_a_peer_sent_on_that_does_not_leave_is_made_to() -> None:
    network = Network(1)
    client, first, _ = three(network, belongs=("192.0.2.77", ""))
    network.run(0.035)
    client.alive = False
    (sa,) = established(first)
    network.run(20)
    assert sa.state is Lifecycle.ESTABLISHED
    network.run(60)
    assert sa.state is Lifecycle.CLOSED
    assert "its peer was sent on" in sa.reason
    assert not [order for order in first.plane.orders if isinstance(order, AddState)]


@pytest.mark.parametrize("seed", range(20))
def test_it_is_sent_on_over_a_bad_network_too(seed: int) -> None:
    network = Network(seed)
    client, first, second = three(network, belongs=(SECOND, ""))
    network.weather = replace(network.weather, loss=0.25, duplicate=0.2, jitter=0.5)
    network.run(300)
    network.weather = replace(network.weather, loss=0.0)
    network.run(200)
    assert_stands_with(client, second)
    assert not list(first.plane.states())


@pytest.mark.parametrize("unique", list(Unique))
def test_a_peer_that_is_here_is_sent_on_before_it_leaves(unique: Unique) -> None:
    network = Network(1)
    client, first, second = three(network, unique=unique)
    network.run(2)
    assert_stands_with(client, first)
    before = network.now
    told, effects = first.engine.redirect("client", SECOND, network.now)
    assert told == 1
    network.perform(first, effects)
    network.run(2)
    assert len(established(client)) == 1
    assert not first.engine.ike_sas()
    if unique == Unique.NEVER:  # else uniqueness ends the old one in the very moment in which the new one stands
        kinds = [event.kind for event in client.events if event.kind in ("child-sa.installed", "child-sa.closed")]
        assert kinds == ["child-sa.installed", "child-sa.installed", "child-sa.closed"]
    assert network.now - before < 3
    network.run(10)  # what lingers of the old one goes
    assert_stands_with(client, second)
    assert list(client.plane.policies())


def test_a_peer_that_is_sent_nowhere_stays_until_it_must_leave() -> None:
    network = Network(1)
    client, first, _ = three(network)
    network.run(2)
    network.perform(first, first.engine.redirect("client", "192.0.2.77", network.now)[1])
    network.run(20)
    assert_stands_with(client, first)
    network.run(200)  # it was deleted, and has called again
    assert "its peer was sent on" in " ".join(event.text for event in first.events)
    assert_stands_with(client, first)


def test_a_client_is_not_sent_on_by_whom_it_did_not_call() -> None:
    """Only the original responder may (RFC 5685 10)."""
    network = Network(1)
    client, first, _ = three(network)
    network.run(2)
    assert client.engine.redirect("office", SECOND, network.now) == (0, [])
    # and if it does so all the same, nothing comes of it
    (sa,) = established(first)
    from gateway.ike.driver import start
    from gateway.ike.exchanges.redirect import _redirect
    from gateway.ike.sa import Task

    (ours,) = established(client)
    start(client.engine.core, ours, Task("misbehaving", lambda sa: _redirect(client.engine.core, sa, SECOND)))
    network.perform(client, client.engine._settle())
    network.run(2)
    assert established(first) == [sa]
    assert "ike-sa.connecting" not in first.kinds()


def test_a_redirected_tunnel_survives_a_rekey_and_is_sent_on_then() -> None:
    network = Network(1)
    client, first, second = three(network)
    network.run(2)
    network.perform(first, first.engine.rekey("client", None, network.now)[1])
    network.run(2)
    told, effects = first.engine.redirect("client", SECOND, network.now)
    assert told == 1
    network.perform(first, effects)
    network.run(3)
    assert_stands_with(client, second)


def test_a_redirect_and_a_delete_in_one_message_leave_no_tunnel_behind() -> None:
    from gateway.ike.redirects import redirect
    from gateway.wire import payloads as wire
    from gateway.wire.numbers import Protocol
    from tests.ike.test_politeness import protected

    network = Network(1)
    client, first, second = three(network)
    network.run(2)
    (sa,) = established(client)
    both = [redirect(SECOND), wire.Delete(Protocol.IKE, [])]
    request = protected(sa, client, ExchangeType.INFORMATIONAL, 0, both)
    network.perform(client, client.engine.receive(request, sa.path, network.now))
    first.alive = False
    network.run(5)
    assert_stands_with(client, second)
