"""How much one state of a CHILD_SA may carry, from its configuration."""

from gateway.ike.core import Core
from gateway.ike.plane import NO_LIMITS, Limits
from gateway.policy.peers import Child

_HARD = 1.25
"""A state ends at this part of its limit, should all rekeys have failed."""


def limits_of(core: Core, config: Child) -> Limits:
    """A rekey is due a little before the limit, by chance, so that the two ends seldom meet (RFC 7296 2.8.1)."""
    octets, packets = config.rekey_octets, config.rekey_packets
    if not octets and not packets:
        return NO_LIMITS
    part = 0.85 + 0.15 * core.chance()
    return Limits(_soft(octets, part), _soft(packets, part), int(octets * _HARD), _hard_packets(packets))


def _soft(limit: int, part: float) -> int:
    return max(1, int(limit * part)) if limit else 0


def _hard_packets(limit: int) -> int:
    return max(limit + 1, int(limit * _HARD)) if limit else 0
