"""From a captured frame to what matters here: UDP datagrams, ESP packets, and one line about any IP packet."""

import ipaddress
from dataclasses import dataclass
from struct import Struct

ESP, UDP = 50, 17
_ETHERNET, _RAW, _SLL, _SLL2, _LOOP, _NULL, _IPV4, _IPV6 = 1, 101, 113, 276, 108, 0, 228, 229
_RAW_LINKS = frozenset({12, 14, _RAW, _IPV4, _IPV6})
_IPV4_TYPE, _IPV6_TYPE, _VLAN_TYPES = 0x0800, 0x86DD, frozenset({0x8100, 0x88A8, 0x9100})
_MOST_TAGS = 4
_MOST_EXTENSIONS = 8
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _DESTINATION, _MOBILITY = 0, 43, 44, 51, 60, 135
_EXTENSIONS = frozenset({_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _DESTINATION, _MOBILITY})
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 47: "GRE", 50: "ESP", 51: "AH", 58: "ICMPv6", 89: "OSPF", 132: "SCTP"}
_WITH_PORTS = frozenset({6, 17, 132})
_ECHO = {(1, 8): "echo request", (1, 0): "echo reply", (58, 128): "echo request", (58, 129): "echo reply"}
_UDP = Struct(">HHHH")
_HALF = Struct(">H")


class Malformed(Exception):
    """These octets are not what they should be; the text says why."""


class Fragmented(Exception):
    """A fragment of an IP packet: what it carries cannot be read from it alone."""


@dataclass(frozen=True, slots=True)
class IpPacket:
    """What an IP packet carries; `missing` octets of it were not captured."""

    source: str
    destination: str
    protocol: int
    payload: bytes
    missing: int = 0

    @property
    def summary(self) -> str:
        """One line: addresses, protocol, ports or ICMP type."""
        name = _PROTOCOLS.get(self.protocol, f"protocol {self.protocol}")
        source, destination = self.source, self.destination
        if self.protocol in _WITH_PORTS and len(self.payload) >= 4:
            ports = _HALF.unpack_from(self.payload)[0], _HALF.unpack_from(self.payload, 2)[0]
            source, destination = with_port(source, ports[0]), with_port(destination, ports[1])
        elif self.protocol in (1, 58) and len(self.payload) >= 8:
            kind = _ECHO.get((self.protocol, self.payload[0]))
            name += f" {kind} {_HALF.unpack_from(self.payload, 6)[0]}" if kind else f" type {self.payload[0]}"
        return f"{source} > {destination} {name}, {len(self.payload)} octets"


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    payload: bytes


def with_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def ip_octets(link: int, data: bytes) -> bytes | None:
    """The IP packet of a frame of this link type; None for anything else, and for link types that we do not know."""
    if link in _RAW_LINKS:
        return data
    if link == _ETHERNET:
        return _behind_tags(data, 12)
    if link == _SLL:
        return _behind_tags(data, 14)
    if link == _SLL2:
        return data[20:] if len(data) > 20 and _HALF.unpack_from(data)[0] in (_IPV4_TYPE, _IPV6_TYPE) else None
    if link in (_LOOP, _NULL):  # an address family in some host's byte order: the IP version says the same
        return data[4:] if len(data) > 4 else None
    return None


def known_link(link: int) -> bool:
    return link in _RAW_LINKS or link in (_ETHERNET, _SLL, _SLL2, _LOOP, _NULL)


def _behind_tags(data: bytes, at: int) -> bytes | None:
    for _ in range(_MOST_TAGS):
        if len(data) < at + 2:
            return None
        (kind,) = _HALF.unpack_from(data, at)
        if kind in (_IPV4_TYPE, _IPV6_TYPE):
            return data[at + 2 :]
        if kind not in _VLAN_TYPES:
            return None
        at += 4
    return None


def ip_packet(data: bytes) -> IpPacket:
    """The packet behind any IP options and extension headers. Raises Malformed, Fragmented."""
    version = data[0] >> 4 if data else 0
    if version == 4:
        return _ipv4(data)
    if version == 6:
        return _ipv6(data)
    raise Malformed("no IP packet where one is due")


def _ipv4(data: bytes) -> IpPacket:
    if len(data) < 20:
        raise Malformed("an IPv4 header cut short")
    header = (data[0] & 15) * 4
    (total,) = _HALF.unpack_from(data, 2)
    total = total or len(data)  # 0: the network card was to cut it up
    if header < 20 or total < header or len(data) < header:
        raise Malformed("an IPv4 header with impossible lengths")
    if _HALF.unpack_from(data, 6)[0] & 0x3FFF:
        raise Fragmented
    source, destination = (str(ipaddress.IPv4Address(data[at : at + 4])) for at in (12, 16))
    return IpPacket(source, destination, data[9], data[header:total], max(0, total - len(data)))


def _ipv6(data: bytes) -> IpPacket:
    if len(data) < 40:
        raise Malformed("an IPv6 header cut short")
    (length,) = _HALF.unpack_from(data, 4)
    total = 40 + length if length else len(data)
    protocol, at = data[6], 40
    for _ in range(_MOST_EXTENSIONS):
        if protocol not in _EXTENSIONS:
            source, destination = (str(ipaddress.IPv6Address(data[start : start + 16])) for start in (8, 24))
            return IpPacket(source, destination, protocol, data[at:total], max(0, total - len(data)))
        if at + 8 > len(data):
            raise Malformed("an IPv6 extension header cut short")
        if protocol == _FRAGMENT and _HALF.unpack_from(data, at + 2)[0] & 0xFFF9:
            raise Fragmented
        octets = 8
        if protocol != _FRAGMENT:
            octets = (data[at + 1] + 2) * 4 if protocol == _AH else (data[at + 1] + 1) * 8
        protocol, at = data[at], at + octets
    raise Malformed("too many IPv6 extension headers")


def udp_datagram(packet: IpPacket) -> Datagram:
    """The datagram in a UDP packet. Raises Malformed, also when the capture cut it off."""
    if len(packet.payload) < 8:
        raise Malformed("a UDP header cut short")
    source, destination, length, _ = _UDP.unpack_from(packet.payload)
    if length < 8 or length > len(packet.payload) + packet.missing:
        raise Malformed(f"a UDP header that says {length} octets")
    if length > len(packet.payload):
        raise Malformed("cut off by the capture's snap length")
    return Datagram(packet.source, source, packet.destination, destination, packet.payload[8:length])
