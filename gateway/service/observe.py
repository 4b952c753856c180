"""Turns the engine's state and the data plane's counters into the one frozen status."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType

from gateway.dataplane.driver import Driver
from gateway.ike import quantum
from gateway.ike.abilities import Ability
from gateway.ike.access import access_of, as_offered, user_of
from gateway.ike.attempts import Attempt, Outcome
from gateway.ike.claims import rivals
from gateway.ike.driver import waiting_for
from gateway.ike.effects import Event
from gateway.ike.engine import Engine
from gateway.ike.modes import networks_text
from gateway.ike.parts import parts, stands, unmet
from gateway.ike.plane import Counters, RuleCounters, StateKey
from gateway.ike.reasons import TAKEN_AWAY
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle
from gateway.ike.standing import Standing
from gateway.policy.peers import Child, Peer, Start
from gateway.policy.visits import Visit
from gateway.service.status import (
    AccessStatus,
    ChildSaStatus,
    IkeSaStatus,
    PeerStatus,
    Status,
    TunnelState,
    WantedChildStatus,
)

_NOTHING = Counters()
_FRESH = 1.0
_CARRYING = (Lifecycle.ESTABLISHED, Lifecycle.REKEYED)
_STANDING_WORDS = {  # the weakest first
    Standing.CLASSICAL: "classical",
    Standing.PPK: "PPK",
    Standing.HYBRID: "hybrid",
    Standing.ML_KEM: "post-quantum",
}
_LOOKS = 500
"""Peers that are looked at in one go: ten milliseconds' worth."""
_SILENT = 3
"""Transmissions of a request without an answer after which a tunnel is not called up any more."""


@dataclass(slots=True)
class _Carried:
    """What one child's CHILD_SAs carried so far: octets in, out, packets in, out."""

    ended: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    living: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)

    def total(self) -> tuple[int, int, int, int]:
        sums = [a + sum(now[i] for now in self.living.values()) for i, a in enumerate(self.ended)]
        return sums[0], sums[1], sums[2], sums[3]


