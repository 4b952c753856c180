"""The whole configuration as one frozen, indexed value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.policy.access import Access, AccessProfile, access_of, by_group
from gateway.policy.authentication import Authority, Credential
from gateway.policy.identities import Identity, IdentityPattern, rank_of
from gateway.policy.peers import Peer, Psk, Shunt
from gateway.policy.pools import Pool
from gateway.policy.ppks import Ppk
from gateway.policy.quantum import PREFERRED, PostQuantum
from gateway.policy.radius import RadiusServer
from gateway.policy.users import User, user_identity

_PATHS_KEPT = 1024


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
        by_address, anywhere = _by_address(ordered.values())
        keys = tuple(psks)
        by_remote, patterns = _by_remote(keys)
        people = tuple(users)
        by_identity: dict[object, User] = {
            one.canonical: user for user in people for one in (user_identity(user.name), *user.identities)
        }
        profiles = {profile.name: profile for profile in access_profiles}
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
            by_address,
            anywhere,
            by_remote,
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

    def psks_that_may_name(self, remote: Identity) -> tuple[Psk, ...]:
        """Every key that can be for this identity, and some that are not."""
        return self._psk_by_remote.get(remote.canonical, ()) + self._psk_patterns

    def psk_for(self, local: Identity, remote: Identity) -> Psk | None:
        """The key for this pair of identities: naming both beats naming the peer, which beats a wildcard."""
        best: tuple[int, Psk] | None = None
        for psk in self.psks_that_may_name(remote):
            theirs, ours = rank_of(psk.remote_ids, remote), rank_of(psk.local_ids, local)
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
        ours = [(rank, psk) for psk in self.psks if (rank := rank_of(psk.local_ids, local)) is not None]
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


def _by_address(peers: Iterable[Peer]) -> tuple[dict[str, tuple[Peer, ...]], tuple[Peer, ...]]:
    """Those that are enabled, by the addresses that they are at; and those that may be elsewhere too."""
    found: dict[str, list[Peer]] = {}
    anywhere: list[Peer] = []
    for peer in peers:
        if not peer.enabled:
            continue
        exact = [wanted for wanted in peer.remote_addresses if _is_address(wanted)]
        for wanted in exact:
            found.setdefault(wanted, []).append(peer)
        if len(exact) < len(peer.remote_addresses) or not peer.remote_addresses:
            anywhere.append(peer)
    return {address: tuple(there) for address, there in found.items()}, tuple(anywhere)


def _is_address(text: str) -> bool:
    return "/" not in text and (":" in text or text.replace(".", "").isdecimal())


def _by_remote(psks: Iterable[Psk]) -> tuple[dict[object, tuple[Psk, ...]], tuple[Psk, ...]]:
    """By the identities that they name; and those that name some by a pattern."""
    found: dict[object, list[Psk]] = {}
    patterned: list[Psk] = []
    for psk in psks:
        for pattern in psk.remote_ids:
            if pattern.exact is not None:
                found.setdefault(pattern.exact.canonical, []).append(psk)
        if not psk.remote_ids or any(pattern.exact is None for pattern in psk.remote_ids):
            patterned.append(psk)
    return {identity: tuple(named) for identity, named in found.items()}, tuple(patterned)
