"""What the engine hears from the data plane."""

from dataclasses import dataclass, field

from gateway.ike.plane import StateKey
from gateway.policy.selectors import ANY_PORT, Selector

Packet = tuple[Selector, Selector]
"""A packet's source and destination, as selectors that hold no other."""


def packet(version: int, protocol: int, source: int, destination: int, ports: tuple[int, int] | None) -> Packet:
    """From what is in its headers; `ports` None for a protocol that has none, or where they cannot be seen."""
    ours, theirs = ((ports[0],) * 2, (ports[1],) * 2) if ports else (ANY_PORT, ANY_PORT)
    return (
        Selector(version, source, source, protocol, *ours),
        Selector(version, destination, destination, protocol, *theirs),
    )


@dataclass(frozen=True, slots=True)
class Acquire:
    """A packet met a trap policy: a CHILD_SA for `reqid` is wanted, for this `packet` first where the driver tells."""

    reqid: int
    packet: Packet | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Expire:
    """A state reached its soft limit (rekey it) or its hard limit (it is gone); `reqid` is the state's, 0 unknown."""

    key: StateKey
    hard: bool
    reqid: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Remapped:
    """Authenticated ESP for the state, whose `reqid` is 0 where unknown, comes from elsewhere (XFRM_MSG_MAPPING)."""

    key: StateKey
    address: str
    port: int
    reqid: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class UnknownSpi:
    """ESP arrived for an SPI that nobody has (RFC 7296 1.5)."""

    spi: int
    source: str


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The driver missed events: dump and reconcile."""


@dataclass(frozen=True, slots=True)
class Disturbed:
    """Somebody else took away states or policies of ours, or may have: dump and reconcile."""


@dataclass(frozen=True, slots=True)
class RulesLost:
    """Somebody took away strict rules of these virtual addresses, and they cannot be laid again; a sentence why."""

    addresses: frozenset[str]
    why: str


PlaneEvent = Acquire | Expire | Remapped | UnknownSpi | EventsLost | Disturbed | RulesLost
