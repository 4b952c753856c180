"""One IKE SA takes the place of another: what it inherits, and which of two stays (RFC 7296 2.8, 2.8.2, 2.18)."""

from gateway.ike.core import Core
from gateway.ike.driver import next_task
from gateway.ike.exchanges.resume import renew_ticket
from gateway.ike.lifecycle import keys_made, watch
from gateway.ike.nat import keep_alive
from gateway.ike.sa import IkeSa, Lifecycle, Renewal, Task
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import Protocol

_UNCONFIRMED = 5.0
"""Seconds after which a peer that rekeyed the IKE SA should have shown that it has our answer."""


def inherit(core: Core, old: IkeSa, new: IkeSa, *, silent: bool = False) -> None:
    """The new SA takes over children, identities and waiting tasks; the old one only waits for its delete.

    `silent`: the peer asked for the new one, and may not have our answer yet.
    """
    assert new.chosen is not None and old.peer is not None
    for spi, child in old.children.items():
        due = core.timers.when(("rekey-child", old, spi))
        core.timers.cancel(("rekey-child", old, spi))
        new.children[spi] = child
        if due is not None:
            core.timers.set(("rekey-child", new, spi), due)
    old.children = {}
    new.requests.silent = old.our_spi if silent else b""
    here = [task for task in old.tasks if silent and task.about_addresses]
    new.tasks, old.tasks = [task for task in old.tasks if task not in here], here
    new.leases, new.virtual, old.leases, old.virtual = old.leases, old.virtual, (), ()
    new.name_service = old.name_service
    new.peer, new.path, new.nat, new.encapsulate = old.peer, old.path, old.nat, old.encapsulate
    old.state, old.replaced_by, new.stands_by = Lifecycle.REKEYED, new, None
    new.reauth, new.refusal = old.reauth, old.refusal
    for timer in ("reauth", "fruitless"):  # RFC 4478 2: the limit holds for the new one
        if (ends := core.timers.when((timer, old))) is not None:
            core.timers.set((timer, new), ends)
    for timer in ("liveness", "rekey", "keepalive", "reauth", "proof-ends", "fruitless"):
        core.timers.cancel((timer, old))
    core.timers.set(("linger", old), core.now + patience(old))
    core.timers.cancel(("linger", new))
    core.add(new)
    core.proven(new)
    watch(core, new)
    if silent:
        expect_confirmation(core, new)
    keep_alive(core, new)
    new.tasks.append(Task("asking for a ticket", lambda new: renew_ticket(core, new)))
    core.event(
        "ike-sa.rekeyed",
        f"IKE SA with {new.peer_name} rekeyed ({new.chosen.keywords})",
        new.peer_name,
        ike_sa=new.id,
        was=old.id,
    )


def expect_confirmation(core: Core, new: IkeSa) -> None:
    """The peer asked for this SA, and may not get our answer: look soon whether it did.

    Behind a NAT that has a new mapping since, we are nowhere for it: it asks again in vain, until it gives up what it
    knows, the old SA, while we ask by the new one, of which it has not heard. So it is asked by the old one, which
    shows the mapping to both ends, and brings its request and our answer through.
    """
    if new.nat.here and new.peer is not None and new.peer.dpd_delay:
        core.timers.set(("liveness", new), core.now + _UNCONFIRMED)


def patience(sa: IkeSa) -> float:
    """Seconds for which a replaced SA still answers: as long as its peer may ask again."""
    if sa.peer is None:
        return 30.0
    asking = sa.peer.retransmission
    return max(30.0, sum(asking.wait(sent, 1.0) for sent in range(1, asking.tries + 1)))


def begin_to_stand(core: Core, old: IkeSa, new: IkeSa) -> None:
    """The keys of a new SA are made; it can speak and be spoken to, but nothing is its own yet."""
    core.sas[new.our_spi] = new
    keys_made(core, new)
    new.established = new.last_heard = new.aged = core.now
    new.local_id, new.remote_id, new.signature_hashes = old.local_id, old.remote_id, old.signature_hashes
    new.evidence, new.proof_ends = old.evidence, old.proof_ends
    new.eap_identity, new.guest, new.visit = old.eap_identity, old.guest, old.visit


def stand_by(core: Core, old: IkeSa, new: IkeSa) -> None:
    """The peer made `new` while our own rekey of `old` is under way: the nonces, or the peer's deeds, will decide."""
    assert old.renewal is not None
    if (earlier := old.renewal.rival) is not None:
        discard(core, earlier, new)
    old.renewal.rival, new.stands_by = new, old
    core.timers.set(("linger", new), core.now + patience(old))


def adopt(core: Core, old: IkeSa, *, silent: bool = False) -> bool:
    """What the peer made of `old` takes its place, if there is such; our own rekey is forgotten.

    `silent`: the peer has not shown yet that it has our answer.
    """
    rival = old.renewal.rival if old.renewal else None
    if rival is None or old.state != Lifecycle.ESTABLISHED:
        return False
    old.renewal = Renewal()
    inherit(core, old, rival, silent=silent)
    next_task(core, rival)
    return True


def discard(core: Core, loser: IkeSa, winner: IkeSa) -> None:
    """The peer has to delete this one; should it never do so, it ends by itself."""
    loser.stands_by, loser.replaced_by, loser.state = None, winner, Lifecycle.REKEYED
    core.timers.set(("linger", loser), core.now + patience(loser))


def heard(core: Core, sa: IkeSa, request: Message) -> None:
    """Where the peer uses an SA that stands by, it is the one that stays for the peer, unless this is its delete."""
    if sa.stands_by is None:
        return
    if not any(delete.protocol == Protocol.IKE for delete in request.all(wire.Delete)):
        adopt(core, sa.stands_by)
