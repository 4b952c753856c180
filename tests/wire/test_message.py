"""The message around the payloads: header, chain, limits, access, and the frame of the Encrypted payload."""

import struct

import pytest

from gateway.wire import payloads as wire
from gateway.wire.message import (
    MAX_MESSAGE,
    MAX_PAYLOADS,
    Message,
    build,
    build_payloads,
    build_sk_header,
    build_skf_header,
    parse,
    parse_header,
    parse_payloads,
)
from gateway.wire.numbers import ExchangeType, NotifyType, PayloadType
from gateway.wire.outcome import Drop, Reject

SPI_I, SPI_R = bytes(range(8)), bytes(range(8, 16))


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def message(*payloads: wire.Payload) -> Message:
    return Message(SPI_I, SPI_R, ExchangeType.INFORMATIONAL, True, False, 5, list(payloads))


def dropped(datagram: bytes) -> str:
    with pytest.raises(Drop) as raised:
        parse(datagram)
    return raised.value.why


NOTIFIED = octets("0001020304050607 08090a0b0c0d0e0f 29 20 25 28 00000005 00000024 00000008 00004000")


class TestHeader:
    def test_layout(self) -> None:
        parsed = parse(NOTIFIED)
        assert (parsed.spi_i, parsed.spi_r, parsed.exchange, parsed.message_id) == (SPI_I, SPI_R, 37, 5)
        assert (parsed.initiator, parsed.response, parsed.version) == (True, True, 0x20)
        assert parsed.payloads == [wire.Notify(0, b"", NotifyType.INITIAL_CONTACT, b"")]
        assert build(parsed) == NOTIFIED

    @pytest.mark.parametrize(("flags", "initiator", "response"), [(0x08, True, False), (0x20, False, True), (0, 0, 0)])
    def test_flags(self, flags: int, initiator: bool, response: bool) -> None:
        datagram = bytearray(NOTIFIED)
        datagram[19] = flags
        parsed = parse(bytes(datagram))
        assert (parsed.initiator, parsed.response) == (initiator, response)
        header = parse_header(datagram)
        assert (header.initiator, header.response) == (initiator, response)

    def test_flags_and_minor_version_of_the_future_survive(self) -> None:
        datagram = bytearray(NOTIFIED)
        datagram[17], datagram[19] = 0x27, 0xD7
        parsed = parse(bytes(datagram))
        assert build(parsed) == datagram
        assert (parsed.version, parsed.other_flags) == (0x27, 0xD7)

    def test_a_message_without_payloads(self) -> None:
        assert parse(build(message())) == message()
        assert len(build(message())) == 28

    @pytest.mark.parametrize("version", [0x10, 0x30, 0x00, 0xF0])
    def test_other_major_versions(self, version: int) -> None:
        datagram = bytearray(NOTIFIED)
        datagram[17] = version
        assert dropped(bytes(datagram)) == f"IKE version {version >> 4}.0"
        assert parse_header(datagram).major == version >> 4

    @pytest.mark.parametrize("length", [0, 28, 35, 37, 0xFFFFFFFF])
    def test_a_length_that_is_not_the_datagrams(self, length: int) -> None:
        assert "36" in dropped(NOTIFIED[:24] + length.to_bytes(4) + NOTIFIED[28:])

    def test_fewer_octets_than_a_header(self) -> None:
        for end in range(28):
            assert "no IKE header" in dropped(NOTIFIED[:end])
            with pytest.raises(Drop):
                parse_header(NOTIFIED[:end])

    def test_a_header_whose_length_is_wrong_is_still_a_header(self) -> None:
        assert parse_header(NOTIFIED[:28]).length == 36


