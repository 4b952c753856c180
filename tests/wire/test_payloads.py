"""Each payload against octets laid out by hand from its RFC, and each of its malformations."""

import pytest

from gateway.wire import payloads as wire
from gateway.wire.numbers import (
    CfgAttribute,
    CfgType,
    EapCode,
    EapType,
    IdType,
    KeMethod,
    NotifyType,
    PayloadType,
    Protocol,
    TsType,
)
from tests.wire.bodies import alone, octets, refused


class TestTrafficSelectors:
    V4 = "07060010 00160017 0a000000 0a0000ff"
    V6 = "08000028 0000ffff 20010db8000000000000000000000000 20010db8ffffffffffffffffffffffff"
    LABEL = "0a000008 01020304"

    def test_all_kinds(self) -> None:
        payload = alone(PayloadType.TSi, octets(f"03000000 {self.V4} {self.V6} {self.LABEL}"))
        assert isinstance(payload, wire.TSi)
        assert payload.selectors == [
            wire.TrafficSelector(TsType.TS_IPV4_ADDR_RANGE, 6, 22, 23, octets("0a000000"), octets("0a0000ff")),
            wire.TrafficSelector(
                TsType.TS_IPV6_ADDR_RANGE,
                0,
                0,
                65535,
                octets("20010db8") + bytes(12),
                octets("20010db8") + b"\xff" * 12,
            ),
            wire.TrafficSelector(TsType.TS_SECLABEL, 0, 0, 0, b"", b"", octets("01020304")),
        ]

    def test_the_two_ends_are_different_payloads(self) -> None:
        payload = alone(PayloadType.TSr, octets(f"01ffffff {self.V4}"))
        assert isinstance(payload, wire.TSr)
        assert not isinstance(payload, wire.TSi)

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "000000",
            "00000000",  # none
            f"02000000 {V4}",  # fewer than it says
            f"01000000 {V4} {V4}",  # more
            "01000000 0700000f 00000000 0a000000 0a0000",  # too short for its type
            "01000000 07000014 00000000 0a000000 0a000000 00000000",  # too long for its type
            "01000000 08000010 00000000 0a000000 0a000000",  # IPv4 addresses under IPv6's type
            "01000000 0a000003",  # shorter than its header
            "01000000 0a000005",  # longer than the payload
            "01000000 0a0000",  # cut
        ],
    )
    def test_malformed(self, body: str) -> None:
        assert refused(PayloadType.TSi, octets(body))

    def test_what_cannot_be_written(self) -> None:
        selector = wire.TrafficSelector(TsType.TS_IPV4_ADDR_RANGE, 0, 0, 65535, bytes(4), bytes(4))
        assert len(wire.TSi([selector] * 255).octets()) == 4 + 255 * 16
        for selectors in ([], [selector] * 256):
            with pytest.raises(ValueError, match="1 to 255"):
                wire.TSi(selectors).octets()
        selector.end = bytes(16)
        with pytest.raises(ValueError, match="4 octets"):
            wire.TSi([selector]).octets()


class TestKeyExchange:
    def test_layout(self) -> None:
        payload = alone(PayloadType.KE, octets("001f0000") + bytes(range(32)))
        assert payload == wire.KE(KeMethod.CURVE25519, bytes(range(32)))

    def test_too_short(self) -> None:
        assert refused(PayloadType.KE, octets("001f00"))


class TestIdentification:
    def test_layout(self) -> None:
        payload = alone(PayloadType.IDi, octets("02000000") + b"moon.example")
        assert payload == wire.IDi(IdType.ID_FQDN, b"moon.example")
        assert alone(PayloadType.IDr, octets("0d000000")) == wire.IDr(IdType.ID_NULL, b"")

    def test_what_is_signed_has_the_reserved_octets(self) -> None:
        """RFC 7296 2.15: RestOfInitIDPayload = IDType | RESERVED | InitIDData."""
        payload = alone(PayloadType.IDi, octets("02abcdef 61"))
        assert payload == wire.IDi(IdType.ID_FQDN, b"a")
        assert payload.octets() == octets("02abcdef 61")

    def test_too_short(self) -> None:
        assert refused(PayloadType.IDr, octets("020000"))


