"""Which peer is it that calls? Each entry that came into question, and why it fell out."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from gateway.ike.attempts import Considered, Step
from gateway.ike.authentication.claims import ours
from gateway.ike.authentication.proof import fits
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import Method
from gateway.policy.choice import permitted
from gateway.policy.identities import Identity
from gateway.policy.peers import Peer
from gateway.wire import payloads as wire
from gateway.wire.numbers import NotifyType

_FAILED = NotifyType.AUTHENTICATION_FAILED
_LOOKED_AT = 512
"""Entries that are held against a caller who fits none: to compare all of many thousands would cost too much."""
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Caller:
    """What an initiator's first IKE_AUTH request says of it."""

    identity: Identity
    wanted: Identity | None
    """Whom it wants to meet."""
    auth: wire.AUTH | None


@dataclass(frozen=True, slots=True)
class _Miss:
    """How far an entry came: the more it fits the higher, with the check that it failed."""

    peer: Peer
    passed: int
    cause: str
    notify: int
    why: str


def find_peer(core: Core, sa: IkeSa, caller: Caller) -> Peer:
    """The peer that the identity, the identity asked of us, address, algorithms and way of proof point to.

    Raises Close; the attempt then has each entry that came into question, the closest first.
    """
    here = core.snapshot.peers_for(sa.path.local, sa.path.remote)
    known = [peer for peer in here if peer.remote_id.matches(caller.identity)]
    known.sort(key=lambda peer: -peer.remote_id.rank)
    if caller.auth is None:  # who will prove himself by EAP may be called as his machine is until then
        named = {peer.name for peer in known}
        known += [peer for peer in here if peer.remote_auth[0].method == Method.EAP and peer.name not in named]
    misses = []
    for peer in known:
        miss = _beyond_identity(sa, peer, caller)
        if miss is None:
            core.assign(sa, peer)
            return peer
        misses.append(miss)
    misses.sort(key=lambda miss: -miss.passed)
    if sa.attempt:
        fell = [(miss.peer, miss.why) for miss in misses] + _elsewhere(core, sa, caller, here)
        sa.attempt.considered = tuple(Considered(peer.name, why) for peer, why in fell[:_SHOWN])
    if not misses:
        why = f"{caller.identity} is none of the peers expected from {sa.path.remote}"
        raise core.give_up(sa, "unknown-identity", Step.IDENTITY, _FAILED, why)
    closest = misses[0]
    core.assign(sa, closest.peer)
    why = f"{caller.identity} does not fit {closest.peer.name}: {closest.why}"
    raise core.give_up(sa, closest.cause, Step.IDENTITY, closest.notify, why)


def _beyond_identity(sa: IkeSa, peer: Peer, caller: Caller) -> _Miss | None:
    """What speaks against an entry whose address and identity fit."""
    assert sa.chosen is not None
    we = ours(sa, peer, caller.wanted)
    if caller.wanted is not None and not we.same(caller.wanted):
        why = f"it wants to speak to {caller.wanted}, and we are {we} for this peer"
        return _Miss(peer, 2, "unknown-identity", _FAILED, why)
    if not permitted(peer.proposals, sa.chosen):
        why = f"{sa.chosen.keywords} was agreed on, which is not accepted for this peer"
        return _Miss(peer, 3, "no-proposal", NotifyType.NO_PROPOSAL_CHOSEN, why)
    if unfit := fits(peer.remote_auth, caller.auth):
        return _Miss(peer, 4, "auth-method", _FAILED, unfit)
    return None


def _elsewhere(core: Core, sa: IkeSa, caller: Caller, here: Sequence[Peer]) -> list[tuple[Peer, str]]:
    """Entries that fall out by their address or identity, or because they are disabled, and why; the closest first."""
    in_place = {peer.name for peer in here[:_LOOKED_AT]}
    named, placed = [], []
    for peer in islice(core.snapshot.peers.values(), _LOOKED_AT):
        same = peer.remote_id.matches(caller.identity)
        if same and peer.name not in in_place:
            named.append((peer, _wrong_place(sa, peer) if peer.enabled else "it is disabled"))
        elif peer.name in in_place and not same:
            placed.append((peer, f"its identity is to be {peer.remote_id}, the caller says {caller.identity}"))
    return named + placed


def _wrong_place(sa: IkeSa, peer: Peer) -> str:
    if not peer.accepts_address(sa.path.remote):
        wanted = ", ".join(peer.remote_addresses[:4])
        return f"it is to call from {wanted}, and the call came from {sa.path.remote}"
    return f"it is to call {', '.join(peer.local_addresses[:4])}, and the call came to {sa.path.local}"
