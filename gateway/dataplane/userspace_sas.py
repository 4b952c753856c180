"""The states of the userspace data plane as the packet path sees them, and what it counts."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gateway.dataplane.esp import InboundEsp, OutboundEsp
from gateway.dataplane.userspace_packets import Flow
from gateway.dataplane.userspace_udp import Control, control_to_send
from gateway.ike.plane import NO_LIMITS, Counters, EspState

NAT_T_PORT = 4500
_ECN = 3
_ANY_OCTETS = 1 << 64


@dataclass(slots=True)
class Drops:
    """Packets that were not passed on, by reason, since the plane began."""

    no_policy: int = 0
    """Out of the TUN device, and no policy is about them."""
    no_state: int = 0
    """A policy is about them, but there is no state to protect them with."""
    blocked: int = 0
    """A policy drops them."""
    not_sent: int = 0
    """The kernel did not take the datagram (no route, no memory, no socket of the family)."""
    exhausted: int = 0
    """The state has no sequence number left, or has reached its hard limit."""
    unknown_spi: int = 0
    too_short: int = 0
    """Datagrams on port 4500 that are neither ESP, IKE nor a keepalive."""
    replayed: int = 0
    forged: int = 0
    malformed: int = 0
    """Genuine ESP whose inside is not a packet of a tunnel."""
    not_admitted: int = 0
    """The inner packet matches no IN policy of the state that it came through (RFC 4301 5.2)."""
    congested: int = 0
    """Marked by a congested router, and the inner packet's ends know no ECN (RFC 6040 4.2)."""
    not_written: int = 0
    """The kernel did not take the inner packet from the TUN device."""


class OutboundSa:
    """One outbound state: its cipher and the lanes its packets leave by."""

    __slots__ = (
        "address", "closed", "esp", "fragmentable", "hard_octets", "lanes", "last_used", "octets", "packets",
        "soft_octets", "state", "version", "warned",
    )  # fmt: skip

    def __init__(self, state: EspState, random: Callable[[int], bytes]) -> None:
        """Raises ValueError when the keys do not fit the algorithms or an address is none."""
        self.state = state
        self.esp = OutboundEsp(state, random)
        port = state.encapsulation.destination_port if state.encapsulation else NAT_T_PORT
        self.address = (state.destination, port)
        self.version = ipaddress.ip_address(state.destination.partition("%")[0]).version
        self.fragmentable = self.version == 4 and not state.copy_df
        """Routers on the way may fragment its datagrams."""
        self.soft_octets = state.limits.soft_octets or _ANY_OCTETS
        self.hard_octets = state.limits.hard_octets or _ANY_OCTETS
        self.lanes: dict[int, Lane] = {}
        self.octets = self.packets = 0
        self.last_used = 0.0
        self.warned = self.closed = False
        self.lane(0)

    def lane(self, traffic_class: int) -> "Lane":
        """The lane of packets with this DSCP and ECN.

        ECN is copied outside (RFC 6040 4.1), DSCP if it is wanted (RFC 4301 5.1.2).
        """
        if not self.state.copy_dscp:
            traffic_class &= _ECN
        found = self.lanes.get(traffic_class)
        if found is None:
            found = self.lanes[traffic_class] = Lane(self, control_to_send(self.state.source, traffic_class))
        return found

    def inherit(self, old: "OutboundSa") -> None:
        """Go on where the same SA was before it was ordered again with another address or port."""
        self.esp = old.esp
        self.octets, self.packets, self.last_used = old.octets, old.packets, old.last_used
        self.warned, self.closed = old.warned, old.closed

    def counters(self) -> Counters:
        return Counters(self.octets, self.packets, 0, 0, self.last_used)


class Lane:
    """Packets of one SA with one traffic class: what may share a datagram batch."""

    __slots__ = ("control", "mss", "sa", "whole")

    def __init__(self, sa: OutboundSa, control: Control) -> None:
        self.sa = sa
        self.mss = sa.state.mss
        self.control = control
        self.whole = False
        """The kernel does not segment on this path: send datagram by datagram."""


class InboundSa:
    """One inbound state: its cipher, its window, where the peer is, and the flows that were admitted."""

    __slots__ = (
        "esp", "flows", "forged", "generation", "last_used", "octets", "packets", "peer", "replays", "state", "warned",
        "watched",
    )  # fmt: skip

    def __init__(self, state: EspState) -> None:
        """Raises ValueError when the keys do not fit the algorithms or an address is none."""
        self.state = state
        self.esp = InboundEsp(state)
        self.peer = (
            str(ipaddress.ip_address(state.source)),
            state.encapsulation.source_port if state.encapsulation else NAT_T_PORT,
        )
        self.flows: set[int | Flow] = set()
        """What was admitted when the policies had this generation."""
        self.generation = -1
        self.octets = self.packets = self.replays = self.forged = 0
        self.last_used = 0.0
        self.warned = False
        self.watched = state.limits != NO_LIMITS or state.mss > 0
        """Each of its packets needs a closer look."""

    def reached(self) -> tuple[bool, bool]:
        """Whether its soft and its hard limit are reached."""
        limits = self.state.limits
        return (
            0 < limits.soft_packets <= self.packets or 0 < limits.soft_octets <= self.octets,
            0 < limits.hard_packets <= self.packets or 0 < limits.hard_octets <= self.octets,
        )

    def inherit(self, old: "InboundSa") -> None:
        """Go on where the same SA was before it was ordered again with another address or port."""
        self.esp = old.esp
        self.octets, self.packets, self.last_used = old.octets, old.packets, old.last_used
        self.replays, self.forged, self.warned = old.replays, old.forged, old.warned

    def counters(self) -> Counters:
        return Counters(self.octets, self.packets, self.replays, self.forged, self.last_used)


class Sparingly:
    """Lets an event through once in `interval` seconds for each key, and at most `burst` in that time for all keys.

    Strangers choose the keys, so no more than `burst` are remembered.
    """

    def __init__(self, clock: Callable[[], float], interval: float = 1.0, burst: int = 16) -> None:
        self._clock, self._interval, self._burst = clock, interval, burst
        self._last: OrderedDict[object, float] = OrderedDict()

    def allows(self, key: object) -> bool:
        now = self._clock()
        while self._last and (next(iter(self._last.values())) + self._interval <= now):
            self._last.popitem(last=False)
        if key in self._last or len(self._last) >= self._burst:
            return False
        self._last[key] = now
        return True
