"""The capture reader: every form it promises, and no octets that make it do anything but say what is wrong."""

import io
import tracemalloc
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cli.capture import Frame, MalformedCapture, read_frames
from gateway.cli.packets import (
    Fragmented,
    IpPacket,
    Malformed,
    ip_octets,
    ip_packet,
    udp_datagram,
)
from tests.cli import captures
from tests.cli.captures import ETHERNET, LOOP, NULL, RAW, SLL, SLL2, block, framed, ipv4, ipv6, pcap, pcapng, udp
from tests.vectors_root import vectors

PACKETS = [ipv4(udp(b"first")), ipv4(udp(b"second" * 9))]


def frames(data: bytes) -> list[Frame]:
    return list(read_frames(io.BytesIO(data)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_pcap_of_either_order_and_resolution(order: str, nanoseconds: bool) -> None:
    found = frames(pcap(RAW, PACKETS, order=order, nanoseconds=nanoseconds))
    assert [frame.data for frame in found] == PACKETS
    part = 5e-9 if nanoseconds else 5e-6
    assert [frame.at for frame in found] == pytest.approx([1_700_000_000 + part, 1_700_000_001 + part], abs=1e-7)
    assert [(frame.number, frame.link) for frame in found] == [(1, RAW), (2, RAW)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("resolution", [None, 3, 9])
def test_pcapng_of_either_order_and_resolution(order: str, resolution: int | None) -> None:
    found = frames(pcapng(RAW, PACKETS, order=order, resolution=resolution))
    assert [frame.data for frame in found] == PACKETS
    assert [frame.at for frame in found] == pytest.approx([1_700_000_000, 1_700_000_001])


def test_pcapng_sections_in_two_orders_and_packets_without_a_time() -> None:
    simple = pcapng(ETHERNET, []) + block(3, pack("<I", 4) + b"abcd") + block(0x99, b"what nobody knows")
    found = frames(simple + pcapng(RAW, PACKETS, order=">"))
    assert [(frame.number, frame.at is None, frame.link) for frame in found] == [
        (1, True, ETHERNET),
        (2, False, RAW),
        (3, False, RAW),
    ]


@pytest.mark.parametrize("link", [ETHERNET, RAW, SLL, SLL2, NULL, LOOP])
@pytest.mark.parametrize("packet", [ipv4(udp(b"x")), ipv6(udp(b"x"))])
def test_every_link_type_leads_to_the_packet(link: int, packet: bytes) -> None:
    octets = ip_octets(link, framed(link, packet))
    assert octets == packet
    assert udp_datagram(ip_packet(octets)).payload == b"x"


def test_vlan_tags_are_passed() -> None:
    packet = ipv4(udp(b"x"))
    tagged = bytes(12) + bytes.fromhex("88a80001 81000002 0800") + packet
    assert ip_octets(ETHERNET, tagged) == packet
    assert ip_octets(ETHERNET, bytes(12) + bytes.fromhex("81000001") * 9 + packet) is None
    assert ip_octets(ETHERNET, bytes(12) + bytes.fromhex("0806") + bytes(28)) is None  # ARP


def test_options_extension_headers_and_padding_behind_the_packet() -> None:
    assert udp_datagram(ip_packet(ipv4(udp(b"x"), options=bytes(8)) + b"Ethernet's padding")).payload == b"x"
    extended = ipv6(bytes((60, 0, 0, 0, 0, 0, 0, 0)) + bytes((17, 1)) + bytes(14) + udp(b"x"), protocol=0)
    assert udp_datagram(ip_packet(extended)).payload == b"x"
    atomic = ipv6(bytes((17, 0, 0, 0, 0, 0, 0, 1)) + udp(b"x"), protocol=44)  # RFC 6946
    assert udp_datagram(ip_packet(atomic)).payload == b"x"


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(udp(b"x"), fragment=0x2000),
        ipv4(b"rest", fragment=3),
        ipv6(bytes((17, 0, 0, 1, 0, 0, 0, 1)) + udp(b"x"), protocol=44),
    ],
)
def test_fragments_are_told_apart(packet: bytes) -> None:
    with pytest.raises(Fragmented):
        ip_packet(packet)


def test_what_the_snap_length_cut_off_is_not_taken_for_the_whole() -> None:
    with pytest.raises(Malformed, match="snap length"):
        udp_datagram(ip_packet(ipv4(udp(b"x" * 100))[:60]))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"GIF89a", "no packet capture"),
        (pcap(RAW, PACKETS)[:10], "ends inside its header"),
        (pcap(RAW, PACKETS)[:-1], "ends inside packet 2"),
        (pcap(RAW, PACKETS)[:30], "header of packet 1"),
        (pcap(RAW, []) + pack("<IIII", 0, 0, 1 << 31, 1 << 31), "more than a packet can have"),
        (pcapng(RAW, PACKETS)[:-2], "ends inside a block"),
        (pcapng(RAW, []) + pack("<II", 6, 1 << 30), "impossible length"),
        (pcapng(RAW, []) + pack("<II", 6, 0), "impossible length"),
        (pcapng(RAW, []) + pack("<II4sI", 6, 16, b"", 20), "two different lengths"),
        (pcapng(RAW, []) + block(6, pack("<IIIII", 7, 0, 0, 0, 0)), "interface 7"),
        (pcapng(RAW, []) + block(6, pack("<IIIII", 0, 0, 0, 99, 99)), "more octets than its block"),
        (pcapng(RAW, []) + block(6, b"1234"), "too short"),
        (block(0x0A0D0D0A, bytes(16)), "byte order mark"),
        (pcapng(RAW, []) + block(1, b"1234"), "too short"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, why: str) -> None:
    with pytest.raises(MalformedCapture, match=why):
        frames(data)


