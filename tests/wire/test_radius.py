"""RADIUS packets: what is written is read again, and no octets are anything but a packet or a Drop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.outcome import Drop
from gateway.wire.radius import (
    MAX_ATTRIBUTES,
    MAX_PACKET,
    MAX_VALUE,
    MICROSOFT,
    Attribute,
    Code,
    Microsoft,
    Packet,
    Type,
    eap_message,
    number,
    parse,
    text,
)

# RFC 2865 7.1: nemo's Access-Request.
REQUEST = bytes.fromhex(
    "01000038 0f403f9473978057bd83d5cb98f4227a 01066e656d6f 02120dbe708d93d413ce3196e43f782a0aee"
    "0406c0a80110 050600000003"
)
attributes = st.tuples(st.integers(0, 255), st.binary(max_size=MAX_VALUE)).map(lambda both: Attribute(*both))
packets = st.builds(
    Packet,
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(min_size=16, max_size=16),
    st.lists(attributes, max_size=15).map(tuple),
)


def test_the_request_of_rfc_2865() -> None:
    packet = parse(REQUEST)
    assert (packet.code, packet.identifier) == (Code.ACCESS_REQUEST, 0)
    assert packet.text(Type.USER_NAME) == "nemo"
    assert str(packet.ipv4(Type.NAS_IP_ADDRESS)) == "192.168.1.16"
    assert packet.octets() == REQUEST


@given(packets, st.binary(max_size=40))
def test_a_packet_comes_back_and_padding_is_ignored(packet: Packet, padding: bytes) -> None:
    assert parse(packet.octets() + padding) == packet


@given(st.binary(max_size=200))
def test_any_octets_are_a_packet_or_dropped(octets: bytes) -> None:
    try:
        packet = parse(octets)
    except Drop:
        return
    assert octets.startswith(packet.octets())


@given(packets.filter(lambda packet: packet.attributes), st.data())
def test_a_packet_cut_anywhere_is_dropped(packet: Packet, data: st.DataObject) -> None:
    octets = packet.octets()
    with pytest.raises(Drop):
        parse(octets[: data.draw(st.integers(0, len(octets) - 1))])


@pytest.mark.parametrize(
    "attribute", [b"\x01\x00", b"\x01\x01", b"\x01", b"\x01\x03", b"\x01\x02\x50\x00"], ids=lambda octets: octets.hex()
)
def test_an_attribute_without_a_length_is_dropped_and_ends_no_loop(attribute: bytes) -> None:
    with pytest.raises(Drop):
        parse(bytes((2, 0)) + (20 + len(attribute)).to_bytes(2) + bytes(16) + attribute)


def test_attributes_without_end_are_dropped() -> None:
    for size in (2, 4):
        body = (b"\x4f" + bytes((size,)) + bytes(size - 2)) * (MAX_ATTRIBUTES + 1)
        with pytest.raises(Drop, match="more than"):
            parse(bytes((2, 0)) + (20 + len(body)).to_bytes(2) + bytes(16) + body)


@pytest.mark.parametrize("length", [0, 19, 21, MAX_PACKET + 1, 0xFFFF])
def test_a_header_that_lies_about_the_length_is_dropped(length: int) -> None:
    with pytest.raises(Drop):
        parse(bytes((2, 0)) + length.to_bytes(2) + bytes(16))


def test_more_than_a_packet_holds_is_never_written() -> None:
    with pytest.raises(ValueError, match="4096"):
        Packet(1, 0, bytes(16), (Attribute(79, bytes(253)),) * 16).octets()
    with pytest.raises(ValueError):
        text(Type.USER_NAME, "x" * 254)
    with pytest.raises(ValueError):
        text(Type.USER_NAME, "")


@given(st.binary(max_size=3000))
def test_eap_is_cut_and_put_together(eap: bytes) -> None:
    assert Packet(1, 0, bytes(16), tuple(eap_message(eap))).eap == eap


def test_numbers_and_addresses_of_the_wrong_length_are_none() -> None:
    packet = Packet(2, 0, bytes(16), (Attribute(Type.SESSION_TIMEOUT, b"\1"), Attribute(Type.FRAMED_IP_ADDRESS, b"")))
    assert packet.number(Type.SESSION_TIMEOUT) is None
    assert packet.ipv4(Type.FRAMED_IP_ADDRESS) is None
    for choice in (0xFFFFFFFF, 0xFFFFFFFE, 0):  # the user, or we, may choose
        assert Packet(2, 0, bytes(16), (number(Type.FRAMED_IP_ADDRESS, choice),)).ipv4(Type.FRAMED_IP_ADDRESS) is None


def test_what_a_server_wrote_is_shown_in_one_harmless_line() -> None:
    packet = Packet(3, 0, bytes(16), (Attribute(Type.REPLY_MESSAGE, b"no\x1b[31m\nway\xff"),))
    assert packet.text(Type.REPLY_MESSAGE) == "no\ufffd[31m\ufffdway\ufffd"


@pytest.mark.parametrize("rest", [b"", b"\x10", b"\x10\x00", b"\x10\x01", b"\x10\xff\x00", b"\x11\x03a"])
def test_a_vendors_attribute_is_found_among_what_is_malformed(rest: bytes) -> None:
    value = MICROSOFT.to_bytes(4) + b"\x10\x05key" + rest
    packet = Packet(2, 0, bytes(16), (Attribute(26, b""), Attribute(26, b"\0\0\0"), Attribute(26, value)))
    assert packet.vendor(MICROSOFT, Microsoft.MPPE_SEND_KEY) == b"key"
    assert packet.vendor(9, Microsoft.MPPE_SEND_KEY) is None


def test_a_value_is_never_shown() -> None:
    assert "hunter2" not in repr(Packet(1, 0, bytes(16), (Attribute(2, b"hunter2"),)))
