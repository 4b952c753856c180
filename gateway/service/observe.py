"""Turns the engine's state and the data plane's counters into the one frozen status."""

from collections.abc import Callable, Collection, Mapping
from itertools import islice
from types import MappingProxyType

from gateway.dataplane.driver import Driver
from gateway.ike import fruitless, quantum
from gateway.ike.abilities import Ability
from gateway.ike.access import access_of, as_offered, user_of
from gateway.ike.attempts import Outcome
from gateway.ike.driver import waiting_for
from gateway.ike.effects import Event
from gateway.ike.engine import Engine
from gateway.ike.parts import unmet
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle
from gateway.ike.standing import Standing
from gateway.policy.peers import Peer
from gateway.service.counting import Counting
from gateway.service.status import (
    AccessStatus,
    ChildSaStatus,
    IkeSaStatus,
    PeerStatus,
    Status,
    TunnelState,
)
from gateway.service.tunnel_states import TunnelStates

_STANDING_WORDS = {  # the weakest first
    Standing.CLASSICAL: "classical",
    Standing.PPK: "PPK",
    Standing.HYBRID: "hybrid",
    Standing.ML_KEM: "post-quantum",
}
_LOOKS = 500
"""Peers that are looked at in one go: ten milliseconds' worth."""


class Observer:
    """Says how it is now, and since when."""

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
        self._plane = plane
        self._clock = clock
        self._offset = offset
        self.counting = Counting(engine, plane, clock)
        self._states = TunnelStates(engine, self.counting, clock, unsent)
        self._since: dict[str, tuple[TunnelState, float]] = {}
        self._stirred: dict[str, float] = {}
        """Peers to which something happened since they were last looked at, and when."""

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

    def status(self, listening: tuple[str, ...], problems: tuple[str, ...]) -> Status:
        """Everything at this moment."""
        self.counting.refresh()
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
        self.counting.refresh()
        return [self._ike_sa(sa) for sa in self._sas() if sa.id in numbers]

    def child_sa_numbers(self, peer: str | None = None) -> list[int]:
        """Of one peer, or of all."""
        return [child.id for sa in self._sas(peer) for child in sa.children.values()]

    def numbered_child_sas(self, numbers: Collection[int]) -> list[ChildSaStatus]:
        """Those of these numbers that there are."""
        self.counting.refresh()
        return [
            self._child_sa(sa, child) for sa in self._sas() for child in sa.children.values() if child.id in numbers
        ]

    @property
    def counters(self) -> dict[str, int]:
        """What was dropped or answered, and how often."""
        return dict(self._engine.core.counters)

    def peer_named(self, name: str) -> PeerStatus | None:
        """A configured peer by its name."""
        self.counting.refresh()
        found = self._engine.core.snapshot.peers.get(name)
        return self.peer(found) if found else None

    def peer(self, peer: Peer) -> PeerStatus:
        """A configured peer: its state in a word, and why."""
        core = self._engine.core
        attempt = core.attempts.last(peer.name)
        sas = core.of_peer(peer.name)
        established = core.established(peer.name) if sas else None
        connecting = [sa for sa in sas if sa.state == Lifecycle.CONNECTING]
        children = tuple([self._states.of_child(peer, child, sas, established, attempt) for child in peer.children])
        state, reason = self._states.of_peer(peer, established, connecting, children, attempt)
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
            key_exchange=key_exchange(sa),
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
            refusal=fruitless.why(sa),
        )

    def _access(self, sa: IkeSa) -> AccessStatus | None:
        access = access_of(self._engine.core, sa)
        if access is None or sa.remote_id is None:
            return None
        profile, group = access
        counted = [one for lease in sa.leases if (one := self.counting.rules.get(lease.address))]
        passed = sum(one.passed_packets for one in counted), sum(one.passed_octets for one in counted)
        dropped = sum(one.dropped_packets for one in counted), sum(one.dropped_octets for one in counted)
        networks = tuple(one.text for one in profile.networks)
        tunnel = "full" if profile.full_tunnel else "split"
        masquerade = profile.masquerade and bool(sa.leases)
        return AccessStatus(profile.name, group, tunnel, networks, masquerade, *passed, *dropped)

    def _child_sa(self, sa: IkeSa, child: ChildSa) -> ChildSaStatus:
        carried = self.counting.of_child_sa(sa, child)
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


def key_exchange(sa: IkeSa) -> str:
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