@given(st.binary(max_size=200), st.sampled_from(["pcap", "pcapng", "none"]), st.integers(0, 300))
@settings(max_examples=400)
def test_hostile_files_give_frames_or_one_error(data: bytes, form: str, cut: int) -> None:
    start = {"pcap": pcap(RAW, PACKETS), "pcapng": pcapng(RAW, PACKETS), "none": b""}[form][:cut]
    try:
        found = frames(start + data)
    except MalformedCapture as error:
        found = []
        why = str(error)
    else:
        why = "read to its end"
    assert why
    assert sum(len(frame.data) for frame in found) <= len(start + data)


@given(st.sampled_from([ETHERNET, RAW, SLL, SLL2, NULL, LOOP, 12, 999]), st.binary(max_size=150), st.booleans())
@settings(max_examples=400)
def test_hostile_frames_give_a_packet_or_one_error(link: int, data: bytes, real: bool) -> None:
    octets = ip_octets(
        link, data if not real or link > 300 or link == 12 else framed(link, ipv4(udp(b"")))[:-20] + data
    )
    try:
        packet = ip_packet(octets or b"")
        assert isinstance(packet, IpPacket)
        assert packet.summary
        udp_datagram(packet)
    except (Malformed, Fragmented):
        pass


def test_a_claimed_size_reserves_no_memory() -> None:
    hostile = pcapng(RAW, []) + pack("<II", 6, 16 * 1024 * 1024)
    tracemalloc.start()
    with pytest.raises(MalformedCapture):
        frames(hostile)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 1024 * 1024


def test_wiresharks_own_files_are_read() -> None:
    folder = vectors() / "wireshark"
    for name, count in (("ikev2-decrypt-aes256cbc.pcapng", 4), ("ikev2-decrypt-aes256gcm16.pcap", 6)):
        with Path(folder, name).open("rb") as file:
            found = list(read_frames(file))
        assert len(found) == count
        assert {frame.link for frame in found} == {captures.ETHERNET}
