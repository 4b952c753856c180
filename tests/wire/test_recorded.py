"""Recorded datagrams: each parses or is dropped, whole and cut, and what parses is built again bit by bit."""

from collections import Counter

import pytest

from gateway.wire import payloads as wire
from gateway.wire.message import HEADER_OCTETS, build, parse, parse_header
from gateway.wire.numbers import ExchangeType, KeMethod
from gateway.wire.outcome import Drop
from tests.wire.recorded import recorded, transcript

LENGTH = slice(24, 28)
# The captures that are broken on purpose, or whose octets are no IKE message though the ports say so; tshark calls
# the same ones malformed or shows octets that belong to nothing.
MALFORMED = {
    "pcap/nDPI/ipsec_isakmp_esp.pcap#192",
    "pcap/tcpdump/ikev2-id-normal.pcap#1",
    "pcap/tcpdump/ikev2-id-short.pcap#1",
    "pcap/tcpdump/ikev2pI2-segfault.pcapng#1",
    "pcap/tcpdump/isakmp-ikev1_n_print-oobr.pcap#1",
    "pcap/tcpdump/isakmp-ikev1_n_print-oobr.pcap#3",
}


def parses(octets: bytes) -> bool:
    """Whether the octets make a message, which then must have the same octets."""
    try:
        message = parse(octets)
    except Drop:
        return False
    assert build(message) == octets
    return True


def test_every_well_formed_ikev2_datagram_parses() -> None:
    outcomes = {datagram.name: parses(datagram.octets) for datagram in recorded() if datagram.major == 2}
    assert len(recorded()) >= 1086
    assert sum(outcomes.values()) >= 630
    assert {name for name, parsed in outcomes.items() if not parsed} == MALFORMED


def test_what_is_not_ikev2_is_dropped() -> None:
    others = [datagram for datagram in recorded() if datagram.major != 2]
    assert len(others) > 400
    assert not [datagram.name for datagram in others if parses(datagram.octets)]


def test_headers_of_any_version_are_read() -> None:
    for datagram in recorded():
        if datagram.kind == "ike":
            header = parse_header(datagram.octets)
            assert header.major == datagram.major
            assert header.spi_i == datagram.octets[:8]


def test_a_datagram_cut_anywhere_is_dropped() -> None:
    for octets in {datagram.octets for datagram in recorded()}:
        for end in range(len(octets)):
            assert not parses(octets[:end])


def test_a_datagram_cut_anywhere_with_its_length_corrected_parses_or_is_dropped() -> None:
    outcomes: Counter[bool] = Counter()
    for octets in {datagram.octets for datagram in recorded() if datagram.major == 2}:
        for end in range(HEADER_OCTETS, len(octets)):
            cut = bytearray(octets[:end])
            cut[LENGTH] = end.to_bytes(4)
            outcomes[parses(bytes(cut))] += 1
    assert outcomes[False] > 100_000  # a cut goes through a payload


def test_what_other_implementations_send() -> None:
    kinds = Counter(
        type(payload)
        for datagram in recorded()
        if datagram.major == 2 and datagram.name not in MALFORMED
        for payload in parse(datagram.octets).payloads
    )
    for kind in (wire.SA, wire.KE, wire.Nonce, wire.Notify, wire.VendorId, wire.CERTREQ, wire.SK, wire.SKF):
        assert kinds[kind], kind
    assert wire.Unknown not in kinds


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("01-psk-x25519-aescbc128-sha256", KeMethod.CURVE25519),
        ("03-psk-ecp256-aes256gcm16-prfsha384", KeMethod.ECP_256),
        ("09-psk-mlkem768-rekey-child-and-ike", KeMethod.ML_KEM_768),
        ("21-cert-ecdsa256", KeMethod.CURVE25519),
        ("31-eap-mschapv2", KeMethod.CURVE25519),
    ],
)
def test_a_session_of_strongswan(name: str, method: int) -> None:
    session = transcript(name)
    messages = [parse(octets) for octets in session]
    assert [build(message) for message in messages] == session
    request, response = messages[:2]
    assert request.exchange == response.exchange == ExchangeType.IKE_SA_INIT
    assert (request.initiator, request.response) == (True, False)
    assert (response.initiator, response.response) == (False, True)
    assert request.one(wire.KE).method == response.one(wire.KE).method
    offered = {t.number for p in request.one(wire.SA).proposals for t in p.transforms if t.type in (4, 6)}
    assert method in offered
    later = [message for message in messages[2:] if message.exchange != ExchangeType.IKE_SA_INIT]
    assert later
    for message in later:
        assert isinstance(message.payloads[-1], (wire.SK, wire.SKF))
