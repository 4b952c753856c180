"""Whether a certificate was revoked, by lists and answers that are brought here: CRLs (RFC 5280 6.3), OCSP (RFC 6960).

Nothing is fetched: the octets come in. A source counts when it is the issuer's own, or a responder's that the issuer
named, well signed; what says "good" has to be fresh besides.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from threading import Lock
from typing import Generic, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import CRLEntryExtensionOID, ExtendedKeyUsageOID, ExtensionOID

from gateway.crypto import der
from gateway.crypto.certificates import MALFORMED, Certificate, InvalidCertificate, quietly
from gateway.crypto.chains import is_signed_by
from gateway.crypto.containers import MAX_CRL_OCTETS
from gateway.crypto.schemes import scheme_of_oid
from gateway.crypto.signature_keys import weakness

KEPT_OCTETS = 64 * 1024 * 1024
"""Of lists that stay parsed; a list takes about as much again."""
MAX_OCSP_OCTETS = 64 * 1024
KEPT_ANSWER_OCTETS = 16 * 1024 * 1024
"""Of OCSP responses whose certificates are known; a stranger may send one beside somebody else's certificate."""
_NO_NEXT_UPDATE = timedelta(days=1)
"""How long a list or an answer is fresh that does not say so itself."""
_SKEW = timedelta(minutes=5)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_CRITICAL = frozenset({ExtensionOID.ISSUING_DISTRIBUTION_POINT, ExtensionOID.DELTA_CRL_INDICATOR})


_Parsed = TypeVar("_Parsed")


class State(StrEnum):
    """What is known of a certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Standing:
    """A certificate's state, in a sentence why, and until when the source of it is fresh."""

    state: State
    why: str
    until: datetime | None = None


def standing(
    certificate: Certificate, issuer: Certificate, crls: Sequence[bytes], responses: Sequence[bytes], now: datetime
) -> Standing:
    """One source that says "revoked" is enough; else one that is fresh and says "good"; else it is unknown."""
    found = [*_by_lists(certificate, issuer, crls, now), *_by_responses(certificate, issuer, responses, now)]
    for state in (State.REVOKED, State.GOOD):
        for one in found:
            if one.state is state:
                return one
    if found:
        return found[0]
    return Standing(State.UNKNOWN, f"there is no revocation list of {issuer.text} here, and no OCSP response")


# --- revocation lists ---


class _Kept(Generic[_Parsed]):
    """What was read of octets: of those that were asked for last, up to so many octets of them."""

    def __init__(self, limit: int, read: Callable[[bytes], _Parsed]) -> None:
        self._limit = limit
        self._read = read
        self._found: OrderedDict[bytes, _Parsed] = OrderedDict()
        self._lock = Lock()
        self.octets = 0

    def of(self, octets: bytes) -> _Parsed:
        """May be called in any thread."""
        found = self._found.get(octets)
        if found is None:
            found = self._read(octets)
        with self._lock:
            if octets not in self._found:
                self._found[octets] = found
                self.octets += len(octets)
            self._found.move_to_end(octets)
            while self.octets > self._limit and len(self._found) > 1:
                self.octets -= len(self._found.popitem(last=False)[0])
        return found


@dataclass(slots=True)
class _Read:
    """A list as it was read, None where it cannot be or has a critical extension that is not understood."""

    crl: x509.CertificateRevocationList | None
    signed_by: dict[Certificate, bool] = field(default_factory=dict)


class _Lists(_Kept[_Read]):
    """Lists that were read."""

    def made_by(self, octets: bytes, issuer: Certificate) -> x509.CertificateRevocationList | None:
        """The list, where this issuer made it."""
        read = self.of(octets)
        if read.crl is None:
            return None
        if (mine := read.signed_by.get(issuer)) is None:
            mine = read.signed_by[issuer] = _is_list_of(read.crl, issuer)
        return read.crl if mine else None


def _list(octets: bytes) -> x509.CertificateRevocationList | None:
    """A list that can be read, and whose every critical extension is understood."""
    if len(octets) > MAX_CRL_OCTETS:
        return None
    try:
        crl = quietly(lambda: x509.load_der_x509_crl(octets))
        fine = all(not one.critical or one.oid in _CRITICAL for one in crl.extensions)
        fine = fine and isinstance(crl.signature_hash_algorithm, (*_HASHES, type(None)))
        _ = crl.issuer.public_bytes(), crl.last_update_utc, crl.next_update_utc
    except MALFORMED:
        return None
    return crl if fine else None


_lists = _Lists(KEPT_OCTETS, lambda octets: _Read(_list(octets)))


