"""Runs of TCP segments: what is written into the device, cut up again, is what came."""

import os
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.tun import GSO_TCPV4, NEEDS_CSUM, VNET, VNET_OCTETS
from gateway.dataplane.userspace_packets import checksum
from gateway.dataplane.userspace_tcp import TunWriter

ACK, PSH, FIN = 0x10, 0x08, 0x01
MSS = 100


class Recorder:
    """The kernel's side of a TUN device: keeps each write as octets."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.full = False

    def write(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        if self.full:
            raise OSError
        self.writes.append(b"".join(buffers))


def tcp_sum(addresses: bytes, segment: bytes) -> int:
    pseudo = addresses + struct.pack("!HH", 6, len(segment))
    data = pseudo + segment + bytes(len(segment) % 2)
    return checksum(data)


def segment(
    sequence: int, payload: bytes, *, v6: bool = False, flags: int = ACK, ack: int = 1, options: bytes = b""
) -> bytes:
    addresses = (
        bytes.fromhex("fd01" + "00" * 13 + "01" + "fd02" + "00" * 13 + "01")
        if v6
        else bytes([10, 1, 0, 1, 10, 2, 0, 1])
    )
    offset = (20 + len(options)) // 4 << 4
    head = struct.pack("!HHIIBBHHH", 40000, 443, sequence % 2**32, ack, offset, flags, 500, 0, 0) + options
    total = tcp_sum(addresses, head + payload)
    tcp = head[:16] + struct.pack("!H", total) + head[18:] + payload
    if v6:
        return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + addresses + tcp
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), sequence % 65521, 0x4000, 64, 6, 0) + addresses
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


def cut(write: bytes) -> list[bytes]:
    """What the kernel makes of a write: the packet, or the segments of a large one with all their fields."""
    flags, gso, head_octets, mss, start, offset = VNET.unpack_from(write)
    packet = write[VNET_OCTETS:]
    if not gso:
        assert not flags
        return [packet]
    assert flags == NEEDS_CSUM
    v6 = gso != GSO_TCPV4
    assert start == (40 if v6 else 20)
    assert offset == 16
    addresses = packet[8:40] if v6 else packet[12:20]
    tcp_octets = len(packet) - start
    assert (
        struct.unpack_from("!H", packet, start + 16)[0] % 0xFFFF
        == (sum(struct.unpack(f"!{len(addresses) // 2}H", addresses)) + 6 + tcp_octets) % 0xFFFF
    ), "the sum over the pseudo header"
    if v6:
        assert struct.unpack_from("!H", packet, 4)[0] == tcp_octets
    else:
        assert struct.unpack_from("!H", packet, 2)[0] == len(packet)
        assert checksum(packet[:20]) == 0
    (sequence,) = struct.unpack_from("!I", packet, start + 4)
    (ack,) = struct.unpack_from("!I", packet, start + 8)
    body, found = packet[head_octets:], []
    for at in range(0, len(body), mss):
        last = at + mss >= len(body)
        pushed = packet[start + 13] if last else packet[start + 13] & ~PSH
        options = packet[start + 20 : head_octets]
        found.append(segment(sequence + at, body[at : at + mss], v6=v6, flags=pushed, ack=ack, options=options))
    return found


def without_id(packet: bytes) -> bytes:
    """The kernel numbers the segments of a run anew (RFC 6864: an atomic datagram's identification means nothing)."""
    if packet[0] != 0x45:
        return packet
    return packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:]


def write_all(writer: TunWriter, packets: Sequence[bytes], origins: Sequence[object] = ()) -> None:
    plain, at = memoryview(bytearray(sum(map(len, packets)) + 64)), 0
    for number, packet in enumerate(packets):
        plain[at : at + len(packet)] = packet
        origin = origins[number] if origins else "sa"
        if not (origin == writer.origin and writer.extend(plain, at, len(packet))):
            writer.begin(origin, plain, at, len(packet))
        at += len(packet)
    writer.flush()


