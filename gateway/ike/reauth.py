"""Authenticating again: a new IKE SA with its children first, then the old one goes (RFC 7296 2.8.3, RFC 4478)."""

from gateway.ike.core import Core
from gateway.ike.exchanges.informational import delete_sa
from gateway.ike.parts import all_parts
from gateway.ike.sa import IkeSa, Lifecycle, Reauth
from gateway.ike.supervise import Detour, call
from gateway.policy.peers import Unique

AGAIN = 30.0
"""Seconds after which a reauthentication that came to nothing is tried again."""


def due(core: Core, sa: IkeSa) -> None:
    """The time is up: whoever can call calls, who cannot ends what was not renewed (RFC 4478 2)."""
    if sa.state != Lifecycle.ESTABLISHED or sa.reauth is None:
        return
    if not begin(core, sa):
        delete_sa(core, sa, "it lived for as long as an authentication holds, and was not renewed")


def begin(core: Core, sa: IkeSa) -> bool:
    """Make a new IKE SA beside this one, with the same children; whether that can be done.

    Not where only one may be, and the older stays: then the old one has to go first.
    """
    peer = core.snapshot.peers.get(sa.peer_name or "")
    if peer is None or not peer.dialable or not peer.enabled or peer.unique == Unique.KEEP:
        return False
    if (peer.name, None) in core.held:
        return False
    core.timers.set(("reauth", sa), core.now + AGAIN * (1 + core.chance()))
    if any(other.state == Lifecycle.CONNECTING and other.initiator for other in core.of_peer(peer.name)):
        return True  # one is under way
    names = {child.name for child in sa.children.values()}
    wanted = all_parts(core, peer.name, [child for child in peer.children if child.name in names])
    if not wanted and not peer.childless:
        return False
    new = call(core, peer, wanted, Detour(sa.path.remote, sa, "it was authenticated again"))
    new.reauth = Reauth(before=sa)
    return True
