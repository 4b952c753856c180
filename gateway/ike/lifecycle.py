"""How an IKE SA and its children come to stand and end: the effects of each transition, in one place."""

from gateway.crypto.keys import ike_keys, skeyseed
from gateway.ike import attempt_log
from gateway.ike.abilities import Ability
from gateway.ike.asking import withdraw
from gateway.ike.attempts import Outcome, Step
from gateway.ike.auth_lifetime import watch_proof
from gateway.ike.children import EARLY, remove
from gateway.ike.core import Core
from gateway.ike.effects import Entered, KeysMade, Left
from gateway.ike.flow import Closed
from gateway.ike.nat import keep_alive
from gateway.ike.protect import Protection
from gateway.ike.sa import IkeSa, Lifecycle, Task
from gateway.ike.virtual_addresses import give_back, let_go
from gateway.policy.choice import Chosen

_MAY_COME_BACK = frozenset({"timeout", "timeout-auth", "unreachable", "peer-restarted", "address-changed"})
"""Causes for which an IKE SA ends with nobody having wanted it: a ticket of it may bring it back (RFC 5723 6.2)."""
_LEFTOVERS = 16
"""How many IKE SAs of one pair of identities may wait for a delete, or for its answer."""
_TIMERS = (
    "half-open",
    "liveness",
    "keepalive",
    "rekey",
    "retransmit",
    "linger",
    "sent-on",
    "reauth",
    "post-quantum",
    "proof-ends",
    "supplanted",
    "follow-up",
    "crossing",
    "fruitless",
)
"""All that may be set for an IKE SA as a whole."""


def establish(core: Core, sa: IkeSa) -> None:
    """CONNECTING to ESTABLISHED: both ends are proven."""
    core.no_longer_half_open(sa)
    if not sa.initiator and sa.chosen and sa.chosen.ke:
        core.admission.proven(sa.init_source[0], sa.chosen.ke, core.now)
    sa.state = Lifecycle.ESTABLISHED
    sa.established = sa.last_heard = sa.aged = core.now
    core.timers.cancel(("half-open", sa))
    # RFC 7296 2.4: what is needed only to prove the first exchanges goes
    sa.nonce_i = sa.nonce_r = sa.init_request = sa.init_response = b""
    sa.intermediate = None
    assert sa.peer is not None and sa.chosen is not None and sa.keys is not None
    sa.keys = sa.keys.without_proofs()
    core.proven(sa)
    if not sa.peer.virtual_ip:  # else it is of use when there is an address
        core.failures.pop(sa.peer.name, None)
    watch(core, sa)
    keep_alive(core, sa)
    core.event(
        "ike-sa.established",
        f"IKE SA with {sa.peer.name} established ({sa.chosen.keywords}), {sa.path.text}",
        sa.peer.name,
        ike_sa=sa.id,
    )
    if sa.visit is not None:
        core.out.append(Entered(sa.visit))


def watch(core: Core, sa: IkeSa) -> None:
    """Arm the timers of an established SA from its peer's configuration; long rows of predecessors end here."""
    assert sa.peer is not None and sa.established is not None
    for leftover in core.leftovers(sa)[:-_LEFTOVERS]:
        close(core, leftover, leftover.reason or "too many are waiting for their end", "replaced")
    if sa.peer.dpd_delay:
        core.timers.set(("liveness", sa), core.now + sa.peer.dpd_delay / 2)
    if sa.peer.rekey_time:
        early = sa.peer.rekey_time * (EARLY + (1 - EARLY) * core.chance())
        core.timers.set(("rekey", sa), sa.aged + early)
    watch_proof(core, sa)


def protect(core: Core, sa: IkeSa, chosen: Chosen, shared: bytes) -> None:
    """SKEYSEED and the seven keys (RFC 7296 2.14)."""
    assert chosen.prf is not None
    seed = skeyseed(chosen.prf, sa.nonce_i, sa.nonce_r, shared)
    sa.chosen = chosen
    sa.keys = ike_keys(chosen.prf, seed, sa.nonce_i, sa.nonce_r, sa.spi_i, sa.spi_r, chosen.encr, chosen.integ)
    sa.protection = Protection(chosen.encr, chosen.integ, sa.keys, initiator=sa.initiator, random=core.random)
    keys_made(core, sa, intermediate=1 if sa.intermediate else 0)
    core.reach(sa, Step.ALGORITHMS, chosen.keywords)


def keys_made(core: Core, sa: IkeSa, *, intermediate: int = 0) -> None:
    """Give the IKE SA's keys to the key log, if there is one; `intermediate` as in KeysMade."""
    if core.log_keys and sa.chosen and sa.keys:
        integ = sa.chosen.integ.keyword if sa.chosen.integ else ""
        core.out.append(KeysMade(sa.spi_i, sa.spi_r, sa.chosen.encr.keyword, integ, intermediate, ike=sa.keys))