class TestCertificates:
    def test_layout(self) -> None:
        assert alone(PayloadType.CERT, octets("04 3082")) == wire.CERT(4, octets("3082"))

    def test_a_request_names_authorities(self) -> None:
        hashes = [bytes([n]) * 20 for n in range(3)]
        payload = alone(PayloadType.CERTREQ, b"\x04" + b"".join(hashes))
        assert isinstance(payload, wire.CERTREQ)
        assert payload.authorities == hashes

    @pytest.mark.parametrize("body", [b"\x04", b"\x04" + bytes(19), b"\x0c" + bytes(20)])
    def test_a_request_that_names_none(self, body: bytes) -> None:
        payload = alone(PayloadType.CERTREQ, body)
        assert isinstance(payload, wire.CERTREQ)
        assert payload.authorities == []

    def test_a_request_is_no_certificate(self) -> None:
        assert not isinstance(alone(PayloadType.CERTREQ, b"\x04"), wire.CERT)

    @pytest.mark.parametrize("kind", [PayloadType.CERT, PayloadType.CERTREQ])
    def test_empty(self, kind: int) -> None:
        assert refused(kind, b"")


class TestAuthentication:
    def test_layout(self) -> None:
        payload = alone(PayloadType.AUTH, octets("02000000 00112233"))
        assert payload == wire.AUTH(2, octets("00112233"))
        assert "112233" not in repr(payload)
        assert r"\x11" not in repr(payload)

    def test_too_short(self) -> None:
        assert refused(PayloadType.AUTH, octets("020000"))


class TestNonceVendorIdPuzzle:
    def test_layout(self) -> None:
        assert alone(PayloadType.NONCE, bytes(16)) == wire.Nonce(bytes(16))
        assert alone(PayloadType.VENDOR_ID, b"ikegate") == wire.VendorId(b"ikegate")
        assert alone(PayloadType.VENDOR_ID, b"") == wire.VendorId(b"")

    def test_a_nonce_is_not_empty(self) -> None:
        assert refused(PayloadType.NONCE, b"")

    def test_the_keys_of_a_puzzle(self) -> None:
        payload = alone(PayloadType.PS, octets("0102 0304 0506 0708"))
        assert isinstance(payload, wire.PuzzleSolution)
        assert payload.keys == [octets(key) for key in ("0102", "0304", "0506", "0708")]
        assert wire.PuzzleSolution(bytes(7)).keys == []
        assert wire.PuzzleSolution(b"").keys == []


class TestNotify:
    def test_layout(self) -> None:
        assert alone(PayloadType.NOTIFY, octets("00004006 aabb")) == wire.Notify(
            0, b"", NotifyType.COOKIE, octets("aabb")
        )
        rekey = wire.Notify(Protocol.ESP, octets("01020304"), NotifyType.REKEY_SA, b"")
        assert alone(PayloadType.NOTIFY, octets("03044009 01020304")) == rekey
        assert rekey.octets() == octets("03044009 01020304")

    @pytest.mark.parametrize("body", ["000040", "03044009 010203"])
    def test_too_short(self, body: str) -> None:
        assert refused(PayloadType.NOTIFY, octets(body))


class TestDelete:
    def test_layout(self) -> None:
        assert alone(PayloadType.DELETE, octets("01000000")) == wire.Delete(Protocol.IKE, [])
        spis = [octets("01020304"), octets("05060708")]
        assert alone(PayloadType.DELETE, octets("03040002 0102030405060708")) == wire.Delete(Protocol.ESP, spis)
        assert wire.Delete(Protocol.ESP, spis).octets() == octets("03040002 0102030405060708")

    def test_no_spi_of_four_octets(self) -> None:
        assert alone(PayloadType.DELETE, octets("03040000")) == wire.Delete(Protocol.ESP, [])

    @pytest.mark.parametrize(
        "body", ["030400", "03040001", "03040001 010203", "03040001 0102030405", "0100ffff", "01000000 00"]
    )
    def test_malformed(self, body: str) -> None:
        assert refused(PayloadType.DELETE, octets(body))

    def test_number_of_spis(self) -> None:
        most = wire.Delete(Protocol.ESP, [bytes(4)] * wire.MAX_SPIS)
        assert alone(PayloadType.DELETE, most.octets()) == most
        more = octets("0304") + (wire.MAX_SPIS + 1).to_bytes(2) + bytes(4 * wire.MAX_SPIS + 4)
        assert "1024" in refused(PayloadType.DELETE, more)

    def test_spis_of_different_sizes(self) -> None:
        with pytest.raises(ValueError, match="one size"):
            wire.Delete(Protocol.ESP, [bytes(4), bytes(8)]).octets()


