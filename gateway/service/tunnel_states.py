"""Whether each configured tunnel carries its traffic, in a word, and why."""

from collections.abc import Callable, Mapping

from gateway.ike import fruitless
from gateway.ike.attempts import Attempt, Outcome
from gateway.ike.claims import rivals
from gateway.ike.driver import waiting_for
from gateway.ike.engine import Engine
from gateway.ike.modes import networks_text
from gateway.ike.parts import parts, stands
from gateway.ike.reasons import TAKEN_AWAY
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle
from gateway.policy.peers import Child, Peer, Start, Unique
from gateway.policy.selectors import Selector
from gateway.service.counting import Counting
from gateway.service.status import TunnelState, WantedChildStatus

_CARRYING = (Lifecycle.ESTABLISHED, Lifecycle.REKEYED)
Pair = tuple[tuple[Selector, ...], tuple[Selector, ...]]
_SILENT = 3
"""Transmissions of a request without an answer after which a tunnel is not called up any more."""


class TunnelStates:
    """`unsent` tells why nothing can be sent to an address now."""

    def __init__(
        self, engine: Engine, counting: Counting, clock: Callable[[], float], unsent: Mapping[str, str]
    ) -> None:
        self._engine = engine
        self._counting = counting
        self._clock = clock
        self._unsent = unsent

    def of_peer(
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
            return TunnelState.WAITING, fruitless.why(established) or "connected; no networks are in use yet"
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

    def of_child(
        self, peer: Peer, child: Child, sas: list[IkeSa], established: IkeSa | None, attempt: Attempt | None
    ) -> WantedChildStatus:
        standing = [sa for sa in sas if sa.state in _CARRYING]
        live = [made for sa in standing for made in sa.children.values() if made.name == child.name]
        if live and established is None:
            state, reason = TunnelState.UP, "its IKE SA is being replaced"
            if broken := self._counting.trouble or self._taken_away(live):
                state, reason = TunnelState.DOWN, broken
        elif live and established is not None:
            state, reason = self._how_far(peer, child, standing)
            if broken := self._counting.trouble or self._taken_away(live) or self._unanswered(established, live[-1]):
                state, reason = TunnelState.DOWN, broken
            elif state is TunnelState.UP:
                state, reason = self._rivalled(peer.name, live) or (state, self._doubled(peer, child.name, standing))
        elif not peer.enabled:
            state, reason = TunnelState.DISABLED, "disabled by configuration"
        elif {(peer.name, None), (peer.name, child.name)} & self._engine.core.held:
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
        return WantedChildStatus(child.name, state, reason, number, *self._counting.of_child(peer.name, child.name))

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
        if not all(map(self._counting.lacks, live)):
            return ""
        self._counting.refresh(force=True)  # they may have moved since the last dump
        return f"{TAKEN_AWAY}; it is negotiated anew" if all(map(self._counting.lacks, live)) else ""

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

    def _doubled(self, peer: Peer, name: str, standing: list[IkeSa]) -> str:
        """One that is on its way out, as after a rekey, is none too many; any other for the same traffic is.

        Where any number of IKE SAs may stand, each may have its own.
        """
        of_each = [
            [(made.local, made.remote) for made in sa.children.values() if made.name == name and _stays(made)]
            for sa in standing
        ]
        most = max(map(_most_alike, of_each), default=0)
        together = _most_alike([pair for found in of_each for pair in found])
        if together < 2:
            return ""
        told = f"{together} CHILD_SAs carry the same traffic"
        if peer.unique is Unique.NEVER and most < 2:
            return f"{told}, each on an IKE SA of its own: any number of these may stand (unique: never)"
        return f"{told}, where one should; one of them goes"


def _stays(made: ChildSa) -> bool:
    return not (made.superseded or made.deleting)


def _most_alike(pairs: list[Pair]) -> int:
    return max(map(pairs.count, pairs), default=0)
