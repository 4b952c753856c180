"""The difference between two snapshots: what the engine has to do to move from one to the next."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter, is_
from typing import Any, TypeVar

from gateway.policy.access import AccessProfile
from gateway.policy.identities import Identity, rank_of
from gateway.policy.peers import Child, Peer, Psk, Shunt
from gateway.policy.pools import Pool
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.policy.trust import foundations, proofs

_Described = TypeVar("_Described", Pool, AccessProfile)


@dataclass(frozen=True, slots=True)
class Changes:
    """What the engine has to do to move from one snapshot to the next; peers by name.

    A shunt that changed is in both lists: the old one is taken away, the new one laid. `settings` names what differs.
    Peers in `trust` rest on other authorities, revocation lists or public keys than before: an SA whose peer's proof
    does not hold any longer ends, the others stand.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renegotiate: tuple[str, ...] = ()
    children: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    adjusted: tuple[str, ...] = ()
    shunts_removed: tuple[Shunt, ...] = ()
    shunts_added: tuple[Shunt, ...] = ()
    blocked_removed: tuple[str, ...] = ()
    blocked_added: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    access_profiles: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not any(getattr(self, one.name) for one in fields(self))


def changes(old: Snapshot, new: Snapshot) -> Changes:
    """Compare by meaning: descriptions never count, timers only adjust, a changed child renegotiates that child alone.

    A peer whose key changed is renegotiated: the old proof no longer holds. A certificate of ours with other names in
    it counts as another key, one that was renewed does not. The work grows with the number of peers
    plus that of keys; only keys that differ and name their peers by patterns are held against every peer.
    """
    was = {name: peer for name, peer in old.peers.items() if peer.enabled}
    now = {name: peer for name, peer in new.peers.items() if peer.enabled}
    gone, come = _shunt_changes(old.shunts, new.shunts)
    return replace(
        _changes_of_peers(old, new, [(was[name], now[name]) for name in sorted(was.keys() & now.keys())]),
        added=tuple(sorted(now.keys() - was.keys())),
        removed=tuple(sorted(was.keys() - now.keys())),
        shunts_removed=gone,
        shunts_added=come,
        blocked_removed=tuple(sorted(set(old.blocked) - set(new.blocked))),
        blocked_added=tuple(sorted(set(new.blocked) - set(old.blocked))),
        settings=_changed_settings(old.settings, new.settings),
        pools=_changed(old.pools, new.pools),
        access_profiles=_changed(old.access_profiles, new.access_profiles),
        users=_differing(old.users, new.users),
    )


def _changes_of_peers(old: Snapshot, new: Snapshot, both: Sequence[tuple[Peer, Peer]]) -> Changes:
    """Of peers that are enabled in both, as they were and as they are."""
    another_key = _KeyChanges(old, new)
    same_trust = old.authorities == new.authorities
    same_proofs = same_trust and not another_key.any and old.credentials == new.credentials
    renegotiate, children, adjusted, trust = [], {}, [], []
    for before, after in both:
        name = after.name
        if before is after and same_proofs:
            continue
        same = before is after or before == after
        if not (same and same_trust) and foundations(before, old.authorities) != foundations(after, new.authorities):
            trust.append(name)
        if another_key.meets(after) or another_key.speaks(before, after):
            renegotiate.append(name)
        elif same:
            continue
        elif _negotiated(before) != _negotiated(after):
            renegotiate.append(name)
        elif changed := _changed_children(before, after):
            children[name] = changed
        else:
            adjusted.append(name)
    return Changes(
        renegotiate=tuple(renegotiate),
        children=children,
        adjusted=tuple(adjusted),
        trust=tuple(sorted(set(trust) - set(renegotiate))),
    )


# What an established SA takes up as it is. A field that stands in neither set is negotiated.
ADJUSTABLE_OF_PEER = frozenset(
    {
        "description",
        "dpd_delay",
        "rekey_time",
        "retransmission",
        "unique",
        "reauth_time",
        "mobike",
        "fragment_octets",
        "childless",
        "redirect",
        "redirect_to",
        "ppks",
        "post_quantum",
        "resumption",
        "dscp",
        "pools",
    }
)
_PROOFS = frozenset({"local_auth", "remote_auth"})
"""Compared by what they lead to: see `trust`."""
ADJUSTABLE_OF_CHILD = frozenset(
    {"description", "rekey_time", "rekey_octets", "rekey_packets", "idle_timeout", "when_down"}
)
_negotiated: Callable[[Peer], Any] = attrgetter(
    *(one.name for one in fields(Peer) if one.name not in ADJUSTABLE_OF_PEER | _PROOFS | {"children"})
)
_negotiated_child: Callable[[Child], Any] = attrgetter(
    *(one.name for one in fields(Child) if one.name not in ADJUSTABLE_OF_CHILD)
)


