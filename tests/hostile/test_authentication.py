"""A peer with a right key that claims what it is not, proves itself twice, or by means that nobody asked for."""

import pytest

from gateway.ike.attempts import Outcome
from gateway.ike.path import Path
from gateway.ike.sa import Lifecycle
from gateway.policy.snapshot import Snapshot
from gateway.wire import payloads as wire
from gateway.wire.numbers import AuthMethod, IdType, NotifyType, Protocol
from tests.hostile.abuses import HOSTILE_TEXT, notify
from tests.hostile.rogue import AUTH, INFORM, Rogue, answered, errors, half_open, proving
from tests.hostile.scene import GATE, HONEST, Scene
from tests.simulation.network import psk

FAILED = NotifyType.AUTHENTICATION_FAILED
LONG = b"A" * 60_000


def claim(kind: int, data: bytes) -> wire.IDi:
    return wire.IDi(kind, data)


@pytest.mark.parametrize(
    ("kind", "data", "wanted"),
    [
        (IdType.ID_FQDN, b"", FAILED),
        (IdType.ID_FQDN, b"honest.example.", FAILED),
        (IdType.ID_FQDN, b"rogue.example\0.honest.example", FAILED),
        (IdType.ID_FQDN, b"\xff" * 200, FAILED),
        (IdType.ID_FQDN, b"a.pattern.example\n", FAILED),
        (IdType.ID_IPV4_ADDR, b"", FAILED),
        (IdType.ID_IPV4_ADDR, b"abc", FAILED),
        (IdType.ID_IPV4_ADDR, bytes(16), FAILED),
        (IdType.ID_IPV6_ADDR, b"\x0a\0\0\1", FAILED),
        (IdType.ID_DER_ASN1_DN, b"", FAILED),
        (IdType.ID_DER_ASN1_DN, b"\x30\x80", FAILED),
        (IdType.ID_DER_ASN1_DN, b"\x30\x84\xff\xff\xff\xff", FAILED),
        (IdType.ID_DER_ASN1_DN, b"\x30\x0a\x31\x08\x30\x06\x06\x00\x0c\x02ab", FAILED),
        (IdType.ID_DER_ASN1_DN, b"\x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x06\x0c\x01a"[:14], FAILED),
        (IdType.ID_DER_ASN1_GN, b"\x82\x01x", FAILED),
        (IdType.ID_KEY_ID, b"", FAILED),
        (IdType.ID_NULL, b"", FAILED),
        (0, b"x", FAILED),
        (255, HOSTILE_TEXT, FAILED),
        (IdType.ID_KEY_ID, LONG, NotifyType.INVALID_SYNTAX),
        (IdType.ID_DER_ASN1_DN, b"\x06" + b"\xff" * 50_000, NotifyType.INVALID_SYNTAX),
    ],
    ids=lambda value: value.hex()[:12] or "empty" if isinstance(value, bytes) else str(int(value)),
)
def test_a_strange_identity_is_refused_before_anything_is_kept(kind: int, data: bytes, wanted: int) -> None:
    scene = Scene()
    rogue = half_open(scene)
    claimed = claim(kind, data)
    answer = rogue.request(AUTH, claimed, rogue.proof(claimed), *rogue.child())
    assert errors(answer) == [wanted]
    assert rogue.sa is None
    attempt = scene.engine.core.attempts.latest(1)[0]
    assert attempt.outcome is Outcome.FAILED
    assert attempt.reason.isprintable()
    assert len(attempt.reason) < 10_000
    scene.assert_serves()
    scene.assert_forgets()


def test_the_identity_of_another_peer_needs_that_peers_key() -> None:
    scene = Scene()
    rogue = half_open(scene)
    rogue.secret = b"the rogue's own key"
    rogue.identity = b"honest.example"
    assert errors(rogue.authenticate()) == [FAILED]
    scene.assert_serves()


def test_initial_contact_ends_nothing_of_another_identity() -> None:
    """RFC 7296 2.4: it speaks for the identity that was proven, and for no other."""
    scene = Scene()
    scene.assert_serves()
    rogue = half_open(scene)
    assert rogue.authenticate(notify(NotifyType.INITIAL_CONTACT)) is not None
    for extra in (notify(NotifyType.INITIAL_CONTACT), notify(NotifyType.INITIAL_CONTACT, b"honest.example")):
        rogue.request(INFORM, extra)
    honest = scene.engine.core.established("honest")
    assert honest is not None and honest.children
    assert scene.engine.core.established("rogue") is not None


