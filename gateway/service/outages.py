"""When each child was down, why, for how long, and what ended it: collected from what the engine says happened."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from gateway.ike.core import Core
from gateway.ike.effects import Event
from gateway.ike.reasons import Kind, kind_of
from gateway.ike.sa import Lifecycle
from gateway.policy.peers import Child, Peer, Start

KEPT = 200
"""The last ones of each child."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which a child had no CHILD_SA that could carry its traffic.

    Times are Unix seconds; `ended_at` None means that it is still so. `kind` tells failures from what was meant.
    `reason` says how it began, `last_failure` why the last of `attempts` to end it failed, `ended_by` what ended it.
    """

    id: int
    peer: str
    child: str
    start: Start
    began_at: float
    kind: Kind
    reason: str
    ended_at: float | None = None
    ended_by: str = ""
    attempts: int = 0
    last_failure: str = ""


class Outages:
    """Hears every event of the engine after it happened, and then looks at how things stand."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._kept: dict[tuple[str, str], deque[Outage]] = {}
        self._open: dict[tuple[str, str], Outage] = {}
        self._count = 0
        self.changed: dict[int, Outage] = {}
        self.gone: set[int] = set()
        """What is to be written, and to be forgotten, where outages outlive the process."""
        self._heard: dict[str, Callable[[float, Peer, Event], None]] = {
            "child-sa.closed": self._child_closed,
            "child-sa.installed": self._child_installed,
            "ike-sa.failed": self._call_failed,
            "exchange.failed": self._call_failed,
        }

    def restore(self, known: Iterable[Outage]) -> None:
        """Take up, the oldest first, what was written before; what had not ended goes on. `settle` follows."""
        for outage in known:
            self._count = max(self._count, outage.id)
            self._append(outage)
            if outage.ended_at is None:
                self._open[outage.peer, outage.child] = outage

    def of(self, peer: str) -> list[Outage]:
        """The peer's outages of all its children, the newest first."""
        found = [outage for (name, _), kept in self._kept.items() if name == peer for outage in kept]
        return sorted(found, key=lambda outage: -outage.id)

    def current(self, peer: str, child: str) -> Outage | None:
        """The outage that has not ended."""
        return self._open.get((peer, child))

    def hear(self, at: float, event: Event) -> None:
        """Something happened at `at` (Unix seconds)."""
        hear = self._heard.get(event.kind)
        peer = self._core.snapshot.peers.get(event.peer or "") if hear else None
        if hear is not None and peer is not None:
            hear(at, peer, event)

    def settle(self, at: float) -> None:
        """The configuration changed: what is wanted no more is not down any more."""
        for peer, child in list(self._open):
            found = self._core.snapshot.peers.get(peer)
            if found is None or not found.enabled or found.child(child) is None:
                self._end(at, (peer, child), "it was disabled or removed")
        for key in [key for key in self._kept if key[0] not in self._core.snapshot.peers]:
            self._forget(outage.id for outage in self._kept.pop(key))

    def _stands(self, peer: str, child: str) -> bool:
        return any(
            made.name == child
            for sa in self._core.of_peer(peer)
            if sa.state in (Lifecycle.ESTABLISHED, Lifecycle.REKEYED)
            for made in sa.children.values()
        )

    def _child_closed(self, at: float, peer: Peer, event: Event) -> None:
        child = peer.child(str(event.data.get("child")))
        if child is None or not peer.enabled or self._stands(peer.name, child.name):
            return
        why = str(event.data.get("why", ""))
        self._begin(at, peer, child, kind_of(why), why)

    def _call_failed(self, at: float, peer: Peer, event: Event) -> None:
        """Every call that fails counts for what it should have brought up; what never was up is down from here on."""
        why = str(event.data.get("why", ""))
        for child in self._wanted(peer):
            key = peer.name, child.name
            if (found := self._open.get(key)) is not None and found.kind is not Kind.FAILURE:
                self._end(at, key, "it was wanted again")
            if key not in self._open:
                self._begin(at, peer, child, Kind.FAILURE, why)
            found = self._open[key]
            self._change(replace(found, attempts=found.attempts + 1, last_failure=why))

    def _wanted(self, peer: Peer) -> Iterable[Child]:
        """What should be up and is not."""
        held = self._core.held
        if not peer.enabled or (peer.name, None) in held:
            return ()
        return [
            child
            for child in peer.children
            if (child.start == Start.ALWAYS or self.current(peer.name, child.name))
            and (peer.name, child.name) not in held
            and not self._stands(peer.name, child.name)
        ]

    def _child_installed(self, at: float, peer: Peer, event: Event) -> None:
        key = peer.name, str(event.data.get("child"))
        if key in self._open:
            ours = bool(event.data.get("initiator"))
            self._end(at, key, "we called and the peer answered" if ours else "the peer called us")

    def _begin(self, at: float, peer: Peer, child: Child, kind: Kind, reason: str) -> None:
        key = peer.name, child.name
        if key in self._open or not child.remote:  # who is given an address comes and goes as he likes
            return
        self._count += 1
        outage = Outage(self._count, peer.name, child.name, child.start, at, kind, reason)
        self._open[key] = self.changed[outage.id] = outage
        self._append(outage)

    def _end(self, at: float, key: tuple[str, str], by: str) -> None:
        self._change(replace(self._open[key], ended_at=at, ended_by=by))
        del self._open[key]

    def _change(self, outage: Outage) -> None:
        """The open one is always the last of its child."""
        key = outage.peer, outage.child
        self._open[key] = self._kept[key][-1] = self.changed[outage.id] = outage

    def _append(self, outage: Outage) -> None:
        kept = self._kept.setdefault((outage.peer, outage.child), deque())
        kept.append(outage)
        if len(kept) > KEPT:
            self._forget([kept.popleft().id])

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.changed.pop(number, None)
            self.gone.add(number)