@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
@pytest.mark.parametrize("options", [b"", b"\1\1\x08\x0a" + bytes(8)], ids=["plain", "timestamps"])
def test_segments_in_sequence_become_one_write(v6: bool, options: bytes) -> None:
    body = os.urandom(10 * MSS + 30)
    start = 2**32 - 350  # and the sequence number wraps on the way
    packets = [
        segment(start + at, body[at : at + MSS], v6=v6, options=options, flags=ACK | (PSH if at == 10 * MSS else 0))
        for at in range(0, len(body), MSS)
    ]
    device = Recorder()
    write_all(TunWriter(device), packets)  # type: ignore[arg-type]
    assert len(device.writes) == 1
    assert [without_id(each) for each in cut(device.writes[0])] == [without_id(each) for each in packets]


@pytest.mark.parametrize(
    "second",
    [
        segment(MSS + 1, bytes(MSS)),
        segment(0, bytes(MSS)),
        segment(MSS, bytes(MSS), ack=2),
        segment(MSS, bytes(MSS), flags=ACK | FIN),
        segment(MSS, bytes(MSS), flags=ACK | 0x20),
        segment(MSS, bytes(MSS + 1)),
        segment(MSS, b""),
        segment(MSS, bytes(MSS), options=bytes([1, 1, 1, 1])),
        segment(MSS, bytes(MSS), v6=True),
        segment(MSS, bytes(MSS)).replace(bytes([10, 2, 0, 1]), bytes([10, 2, 0, 2])),
        segment(MSS, bytes(MSS)).replace(b"\x40\0\x40\x06", b"\x40\0\x3f\x06"),
        segment(MSS, bytes(MSS)).replace(b"\x40\0\x40\x06", b"\x20\0\x40\x06"),
    ],
    ids="gap again ack fin urg longer empty options version address ttl fragment".split(),
)
def test_what_does_not_follow_is_written_by_itself(second: bytes) -> None:
    packets = [segment(0, bytes(MSS)), second]
    device = Recorder()
    write_all(TunWriter(device), packets)  # type: ignore[arg-type]
    assert device.writes == [bytes(VNET_OCTETS) + packet for packet in packets]


def test_a_short_or_a_pushed_segment_ends_a_run() -> None:
    for last in (segment(MSS, bytes(MSS - 1)), segment(MSS, bytes(MSS), flags=ACK | PSH)):
        after = 2 * MSS - 1 if len(last) < MSS + 40 else 2 * MSS
        device = Recorder()
        write_all(TunWriter(device), [segment(0, bytes(MSS)), last, segment(after, bytes(MSS))])  # type: ignore[arg-type]
        assert [len(cut(write)) for write in device.writes] == [2, 1]


def test_segments_through_two_states_are_not_one_run() -> None:
    device = Recorder()
    write_all(TunWriter(device), [segment(0, bytes(MSS)), segment(MSS, bytes(MSS))], ["one", "two"])  # type: ignore[arg-type]
    assert len(device.writes) == 2


def test_what_the_kernel_does_not_take_is_counted() -> None:
    device = Recorder()
    device.full = True
    writer = TunWriter(device)  # type: ignore[arg-type]
    write_all(writer, [segment(at, bytes(MSS)) for at in range(0, 5 * MSS, MSS)])
    assert writer.refused == 5


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["next", "next", "next", "gap", "other"]),
        st.sampled_from([0, 1, MSS - 1, MSS, MSS, MSS]),
        st.sampled_from([ACK, ACK, ACK | PSH, ACK | FIN, 2]),
        st.booleans(),
    ),
    max_size=40,
)


@given(MOVES)
def test_every_packet_arrives_once_and_in_order(moves: list[tuple[str, int, int, bool]]) -> None:
    packets, sequence = [], 0
    for number, (kind, octets, flags, v6) in enumerate(moves):
        payload = bytes([number % 256]) * octets
        if kind == "other":
            packets.append(b"\x45\0\0\x1c" + bytes(5) + b"\x11" + bytes(18))
            continue
        sequence += 7 if kind == "gap" else 0
        packets.append(segment(sequence, payload, flags=flags, v6=v6 and number > 20))
        sequence += octets
    device = Recorder()
    write_all(TunWriter(device), packets)  # type: ignore[arg-type]
    arrived = [packet for write in device.writes for packet in cut(write)]
    assert [without_id(each) for each in arrived] == [without_id(each) for each in packets]
