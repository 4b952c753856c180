"""What the userspace data plane reads out of an inner IP packet, and the one thing it writes into it."""

from struct import Struct
from typing import NamedTuple

from gateway.ike.plane_events import Packet, packet

TCP, UDP, DCCP, SCTP, UDP_LITE = 6, 17, 33, 132, 136
_ICMP, _ICMPV6 = 1, 58
_WITH_PORTS = frozenset({TCP, UDP, DCCP, SCTP, UDP_LITE})
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _DESTINATION, _MOBILITY = 0, 43, 44, 51, 60, 135
_EXTENSIONS = frozenset({_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _DESTINATION, _MOBILITY})
_MOST_EXTENSIONS = 8
_OFFSET = 0x1FFF
_V4_PLAIN = 0x45  # version 4, no options

UNSEEN = -1
"""The port of a fragment that does not carry it, or of a protocol without ports (OPAQUE, RFC 4301 4.4.1.1)."""

V4_KEY_OCTETS, V6_KEY_OCTETS = 24, 44
# A packet's first octets as one number, masked, name its flow: version and header length, traffic class, MF and
# fragment offset, protocol, addresses and what lies where ports lie. Two operations instead of a parse a packet.
V4_KEY = int.from_bytes(bytes.fromhex("ffff0000 00003fff 00ff0000 ffffffff ffffffff ffffffff"))
V6_KEY = int.from_bytes(bytes.fromhex("fff00000 0000ff00" + "ff" * 32 + "ffffffff"))

_SYN = 0x02
_END_OF_OPTIONS, _NO_OPERATION, _MAXIMUM_SEGMENT_SIZE = 0, 1, 2  # TCP's option kinds
NOT_ECT, CE = 0, 3  # RFC 3168 5
_PORTS = Struct("!HH")
_HALF = Struct("!H")


class Flow(NamedTuple):
    """What selectors look at (RFC 4301 4.4.1.1). For ICMP both ports are type << 8 | code."""

    version: int
    protocol: int
    source: int
    destination: int
    source_port: int
    destination_port: int

    @property
    def packet(self) -> Packet:
        """As selectors that hold this flow alone."""
        ports = None if self.source_port == UNSEEN else (self.source_port, self.destination_port)
        return packet(self.version, self.protocol, self.source, self.destination, ports)


def flow_key(packet: memoryview, octets: int) -> int:
    """A number that names the packet's flow and traffic class if `keyed` says so; 0 for a packet too short for one."""
    if packet[0] >> 4 == 4:
        return int.from_bytes(packet[:V4_KEY_OCTETS]) & V4_KEY if octets >= V4_KEY_OCTETS else 0
    return int.from_bytes(packet[:V6_KEY_OCTETS]) & V6_KEY if octets >= V6_KEY_OCTETS else 0


def keyed(packet: memoryview, flow: Flow) -> bool:
    """Whether every packet with this one's `flow_key` has its flow: ports lie where the key looks for them."""
    if flow.protocol not in _WITH_PORTS or flow.source_port == UNSEEN:
        return False
    return packet[0] == _V4_PLAIN if flow.version == 4 else packet[6] == flow.protocol


def parse_flow(packet: memoryview) -> Flow | None:
    """The flow of an IP packet, None when it is none or is cut short."""
    octets = len(packet)
    version = packet[0] >> 4 if octets else 0
    if version == 4 and octets >= 20:
        header = (packet[0] & 15) * 4
        if header < 20 or octets < header:
            return None
        first = not (packet[6] << 8 | packet[7]) & _OFFSET
        source, destination = int.from_bytes(packet[12:16]), int.from_bytes(packet[16:20])
        return _flow(packet, 4, packet[9], source, destination, header if first else octets)
    if version == 6 and octets >= 40:
        upper = _upper_layer(packet)
        if upper is None:
            return None
        protocol, offset = upper
        return _flow(packet, 6, protocol, int.from_bytes(packet[8:24]), int.from_bytes(packet[24:40]), offset)
    return None