def negotiated(peer: Peer, snapshot: Snapshot) -> tuple[object, ...]:
    """All that an established IKE SA with the peer depends on, beside its key: while this is the same, it may stand."""
    return _negotiated(peer), proofs(peer, snapshot.credentials), foundations(peer, snapshot.authorities)


def _changed_children(before: Peer, after: Peer) -> tuple[str, ...]:
    return _differing(
        {child.name: _negotiated_child(child) for child in before.children},
        {child.name: _negotiated_child(child) for child in after.children},
    )


def _differing(was: Mapping[str, object], now: Mapping[str, object]) -> tuple[str, ...]:
    """The names of those that changed, came or went."""
    return tuple(sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name)))


def _shunt_changes(old: Sequence[Shunt], new: Sequence[Shunt]) -> tuple[tuple[Shunt, ...], tuple[Shunt, ...]]:
    was = {shunt.name: replace(shunt, description="") for shunt in old}
    now = {shunt.name: replace(shunt, description="") for shunt in new}
    differing = _differing(was, now)
    return tuple(was[name] for name in differing if name in was), tuple(now[name] for name in differing if name in now)


def _changed_settings(old: EngineSettings, new: EngineSettings) -> tuple[str, ...]:
    return tuple(one.name for one in fields(old) if getattr(old, one.name) != getattr(new, one.name))


def _changed(old: Mapping[str, _Described], new: Mapping[str, _Described]) -> tuple[str, ...]:
    """Compared by meaning."""

    def meant(things: Mapping[str, _Described]) -> dict[str, _Described]:
        return {name: replace(thing, description="") for name, thing in things.items()}

    return _differing(meant(old), meant(new))


class _KeyChanges:
    """The keys in which two snapshots differ, by the identities that they are for; a key's name is no part of it."""

    def __init__(self, old: Snapshot, new: Snapshot) -> None:
        self._old, self._new = old, new
        alike = len(old.psks) == len(new.psks) and all(map(is_, old.psks, new.psks))
        was = {} if alike else {_meaning(psk): psk for psk in old.psks}
        now = {} if alike else {_meaning(psk): psk for psk in new.psks}
        gone = (psk for meaning, psk in was.items() if meaning not in now)
        come = (psk for meaning, psk in now.items() if meaning not in was)
        self._differing = Snapshot.build(0, (), (*gone, *come))
        self._patterned: dict[Identity | None, bool] = {}

    @property
    def any(self) -> bool:
        return bool(self._differing.psks)

    def meets(self, peer: Peer) -> bool:
        """Whether other secrets than before can speak for the peer."""
        if not self.any:
            return False
        if peer.remote_id.exact is not None:
            return self._differ(peer)
        # All that matters of a peer that is known by a pattern is who we are to it.
        if peer.local_id not in self._patterned:
            self._patterned[peer.local_id] = self._differ(peer)
        return self._patterned[peer.local_id]

    def speaks(self, before: Peer, after: Peer) -> bool:
        """Whether one of the ends proves itself otherwise than before."""
        if self._old.credentials == self._new.credentials and (
            before is after or (before.local_auth, before.remote_auth) == (after.local_auth, after.remote_auth)
        ):
            return False
        return proofs(before, self._old.credentials) != proofs(after, self._new.credentials)

    def _differ(self, peer: Peer) -> bool:
        if not any(_may_serve(psk, peer) for psk in _candidates(self._differing, peer)):
            return False
        return _keys(self._old, peer) != _keys(self._new, peer)


def _meaning(psk: Psk) -> tuple[object, ...]:
    return psk.secret, psk.local_ids, psk.remote_ids


def _candidates(snapshot: Snapshot, peer: Peer) -> Iterable[Psk]:
    """The keys that may be for the peer's identity; for a peer known by a pattern, all."""
    exact = peer.remote_id.exact
    return snapshot.psks if exact is None else snapshot.psks_that_may_name(exact)


def _keys(snapshot: Snapshot, peer: Peer) -> frozenset[bytes]:
    """The secrets that could speak for this peer."""
    return frozenset(psk.secret for psk in _candidates(snapshot, peer) if _may_serve(psk, peer))


def _may_serve(psk: Psk, peer: Peer) -> bool:
    if peer.remote_id.exact is not None and rank_of(psk.remote_ids, peer.remote_id.exact) is None:
        return False
    return peer.local_id is None or rank_of(psk.local_ids, peer.local_id) is not None
