"""Parsers of what others send, each as a function of octets that must not raise anything but its own refusal."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from gateway.crypto import containers
from gateway.crypto.authority import Issuer
from gateway.crypto.certificates import Certificate, InvalidCertificate, at_time
from gateway.crypto.chains import Trust, Untrusted, verify
from gateway.crypto.radius import check_answer, msk, sign_access_request, sign_answer
from gateway.crypto.revocation import Standing, standing
from gateway.crypto.revoking import Revoked, answer_ocsp
from gateway.crypto.signatures import PrivateKey
from gateway.ike import auth_methods
from gateway.ike.tickets import Tickets
from gateway.wire import eap, radius
from gateway.wire import payloads as wire
from gateway.wire.numbers import NotifyType
from gateway.wire.outcome import Drop
from tests.pki import NOW, authority, issue, private, revocation_list, root

ROOT = root()
BELOW = authority("CN=Below", ROOT, key=private("p256", 3))
LEAF = issue("CN=moon", ROOT, key=private("p256", 1), serial=1001)
FAR = issue("CN=far", BELOW, key=private("p256", 2), serial=1002)
MOMENT = at_time(NOW)
SECRET = b"of the two of us"
_ASKED = sign_access_request(radius.Packet(radius.Code.ACCESS_REQUEST, 1, bytes(16), ()), SECRET)


def _eap(octets: bytes) -> None:
    readers: list[Callable[[bytes], object]] = [
        eap.read_nak, eap.Md5Value.read, eap.MsChap.read, eap.MsChapChallenge.read, eap.MsChapResponse.read,
        eap.TlsFragment.read, eap.words,
    ]  # fmt: skip
    for read in readers:
        with suppress(Drop):
            read(octets)
    with suppress(Drop):
        packet = wire.EAP.read(octets, 0, len(octets))
        _ = packet.method, packet.method_data
        assert packet.octets() == octets


def _radius(octets: bytes) -> None:
    """As it comes, and as a server would say it that has the secret."""
    with suppress(Drop):
        _read_radius(radius.parse(octets))
    with suppress(Drop):
        attributes = radius.parse(bytes((2, 1)) + (20 + len(octets)).to_bytes(2) + bytes(16) + octets).attributes
        answer = sign_answer(radius.Packet(radius.Code.ACCESS_ACCEPT, 1, bytes(16), attributes), _ASKED, SECRET)
        again = radius.parse(answer.octets())
        with suppress(Drop):
            check_answer(again, _ASKED, SECRET)
        _read_radius(again)


def _read_radius(packet: radius.Packet) -> None:
    _ = packet.eap
    for kind in {one.type for one in packet.attributes}:
        packet.text(kind)
        for read in (packet.number, packet.ipv4, packet.ipv6):
            with suppress(Drop):
                read(kind)
    with suppress(Drop):
        msk(packet, _ASKED, SECRET)


def _certificate(octets: bytes) -> None:
    with suppress(InvalidCertificate):
        one = Certificate.read(octets)
        _ = one.text, one.issuer_text, one.names, one.serial, one.subject_key, one.issuer_key
    trust = Trust((Certificate.read(ROOT.der),), now=NOW)
    for sent in ([octets], [LEAF.der, octets], [FAR.der, octets, BELOW.der]):
        with suppress(Untrusted):
            verify(sent, trust, initiator=True)


def _standing(*, crls: tuple[bytes, ...] = (), responses: tuple[bytes, ...] = ()) -> Standing:
    return standing(Certificate.read(LEAF.der), Certificate.read(ROOT.der), crls, responses, MOMENT)


def _crl(octets: bytes) -> None:
    _standing(crls=(octets,))
    with suppress(containers.Unreadable):
        containers.read_crl(octets)


def _ocsp(octets: bytes) -> None:
    _standing(responses=(octets,))


def _ocsp_request(octets: bytes) -> None:
    issuer = Issuer(ROOT.certificate, PrivateKey(ROOT.key))
    answered = answer_ocsp(issuer, octets, {1001}, [Revoked(7, NOW)], NOW)
    ocsp.load_der_ocsp_response(answered)


def _containers(octets: bytes) -> None:
    readers: list[Callable[[bytes], object]] = [
        containers.read_certificates, containers.read_private_key, containers.read_request,
        lambda data: containers.read_pkcs12(data, b"x"),
    ]  # fmt: skip
    for read in readers:
        with suppress(containers.Unreadable):
            read(octets)


def _payloads(octets: bytes) -> None:
    for kind in (wire.TSi, wire.SA, wire.CP, wire.Delete, wire.Notify, wire.CERTREQ):
        with suppress(Drop):
            found = kind.read(octets, 0, len(octets))
            assert found.octets() == octets
            if isinstance(found, wire.CERTREQ):
                _ = found.authorities


def _tickets(octets: bytes) -> None:
    """A ticket as it comes, and one sealed by the real key."""
    tickets = Tickets(bytes(32), bytes, 0.0)
    tickets.open(octets, 1.0)
    head = bytes(16)  # of the first day, with the nonce 0
    tickets.open(head + tickets._key(0).encrypt(head[4:], octets, head), 1.0)
    auth_methods.read(wire.Notify(0, b"", NotifyType.SUPPORTED_AUTH_METHODS, octets))


PARSERS = (_eap, _radius, _certificate, _crl, _ocsp, _ocsp_request, _containers, _payloads, _tickets)


def seeds() -> Iterator[bytes]:
    """Octets that lead into each parser: the number of the parser, and something that it takes."""
    for number, parser in enumerate(PARSERS):
        yield from (bytes((number,)) + octets for octets in _good()[parser])


@cache
def _good() -> dict[Callable[[bytes], None], list[bytes]]:
    now = at_time(NOW)
    good = ocsp.OCSPResponseBuilder().add_response(
        LEAF.certificate, ROOT.certificate, hashes.SHA256(), ocsp.OCSPCertStatus.GOOD, now, None, None, None
    )
    response = good.responder_id(ocsp.OCSPResponderEncoding.HASH, ROOT.certificate).sign(ROOT.key, hashes.SHA256())
    request = ocsp.OCSPRequestBuilder().add_certificate(LEAF.certificate, ROOT.certificate, hashes.SHA256()).build()
    encoding = serialization.Encoding.DER
    packet = radius.Packet(
        radius.Code.ACCESS_ACCEPT,
        1,
        bytes(16),
        (radius.text(1, "anna"), radius.number(27, 60), *radius.eap_message(b"\3\1\0\4")),
    )
    return {
        _eap: [bytes((2, 1, 0, 9, 26)) + bytes((2, 1, 0, 4)), b"\x80\0\0\0\7abc", b"E=691 R=1 C=00 V=3 M=no"],
        _radius: [packet.octets(), packet.octets()[20:]],
        _certificate: [one.der for one in (ROOT, BELOW, LEAF, FAR)],
        _crl: [revocation_list(ROOT, 5, 1001), revocation_list(ROOT, 5, base=1)],
        _ocsp: [response.public_bytes(encoding)],
        _ocsp_request: [request.public_bytes(encoding)],
        _containers: [LEAF.der, LEAF.pem.encode(), LEAF.key_pem.encode()],
        _payloads: [b"\1\0\0\0\7\0\0\x10\0\0\xff\xff" + bytes(8), b"\1\0\0\0\0\1\0\4" + bytes(4)],
        _tickets: [bytes(200), bytes((3, 0, 0, 2))],
    }
