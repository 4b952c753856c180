"""An IKE SA whose peer was refused its CHILD_SA: RFC 7296 1.2 and 3.15.4 let it stand, and nothing comes through it.

A peer asks for its addresses in IKE_AUTH alone. Who got none there has no use for the IKE SA where every child is for
an address: it has to call again.
"""

from collections.abc import Sequence

from gateway.ike import reasons
from gateway.ike.abilities import Ability
from gateway.ike.access import children_for
from gateway.ike.core import Core
from gateway.ike.exchanges.informational import delete_sa
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.peers import Child, Peer

PATIENCE = 60.0
"""Seconds in which the peer may go by itself, or the configuration may come to have something for it."""


def why(sa: IkeSa) -> str:
    """Why nothing comes through it, as a clause; empty where something does, or nothing was refused."""
    return sa.refusal if sa.refusal and not sa.children else ""


def watch(core: Core, sa: IkeSa, refusal: str) -> None:
    """The peer's first CHILD_SA was refused: look whether it comes to have one."""
    sa.refusal = refusal
    if sa.peer is not None and sa.peer.pools:
        core.timers.set(("fruitless", sa), core.now + PATIENCE)


def due(core: Core, sa: IkeSa) -> None:
    """It goes where its peer can have no child by it, whatever it asks for."""
    if sa.state != Lifecycle.ESTABLISHED or not why(sa):
        return
    if sa.id in core.extensions.following or any(child.remote for child in children_for(core, sa)):
        core.timers.set(("fruitless", sa), core.now + PATIENCE)
        return
    delete_sa(core, sa, reasons.FRUITLESS.format(refusal=sa.refusal))


def gave_no_address(sa: IkeSa, peer: Peer, wanted: Sequence[Child]) -> bool:
    """Whether we called, and the other end gave us no address, which all depends on."""
    ours = Ability.CALLED in sa.abilities and peer.virtual_ip and peer.dialable is not None
    return ours and not (sa.virtual or sa.children) and any(not child.local for child in wanted)
