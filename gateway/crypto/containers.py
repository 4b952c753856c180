"""Certificates and keys as files carry them: PEM, DER, PKCS#8 and PKCS#12, read with clear errors and written.

What is read may come from anybody: its size is bounded before it is parsed, and weak keys are refused.
"""

import re
from dataclasses import dataclass, field
from typing import cast, get_args

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import PBES, PKCS12PrivateKeyTypes

from gateway.crypto.certificates import MALFORMED
from gateway.crypto.signature_keys import ML_DSA, InvalidKey, Private, weakness
from gateway.crypto.signatures import PrivateKey

MAX_OCTETS = 256 * 1024
MAX_CRL_OCTETS = 8 * 1024 * 1024
"""Of one list of revoked certificates: some two hundred thousand of them."""
MAX_CERTIFICATES = 16
_OLD_ROUNDS = 20_000
# A block ends before the next begins: a search for its end that went on would take the square of the text's length.
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(?:(?!-----BEGIN ).)*?-----END \1-----", re.DOTALL)
_CERTIFICATE_LABELS = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")


class Unreadable(ValueError):
    """The octets hold nothing of what was asked for; the message says what they hold, never their content."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a PKCS#12 file holds: a private key and its certificates, its own first."""

    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]


def read_certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    """All certificates of a PEM text in its order, or the one of a DER file. Raises Unreadable."""
    _bounded(data)
    blocks = [match for match in _PEM.finditer(data) if match[1] in _CERTIFICATE_LABELS]
    if len(blocks) > MAX_CERTIFICATES:
        raise Unreadable(f"there are {len(blocks)} certificates; up to {MAX_CERTIFICATES} are read")
    if not blocks and b"-----BEGIN" in data:
        found = ", ".join(sorted({match[1].decode().lower() for match in _PEM.finditer(data)})) or "a text cut short"
        raise Unreadable(f"this holds no certificate but: {found}")
    try:
        if not blocks:
            return (x509.load_der_x509_certificate(data),)
        return tuple(x509.load_pem_x509_certificate(match[0]) for match in blocks)
    except MALFORMED:
        raise Unreadable("this is no certificate: PEM begins with -----BEGIN CERTIFICATE-----, DER is binary") from None


def read_private_key(data: bytes, password: bytes | None = None) -> PrivateKey:
    """A private key from PEM or DER: PKCS#8, encrypted or not, SEC 1 or PKCS#1. Raises Unreadable."""
    _bounded(data)
    blocks = [match[0] for match in _PEM.finditer(data) if match[1].endswith(b"PRIVATE KEY")]
    if len(blocks) > 1:
        raise Unreadable(f"there are {len(blocks)} private keys; one is wanted")
    if not blocks and b"-----BEGIN" in data:
        raise Unreadable("this holds no private key: it begins with -----BEGIN PRIVATE KEY-----")
    try:
        key = load_pem_private_key(blocks[0], password) if blocks else load_der_private_key(data, password)
    except TypeError:
        raise Unreadable(
            "the key is encrypted: its password is needed" if password is None else "the key is not encrypted"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        told = "the password is wrong, or this is no private key" if password else "this is no private key that we know"
        raise Unreadable(told) from None
    return _strong(key)


def read_pkcs12(data: bytes, password: bytes | None) -> Bundle:
    """Raises Unreadable."""
    _bounded(data)
    try:
        key, own, others = pkcs12.load_key_and_certificates(data, password)
    except MALFORMED:
        raise Unreadable("the password is wrong, or this is no PKCS#12 file (.p12, .pfx)") from None
    if key is None or own is None:
        raise Unreadable("this PKCS#12 file has no private key with its certificate")
    if len(others) >= MAX_CERTIFICATES:
        raise Unreadable(f"there are {len(others) + 1} certificates; up to {MAX_CERTIFICATES} are read")
    return Bundle(_strong(key), in_order(own, others))


def in_order(own: x509.Certificate, others: list[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """The certificate and those above it, each issuer after what it issued; others are left out."""
    chain, left = [own], list(others)
    while chain[-1].issuer != chain[-1].subject:
        above = next((one for one in left if one.subject == chain[-1].issuer), None)
        if above is None:
            break
        left.remove(above)
        chain.append(above)
    return tuple(chain)


def read_request(data: bytes) -> x509.CertificateSigningRequest:
    """A PKCS#10 request, PEM or DER. Raises Unreadable."""
    _bounded(data)
    try:
        return x509.load_pem_x509_csr(data) if b"-----BEGIN" in data else x509.load_der_x509_csr(data)
    except MALFORMED:
        raise Unreadable("this is no certificate request (PKCS#10)") from None


def read_crl(data: bytes) -> x509.CertificateRevocationList:
    """A list of revoked certificates, PEM or DER. Raises Unreadable."""
    _bounded(data, MAX_CRL_OCTETS)
    try:
        return x509.load_pem_x509_crl(data) if data.startswith(b"-----BEGIN") else x509.load_der_x509_crl(data)
    except MALFORMED:
        raise Unreadable("this is no list of revoked certificates (CRL)") from None


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def pem(*certificates: x509.Certificate) -> str:
    """The certificates as PEM, in their order."""
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)


def key_octets(key: PrivateKey) -> bytes:
    """The key as PKCS#8 in DER, in clear: only to be sealed."""
    return key.unwrapped.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def key_pem(key: PrivateKey) -> str:
    """The key as PKCS#8 in PEM, in clear: only to be sealed."""
    return key.unwrapped.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def write_pkcs12(
    name: str, key: PrivateKey, chain: tuple[x509.Certificate, ...], password: str, *, old: bool = False
) -> bytes:
    """A PKCS#12 file under a password: AES-256 with PBES2, as Windows 10 and strongSwan read it.

    `old`: triple DES with a MAC of SHA-1, as every phone and Mac reads it; it protects no more than a weak password
    does, so the file itself must be kept as the key is. The library draws the salts itself; nothing that is decided
    here depends on them. ValueError for an empty password, and for a key of ML-DSA, which the library puts into no
    such file.
    """
    if not password:
        raise ValueError("a PKCS#12 file with a private key needs a password")
    if key.public.kind in ML_DSA:
        why = f"a key of the kind {key.public.text} goes into no PKCS#12 file here"
        raise ValueError(f"{why}: let the other machine make its own key, and sign its request")
    unwrapped = cast("PKCS12PrivateKeyTypes", key.unwrapped)
    encryption: KeySerializationEncryption = BestAvailableEncryption(password.encode())
    if old:
        builder = PrivateFormat.PKCS12.encryption_builder().key_cert_algorithm(PBES.PBESv1SHA1And3KeyTripleDESCBC)
        encryption = builder.hmac_hash(hashes.SHA1()).kdf_rounds(_OLD_ROUNDS).build(password.encode())  # noqa: S303
    return pkcs12.serialize_key_and_certificates(name.encode(), unwrapped, chain[0], list(chain[1:]), encryption)


def _bounded(data: bytes, most: int = MAX_OCTETS) -> None:
    if len(data) > most:
        raise Unreadable(f"{len(data)} octets are too many; up to {most} are read")


def _strong(key: object) -> PrivateKey:
    if not isinstance(key, get_args(Private)):
        raise Unreadable("the key is of a kind that does not sign")
    try:
        found = PrivateKey(key)
    except InvalidKey as error:
        raise Unreadable(str(error)) from None
    if why := weakness(found.public.key):
        raise Unreadable(why)
    return found
