"""Two engines that prove themselves by signatures: every kind of key, and every reason to refuse one."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from gateway.crypto.signatures import Made, PrivateKey
from gateway.ike.attempts import Outcome, Step
from gateway.ike.authentication import signature
from gateway.policy.authentication import Credential, Method, RemoteAuth
from gateway.policy.snapshot import Snapshot
from gateway.wire.numbers import NotifyType
from tests.pki import CLIENT, CODE, Issued, authority, issue, private, root
from tests.simulation.network import psk
from tests.simulation.proofs import CERTIFICATE, KEY, ROOT, Pair, left, right

FAILED = NotifyType.AUTHENTICATION_FAILED
SCHEMES = [
    ("rsa", "rsa-pss-sha256"),
    ("rsa", "rsa-pss-sha512"),
    ("rsa", "rsa-sha256"),
    ("rsa", "rsa-sha384"),
    ("p256", "ecdsa-sha256"),
    ("p384", "ecdsa-sha384"),
    ("p521", "ecdsa-sha512"),
    ("ed25519", "ed25519"),
    ("ed448", "ed448"),
    ("ml-dsa-44", "ml-dsa-44"),
    ("ml-dsa-65", "ml-dsa-65"),
    ("ml-dsa-87", "ml-dsa-87"),
]


@pytest.mark.parametrize("method", [CERTIFICATE, KEY])
@pytest.mark.parametrize(("kind", "scheme"), SCHEMES)
def test_every_scheme_proves_both_ends(kind: str, scheme: str, method: Method) -> None:
    one, other = left(key=private(kind, 1)), right(key=private(kind, 2))
    pair = Pair(one, other, methods=(method, method), scheme=scheme).run()
    assert pair.stands
    for host in (pair.a, pair.b):
        attempt = pair.attempt(host)
        assert attempt.outcome is Outcome.ESTABLISHED
        told = " ".join(step.text for step in attempt.steps)
        assert ("by the certificate O=Lab, CN=" in told) is (method is CERTIFICATE)
        assert len(attempt.chain) == (2 if method is CERTIFICATE else 0)


@pytest.mark.parametrize("methods", [(Method.PSK, CERTIFICATE), (CERTIFICATE, Method.PSK), (KEY, CERTIFICATE)])
def test_each_end_may_prove_itself_in_its_own_way(methods: tuple[Method, Method]) -> None:
    assert Pair(methods=methods).run().stands


def test_a_signature_by_an_unknown_algorithm_is_refused_and_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller signs as it should but for the name of its algorithm, which is SLH-DSA's."""
    one, honest = left(), signature.prove

    def prove(key: PrivateKey, *given: Any, **more: Any) -> Made | None:
        made = honest(key, *given, **more)
        if made is None or key != PrivateKey(one.key):
            return made
        slh_dsa = bytes.fromhex("300b0609608648016503040314")
        signed = made.data[1 + made.data[0] :]
        return replace(made, data=bytes((len(slh_dsa),)) + slh_dsa + signed)

    monkeypatch.setattr(signature, "prove", prove)
    pair = Pair(one).run()
    assert not pair.stands
    seen = pair.attempt(pair.b)
    assert (seen.cause, seen.notify) == ("signature-algorithm", FAILED)
    assert "SLH-DSA (2.16.840.1.101.3.4.3.20)" in seen.reason and "known: RSA, ECDSA" in seen.reason
    assert seen.advice.startswith("Give the peer a key of one of the known kinds")
    assert pair.attempt(pair.a).cause == "peer-refused-us"


def test_intermediates_are_sent_and_the_root_is_not() -> None:
    below = authority("O=Lab, CN=Below", ROOT)
    lowest = authority("O=Lab, CN=Lowest", below)
    one = left(lowest)
    pair = Pair(one, right(below))
    pair.apply(pair.b, pair.right, pair.theirs.credential())
    own = one.credential()
    pair.apply(pair.a, pair.left, replace(own, chain=(*own.chain, ROOT.der)))
    pair.network.run(2)
    assert pair.stands
    seen = pair.attempt(pair.b).messages
    assert [message.payloads.count("CERT") for message in seen if message.exchange == 35] == [3]
    assert len(pair.attempt(pair.b).chain) == 4


