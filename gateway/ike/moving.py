"""An IKE SA and its children go to other addresses or ports: NAT mappings that change, and MOBIKE's updates."""

from dataclasses import replace

from gateway.ike.core import Core
from gateway.ike.path import Path
from gateway.ike.plane import (
    AddPolicy,
    AddRoute,
    Direction,
    Encapsulation,
    EspState,
    MoveState,
    Order,
    Policy,
    Refused,
    RemoveRoute,
    StateKey,
)
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle
from gateway.policy.peers import Mode

_MOVES_APART = 1.0
"""Seconds between two moves of one SA that nobody but a NAT asked for."""


def move(core: Core, sa: IkeSa, path: Path, *, encapsulate: bool) -> None:
    """Take the SA and all its children to this path. Raises Refused; then only the IKE SA itself has moved."""
    was, sa.path, sa.encapsulate = sa.path, path, encapsulate
    orders: list[Order] = []
    moved: list[tuple[ChildSa, EspState, EspState, tuple[Policy, ...]]] = []
    for child in sa.children.values():
        inbound, outbound = _states(core, child, path, encapsulate=encapsulate)
        if (inbound, outbound) == (child.inbound, child.outbound):
            continue
        same = (inbound.key, outbound.key) == (child.inbound.key, child.outbound.key)
        if child.inbound.mode is Mode.TRANSPORT and not same:
            raise Refused(f"CHILD_SA {child.name} is in transport mode, for its two addresses alone")
        policies = child.policies if same else tuple(_redirected(policy, path) for policy in child.policies)
        moved.append((child, inbound, outbound, policies))
        orders += [MoveState(child.inbound.key, inbound), MoveState(child.outbound.key, outbound)]
        orders += [AddPolicy(policy) for policy in policies if not same and _owns(core, child, policy)]
    routed = [child for child, *_, policies in moved if policies != child.policies]
    orders += [RemoveRoute(route) for child in routed for route in child.routes]
    orders += [AddRoute(route._replace(remote=path.remote)) for child in routed for route in child.routes]
    if not orders and was == path:
        return
    core.plane.apply(orders)
    for child, inbound, outbound, policies in moved:
        child.inbound, child.outbound, child.policies = inbound, outbound, policies
    for child in routed:
        child.routes = tuple(route._replace(remote=path.remote) for route in child.routes)
    name = sa.peer_name
    core.event("ike-sa.moved", f"IKE SA with {name} moved: {path.local} to {path.text}", name, ike_sa=sa.id)


def _states(core: Core, child: ChildSa, path: Path, *, encapsulate: bool) -> tuple[EspState, EspState]:
    back = ahead = None
    if encapsulate:
        back, ahead = Encapsulation(path.port, core.nat_port), Encapsulation(core.nat_port, path.port)
    inbound = replace(child.inbound, source=path.remote, destination=path.local, encapsulation=back)
    return inbound, replace(child.outbound, source=path.local, destination=path.remote, encapsulation=ahead)


def _redirected(policy: Policy, path: Path) -> Policy:
    ends = (path.local, path.remote) if policy.direction is Direction.OUT else (path.remote, path.local)
    return policy._replace(tunnel_source=ends[0], tunnel_destination=ends[1])


def _owns(core: Core, child: ChildSa, policy: Policy) -> bool:
    return core.ownership.owners.get(policy.key) is child


def follow(core: Core, sa: IkeSa, path: Path) -> None:
    """An authentic message came from elsewhere: the peer's NAT has a new mapping (RFC 7296 2.23).

    Not while we are behind a NAT ourselves, and for the peer's own new port (500 to 4500) as for a mapping. Once in a
    second: who can delay and replay the peer's messages could else make us move all the time.
    """
    known = sa.nat.there or path.remote == sa.path.remote
    if path == sa.path or path.local != sa.path.local or sa.nat.here or not known:
        return
    if core.now - sa.moved < _MOVES_APART:
        core.count("moves-too-many")
        return
    sa.moved = core.now
    try:
        move(core, sa, path, encapsulate=sa.encapsulate)
    except Refused as refused:
        core.event("data-plane.refused", f"could not follow {sa.peer_name} to {path.text}: {refused.why}", sa.peer_name)


def remapped(core: Core, key: StateKey, path: Path, reqid: int) -> None:
    """The data plane authenticated a packet of this state that came by another path."""
    for sa in core.sas_of_reqid(reqid):
        stands = sa.state == Lifecycle.ESTABLISHED and sa.path.local == key.destination
        if stands and sa.encapsulate and any(child.inbound.key == key for child in sa.children.values()):
            follow(core, sa, path)
            return
