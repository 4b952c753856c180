"""The one stream of what happened: a ring in memory that SSE, the log and the pages read."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

KEPT = 10_000


@dataclass(slots=True)
class Record:
    """One thing that happened, never changed.

    `id` grows by one, `at` is Unix time in seconds, `text` a sentence without secrets.
    `kind` is dotted, its first word is the topic: `ike-sa.established`, `child-sa.closed`, `attempt.failed`.
    """

    id: int
    at: float
    kind: str
    text: str
    peer: str | None = None
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def topic(self) -> str:
        return self.kind.partition(".")[0]


class Journal:
    """Keeps the last `size` records; followers that fall behind resume from what the ring still has."""

    def __init__(self, size: int = KEPT) -> None:
        self._ring: deque[Record] = deque(maxlen=size)
        self._last = 0
        self._waiting: set[asyncio.Event] = set()
        self._ended = False

    def __len__(self) -> int:
        return len(self._ring)

    def write(self, at: float, kind: str, text: str, peer: str | None = None, **data: Any) -> Record:
        self._last += 1
        record = Record(self._last, at, kind, text, peer, data)
        self._ring.append(record)
        for waiting in self._waiting:
            waiting.set()
        return record

    @property
    def last_id(self) -> int:
        return self._last

    def since(self, last_id: int, limit: int = 1000) -> list[Record]:
        """Records after `last_id`, oldest first."""
        first = self._ring[0].id if self._ring else self._last + 1
        skip = max(0, last_id + 1 - first)
        return [record for index, record in enumerate(self._ring) if skip <= index < skip + limit]

    def latest(self, limit: int = 100, peer: str | None = None) -> list[Record]:
        """The newest records first."""
        found = (record for record in reversed(self._ring) if peer is None or record.peer == peer)
        return [record for record, _ in zip(found, range(limit), strict=False)]

    async def follow(self, last_id: int | None = None, idle: float = 15.0) -> AsyncIterator[Record | None]:
        """Yield records as they come, from after `last_id` (default: from now); None after `idle` seconds of silence.

        Ends when the journal ends, so that open streams do not hold up a stop.
        """
        position = self._last if last_id is None else last_id
        waiting = asyncio.Event()
        self._waiting.add(waiting)
        try:
            while not self._ended:
                waiting.clear()
                for record in self.since(position):
                    position = record.id
                    yield record
                if position < self._last:
                    continue
                try:
                    await asyncio.wait_for(waiting.wait(), idle)
                except TimeoutError:
                    yield None
        finally:
            self._waiting.discard(waiting)

    def end(self) -> None:
        """Finish every follower."""
        self._ended = True
        for waiting in self._waiting:
            waiting.set()
