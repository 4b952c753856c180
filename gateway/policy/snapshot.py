"""The whole configuration as one frozen, indexed value, and the difference between two of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter, is_
from types import MappingProxyType
from typing import Any, TypeVar

from gateway.policy.access import Access, AccessProfile, access_of, by_group
from gateway.policy.authentication import Authority, Credential
from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.peers import Child, Peer, Psk, Shunt
from gateway.policy.pools import Pool
from gateway.policy.ppks import Ppk
from gateway.policy.quantum import PREFERRED, PostQuantum
from gateway.policy.radius import RadiusServer
from gateway.policy.trust import foundations, proofs
from gateway.policy.users import User, user_identity

_PATHS_KEPT = 1024
_Described = TypeVar("_Described", Pool, AccessProfile)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Limits and times of the whole engine; seconds and counts."""

    half_open_timeout: float = 30.0
    half_open_limit: int = 10_000
    half_open_per_source: int = 64
    cookie_threshold: int = 64
    keepalive: float = 20.0
    cookie_lifetime: float = 60.0
    retry_base: float = 2.0
    retry_limit: float = 300.0
    attempts_kept: int = 2_000
    puzzles: bool = False
    redirect_to: str = ""
    """Where peers that can be redirected are sent instead (RFC 5685): an address or a DNS name; empty serves them."""
    post_quantum: PostQuantum = PREFERRED
    """What is demanded of peers that say nothing themselves."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the engine needs to know; never changed, always replaced whole."""

    revision: int = 0
    peers: Mapping[str, Peer] = field(default_factory=lambda: MappingProxyType({}))
    psks: tuple[Psk, ...] = ()
    settings: EngineSettings = EngineSettings()
    shunts: tuple[Shunt, ...] = ()
    blocked: tuple[str, ...] = ()
    """Networks whose datagrams are dropped unread; those that expired are taken out by who builds the snapshot."""
    credentials: Mapping[str, Credential] = field(default_factory=lambda: MappingProxyType({}))
    authorities: Mapping[str, Authority] = field(default_factory=lambda: MappingProxyType({}))
    users: Mapping[str, User] = field(default_factory=lambda: MappingProxyType({}))
    """Whom EAP lets in, by name."""
    radius: tuple[RadiusServer, ...] = ()
    """Asked in this order about those whose EAP is not ours to decide."""
    pools: Mapping[str, Pool] = field(default_factory=lambda: MappingProxyType({}))
    ppks: Mapping[str, Ppk] = field(default_factory=lambda: MappingProxyType({}))
    access_profiles: Mapping[str, AccessProfile] = field(default_factory=lambda: MappingProxyType({}))
    _by_group: Mapping[str, AccessProfile] = field(default_factory=dict, repr=False, compare=False)
    _by_identity: Mapping[object, User] = field(default_factory=dict, repr=False, compare=False)
    _by_address: Mapping[str, tuple[Peer, ...]] = field(default_factory=dict, repr=False, compare=False)
    _anywhere: tuple[Peer, ...] = field(default=(), repr=False, compare=False)
    _psk_by_remote: Mapping[object, tuple[Psk, ...]] = field(default_factory=dict, repr=False, compare=False)
    _psk_patterns: tuple[Psk, ...] = field(default=(), repr=False, compare=False)
    _found: dict[tuple[str, str], tuple[Peer, ...]] = field(default_factory=dict, repr=False, compare=False)
    """What `peers_for` said last: with many peers that may call from anywhere, each call would look at all of them."""

    @classmethod
    def build(  # noqa: PLR0913 - a kind of object each
        cls,
        revision: int,
        peers: Iterable[Peer],
        psks: Iterable[Psk],
        settings: EngineSettings = EngineSettings(),
        *,
        shunts: Iterable[Shunt] = (),
        blocked: Iterable[str] = (),
        credentials: Iterable[Credential] = (),
        authorities: Iterable[Authority] = (),
        users: Iterable[User] = (),
        radius: Iterable[RadiusServer] = (),
        pools: Iterable[Pool] = (),
        ppks: Iterable[Ppk] = (),
        access_profiles: Iterable[AccessProfile] = (),
    ) -> "Snapshot":
        """Index peers by address and keys by identity."""
        ordered = {peer.name: peer for peer in sorted(peers, key=lambda peer: peer.name)}
        by_address: dict[str, list[Peer]] = {}
        anywhere: list[Peer] = []
        for peer in ordered.values():
            if not peer.enabled:
                continue
            exact = [wanted for wanted in peer.remote_addresses if _is_address(wanted)]
            for wanted in exact:
                by_address.setdefault(wanted, []).append(peer)
            if len(exact) < len(peer.remote_addresses) or not peer.remote_addresses:
                anywhere.append(peer)
        keys = tuple(psks)
        by_remote: dict[object, list[Psk]] = {}
        for psk in keys:
            for pattern in psk.remote_ids:
                if pattern.exact is not None:
                    by_remote.setdefault(pattern.exact.canonical, []).append(psk)
        people = tuple(users)
        by_identity: dict[object, User] = {
            one.canonical: user for user in people for one in (user_identity(user.name), *user.identities)
        }
        profiles = {profile.name: profile for profile in access_profiles}
        patterns = tuple(p for p in keys if not p.remote_ids or any(i.exact is None for i in p.remote_ids))
        return cls(
            revision,
            MappingProxyType(ordered),
            keys,
            settings,
            tuple(shunts),
            tuple(blocked),
            MappingProxyType({credential.name: credential for credential in credentials}),
            MappingProxyType({authority.name: authority for authority in authorities}),
            MappingProxyType({user.name: user for user in people}),
            tuple(radius),
            MappingProxyType({pool.name: pool for pool in pools}),
            MappingProxyType({ppk.name: ppk for ppk in ppks}),
            MappingProxyType(profiles),
            by_group(profiles.values()),
            by_identity,
            {address: tuple(found) for address, found in by_address.items()},
            tuple(anywhere),
            {identity: tuple(found) for identity, found in by_remote.items()},
            patterns,
        )

    def pools_of(self, peer: Peer, profile: AccessProfile | None = None) -> list[Pool]:
        """The pools that the peer's addresses come from, in the order of its wish, or of its user's profile."""
        names = profile.pools if profile and profile.pools and peer.pools else peer.pools
        return [self.pools[name] for name in names if name in self.pools]

    def all_pools_of(self, peer: Peer) -> list[Pool]:
        """The pools that addresses come from by this peer, for whomever."""
        further = [name for profile in self.access_profiles.values() for name in profile.pools] if peer.pools else []
        return [self.pools[name] for name in dict.fromkeys((*peer.pools, *further)) if name in self.pools]

    def access_of(self, user: User) -> Access | None:
        """How far the user gets by a profile; None where none is for him, and the peer's children say it all."""
        return access_of(user, self.access_profiles, self._by_group)

    def user_by_identity(self, identity: Identity) -> User | None:
        """Whose identity this is."""
        return self._by_identity.get(identity.canonical)

    def peers_for(self, local: str, remote: str) -> list[Peer]:
        """Enabled peers that may be at `remote` and be served at `local`, the most particular first."""
        known = self._found.get((local, remote))
        if known is None:
            if len(self._found) >= _PATHS_KEPT:
                self._found.clear()
            known = self._found[local, remote] = tuple(self._peers_for(local, remote))
        return list(known)

    def _peers_for(self, local: str, remote: str) -> list[Peer]:
        ranked: list[tuple[int, Peer]] = [(3, peer) for peer in self._by_address.get(remote, ())]
        ranked += [(rank, peer) for peer in self._anywhere if 0 < (rank := peer.accepts_address(remote)) < 3]
        served = [(rank, peer) for rank, peer in ranked if not peer.local_addresses or local in peer.local_addresses]
        served.sort(key=lambda entry: -entry[0])
        return [peer for _, peer in served]

    def psk_for(self, local: Identity, remote: Identity) -> Psk | None:
        """The key for this pair of identities: naming both beats naming the peer, which beats a wildcard."""
        best: tuple[int, Psk] | None = None
        candidates = self._psk_by_remote.get(remote.canonical, ()) + self._psk_patterns
        for psk in candidates:
            theirs, ours = _rank(psk.remote_ids, remote), _rank(psk.local_ids, local)
            if theirs is None or ours is None:
                continue
            score = 4 * theirs + ours
            if best is None or score > best[0]:
                best = (score, psk)
        return best[1] if best else None

    def psk_for_unknown(self, local: Identity, wanted: IdentityPattern, address: Identity) -> Psk | None:
        """The key to call a peer whose identity we learn only from its answer; `wanted` is the pattern it must fit.

        First a key for this very pattern, then one that names the peer's address, then the only key whose identities
        the pattern means, then a wildcard.
        """
        ours = [(rank, psk) for psk in self.psks if (rank := _rank(psk.local_ids, local)) is not None]
        same = [(rank, psk) for rank, psk in ours if any(pattern.text == wanted.text for pattern in psk.remote_ids)]
        if same:
            return max(same, key=lambda entry: entry[0])[1]
        by_address = self.psk_for(local, address)
        if by_address is not None and any(pattern.exact is not None for pattern in by_address.remote_ids):
            return by_address
        meant = [(rank, psk) for rank, psk in ours if any(p.exact and wanted.matches(p.exact) for p in psk.remote_ids)]
        closest = max((rank for rank, _ in meant), default=0)
        only = [psk for rank, psk in meant if rank == closest]
        return only[0] if len(only) == 1 else by_address


