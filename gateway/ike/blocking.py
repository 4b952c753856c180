"""What lies in the data plane while a child has no CHILD_SA: its packets are dropped, or make one wanted.

They never pass in the clear unless the child says so. A CHILD_SA's own policies take the place of these, and give it
back, under the same keys in one batch, so that there is no moment between.
"""

import contextlib
from collections.abc import Iterable

from gateway.ike.children import make_policies, make_routes
from gateway.ike.core import Core
from gateway.ike.modes import ends
from gateway.ike.plane import (
    Action,
    AddPolicy,
    AddRoute,
    Interface,
    Order,
    Policy,
    PolicyKey,
    Refused,
    RemovePolicy,
    RemoveRoute,
    Route,
)
from gateway.policy.peers import Child, Mode, Peer, Start, WhenDown
from gateway.policy.selectors import InvalidSelector, Selector, narrow


def lay(core: Core, names: Iterable[str]) -> None:
    """Make what lies where no CHILD_SA does fit the configuration of these peers; the same again does nothing."""
    before: dict[PolicyKey, Policy | None] = {}
    orders: list[Order] = []
    for name in names:
        peer = core.snapshot.peers.get(name)
        wanted = _when_down(core, peer) if peer and peer.enabled else ()
        for key, policy in core.vacancies.replace(name, wanted).items():
            before.setdefault(key, policy)
        orders += _route_changes(core, name, _routes(core, peer) if peer and peer.enabled else frozenset())
    for key, was in before.items():
        now = core.vacancies.beneath(key)
        if key in core.ownership.owners or was == now:
            continue
        if now is not None:
            orders.append(AddPolicy(now))
        elif was is not None:
            orders.append(RemovePolicy(was))
    _apply(core, orders)


def _route_changes(core: Core, name: str, wanted: frozenset[Route]) -> list[Order]:
    had = core.vacancies.routes.pop(name, frozenset())
    if wanted:
        core.vacancies.routes[name] = wanted
    return [*map(AddRoute, sorted(wanted - had)), *map(RemoveRoute, sorted(had - wanted))]


def _routes(core: Core, peer: Peer) -> frozenset[Route]:
    """What is routed into an XFRM interface finds no policy there and is dropped, if only it is routed there.

    A trap is only met by what has a route: it has the one that its CHILD_SA would have.
    """
    place = next((place for place in peer.places if place not in peer.names), "")
    found: list[Route] = []
    for child in peer.children:
        stands = (peer.name, Interface(child.interface_name, child.interface_id)) in core.interfaces
        if child.interface_id and stands and child.when_down is WhenDown.DROP:
            found += make_routes(child, child.local, child.remote, place)
        elif not child.interface_id and child.start == Start.ON_DEMAND and peer.name in core.traps:
            found += make_routes(child, child.local, child.remote, core.traps[peer.name][1])
    return frozenset(found)


def _apply(core: Core, orders: list[Order]) -> None:
    """All at once; where the data plane refuses something, the rest still goes in, and what does not is told."""
    if not orders:
        return
    with contextlib.suppress(Refused):
        core.plane.apply(orders)
        return
    for order in orders:
        try:
            core.plane.apply([order])
        except Refused as refused:
            what = "what should be dropped while a tunnel is down is not"
            if isinstance(order, AddRoute):
                what = "traffic for a tunnel that is down may have no route"
                _forget(core, order.route)
            core.event("data-plane.refused", f"{what}: {refused.why}")


def _forget(core: Core, route: Route) -> None:
    """What was refused is not there to be removed, and is tried again the next time."""
    core.vacancies.routes = {name: routes - {route} for name, routes in core.vacancies.routes.items()}


def _when_down(core: Core, peer: Peer) -> tuple[Policy, ...]:
    """Of all children, by key: of two that would lie in one place the one that makes a CHILD_SA wanted."""
    found: dict[PolicyKey, Policy] = {}
    for child in peer.children:
        if child.when_down is WhenDown.DROP and not child.interface_id:
            found.update((policy.key, policy) for policy in _drops(core, peer, child))
    for child in peer.children:
        if child.start == Start.ON_DEMAND and peer.name in core.traps:
            found.update((policy.key, policy) for policy in _traps(core, peer, child))
    return tuple(found.values())


def _drops(core: Core, peer: Peer, child: Child) -> Iterable[Policy]:
    """They depend on the selectors alone. What is routed into an XFRM interface is dropped there without a policy."""
    remote = child.remote if child.mode is Mode.TUNNEL else tuple(narrow(child.remote, _places(peer)))
    if not child.remote:  # an address that nobody holds at the moment is nowhere else either
        remote = tuple(selector for pool in core.snapshot.all_pools_of(peer) for selector in pool.selectors)
    for policy in make_policies(child, child.local, remote, "", "", 0, 0):
        yield policy._replace(spi=None, action=Action.DROP, mode=Mode.TUNNEL)


def _places(peer: Peer) -> list[Selector]:
    """Where the peer can be, as far as its configuration tells; transport mode has nothing to do with other hosts."""
    found = []
    for place in peer.remote_addresses:
        with contextlib.suppress(InvalidSelector):  # a DNS name
            found.append(Selector.parse(place))
    return found


def _traps(core: Core, peer: Peer, child: Child) -> Iterable[Policy]:
    """OUT policies without a state: the first packet makes the data plane ask for one (Acquire)."""
    here, there = core.traps[peer.name]
    local, remote = ends(child, here, there)
    return make_policies(child, local, remote, here, there, core.reqid(peer.name, child.name), None)
