"""ESP that comes before its state: a responder may send on a new CHILD_SA while its answer is still under way to us."""

from collections.abc import Callable
from typing import NamedTuple

PATIENCE = 1.0
"""Seconds for which a datagram is kept at most."""
_MOST_DATAGRAMS, _MOST_SPIS = 256, 4096

Address = tuple[str, int]


class Early(NamedTuple):
    """A datagram, when it came, from whom, and whether a router on its way had marked congestion."""

    data: bytes
    came: float
    peer: Address
    congested: bool


class EarlyDatagrams:
    """What came for SPIs that are expected: 256 datagrams in all. Nobody can guess these SPIs."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[int, list[Early]] = {}
        self._count = 0
        self.ready: list[Early] = []
        """Those whose state is there by now."""

    def expect(self, spi: int) -> None:
        if len(self._kept) < _MOST_SPIS:
            self._kept.setdefault(spi, [])

    def keep(self, spi: int, data: memoryview, peer: Address, *, congested: bool) -> bool:
        """Keep a datagram for this SPI; False when it is not expected, or too many wait."""
        if spi not in self._kept or (self._count >= _MOST_DATAGRAMS and not self._forget_old()):
            return False
        self._kept[spi].append(Early(bytes(data), self._clock(), peer, congested))
        self._count += 1
        return True

    def settle(self, spi: int, *, there: bool) -> None:
        """The state is there, or will never be."""
        waiting = self._kept.pop(spi, [])
        self._count -= len(waiting)
        if there:
            before = self._clock() - PATIENCE
            self.ready += [early for early in waiting if early.came >= before]

    def take(self) -> list[Early]:
        """What is ready, which is not kept any more."""
        ready, self.ready = self.ready, []
        return ready

    def _forget_old(self) -> bool:
        """Whether there is room again."""
        before = self._clock() - PATIENCE
        for spi, waiting in self._kept.items():
            self._kept[spi] = [early for early in waiting if early.came >= before]
        self._count = sum(map(len, self._kept.values()))
        return self._count < _MOST_DATAGRAMS