class TestChain:
    @pytest.mark.parametrize(
        ("chain", "why"),
        [
            ("", "runs past"),
            ("000000", "runs past"),
            ("00000003", "length of 3"),
            ("00000000", "length of 0"),
            ("00000009 61626364", "length of 9"),
            ("0000ffff", "length of 65535"),
            ("00000004 00", "1 octets follow"),
            ("2b000004", "runs past"),
        ],
    )
    def test_malformed(self, chain: str, why: str) -> None:
        with pytest.raises(Drop, match=why):
            parse_payloads(PayloadType.VENDOR_ID, octets(chain))

    def test_no_first_payload(self) -> None:
        assert parse_payloads(0, b"") == []
        with pytest.raises(Drop, match="follow"):
            parse_payloads(0, b"a")

    def test_number_of_payloads(self) -> None:
        most = message(*[wire.VendorId(b"")] * MAX_PAYLOADS)
        assert parse(build(most)) == most
        chain = octets("2b000004") * MAX_PAYLOADS + octets("00000004")
        with pytest.raises(Drop, match="more than 64"):
            parse_payloads(PayloadType.VENDOR_ID, chain)
        most.payloads.append(wire.VendorId(b""))
        with pytest.raises(ValueError, match="up to 64"):
            build(most)

    def test_length_of_a_message(self) -> None:
        longest = message(wire.VendorId(bytes(MAX_MESSAGE - 28 - 4)))
        assert len(build(longest)) == MAX_MESSAGE
        assert parse(build(longest)) == longest
        longest.payloads.append(wire.VendorId(b""))
        with pytest.raises(ValueError, match="longer than 65535"):
            build(longest)
        with pytest.raises(ValueError, match="longer than 65535"):
            build(message(wire.VendorId(bytes(MAX_MESSAGE - 3))))
        assert "more than a message" in dropped(bytes(MAX_MESSAGE + 1))
        kind, most = build_payloads([wire.VendorId(bytes(MAX_MESSAGE - 4))])
        assert parse_payloads(kind, most) == [wire.VendorId(bytes(MAX_MESSAGE - 4))]
        with pytest.raises(Drop, match="more than a message"):
            parse_payloads(0, bytes(MAX_MESSAGE + 1))

    def test_what_cannot_be_written(self) -> None:
        with pytest.raises(ValueError, match="8 octets"):
            build(Message(b"", SPI_R, 37, True, False, 0, []))
        with pytest.raises(struct.error):
            build(Message(SPI_I, SPI_R, 37, True, False, 1 << 32, []))

    def test_buffers_of_other_types(self) -> None:
        assert parse(bytearray(NOTIFIED)) == parse(NOTIFIED)
        notify = parse(bytearray(NOTIFIED)).one(wire.Notify)
        assert type(notify.data) is bytes


