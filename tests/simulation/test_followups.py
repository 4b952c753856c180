"""A rekey by several key exchanges that does not come to its end (RFC 9370 2.2.4)."""

import pytest

from gateway.ike.attempts import Attempt, Outcome
from gateway.ike.sa import Lifecycle
from gateway.wire.numbers import ExchangeType
from tests.simulation.network import Host, Network
from tests.simulation.test_post_quantum import hybrid_pair, rekey, until_exchange


def answered(host: Host) -> Attempt:
    """What the other end began last."""
    return next(attempt for attempt in host.engine.core.attempts.since(0) if not attempt.initiator)


def begun(child: str | None) -> tuple[Network, Host, Host]:
    """--> SA, Ni, KEi   <-- SA, Nr, KEr, N(ADDITIONAL_KEY_EXCHANGE)"""
    network = Network(12)
    left, right = hybrid_pair(network)
    rekey(network, left, child)
    until_exchange(network, ExchangeType.CREATE_CHILD_SA, response=True)
    return network, left, right


@pytest.mark.parametrize("child", ["net", None])
def test_the_attempt_is_over_only_when_it_is_and_fails_where_the_peer_does_not_go_on(child: str | None) -> None:
    network, left, right = begun(child)
    assert answered(right).outcome is Outcome.RUNNING
    left.alive = False
    network.run(21)
    assert answered(right).outcome is Outcome.FAILED
    assert "did not go on" in answered(right).reason
    network, left, right = begun(child)
    network.run(5)
    assert answered(right).outcome is Outcome.ESTABLISHED


@pytest.mark.parametrize("child", ["net", None])
def test_nothing_is_made_of_it_on_an_ike_sa_that_is_being_closed(child: str | None) -> None:
    """--> SA, Ni, KEi   <-- SA, Nr, KEr, N(ADDITIONAL_KEY_EXCHANGE)   <-- D(IKE) (lost)   --> KEi(1)"""
    network, _, right = begun(child)
    (sa,) = right.engine.ike_sas()
    network.cut.add(("192.0.2.2", "192.0.2.1"))
    network.perform(right, right.engine.disconnect("left", None, network.now)[1])
    network.run(0.5)
    assert right.engine.ike_sas() == [sa]
    assert sa.state is Lifecycle.DELETING and not right.plane.states()
    failed = answered(right)
    assert failed.outcome is Outcome.FAILED
    network.cut.clear()
    network.run(60)
    assert sa.state is Lifecycle.CLOSED and "ike-sa.rekeyed" not in right.kinds()
    assert not right.plane.held