def _is_list_of(crl: x509.CertificateRevocationList, issuer: Certificate) -> bool:
    if crl.issuer.public_bytes() != issuer.subject_der or weakness(issuer.key.key):
        return False
    usage = issuer.extension(x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        return False
    try:
        return crl.is_signature_valid(issuer.key.key)
    except MALFORMED:
        return False


def _extension(crl: x509.CertificateRevocationList, kind: type[x509.ExtensionType]) -> x509.ExtensionType | None:
    return next((one.value for one in crl.extensions if isinstance(one.value, kind)), None)


def _is_about(crl: x509.CertificateRevocationList, certificate: Certificate) -> bool:
    """Whether the list covers the certificate (RFC 5280 6.3.3 b 2)."""
    scope = _extension(crl, x509.IssuingDistributionPoint)
    if not isinstance(scope, x509.IssuingDistributionPoint):
        return True
    if scope.indirect_crl or scope.only_some_reasons or scope.only_contains_attribute_certs or scope.relative_name:
        return False
    basic = certificate.extension(x509.BasicConstraints)
    is_authority = basic is not None and basic.ca
    if (scope.only_contains_user_certs and is_authority) or (scope.only_contains_ca_certs and not is_authority):
        return False
    return not scope.full_name or bool(set(scope.full_name) & set(_points(certificate)))


def _points(certificate: Certificate) -> Iterator[x509.GeneralName]:
    for point in certificate.extension(x509.CRLDistributionPoints) or ():
        yield from point.full_name or ()


def _number(crl: x509.CertificateRevocationList) -> int:
    found = _extension(crl, x509.CRLNumber)
    return found.crl_number if isinstance(found, x509.CRLNumber) else 0


def _by_lists(
    certificate: Certificate, issuer: Certificate, crls: Sequence[bytes], now: datetime
) -> Iterator[Standing]:
    """Each complete list with the newest delta upon it (RFC 5280 5.2.4)."""
    mine = [crl for octets in crls if (crl := _lists.made_by(octets, issuer)) is not None]
    mine = [crl for crl in mine if _is_about(crl, certificate) and crl.last_update_utc <= now + _SKEW]
    deltas = sorted((crl for crl in mine if _base(crl) is not None), key=_number, reverse=True)
    for crl in mine:
        if _base(crl) is None:
            number = _number(crl)
            fitting = (one for one in deltas if (_base(one) or 0) <= number < _number(one) and now <= _fresh_until(one))
            yield _by_list(certificate, issuer, crl, next(fitting, None), now)


def _base(crl: x509.CertificateRevocationList) -> int | None:
    found = _extension(crl, x509.DeltaCRLIndicator)
    return found.crl_number if isinstance(found, x509.DeltaCRLIndicator) else None


def _fresh_until(crl: x509.CertificateRevocationList) -> datetime:
    return crl.next_update_utc or crl.last_update_utc + _NO_NEXT_UPDATE


def _by_list(
    certificate: Certificate,
    issuer: Certificate,
    crl: x509.CertificateRevocationList,
    delta: x509.CertificateRevocationList | None,
    now: datetime,
) -> Standing:
    serial = certificate.parsed.serial_number
    entry = crl.get_revoked_certificate_by_serial_number(serial)
    if delta is not None and (newer := delta.get_revoked_certificate_by_serial_number(serial)) is not None:
        entry = None if _reason(newer) is x509.ReasonFlags.remove_from_crl else newer
    until = min(_fresh_until(one) for one in (crl, delta) if one is not None)
    if entry is not None:
        when = f"{entry.revocation_date_utc:%Y-%m-%d %H:%M} UTC"
        return Standing(State.REVOKED, f"{issuer.text} revoked {certificate.text} at {when}", until)
    if now > until:  # of the list: a delta that is not fresh was not taken
        why = f"the revocation list of {issuer.text} was to be renewed at {until:%Y-%m-%d %H:%M} UTC"
        return Standing(State.UNKNOWN, why, until)
    return Standing(State.GOOD, f"the revocation list of {issuer.text} does not name {certificate.text}", until)


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags | None:
    try:
        found = entry.extensions.get_extension_for_oid(CRLEntryExtensionOID.CRL_REASON).value
    except (x509.ExtensionNotFound, *MALFORMED):
        return None
    return found.reason if isinstance(found, x509.CRLReason) else None


# --- OCSP ---


def _by_responses(
    certificate: Certificate, issuer: Certificate, responses: Sequence[bytes], now: datetime
) -> Iterator[Standing]:
    serial = certificate.parsed.serial_number
    for octets in responses:
        if serial not in _answers.of(octets):
            continue
        try:
            found = quietly(lambda octets=octets: _by_response(certificate, issuer, octets, now))  # type: ignore[misc]
        except MALFORMED:
            continue
        if found is not None:
            yield found


def _states(octets: bytes) -> dict[int, bool]:
    """The certificates that a response is about, and whether it says that they are good; none if it cannot be read."""
    if len(octets) > MAX_OCSP_OCTETS:
        return {}
    try:
        response = quietly(lambda: ocsp.load_der_ocsp_response(octets))
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return {}
        found = [(one.serial_number, one.certificate_status) for one in response.responses]
        return {serial: status is ocsp.OCSPCertStatus.GOOD for serial, status in found}
    except MALFORMED:
        return {}


_answers = _Kept(KEPT_ANSWER_OCTETS, _states)


def is_revoking(octets: bytes) -> bool:
    """Whether an OCSP response says of a certificate that it is not good."""
    return not all(_answers.of(octets).values())


def _by_response(certificate: Certificate, issuer: Certificate, octets: bytes, now: datetime) -> Standing | None:
    """What an OCSP response says of the certificate; None where it says nothing that counts. Raises MALFORMED."""
    response = ocsp.load_der_ocsp_response(octets)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return None
    if any(one.critical for one in response.extensions):
        return None
    single = next((one for one in response.responses if _is_for(one, certificate, issuer)), None)
    if single is None or not _is_signed(response, issuer, now):
        return None
    began = single.this_update_utc
    until = single.next_update_utc or began + _NO_NEXT_UPDATE
    if began > now + _SKEW:
        return None
    if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        return Standing(
            State.REVOKED, f"the OCSP responder of {issuer.text} says: {certificate.text} is revoked", until
        )
    if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        return Standing(State.UNKNOWN, f"the OCSP responder of {issuer.text} does not know {certificate.text}", until)
    if now > until:
        why = f"the OCSP response of {issuer.text} was fresh until {until:%Y-%m-%d %H:%M} UTC"
        return Standing(State.UNKNOWN, why, until)
    return Standing(State.GOOD, f"the OCSP responder of {issuer.text} says that {certificate.text} is good", until)


def _is_for(single: ocsp.OCSPSingleResponse, certificate: Certificate, issuer: Certificate) -> bool:
    """Whether the CertID names this certificate (RFC 6960 4.1.1); the hash is a name there, SHA-1 will do."""
    if single.serial_number != certificate.parsed.serial_number:
        return False
    named = issuer_hashes(single.hash_algorithm, certificate.issuer_der, issuer.key.spki)
    return named == (single.issuer_name_hash, single.issuer_key_hash)


def issuer_hashes(algorithm: hashes.HashAlgorithm, name: bytes, spki: bytes) -> tuple[bytes, bytes]:
    """What a CertID names an issuer by: the hashes of its name and of its key's bits alone (RFC 6960 4.1.1)."""
    _, (_, bits) = der.inside(der.whole(spki, der.SEQUENCE))
    of_name, of_key = hashes.Hash(algorithm), hashes.Hash(algorithm)
    of_name.update(name)
    of_key.update(bits[1:])  # the first octet counts unused bits
    return of_name.finalize(), of_key.finalize()


def _is_signed(response: ocsp.OCSPResponse, issuer: Certificate, now: datetime) -> bool:
    """By the issuer's own key, or by one that it issued a certificate for that purpose (RFC 6960 4.2.2.2)."""
    if _verifies(response, issuer):
        return True
    for parsed in response.certificates[:4]:
        try:
            responder = Certificate.read(parsed.public_bytes(Encoding.DER))
        except InvalidCertificate:
            continue
        if _may_respond(responder, issuer, now) and _verifies(response, responder):
            return True
    return False


def _may_respond(responder: Certificate, issuer: Certificate, now: datetime) -> bool:
    purposes = responder.extension(x509.ExtendedKeyUsage)
    usage = responder.extension(x509.KeyUsage)
    return (
        responder.issuer_der == issuer.subject_der
        and purposes is not None
        and ExtendedKeyUsageOID.OCSP_SIGNING in purposes
        and (usage is None or usage.digital_signature or usage.content_commitment)
        and responder.begins <= now <= responder.ends
        and not weakness(responder.key.key)
        and is_signed_by(responder, issuer)
    )


def _verifies(response: ocsp.OCSPResponse, signer: Certificate) -> bool:
    scheme = scheme_of_oid(response.signature_algorithm_oid.dotted_string)
    if scheme is None or weakness(signer.key.key):
        return False
    return signer.key.verify(scheme, response.signature, response.tbs_response_bytes)
