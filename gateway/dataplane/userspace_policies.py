"""The policies of the userspace data plane, found by the packet: shunts by priority, then the narrowest first."""

import bisect
from collections.abc import Iterable, Sequence

from gateway.dataplane.userspace_packets import UNSEEN, Flow
from gateway.ike.plane import Action, AddPolicy, Direction, Order, Policy, PolicyKey, RemovePolicy
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


def is_rule(policy: Policy) -> bool:
    """Whether routing rules carry it out, not the packet path: a shunt for what leaves or is forwarded, and a wall."""
    if policy.priority is None:
        return is_wall(policy)
    return policy.direction is not Direction.IN and policy.action is not Action.PROTECT


def is_wall(policy: Policy) -> bool:
    """Whether it drops all that certain sources send, because the tunnel for all of it is down.

    A route into the device would catch what other sources send, too: the very question for the peer's address.
    """
    everything = Selector(policy.destination.version, 0, (1 << (32 if policy.destination.version == 4 else 128)) - 1)
    return (
        policy.action is Action.DROP
        and policy.priority is None
        and policy.direction is Direction.OUT
        and policy.destination == everything
        and not policy.source.protocol
    )


def rank(policy: Policy) -> tuple[bool, int, tuple[int, int, int]]:
    """Of two policies that match a packet, the one with the smaller rank is the packet's."""
    return policy.priority is None, policy.priority or 0, _breadth(policy)


class PolicyTable:
    """The policies that lie there. A hub's many policies towards single addresses are found without a search."""

    def __init__(self) -> None:
        self._all: dict[PolicyKey, Policy] = {}
        self._to_hosts: dict[tuple[int, int], list[Policy]] = {}
        self._to_ranges: list[Policy] = []
        self._inbound: dict[int, list[Policy]] = {}
        self._shut: list[Policy] = []
        self._ruling: dict[PolicyKey, Policy] = {}
        self.generation = 0
        """Counts the changes, so that what was once found can be told from what still holds."""

    def find(self, policy: Policy) -> Policy | None:
        """The policy that lies there with these selectors and this direction."""
        return self._all.get(policy.key)

    def policies(self) -> tuple[Policy, ...]:
        return tuple(self._all.values())

    def ruling_after(self, orders: Sequence[Order]) -> list[Policy]:
        """The policies carried out by routing rules that will lie there when the orders are carried out."""
        ruling = dict(self._ruling)
        for order in orders:
            if isinstance(order, AddPolicy | RemovePolicy):
                ruling.pop(order.policy.key, None)
            if isinstance(order, AddPolicy) and is_rule(order.policy):
                ruling[order.policy.key] = order.policy
        return list(ruling.values())

    def add(self, policy: Policy) -> None:
        """Also in place of the one with equal direction and selectors."""
        self.remove(policy)
        self._all[policy.key] = policy
        if is_rule(policy):
            self._ruling[policy.key] = policy
        if policy.direction is Direction.IN:
            self._inwards(policy).append(policy)
        elif policy.direction is Direction.OUT:
            bisect.insort(self._outbound(policy), policy, key=rank)

    def remove(self, policy: Policy) -> None:
        """The policy with these selectors and this direction, if there is one."""
        self.generation += 1
        old = self._all.pop(policy.key, None)
        self._ruling.pop(policy.key, None)
        if old is None:
            return
        if old.direction is Direction.IN:
            inwards = self._inwards(old)
            inwards.remove(old)
            if not inwards and inwards is not self._shut:
                del self._inbound[old.reqid]
        elif old.direction is Direction.OUT:
            found = self._outbound(old)
            found.remove(old)
            if not found and found is not self._to_ranges:
                del self._to_hosts[old.destination.version, old.destination.start]

    def outbound(self, flow: Flow) -> Policy | None:
        """The OUT policy for a packet: the foremost shunt, else the narrowest."""
        candidates: Iterable[Policy] = self._to_hosts.get((flow.version, flow.destination), ())
        host = next((policy for policy in candidates if matches(policy, flow)), None)
        wide = next((policy for policy in self._to_ranges if matches(policy, flow)), None)
        if host is None or wide is None:
            return host or wide
        return min(host, wide, key=rank)

    def admits(self, reqid: int, flow: Flow) -> bool:
        """Whether a packet that came through a state of `reqid` may have (RFC 4301 5.2, step 4).

        What is to be dropped, or to come in the clear, may not.
        """
        admitting = [policy for policy in self._inbound.get(reqid, ()) if matches(policy, flow)]
        if not admitting or not self._shut:
            return bool(admitting)
        foremost = min(map(rank, admitting))
        return not any(rank(policy) < foremost and matches(policy, flow) for policy in self._shut)

    def _inwards(self, policy: Policy) -> list[Policy]:
        if policy.action is not Action.PROTECT:
            return self._shut
        return self._inbound.setdefault(policy.reqid, [])

    def _outbound(self, policy: Policy) -> list[Policy]:
        destination = policy.destination
        if destination.start != destination.end:
            return self._to_ranges
        return self._to_hosts.setdefault((destination.version, destination.start), [])
