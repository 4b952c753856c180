"""What our own authority says of its certificates: the list of the revoked ones, and answers about one.

RFC 5280 5 (CRLs), RFC 6960 and RFC 9654 (OCSP). Time comes in.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from gateway.crypto.authority import EARLIER, Issuer, authority_identifier, hash_for, moment, signer
from gateway.crypto.certificates import MALFORMED
from gateway.crypto.reasons import REASONS
from gateway.crypto.revocation import issuer_hashes
from gateway.crypto.signature_keys import spki

MAX_REQUEST = 16 * 1024
MAX_NONCE = 128  # RFC 9654 2.1
ANSWER_LIFE = 3600.0  # seconds that an OCSP answer is good for


@dataclass(frozen=True, slots=True)
class Revoked:
    """A certificate that is good no more: `at` is Unix time in seconds, `reason` a name of RFC 5280 5.3.1."""

    serial: int
    at: float
    reason: str = "unspecified"


_FLAGS = {name: x509.ReasonFlags[name.replace("-", "_")] for name in REASONS}


def revocation_list(issuer: Issuer, revoked: Iterable[Revoked], now: float, life: float) -> bytes:
    """The full CRL in DER, good for `life` seconds. Its number is the time, so that a later one counts as later."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(moment(now - EARLIER)).next_update(moment(now + life))
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.serial).revocation_date(moment(one.at))
        if one.reason != "unspecified":  # RFC 5280 5.3.1: then it is left out
            entry = entry.add_extension(x509.CRLReason(_FLAGS[one.reason]), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    builder = builder.add_extension(x509.CRLNumber(int(now * 1000)), critical=False)
    builder = builder.add_extension(authority_identifier(issuer), critical=False)
    return builder.sign(signer(issuer.key), hash_for(issuer.key)).public_bytes(Encoding.DER)


def answer_ocsp(issuer: Issuer, asked: bytes, issued: Container[int], revoked: Iterable[Revoked], now: float) -> bytes:
    """The response in DER to an OCSP request about a certificate of this issuer (RFC 6960).

    What the issuer neither knows nor revoked is `unknown`. It always answers: a request that makes no sense is told so.
    """
    if len(asked) > MAX_REQUEST:
        return _unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
    try:
        question = ocsp.load_der_ocsp_request(asked)
        serial, extensions = question.serial_number, list(question.extensions)
        is_ours = _is_about(issuer, question)
    except (NotImplementedError, *MALFORMED):  # NotImplementedError: the library reads one certificate a request
        return _unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
    if serial < 0:  # RFC 5280 4.1.2.2: there is none
        return _unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
    if not is_ours:
        return _unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)
    found = next((one for one in revoked if one.serial == serial), None)
    known = found is not None or serial in issued
    status = ocsp.OCSPCertStatus.REVOKED if found else ocsp.OCSPCertStatus.GOOD
    builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
        issuer_name_hash=question.issuer_name_hash,
        issuer_key_hash=question.issuer_key_hash,
        serial_number=serial,
        algorithm=question.hash_algorithm,
        cert_status=status if known else ocsp.OCSPCertStatus.UNKNOWN,
        this_update=moment(now - EARLIER),
        next_update=moment(now + ANSWER_LIFE),
        revocation_time=moment(found.at) if found else None,
        revocation_reason=_FLAGS[found.reason] if found else None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate)
    for extension in extensions:
        if isinstance(extension.value, x509.OCSPNonce) and len(extension.value.nonce) <= MAX_NONCE:
            builder = builder.add_extension(extension.value, critical=False)
    return builder.sign(signer(issuer.key), hash_for(issuer.key)).public_bytes(Encoding.DER)


def ocsp_response(issuer: Issuer, certificate: x509.Certificate, revoked: Iterable[Revoked], now: float) -> bytes:
    """What the issuer says of a certificate that it issued, in DER, for who shows it along with that (RFC 4806)."""
    found = next((one for one in revoked if one.serial == certificate.serial_number), None)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=certificate,
        issuer=issuer.certificate,
        algorithm=hashes.SHA1(),  # noqa: S303  a name here, and what everybody knows
        cert_status=ocsp.OCSPCertStatus.REVOKED if found else ocsp.OCSPCertStatus.GOOD,
        this_update=moment(now - EARLIER),
        next_update=moment(now + ANSWER_LIFE),
        revocation_time=moment(found.at) if found else None,
        revocation_reason=_FLAGS[found.reason] if found else None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate)
    return builder.sign(signer(issuer.key), hash_for(issuer.key)).public_bytes(Encoding.DER)


def _is_about(issuer: Issuer, question: ocsp.OCSPRequest) -> bool:
    """Whether the question names this issuer, by the hashes of its name and key."""
    own = issuer.certificate
    named = issuer_hashes(question.hash_algorithm, own.subject.public_bytes(), spki(own.public_key()))
    return named == (question.issuer_name_hash, question.issuer_key_hash)


def _unsuccessful(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
