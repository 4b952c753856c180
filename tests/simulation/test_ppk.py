"""Post-quantum pre-shared keys in IKE_AUTH between two real ends (RFC 8784): table 1 of section 3, and their life."""

from dataclasses import replace

import pytest

from gateway.crypto.keys import ppk_keys
from gateway.ike.attempts import Outcome
from gateway.ike.path import Path
from gateway.policy.peers import Peer, PpkExchange, Start
from gateway.policy.ppks import Ppk
from gateway.policy.proposals import Proposal
from gateway.policy.snapshot import Snapshot
from gateway.service.observe import key_exchange
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build, parse
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol
from tests.simulation.agreement import assert_agree, established
from tests.simulation.network import IKE, Host, Network, Weather, peer, psk

LEFT, RIGHT = "192.0.2.1", "192.0.2.2"
ONE, TWO = Ppk("one", "first.ppk", bytes(range(32))), Ppk("two", "second.ppk", bytes(range(32, 64)))
HYBRID = (Proposal.parse("aes256gcm16-prfsha256-x25519-ke1_mlkem768", Protocol.IKE),)
Keys = tuple[Ppk, ...]


def configure(network: Network, host: Host, config: Peer, keys: Keys, revision: int = 1, **more: object) -> None:
    more = {"ppk_exchange": PpkExchange.AUTH} | more
    config = replace(config, ppks=tuple(key.name for key in keys), **more)  # type: ignore[arg-type]
    network.apply(host, Snapshot.build(revision, [config], [psk()], ppks=keys))


def left() -> Peer:
    return peer("right", me="left.example", them="right.example", remote=RIGHT)


def right() -> Peer:
    ends = {"mine": "10.2.0.0/24", "theirs": "10.1.0.0/24", "start": Start.PASSIVE}
    return peer("left", me="right.example", them="left.example", remote=None, **ends)  # type: ignore[arg-type]


def pair(
    network: Network, ours: Keys, theirs: Keys, required: tuple[bool, bool] = (False, False), **more: object
) -> tuple[Host, Host]:
    a, b = network.host("left", LEFT), network.host("right", RIGHT)
    configure(network, b, right(), theirs, ppk_required=required[1], **more)
    configure(network, a, left(), ours, ppk_required=required[0], **more)
    return a, b


def with_ppk(host: Host) -> bool:
    """What the status tells of the only IKE SA."""
    (sa,) = established(host)
    return "with a PPK" in key_exchange(sa)


@pytest.mark.parametrize("required", [(False, False), (True, False), (False, True), (True, True)])
def test_both_have_it(required: tuple[bool, bool]) -> None:
    network = Network(1)
    a, b = pair(network, (ONE,), (ONE,), required)
    network.run(1)
    assert_agree(a, b)
    for host in (a, b):
        assert with_ppk(host)
        attempt = host.engine.core.attempts.latest(1)[0]
        assert "with the PPK first.ppk" in str(attempt.steps)
        assert host.engine.core.counters["ppks-used"] == 1
        assert not host.engine.core.extensions.ppk_offers
    assert len(network.carried) == 4, "no exchange more"


def test_all_later_keys_are_made_of_it() -> None:
    """SK_d = prf+(PPK, SK_d'): who knows all but the PPK knows nothing of the children's keys."""
    network = Network(1)
    a, b = pair(network, (ONE,), (ONE,))
    network.run(1)
    (sa,) = established(a)
    made = next(made.ike for made in a.keys if made.ike is not None)
    assert sa.keys is not None and sa.chosen is not None and sa.chosen.prf is not None
    assert sa.keys.d == ppk_keys(sa.chosen.prf, ONE.secret, made).d != made.d
    assert (sa.keys.ei, sa.keys.er) == (made.ei, made.er)
    for name in ("net", None):
        network.perform(a, a.engine.rekey("right", name, network.now)[1])
        network.run(20)
        assert_agree(a, b)
        assert with_ppk(a) and with_ppk(b)


