"""What CHILD_SAs carried, over rekeys and restarts of the count, and what of theirs lies in the data plane."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.dataplane.driver import Driver
from gateway.ike.engine import Engine
from gateway.ike.plane import Counters, RuleCounters, StateKey
from gateway.ike.sa import ChildSa, IkeSa
from gateway.policy.visits import Visit

Count = tuple[int, int, int, int]
"""Octets in and out, packets in and out."""
_NOTHING = Counters()
_NONE: Count = (0, 0, 0, 0)
_FRESH = 1.0


@dataclass(slots=True)
class _Carried:
    """What several CHILD_SAs carried so far."""

    ended: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    living: dict[int, Count] = field(default_factory=dict)

    def total(self) -> Count:
        sums = [a + sum(now[i] for now in self.living.values()) for i, a in enumerate(self.ended)]
        return sums[0], sums[1], sums[2], sums[3]


class Counting:
    """Keeps the counters that outlive a rekey."""

    def __init__(self, engine: Engine, plane: Driver, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._plane = plane
        self._clock = clock
        self._of_children: dict[tuple[str, str], _Carried] = defaultdict(_Carried)
        self._of_visits: dict[Visit, _Carried] = defaultdict(_Carried)
        self._dumped = float("-inf")
        self._there: frozenset[StateKey] = frozenset()
        self.rules: Mapping[str, RuleCounters] = {}
        """By virtual address: what its rules let pass and dropped."""
        self.trouble = ""
        """Why the data plane as a whole carries nothing; empty while it does."""

    def refresh(self, *, force: bool = False) -> None:
        """Dump the data plane's counters, at most once a second unless forced."""
        now = self._clock()
        if not force and now - self._dumped < _FRESH:
            return
        self._dumped = now
        counters = self._plane.counters()
        self.rules = self._plane.rule_counters()
        self._there, self.trouble = frozenset(counters), self._plane.trouble()
        seen: set[int] = set()
        for sa in self._engine.ike_sas():
            for child in sa.children.values():
                seen.add(child.id)
                count = self._of_children[sa.peer_name or "", child.name].living[child.id] = _count(counters, child)
                if sa.visit is not None:
                    self._of_visits[sa.visit].living[child.id] = count
        for peer, child in self._engine.core.ownership.lingering.values():
            seen.add(child.id)
            self._of_children[peer, child.name].living[child.id] = _count(counters, child)
        for carried in (*self._of_children.values(), *self._of_visits.values()):
            for number in [number for number in carried.living if number not in seen]:
                last = carried.living.pop(number)
                carried.ended = [a + b for a, b in zip(carried.ended, last, strict=True)]

    def of_child(self, peer: str, child: str) -> Count:
        """By all CHILD_SAs that the configured child ever had."""
        found = self._of_children.get((peer, child))
        return found.total() if found else _NONE

    def of_child_sa(self, sa: IkeSa, child: ChildSa) -> Count:
        """What a child's predecessors carried, and what those that linger still do, is its own; pairs count alone."""
        books = self._of_children.get((sa.peer_name or "", child.name))
        if books is None:
            return _NONE
        pairs = {(one.local, one.remote) for one in sa.children.values() if one.name == child.name}
        return books.total() if len(pairs) < 2 else books.living.get(child.id, _NONE)

    def of_visit(self, visit: Visit) -> Count:
        """By all CHILD_SAs of a visit, until it is forgotten."""
        self.refresh()
        return self._of_visits[visit].total() if visit in self._of_visits else _NONE

    def forget_visit(self, visit: Visit) -> None:
        """It is over, and nobody asks any more."""
        self._of_visits.pop(visit, None)

    @property
    def disturbed(self) -> bool:
        """Whether a state of a CHILD_SA that stands was not there at the last dump."""
        return any(self.lacks(child) for sa in self._engine.ike_sas() for child in sa.children.values())

    def lacks(self, child: ChildSa) -> bool:
        """Whether a state of it was not there at the last dump, though it had been installed before."""
        return child.installed < self._dumped and not {child.inbound.key, child.outbound.key} <= self._there


def _count(counters: Mapping[StateKey, Counters], child: ChildSa) -> Count:
    inward = counters.get(child.inbound.key, _NOTHING)
    outward = counters.get(child.outbound.key, _NOTHING)
    return inward.octets, outward.octets, inward.packets, outward.packets
