"""XFRM interfaces of route-based children: there from the peer's configuration on, until it goes."""

from gateway.ike.core import Core
from gateway.ike.plane import AddInterface, Interface, Refused, RemoveInterface
from gateway.policy.peers import Child
from gateway.policy.snapshot import Snapshot

Wishes = set[tuple[str, Interface]]
"""By peer, so that an interface of two peers stays until both are gone."""


def wanted(snapshot: Snapshot) -> Wishes:
    """What the enabled peers' children want."""
    return {
        (peer.name, Interface(child.interface_name, child.interface_id))
        for peer in snapshot.peers.values()
        if peer.enabled
        for child in peer.children
        if child.interface_id
    }


def make_interfaces(core: Core) -> None:
    """Before a new configuration is obeyed: make those that it adds."""
    for peer, interface in sorted(wanted(core.snapshot) - core.interfaces):
        try:
            _make(core, peer, interface)
        except Refused as refused:
            core.event("data-plane.refused", f"could not make interface {interface.name}: {refused.why}", peer)


def unmake_interfaces(core: Core) -> None:
    """After a new configuration was obeyed: take away those that it has no more."""
    for peer, interface in sorted(core.interfaces - wanted(core.snapshot)):
        core.interfaces.discard((peer, interface))
        try:
            core.plane.apply([RemoveInterface(interface)])
        except Refused as refused:
            core.event("data-plane.refused", f"could not remove interface {interface.name}: {refused.why}", peer)


def need_interface(core: Core, peer: str, child: Child) -> None:
    """A route-based child without its interface would carry nothing: make what could not be made before, or refuse."""
    if child.interface_id:
        interface = Interface(child.interface_name, child.interface_id)
        if (peer, interface) not in core.interfaces:
            _make(core, peer, interface)


def _make(core: Core, peer: str, interface: Interface) -> None:
    core.plane.apply([AddInterface(interface)])
    core.interfaces.add((peer, interface))