@pytest.mark.parametrize(
    ("ours", "theirs", "required", "stands"),
    [
        ((), (ONE,), (False, False), True),
        ((ONE,), (), (False, False), True),
        ((ONE,), (TWO,), (False, False), True),
        ((), (ONE,), (False, True), False),
        ((ONE,), (), (True, False), False),
        ((ONE,), (TWO,), (True, False), False),
        ((ONE,), (TWO,), (False, True), False),
        ((ONE,), (replace(ONE, secret=bytes(32)),), (False, False), False),
    ],
    ids=[
        "we have none", "they have none", "they have another", "we have none and should", "they have none and should",
        "they have another and we insist", "they have another and insist", "another key of one name",
    ],
)  # fmt: skip
def test_without(ours: Keys, theirs: Keys, required: tuple[bool, bool], stands: bool) -> None:
    network = Network(1)
    a, b = pair(network, ours, theirs, required)
    network.run(6)
    if stands:
        assert_agree(a, b)
        assert not with_ppk(a)
        assert not with_ppk(b)
        return
    assert not established(a)
    assert not established(b)
    assert a.engine.core.attempts.latest(1)[0].outcome is Outcome.FAILED
    for host in (a, b):
        assert not host.plane.states()
        assert not host.engine.core.extensions.ppk_offers


def test_the_reasons_name_what_to_do() -> None:
    network = Network(1)
    a, _ = pair(network, (ONE,), (), (True, False))
    network.run(0.2)
    told = a.engine.core.attempts.latest(1)[0]
    assert told.cause == "ppk"
    assert "uses no post-quantum pre-shared keys" in told.reason
    network = Network(1)
    a, b = pair(network, (ONE,), (TWO,), (False, True))
    network.run(0.2)
    told = b.engine.core.attempts.latest(1)[0]
    assert (told.cause, told.notify) == ("ppk", NotifyType.AUTHENTICATION_FAILED)
    assert "known: second.ppk" in told.reason
    network = Network(1)
    a, b = pair(network, (ONE,), (TWO,))
    network.run(0.2)
    assert "the peer does not know first.ppk" in str(a.engine.core.attempts.latest(1)[0].steps)
    for host in (a, b):
        assert ONE.secret.hex() not in str(host.events) + str(host.engine.core.attempts.latest(9))
        assert str(ONE.secret) not in repr(host.engine.core.snapshot)


def test_a_responder_takes_any_of_the_callers_keys_so_that_they_can_be_changed() -> None:
    network = Network(1)
    a, b = pair(network, (ONE,), (ONE,), (True, True))
    network.run(1)
    (sa,) = established(a)
    configure(network, b, right(), (TWO, ONE), 2, ppk_required=True)  # first the end that is called,
    configure(network, a, left(), (TWO,), 2, ppk_required=True)  # then the one that calls,
    configure(network, b, right(), (TWO,), 3, ppk_required=True)  # and the old one goes
    network.run(1)
    assert established(a) == [sa], "what stands does so through all of it"
    network.perform(a, a.engine.terminate(sa.id, network.now))
    network.run(10)
    assert_agree(a, b)
    assert with_ppk(a)
    assert "with the PPK second.ppk" in str(b.engine.core.attempts.latest(1)[0].steps)


def test_what_is_required_from_now_on_is_authenticated_anew() -> None:
    network = Network(1)
    a, b = pair(network, (), (ONE,))
    network.run(1)
    assert not with_ppk(a)
    configure(network, b, right(), (ONE,), 2, ppk_required=True)
    configure(network, a, left(), (ONE,), 2, ppk_required=True)
    network.run(30)
    assert_agree(a, b)
    assert with_ppk(a) and with_ppk(b)


