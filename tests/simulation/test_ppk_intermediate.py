"""Post-quantum pre-shared keys in IKE_INTERMEDIATE between two real ends (RFC 9867): choice, refusal, no downgrade."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.crypto.keys import IkeKeys, ike_keys, ppk_skeyseed, rekey_skeyseed
from gateway.ike.attempts import Outcome
from gateway.ike.path import Path
from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.peers import PpkExchange
from gateway.policy.ppks import Ppk
from gateway.policy.proposals import Proposal
from gateway.policy.snapshot import Snapshot
from gateway.service.observe import key_exchange
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build, parse, parse_header
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol
from tests.simulation.agreement import assert_agree, established
from tests.simulation.network import IKE, Host, Network, Weather, psk
from tests.simulation.test_ppk import HYBRID, LEFT, ONE, RIGHT, TWO, Keys, configure, left, right
from tests.simulation.test_ppk import pair as in_auth
from tests.simulation.test_tampering import between, without

EITHER, EARLY, LATE = PpkExchange.EITHER, PpkExchange.INTERMEDIATE, PpkExchange.AUTH
THREE = (Proposal.parse("aes256gcm16-prfsha384-ecp384-ke1_mlkem1024-ke3_x25519", Protocol.IKE),)
SUITES = {"alone": IKE, "hybrid": HYBRID, "three": THREE}


def pair(
    network: Network, ours: Keys, theirs: Keys, required: tuple[bool, bool] = (False, False), **more: object
) -> tuple[Host, Host]:
    return in_auth(network, ours, theirs, required, **{"ppk_exchange": EITHER} | more)


def told(host: Host) -> str:
    """What the status tells of the only IKE SA."""
    (sa,) = established(host)
    return key_exchange(sa)


def early(host: Host) -> bool:
    return "with a PPK in IKE_INTERMEDIATE" in told(host)


def steps(host: Host) -> str:
    return " ".join(step.text for step in host.engine.core.attempts.latest(1)[0].steps)


def intermediates(network: Network) -> int:
    """How many requests there were."""
    heads = [parse_header(data) for _, _, _, data in network.carried if len(data) >= 28]
    asked = {
        (head.spi_i, head.message_id)
        for head in heads
        if head.exchange == ExchangeType.IKE_INTERMEDIATE and not head.response
    }
    return len(asked)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("required", [(False, False), (True, False), (False, True), (True, True)])
def test_both_have_it(required: tuple[bool, bool], suite: str) -> None:
    network = Network(1)
    a, b = pair(network, (ONE,), (ONE,), required, proposals=SUITES[suite])
    network.run(1)
    assert_agree(a, b)
    for host in (a, b):
        assert early(host)
        assert "with the PPK first.ppk in IKE_INTERMEDIATE" in steps(host)
        assert host.engine.core.counters["ppks-used"] == 1
        assert established(host)[0].intermediate is None
    assert intermediates(network) == {"alone": 1, "hybrid": 1, "three": 2}[suite], "it goes with the last key exchange"


@pytest.mark.parametrize("suite", ["alone", "hybrid"])
def test_all_keys_are_made_of_it_before_anybody_is_proven(suite: str) -> None:
    """SKEYSEED' = prf+(PPK, SK_d), after the key exchange: also SK_ei and SK_er, under which the identities go."""
    network = Network(1)
    a, b = pair(network, (ONE,), (ONE,), proposals=SUITES[suite])
    network.run(0.015)
    (half,) = b.engine.ike_sas()
    nonces = half.nonce_i, half.nonce_r
    network.run(1)
    (sa,) = established(a)
    before, after = [made.ike for made in a.keys if made.ike is not None]
    assert sa.chosen is not None and sa.chosen.prf is not None and sa.keys is not None
    assert (after.d, after.ei, after.er) == (sa.keys.d, sa.keys.ei, sa.keys.er)
    prf, chosen = sa.chosen.prf, sa.chosen

    def expanded(seed: bytes) -> IkeKeys:
        return ike_keys(prf, seed, *nonces, sa.spi_i, sa.spi_r, chosen.encr, chosen.integ)

    if suite == "alone":
        assert after == expanded(ppk_skeyseed(prf, ONE.secret, before.d))
    else:
        assert after != expanded(ppk_skeyseed(prf, ONE.secret, before.d)), "ML-KEM is in it, too"
        assert after != expanded(rekey_skeyseed(prf, before.d, b"", *nonces))
    assert {after.ei, after.er}.isdisjoint({before.ei, before.er})
    for name in ("net", None):
        network.perform(a, a.engine.rekey("right", name, network.now)[1])
        network.run(20)
        assert_agree(a, b)
        assert early(a) and early(b)


