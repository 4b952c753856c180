"""Traffic selectors: which packets a CHILD_SA carries, and how two ends' wishes are narrowed to what both want."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from gateway.wire import payloads as wire
from gateway.wire.numbers import TsType

_PROTOCOLS = {
    "icmp": 1,
    "tcp": 6,
    "udp": 17,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": 58,
    "icmpv6": 58,
    "ospf": 89,
    "sctp": 132,
}
_PROTOCOL_NAMES = {
    1: "icmp",
    6: "tcp",
    17: "udp",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "icmpv6",
    89: "ospf",
    132: "sctp",
}
_TEXT = re.compile(r"(?P<addresses>[^\[\]]+?)(\[(?P<protocol>[A-Za-z0-9-]+)?(/(?P<ports>[0-9()-]+|any|opaque))?\])?")
_VERSIONS: dict[int, int] = {TsType.TS_IPV4_ADDR_RANGE: 4, TsType.TS_IPV6_ADDR_RANGE: 6}
_ICMP = (1, 58)
_ICMP_END = re.compile(r"(?P<type>[0-9]{1,5})(\((?P<code>[0-9]{1,3})\))?")
ANY_PORT = (0, 65535)
MAX_NARROWED = 64
OPAQUE_PORT = (65535, 0)  # RFC 7296 3.13.1


class InvalidSelector(ValueError):
    """The text names no traffic selector; the message says what would."""


class Selector(NamedTuple):
    """A range of addresses of one IP version, one protocol (0 any) and a range of ports (RFC 7296 3.13.1)."""

    version: int
    start: int
    end: int
    protocol: int = 0
    start_port: int = 0
    end_port: int = 65535

    @classmethod
    def parse(cls, text: str) -> "Selector":
        """Read `10.1.0.0/16`, `fd00::/64`, `10.1.0.7-10.1.0.9`, with `[tcp/443]` or `[udp]`. Raises InvalidSelector.

        ICMP has types and codes for ports: `[icmp/8]` is a type with all its codes, `[icmp/3(4)]` one code; a number
        from 256 on is both in one, type * 256 + code (RFC 7296 3.13.1).
        """
        match = _TEXT.fullmatch(text.strip())
        if not match:
            raise InvalidSelector(
                f"{text!r}: write a network with, if wanted, [protocol/port], such as 10.1.0.0/16[tcp/443]"
            )
        version, start, end = _addresses(match["addresses"].strip())
        protocol = _protocol(match["protocol"])
        first, last = _ports(match["ports"], icmp=protocol in _ICMP)
        if (first, last) != ANY_PORT and protocol not in (1, 6, 17, 58, 132):
            raise InvalidSelector(f"{text!r}: a port needs a protocol that has ports, such as [tcp/443]")
        return cls(version, start, end, protocol, first, last)

    @classmethod
    def of_address(cls, address: str) -> "Selector":
        """All traffic of one host."""
        value = ipaddress.ip_address(address)
        return cls(value.version, int(value), int(value))

    @classmethod
    def from_wire(cls, selector: wire.TrafficSelector) -> "Selector | None":
        """A selector as the peer sent it; None for a type we have no meaning for, or a range that runs backwards."""
        version = _VERSIONS.get(selector.ts_type)
        if version is None:
            return None
        start, end = int.from_bytes(selector.start), int.from_bytes(selector.end)
        ports = (selector.start_port, selector.end_port)
        if start > end or (ports[0] > ports[1] and ports != OPAQUE_PORT):
            return None
        return cls(version, start, end, selector.protocol, *ports)

    def to_wire(self) -> wire.TrafficSelector:
        octets = 4 if self.version == 4 else 16
        ts_type = TsType.TS_IPV4_ADDR_RANGE if self.version == 4 else TsType.TS_IPV6_ADDR_RANGE
        start, end = self.start.to_bytes(octets), self.end.to_bytes(octets)
        return wire.TrafficSelector(ts_type, self.protocol, self.start_port, self.end_port, start, end)

    def narrow(self, other: "Selector") -> "Selector | None":
        """The traffic that is in both, or None."""
        if self.version != other.version:
            return None
        start, end = max(self.start, other.start), min(self.end, other.end)
        if start > end or (self.protocol and other.protocol and self.protocol != other.protocol):
            return None
        ports = _narrow_ports((self.start_port, self.end_port), (other.start_port, other.end_port))
        if ports is None:
            return None
        return Selector(self.version, start, end, self.protocol or other.protocol, *ports)

    def contains(self, other: "Selector") -> bool:
        """Whether all of the other's traffic is ours too."""
        return self.narrow(other) == other

    def networks(self) -> list[str]:
        """The range as the fewest prefixes, as a kernel wants it."""
        first, last = _address(self.version, self.start), _address(self.version, self.end)
        return [str(network) for network in ipaddress.summarize_address_range(first, last)]

    @property
    def text(self) -> str:
        return _text(self)

    def __str__(self) -> str:
        return _text(self)


@lru_cache(4096)
def _text(selector: Selector) -> str:
    addresses = _range_text(selector.version, selector.start, selector.end)
    ports = (selector.start_port, selector.end_port)
    if not selector.protocol and ports == ANY_PORT:
        return addresses
    protocol = _PROTOCOL_NAMES.get(selector.protocol, str(selector.protocol)) if selector.protocol else ""
    if ports == ANY_PORT:
        return f"{addresses}[{protocol}]"
    if ports == OPAQUE_PORT:
        port = "opaque"
    elif selector.protocol in _ICMP:
        port = _icmp_text(*ports)
    else:
        port = str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"
    return f"{addresses}[{protocol}/{port}]"