@pytest.mark.parametrize("keys", [(), (TWO,)])
@pytest.mark.parametrize("proposals", [IKE, HYBRID], ids=["plain", "hybrid"])
@pytest.mark.parametrize("after", [0.01, 0.02, 0.03])
def test_a_key_that_is_taken_away_during_the_call_ends_no_more_than_the_call(
    keys: Keys, after: float, proposals: tuple[Proposal, ...]
) -> None:
    network = Network(1)
    a, b = pair(network, (ONE,), (ONE,), proposals=proposals)
    network.run(after)
    assert not established(a)
    configure(network, a, left(), keys, 2, proposals=proposals)
    network.run(30)
    assert_agree(a, b)
    assert not a.engine.core.extensions.ppk_offers
    steps = [step.text for attempt in a.engine.core.attempts.latest(9) for step in attempt.steps]
    assert not any("with the PPK second.ppk" in text for text in steps), "it was never used"


def test_it_goes_with_ml_kem_and_says_so() -> None:
    network = Network(1)
    a, b = pair(network, (ONE,), (ONE,), (True, True), proposals=HYBRID)
    network.run(1)
    assert_agree(a, b)
    assert key_exchange(established(a)[0]) == "hybrid: X25519 and ML-KEM-768 with a PPK"


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("theirs", [(ONE,), (TWO,)])
def test_over_a_bad_network(seed: int, theirs: Keys) -> None:
    network = Network(seed, Weather(0.25, 0.2, 0.05, 0.5))
    a, b = pair(network, (ONE,), theirs)
    network.run(200)
    network.weather = Weather()
    network.run(200)
    assert_agree(a, b)
    assert with_ppk(a) is with_ppk(b) is (theirs == (ONE,))


# --- in between: what strips the notifies never downgrades where it is required ---


def strip(network: Network, kind: int) -> None:
    """From now on somebody takes this notify out of all that is in the open."""
    send = network._send

    def without(host: Host, sent: object) -> None:
        data = sent.data  # type: ignore[attr-defined]
        if data[18] == ExchangeType.IKE_SA_INIT:
            message = parse(data)
            message.payloads = [one for one in message.payloads if getattr(one, "type", None) != kind]
            sent.data = build(message)  # type: ignore[attr-defined]
        send(host, sent)  # type: ignore[arg-type]

    network._send = without  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("required", [(True, False), (False, True), (True, True)])
def test_stripped_in_transit(required: tuple[bool, bool]) -> None:
    network = Network(1)
    strip(network, NotifyType.USE_PPK)
    a, b = pair(network, (ONE,), (ONE,), required)
    network.run(20)
    assert not established(a)
    assert not established(b)


def test_stripped_in_transit_where_neither_insists_is_seen_all_the_same() -> None:
    """RFC 8784 6: both ends' IKE_SA_INIT are in what the pre-shared key proves."""
    network = Network(1)
    strip(network, NotifyType.USE_PPK)
    a, b = pair(network, (ONE,), (ONE,))
    network.run(20)
    assert not established(a)
    assert not established(b)


def test_a_forged_answer_without_it_does_not_end_the_call() -> None:
    """RFC 8784 6: where it is required, the initiator waits for a better answer."""
    network = Network(1)
    a, b = pair(network, (ONE,), (ONE,), (True, True))
    opening = parse(next(data for _, source, _, data in network.carried if source == LEFT))
    chosen = wire.SA([IKE[0].to_wire(1, b"")])
    forged = [chosen, wire.KE(31, b"\x09" + bytes(31)), wire.Nonce(bytes(32))]
    answer = Message(opening.spi_i, b"forgery!", ExchangeType.IKE_SA_INIT, False, True, 0, list(forged))
    network.perform(a, a.engine.receive(build(answer), Path(LEFT, RIGHT, 500), network.now))
    assert a.engine.core.attempts.latest(1)[0].cause == "ppk"
    network.run(1)
    assert_agree(a, b)
    assert with_ppk(a)
