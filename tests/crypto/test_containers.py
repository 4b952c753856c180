"""Certificates and keys from files: every form is read, and what is none is told so."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from gateway.crypto import authority, containers
from gateway.crypto.authority import Issuer, Wanted
from gateway.crypto.containers import Unreadable
from gateway.crypto.revoking import revocation_list
from gateway.crypto.signatures import PrivateKey
from tests.crypto.test_authority import NOW, a_key, chance

KEY = ec.generate_private_key(ec.SECP256R1())
OWN = PrivateKey(KEY)
ROOT = Issuer(authority.create_root(OWN, Wanted("root"), NOW, chance()), OWN)
LEAF_KEY = a_key()
LEAF = authority.issue(ROOT, LEAF_KEY.public, Wanted("leaf"), NOW, chance(1))
SECRET = BestAvailableEncryption(b"secret")


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_keys_in_every_form(encoding: Encoding, form: PrivateFormat) -> None:
    octets = KEY.private_bytes(encoding, form, NoEncryption())
    assert containers.read_private_key(octets) == OWN


def test_an_encrypted_key_asks_for_its_password() -> None:
    octets = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, SECRET)
    assert containers.read_private_key(octets, b"secret") == OWN
    for password, told in ((None, "its password is needed"), (b"wrong", "password is wrong")):
        with pytest.raises(Unreadable, match=told):
            containers.read_private_key(octets, password)
    with pytest.raises(Unreadable, match="not encrypted"):
        containers.read_private_key(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), b"secret")


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (rsa.generate_private_key(65537, 1024), "1024 bits"),
        (rsa.generate_private_key(3, 2048), "exponent 3"),
        (x25519.X25519PrivateKey.generate(), "does not sign"),
        (ec.generate_private_key(ec.SECP192R1()), "secp192r1"),
    ],
    ids=["short", "exponent", "agreement", "curve"],
)
def test_weak_keys_are_refused(key: rsa.RSAPrivateKey, told: str) -> None:
    octets = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(Unreadable, match=told):
        containers.read_private_key(octets)


def test_certificates_of_a_text_in_their_order() -> None:
    text = "Bag Attributes\n" + containers.pem(LEAF) + "\nissuer=root\n" + containers.pem(ROOT.certificate)
    assert containers.read_certificates(text.encode()) == (LEAF, ROOT.certificate)
    assert containers.read_certificates(containers.der(LEAF)) == (LEAF,)


@pytest.mark.parametrize(
    ("octets", "told"),
    [
        (b"", "no certificate"),
        (b"hello", "no certificate"),
        (KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "private key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA", "cut short"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no certificate"),
        (containers.pem(LEAF).encode() * 17, "up to 16"),
        (b"\x30" * 300_000, "too many"),
    ],
)
def test_what_is_no_certificate_is_told_so(octets: bytes, told: str) -> None:
    with pytest.raises(Unreadable, match=told):
        containers.read_certificates(octets)


def test_a_version_that_there_is_not_is_told_so() -> None:
    """The library has an error of its own for it, which is no ValueError."""
    crl = revocation_list(ROOT, [], NOW, 3600.0)
    for octets, version, read, told in (
        (crl, bytes((2, 1, 1, 0x30)), containers.read_crl, "no list of revoked"),
        (containers.der(LEAF), bytes((2, 1, 2, 2)), containers.read_certificates, "no certificate"),
    ):
        changed = octets.replace(version, bytes((2, 1, 9, version[-1])), 1)
        assert changed != octets
        with pytest.raises(Unreadable, match=told):
            read(changed)


def test_blocks_that_do_not_end_are_looked_at_once() -> None:
    """By a search that grows with the square of the text, this runs into the time-out of any test."""
    octets = b"-----BEGIN A-----" * (containers.MAX_OCTETS // 17)
    for read in (containers.read_certificates, containers.read_private_key):
        with pytest.raises(Unreadable):
            read(octets)


def test_pkcs12_there_and_back() -> None:
    octets = containers.write_pkcs12("leaf", LEAF_KEY, (LEAF, ROOT.certificate), "secret")
    bundle = containers.read_pkcs12(octets, b"secret")
    assert (bundle.key, bundle.chain) == (LEAF_KEY, (LEAF, ROOT.certificate))
    assert "key" not in repr(bundle).lower().replace("pubkey", "")
    for password in (b"wrong", b"", None):
        with pytest.raises(Unreadable, match="password is wrong"):
            containers.read_pkcs12(octets, password)
    with pytest.raises(ValueError, match="needs a password"):
        containers.write_pkcs12("leaf", LEAF_KEY, (LEAF,), "")
    with pytest.raises(Unreadable, match="no PKCS#12"):
        containers.read_pkcs12(octets[:-40], b"secret")


def test_a_list_that_is_too_large_is_not_parsed() -> None:
    with pytest.raises(containers.Unreadable, match="too many"):
        containers.read_crl(bytes(containers.MAX_CRL_OCTETS + 1))