def _is_address(text: str) -> bool:
    return "/" not in text and (":" in text or text.replace(".", "").isdecimal())


def _rank(patterns: Sequence[IdentityPattern], identity: Identity) -> int | None:
    """None when no pattern fits; an empty list fits anybody, least of all."""
    if not patterns:
        return 0
    return max((1 + pattern.rank for pattern in patterns if pattern.matches(identity)), default=None)


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
    another_key = _KeyChanges(old, new)
    same_trust = old.authorities == new.authorities
    same_proofs = same_trust and not another_key.any and old.credentials == new.credentials
    renegotiate, children, adjusted, trust = [], {}, [], []
    for name in was.keys() & now.keys():
        before, after = was[name], now[name]
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
    gone, come = _shunt_changes(old.shunts, new.shunts)
    return Changes(
        added=tuple(sorted(now.keys() - was.keys())),
        removed=tuple(sorted(was.keys() - now.keys())),
        renegotiate=tuple(sorted(renegotiate)),
        children={name: children[name] for name in sorted(children)},
        adjusted=tuple(sorted(adjusted)),
        shunts_removed=gone,
        shunts_added=come,
        blocked_removed=tuple(sorted(set(old.blocked) - set(new.blocked))),
        blocked_added=tuple(sorted(set(new.blocked) - set(old.blocked))),
        settings=_changed_settings(old.settings, new.settings),
        trust=tuple(sorted(set(trust) - set(renegotiate))),
        pools=_changed(old.pools, new.pools),
        access_profiles=_changed(old.access_profiles, new.access_profiles),
        users=tuple(
            sorted(name for name in old.users.keys() | new.users.keys() if old.users.get(name) != new.users.get(name))
        ),
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
    was = {child.name: _negotiated_child(child) for child in before.children}
    now = {child.name: _negotiated_child(child) for child in after.children}
    return tuple(sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name)))


