"""What a changed certificate, authority or way of proof does to SAs that stand."""

import datetime as dt
from dataclasses import replace
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPCertStatus

from gateway.crypto.signatures import PrivateKey
from gateway.policy.authentication import Authority, Credential, LocalAuth, Method, RemoteAuth, Revocation
from gateway.policy.changes import Changes, changes
from gateway.policy.identities import Identity
from gateway.policy.peers import Peer
from gateway.policy.snapshot import Snapshot
from tests.crypto.test_revocation import response
from tests.policy.samples import peer

CERTIFICATE = (LocalAuth(Method.CERTIFICATE, "gw"),)
TRUSTING = (RemoteAuth(Method.CERTIFICATE, ("office",)),)


@cache
def key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def certificate(name: str, *, subject: str = "gw", serial: int = 1, with_key: int = 0) -> bytes:
    names = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    begins = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder(names, names, key(with_key).public_key(), serial, begins, begins.replace(year=2030))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key(with_key), hashes.SHA256())
    )
    return made.public_bytes(Encoding.DER)


def credential(name: str = "gw", *, dns: str = "gw.example", serial: int = 1, with_key: int = 0) -> Credential:
    return Credential(name, PrivateKey(key(with_key)), (certificate(dns, serial=serial, with_key=with_key),))


def config(one: Peer, *credentials: Credential, authorities: tuple[Authority, ...] = ()) -> Snapshot:
    return Snapshot.build(1, [one], [], credentials=credentials, authorities=authorities)


def office(**more: object) -> Authority:
    return replace(Authority("office", b"root"), **more)  # type: ignore[arg-type]


US = replace(peer("a"), local_auth=CERTIFICATE)
THEM = replace(peer("a"), remote_auth=TRUSTING)


@pytest.mark.parametrize("with_key", [0, 1])
def test_a_renewed_certificate_of_ours_changes_nothing(with_key: int) -> None:
    old = config(US, credential())
    assert changes(old, config(US, credential(serial=2, with_key=with_key))).empty
    named = replace(US, local_auth=(LocalAuth(Method.CERTIFICATE, "next"),))
    assert changes(old, config(named, credential("next", serial=2, with_key=with_key))) == Changes(adjusted=("a",))


def test_another_name_of_ours_has_to_be_proven() -> None:
    old = config(US, credential())
    assert changes(old, config(US, credential(dns="other.example"))).renegotiate == ("a",)
    assert changes(old, config(US)).renegotiate == ("a",)


def test_a_raw_key_of_ours_is_its_own_name() -> None:
    raw = Credential("gw", PrivateKey(key(0)))
    us = replace(US, local_auth=(LocalAuth(Method.PUBLIC_KEY, "gw"),))
    assert changes(config(us, raw), config(us, Credential("gw", PrivateKey(key(0))))).empty
    assert changes(config(us, raw), config(us, Credential("gw", PrivateKey(key(1))))).renegotiate == ("a",)


@pytest.mark.parametrize(
    "auth",
    [
        {"local_auth": CERTIFICATE},
        {"remote_auth": TRUSTING},
        {"local_auth": (LocalAuth(), LocalAuth(Method.EAP, eap_identity="me"))},
        {"local_auth": (LocalAuth(eap_password=b"other"),)},
        {"local_auth": (LocalAuth(eap_server=Identity.parse("aaa.example")),)},
        {"remote_auth": (RemoteAuth(), RemoteAuth(Method.EAP, eap_methods=("mschapv2",)))},
    ],
)
def test_another_way_of_proof_renegotiates(auth: dict[str, object]) -> None:
    changed = replace(peer("a"), **auth)  # type: ignore[arg-type]
    assert changes(config(peer("a")), config(changed)).renegotiate == ("a",)


@pytest.mark.parametrize(
    "other",
    [
        (),
        (office(certificate=b"another root"),),
        (office(crls=(b"list",)),),
        (office(ocsp=(response(OCSPCertStatus.REVOKED),)),),
        (office(ocsp=(response(OCSPCertStatus.UNKNOWN),)),),
        (office(intermediates=(b"below",)),),
    ],
)
def test_what_is_trusted_otherwise_is_looked_at_again(other: tuple[Authority, ...]) -> None:
    old = config(THEM, authorities=(office(),))
    assert changes(old, config(THEM, authorities=other)) == Changes(trust=("a",))
    assert changes(config(peer("a"), authorities=(office(),)), config(peer("a"), authorities=other)).empty


@pytest.mark.parametrize("answer", [response(), b"answer"], ids=["good", "none"])
def test_an_answer_that_takes_nothing_away_is_nothing_to_look_at(answer: bytes) -> None:
    old = config(THEM, authorities=(office(),))
    assert changes(old, config(THEM, authorities=(office(ocsp=(answer,)),))).empty


def test_authorities_that_a_peer_does_not_name_are_nothing_to_it() -> None:
    more = (office(), Authority("home", b"other"))
    assert changes(config(THEM, authorities=(office(),)), config(THEM, authorities=more)).empty
    anyone = replace(THEM, remote_auth=(RemoteAuth(Method.CERTIFICATE),))
    assert changes(config(anyone, authorities=(office(),)), config(anyone, authorities=more)).trust == ("a",)


@pytest.mark.parametrize(
    "auth",
    [
        RemoteAuth(Method.CERTIFICATE, ()),
        RemoteAuth(Method.CERTIFICATE, ("office",), revocation=Revocation.STRICT),
        RemoteAuth(Method.CERTIFICATE, ("office",), (b"key",)),
    ],
)
def test_a_peer_that_trusts_otherwise_is_adjusted_and_looked_at(auth: RemoteAuth) -> None:
    two = (office(), Authority("home", b"other"))
    found = changes(config(THEM, authorities=two), config(replace(THEM, remote_auth=(auth,)), authorities=two))
    assert found == Changes(adjusted=("a",), trust=("a",))


def test_secrets_are_not_in_the_texts_of_the_configuration() -> None:
    told = repr((credential(), LocalAuth(Method.EAP, eap_password=b"hush")))
    assert "hush" not in told
    assert "PrivateKey" not in told