def _flow(packet: memoryview, version: int, protocol: int, source: int, destination: int, offset: int) -> Flow:
    ports = UNSEEN, UNSEEN
    if protocol in _WITH_PORTS and offset + 4 <= len(packet):
        ports = _PORTS.unpack_from(packet, offset)
    elif protocol in (_ICMP, _ICMPV6) and offset + 2 <= len(packet):
        (kind,) = _HALF.unpack_from(packet, offset)
        ports = kind, kind
    return Flow(version, protocol, source, destination, *ports)


def _upper_layer(packet: memoryview) -> tuple[int, int] | None:
    """The protocol behind IPv6's extension headers, and where it begins: at the end when it is not in this fragment."""
    protocol, offset, end = packet[6], 40, len(packet)
    for _ in range(_MOST_EXTENSIONS):
        if protocol not in _EXTENSIONS:
            return protocol, offset
        if offset + 8 > end:
            return None
        if protocol == _FRAGMENT:
            if (packet[offset + 2] << 8 | packet[offset + 3]) >> 3:
                return packet[offset], end
            length = 8
        else:
            length = (packet[offset + 1] + 2) * 4 if protocol == _AH else (packet[offset + 1] + 1) * 8
        protocol, offset = packet[offset], offset + length
    return None


def traffic_class(packet: memoryview) -> int:
    """The octet with DSCP and ECN."""
    if packet[0] >> 4 == 4:
        return packet[1]
    return (packet[0] << 4 | packet[1] >> 4) & 0xFF


def clamp_mss(packet: memoryview, most: int) -> None:
    """Lower the maximum segment size that a TCP SYN announces (RFC 9293 3.7.1) to `most`, where it is more."""
    if len(packet) < 40:  # the least that both headers take
        return
    if packet[0] >> 4 == 4:
        fragment = (packet[6] << 8 | packet[7]) & _OFFSET
        protocol, tcp = (0, 0) if fragment else (packet[9], (packet[0] & 15) * 4)
    else:
        protocol, tcp = _upper_layer(packet) or (0, 0)
    if protocol != TCP or tcp + 20 > len(packet) or not packet[tcp + 13] & _SYN:
        return
    end = min(tcp + (packet[tcp + 12] >> 4) * 4, len(packet))
    at = tcp + 20
    while at + 1 < end and packet[at] != _END_OF_OPTIONS:
        if packet[at] == _NO_OPERATION:
            at += 1
            continue
        if packet[at] == _MAXIMUM_SEGMENT_SIZE and packet[at + 1] == 4 and at + 4 <= end:
            _lower(packet, tcp, at + 2, most)
            return
        at += max(packet[at + 1], 2)


def _lower(packet: memoryview, tcp: int, at: int, most: int) -> None:
    (told,) = _HALF.unpack_from(packet, at)
    if told <= most:
        return
    _HALF.pack_into(packet, at, most)
    if (at - tcp) & 1:  # the checksum sees its octets in two words
        told, most = ((value & 0xFF) << 8 | value >> 8 for value in (told, most))
    (old,) = _HALF.unpack_from(packet, tcp + 16)
    total = (old ^ 0xFFFF) + (told ^ 0xFFFF) + most  # RFC 1624 3: HC' = ~(~HC + ~m + m')
    total = (total & 0xFFFF) + (total >> 16)
    _HALF.pack_into(packet, tcp + 16, ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF)


def checksum(header: bytes | bytearray | memoryview) -> int:
    """The Internet checksum (RFC 1071) over an even number of octets."""
    total = int.from_bytes(header) % 0xFFFF  # the ones' complement sum of 16-bit words is the number modulo 0xFFFF
    return 0xFFFF - total if total or not any(header) else 0


def congest(packet: memoryview) -> bool:
    """Carry an outer congestion mark into the packet (RFC 6040 4.2); False: drop it, its ends know no ECN."""
    ecn = traffic_class(packet) & CE
    if ecn == NOT_ECT:
        return False
    if ecn == CE:
        return True
    if packet[0] >> 4 == 4:
        packet[1] |= CE
        header = (packet[0] & 15) * 4
        packet[10:12] = b"\0\0"
        _HALF.pack_into(packet, 10, checksum(packet[:header]))
    else:
        packet[1] |= CE << 4
    return True
