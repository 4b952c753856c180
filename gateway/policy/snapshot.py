"""The whole configuration as one frozen, indexed value, and the difference between two of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.peers import Peer, Psk, Shunt


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
    _by_address: Mapping[str, tuple[Peer, ...]] = field(default_factory=dict, repr=False, compare=False)
    _anywhere: tuple[Peer, ...] = field(default=(), repr=False, compare=False)
    _psk_by_remote: Mapping[object, tuple[Psk, ...]] = field(default_factory=dict, repr=False, compare=False)
    _psk_patterns: tuple[Psk, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def build(
        cls,
        revision: int,
        peers: Iterable[Peer],
        psks: Iterable[Psk],
        settings: EngineSettings = EngineSettings(),
        *,
        shunts: Iterable[Shunt] = (),
        blocked: Iterable[str] = (),
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
        patterns = tuple(p for p in keys if not p.remote_ids or any(i.exact is None for i in p.remote_ids))
        return cls(
            revision,
            MappingProxyType(ordered),
            keys,
            settings,
            tuple(shunts),
            tuple(blocked),
            {address: tuple(found) for address, found in by_address.items()},
            tuple(anywhere),
            {identity: tuple(found) for identity, found in by_remote.items()},
            patterns,
        )

    def peers_for(self, local: str, remote: str) -> list[Peer]:
        """Enabled peers that may be at `remote` and be served at `local`, the most particular first."""
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
    """What the engine has to do to move from one snapshot to the next, by peer name."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renegotiate: tuple[str, ...] = ()
    children: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    adjusted: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.added or self.removed or self.renegotiate or self.children or self.adjusted)


def changes(old: Snapshot, new: Snapshot) -> Changes:
    """Compare by meaning: descriptions never count, timers only adjust, a changed child renegotiates that child alone.

    A peer whose key changed is renegotiated: the old proof no longer holds.
    """
    was = {name: peer for name, peer in old.peers.items() if peer.enabled}
    now = {name: peer for name, peer in new.peers.items() if peer.enabled}
    renegotiate, children, adjusted = [], {}, []
    for name in was.keys() & now.keys():
        before, after = was[name], now[name]
        if _negotiated(before) != _negotiated(after) or _keys(old, before) != _keys(new, after):
            renegotiate.append(name)
            continue
        changed = _changed_children(before, after)
        if changed:
            children[name] = changed
        elif before != after:
            adjusted.append(name)
    return Changes(
        tuple(sorted(now.keys() - was.keys())),
        tuple(sorted(was.keys() - now.keys())),
        tuple(sorted(renegotiate)),
        {name: children[name] for name in sorted(children)},
        tuple(sorted(adjusted)),
    )


def _negotiated(peer: Peer) -> Peer:
    """The peer with everything equal that an established IKE SA does not depend on."""
    plain = Peer(peer.name, peer.remote_id, peer.proposals)
    return replace(
        peer,
        children=(),
        description=plain.description,
        dpd_delay=plain.dpd_delay,
        rekey_time=plain.rekey_time,
        retransmission=plain.retransmission,
        unique=plain.unique,
    )


def _changed_children(before: Peer, after: Peer) -> tuple[str, ...]:
    was = {child.name: replace(child, description="", rekey_time=0.0) for child in before.children}
    now = {child.name: replace(child, description="", rekey_time=0.0) for child in after.children}
    return tuple(sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name)))


def _keys(snapshot: Snapshot, peer: Peer) -> frozenset[bytes]:
    """The secrets that could speak for this peer."""
    return frozenset(psk.secret for psk in snapshot.psks if _may_serve(psk, peer))


def _may_serve(psk: Psk, peer: Peer) -> bool:
    if peer.remote_id.exact is not None and _rank(psk.remote_ids, peer.remote_id.exact) is None:
        return False
    return peer.local_id is None or _rank(psk.local_ids, peer.local_id) is not None
