"""The policies of the userspace data plane, found by the packet: narrowest first."""

import bisect
from collections.abc import Iterable

from gateway.dataplane.userspace_packets import UNSEEN, Flow
from gateway.ike.plane import Direction, Policy, PolicyKey
from gateway.policy.selectors import ANY_PORT, OPAQUE_PORT, Selector


def matches(policy: Policy, flow: Flow) -> bool:
    """Whether a packet of this flow, in the policy's direction, is what the policy is about."""
    source, destination = policy.source, policy.destination
    return (
        source.version == flow.version
        and destination.version == flow.version
        and source.start <= flow.source <= source.end
        and destination.start <= flow.destination <= destination.end
        and source.protocol in (0, flow.protocol)
        and destination.protocol in (0, flow.protocol)
        and _port_matches(source, flow.source_port)
        and _port_matches(destination, flow.destination_port)
    )


def _port_matches(selector: Selector, port: int) -> bool:
    ports = selector.start_port, selector.end_port
    if ports == ANY_PORT:
        return True
    if ports == OPAQUE_PORT:  # RFC 4301 4.4.1.1: only packets whose port cannot be seen
        return port == UNSEEN
    return ports[0] <= port <= ports[1]


def _breadth(policy: Policy) -> tuple[int, int, int]:
    """How much a policy covers; the narrower of two that match goes first."""
    source, destination = policy.source, policy.destination
    addresses = (source.end - source.start + 1) * (destination.end - destination.start + 1)
    protocols = (source.protocol == 0) + (destination.protocol == 0)
    ports = (source.end_port - source.start_port) % 65536 + (destination.end_port - destination.start_port) % 65536
    return addresses, protocols, ports


class PolicyTable:
    """The policies that lie there. A hub's many policies towards single addresses are found without a search."""

    def __init__(self) -> None:
        self._all: dict[PolicyKey, Policy] = {}
        self._to_hosts: dict[tuple[int, int], list[Policy]] = {}
        self._to_ranges: list[Policy] = []
        self._inbound: dict[int, list[Policy]] = {}
        self.generation = 0
        """Counts the changes, so that what was once found can be told from what still holds."""

    def find(self, policy: Policy) -> Policy | None:
        """The policy that lies there with these selectors and this direction."""
        return self._all.get(policy.key)

    def policies(self) -> tuple[Policy, ...]:
        return tuple(self._all.values())

    def add(self, policy: Policy) -> None:
        """Also in place of the one with equal direction and selectors."""
        self.remove(policy)
        self._all[policy.key] = policy
        if policy.direction is Direction.IN:
            self._inbound.setdefault(policy.reqid, []).append(policy)
        elif policy.direction is Direction.OUT:
            bisect.insort(self._outbound(policy), policy, key=_breadth)

    def remove(self, policy: Policy) -> None:
        """The policy with these selectors and this direction, if there is one."""
        self.generation += 1
        old = self._all.pop(policy.key, None)
        if old is None:
            return
        if old.direction is Direction.IN:
            self._inbound[old.reqid].remove(old)
            if not self._inbound[old.reqid]:
                del self._inbound[old.reqid]
        elif old.direction is Direction.OUT:
            found = self._outbound(old)
            found.remove(old)
            if not found and found is not self._to_ranges:
                del self._to_hosts[old.destination.version, old.destination.start]

    def outbound(self, flow: Flow) -> Policy | None:
        """The narrowest OUT policy for a packet."""
        candidates: Iterable[Policy] = self._to_hosts.get((flow.version, flow.destination), ())
        host = next((policy for policy in candidates if matches(policy, flow)), None)
        wide = next((policy for policy in self._to_ranges if matches(policy, flow)), None)
        if host is None or wide is None:
            return host or wide
        return min(host, wide, key=_breadth)

    def admits(self, reqid: int, flow: Flow) -> bool:
        """Whether a packet that came through a state of `reqid` may have (RFC 4301 5.2, step 4)."""
        return any(matches(policy, flow) for policy in self._inbound.get(reqid, ()))

    def _outbound(self, policy: Policy) -> list[Policy]:
        destination = policy.destination
        if destination.start != destination.end:
            return self._to_ranges
        return self._to_hosts.setdefault((destination.version, destination.start), [])
