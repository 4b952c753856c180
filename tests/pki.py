"""A certificate authority for tests: honest and hostile certificates, each argument one deviation."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.crypto.signatures import PrivateKey
from gateway.policy.authentication import Authority, Credential

BEGINS = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ENDS = dt.datetime(2036, 1, 1, tzinfo=dt.UTC)
NOW = dt.datetime(2026, 11, 25, tzinfo=dt.UTC).timestamp()
IKE = x509.ExtendedKeyUsageOID.IPSEC_IKE
SERVER, CLIENT, CODE = (
    x509.ExtendedKeyUsageOID.SERVER_AUTH,
    x509.ExtendedKeyUsageOID.CLIENT_AUTH,
    x509.ExtendedKeyUsageOID.CODE_SIGNING,
)
_MADE = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa4096": lambda: rsa.generate_private_key(65537, 4096),
    "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "ml-dsa-44": mldsa.MLDSA44PrivateKey.generate,
    "ml-dsa-65": mldsa.MLDSA65PrivateKey.generate,
    "ml-dsa-87": mldsa.MLDSA87PrivateKey.generate,
}


@cache
def private(kind: str, number: int = 0) -> Any:
    """The same key for the same kind and number."""
    return _MADE[kind]()


def name(text: str) -> x509.Name:
    """`O=Lab, CN=moon`, most general first."""
    return x509.Name(list(reversed(list(x509.Name.from_rfc4514_string(text.replace(", ", ","))))))


def alternative(text: str) -> x509.GeneralName:
    """`dns:…`, `mail:…`, `ip:…`, `dn:…`, `uri:…`, as a name or, in constraints, as a subtree."""
    kind, _, value = text.partition(":")
    match kind:
        case "dns":
            return x509.DNSName(value)
        case "mail":
            return x509.RFC822Name(value)
        case "ip":
            import ipaddress

            return x509.IPAddress(ipaddress.ip_network(value) if "/" in value else ipaddress.ip_address(value))
        case "dn":
            return x509.DirectoryName(name(value))
        case _:
            return x509.UniformResourceIdentifier(value)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any
    above: "tuple[Issued, ...]" = ()
    """Who issued it, without the root."""

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def public_pem(self) -> str:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def chain(self) -> tuple[bytes, ...]:
        return (self.der, *(one.der for one in self.above))

    def credential(self, name: str = "own", **more: Any) -> Credential:
        return Credential(name, PrivateKey(self.key), self.chain, **more)

    def authority(self, name: str = "ca", **more: Any) -> Authority:
        return Authority(name, self.der, **more)


def usage(*bits: str) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{one: one in bits for one in names})


def issue(
    subject: str,
    by: Issued | None = None,
    *names: str,
    key: Any = None,
    ca: bool | None = None,
    path_length: int | None = None,
    key_usage: x509.KeyUsage | None = None,
    purposes: Sequence[x509.ObjectIdentifier] = (),
    begins: dt.datetime = BEGINS,
    ends: dt.datetime = ENDS,
    permitted: Sequence[str] = (),
    excluded: Sequence[str] = (),
    digest: hashes.HashAlgorithm | str | None = "default",
    padding: Any = None,
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    signer: Any = None,
    serial: int | None = None,
    identifiers: bool = True,
    issuer: str | None = None,
) -> Issued:
    """A certificate for `subject`; without `by` it issues itself. `names` are alternative names."""
    key = key or private("p256", len(subject) * 1000 + sum(map(ord, subject)))
    signing = signer or (by.key if by else key)
    builder = x509.CertificateBuilder(
        by.certificate.subject if by else name(issuer or subject),
        name(subject),
        key.public_key(),
        serial or x509.random_serial_number(),
        begins,
        ends,
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    if key_usage:
        builder = builder.add_extension(key_usage, critical=True)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(alternative, names))), critical=False)
    if permitted or excluded:
        limits = [list(map(alternative, each)) or None for each in (permitted, excluded)]
        builder = builder.add_extension(x509.NameConstraints(*limits), critical=True)
    if identifiers:
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key() if by else key.public_key())
        builder = builder.add_extension(own, critical=False).add_extension(above, critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    if digest == "default":
        digest = None if isinstance(signing, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    made = builder.sign(signing, digest, rsa_padding=padding)  # type: ignore[arg-type]
    return Issued(made, key, (by, *by.above) if by and by.above is not None and not _is_root(by) else ())


def _is_root(one: Issued) -> bool:
    return one.certificate.issuer == one.certificate.subject


def root(subject: str = "O=Lab, CN=Root", **more: Any) -> Issued:
    return issue(subject, None, **{"ca": True, "key_usage": usage("key_cert_sign", "crl_sign"), **more})


def authority(subject: str, by: Issued, **more: Any) -> Issued:
    """An intermediate authority."""
    return issue(subject, by, **{"ca": True, "key_usage": usage("key_cert_sign", "crl_sign"), **more})


def revocation_list(
    by: Issued,
    *serials: int,
    begins: dt.datetime = dt.datetime(2026, 11, 20, tzinfo=dt.UTC),
    ends: dt.datetime | None = dt.datetime(2026, 12, 20, tzinfo=dt.UTC),
    number: int = 1,
    base: int | None = None,
    signer: Any = None,
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    reason: x509.ReasonFlags | None = None,
) -> bytes:
    """A CRL of `by` with these serial numbers; with `base` a delta CRL."""
    builder = x509.CertificateRevocationListBuilder(by.certificate.subject, begins, ends)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder(serial, begins)
        if reason:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    if base is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    key = signer or by.key
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.DER)
