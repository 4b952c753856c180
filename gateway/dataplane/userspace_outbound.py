"""From the TUN device to UDP: find the state for each packet by its policy, and let it be sealed and sent."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.dataplane.tun import VNET_OCTETS, Tun
from gateway.dataplane.userspace_batch import LARGEST_PACKET, Batch
from gateway.dataplane.userspace_packets import Flow, flow_key, keyed, parse_flow, traffic_class
from gateway.dataplane.userspace_policies import PolicyTable
from gateway.dataplane.userspace_sas import Drops, Lane, OutboundSa, Sparingly
from gateway.ike.plane import Action, Policy, StateKey
from gateway.ike.plane_events import Acquire, PlaneEvent

PACKETS_AT_ONCE = 132
"""Read in one go of the event loop: three full sends, at 5 us a packet two thirds of a millisecond."""
SECONDS_AT_ONCE = 0.003
"""And no longer than this, whatever the cipher costs."""
_LOOK_AT_CLOCK = 16
_MOST_FLOWS = 8192
_MOST_TRAPS, _MOST_HELD, _HELD_SECONDS = 64, 16, 10.0
"""Traps that packets wait in, packets in each, and how long; the kernel's queue holds them as long as it takes."""


@dataclass(slots=True)
class _Waiting:
    """Packets into one trap, and when the first came."""

    since: float
    packets: list[bytes] = field(default_factory=list)


def _nobody_listens(*_: object) -> None:
    """Before `begin`."""


