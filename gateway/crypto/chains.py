"""From a peer's certificate to an authority that is trusted: building the chain, and every check on it (RFC 5280 6).

`cryptography.x509.verification` is made for the web: it takes neither Ed448 nor ML-DSA, asks for what IKE does not
(RFC 4945), and does not tell which certificate failed. The library parses, and checks each signature; the rest is here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from itertools import islice

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID

from gateway.crypto.certificates import MALFORMED, Certificate, InvalidCertificate, at_time, quietly
from gateway.crypto.name_constraints import Costly, violation
from gateway.crypto.signature_keys import weakness

MAX_SENT = 16
"""Certificates that a peer may send."""
_MAX_LENGTH = 8
_MAX_PATHS = 16
_MAX_SIGNATURES = 48
"""Verifications for one peer, however its certificates are woven together."""
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,  # any policy will do, and none is asked for (RFC 5280 6.1.1 c, e)
    }
)
_IKE_INTERMEDIATE = x509.ObjectIdentifier("1.3.6.1.5.5.8.2.2")
_IKE_PURPOSES = {ExtendedKeyUsageOID.IPSEC_IKE, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, _IKE_INTERMEDIATE}
_PURPOSES = {
    ExtendedKeyUsageOID.SERVER_AUTH: "TLS servers",
    ExtendedKeyUsageOID.CLIENT_AUTH: "TLS clients",
    ExtendedKeyUsageOID.CODE_SIGNING: "signing code",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "e-mail",
    ExtendedKeyUsageOID.TIME_STAMPING: "time stamps",
    ExtendedKeyUsageOID.OCSP_SIGNING: "signing OCSP responses",
}
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_WITHOUT_HASH = frozenset({SignatureAlgorithmOID.ED25519, SignatureAlgorithmOID.ED448}) | {
    x509.ObjectIdentifier(f"2.16.840.1.101.3.4.3.{arc}") for arc in (17, 18, 19)
}


class Check(StrEnum):
    """What is checked, in the words in which a failing one is named."""

    FORM = "form"
    TRUST = "trusted authority"
    SIGNATURE = "signature"
    ALGORITHM = "signature algorithm"
    VALIDITY = "validity period"
    AUTHORITY = "basic constraints"
    PATH_LENGTH = "path length"
    KEY_USAGE = "key usage"
    PURPOSE = "extended key usage"
    NAME_CONSTRAINTS = "name constraints"
    CRITICAL = "critical extensions"
    KEY = "key size"
    REVOCATION = "revocation"
    IDENTITY = "identity"


Pool = Sequence[Certificate]
Fault = tuple[Check, str]
"""A check that failed, and in a sentence how."""


@dataclass(frozen=True, slots=True)
class Link:
    """One certificate of a chain as it is drawn for people, and what is wrong with it."""

    subject: str
    issuer: str
    serial: str
    begins: str
    ends: str
    key: str
    fault: str = ""

    @classmethod
    def of(cls, certificate: Certificate, fault: str = "") -> "Link":
        one = certificate
        begins, ends = (f"{moment:%Y-%m-%d %H:%M} UTC" for moment in (one.begins, one.ends))
        return cls(one.text, one.issuer_text, one.serial, begins, ends, one.key.text, fault)


class Untrusted(Exception):
    """The chain does not hold: which check failed on which certificate, in a sentence, and the chain to draw."""

    def __init__(self, check: Check, why: str, chain: Sequence[Certificate] = (), at: int = 0) -> None:
        super().__init__(why)
        self.check = check
        self.why = why
        self.links = tuple(Link.of(one, why if number == at else "") for number, one in enumerate(chain))


@dataclass(slots=True)
class _Budget:
    """What verifying one peer's certificates may still cost."""

    signatures: int = _MAX_SIGNATURES


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that holds: the peer's certificate first, the trust anchor last."""

    certificates: tuple[Certificate, ...]

    @property
    def leaf(self) -> Certificate:
        return self.certificates[0]

    @property
    def anchor(self) -> Certificate:
        return self.certificates[-1]

    @property
    def ends(self) -> float:
        """When the first of its certificates expires (Unix time)."""
        return min(one.ends.timestamp() for one in self.certificates)

    @property
    def links(self) -> tuple[Link, ...]:
        return tuple(Link.of(one) for one in self.certificates)


