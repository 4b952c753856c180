"""Pairs of traffic selectors as kernel selectors: prefixes of addresses and of ports, the narrower first."""

import socket
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from gateway.dataplane.xfrm_structs import XfrmSelector
from gateway.ike.plane import Refused
from gateway.ike.plane_events import Packet, packet
from gateway.policy.selectors import OPAQUE_PORT, Selector

MOST_SELECTORS = 256
"""Kernel policies that one pair of selectors may need; the peer has a say in the ranges, so there must be an end."""

_ICMP = (1, 58)
_WITH_PORTS = (6, 17, 33, 132, 136)
LOWEST_PRIORITY = 200_000
"""More than any selector's."""


class KernelSelector(NamedTuple):
    """A packed struct xfrm_selector and its priority among those of the same rank; the smallest number wins."""

    packed: bytes
    priority: int


def prefixes(start: int, end: int, bits: int) -> Iterator[tuple[int, int]]:
    """The fewest prefixes (value, length) that cover start..end exactly, of numbers with `bits` bits."""
    while start <= end:
        size = min(start & -start or 1 << bits, 1 << ((end - start + 1).bit_length() - 1))
        yield start, bits - size.bit_length() + 1
        start += size


@lru_cache(maxsize=8192)
def _blocks(start: int, end: int, bits: int) -> tuple[tuple[int, int], ...]:
    return tuple(prefixes(start, end, bits))


def _port_masks(first: int, last: int) -> list[tuple[int, int]]:
    return [(port, 0xFFFF << (16 - length) & 0xFFFF) for port, length in prefixes(first, last, 16)]


@lru_cache(maxsize=256)
def _ports(ours: tuple[int, int], theirs: tuple[int, int], protocol: int) -> tuple[tuple[int, int, int, int], ...]:
    """Every (sport, sport_mask, dport, dport_mask) that two ranges of ports need."""
    if protocol not in _ICMP:
        return tuple(pair + other for pair in _port_masks(*ours) for other in _port_masks(*theirs))
    # RFC 7296 3.13.1: both "ports" are type * 256 + code; the kernel has the type in sport and the code in dport.
    first, last = max(ours[0], theirs[0]), min(ours[1], theirs[1])
    return tuple(
        (value >> 8, mask >> 8 | 0xFF00 if mask else 0, value & 0xFF, mask & 0xFF | (0xFF00 if mask & 0xFF else 0))
        for value, mask in _port_masks(first, last)
    )


@lru_cache(maxsize=4096)  # IN and FORWARD have the same pair, and removing needs it again
def kernel_selectors(source: Selector, destination: Selector) -> tuple[KernelSelector, ...]:
    """What the kernel needs to match all packets from `source` to `destination`, and no others. Raises Refused."""
    if source.version != destination.version:
        raise Refused(f"{source} to {destination}: the selectors are of different IP versions")
    if source.protocol and destination.protocol and source.protocol != destination.protocol:
        raise Refused(f"{source} to {destination}: the selectors name different protocols")
    protocol = source.protocol or destination.protocol
    family, bits = (socket.AF_INET, 32) if source.version == 4 else (socket.AF_INET6, 128)
    ours, theirs = (source.start_port, source.end_port), (destination.start_port, destination.end_port)
    if OPAQUE_PORT in (ours, theirs):
        raise Refused(f"{source} to {destination}: a kernel cannot pick packets whose ports are opaque")
    sources = _blocks(source.start, source.end, bits)
    destinations = _blocks(destination.start, destination.end, bits)
    ports = _ports(ours, theirs, protocol)
    if len(sources) * len(destinations) * len(ports) > MOST_SELECTORS:
        raise Refused(
            f"{source} to {destination}: a kernel takes prefixes, and these ranges need {len(sources)} x "
            f"{len(destinations)} x {len(ports)} of them; at most {MOST_SELECTORS} are allowed"
        )
    if not sources or not destinations or not ports:
        raise Refused(f"{source} to {destination}: no packet can match")
    return tuple(
        _pack(family, sent, received, port, protocol) for sent in sources for received in destinations for port in ports
    )


def _pack(
    family: int, sent: tuple[int, int], received: tuple[int, int], port: tuple[int, int, int, int], protocol: int
) -> KernelSelector:
    octets = 4 if family == socket.AF_INET else 16
    sport, sport_mask, dport, dport_mask = port
    packed = XfrmSelector(
        daddr=received[0].to_bytes(octets),
        saddr=sent[0].to_bytes(octets),
        dport=dport,
        dport_mask=dport_mask,
        sport=sport,
        sport_mask=sport_mask,
        family=family,
        prefixlen_d=received[1],
        prefixlen_s=sent[1],
        proto=protocol,
    ).pack()
    # Longer prefixes first, then a protocol, then ports: the order that strongSwan's priorities make too.
    narrowness = (sent[1] + received[1]) * 512 + (256 if protocol else 0)
    narrowness += (sport_mask.bit_count() + dport_mask.bit_count()) * 4
    return KernelSelector(packed, LOWEST_PRIORITY - narrowness)


def packet_of(packed: bytes) -> Packet | None:
    """The one packet that a struct xfrm_selector means, as XFRM_MSG_ACQUIRE has it; None when it is wider."""
    selector = XfrmSelector.unpack_from(packed)
    version, bits = (4, 32) if selector.family == socket.AF_INET else (6, 128)
    if (
        selector.family not in (socket.AF_INET, socket.AF_INET6)
        or selector.prefixlen_s + selector.prefixlen_d != 2 * bits
    ):
        return None
    source = int.from_bytes(selector.saddr[: bits // 8])
    destination = int.from_bytes(selector.daddr[: bits // 8])
    ports: tuple[int, int] | None = None
    if selector.proto in _ICMP:
        ports = (selector.sport << 8 | selector.dport,) * 2
    elif selector.proto in _WITH_PORTS:
        ports = selector.sport, selector.dport
    return packet(version, selector.proto, source, destination, ports)
