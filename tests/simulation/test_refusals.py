"""An error in answer to IKE_SA_INIT is believed for a person at once, and for the call in the end (RFC 7296 2.21.1)."""

from dataclasses import replace

import pytest

from gateway.ike.attempts import Outcome
from gateway.ike.driver import waiting_for
from gateway.ike.path import Path
from gateway.policy.peers import Start
from gateway.policy.proposals import Proposal
from gateway.policy.snapshot import Snapshot
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build, parse_header
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol
from tests.simulation.agreement import assert_agree, assert_nothing_left
from tests.simulation.network import Host, Network, psk, right_end, two

ERRORS = (NotifyType.NO_PROPOSAL_CHOSEN, NotifyType.INVALID_SYNTAX, NotifyType.INVALID_MAJOR_VERSION, 9999)


def openings(network: Network) -> int:
    return sum(data[18] == ExchangeType.IKE_SA_INIT and data[19] & 0x20 == 0 for _, _, _, data in network.carried)


def spoof(network: Network, a: Host, kind: int) -> None:
    """Somebody on the way answers A's opening."""
    opening = next(data for _, source, _, data in reversed(network.carried) if source == a.address)
    notify = wire.Notify(0, b"", kind, b"")
    answer = Message(parse_header(opening).spi_i, bytes(8), ExchangeType.IKE_SA_INIT, False, True, 0, [notify])
    network.perform(a, a.engine.receive(build(answer), Path(a.address, "192.0.2.2", 500), network.now))


@pytest.mark.parametrize("kind", ERRORS)
def test_who_is_faster_than_the_peer_does_not_end_the_call(kind: int) -> None:
    network = Network(1)
    a, b = two(network)
    spoof(network, a, kind)
    told = a.engine.core.attempts.latest(1)[0]
    assert told.outcome is Outcome.FAILED
    network.run(1)
    assert_agree(a, b)
    assert told.outcome is Outcome.ESTABLISHED
    assert (told.cause, told.reason, told.notify, told.offered) == ("", "", None, ())
    assert all(step.done for step in told.steps)
    assert "an error came first, from somebody else" in told.steps[0].text
    assert len(a.engine.core.attempts.latest(9)) == 1


def test_nor_does_he_where_the_answer_was_lost() -> None:
    network = Network(1)
    network.cut = {("192.0.2.2", "192.0.2.1")}
    a, b = two(network)
    spoof(network, a, NotifyType.NO_PROPOSAL_CHOSEN)
    network.run(0.5)
    network.cut.clear()
    spoof(network, a, NotifyType.NO_PROPOSAL_CHOSEN)
    network.run(3)
    assert_agree(a, b)


def refusing(network: Network) -> tuple[Host, Host]:
    right = right_end(remote=None, start=Start.ALWAYS)
    return two(network, right=replace(right, proposals=(Proposal.parse("aes128-sha256-modp2048", Protocol.IKE),)))


def test_a_refusal_is_told_at_once_and_ends_the_call_a_little_later() -> None:
    network = Network(1)
    a, b = refusing(network)
    network.run(0.1)
    told = a.engine.core.attempts.latest(1)[0]
    assert (told.outcome, told.cause) == (Outcome.FAILED, "no-proposal")
    assert told.notify == NotifyType.NO_PROPOSAL_CHOSEN
    (sa,) = a.engine.ike_sas()
    assert waiting_for(sa).startswith("refused by who may be somebody else, waiting for a better answer")
    assert "ike-sa.failed" not in a.kinds()
    network.run(5)
    assert a.kinds().count("ike-sa.failed") == 1
    assert (told.outcome, told.cause) == (Outcome.FAILED, "no-proposal")
    assert openings(network) >= 3, "asked again while it waited"
    assert_nothing_left(a, b)
    assert a.engine.core.timers.when(("retry", "right")) is not None
    network.run(4)
    assert len(a.engine.core.attempts.latest(9)) == 2, "and called again soon"


def test_a_person_need_not_wait_for_the_end_of_a_refused_call() -> None:
    network = Network(1)
    a, b = refusing(network)
    network.run(0.1)
    config = b.engine.core.snapshot.peers["left"]
    proposals = a.engine.core.snapshot.peers["right"].proposals
    network.apply(b, Snapshot.build(2, [replace(config, proposals=proposals)], [psk()]))
    network.perform(a, a.engine.connect("right", None, network.now)[1])
    network.run(0.2)
    assert_agree(a, b)
    assert [one.outcome for one in a.engine.core.attempts.latest(9)] == [Outcome.ESTABLISHED, Outcome.FAILED]


def test_a_peer_that_changes_its_mind_meanwhile_is_believed() -> None:
    network = Network(1)
    a, b = refusing(network)
    network.run(0.1)
    config = b.engine.core.snapshot.peers["left"]
    proposals = a.engine.core.snapshot.peers["right"].proposals
    network.apply(b, Snapshot.build(2, [replace(config, proposals=proposals)], [psk()]))
    network.run(2)
    assert_agree(a, b)
    assert len(a.engine.core.attempts.latest(9)) == 1


@pytest.mark.parametrize("count", [1, 500])
def test_many_refusals_do_not_hold_the_call_for_longer(count: int) -> None:
    network = Network(1)
    network.cut = {("192.0.2.2", "192.0.2.1"), ("192.0.2.1", "192.0.2.2")}
    a, _ = two(network)
    for _ in range(count):
        spoof(network, a, NotifyType.NO_PROPOSAL_CHOSEN)
        network.run(4.9 / count)
    assert len(a.engine.ike_sas()) == 1
    assert len(a.engine.core.attempts.latest(1)[0].messages) < 100
    network.run(0.2)
    assert not a.engine.ike_sas()


def test_a_cookie_after_a_refusal_is_paid() -> None:
    network = Network(1)
    a, b = two(network)
    settings = replace(b.engine.core.snapshot.settings, cookie_threshold=0)
    network.apply(b, replace(b.engine.core.snapshot, settings=settings))
    spoof(network, a, NotifyType.NO_PROPOSAL_CHOSEN)
    network.run(2)
    assert_agree(a, b)