@pytest.mark.parametrize(
    ("ours", "theirs", "required", "stands"),
    [
        ((), (ONE,), (False, False), True),
        ((ONE,), (), (False, False), True),
        ((ONE,), (TWO,), (False, False), True),
        ((ONE,), (replace(ONE, secret=bytes(32)),), (False, False), True),
        ((), (ONE,), (False, True), False),
        ((), (ONE,), (True, False), False),
        ((ONE,), (), (True, False), False),
        ((ONE,), (TWO,), (True, False), False),
        ((ONE,), (TWO,), (False, True), False),
        ((ONE,), (replace(ONE, secret=bytes(32)),), (True, False), False),
        ((ONE,), (replace(ONE, secret=bytes(32)),), (False, True), False),
    ],
)
@pytest.mark.parametrize("suite", ["alone", "hybrid"])
def test_without(ours: Keys, theirs: Keys, required: tuple[bool, bool], stands: bool, suite: str) -> None:
    network = Network(1)
    a, b = pair(network, ours, theirs, required, proposals=SUITES[suite])
    network.run(6)
    if stands:
        assert_agree(a, b)
        assert "with a PPK" not in told(a) + told(b)
        assert "without a PPK" in steps(a) or not (ours and theirs)
        return
    for host in (a, b):
        assert not established(host)
        assert not host.plane.states()
    told_of = [one for host in (a, b) for one in host.engine.core.attempts.latest(9)]
    assert "ppk" in [one.cause for one in told_of if one.outcome is Outcome.FAILED]
    assert ONE.secret.hex() not in str(told_of)


@pytest.mark.parametrize("ours", [(ONE, TWO), (TWO, ONE)])
def test_several_are_offered_and_the_responder_takes_what_it_has(ours: Keys) -> None:
    network = Network(1)
    a, b = pair(network, ours, (TWO,), (True, True))
    network.run(1)
    assert_agree(a, b)
    for host in (a, b):
        assert "with the PPK second.ppk" in steps(host)


def test_of_two_that_both_have_the_initiator_s_first_is_taken() -> None:
    network = Network(1)
    a, b = pair(network, (ONE, TWO), (TWO, ONE))
    network.run(1)
    assert "with the PPK first.ppk" in steps(a) and "with the PPK first.ppk" in steps(b)


@pytest.mark.parametrize("first", ["the one that calls", "the one that is called"])
def test_keys_are_changed_end_by_end_in_any_order(first: str) -> None:
    """All are offered, so that either end may begin; what stands does so through all of it."""
    network = Network(1)
    a, b = pair(network, (ONE,), (ONE,), (True, True))
    network.run(1)
    (sa,) = established(a)
    ends = [(a, left), (b, right)] if first == "the one that calls" else [(b, right), (a, left)]
    for revision, keys in ((2, (TWO, ONE)), (3, (TWO,))):
        for host, config in ends:
            configure(network, host, config(), keys, revision, ppk_required=True, ppk_exchange=EITHER)
            (now,) = established(a)
            network.perform(a, a.engine.terminate(now.id, network.now))
            network.run(15)
            assert_agree(a, b)
            assert early(a) and early(b)
    assert established(a) != [sa]
    assert "with the PPK second.ppk" in steps(b)


@pytest.mark.parametrize(
    ("ours", "theirs", "used"),
    [
        (EITHER, EITHER, "early"),
        (EITHER, EARLY, "early"),
        (EARLY, EITHER, "early"),
        (EARLY, EARLY, "early"),
        (EITHER, LATE, "late"),
        (LATE, EITHER, "late"),
        (LATE, LATE, "late"),
        (EARLY, LATE, "no"),
        (LATE, EARLY, "no"),
    ],
)
@pytest.mark.parametrize("required", [(False, False), (True, False), (False, True)])
def test_where_it_is_mixed_in(ours: PpkExchange, theirs: PpkExchange, used: str, required: tuple[bool, bool]) -> None:
    network = Network(1)
    a, b = network.host("left", LEFT), network.host("right", RIGHT)
    configure(network, b, right(), (ONE,), ppk_exchange=theirs, ppk_required=required[1])
    configure(network, a, left(), (ONE,), ppk_exchange=ours, ppk_required=required[0])
    network.run(6)
    if used == "no" and any(required):
        assert not established(a) and not established(b)
        assert "ppk" in [one.cause for host in (a, b) for one in host.engine.core.attempts.latest(9)]
        return
    assert_agree(a, b)
    for host in (a, b):
        assert early(host) is (used == "early")
        assert ("with a PPK" in told(host)) is (used != "no")


def test_the_key_must_be_the_caller_s_own() -> None:
    """The responder chooses before it knows who calls; another peer's key is refused when it does (RFC 9867 3.1)."""
    network = Network(1)
    a, b = network.host("left", LEFT), network.host("right", RIGHT)
    other = replace(right(), name="other", remote_id=left().remote_id, ppks=("two",))
    mine = replace(right(), ppks=("one",))
    network.apply(b, Snapshot.build(1, [mine, other], [psk()], ppks=(ONE, TWO)))
    configure(network, a, left(), (TWO,), ppk_exchange=EITHER)
    network.run(4)
    assert not established(a) and not established(b)
    failed = [one for one in b.engine.core.attempts.latest(9) if one.cause == "ppk"]
    assert "second.ppk, which is not one of its own here" in failed[0].reason
    assert failed[0].notify == NotifyType.AUTHENTICATION_FAILED


