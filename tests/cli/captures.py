"""Writes small captures, well-formed where a test does not want them otherwise."""

import ipaddress
from struct import pack

ETHERNET, RAW, SLL, SLL2, NULL, LOOP = 1, 101, 113, 276, 0, 108
Packet = tuple[float, bytes]


def udp(payload: bytes, source_port: int = 500, destination_port: int = 500) -> bytes:
    return pack(">HHHH", source_port, destination_port, 8 + len(payload), 0) + payload


def ipv4(payload: bytes, protocol: int = 17, *, options: bytes = b"", fragment: int = 0) -> bytes:
    """From 192.0.2.1 to 192.0.2.2."""
    length = 20 + len(options) + len(payload)
    start = pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, length, 1, fragment, 64, protocol, 0)
    return start + bytes((192, 0, 2, 1, 192, 0, 2, 2)) + options + payload


def ipv6(payload: bytes, protocol: int = 17) -> bytes:
    """From 2001:db8::1 to 2001:db8::2."""
    ends = (ipaddress.IPv6Address(f"2001:db8::{end}").packed for end in (1, 2))
    return pack(">IHBB", 6 << 28, len(payload), protocol, 64) + b"".join(ends) + payload


def framed(link: int, packet: bytes) -> bytes:
    """The IP packet behind the header of its link type."""
    kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    headers = {
        ETHERNET: bytes(12) + pack(">H", kind),
        RAW: b"",
        SLL: bytes(14) + pack(">H", kind),
        SLL2: pack(">H", kind) + bytes(18),
        NULL: pack("<I", 2),
        LOOP: pack(">I", 2),
    }
    return headers[link] + packet


def pcap(link: int, packets: list[bytes], *, order: str = "<", nanoseconds: bool = False) -> bytes:
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    written = pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for number, packet in enumerate(packets):
        written += pack(order + "IIII", 1_700_000_000 + number, 5, len(packet), len(packet)) + packet
    return written


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = 12 + len(body)
    return pack(order + "II", kind, length) + body + pack(order + "I", length)


def pcapng(link: int, packets: list[bytes], *, order: str = "<", resolution: int | None = None) -> bytes:
    options = pack(order + "HHB3xHH", 9, 1, resolution, 0, 0) if resolution is not None else b""
    section = block(0x0A0D0D0A, pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    written = section + block(1, pack(order + "HHI", link, 0, 0) + options, order)
    parts = 10**resolution if resolution is not None else 10**6
    for number, packet in enumerate(packets):
        ticks = (1_700_000_000 + number) * parts
        head = pack(order + "IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(packet), len(packet))
        written += block(6, head + packet, order)
    return written