def close(core: Core, sa: IkeSa, why: str, cause: str = "peer-error") -> None:
    """End an SA at once: its children leave the data plane, every waiting script hears of it, the reason stays."""
    if sa.state == Lifecycle.CLOSED:
        return
    was, sa.state, sa.reason = sa.state, Lifecycle.CLOSED, why
    passing = sa.replaced_by is not None or sa.stands_by is not None
    _end_rivalry(core, sa, why)
    here = [task for task in sa.tasks if task.about_addresses]
    for timer in _TIMERS:
        core.timers.cancel((timer, sa))
    for window in (sa.requests, sa.responses):
        core.timers.cancel(("fragments", sa, window))
        window.discard()
    stop_following(core, sa)
    for child in list(sa.children.values()):
        core.timers.cancel(("rekey-child", sa, child.spi_in))
        remove(core, sa, child, why)
    let_go(core, sa)
    give_back(core, sa)
    core.forget(sa)
    if was != Lifecycle.CONNECTING and cause not in _MAY_COME_BACK:
        # a peer that deletes its SA and comes back with the ticket all the same harms nobody; libreswan does so
        revoke = Ability.HAS_TICKET in sa.abilities and cause in ("stopped", "replaced")
        core.extensions.tickets.ended(sa.our_spi, sa.peer_name or "", core.now, revoke=revoke)
    if sa.attempt and sa.attempt.outcome == Outcome.RUNNING:
        attempt_log.fail(sa.attempt, core.now, cause, why, _step_after(sa))
    sa.tasks.clear()
    withdraw(core, sa)
    _end_scripts(sa)
    _pass_on(core, sa, here)
    if not passing:
        _tell(core, sa, was, why, cause)


def _end_scripts(sa: IkeSa) -> None:
    """Whatever waits for a message of the peer hears that none comes."""
    answering, sa.responses.script, sa.responses.held = sa.responses.script, None, None
    sa.responses.crossing = None
    if answering is not None:
        answering.close()
    waiting = [script for script in (sa.requests.pending and sa.requests.pending.script, sa.requests.waiting) if script]
    sa.requests.pending = sa.requests.waiting = None
    for script in waiting:
        try:
            script.throw(Closed())
        except (Closed, StopIteration):
            continue
        script.close()


def _pass_on(core: Core, sa: IkeSa, here: list[Task]) -> None:
    """The SA that took this one's place may speak now, and says what this one was still to say of addresses."""
    living = sa.replaced_by
    while living is not None and living.replaced_by is not None:
        living = living.replaced_by
    if living is None:
        return
    if living.requests.silent == sa.our_spi:
        living.requests.silent = b""
    elif not here:
        return
    living.tasks[:0] = here
    if not living.requests.busy:
        core.timers.set(("retransmit", living), core.now)  # nothing is under way: it goes on


def _tell(core: Core, sa: IkeSa, was: Lifecycle, why: str, cause: str) -> None:
    """It is over, and no other SA stands in its place."""
    kind = "ike-sa.failed" if was == Lifecycle.CONNECTING else "ike-sa.closed"
    name = sa.peer_name or sa.path.text
    core.event(
        kind,
        f"IKE SA with {name} {'failed' if was == Lifecycle.CONNECTING else 'closed'}: {why}",
        sa.peer_name,
        ike_sa=sa.id,
        attempt=sa.attempt.id if sa.attempt else None,
        cause=sa.attempt.cause if sa.attempt else cause,
        why=why,
    )
    if sa.visit is not None and was != Lifecycle.CONNECTING:
        core.out.append(Left(sa.visit, cause, why))
    if sa.peer:
        core.closed_peers.append((sa.peer.name, was))


def stop_following(core: Core, sa: IkeSa) -> None:
    """What the peer began with a CREATE_CHILD_SA and did not go on with is forgotten (RFC 9370 2.2.4)."""
    following = core.extensions.following.pop(sa.id, None)
    if following is not None:
        core.timers.cancel(("follow-up", sa))
        following.abandon()


def _end_rivalry(core: Core, sa: IkeSa, why: str) -> None:
    """Of two SAs that are to replace `sa` none comes to be; or `sa` is one of them and leaves it to the other."""
    renewal, sa.renewal = sa.renewal, None
    if renewal is not None and renewal.rival is not None:
        close(core, renewal.rival, why)
    old, sa.stands_by = sa.stands_by, None
    if old is not None and old.renewal is not None and old.renewal.rival is sa:
        old.renewal.rival = None


def _step_after(sa: IkeSa) -> Step:
    """The station that the attempt had not yet passed."""
    passed = {taken.step for taken in sa.attempt.steps} if sa.attempt else set()
    return next((step for step in Step if step not in passed), Step.INSTALL)