@pytest.mark.parametrize("keys", [(), (TWO,)])
@pytest.mark.parametrize("after", [0.005, 0.01, 0.015, 0.02, 0.03])
def test_a_key_that_is_taken_away_during_the_call_ends_no_more_than_the_call(keys: Keys, after: float) -> None:
    network = Network(1)
    a, b = pair(network, (ONE,), (ONE,), proposals=HYBRID)
    network.run(after)
    configure(network, a, left(), keys, 2, proposals=HYBRID, ppk_exchange=EITHER)
    network.run(30)
    assert_agree(a, b)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("theirs", [(ONE,), (TWO,)])
@pytest.mark.parametrize("suite", ["alone", "three"])
def test_over_a_bad_network(seed: int, theirs: Keys, suite: str) -> None:
    network = Network(seed, Weather(0.25, 0.2, 0.05, 0.5))
    a, b = pair(network, (ONE,), theirs, proposals=SUITES[suite])
    network.run(200)
    network.weather = Weather()
    network.run(200)
    assert_agree(a, b)
    assert early(a) is early(b) is (theirs == (ONE,))


# --- in between: what strips the notifies never downgrades ---


@pytest.mark.parametrize("kind", [NotifyType.USE_PPK_INT, NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED])
@pytest.mark.parametrize("response", [False, True])
@pytest.mark.parametrize("required", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("exchange", [EITHER, EARLY])
def test_stripped_in_transit(kind: int, response: bool, required: tuple[bool, bool], exchange: PpkExchange) -> None:
    """Neither to IKE_AUTH nor to none: both ends' IKE_SA_INIT are in what they prove."""
    network = Network(1)
    changed = between(network, without(kind), response=response)
    a, b = pair(network, (ONE,), (ONE,), required, ppk_exchange=exchange)
    network.run(12)
    assert changed
    assert not established(a)
    assert not established(b)


def both(message: Message) -> None:
    message.payloads.append(wire.Notify(0, b"", NotifyType.USE_PPK, b""))


def early_without_intermediate(message: Message) -> None:
    without(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED)(message)


@pytest.mark.parametrize("tamper", [both, early_without_intermediate])
@pytest.mark.parametrize("required", [False, True])
def test_an_answer_that_contradicts_itself_is_not_gone_by(tamper: Callable[[Message], None], required: bool) -> None:
    network = Network(1)
    between(network, tamper, response=True)
    a, _ = pair(network, (ONE,), (ONE,), (required, required))
    network.run(0.2)
    attempt = a.engine.core.attempts.latest(1)[0]
    assert (attempt.cause, "contradicts itself" in attempt.reason) == ("ppk", True)
    network.run(10)
    assert not established(a)


def test_a_forged_contradiction_does_not_end_the_call() -> None:
    network = Network(1)
    a, b = pair(network, (ONE,), (ONE,), (True, True))
    opening = parse(next(data for _, source, _, data in network.carried if source == LEFT))
    chosen = wire.SA([IKE[0].to_wire(1, b"")])
    uses = [wire.Notify(0, b"", kind, b"") for kind in (NotifyType.USE_PPK, NotifyType.USE_PPK_INT)]
    forged = [chosen, wire.KE(31, b"\x09" + bytes(31)), wire.Nonce(bytes(32)), *uses]
    answer = Message(opening.spi_i, b"forgery!", ExchangeType.IKE_SA_INIT, False, True, 0, list(forged))
    network.perform(a, a.engine.receive(build(answer), Path(LEFT, RIGHT, 500), network.now))
    network.run(1)
    assert_agree(a, b)
    assert early(a)


def test_two_keys_of_a_name_are_told_apart_by_their_confirmation() -> None:
    """The old and the new secret under one identity: the one end says which it cannot use, and does without."""
    network = Network(1)
    a, b = pair(network, (ONE,), (Ppk("one", "first.ppk", bytes(range(1, 33))),))
    network.run(1)
    assert_agree(a, b)
    assert "the peer's key of the name first.ppk is another one" in steps(b)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_two_peers_may_call_their_keys_the_same(order: str) -> None:
    network = Network(1)
    keys = {name: Ppk(name, "same", name.encode() * 32) for name in order}
    gateway = network.host("right", RIGHT)
    callers = [network.host(name, f"192.0.2.{ord(name)}") for name in order]
    called = [
        replace(right(), name=name, remote_id=IdentityPattern.parse(f"{name}.example"), ppks=(name,), ppk_required=True)
        for name in order
    ]
    network.apply(gateway, Snapshot.build(1, called, [psk()], ppks=keys.values()))
    for host in callers:
        me = Identity.parse(f"{host.name}.example")
        one = replace(left(), local_id=me, ppks=(host.name,), ppk_required=True)
        network.apply(host, Snapshot.build(1, [one], [psk()], ppks=[keys[host.name]]))
    network.run(5)
    assert {sa.peer.name for sa in established(gateway) if sa.peer} == {"a", "b"}
    assert all(early(host) for host in callers)
