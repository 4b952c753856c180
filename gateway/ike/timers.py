"""Deadlines by name, in one heap: setting again moves, cancelling forgets."""

import heapq
from collections.abc import Hashable


class Timers:
    """Each key has at most one deadline, on the engine's clock (seconds)."""

    def __init__(self) -> None:
        self._when: dict[Hashable, float] = {}
        self._heap: list[tuple[float, int, Hashable]] = []
        self._count = 0

    def set(self, key: Hashable, when: float) -> None:
        self._when[key] = when
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, key))
        if len(self._heap) > 64 + 4 * len(self._when):  # most entries are stale: set again or cancelled
            self._heap = [entry for entry in self._heap if self._when.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def cancel(self, key: Hashable) -> None:
        self._when.pop(key, None)

    def when(self, key: Hashable) -> float | None:
        return self._when.get(key)

    def next(self) -> float | None:
        """The earliest deadline still standing."""
        heap = self._heap
        while heap and self._when.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now: float) -> Hashable | None:
        """Take the earliest key whose deadline has come, or None."""
        earliest = self.next()
        if earliest is None or earliest > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._when[key]
        return key
