"""The states of the userspace data plane as the packet path sees them, and what it counts."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gateway.dataplane.esp import InboundEsp, OutboundEsp
from gateway.dataplane.userspace_packets import Flow
from gateway.dataplane.userspace_udp import Control, control_to_send
from gateway.ike.plane import Counters, EspState

NAT_T_PORT = 4500


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
    """The state has no sequence number left."""
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

    __slots__ = ("address", "closed", "esp", "lanes", "last_used", "octets", "packets", "state", "version", "warned")

    def __init__(self, state: EspState, random: Callable[[int], bytes]) -> None:
        """Raises ValueError when the keys do not fit the algorithms or an address is none."""
        self.state = state
        self.esp = OutboundEsp(state, random)
        port = state.encapsulation.destination_port if state.encapsulation else NAT_T_PORT
        self.address = (state.destination, port)
        self.version = ipaddress.ip_address(state.destination.partition("%")[0]).version
        self.lanes: dict[int, Lane] = {}
        self.octets = self.packets = 0
        self.last_used = 0.0
        self.warned = self.closed = False
        self.lane(0)

    def lane(self, traffic_class: int) -> "Lane":
        """The lane of packets with this DSCP and ECN: both are copied outside (RFC 4301 5.1.2, RFC 6040 4.1)."""
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

    __slots__ = ("control", "sa", "whole")

    def __init__(self, sa: OutboundSa, control: Control) -> None:
        self.sa = sa
        self.control = control
        self.whole = False
        """The kernel does not segment on this path: send datagram by datagram."""


class InboundSa:
    """One inbound state: its cipher, its window, where the peer is, and the flows that were admitted."""

    __slots__ = ("esp", "flows", "forged", "generation", "last_used", "octets", "packets", "peer", "replays", "state")

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

    def inherit(self, old: "InboundSa") -> None:
        """Go on where the same SA was before it was ordered again with another address or port."""
        self.esp = old.esp
        self.octets, self.packets, self.last_used = old.octets, old.packets, old.last_used
        self.replays, self.forged = old.replays, old.forged

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
