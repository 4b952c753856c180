"""A child that is being made may be wanted no longer when it could stand."""

from gateway.ike import reasons
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa


def unwanted(core: Core, sa: IkeSa, child: str) -> str:
    """Why nobody wants a child of this name any more; empty while somebody does."""
    peer = core.snapshot.peers.get(sa.peer_name or "")
    if peer is None or peer.child(child) is None:
        return reasons.REMOVED
    return reasons.DISCONNECTED if {(peer.name, None), (peer.name, child)} & core.held else ""