class Observer:
    """Keeps the counters that outlive a rekey, and says how it is now."""

    def __init__(
        self,
        engine: Engine,
        plane: Driver,
        clock: Callable[[], float],
        offset: Callable[[], float],
        unsent: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`clock` plus `offset` is Unix time; `unsent` tells why nothing can be sent to an address now."""
        self._engine = engine
        self._unsent = unsent
        self._plane = plane
        self._clock = clock
        self._offset = offset
        self._carried: dict[tuple[str, str], _Carried] = defaultdict(_Carried)
        self._of_visits: dict[Visit, _Carried] = defaultdict(_Carried)
        self._since: dict[str, tuple[TunnelState, float]] = {}
        self._stirred: dict[str, float] = {}
        """Peers to which something happened since they were last looked at, and when."""
        self._dumped = float("-inf")
        self._there: frozenset[StateKey] = frozenset()
        self._ruled: Mapping[str, RuleCounters] = {}
        self._trouble = ""

    def refresh(self, *, force: bool = False) -> None:
        """Dump the data plane's counters, at most once a second unless forced."""
        now = self._clock()
        if not force and now - self._dumped < _FRESH:
            return
        self._dumped = now
        counters = self._plane.counters()
        self._ruled = self._plane.rule_counters()
        self._there, self._trouble = frozenset(counters), self._plane.trouble()
        seen: set[int] = set()
        for sa in self._engine.ike_sas():
            for child in sa.children.values():
                seen.add(child.id)
                count = self._carried[sa.peer_name or "", child.name].living[child.id] = _count(counters, child)
                if sa.visit is not None:
                    self._of_visits[sa.visit].living[child.id] = count
        for peer, child in self._engine.core.ownership.lingering.values():
            seen.add(child.id)
            self._carried[peer, child.name].living[child.id] = _count(counters, child)
        for carried in (*self._carried.values(), *self._of_visits.values()):
            for number in [number for number in carried.living if number not in seen]:
                last = carried.living.pop(number)
                carried.ended = [a + b for a, b in zip(carried.ended, last, strict=True)]

    def hear(self, at: float, event: Event) -> None:
        """Something happened, at this Unix time: the state of its peer may have changed."""
        if event.peer is not None:
            self._stirred[event.peer] = at

    def look(self) -> None:
        """Take note of what peers are now, though nobody asks: of those that stirred, and of some never looked at."""
        peers = self._engine.core.snapshot.peers
        fresh = (name for name in peers if name not in self._since)
        for name in [*islice(self._stirred, _LOOKS), *islice(fresh, _LOOKS)]:
            if name in peers:
                self.peer(peers[name])
            self._stirred.pop(name, None)
        if len(self._since) > len(peers):
            self._since = {name: known for name, known in self._since.items() if name in peers}

    def of_visit(self, visit: Visit) -> tuple[int, int, int, int]:
        """Octets in and out, packets in and out of all CHILD_SAs of a visit, until it is forgotten."""
        self.refresh()
        return self._of_visits[visit].total() if visit in self._of_visits else (0, 0, 0, 0)

    def forget_visit(self, visit: Visit) -> None:
        """It is over, and nobody asks any more."""
        self._of_visits.pop(visit, None)

    @property
    def disturbed(self) -> bool:
        """Whether a state of a CHILD_SA that stands was not there at the last dump."""
        return any(self._lacks(child) for sa in self._engine.ike_sas() for child in sa.children.values())

    def _lacks(self, child: ChildSa) -> bool:
        return child.installed < self._dumped and not {child.inbound.key, child.outbound.key} <= self._there

    def status(self, listening: tuple[str, ...], problems: tuple[str, ...]) -> Status:
        """Everything at this moment."""
        self.refresh()
        core = self._engine.core
        return Status(
            at=self._clock() + self._offset(),
            revision=core.snapshot.revision,
            data_plane=self._plane.describe(),
            listening=listening,
            problems=problems,
            peers=tuple([self.peer(peer) for peer in core.snapshot.peers.values()]),
            ike_sas=tuple([self._ike_sa(sa) for sa in self._sas()]),
            counters=self.counters,
        )

    def ike_sas(self) -> tuple[IkeSaStatus, ...]:
        """Every IKE SA that stands, with the counters as they were last seen."""
        return tuple(self._ike_sa(sa) for sa in self._engine.ike_sas() if sa.state == Lifecycle.ESTABLISHED)

    def _sas(self, peer: str | None = None) -> list[IkeSa]:
        """The oldest first."""
        found = self._engine.ike_sas() if peer is None else self._engine.core.of_peer(peer)
        return sorted(found, key=lambda sa: sa.id)

    def ike_sa_numbers(self, peer: str | None = None) -> list[int]:
        """Of one peer, or of all."""
        return [sa.id for sa in self._sas(peer)]

    def numbered_ike_sas(self, numbers: Collection[int]) -> list[IkeSaStatus]:
        """Those of these numbers that there are."""
        self.refresh()
        return [self._ike_sa(sa) for sa in self._sas() if sa.id in numbers]

    def child_sa_numbers(self, peer: str | None = None) -> list[int]:
        """Of one peer, or of all."""
        return [child.id for sa in self._sas(peer) for child in sa.children.values()]

    def numbered_child_sas(self, numbers: Collection[int]) -> list[ChildSaStatus]:
        """Those of these numbers that there are."""
        self.refresh()
        return [
            self._child_sa(sa, child) for sa in self._sas() for child in sa.children.values() if child.id in numbers
        ]

    @property
    def counters(self) -> dict[str, int]:
        """What was dropped or answered, and how often."""
        return dict(self._engine.core.counters)

    def peer_named(self, name: str) -> PeerStatus | None:
        """A configured peer by its name."""
        self.refresh()
        found = self._engine.core.snapshot.peers.get(name)
        return self.peer(found) if found else None

    def peer(self, peer: Peer) -> PeerStatus:
        """A configured peer: its state in a word, and why."""
        core = self._engine.core
        attempt = core.attempts.last(peer.name)
        sas = core.of_peer(peer.name)
        established = core.established(peer.name) if sas else None
        connecting = [sa for sa in sas if sa.state == Lifecycle.CONNECTING]
        children = tuple([self._wanted(peer, child, sas, established, attempt) for child in peer.children])
        state, reason = self._peer_state(peer, established, connecting, children, attempt)
        retry = core.timers.when(("retry", peer.name))
        remote = established.path.text if established else (", ".join(peer.remote_addresses) or "any address")
        weakest = _weakest([sa for sa in core.of_peer(peer.name) if sa.state is Lifecycle.ESTABLISHED])
        keys = quantum.standing(weakest) if weakest else None
        failed = state in (TunnelState.DOWN, TunnelState.CONNECTING, TunnelState.DEGRADED)
        return PeerStatus(
            name=peer.name,
            state=state,
            reason=reason,
            advice=attempt.advice if attempt and failed and attempt.outcome == Outcome.FAILED else "",
            since=self._changed(peer.name, state),
            remote=remote,
            last_attempt=attempt.id if attempt else None,
            next_try=retry + self._offset() if retry else None,
            ike_sas=tuple([sa.id for sa in sas]),
            children=children,
            octets_in=sum([child.octets_in for child in children]),
            octets_out=sum([child.octets_out for child in children]),
            post_quantum=keys,
            why_classical=quantum.why_classical(weakest) if weakest and keys is Standing.CLASSICAL else "",
        )

    def _changed(self, name: str, state: TunnelState) -> float:
        known, at = self._since.get(name), self._stirred.pop(name, None)
        if known is None or known[0] != state:
            known = self._since[name] = (state, at or self._clock() + self._offset())
        return known[1]

    def _peer_state(
        self,
        peer: Peer,
        established: IkeSa | None,
        connecting: list[IkeSa],
        children: tuple[WantedChildStatus, ...],
        attempt: Attempt | None,
    ) -> tuple[TunnelState, str]:
        failure = attempt.reason if attempt and attempt.outcome == Outcome.FAILED else ""
        if not peer.enabled:
            return TunnelState.DISABLED, "disabled by configuration"
        if established is not None:
            down = [child for child in children if child.state in (TunnelState.DOWN, TunnelState.DEGRADED)]
            up = [child for child in children if child.state in (TunnelState.UP, TunnelState.DEGRADED)]
            if not down and (up or not children):
                told = next((f"{child.name}: {child.reason}" for child in up if child.reason), "")
                return TunnelState.UP, told
            if down:
                # without a child that carries traffic it is not up, however well the IKE SA stands
                state = TunnelState.DEGRADED if up else TunnelState.DOWN
                return state, f"{down[0].name}: {down[0].reason}"
            return TunnelState.WAITING, "connected; no networks are in use yet"
        if connecting:
            return TunnelState.CONNECTING, failure or waiting_for(connecting[-1])
        if (peer.name, None) in self._engine.core.held:
            return TunnelState.DOWN, "disconnected by an administrator"
        if any(child.start == Start.ALWAYS for child in peer.children) and peer.dialable:
            return TunnelState.DOWN, failure or "not tried yet"
        if failure:
            return TunnelState.DOWN, failure
        if any(child.start == Start.ON_DEMAND for child in peer.children) and peer.dialable:
            return TunnelState.WAITING, "waiting for traffic"
        return TunnelState.WAITING, "waiting for the peer to call" if peer.children else "no networks are configured"

    def _wanted(
        self, peer: Peer, child: Child, sas: list[IkeSa], established: IkeSa | None, attempt: Attempt | None
    ) -> WantedChildStatus:
        standing = [sa for sa in sas if sa.state in _CARRYING]
        live = [made for sa in standing for made in sa.children.values() if made.name == child.name]
        counted = self._carried.get((peer.name, child.name))
        carried = counted.total() if counted else (0, 0, 0, 0)
        if live and established is None:
            state, reason = TunnelState.UP, "its IKE SA is being replaced"
            if broken := self._trouble or self._taken_away(live):
                state, reason = TunnelState.DOWN, broken
        elif live and established is not None:
            state, reason = self._how_far(peer, child, standing)
            if broken := self._trouble or self._taken_away(live) or self._unanswered(established, live[-1]):
                state, reason = TunnelState.DOWN, broken
            elif state is TunnelState.UP:
                state, reason = self._rivalled(peer.name, live) or (state, self._doubled(live))
        elif not peer.enabled:
            state, reason = TunnelState.DISABLED, "disabled by configuration"
        elif (peer.name, child.name) in self._engine.core.held:
            state, reason = TunnelState.DOWN, "disconnected by an administrator"
        elif established is not None and child.start == Start.ALWAYS:
            failed = attempt and attempt.outcome == Outcome.FAILED
            state, reason = TunnelState.DOWN, attempt.reason if attempt and failed else "not negotiated yet"
        elif child.start == Start.ALWAYS and peer.dialable:
            state, reason = TunnelState.DOWN, "the peer is not connected"
        else:
            state = TunnelState.WAITING
            reason = "waiting for traffic" if child.start == Start.ON_DEMAND else "waiting for the peer"
        number = live[-1].id if live else None
        return WantedChildStatus(child.name, state, reason, number, carried[0], carried[1], carried[2], carried[3])

    def _how_far(self, peer: Peer, child: Child, standing: list[IkeSa]) -> tuple[TunnelState, str]:
        """Up; or, where each pair of networks has a CHILD_SA of its own and some lack, how many."""
        core = self._engine.core
        wanted = parts(core, peer.name, child)
        lacking = [part for part in wanted if not any(stands(core, sa, part) for sa in standing)]
        if not lacking or child.start != Start.ALWAYS:
            return TunnelState.UP, ""
        example = networks_text(lacking[0].local, lacking[0].remote)
        count = f"{len(wanted) - len(lacking)} of {len(wanted)}"
        return TunnelState.DEGRADED, f"{count} pairs of networks are up; {example} is not"

    def _taken_away(self, live: list[ChildSa]) -> str:
        """That none of them can carry anything, in words: somebody removed what does."""
        if not all(map(self._lacks, live)):
            return ""
        self.refresh(force=True)  # they may have moved since the last dump
        return f"{TAKEN_AWAY}; it is negotiated anew" if all(map(self._lacks, live)) else ""

    def _unanswered(self, sa: IkeSa, child: ChildSa) -> str:
        """That the peer seems gone, in words: a tunnel to nobody is not up, though nothing has been taken away yet."""
        if why := self._unsent.get(sa.path.remote):
            return f"nothing can be sent to {sa.path.remote}: {why}"
        pending = sa.requests.pending
        if pending is None or pending.sent < _SILENT or sa.peer is None:
            return ""
        seconds = self._clock() - max(sa.last_heard, child.heard)
        return f"no answer from the peer for {seconds:.0f} s, try {pending.sent} of {sa.peer.retransmission.tries}"

    def _rivalled(self, peer: str, live: list[ChildSa]) -> tuple[TunnelState, str] | None:
        """That the data plane has room for one alone of those who were given the same networks, and it is another."""
        others, wholly = rivals(self._engine.core, live)
        for other in others:
            sa = next((sa for sa in self._engine.ike_sas() if other.spi_in in sa.children), None)
            if sa is None or (sa.peer_name, other.name) == (peer, live[-1].name):  # one that is on its way out
                continue
            networks = networks_text(other.local, other.remote)
            told = f"what is for {networks} is sent by {sa.peer_name}/{other.name}, which has the same networks"
            return (TunnelState.DOWN if wholly else TunnelState.DEGRADED), told
        return None

    def _doubled(self, live: list[ChildSa]) -> str:
        """One that is on its way out, as after a rekey, is none too many; any other for the same traffic is."""
        staying = [(made.local, made.remote) for made in live if not (made.superseded or made.deleting)]
        most = max(map(staying.count, staying), default=0)
        return f"{most} CHILD_SAs carry the same traffic, where one should; one of them goes" if most > 1 else ""

    def _ike_sa(self, sa: IkeSa) -> IkeSaStatus:
        user = user_of(self._engine.core, sa)
        evidence = sa.evidence.chain if sa.evidence else ()
        device = user.device_of(evidence[0]) if user and evidence else None
        return IkeSaStatus(
            id=sa.id,
            peer=sa.peer_name,
            state=sa.state.value,
            initiator=sa.initiator,
            spi_i=sa.spi_i.hex(),
            spi_r=sa.spi_r.hex(),
            local=sa.path.local,
            remote=sa.path.text,
            local_id=str(sa.local_id) if sa.local_id else "",
            remote_id=str(sa.remote_id) if sa.remote_id else "",
            algorithms=sa.chosen.keywords if sa.chosen else "",
            key_exchange=_key_exchange(sa),
            post_quantum=quantum.standing(sa),
            nat=sa.nat.text if sa.protection else "",
            created_at=sa.created + self._offset(),
            established_at=sa.established + self._offset() if sa.established is not None else None,
            task=waiting_for(sa),
            children=tuple(self._child_sa(sa, child) for child in sa.children.values()),
            user=user.name if user else "",
            device=device.name if device else "",
            superseded=device is not None and device.superseded,
            leased=tuple(lease.address for lease in sa.leases),
            lent=sa.virtual,
            dns=sa.name_service.dns,
            domains=sa.name_service.domains,
            access=self._access(sa),
        )

    def _access(self, sa: IkeSa) -> AccessStatus | None:
        access = access_of(self._engine.core, sa)
        if access is None or sa.remote_id is None:
            return None
        profile, group = access
        counted = [one for lease in sa.leases if (one := self._ruled.get(lease.address))]
        passed = sum(one.passed_packets for one in counted), sum(one.passed_octets for one in counted)
        dropped = sum(one.dropped_packets for one in counted), sum(one.dropped_octets for one in counted)
        networks = tuple(one.text for one in profile.networks)
        tunnel = "full" if profile.full_tunnel else "split"
        masquerade = profile.masquerade and bool(sa.leases)
        return AccessStatus(profile.name, group, tunnel, networks, masquerade, *passed, *dropped)

    def _child_sa(self, sa: IkeSa, child: ChildSa) -> ChildSaStatus:
        books = self._carried[sa.peer_name or "", child.name]
        pairs = {(one.local, one.remote) for one in sa.children.values() if one.name == child.name}
        # what a child's predecessors carried, and what those that linger still do, is its own; pairs count each alone
        carried = books.total() if len(pairs) < 2 else books.living.get(child.id, (0, 0, 0, 0))
        core, config = self._engine.core, sa.peer.child(child.name) if sa.peer else None
        wanted = as_offered(core, sa, config) if config else None
        local, remote = unmet(core, sa.peer_name or "", wanted, child) if wanted else ([], [])
        return ChildSaStatus(
            id=child.id,
            name=child.name,
            peer=sa.peer_name or "",
            ike_sa=sa.id,
            state="rekeying" if child.rekeying else "installed",
            spi_in=f"{child.spi_in:08x}",
            spi_out=f"{child.spi_out:08x}",
            local_selectors=tuple(selector.text for selector in child.local),
            remote_selectors=tuple(selector.text for selector in child.remote),
            algorithms=child.chosen.keywords,
            mode=child.inbound.mode.value,
            encapsulation=child.inbound.encapsulation is not None,
            installed_at=child.installed + self._offset(),
            octets_in=carried[0],
            octets_out=carried[1],
            packets_in=carried[2],
            packets_out=carried[3],
            rekeys=child.rekeys,
            unmet_local=tuple(selector.text for selector in local),
            unmet_remote=tuple(selector.text for selector in remote),
        )


def _count(counters: Mapping[StateKey, Counters], child: ChildSa) -> tuple[int, int, int, int]:
    inward = counters.get(child.inbound.key, _NOTHING)
    outward = counters.get(child.outbound.key, _NOTHING)
    return inward.octets, outward.octets, inward.packets, outward.packets


def _key_exchange(sa: IkeSa) -> str:
    """Hybrid, post-quantum alone, or classical and why."""
    found = quantum.standing(sa)
    if sa.chosen is None or sa.chosen.ke is None or sa.peer is None or found is None:
        return ""
    names = " and ".join(row.label for row in (sa.chosen.ke, *sa.chosen.following))
    if Ability.USES_PPK in sa.abilities:
        names += " with a PPK in IKE_INTERMEDIATE" if Ability.MAY_USE_PPK_INT in sa.abilities else " with a PPK"
    if Ability.RESUMED in sa.abilities:
        names += ", of the IKE SA that it resumes"
    why = f"; {quantum.why_classical(sa)}" if found is Standing.CLASSICAL else ""
    return f"{_STANDING_WORDS[found]}: {names}{why}"


def _weakest(sas: list[IkeSa]) -> IkeSa | None:
    """Of a peer's IKE SAs the one whose keys rest on the least; of several the newest."""
    order = list(_STANDING_WORDS)
    found = [(order.index(one), -sa.id, sa) for sa in sas if (one := quantum.standing(sa)) is not None]
    return min(found)[2] if found else None