def test_initial_contact_before_the_proof_ends_nothing() -> None:
    scene = Scene()
    scene.assert_serves()
    rogue = half_open(scene)
    rogue.identity, rogue.secret = b"honest.example", b"a guess"
    assert errors(rogue.authenticate(notify(NotifyType.INITIAL_CONTACT))) == [FAILED]
    assert scene.engine.core.established("honest") is not None


@pytest.mark.parametrize("method", [0, 1, 3, 9, 10, 11, 12, 13, 14, 200, 201, 255])
def test_no_other_method_passes_for_a_pre_shared_key(method: int) -> None:
    scene = Scene()
    rogue = half_open(scene)
    proof = rogue.proof()
    assert errors(rogue.request(AUTH, rogue.id_payload(), wire.AUTH(method, proof.data), *rogue.child())) == [FAILED]
    assert rogue.sa is None
    scene.assert_serves()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\xff",
        b"\x0c\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
        b"\x06\x30\x04\x06\x02\x2a\x03" + bytes(64),
        b"\x04\x30\x84\xff\xff" + bytes(64),
        b"\x20\x30\x1e\x06\x1c" + b"\xff" * 28,
        b"\xff" * 40_000,
    ],
)
def test_an_unknown_signature_algorithm_is_no_proof(data: bytes) -> None:
    """RFC 7427 3: an ASN.1 length, an AlgorithmIdentifier, a signature; any of them can be nonsense."""
    scene = Scene()
    rogue = half_open(scene)
    hashes = notify(NotifyType.SIGNATURE_HASH_ALGORITHMS, b"\xff" * 31)
    auth = wire.AUTH(AuthMethod.DIGITAL_SIGNATURE, data)
    assert errors(rogue.request(AUTH, rogue.id_payload(), auth, hashes, *rogue.child())) == [FAILED]
    assert rogue.sa is None


@pytest.mark.parametrize("which", ["IDi", "AUTH", "IDr"])
def test_twice_the_same_payload_is_refused(which: str) -> None:
    scene = Scene()
    rogue = half_open(scene)
    identity, proof = rogue.credentials()
    asked = wire.IDr(IdType.ID_FQDN, b"gate.example")
    again = {"IDi": [identity], "AUTH": [proof], "IDr": [asked, asked]}[which]
    assert errors(rogue.request(AUTH, identity, proof, *again, *rogue.child())) == [NotifyType.INVALID_SYNTAX]
    assert rogue.sa is None
    scene.assert_forgets()


@pytest.mark.parametrize("missing", ["IDi", "AUTH", "everything"])
def test_without_identity_or_proof_nothing_stands(missing: str) -> None:
    scene = Scene()
    rogue = half_open(scene)
    identity, proof = rogue.credentials()
    inside = {"IDi": [proof], "AUTH": [identity], "everything": []}[missing]
    assert errors(rogue.request(AUTH, *inside, *(rogue.child() if inside else []))) != []
    assert rogue.sa is None
    assert scene.books()["plane.states"] == 0


@pytest.mark.parametrize(
    "unasked",
    [
        wire.EAP(2, 1, b"\1rogue"),
        wire.EAP(3, 1),
        wire.CP(1, [wire.Attribute(1, b""), wire.Attribute(0x7FFF, bytes(300))]),
        wire.CP(2, [wire.Attribute(1, b"\x0a")]),
        wire.CERT(4, b"\x30\x84\xff\xff\xff\xff"),
        wire.CERT(12, bytes(20) + b"http://192.0.2.66/x"),
        wire.CERTREQ(4, bytes(19)),
        wire.PuzzleSolution(bytes(64)),
        wire.VendorId(HOSTILE_TEXT),
        notify(NotifyType.REDIRECT, b"\1\4\xc0\0\2\x42" + bytes(32)),
        notify(NotifyType.COOKIE, bytes(60_000)),
        notify(NotifyType.MOBIKE_SUPPORTED, HOSTILE_TEXT),
        notify(NotifyType.AUTH_LIFETIME, b""),
        notify(NotifyType.SET_WINDOW_SIZE, b"\xff" * 9),
        notify(NotifyType.HTTP_CERT_LOOKUP_SUPPORTED, b"x"),
        notify(49_999, HOSTILE_TEXT, b"\xff" * 255, 200),
    ],
    ids=lambda payload: f"{type(payload).__name__} {getattr(payload, 'type', '')}",
)
def test_what_nobody_asked_for_beside_a_right_proof_is_ignored(unasked: wire.Payload) -> None:
    scene = Scene()
    rogue = half_open(scene)
    assert errors(rogue.authenticate(unasked)) == []
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED
    scene.assert_serves()
    scene.assert_forgets()


def test_authentication_after_authentication_is_ignored() -> None:
    scene = Scene()
    rogue = answered(scene)
    books = scene.books()
    assert rogue.request(AUTH, *rogue.credentials(), *rogue.child()) is None
    assert scene.books() == books