def test_intermediates_may_lie_in_the_configuration() -> None:
    below = authority("O=Lab, CN=Below", ROOT)
    one = Issued(left(below).certificate, private("p256", 1))
    assert not Pair(one).run().stands
    assert Pair(one, trusted=(ROOT.authority(intermediates=(below.der,)),)).run().stands


def test_a_chain_of_many_octets_goes_in_fragments() -> None:
    names = [f"dns:name{number}.of-this-gateway.example" for number in range(120)]
    pair = Pair(left(ROOT, "dns:left.example", *names))
    pair.network.mtu = 1400
    assert pair.run().stands


@pytest.mark.parametrize(
    ("names", "alternative"),
    [
        ("LEFT.example", "dns:left.Example"),
        ("left@Example.org", "mail:left@example.org"),
        ("192.0.2.1", "ip:192.0.2.1"),
        ("2001:db8::1", "ip:2001:db8::1"),
        ("O=Lab, CN=left", ""),
    ],
)
def test_identities_that_the_certificate_confirms(names: str, alternative: str) -> None:
    one = left(ROOT, *([alternative] if alternative else ()))
    assert Pair(one, names=(names, "right.example")).run().stands


ELSEWHERE = root("O=Elsewhere, CN=Root", key=private("p256", 9))
REFUSED: dict[str, tuple[str, str, Any]] = {
    "wrong authority": ("certificate-trust", "O=Elsewhere, CN=Root", lambda: left(ELSEWHERE)),
    "expired": ("certificate-validity", "expired", lambda: left(ends=dt.datetime(2026, 11, 24, tzinfo=dt.UTC))),
    "not yet": ("certificate-validity", "before", lambda: left(begins=dt.datetime(2027, 11, 24, tzinfo=dt.UTC))),
    "wrong purpose": ("certificate-purpose", "signing code", lambda: left(purposes=[CODE])),
    "wrong name": ("certificate-identity", "other.example", lambda: left(ROOT, "dns:other.example")),
    "no name": (
        "certificate-identity",
        "no domain names",
        lambda: issue("CN=left.example", ROOT, key=private("p256", 1)),
    ),
    "wildcard": ("certificate-identity", "*.example", lambda: left(ROOT, "dns:*.example")),
    "address": ("certificate-identity", "no domain names", lambda: left(ROOT, "ip:192.0.2.1")),
    "excluded": (
        "certificate-name-constraints",
        "excludes",
        lambda: left(authority("O=Lab, CN=Limited", ROOT, excluded=["dns:LEFT.example"])),
    ),
    "not permitted": (
        "certificate-name-constraints",
        "does not permit left.example",
        lambda: left(authority("O=Lab, CN=Limited", ROOT, permitted=["dns:other.example"])),
    ),
    "a user's": ("certificate-authority", "no authority", lambda: left(issue("CN=user", ROOT, ca=False))),
    "small key": ("certificate-key", "1024 bits", lambda: left(key=private("rsa1024"))),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_initiator_whose_certificate_does_not_hold_is_refused(what: str) -> None:
    cause, words, made = REFUSED[what]
    pair = Pair(made()).run()
    theirs, ours = pair.attempt(pair.b), pair.attempt(pair.a)
    assert not pair.stands
    assert (theirs.cause, theirs.notify, theirs.peer) == (cause, FAILED, "left")
    assert words in theirs.reason
    assert theirs.advice
    assert [link.subject for link in theirs.chain if link.fault]
    assert ours.cause == "peer-refused-us"
    assert "does not trust our certificate" in ours.reason
    assert "certificate" in ours.advice and "pre-shared" not in ours.advice


@pytest.mark.parametrize("what", REFUSED)
def test_a_responder_whose_certificate_does_not_hold_is_left(what: str) -> None:
    cause, words, made = REFUSED[what]
    pair = Pair(right(), made(), names=("right.example", "left.example")).run()
    ours = pair.attempt(pair.a)
    assert not pair.stands
    assert ours.cause == cause
    assert words in ours.reason
    assert [link.subject for link in ours.chain if link.fault]
    assert not pair.b.engine.core.established("left")  # it was told AUTHENTICATION_FAILED
    told = " ".join(event.text for event in pair.b.events if event.kind == "ike-sa.closed")
    assert "refused our proof (AUTHENTICATION_FAILED): it does not trust our certificate" in told
    theirs = pair.attempt(pair.b)
    assert (theirs.outcome, theirs.cause, theirs.notify) == (Outcome.FAILED, "peer-refused-us", FAILED)
    assert [(taken.step, taken.done) for taken in theirs.steps][-2:] == [(Step.NAT, True), (Step.IDENTITY, False)]
    assert theirs.advice.startswith("The peer's own log has the reason")


def test_a_request_for_certificates_tells_why_ours_was_refused() -> None:
    """The responder names the one authority that it trusts; ours is of another, which we know."""
    pair = Pair(left(ELSEWHERE))
    both = (ROOT.authority(), ELSEWHERE.authority("elsewhere"))
    pair.apply(pair.b, pair.right, pair.theirs.credential())
    pair.apply(pair.a, pair.left, pair.ours.credential(), both)
    pair.network.run(2)
    assert pair.attempt(pair.a).cause == "peer-refused-us"
    assert "asked for certificates of other authorities" in pair.attempt(pair.a).reason


def test_a_client_s_certificate_does_not_make_a_responder() -> None:
    assert Pair(left(purposes=[CLIENT])).run().stands
    pair = Pair(None, right(purposes=[CLIENT])).run()
    assert pair.attempt(pair.a).cause == "certificate-purpose"


def test_another_key_than_the_certificate_s_proves_nothing() -> None:
    pair = Pair()
    own = replace(pair.ours.credential(), key=issue("CN=thief", ROOT, key=private("p256", 66)).credential().key)
    pair.apply(pair.b, pair.right, pair.theirs.credential())
    pair.apply(pair.a, pair.left, own)
    pair.network.run(2)
    attempt = pair.attempt(pair.b)
    assert (attempt.cause, attempt.notify) == ("wrong-signature", FAILED)
    assert "does not hold the private key" in attempt.reason


def test_an_unknown_public_key_is_refused() -> None:
    pair = Pair(methods=(KEY, KEY), remote={"public_keys": (private_spki(),)}).run()
    assert (pair.attempt(pair.b).cause, pair.stands) == ("unknown-key", False)


def private_spki() -> bytes:
    return issue("CN=somebody else", key=private("p256", 55)).spki


def test_only_the_named_authorities_count() -> None:
    two = (ROOT.authority("lab"), ELSEWHERE.authority("elsewhere"))
    assert Pair(left(ELSEWHERE), trusted=two).run().stands
    pair = Pair(left(ELSEWHERE), trusted=two, remote={"authorities": ("lab",)}).run()
    assert pair.attempt(pair.b).cause == "certificate-trust"
    pair = Pair(trusted=two, remote={"authorities": ("gone",)}).run()
    assert pair.attempt(pair.b).cause == "certificate-trust"


def test_a_pre_shared_key_does_not_pass_for_a_certificate() -> None:
    pair = Pair(methods=(Method.PSK, CERTIFICATE), remote={"method": CERTIFICATE}).run()
    attempt = pair.attempt(pair.b)
    assert (attempt.cause, attempt.notify) == ("auth-method", FAILED)
    assert "is to prove itself by a certificate" in attempt.reason


def test_a_peer_that_verifies_none_of_our_schemes_is_named() -> None:
    pair = Pair(left(key=private("ed25519", 1)), scheme="").run()
    assert pair.stands
    pair = Pair(left(key=private("ed25519", 1)), scheme="rsa-sha256").run()
    assert pair.attempt(pair.a).cause == "signature-scheme"
    assert "Ed25519" in pair.attempt(pair.a).reason


def test_each_entry_that_came_into_question_is_named_with_its_reason() -> None:
    pair = Pair()
    others = [
        replace(pair.right, name="disabled", enabled=False),
        replace(pair.right, name="elsewhere", remote_addresses=("198.51.100.7",)),
        replace(pair.right, name="by-key", remote_auth=(RemoteAuth(Method.PSK),)),
        replace(pair.right, name="somebody", remote_id=pair.left.remote_id),
    ]
    credentials = [pair.theirs.credential()]
    pair.network.apply(pair.b, Snapshot.build(1, others, [psk()], credentials=credentials, authorities=pair.trusted))
    pair.apply(pair.a, pair.left, pair.ours.credential())
    pair.network.run(2)
    attempt = pair.attempt(pair.b)
    assert attempt.considered[0].peer == attempt.peer == "by-key"
    assert {one.peer: one.why for one in attempt.considered} == {
        "by-key": "it authenticates by DIGITAL_SIGNATURE, and is to prove itself by a pre-shared key",
        "disabled": "it is disabled",
        "elsewhere": "it is to call from 198.51.100.7, and the call came from 192.0.2.1",
        "somebody": "its identity is to be right.example, the caller says left.example",
    }


# --- a configuration that changes under SAs that stand ---


def test_a_renewed_certificate_drops_nothing_and_is_used_next() -> None:
    pair = Pair().run()
    before = pair.b.engine.core.established("left")
    renewed = right(key=private("p384", 7)).credential()
    pair.apply(pair.b, pair.right, renewed)
    pair.network.run(60)
    assert pair.b.engine.core.established("left") is before
    _, effects = pair.a.engine.disconnect("right", None, pair.network.now)
    pair.network.perform(pair.a, effects)
    pair.network.run(2)
    _, effects = pair.a.engine.connect("right", None, pair.network.now)
    pair.network.perform(pair.a, effects)
    pair.network.run(2)
    assert pair.stands
    assert pair.a.engine.core.attempts.latest(1)[0].chain[0].key == "ECDSA P-384"


@pytest.mark.parametrize("rekeyed", [False, True])
def test_trust_that_is_taken_away_cuts_what_rests_on_it(rekeyed: bool) -> None:
    pair = Pair(trusted=(ROOT.authority(), ELSEWHERE.authority("elsewhere"))).run()
    if rekeyed:
        _, effects = pair.a.engine.rekey("right", None, pair.network.now)
        pair.network.perform(pair.a, effects)
        pair.network.run(2)
    before = pair.b.engine.core.established("left")
    pair.apply(pair.b, pair.right, pair.theirs.credential(), (ROOT.authority(),))
    pair.network.run(1)
    assert pair.b.engine.core.established("left") is before
    pair.apply(pair.b, pair.right, pair.theirs.credential(), (ELSEWHERE.authority("elsewhere"),))
    pair.network.run(30)
    assert pair.b.engine.core.established("left") is None
    assert any("does not hold any longer" in event.text for event in pair.b.events)
    assert pair.b.engine.core.attempts.latest(1)[0].cause == "certificate-trust"


def test_a_public_key_that_is_taken_away_cuts_its_sa() -> None:
    pair = Pair(methods=(KEY, KEY)).run()
    assert pair.stands
    other = replace(pair.right, remote_auth=(RemoteAuth(KEY, public_keys=(private_spki(),)),))
    pair.apply(pair.b, other, Credential("own", pair.theirs.credential().key))
    pair.network.run(1)
    assert pair.b.engine.core.established("left") is None


def test_what_came_back_by_a_ticket_shows_its_certificate_again() -> None:
    pair = Pair().run()
    pair.come_back()
    pair.apply(pair.b, pair.right, pair.theirs.credential(), (ELSEWHERE.authority(),))
    pair.network.run(1)
    assert pair.b.engine.core.established("left") is None


# --- peers that know no RFC 7427 ---


@pytest.mark.parametrize(("kind", "method"), [("p256", 9), ("p384", 10), ("p521", 11)])
def test_without_rfc_7427_a_curve_signs_by_its_own_method(
    kind: str, method: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ike.exchanges.init._SIGNATURE_HASHES", b"")
    pair = Pair(left(key=private(kind, 1)), right(key=private(kind, 2))).run()
    assert pair.stands
    told = " ".join(step.text for step in pair.attempt(pair.b).steps)
    assert f"ECDSA with SHA-{ {9: 256, 10: 384, 11: 512}[method] }" in told


def test_sha1_is_for_who_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ike.exchanges.init._SIGNATURE_HASHES", b"")

    def made(*, ours: bool, theirs: bool) -> Pair:
        pair = Pair(left(key=private("rsa", 1)), remote={"sha1": theirs})
        pair.left = replace(pair.left, local_auth=(replace(pair.left.local_auth[0], sha1=ours),))
        return pair.run()

    assert made(ours=True, theirs=True).stands
    pair = made(ours=False, theirs=True)
    assert (pair.stands, pair.attempt(pair.a).cause) == (False, "signature-scheme")
    pair = made(ours=True, theirs=False)
    assert (pair.stands, pair.attempt(pair.b).cause) == (False, "signature-algorithm")
    assert "it signs by RSA PKCS#1 v1.5 with SHA-1, which is not allowed" in pair.attempt(pair.b).reason
    assert "allow it SHA-1" in pair.attempt(pair.b).advice