class TestConfiguration:
    def test_layout(self) -> None:
        payload = alone(PayloadType.CP, octets("02000000 00010004 0a030001 00030000 80080000"))
        assert payload == wire.CP(
            CfgType.CFG_REPLY,
            [
                wire.Attribute(CfgAttribute.INTERNAL_IP4_ADDRESS, octets("0a030001")),
                wire.Attribute(CfgAttribute.INTERNAL_IP4_DNS, b""),
                wire.Attribute(CfgAttribute.INTERNAL_IP6_ADDRESS, b""),
            ],
        )
        assert alone(PayloadType.CP, octets("01000000")) == wire.CP(CfgType.CFG_REQUEST, [])
        for text, reserved in (("7fff0000", False), ("ffff0000", True)):
            highest = alone(PayloadType.CP, octets("01000000" + text))
            assert isinstance(highest, wire.CP)
            assert (highest.attributes[0].type, highest.attributes[0].reserved) == (0x7FFF, reserved)

    @pytest.mark.parametrize("body", ["010000", "01000000 000100", "01000000 00010001"])
    def test_malformed(self, body: str) -> None:
        assert refused(PayloadType.CP, octets(body))

    def test_number_of_attributes(self) -> None:
        most = wire.CP(CfgType.CFG_REQUEST, [wire.Attribute(1, b"")] * wire.MAX_ATTRIBUTES)
        assert alone(PayloadType.CP, most.octets()) == most
        assert "255" in refused(PayloadType.CP, most.octets() + octets("00010000"))
        most.attributes = [*most.attributes, wire.Attribute(1, b"")]
        with pytest.raises(ValueError, match="255"):
            most.octets()

    def test_a_value_that_is_too_long(self) -> None:
        with pytest.raises(ValueError, match="does not fit"):
            wire.CP(1, [wire.Attribute(1, bytes(65536))]).octets()


class TestEap:
    def test_layout(self) -> None:
        payload = alone(PayloadType.EAP, octets("02070009 01") + b"carl")
        assert payload == wire.EAP(EapCode.RESPONSE, 7, b"\x01carl")
        assert isinstance(payload, wire.EAP)
        assert (payload.method, payload.method_data) == (EapType.IDENTITY, b"carl")
        assert "carl" not in repr(payload)

    def test_success_has_no_method(self) -> None:
        payload = alone(PayloadType.EAP, octets("03070004"))
        assert isinstance(payload, wire.EAP)
        assert (payload.code, payload.method, payload.method_data) == (EapCode.SUCCESS, None, b"")
        assert wire.EAP(EapCode.SUCCESS, 1, b"\x01").method is None

    @pytest.mark.parametrize("body", ["020700", "02070003", "02070005", "02070004 00"])
    def test_malformed(self, body: str) -> None:
        assert refused(PayloadType.EAP, octets(body))


class TestUnknown:
    @pytest.mark.parametrize("kind", [1, 32, PayloadType.GSPM, PayloadType.KD, 55, 255])
    def test_any_type_survives(self, kind: int) -> None:
        assert alone(kind, b"abc") == wire.Unknown(kind, b"abc")


class TestFrame:
    def test_the_critical_bit_and_the_reserved_bits(self) -> None:
        payload = alone(200, b"abc", bits=0xFF)
        assert payload == wire.Unknown(200, b"abc", critical=True)
        assert payload.header_reserved == 0x7F
        assert alone(200, b"", bits=0x7F).critical is False
        assert alone(PayloadType.NONCE, b"n", bits=0x80).critical is True

    def test_reserved_bits_make_no_difference(self) -> None:
        assert alone(PayloadType.KE, octets("001fffff 61"), bits=1) == wire.KE(31, b"a")
