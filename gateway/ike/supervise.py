"""Keeping every child in the one state it is wanted in: calling, calling again, and setting traps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gateway.ike import blocking, childless, fruitless, reasons
from gateway.ike.access import as_offered, holds_what_it_may
from gateway.ike.ageing import child_changed, sa_changed
from gateway.ike.attempts import Step
from gateway.ike.children import watch_idleness
from gateway.ike.core import Core
from gateway.ike.driver import start
from gateway.ike.effects import Locate
from gateway.ike.exchanges.auth import authenticate
from gateway.ike.exchanges.child import create_child
from gateway.ike.exchanges.informational import delete_child, delete_sa
from gateway.ike.exchanges.init import open_sa
from gateway.ike.exchanges.intermediate import exchange_more_keys
from gateway.ike.exchanges.resume import TRIES_ANEW, resume_sa
from gateway.ike.flow import ask_where
from gateway.ike.lifecycle import close, stop_following
from gateway.ike.parts import all_parts, parts, stands
from gateway.ike.path import IKE_PORT, Path
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle, Task
from gateway.policy.changes import Changes
from gateway.policy.peers import Child, Peer, Start, Unique


@dataclass(frozen=True, slots=True)
class Detour:
    """Where an IKE SA is made that takes the place of `before`, which goes for this reason when it stands."""

    host: str
    before: IkeSa
    why: str

    @property
    def came_from(self) -> str:
        """The gateway that sends us on (RFC 5685 3), where it is another one."""
        return self.before.path.remote if self.host != self.before.path.remote else ""


async def establish(core: Core, sa: IkeSa, wanted: Sequence[Child], detour: Detour | None = None) -> None:
    """Find the peer, agree on keys, prove both ends; further children follow when the SA stands.

    Who sends us on in IKE_SA_INIT is left for another gateway (RFC 5685 3), with an SPI and keys of its own.
    """
    assert sa.peer is not None and sa.peer.dialable is not None
    host, came_from = sa.path.remote, detour.came_from if detour else ""
    round_number = core.failures[sa.peer.name] // len(sa.peer.places)
    while True:
        local, remote = await ask_where(host, sa.peer.local_addresses, round_number)
        sa.path = Path(local, remote, sa.peer.remote_port, marked=sa.peer.remote_port != IKE_PORT)
        if sa.attempt:
            sa.attempt.local, sa.attempt.remote = local, sa.path.text
        kept = None if detour or came_from else await resume_sa(core, sa)
        tries = TRIES_ANEW if core.extensions.tickets.usable(sa.peer.name, core.now) else 0
        elsewhere = None if kept else await open_sa(core, sa, came_from, tries=tries)
        if elsewhere is None:
            break
        core.renew_spi(sa)
        host, came_from = elsewhere, remote
    await exchange_more_keys(core, sa)
    alone = (sa.peer.childless or not wanted) and childless.offered(sa)
    if not wanted and not alone:
        why = "the peer makes no IKE SA without a CHILD_SA (RFC 6023), and no child is wanted"
        raise core.give_up(sa, "no-child", Step.ALGORITHMS, None, why)
    first, rest = (None, wanted) if alone else (wanted[0], wanted[1:])
    for child in rest:
        sa.tasks.append(_creating(core, child))
    if elsewhere := await authenticate(core, sa, first, kept):
        sa.tasks.clear()
        core.extensions.sent_on.append((sa, elsewhere, tuple(child.name for child in wanted)))
        return
    if detour and sa.state == Lifecycle.ESTABLISHED:
        sa.tasks.append(Task("leaving the old IKE SA", lambda _: _leave(core, detour)))  # when the children are made


async def _leave(core: Core, detour: Detour) -> None:
    """What was made in the place of an IKE SA stands."""
    delete_sa(core, detour.before.living, detour.why)


def _creating(core: Core, child: Child) -> Task:
    return Task(f"creating CHILD_SA {child.name}", lambda sa: create_child(core, sa, child))


def call(core: Core, peer: Peer, wanted: Sequence[Child], detour: Detour | None = None) -> IkeSa:
    """Begin a new IKE SA with the peer and these children; after a failure at the peer's next address or name."""
    places = peer.places
    path = Path("", detour.host if detour else places[core.failures[peer.name] % len(places)], peer.remote_port)
    sa = IkeSa(core.number("ike-sa"), True, path, core.now, core.new_spi(), peer=peer)
    sa.attempt = core.attempts.begin(core.now, "", path.text, initiator=True, peer=peer.name)
    sa.attempt.ike_sa = sa.id
    core.add(sa)
    core.event(
        "ike-sa.connecting", f"calling {peer.name} at {path.text}", peer.name, ike_sa=sa.id, attempt=sa.attempt.id
    )
    start(core, sa, Task("establishing the IKE SA", lambda sa: establish(core, sa, wanted, detour)))
    return sa