class Outbound:
    """The outbound states and the path of packets through them."""

    def __init__(
        self,
        tun: Tun,
        policies: PolicyTable,
        sockets: Mapping[int, socket.socket],
        drops: Drops,
        clock: Callable[[], float],
    ) -> None:
        self._tun = tun
        self._policies = policies
        self._drops = drops
        self._states: dict[StateKey, OutboundSa] = {}
        self._by_reqid: dict[int, list[OutboundSa]] = {}
        self._flows: dict[int | tuple[Flow, int], Lane] = {}
        self._generation = -1
        self._acquired = Sparingly(clock)
        self._clock = clock
        self._waiting: dict[int, _Waiting] = {}
        self._batch = Batch(sockets, drops, clock)
        self._plain = memoryview(bytearray(LARGEST_PACKET))
        self._emit: Callable[[PlaneEvent], None] | None = None
        self._pause: Callable[[], None] = _nobody_listens
        self._lose: Callable[[OSError], None] = _nobody_listens

    def begin(
        self, emit: Callable[[PlaneEvent], None], pause: Callable[[], None], lose: Callable[[OSError], None]
    ) -> None:
        """`pause` is called when the socket is full: `resume` has to be called a little later, `drain` not before.

        `lose` is called when the device cannot be read any more: `drain` must not be called again.
        """
        self._emit = self._batch.emit = emit
        self._pause, self._lose = pause, lose

    def find(self, key: StateKey) -> OutboundSa | None:
        return self._states.get(key)

    def states(self) -> list[OutboundSa]:
        return list(self._states.values())

    def add(self, sa: OutboundSa) -> None:
        self._states[sa.state.key] = sa
        self._by_reqid.setdefault(sa.state.reqid, []).append(sa)
        self._flows.clear()

    def remove(self, key: StateKey) -> None:
        sa = self._states.pop(key, None)
        if sa is not None:
            same = self._by_reqid[sa.state.reqid]
            same.remove(sa)
            if not same:
                del self._by_reqid[sa.state.reqid]
            self._flows.clear()

    def move(self, key: StateKey, sa: OutboundSa) -> None:
        """Put a state in the place of the one that it goes on from."""
        same = self._by_reqid[sa.state.reqid]
        same[same.index(self._states.pop(key))] = sa
        self._states[sa.state.key] = sa
        self._flows.clear()

    def drain(self) -> None:
        """Read, seal and send until the TUN device is empty, or PACKETS_AT_ONCE or SECONDS_AT_ONCE are over."""
        self._forget_flows()
        fd, plain, flows, add = self._tun.fd, self._plain, self._flows, self._batch.add
        into: list[bytearray | memoryview] = [bytearray(VNET_OCTETS), plain[: self._tun.mtu]]
        deadline = time.perf_counter() + SECONDS_AT_ONCE
        for count in range(PACKETS_AT_ONCE):
            if count % _LOOK_AT_CLOCK == _LOOK_AT_CLOCK - 1 and time.perf_counter() > deadline:
                break
            try:
                octets = os.readv(fd, into) - VNET_OCTETS
            except BlockingIOError:
                break
            except OSError as error:
                self._lose(error)
                break
            lane = flows.get(flow_key(plain, octets)) or self._route(octets)
            if lane is not None:
                add(lane, plain, octets)
        if not self._batch.flush():
            self._pause()

    def _forget_flows(self) -> None:
        """If policies have changed since they were found."""
        if self._generation != self._policies.generation:
            self._generation = self._policies.generation
            self._flows.clear()

    @property
    def waiting(self) -> bool:
        """Whether there are packets that met a trap and wait for its state."""
        return bool(self._waiting)

    def release(self) -> None:
        """Send what has waited for a state that is there now."""
        self._forget_flows()
        for reqid in [reqid for reqid in self._waiting if reqid in self._by_reqid]:
            for packet in self._waiting.pop(reqid).packets:
                self._plain[: len(packet)] = packet
                lane = self._route(len(packet))
                if lane is not None:
                    self._batch.add(lane, self._plain, len(packet))
        if not self._batch.stuck and not self._batch.flush():
            self._pause()

    def _hold(self, reqid: int, packet: memoryview) -> None:
        """Keep the first packets into a trap, not for long: whoever sent them will have sent them again."""
        now = self._clock()
        for old in [old for old, found in self._waiting.items() if found.since + _HELD_SECONDS <= now]:
            self._drops.no_state += len(self._waiting.pop(old).packets)
        waiting = self._waiting.get(reqid)
        if waiting is None and len(self._waiting) < _MOST_TRAPS:
            waiting = self._waiting[reqid] = _Waiting(now)
        if waiting is None or len(waiting.packets) >= _MOST_HELD:
            self._drops.no_state += 1
        else:
            waiting.packets.append(bytes(packet))

    def resume(self) -> bool:
        """Try again to send what the socket did not take; whether it did."""
        return self._batch.flush()

    def _route(self, octets: int) -> Lane | None:
        """The lane for the packet in the buffer, by its policy; None when it is dropped."""
        packet = self._plain[:octets]
        flow = parse_flow(packet)
        if flow is None:
            self._drops.no_policy += 1
            return None
        known = flow, traffic_class(packet)
        lane = self._flows.get(known) or self._find(*known, packet)
        if lane is not None:
            if len(self._flows) >= _MOST_FLOWS:
                self._flows.clear()
            self._flows[flow_key(packet, octets) if keyed(packet, flow) else known] = lane
        return lane

    def _find(self, flow: Flow, traffic_class: int, packet: memoryview) -> Lane | None:
        policy = self._policies.outbound(flow)
        if policy is None or policy.action is Action.PASS:  # what may pass is not routed here
            self._drops.no_policy += 1
            return None
        if policy.action is Action.DROP:
            self._drops.blocked += 1
            return None
        sa = self._state_for(policy)
        if sa is None:
            if policy.spi is not None:
                self._drops.no_state += 1
                return None
            self._hold(policy.reqid, packet)
            if self._emit is not None and self._acquired.allows(policy.reqid):
                self._emit(Acquire(policy.reqid, flow.packet))
            return None
        return sa.lane(traffic_class)

    def _state_for(self, policy: Policy) -> OutboundSa | None:
        if policy.spi is not None:
            pinned = self._states.get(StateKey(policy.tunnel_destination, policy.spi))
            if pinned is not None:
                return pinned
        same = self._by_reqid.get(policy.reqid)
        return same[-1] if same else None