class TestEncrypted:
    SEALED = octets("2e 20 23 08 00000001 00000024 23000008 aabbccdd")

    def test_layout(self) -> None:
        datagram = SPI_I + SPI_R + self.SEALED
        parsed = parse(datagram)
        sealed = parsed.one(wire.SK)
        assert (sealed.first, sealed.body, sealed.offset) == (PayloadType.IDi, octets("aabbccdd"), 32)
        assert build(parsed) == datagram
        parsed.payloads.clear()
        assert build_sk_header(parsed, PayloadType.IDi, 4) == datagram[: sealed.offset]

    def test_an_empty_inside(self) -> None:
        assert parse(SPI_I + SPI_R + octets("2e 20 25 08 00000001 00000020 00000004")).one(wire.SK).first == 0

    def test_payloads_in_the_open_come_before(self) -> None:
        before = message(wire.Notify(0, b"", NotifyType.COOKIE, b"c"))
        header = build_sk_header(before, PayloadType.IDi, 3)
        parsed = parse(header + b"abc")
        assert parsed.payloads == [*before.payloads, wire.SK(PayloadType.IDi, b"abc")]
        assert parsed.one(wire.SK).offset == len(header)

    def test_nothing_comes_after(self) -> None:
        datagram = SPI_I + SPI_R + octets("2e 20 25 08 00000001 00000024 29000004 00000004")
        assert "4 octets follow" in dropped(datagram)
        with pytest.raises(ValueError, match="last"):
            build(message(wire.SK(0, b""), wire.VendorId(b"")))
        with pytest.raises(ValueError, match="last"):
            build_sk_header(message(wire.SK(0, b"")), 0, 0)

    def test_fragment(self) -> None:
        datagram = SPI_I + SPI_R + octets("35 20 23 08 00000001 00000026 2300000a 00010003 aabb")
        fragment = parse(datagram).one(wire.SKF)
        assert fragment == wire.SKF(PayloadType.IDi, 1, 3, octets("aabb"))
        assert fragment.offset == 36
        plain = Message(SPI_I, SPI_R, ExchangeType.IKE_AUTH, True, False, 1, [])
        assert build_skf_header(plain, PayloadType.IDi, 1, 3, 2) == datagram[:36]
        assert parse(build_skf_header(plain, PayloadType.IDi, 2, 3, 0)).one(wire.SKF).first == 0

    @pytest.mark.parametrize("position", ["0000 0000", "0000 0001", "0001 0000", "0003 0002"])
    def test_fragments_that_cannot_be(self, position: str) -> None:
        """RFC 7383 2.6: silently discarded."""
        header = octets("35 20 23 08 00000001 00000024 00000008")
        assert "fragment" in dropped(SPI_I + SPI_R + header + octets(position))
        number, total = struct.unpack(">HH", octets(position))
        with pytest.raises(ValueError, match="no fragment"):
            build_skf_header(message(), 0, number, total, 0)

    def test_a_fragment_that_is_too_short(self) -> None:
        assert "too short" in dropped(SPI_I + SPI_R + octets("35 20 23 08 00000001 00000023 00000007 000100"))

    @pytest.mark.parametrize("inner", [wire.SK(0, b"a"), wire.SKF(0, 1, 1, b"a")])
    def test_encryption_is_not_nested(self, inner: wire.Payload) -> None:
        with pytest.raises(Drop, match="inside"):
            parse_payloads(*build_payloads([wire.VendorId(b"x"), inner]))

    def test_ciphertext_is_not_shown(self) -> None:
        assert "secret" not in repr(wire.SK(0, b"secret")) + repr(wire.SKF(0, 1, 1, b"secret"))


class TestAccess:
    TWO = message(wire.Nonce(b"1"), wire.Nonce(b"2"), wire.IDi(2, b"a"), wire.CERT(4, b"c"), wire.CERTREQ(4, b""))

    def test_one(self) -> None:
        assert self.TWO.one(wire.IDi) == wire.IDi(2, b"a")
        assert self.TWO.one(wire.CERT) == wire.CERT(4, b"c")
        for kind, why in ((wire.Nonce, "more than one Nonce"), (wire.SA, "no SA payload")):
            with pytest.raises(Reject, match=why) as raised:
                self.TWO.one(kind)
            assert raised.value.notify == NotifyType.INVALID_SYNTAX
            assert raised.value.why

    def test_maybe(self) -> None:
        assert self.TWO.maybe(wire.IDi) == wire.IDi(2, b"a")
        assert self.TWO.maybe(wire.IDr) is None
        with pytest.raises(Reject, match="more than one Nonce") as raised:
            self.TWO.maybe(wire.Nonce)
        assert raised.value.notify == NotifyType.INVALID_SYNTAX

    def test_all(self) -> None:
        assert self.TWO.all(wire.Nonce) == [wire.Nonce(b"1"), wire.Nonce(b"2")]
        assert self.TWO.all(wire.SA) == []
        assert self.TWO.all(wire.Identification) == [wire.IDi(2, b"a")]

    def test_notify(self) -> None:
        first, second = (wire.Notify(0, b"", NotifyType.NAT_DETECTION_SOURCE_IP, data) for data in (b"1", b"2"))
        found = message(first, wire.Notify(0, b"", NotifyType.COOKIE, b""), second)
        assert found.notify(NotifyType.NAT_DETECTION_SOURCE_IP) is first
        assert found.notifies(NotifyType.NAT_DETECTION_SOURCE_IP) == [first, second]
        assert found.notify(NotifyType.REDIRECT) is None
        assert found.notifies(NotifyType.REDIRECT) == []