def go_on(core: Core, sa: IkeSa, host: str, names: Sequence[str]) -> None:
    """The peer sends us on from an SA that stands: come to stand there first, then leave (RFC 5685 5, 6)."""
    peer = core.snapshot.peers.get(sa.peer_name or "")
    wanted = [child for child in peer.children if child.name in names] if peer else []
    if peer is None or not peer.dialable or (peer.name, None) in core.held:
        return
    call(core, peer, wanted, Detour(host, sa, f"the peer sent us on to {host}"))
    if peer.unique == Unique.KEEP or not sa.children:  # two at once would end the new one; or there is nothing to keep
        delete_sa(core, sa, f"the peer sent us on to {host}")


def _deleting(core: Core, child: ChildSa, why: str) -> Task:
    return Task(f"deleting CHILD_SA {child.name}", lambda sa: delete_child(core, sa, child, why))


def connect(core: Core, peer: Peer, wanted: Sequence[Child]) -> IkeSa | None:
    """Bring up these children: on the SA that stands, on the one under way, or by a call; None when it cannot be."""
    core.held -= {(peer.name, None), *((peer.name, child.name) for child in wanted)}
    sa = core.established(peer.name)
    for one in core.of_peer(peer.name):  # whoever wants it up now need not wait for the end of a call that was refused
        if one.initiator and one.requests.pending and (refusal := one.requests.pending.refusal):
            close(core, one, refusal.why)
    if sa is not None and fruitless.gave_no_address(sa, peer, wanted):
        delete_sa(core, sa, reasons.NO_ADDRESS)
        sa = None
    calling = (one for one in core.of_peer(peer.name) if one.state == Lifecycle.CONNECTING and one.initiator)
    if sa is None and (under_way := next(calling, None)):
        queued = {task.label for task in under_way.tasks}
        tasks = (_creating(core, part) for part in all_parts(core, peer.name, wanted))
        under_way.tasks += [task for task in tasks if task.label not in queued]
        return under_way
    if sa is None:
        if not peer.dialable or not (wanted or peer.childless):
            return None
        core.timers.cancel(("retry", peer.name))
        names = {child.name for child in wanted}  # what is wanted always, and waited for its turn, comes along
        others = [part for part in missing(core, peer) if part.name not in names]
        return call(core, peer, all_parts(core, peer.name, wanted) + others)
    for part in all_parts(core, peer.name, wanted):
        if not stands(core, sa, part):
            start(core, sa, _creating(core, part))
    return sa


def missing(core: Core, peer: Peer) -> list[Child]:
    """Children that are wanted always, or parts of them, and do not stand."""
    sa = core.established(peer.name)
    return [
        part
        for child in peer.children
        if child.start == Start.ALWAYS and (peer.name, child.name) not in core.held
        for part in parts(core, peer.name, child)
        if sa is None or not stands(core, sa, part)
    ]


