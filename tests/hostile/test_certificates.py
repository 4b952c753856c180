"""Certificates, requests for them and signatures as weapons: each is refused in a sentence, and nothing stays behind.

The rogue has a right certificate, so that what it sends beside it is all that is wrong.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.crypto.keys import signed_octets
from gateway.crypto.schemes import HASHES
from gateway.crypto.signatures import PrivateKey, prove
from gateway.ike.attempts import Attempt
from gateway.policy.authentication import LocalAuth, Method, RemoteAuth
from gateway.policy.snapshot import Snapshot
from gateway.wire import payloads as wire
from gateway.wire.numbers import CertEncoding, NotifyType
from tests.hostile.abuses import HOSTILE_TEXT, notify
from tests.hostile.rogue import AUTH, Rogue, errors
from tests.hostile.scene import Scene
from tests.pki import NOW, Issued, authority, issue, private, root
from tests.simulation.network import psk

ROOT = root()
OWN = issue("O=Lab, CN=rogue", ROOT, "dns:rogue.example", key=private("p256", 1))
GATE = issue("O=Lab, CN=gate", ROOT, "dns:gate.example", key=private("p256", 2))
FAILED, SYNTAX = NotifyType.AUTHENTICATION_FAILED, NotifyType.INVALID_SYNTAX
HASH_NUMBERS = notify(NotifyType.SIGNATURE_HASH_ALGORITHMS, b"".join(int(one).to_bytes(2) for one in HASHES))


class Stage(Scene):
    """The gateway asks the rogue for a certificate, or for one of two public keys."""

    def __init__(self, method: Method = Method.CERTIFICATE) -> None:
        super().__init__()
        core = self.engine.core
        core.extensions.tickets.unix_offset = NOW - self.network.now
        known = tuple(issue(f"CN={n}", key=private("p256", n)).spki for n in (1, 3))
        auth = RemoteAuth(method, public_keys=known if method is Method.PUBLIC_KEY else ())
        peers = [
            replace(peer, local_auth=(LocalAuth(Method.CERTIFICATE, "own"),), remote_auth=(auth,))
            if peer.name == "rogue"
            else peer
            for peer in core.snapshot.peers.values()
        ]
        more = {"credentials": [GATE.credential()], "authorities": [ROOT.authority()]}
        self.network.apply(self.gate, Snapshot.build(2, peers, [psk()], core.snapshot.settings, **more))  # type: ignore[arg-type]
        self.before = self.books()

    def rogue(self) -> Rogue:
        rogue = Rogue(self, True)
        rogue.call(None, HASH_NUMBERS)
        return rogue

    @property
    def attempt(self) -> Attempt:
        return self.engine.core.attempts.latest(1)[0]


def cert(octets: bytes, encoding: int = CertEncoding.X509_SIGNATURE) -> wire.CERT:
    return wire.CERT(encoding, octets)


def signed(rogue: Rogue, key: Issued = OWN) -> wire.AUTH:
    """A right signature over what the rogue has to sign."""
    assert rogue.chosen is not None and rogue.chosen.prf is not None and rogue.keys is not None
    octets = signed_octets(
        rogue.init_request, rogue.nonce_r, rogue.chosen.prf, rogue.keys.pi, rogue.id_payload().octets()
    )
    made = prove(PrivateKey(key.key), octets, HASHES)
    assert made is not None
    return wire.AUTH(made.method, made.data)


def try_with(scene: Stage, certificates: Sequence[wire.Payload], auth: wire.AUTH | None = None) -> list[int]:
    rogue = scene.rogue()
    proof = auth or signed(rogue)
    return errors(rogue.request(AUTH, rogue.id_payload(), *certificates, proof, *rogue.child()))


def test_the_right_certificate_with_the_right_signature_comes_in() -> None:
    scene = Stage()
    assert try_with(scene, [cert(OWN.der)]) == []
    scene.assert_serves()
    scene.assert_forgets()


DEEP: list[Issued] = [ROOT]
for _number in range(12):
    DEEP.append(authority(f"CN=Deep {_number}", DEEP[-1]))
BELOW = issue("O=Lab, CN=rogue", DEEP[-1], "dns:rogue.example", key=private("p256", 1))

CERTIFICATES: dict[str, tuple[list[wire.Payload], int]] = {
    "none": ([], FAILED),
    "empty": ([cert(b"\x30")], FAILED),
    "endless length": ([cert(b"\x30\x84\xff\xff\xff\xff")], FAILED),
    "indefinite length": ([cert(b"\x30\x80" + OWN.der[4:] + b"\0\0")], FAILED),
    "cut": ([cert(OWN.der[:-9])], FAILED),
    "more": ([cert(OWN.der + b"\0" * 9)], FAILED),
    "long": ([cert(b"\x30\x82\x7f\xfc" + bytes(0x7FFC))], FAILED),
    "fifty": ([cert(OWN.der)] * 50, FAILED),
    "nested": ([cert(b"\x30\x82\x0f\x00" + b"\x30\x80" * 1920)], FAILED),
    "hash and URL": ([cert(bytes(20) + b"http://169.254.169.254/latest", CertEncoding.HASH_AND_URL_X509)], FAILED),
    "bundle by URL": ([cert(bytes(20) + b"file:///etc/passwd", CertEncoding.HASH_AND_URL_BUNDLE)], FAILED),
    "PKCS#7": ([cert(OWN.der, CertEncoding.PKCS7_X509)], FAILED),
    "unknown encoding": ([cert(OWN.der, 255)], FAILED),
    "another's": ([cert(GATE.der)], FAILED),
    "the root": ([cert(ROOT.der)], FAILED),
    "deep": ([cert(one.der) for one in (BELOW, *reversed(DEEP[1:]))], FAILED),
    "only a revocation list": ([cert(b"\x30\0", CertEncoding.CRL)], FAILED),
}


@pytest.mark.parametrize("what", CERTIFICATES)
def test_certificates_that_are_none_are_refused(what: str) -> None:
    sent, wanted = CERTIFICATES[what]
    scene = Stage()
    assert try_with(scene, sent) == [wanted]
    assert scene.attempt.reason.isprintable()
    assert len(scene.attempt.reason) < 2_000
    scene.assert_serves()
    scene.assert_forgets()


BESIDE: dict[str, list[wire.Payload]] = {
    "junk": [cert(b"\xff" * 4000)],
    "OCSP junk": [cert(b"\xff" * 4000, CertEncoding.OCSP_CONTENT), cert(b"", CertEncoding.OCSP_CONTENT)],
    "a list": [cert(b"\x30\x84\xff\xff\xff\xff", CertEncoding.CRL)],
    "a URL": [cert(bytes(20) + HOSTILE_TEXT, CertEncoding.HASH_AND_URL_X509)],
    "requests": [wire.CERTREQ(4, b"\xff" * 19), wire.CERTREQ(4, bytes(40_000)), wire.CERTREQ(0, b"")],
    "hashes": [notify(NotifyType.SIGNATURE_HASH_ALGORITHMS, b"\0\1" * 9000)],
    "the root": [cert(ROOT.der), cert(ROOT.der)],
}


@pytest.mark.parametrize("what", BESIDE)
def test_what_comes_beside_a_right_certificate_harms_nobody(what: str) -> None:
    scene = Stage()
    assert try_with(scene, [cert(OWN.der), *BESIDE[what]]) == []
    scene.assert_serves()
    scene.assert_forgets()


@pytest.mark.parametrize("method", [1, 2, 9, 10, 11, 13, 14, 201])
@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\xff", bytes(64), b"\x0c\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02", b"\xff" * 20_000]
)
def test_a_signature_that_is_none_is_refused(method: int, data: bytes) -> None:
    scene = Stage()
    assert try_with(scene, [cert(OWN.der)], auth=wire.AUTH(method, data)) == [FAILED]
    assert scene.attempt.reason.isprintable()


@pytest.mark.parametrize("method", [Method.CERTIFICATE, Method.PUBLIC_KEY])
def test_a_right_signature_of_a_wrong_key_is_refused(method: Method) -> None:
    thief = issue("CN=thief", ROOT, "dns:rogue.example", key=private("p256", 66))
    for shown in (cert(OWN.der), cert(OWN.spki, CertEncoding.RAW_PUBLIC_KEY)):
        scene = Stage(method)
        rogue = scene.rogue()
        assert errors(rogue.request(AUTH, rogue.id_payload(), shown, signed(rogue, thief), *rogue.child())) == [FAILED]


def test_a_raw_key_is_one_of_those_that_are_known() -> None:
    for key, wanted in ((private("p256", 1), []), (private("p256", 3), []), (private("p256", 66), [FAILED])):
        own = issue("CN=any", key=key)
        for shown in ([cert(own.spki, CertEncoding.RAW_PUBLIC_KEY)], []):
            scene = Stage(Method.PUBLIC_KEY)
            rogue = scene.rogue()
            answer = rogue.request(AUTH, rogue.id_payload(), *shown, signed(rogue, own), *rogue.child())
            assert errors(answer) == wanted


def test_a_self_made_certificate_with_the_known_key_is_no_certificate() -> None:
    """The key is right, and nobody vouches for it (a chain of one)."""
    scene = Stage()
    alone = issue("O=Lab, CN=rogue", None, "dns:rogue.example", key=OWN.key)
    assert try_with(scene, [cert(alone.der)]) == [FAILED]
    assert scene.attempt.cause == "certificate-trust"


@pytest.mark.parametrize("text", ["\n2026 fake line", "\x1b[31mred", "%s%n{}", "<script>", "a" * 60])
def test_the_names_in_a_certificate_stay_text(text: str) -> None:
    scene = Stage()
    strange = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, text)])
    begins = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(strange, strange, OWN.key.public_key(), 7, begins, begins.replace(year=2030))
    octets = builder.sign(OWN.key, hashes.SHA256()).public_bytes(Encoding.DER)
    assert try_with(scene, [cert(octets)]) == [FAILED]
    attempt = scene.attempt
    texts = [attempt.reason, *[link.subject + link.issuer + link.fault for link in attempt.chain]]
    texts += [event.text for event in scene.gate.events]
    assert all(told.isprintable() for told in texts)
    assert text[1:5] in attempt.reason


def test_a_certificate_changed_anywhere_does_not_come_in() -> None:
    scene = Stage()
    rogue = scene.rogue()
    for at in range(0, len(OWN.der), 7):
        changed = OWN.der[:at] + bytes((OWN.der[at] ^ 0x41,)) + OWN.der[at + 1 :]
        rogue = Rogue(scene, True, seed=at + 100)
        rogue.call(None, HASH_NUMBERS)
        answer = rogue.request(AUTH, rogue.id_payload(), cert(changed), signed(rogue), *rogue.child())
        assert errors(answer) == [FAILED]
    scene.assert_serves()
    scene.assert_forgets()
