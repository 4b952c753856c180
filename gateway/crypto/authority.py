"""Our own certificate authority: it makes certificates, renews them, and takes the keys of requests.

RFC 5280 (certificates), RFC 4945 (what IKE wants of them), RFC 2986 (requests). Time and chance come in. Only the nonce
of an ECDSA signature is the library's own, as everywhere.
"""

import datetime as dt
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from gateway.crypto.signature_keys import weakness
from gateway.crypto.signatures import PrivateKey, PublicKey

DAY = 86_400.0
EARLIER = 300.0  # seconds that a certificate is good before it was made: not every clock is right
SERIAL_OCTETS = 20  # RFC 5280 4.1.2.2: at most
MAX_COMMON_NAME = 64  # RFC 5280 A.1: ub-common-name
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*")
_MAIL = re.compile(r"[!-?A-~]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")

Chance = Callable[[int], bytes]


class CannotIssue(ValueError):
    """The certificate cannot be made; the message says why."""


class Profile(StrEnum):
    """What a certificate is for."""

    GATEWAY = "gateway"
    CLIENT = "client"


_PURPOSES = {
    # Windows asks a gateway for serverAuth, older systems for clientAuth of an initiator; RFC 4945 knows ipsecIKE.
    Profile.GATEWAY: (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.IPSEC_IKE),
    Profile.CLIENT: (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.IPSEC_IKE),
}


@dataclass(frozen=True, slots=True)
class Issuer:
    """An authority that signs. `publish` is where its CRL and OCSP answers are found, as a URI without a last slash."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    publish: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a certificate is to say: whose it is, by which names, for how many seconds."""

    common_name: str
    names: tuple[str, ...] = ()
    organization: str = ""
    profile: Profile = Profile.GATEWAY
    life: float = 398 * DAY


def general_name(text: str) -> x509.GeneralName:
    """An address, an e-mail address or a DNS name as a subject alternative name. Raises CannotIssue."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if "@" in text and _MAIL.fullmatch(text):
        return x509.RFC822Name(text)
    if len(text) <= 253 and _HOST.fullmatch(text):
        return x509.DNSName(text)
    raise CannotIssue(f"{text!r} is no address, DNS name or e-mail address")


def name_texts(certificate: x509.Certificate | x509.CertificateSigningRequest) -> tuple[str, ...]:
    """The alternative names that we can write, as text."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError, x509.DuplicateExtension):
        return ()
    kinds = (x509.DNSName, x509.RFC822Name, x509.IPAddress)
    return tuple(str(name.value) for name in found if isinstance(name, kinds))