def keep_up(core: Core, name: str) -> None:
    """What is wanted always and is missing is begun."""
    peer = core.snapshot.peers.get(name)
    if peer is None or not peer.enabled or (name, None) in core.held:
        return
    wanted = missing(core, peer)
    if wanted and (peer.dialable or core.established(name)):
        connect(core, peer, wanted)


def retry_later(core: Core, name: str, *, failed: bool = True) -> None:
    """After a failure or a loss: again, ever later up to a limit, for ever, with jitter so that a fleet spreads out.

    All addresses of a peer are tried before the wait grows.
    """
    peer = core.snapshot.peers.get(name)
    if peer is None or not peer.enabled or (name, None) in core.held or not missing(core, peer):
        return
    limits = core.snapshot.settings
    rounds = core.failures[name] // max(len(peer.places), 1)
    if failed:
        core.failures[name] += 1
    wait = min(limits.retry_limit, limits.retry_base * 2.0 ** min(rounds, 16))
    core.timers.set(("retry", name), core.now + wait * (0.8 + 0.4 * core.chance()))


def disconnect(core: Core, name: str, child: str | None, why: str) -> int:
    """Take a peer, or one of its children, down and leave it down until it is wanted again; how many were ended."""
    ended = 0
    core.held.add((name, child))
    if child is None:
        core.timers.cancel(("retry", name))
    for sa in core.of_peer(name):
        if child is None:
            delete_sa(core, sa, why)
            ended += 1
            continue
        for found in [found for found in sa.children.values() if found.name == child]:
            start(core, sa, _deleting(core, found, why))
            ended += 1
    return ended


def hurry(core: Core) -> None:
    """Our network changed: what waits for its next call, or for the address of its peer, need not wait any longer.

    A request without an answer goes out once more than its patience says, for the way may be free again.
    """
    if not core.rates.hurries.take(core.now):
        return
    for sa in core.sas.values():
        if sa.requests.pending is not None and sa.requests.pending.sent > 1:
            core.send_all(sa.requests.pending.datagrams, sa.path)
    for name in core.snapshot.peers:
        if core.timers.when(("retry", name)) is not None:
            core.timers.set(("retry", name), core.now + core.chance())
        if name in core.traps or core.timers.when(("trap", name)) is not None:
            core.timers.set(("trap", name), core.now + core.chance())


def want_traps(core: Core, name: str) -> None:
    """Trap policies need both outer addresses: ask where they are; `lay_traps` follows. Until then packets drop."""
    peer = core.snapshot.peers.get(name)
    if peer is None or not peer.enabled or peer.dialable is None:
        return
    token = core.number("where")
    core.asked_traps[token] = peer.name
    core.out.append(Locate(token, peer.dialable, peer.local_addresses))


def lay_traps(core: Core, peer: Peer, local: str, remote: str) -> None:
    """The first packet of an on-demand child will make the data plane ask for a CHILD_SA."""
    core.traps[peer.name] = (local, remote)
    blocking.lay(core, [peer.name])


def _hang_up(core: Core, name: str) -> None:
    """A call under way asks for what was wanted when it began; `begin` calls anew."""
    for sa in core.of_peer(name):
        if sa.initiator and sa.state == Lifecycle.CONNECTING:
            close(core, sa, reasons.RECONFIGURED, "stopped")