@dataclass(frozen=True, slots=True)
class Trust:
    """What is trusted: anchors, certificates below them that peers need not send, and at which moment (Unix time)."""

    anchors: tuple[Certificate, ...]
    intermediates: tuple[Certificate, ...] = ()
    now: float = field(default=0.0, kw_only=True)


def verify(sent: Sequence[bytes], trust: Trust, *, initiator: bool) -> Chain:
    """The chain from the first certificate sent to an anchor. Raises Untrusted.

    `initiator` tells which role the peer has; it decides what an extended key usage may say.
    """
    if not sent:
        raise Untrusted(Check.FORM, "it sent no certificate")
    if len(sent) > MAX_SENT:
        raise Untrusted(Check.FORM, f"it sent {len(sent)} certificates; up to {MAX_SENT} are looked at")
    try:
        leaf = Certificate.read(sent[0])
    except InvalidCertificate as error:
        raise Untrusted(Check.FORM, f"it sent {error}") from None
    pool = [*_readable(sent[1:]), *trust.intermediates]
    budget, failure = _Budget(), None
    for path in _paths(leaf, pool, trust.anchors):
        try:
            _check_path(path, at_time(trust.now), budget, initiator=initiator)
        except Untrusted as error:
            failure = failure or error
        else:
            return Chain(tuple(path))
    raise failure or _unknown(leaf, pool)


def _readable(sent: Sequence[bytes]) -> Iterator[Certificate]:
    """A certificate beside the first that makes no sense is as if it had not been sent."""
    for octets in sent:
        try:
            yield Certificate.read(octets)
        except InvalidCertificate:
            continue


def _issued(issuer: Certificate, certificate: Certificate) -> bool:
    """Whether this may be the issuer, by names and key identifiers (RFC 5280 4.2.1.1)."""
    if issuer.subject_der != certificate.issuer_der:
        return False
    wanted, has = certificate.issuer_key, issuer.subject_key
    return wanted is None or has is None or wanted == has


def _paths(leaf: Certificate, pool: Pool, anchors: Pool) -> Iterator[list[Certificate]]:
    """Paths by name from the certificate to an anchor, the shortest first, and not more than so many."""
    if leaf in anchors:
        yield [leaf]
    waiting, found, looked = [[leaf]], 0, 0
    while waiting and found < _MAX_PATHS and looked < _MAX_PATHS * _MAX_LENGTH:
        path = waiting.pop(0)
        looked += 1
        for anchor in anchors:
            if anchor not in path and _issued(anchor, path[-1]):
                found += 1
                yield [*path, anchor]
        if len(path) < _MAX_LENGTH - 1:
            waiting += [[*path, one] for one in pool if one not in path and _issued(one, path[-1])][:_MAX_PATHS]


def _unknown(leaf: Certificate, pool: Pool) -> Untrusted:
    """No path leads to an anchor: where does the longest end?"""
    path = [leaf]
    while len(path) < _MAX_LENGTH:
        above = next((one for one in pool if one not in path and _issued(one, path[-1])), None)
        if above is None:
            break
        path.append(above)
    top = path[-1]
    if top.self_issued:
        why = f"{top.text} is its own issuer, and no authority that is trusted for this peer"
    else:
        why = f"{top.issuer_text}, which issued {top.text}, is no authority that is trusted for this peer"
    return Untrusted(Check.TRUST, why, path, len(path) - 1)


def _check_path(path: list[Certificate], now: datetime, budget: _Budget, *, initiator: bool) -> None:
    """From the anchor down, as RFC 5280 6.1 goes. Raises Untrusted."""
    constraints: list[tuple[Certificate, x509.NameConstraints]] = []
    for number in range(len(path) - 1, -1, -1):
        one = path[number]
        for check, why in _faults(path, number, now, budget, constraints, initiator):
            raise Untrusted(check, why, path, number)
        if limit := one.extension(x509.NameConstraints):
            constraints.append((one, limit))


def _faults(
    path: list[Certificate],
    number: int,
    now: datetime,
    budget: _Budget,
    constraints: Sequence[tuple[Certificate, x509.NameConstraints]],
    initiator: bool,
) -> Iterator[Fault]:
    """What is wrong with one certificate of the path, one check after the other."""
    one = path[number]
    if number + 1 < len(path):
        yield from _signature(one, path[number + 1], budget)
    yield from _itself(one, now)
    if number == 0 or not one.self_issued:
        try:
            found = violation(one, constraints)
        except Costly as error:
            found = f"{one.text} has {error}"
        if found:
            yield Check.NAME_CONSTRAINTS, found
    if number:
        yield from _authority(one, sum(not below.self_issued for below in path[1:number]))
    else:
        yield from _end(one, initiator=initiator)