@pytest.mark.parametrize("identity", [b"honest.example", b"", b"gate.example", b"A" * 60_000, HOSTILE_TEXT])
def test_a_responder_that_is_somebody_else_is_left(identity: bytes) -> None:
    """We called the rogue; who answers holds the key but another name."""
    scene = Scene()
    rogue = proving(scene)
    rogue.identity = identity
    rogue.respond(*rogue.credentials(), *rogue.child())
    assert rogue.sa is None
    assert scene.engine.core.attempts.latest(1)[0].cause in ("unknown-identity", "syntax")
    scene.assert_serves()
    scene.assert_forgets()


def test_a_responder_that_says_our_own_name_back_is_not_the_peer() -> None:
    """Our AUTH payload reflected proves nothing: the keys of the two directions differ (RFC 7296 2.15)."""
    scene = Scene()
    rogue = proving(scene)
    asked = rogue.heard()[-1]
    auth = next(p for p in asked.payloads if isinstance(p, wire.AUTH))
    rogue.respond(wire.IDr(IdType.ID_FQDN, b"rogue.example"), auth, *rogue.child())
    assert rogue.sa is None
    assert scene.engine.core.attempts.latest(1)[0].cause == "peer-not-proven"


def test_a_responder_that_is_not_believed_is_told_so_and_that_its_sa_is_gone() -> None:
    """Not all heed AUTHENTICATION_FAILED in a request (RFC 7296 2.21.2); a delete they do."""
    scene = Scene()
    rogue = proving(scene)
    rogue.secret = b"another key"
    (told,) = rogue.respond(*rogue.credentials(), *rogue.child())
    assert (told.exchange, errors(told)) == (INFORM, [FAILED])
    assert [one.protocol for one in told.all(wire.Delete)] == [Protocol.IKE]


def test_the_hostile_text_of_an_identity_stays_text() -> None:
    """Escapes, line ends, format strings and markup reach events and attempts escaped, never as octets that act."""
    scene = Scene()
    for kind in (IdType.ID_FQDN, IdType.ID_RFC822_ADDR, IdType.ID_KEY_ID, 99):
        rogue = Rogue(scene, True, seed=kind)
        rogue.call()
        claimed = claim(kind, HOSTILE_TEXT)
        rogue.request(AUTH, claimed, rogue.proof(claimed), *rogue.child())
    attempts = scene.engine.core.attempts.latest(99)
    texts = [text for a in attempts for text in (a.reason, a.remote_id, *[step.text for step in a.steps])]
    texts += [event.text for event in scene.gate.events] + [str(event.data) for event in scene.gate.events]
    assert any("fake" in text for text in texts)
    assert all(text.isprintable() for text in texts)


def test_attempts_of_strangers_stay_small() -> None:
    """The number of attempts is bounded, so must be each one's size (a cache that strangers fill)."""
    scene = Scene()
    transforms = [wire.Transform(1, 60_000 + n, 65_535) for n in range(250)]
    offers = wire.SA([wire.Proposal(n, 1, b"", transforms[:120]) for n in range(1, 9)])
    for seed in range(30):
        Rogue(scene, True, seed=seed).call([offers, wire.KE(31, bytes(32)), wire.Nonce(bytes(32))])
    attempts = scene.engine.core.attempts.latest(99)
    assert 0 < len(attempts) <= 30
    assert max(len(repr(attempt)) for attempt in attempts) < 40_000
    assert scene.books() == scene.before


def test_a_key_for_anybody_does_not_open_a_peer_with_its_own_key() -> None:
    scene = Scene()
    snapshot = scene.engine.core.snapshot
    keys = [psk(), psk(b"honest's own", "honest.example")]
    scene.network.apply(scene.gate, Snapshot.build(2, snapshot.peers.values(), keys, snapshot.settings))
    rogue = Rogue(scene, True, identity=b"honest.example", path=Path(GATE, HONEST))
    rogue.call()
    assert errors(rogue.authenticate()) == [FAILED]
    assert scene.engine.core.established("honest") is None


def test_the_error_about_the_proof_is_told_before_one_about_the_child() -> None:
    scene = Scene()
    rogue = proving(scene)
    child, refusal = (
        wire.Notify(0, b"", kind, b"") for kind in (NotifyType.TS_UNACCEPTABLE, NotifyType.AUTHENTICATION_FAILED)
    )
    rogue.respond(child, refusal)
    attempt = scene.engine.core.attempts.last("rogue")
    assert attempt is not None
    assert attempt.cause == "peer-refused-us"
    assert "AUTHENTICATION_FAILED" in attempt.reason