def obey(core: Core, change: Changes, *, removed: str = reasons.REMOVED) -> None:
    """Move from the last snapshot to this one: only what changed is touched."""
    for name in change.removed:
        disconnect(core, name, None, removed)
        core.traps.pop(name, None)
        _let_go(core, name)
        core.attempts.forget(name)
        core.extensions.redirects.pop(name, None)
        core.extensions.seen.pop(name, None)
        core.extensions.offers.pop(name, None)
    for name in change.renegotiate:
        disconnect(core, name, None, reasons.RECONFIGURED)
        core.traps.pop(name, None)
        _let_go(core, name)
    for name, names in change.children.items():
        for child in names:
            disconnect(core, name, child, reasons.RECONFIGURED)
            core.held.discard((name, child))
            core.single_pairs.discard((name, child))
        _hang_up(core, name)
        _end_stale(core, name, names)
        core.traps.pop(name, None)
    changed = (*change.removed, *change.added, *change.renegotiate, *change.children, *change.adjusted)
    given = [name for name, peer in core.snapshot.peers.items() if not set(change.pools).isdisjoint(peer.pools)]
    blocking.lay(core, dict.fromkeys((*changed, *given)))
    for name in {*change.children, *change.adjusted}:
        core.extensions.fell_back.pop(name, None)
        _refresh(core, name, change.children.get(name, ()))
    _take_back(core, (*change.adjusted, *given))
    for name, names in change.children.items():
        _recreate(core, core.snapshot.peers[name], names)
    for name in (*change.added, *change.renegotiate, *change.children):
        begin(core, name)


def _end_stale(core: Core, name: str, changed: Sequence[str]) -> None:
    """What is under way to children that are others now ends, or is deleted as soon as it stands.

    What the peer began and we answered at once is as it is wanted now.
    """

    async def end(sa: IkeSa) -> None:
        for made in [made for made in sa.children.values() if made.name in changed and made.answered is None]:
            await delete_child(core, sa, made, reasons.RECONFIGURED)

    for sa in core.of_peer(name):
        stop_following(core, sa)
        start(core, sa, Task("deleting CHILD_SAs of before", end))


def _refresh(core: Core, name: str, changed: Sequence[str]) -> None:
    """The peer's IKE SAs and those of its children that stay take up their configuration as it is now."""
    for sa in core.of_peer(name):
        before, sa.peer = sa.peer, core.snapshot.peers[name]
        if sa.state == Lifecycle.ESTABLISHED and before is not None:
            sa_changed(core, sa, before)
        for made in sa.children.values():
            if made.name not in changed:
                _adjust(core, sa, made)


def _take_back(core: Core, names: Iterable[str]) -> None:
    """Who holds an address that he would not be given any more has to ask for another."""
    for sa in [sa for name in dict.fromkeys(names) for sa in core.of_peer(name)]:
        if not holds_what_it_may(core, sa):
            delete_sa(core, sa, reasons.RECONFIGURED)


def _adjust(core: Core, sa: IkeSa, made: ChildSa) -> None:
    """A child that stands takes up what does not need a negotiation."""
    assert sa.peer is not None
    config, was = sa.peer.child(made.name), made.config
    if config is None or (wanted := as_offered(core, sa, config)) == was:
        return
    whole = (wanted.local, wanted.remote) == (was.local, was.remote)
    made.config = wanted if whole else replace(wanted, local=was.local, remote=was.remote)
    watch_idleness(core, sa.peer.name, made)
    if wanted.rekey_time != was.rekey_time:
        child_changed(core, sa, made)


def _recreate(core: Core, peer: Peer, names: Sequence[str]) -> None:
    """After the old child is deleted, its new self is made on the same IKE SA."""
    sa = core.established(peer.name)
    for child in peer.children if sa else ():
        if child.name in names and child.start == Start.ALWAYS and sa:
            for part in parts(core, peer.name, child):
                start(core, sa, _creating(core, part))


def _let_go(core: Core, name: str) -> None:
    """Forget what was held against a peer's old configuration."""
    core.held = {held for held in core.held if held[0] != name}
    core.single_pairs = {pair for pair in core.single_pairs if pair[0] != name}
    core.failures.pop(name, None)
    core.extensions.tickets.drop(name)
    core.extensions.fell_back.pop(name, None)


def begin(core: Core, name: str) -> None:
    """Start what a new or changed peer wants: traps laid, always-on children called."""
    peer = core.snapshot.peers[name]
    if peer.dialable and any(child.start == Start.ON_DEMAND for child in peer.children):
        want_traps(core, name)
    keep_up(core, name)