def _icmp_text(first: int, last: int) -> str:
    """Types alone where all their codes are meant."""
    if not first & 0xFF and last & 0xFF == 0xFF:
        return f"{first >> 8}" if first >> 8 == last >> 8 else f"{first >> 8}-{last >> 8}"
    ends = [f"{value >> 8}({value & 0xFF})" for value in (first, last)]
    return ends[0] if first == last else "-".join(ends)


def _range_text(version: int, start: int, end: int) -> str:
    """One prefix where the range is one, else its first and last address."""
    size = end - start + 1
    first = _address_text(version, start)
    if size & (size - 1) or start % size:
        return f"{first}-{_address_text(version, end)}"
    return f"{first}/{(32 if version == 4 else 128) + 1 - size.bit_length()}"


def _address_text(version: int, value: int) -> str:
    if version == 4:
        return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
    return str(ipaddress.IPv6Address(value))


def _address(version: int, value: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.IPv4Address(value) if version == 4 else ipaddress.IPv6Address(value)


def _addresses(text: str) -> tuple[int, int, int]:
    try:
        if "-" in text:
            first, last = (ipaddress.ip_address(part.strip()) for part in text.split("-", 1))
            if first.version != last.version or int(first) > int(last):
                raise ValueError
            return first.version, int(first), int(last)
        network = ipaddress.ip_network(text, strict=True)
    except ValueError:
        hint = ""
        if "/" in text:
            try:
                hint = f"; did you mean {ipaddress.ip_network(text, strict=False)}?"
            except ValueError:
                hint = ""
        raise InvalidSelector(f"{text!r} is no network or address range such as 10.1.0.0/16{hint}") from None
    return network.version, int(network.network_address), int(network.broadcast_address)


def _protocol(text: str | None) -> int:
    if not text or text == "any":
        return 0
    if text.isdecimal() and int(text) < 256:
        return int(text)
    if text.lower() not in _PROTOCOLS:
        raise InvalidSelector(f"{text!r} is no protocol: use a number up to 255 or one of {', '.join(_PROTOCOLS)}")
    return _PROTOCOLS[text.lower()]


def _ports(text: str | None, *, icmp: bool) -> tuple[int, int]:
    if text is None or text == "any":
        return ANY_PORT
    if text == "opaque":
        return OPAQUE_PORT
    first, _, last = text.partition("-")
    if icmp:
        start, end = _icmp_end(first)[0], _icmp_end(last or first)[1]
        if start > end:
            raise InvalidSelector(f"{text!r}: the range of ICMP types runs backwards")
        return start, end
    if not first.isdecimal() or not (last or first).isdecimal() or not int(first) <= int(last or first) <= 65535:
        raise InvalidSelector(f"{text!r} is no port or port range such as 443 or 1024-2047")
    return int(first), int(last or first)


def _icmp_end(text: str) -> tuple[int, int]:
    """The first and the last type * 256 + code of one end of a range."""
    match = _ICMP_END.fullmatch(text)
    kind, code = (int(match["type"]), match["code"]) if match else (65536, None)
    if kind > 65535 or (code and (kind > 255 or int(code) > 255)):
        raise InvalidSelector(f"{text!r} is no ICMP type such as 8, nor one with a code such as 3(4)")
    if code is None:
        return (kind << 8, kind << 8 | 0xFF) if kind < 256 else (kind, kind)
    return kind << 8 | int(code), kind << 8 | int(code)


def _narrow_ports(ours: tuple[int, int], theirs: tuple[int, int]) -> tuple[int, int] | None:
    if ours == theirs:
        return ours
    if OPAQUE_PORT in (ours, theirs):  # OPAQUE is inside ANY and itself, nothing else
        return OPAQUE_PORT if {ours, theirs} <= {OPAQUE_PORT, ANY_PORT} else None
    start, end = max(ours[0], theirs[0]), min(ours[1], theirs[1])
    return (start, end) if start <= end else None


def narrow(ours: Sequence[Selector], theirs: Sequence[Selector]) -> list[Selector]:
    """Every overlap of our selectors with theirs, none inside another, in our order (RFC 7296 2.9).

    No more than MAX_NARROWED, or as many as we have ourselves: a part is a right answer too, and each costs policies.
    """
    overlaps = (both for our in ours for their in theirs if (both := our.narrow(their)) is not None)
    return _outermost(overlaps, max(MAX_NARROWED, len(ours)))


def subtract(asked: Sequence[Selector], agreed: Sequence[Selector]) -> list[Selector]:
    """What of `asked` is not wholly in `agreed`, by addresses: a range of which some protocol or port lacks stays."""
    left = list(asked)
    for taken in agreed:
        left = [rest for one in left for rest in _without(one, taken)]
    return left


def _without(one: Selector, taken: Selector) -> list[Selector]:
    both = one.narrow(taken)
    if both is None or both[3:] != one[3:]:
        return [one]
    found = []
    if one.start < both.start:
        found.append(one._replace(end=both.start - 1))
    if both.end < one.end:
        found.append(one._replace(start=both.end + 1))
    return found


def _outermost(selectors: Iterable[Selector], most: int) -> list[Selector]:
    kept: list[Selector] = []
    for selector in selectors:
        if not kept:
            kept.append(selector)
            continue
        if len(kept) == most:
            break
        if any(other.contains(selector) for other in kept):
            continue
        kept = [other for other in kept if not selector.contains(other)]
        kept.append(selector)
    return kept