def _signature(one: Certificate, issuer: Certificate, budget: _Budget) -> Iterator[Fault]:
    """No signature with a broken hash counts, whoever made it."""
    try:
        digest = one.parsed.signature_hash_algorithm
        parameters = one.parsed.signature_algorithm_parameters
    except MALFORMED:
        yield (
            Check.ALGORITHM,
            f"{one.text} is signed by {one.parsed.signature_algorithm_oid.dotted_string}, an unknown way",
        )
        return
    if isinstance(parameters, padding.PSS):
        mask = parameters.mgf._algorithm
        fine = isinstance(digest, _HASHES) and isinstance(mask, _HASHES)
    else:
        fine = isinstance(digest, _HASHES) or one.parsed.signature_algorithm_oid in _WITHOUT_HASH
    if not fine:
        yield Check.ALGORITHM, f"{one.text} is signed with {digest.name if digest else 'no hash that is known'}"
    if not _signed(one, issuer, budget):
        yield Check.SIGNATURE, f"the signature of {one.text} is not by the key of {issuer.text}"


def _signed(one: Certificate, issuer: Certificate, budget: _Budget) -> bool:
    if not budget.signatures:
        raise Untrusted(Check.SIGNATURE, f"its certificates take more than {_MAX_SIGNATURES} verifications", [one])
    budget.signatures -= 1
    return is_signed_by(one, issuer)


@lru_cache(maxsize=1024)
def is_signed_by(one: Certificate, issuer: Certificate) -> bool:
    """Whether the issuer's key made the certificate's signature."""
    try:
        quietly(lambda: one.parsed.verify_directly_issued_by(issuer.parsed))
    except (InvalidSignature, *MALFORMED):
        return False
    return True


def _itself(one: Certificate, now: datetime) -> Iterator[Fault]:
    """What concerns any certificate."""
    if now < one.begins:
        yield Check.VALIDITY, f"{one.text} is not valid before {one.begins:%Y-%m-%d %H:%M} UTC"
    if now > one.ends:
        yield Check.VALIDITY, f"{one.text} expired at {one.ends:%Y-%m-%d %H:%M} UTC"
    for extension in one.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            yield (
                Check.CRITICAL,
                f"{one.text} has the critical extension {extension.oid.dotted_string}, which is not known here",
            )
    if weak := weakness(one.key.key):
        yield Check.KEY, f"{one.text}: {weak}"


def _authority(one: Certificate, below: int) -> Iterator[Fault]:
    """What concerns who issues certificates, with so many intermediates below it that count."""
    basic = one.extension(x509.BasicConstraints)
    if basic is None or not basic.ca:
        yield Check.AUTHORITY, f"{one.text} issued a certificate, and is no authority"
        return
    if basic.path_length is not None and below > basic.path_length:
        yield (
            Check.PATH_LENGTH,
            f"{one.text} allows {basic.path_length} authorities below itself, and there are {below}",
        )
    usage = one.extension(x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        yield Check.KEY_USAGE, f"the key of {one.text} is not for signing certificates"


def _end(one: Certificate, *, initiator: bool) -> Iterator[Fault]:
    """What concerns the peer's own certificate (RFC 4945 5.1.3.2, 5.1.3.12).

    Beyond RFC 4945, a certificate for TLS servers serves too, and one for TLS clients that of an initiator: such are
    what Windows, Apple's systems and public authorities ask for and issue.
    """
    usage = one.extension(x509.KeyUsage)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        yield Check.KEY_USAGE, f"the key of {one.text} is not for signatures"
    purposes = one.extension(x509.ExtendedKeyUsage)
    if purposes is None:
        return
    allowed = _IKE_PURPOSES | {ExtendedKeyUsageOID.SERVER_AUTH}
    if initiator:
        allowed |= {ExtendedKeyUsageOID.CLIENT_AUTH}
    if not allowed & set(purposes):
        told = ", ".join(_PURPOSES.get(purpose, purpose.dotted_string) for purpose in islice(purposes, 4))
        yield Check.PURPOSE, f"{one.text} is for {told}, and not for IKE"