def _shunt_changes(old: Sequence[Shunt], new: Sequence[Shunt]) -> tuple[tuple[Shunt, ...], tuple[Shunt, ...]]:
    was = {shunt.name: replace(shunt, description="") for shunt in old}
    now = {shunt.name: replace(shunt, description="") for shunt in new}
    differing = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
    return tuple(was[name] for name in differing if name in was), tuple(now[name] for name in differing if name in now)


def _changed_settings(old: EngineSettings, new: EngineSettings) -> tuple[str, ...]:
    return tuple(one.name for one in fields(old) if getattr(old, one.name) != getattr(new, one.name))


def _changed(old: Mapping[str, _Described], new: Mapping[str, _Described]) -> tuple[str, ...]:
    """Compared by meaning; those that came or went count as changed."""

    def meaning(thing: _Described | None) -> _Described | None:
        return replace(thing, description="") if thing else None

    names = old.keys() | new.keys()
    return tuple(sorted(name for name in names if meaning(old.get(name)) != meaning(new.get(name))))


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
    if exact is None:
        return snapshot.psks
    return (*snapshot._psk_by_remote.get(exact.canonical, ()), *snapshot._psk_patterns)


def _keys(snapshot: Snapshot, peer: Peer) -> frozenset[bytes]:
    """The secrets that could speak for this peer."""
    return frozenset(psk.secret for psk in _candidates(snapshot, peer) if _may_serve(psk, peer))


def _may_serve(psk: Psk, peer: Peer) -> bool:
    if peer.remote_id.exact is not None and _rank(psk.remote_ids, peer.remote_id.exact) is None:
        return False
    return peer.local_id is None or _rank(psk.local_ids, peer.local_id) is not None
