"""When an SA has lived long enough, or carried enough: rekeyed in time, made anew where that fails, ended at last."""

from gateway.ike import people, reauth
from gateway.ike.children import TWINS, claim, end_linger, remove, same_traffic, watch_twins
from gateway.ike.core import Core
from gateway.ike.driver import start
from gateway.ike.exchanges.child import create_child
from gateway.ike.exchanges.informational import delete_child, delete_sa, delete_spi
from gateway.ike.exchanges.rekey import rekey_sa
from gateway.ike.plane import StateKey
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle, Reauth, Task
from gateway.ike.supervise import connect
from gateway.ike.uniqueness import supplant

ANEW = 1.1
"""From this part of its rekey time on, a CHILD_SA that could not be rekeyed is made anew without REKEY_SA."""
HARD = 1.25
"""At this part of its rekey time an SA ends, whatever became of its rekeys (RFC 7296 2.8)."""


def due(core: Core, key: object) -> None:
    """A timer of this module's, or of what it looks after, has come."""
    match key:
        case ("rekey", IkeSa() as sa):
            _sa_due(core, sa)
        case ("reauth", IkeSa() as sa):
            reauth.due(core, sa)
        case ("rekey-child", IkeSa() as sa, int() as spi):
            if child := sa.children.get(spi):
                _child_due(core, sa, child)
        case ("supplanted", IkeSa() as sa):
            supplant(core, sa)
        case ("claim", ChildSa() as child):
            claim(core, child)
        case ("linger", ChildSa() as child):
            end_linger(core, child)
        case ("twins", IkeSa() as sa, str() as name):
            _end_twins(core, sa, name)
        case ("create-child", str() as peer, str() as name):
            _create(core, peer, name)
        case ("people",):
            people.cut(core)


def rekey_ike(core: Core, sa: IkeSa) -> None:
    """Replace this IKE SA, unless another one has taken its place before its turn comes."""

    async def rekey(now: IkeSa) -> None:
        if now is sa:
            await rekey_sa(core, now)

    if sa.state == Lifecycle.ESTABLISHED and sa.renewal is None:
        start(core, sa, Task("rekeying the IKE SA", rekey))


def rekey_child(core: Core, sa: IkeSa, child: ChildSa, *, anew: bool = False) -> bool:
    """Begin to replace a CHILD_SA; whether it has to be, and is still configured."""
    config = sa.peer.child(child.name) if sa.peer else None
    if config is None or child.rekeying or child.deleting or child.superseded:
        return False
    label = f"rekeying CHILD_SA {child.name}"
    start(core, sa, Task(label, lambda sa: create_child(core, sa, config, child, anew=anew)))
    return True


def expired(core: Core, key: StateKey, reqid: int, *, hard: bool) -> None:
    """The data plane says that a state has carried enough (soft), or that it is gone (hard)."""
    for sa in core.sas_of_reqid(reqid):
        for child in list(sa.children.values()):
            if key not in (child.inbound.key, child.outbound.key):
                continue
            if not hard:
                rekey_child(core, sa, child)
            elif not rekey_child(core, sa, child, anew=True):
                start(core, sa, _deleting(core, child))


def _deleting(core: Core, child: ChildSa) -> Task:
    why = "its lifetime is over"
    return Task("deleting an expired CHILD_SA", lambda sa: delete_child(core, sa, child, why, replaced=True))


def _sa_due(core: Core, sa: IkeSa) -> None:
    if sa.state != Lifecycle.ESTABLISHED or sa.peer is None or sa.established is None or not sa.peer.rekey_time:
        return
    end = sa.aged + sa.peer.rekey_time * HARD
    if core.now >= end:
        _end_of_life(core, sa)
        return
    core.timers.set(("rekey", sa), end)
    rekey_ike(core, sa)


def _end_of_life(core: Core, sa: IkeSa) -> None:
    """No rekey came about: a new IKE SA is made while this one stands, once; then it ends."""
    tried = sa.reauth is not None and core.timers.when(("reauth", sa)) is not None
    sa.reauth = sa.reauth or Reauth()
    if tried or not reauth.begin(core, sa):
        delete_sa(core, sa, "its lifetime is over, and it could not be rekeyed")
        return
    core.timers.set(("rekey", sa), core.now + reauth.AGAIN)


def _child_due(core: Core, sa: IkeSa, child: ChildSa) -> None:
    lifetime = child.config.rekey_time
    end = child.aged + lifetime * HARD
    if core.now >= end:
        why = "its lifetime is over, and it could not be rekeyed"
        remove(core, sa, child, why, quiet=child.superseded)
        delete_spi(core, sa, child.spi_in)
        if sa.peer and not child.superseded:
            core.children_lost.append((sa.peer.name, child.name))
        return
    core.timers.set(("rekey-child", sa, child.spi_in), end)
    rekey_child(core, sa, child, anew=core.now >= child.aged + lifetime * ANEW)


def _end_twins(core: Core, sa: IkeSa, name: str) -> None:
    """Two CHILD_SAs for the same packets have stood for long, and neither end has deleted one: the older goes."""
    sa = sa.living
    if sa.state != Lifecycle.ESTABLISHED:
        return
    found = [child for child in sa.children.values() if child.name == name]
    for index, child in enumerate(found):
        newer = [other for other in found[index + 1 :] if same_traffic(other, child)]
        if not newer:
            continue
        due = min(_since(child, other) for other in newer) + TWINS
        watch_twins(core, sa, name, due if due > core.now else core.now + TWINS)
        if due <= core.now and not child.deleting:
            start(core, sa, _deleting(core, child))


def _since(older: ChildSa, newer: ChildSa) -> float:
    """Since when there are two: a rekey of one of them makes no new pair, and that of a single one is none for long."""
    if older.successor is newer or not newer.doubled:
        return newer.installed
    return max(older.doubled, newer.doubled)


def _create(core: Core, name: str, child: str) -> None:
    """The peer was too busy to make this child; perhaps it is not any more, or nobody wants it any more."""
    peer = core.snapshot.peers.get(name)
    config = peer.child(child) if peer else None
    if peer is None or config is None or not peer.enabled or {(name, None), (name, child)} & core.held:
        return
    connect(core, peer, [config])
