"""From when an SA's lifetime counts, and what becomes of that where the configuration gives it another one.

A lifetime that is changed drops nothing: who is older than the new one is rekeyed soon, as if it had just come to the
last tenth of it.
"""

from gateway.ike import auth_lifetime
from gateway.ike.children import EARLY, arm
from gateway.ike.core import Core
from gateway.ike.driver import start
from gateway.ike.lifecycle import watch
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle, Task
from gateway.policy.peers import Peer


def _shifted(aged: float, now: float, lifetime: float) -> float:
    return max(aged, now - EARLY * lifetime)


def child_changed(core: Core, sa: IkeSa, child: ChildSa) -> None:
    """The CHILD_SA has another rekey time now."""
    if child.deleting or child.superseded:
        return
    child.aged = _shifted(child.aged, core.now, child.config.rekey_time)
    arm(core, sa, child)


def sa_changed(core: Core, sa: IkeSa, before: Peer) -> None:
    """The established IKE SA's peer was configured so before."""
    assert sa.peer is not None
    if sa.peer.rekey_time != before.rekey_time:
        sa.aged = _shifted(sa.aged, core.now, sa.peer.rekey_time)
        if not sa.peer.rekey_time:
            core.timers.cancel(("rekey", sa))
    watch(core, sa)
    if sa.peer.reauth_time != before.reauth_time and sa.state is Lifecycle.ESTABLISHED:
        auth_lifetime.changed(core, sa)
        if sa.peer.reauth_time and not auth_lifetime.called(sa):
            start(core, sa, Task("telling how long an authentication holds", auth_lifetime.tell_anew))
