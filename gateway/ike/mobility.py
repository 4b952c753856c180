"""What MOBIKE needs to know of one IKE SA, and where else its peer may be reached (RFC 4555)."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.ike.path import Path

MAX_ADDRESSES = 8
"""So many further addresses are told, and remembered of a peer."""


@dataclass(slots=True)
class Mobility:
    """Both ends speak MOBIKE. Who called at the very first (`leads`) decides which addresses are used (RFC 4555 2.1).

    `theirs` are the peer's further addresses, `announced` ours as the peer knows them, `probes` the other paths on
    which the request under way is tried. `seen_as` is the peer's last word of how it sees us, where a NAT is before us.
    """

    leads: bool
    theirs: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()
    probes: tuple[Path, ...] = ()
    seen_as: bytes = b""
    told_by: int = 0
    """The IKE SA (its number) by which the peer said last where it is; it and those that it replaced share this."""


def further(addresses: Iterable[str], allowed: tuple[str, ...], current: str) -> tuple[str, ...]:
    """Our addresses besides the current one that a peer may be told: no loopback, no link-local ones."""
    found = []
    for text in addresses:
        address = ipaddress.ip_address(text)
        if text == current or (allowed and text not in allowed):
            continue
        if not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified):
            found.append(text)
    return tuple(found[:MAX_ADDRESSES])


def is_address(text: str) -> bool:
    """Whether this is one address, and not a network or a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