def common_name(certificate: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """The subject's common name; empty where it has none."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def create_root(key: PrivateKey, wanted: Wanted, now: float, chance: Chance) -> x509.Certificate:
    """A root authority that signs itself."""
    subject = _subject(wanted)
    builder = _begun(subject, subject, key.public, chance).not_valid_before(moment(now - EARLIER))
    builder = builder.not_valid_after(moment(now + wanted.life))
    return _signed(_with_authority(builder, key.public, path_length=1), key)


def create_intermediate(
    issuer: Issuer, public: PublicKey, wanted: Wanted, now: float, chance: Chance
) -> x509.Certificate:
    """An authority below another, which makes no authority itself. Raises CannotIssue."""
    constraints = issuer.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    if constraints.path_length == 0:
        raise CannotIssue("this authority may not make others: its path length is 0")
    builder = _below(issuer, _subject(wanted), public, wanted.life, now, chance)
    return _signed(_with_authority(_linked(builder, issuer), public, path_length=0), issuer.key)


def issue(issuer: Issuer, public: PublicKey, wanted: Wanted, now: float, chance: Chance) -> x509.Certificate:
    """A certificate of an end of IKE. It ends with its issuer at the latest. Raises CannotIssue."""
    if why := weakness(public.key):
        raise CannotIssue(why)
    builder = _below(issuer, _subject(wanted), public, wanted.life, now, chance)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(_PURPOSES[wanted.profile]), critical=False)
    if wanted.names:
        alternatives = x509.SubjectAlternativeName([general_name(name) for name in wanted.names])
        builder = builder.add_extension(alternatives, critical=False)
    builder = builder.add_extension(_key_identifier(public), critical=False)
    return _signed(_linked(builder, issuer), issuer.key)


def renew(issuer: Issuer, old: x509.Certificate, public: PublicKey, now: float, chance: Chance) -> x509.Certificate:
    """A certificate that says the same as an older one of this issuer, for as long a time. Raises CannotIssue."""
    life = (old.not_valid_after_utc - old.not_valid_before_utc).total_seconds() - EARLIER
    organizations = old.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    organization = str(organizations[0].value) if organizations else ""
    return issue(
        issuer, public, Wanted(common_name(old), name_texts(old), organization, profile_of(old), life), now, chance
    )


def profile_of(certificate: x509.Certificate) -> Profile:
    """What a certificate is for, by its extended key usage."""
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return Profile.GATEWAY
    return Profile.GATEWAY if ExtendedKeyUsageOID.SERVER_AUTH in purposes else Profile.CLIENT


def renewal_due(certificate: x509.Certificate) -> float:
    """When two thirds of a certificate's life are over (Unix time, seconds)."""
    start, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    return start + (end - start) * 2 / 3


def request(key: PrivateKey, wanted: Wanted) -> str:
    """A request (PKCS#10, PEM) that another authority may sign. Raises CannotIssue."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(wanted))
    if wanted.names:
        alternatives = x509.SubjectAlternativeName([general_name(name) for name in wanted.names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(signer(key), hash_for(key)).public_bytes(Encoding.PEM).decode()


def requested_key(asked: x509.CertificateSigningRequest) -> PublicKey:
    """The key of a request whose sender holds its private half. Raises CannotIssue.

    Nothing else is taken from it: what the certificate says is the administrator's word.
    """
    try:
        proven, public = asked.is_signature_valid, PublicKey.of(asked.public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CannotIssue(f"the request's key cannot be used: {error}") from None
    if not proven:
        raise CannotIssue("the request is not signed by its own key: who sent it does not prove to hold it")
    if why := weakness(public.key):
        raise CannotIssue(why)
    return public


def _subject(wanted: Wanted) -> x509.Name:
    name = wanted.common_name.strip()
    if not 0 < len(name) <= MAX_COMMON_NAME:
        raise CannotIssue(f"a common name has 1 to {MAX_COMMON_NAME} characters")
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if wanted.organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, wanted.organization))
    return x509.Name(attributes)


def _begun(subject: x509.Name, issuer: x509.Name, public: PublicKey, chance: Chance) -> x509.CertificateBuilder:
    # RFC 5280 4.1.2.2: positive, unique, up to 20 octets; 159 random bits make it hard to foretell as well.
    serial = int.from_bytes(chance(SERIAL_OCTETS)) >> 1 or 1
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).serial_number(serial)
    return builder.public_key(public.key)


def _below(
    issuer: Issuer, subject: x509.Name, public: PublicKey, life: float, now: float, chance: Chance
) -> x509.CertificateBuilder:
    """A certificate within its issuer's own time. Raises CannotIssue when that is over, or has not come."""
    first = issuer.certificate.not_valid_before_utc.timestamp()
    last = issuer.certificate.not_valid_after_utc.timestamp()
    if not first <= now < last:
        raise CannotIssue("the authority's own certificate is not valid now")
    if life <= 0:
        raise CannotIssue("a certificate is valid for some time at least")
    builder = _begun(subject, issuer.certificate.subject, public, chance)
    builder = builder.not_valid_before(moment(max(now - EARLIER, first)))
    return builder.not_valid_after(moment(min(now + life, last)))


def _with_authority(builder: x509.CertificateBuilder, public: PublicKey, path_length: int) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    return builder.add_extension(_key_identifier(public), critical=False)


def _linked(builder: x509.CertificateBuilder, issuer: Issuer) -> x509.CertificateBuilder:
    """Who issued it, and where its state is told."""
    builder = builder.add_extension(authority_identifier(issuer), critical=False)
    if not issuer.publish:
        return builder
    place = x509.DistributionPoint([x509.UniformResourceIdentifier(f"{issuer.publish}/crl")], None, None, None)
    responder = x509.AccessDescription(
        AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(f"{issuer.publish}/ocsp")
    )
    builder = builder.add_extension(x509.CRLDistributionPoints([place]), critical=False)
    return builder.add_extension(x509.AuthorityInformationAccess([responder]), critical=False)


def _usage(**used: bool) -> x509.KeyUsage:
    kinds = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
        "encipher_only decipher_only"
    )
    return x509.KeyUsage(**{kind: used.get(kind, False) for kind in kinds.split()})


def _key_identifier(public: PublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(public.key)


def authority_identifier(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    """What names the issuer's key in all that it signs (RFC 5280 4.2.1.1)."""
    try:
        own = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public.key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _signed(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    return builder.sign(signer(key), hash_for(key))


def signer(key: PrivateKey) -> CertificateIssuerPrivateKeyTypes:
    """The library's key, as its builders want it."""
    return cast("CertificateIssuerPrivateKeyTypes", key.unwrapped)


def hash_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """As strong as the key (RFC 5758 3.2); EdDSA and ML-DSA have theirs inside."""
    if isinstance(key.unwrapped, ec.EllipticCurvePrivateKey):
        size = key.unwrapped.curve.key_size
        return hashes.SHA256() if size <= 256 else hashes.SHA384() if size <= 384 else hashes.SHA512()
    return hashes.SHA256() if isinstance(key.unwrapped, rsa.RSAPrivateKey) else None


def moment(unix: float) -> dt.datetime:
    """Unix time as the library wants it. Whole seconds: certificates know no parts of them."""
    return dt.datetime.fromtimestamp(int(unix), dt.UTC)
