"""Flows as selectors see them, their keys, checksums and congestion marks."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.userspace_packets import (
    UNSEEN,
    Flow,
    checksum,
    congest,
    flow_key,
    keyed,
    parse_flow,
    traffic_class,
)

ADDRESSES_4 = bytes([10, 1, 0, 1, 10, 2, 0, 1])
ADDRESSES_6 = bytes.fromhex("fd01" + "00" * 13 + "01" + "fd02" + "00" * 13 + "01")
SOURCE_4, DESTINATION_4 = 0x0A010001, 0x0A020001
SOURCE_6, DESTINATION_6 = int.from_bytes(ADDRESSES_6[:16], "big"), int.from_bytes(ADDRESSES_6[16:], "big")


def ipv4(payload: bytes, *, protocol: int = 6, options: bytes = b"", fragment: int = 0, tos: int = 0) -> memoryview:
    octets = 20 + len(options)
    head = struct.pack("!BBHHHBBH", 0x40 | octets // 4, tos, octets + len(payload), 7, fragment, 64, protocol, 0)
    head += ADDRESSES_4 + options
    return memoryview(bytearray(head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload))


def ipv6(payload: bytes, *, protocol: int = 6, tos: int = 0) -> memoryview:
    head = struct.pack("!IHBB", 6 << 28 | tos << 20 | 0x12345, len(payload), protocol, 64)
    return memoryview(bytearray(head + ADDRESSES_6 + payload))


PORTS = struct.pack("!HH", 40000, 443) + bytes(16)


@pytest.mark.parametrize(
    ("packet", "flow"),
    [
        (ipv4(PORTS), Flow(4, 6, SOURCE_4, DESTINATION_4, 40000, 443)),
        (ipv4(PORTS, protocol=17), Flow(4, 17, SOURCE_4, DESTINATION_4, 40000, 443)),
        (ipv4(PORTS, options=bytes(8)), Flow(4, 6, SOURCE_4, DESTINATION_4, 40000, 443)),
        (ipv4(PORTS, fragment=0x2000), Flow(4, 6, SOURCE_4, DESTINATION_4, 40000, 443)),
        (ipv4(PORTS, fragment=0x2001), Flow(4, 6, SOURCE_4, DESTINATION_4, UNSEEN, UNSEEN)),
        (ipv4(PORTS, protocol=47), Flow(4, 47, SOURCE_4, DESTINATION_4, UNSEEN, UNSEEN)),
        (ipv4(b"\x08\x00" + bytes(6), protocol=1), Flow(4, 1, SOURCE_4, DESTINATION_4, 0x0800, 0x0800)),
        (ipv4(b"\x01\x02"), Flow(4, 6, SOURCE_4, DESTINATION_4, UNSEEN, UNSEEN)),
        (ipv6(PORTS), Flow(6, 6, SOURCE_6, DESTINATION_6, 40000, 443)),
        (ipv6(b"\x80\x00" + bytes(6), protocol=58), Flow(6, 58, SOURCE_6, DESTINATION_6, 0x8000, 0x8000)),
        (ipv6(b"\x06\0" + bytes(6) + PORTS, protocol=0), Flow(6, 6, SOURCE_6, DESTINATION_6, 40000, 443)),
        (ipv6(b"\x06\0\0\1" + bytes(4) + PORTS, protocol=44), Flow(6, 6, SOURCE_6, DESTINATION_6, 40000, 443)),
        (ipv6(b"\x06\0\0\x09" + bytes(4) + PORTS, protocol=44), Flow(6, 6, SOURCE_6, DESTINATION_6, UNSEEN, UNSEEN)),
        (ipv6(b"\x06\1" + bytes(10) + PORTS, protocol=51), Flow(6, 6, SOURCE_6, DESTINATION_6, 40000, 443)),
        (ipv6(b"", protocol=59), Flow(6, 59, SOURCE_6, DESTINATION_6, UNSEEN, UNSEEN)),
    ],
)
def test_a_flow_is_read_from_a_packet(packet: memoryview, flow: Flow) -> None:
    assert parse_flow(packet) == flow


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x45",
        bytes(ipv4(PORTS))[:19],
        b"\x44" + bytes(ipv4(PORTS))[1:],
        bytes(ipv4(b"", options=bytes(40)))[:30],
        bytes(ipv6(PORTS))[:39],
        bytes(ipv6(b"\x06\0", protocol=0)),
        bytes(ipv6(b"\0\0" + bytes(6), protocol=0)) + b"\0\0\0\0\0\0\0\0" * 20,
        b"\x75" + bytes(60),
    ],
)
def test_what_is_no_packet_has_no_flow(packet: bytes) -> None:
    assert parse_flow(memoryview(packet)) is None


@given(st.binary(max_size=120))
def test_any_octets_give_a_flow_or_none(data: bytes) -> None:
    flow = parse_flow(memoryview(data))
    assert flow is None or (flow.version in (4, 6) and -1 <= flow.source_port <= 65535)


PARTS = {
    "payload": st.binary(min_size=20, max_size=24),
    "protocol": st.sampled_from([0, 1, 6, 17, 44, 47]),
    "tos": st.sampled_from([0, 1, 0xB8]),
}
PACKETS = st.one_of(
    st.builds(
        ipv4, options=st.sampled_from([b"", bytes(4)]), fragment=st.sampled_from([0, 0x4000, 0x2000, 5]), **PARTS
    ),
    st.builds(ipv6, **PARTS),
)


@given(PACKETS, PACKETS)
def test_packets_with_one_key_have_one_flow(one: memoryview, two: memoryview) -> None:
    flow = parse_flow(one)
    if flow is None or not keyed(one, flow):
        return
    # Make the other's ports ours, so that keys meet often.
    if one[0] == two[0] and len(two) >= 44:
        offset = 20 if one[0] >> 4 == 4 else 40
        two[offset : offset + 4] = one[offset : offset + 4]
    if flow_key(one, len(one)) == flow_key(two, len(two)):
        assert parse_flow(two) == flow
        assert traffic_class(two) == traffic_class(one)
        assert keyed(two, flow)


def test_plain_packets_of_a_flow_share_its_key_whatever_else_differs() -> None:
    one, two = ipv4(PORTS), ipv4(PORTS + b"more", fragment=0x4000)  # don't fragment is no fragment
    two[8] = 7
    assert flow_key(one, len(one)) == flow_key(two, len(two)) != 0
    six, more = ipv6(PORTS), ipv6(PORTS + b"more")
    more[7] = 7
    assert flow_key(six, len(six)) == flow_key(more, len(more)) != 0
    assert flow_key(ipv4(b""), 20) == 0


@given(st.binary(min_size=20, max_size=60).filter(lambda data: len(data) % 2 == 0))
def test_the_checksum_is_rfc_1071_s(header: bytes) -> None:
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert checksum(header) == total ^ 0xFFFF


@pytest.mark.parametrize("make", [ipv4, ipv6])
def test_congestion_outside_is_carried_inside_unless_the_ends_do_not_know(make: object) -> None:
    assert callable(make)
    for ecn in (1, 2, 3):
        packet = make(PORTS, tos=0xB8 | ecn)
        before = bytes(packet)
        assert congest(packet)
        assert traffic_class(packet) == 0xBB
        assert parse_flow(packet) == parse_flow(memoryview(before))
        if packet[0] == 0x45:
            assert checksum(packet[:20]) == 0
    packet = make(PORTS, tos=0xB8)
    assert not congest(packet)
