"""Rekeys that somebody asks for: of what, and what became of each."""

import pytest

from gateway.ike.attempts import Outcome
from gateway.ike.replacing import Replaced
from gateway.ike.sa import Lifecycle
from gateway.wire.numbers import NotifyType
from tests.simulation.ladders import CHILD, Ladder
from tests.simulation.network import Network
from tests.simulation.test_virtual_addresses import device, gateway, sas


@pytest.mark.parametrize("child", [None, "net"])
def test_one_session_of_several_is_rekeyed_alone(child: str | None) -> None:
    network = Network(7)
    gate = gateway(network)
    for number in range(3):
        device(network, number)
    network.run(2)
    first, second, third = sas(gate)
    before = {number: one for sa in (first, third) for number, one in sa.children.items()}
    begun, effects = gate.engine.rekey("people", child, network.now, second.id)
    (replacing,) = begun
    assert replacing.outcome(gate.engine.core) is Replaced.NOT_YET
    network.perform(gate, effects)
    network.run(10)
    assert replacing.outcome(gate.engine.core) is Replaced.YES
    assert [sa for sa in sas(gate) if sa is not second][:2] == [first, third]
    assert {number: one for sa in (first, third) for number, one in sa.children.items()} == before
    assert (second.state is Lifecycle.CLOSED) is (child is None)


def test_a_peer_that_is_busy_is_asked_again_soon() -> None:
    ladder = Ladder()
    ladder.rekey(ladder.b)
    begun, effects = ladder.a.engine.rekey("right", "net", ladder.network.now)
    ladder.network.perform(ladder.a, effects)
    # A --> N(REKEY_SA), SA, Ni, TSi, TSr  ><  <-- SA(IKE), Ni ; each refuses the other's
    ladder.request(ladder.a, CHILD)
    ladder.request(ladder.b, CHILD)
    for end in (ladder.a, ladder.b):
        assert ladder.response(end, CHILD) == ["N(TEMPORARY_FAILURE)"]
    (replacing,) = begun
    attempt = replacing.attempt(ladder.a.engine.core)
    assert attempt is not None
    assert (attempt.outcome, attempt.notify) == (Outcome.FAILED, NotifyType.TEMPORARY_FAILURE)
    assert replacing.outcome(ladder.a.engine.core) is Replaced.NOT_YET
    ladder.settle(3)
    assert replacing.outcome(ladder.a.engine.core) is Replaced.YES


def test_what_ends_while_it_is_rekeyed_is_gone() -> None:
    ladder = Ladder()
    begun, effects = ladder.a.engine.rekey("right", "net", ladder.network.now)
    ladder.network.perform(ladder.a, effects)
    ladder.disconnect(ladder.a)
    ladder.settle(1)
    assert [one.outcome(ladder.a.engine.core) for one in begun] == [Replaced.GONE]


def test_what_is_rekeyed_already_is_waited_for() -> None:
    ladder = Ladder()
    ladder.rekey(ladder.a, "net")
    (again,) = ladder.a.engine.rekey("right", "net", ladder.network.now)[0]
    ladder.settle(2)
    assert again.outcome(ladder.a.engine.core) is Replaced.YES
    assert again.child is not None
    assert again.child.successor is ladder.only(ladder.a)
