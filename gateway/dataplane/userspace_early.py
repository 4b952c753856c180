"""ESP that comes before its state: a responder may send on a new CHILD_SA while its answer is still under way to us."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

PATIENCE = 1.0
"""Seconds for which a datagram is kept at most."""
_MOST_DATAGRAMS, _MOST_SPIS = 256, 4096

Address = tuple[str, int]


class Early(NamedTuple):
    """A datagram for an SPI, when it came, from whom, and whether a router on its way had marked congestion."""

    spi: int
    data: bytes
    came: float
    peer: Address
    congested: bool


class EarlyDatagrams:
    """What came for SPIs that are expected: 256 datagrams in all. Nobody can guess these SPIs."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._expected: set[int] = set()
        self._kept: deque[Early] = deque()
        self.ready: list[Early] = []
        """Those whose state is there by now."""

    def expect(self, spi: int) -> None:
        if len(self._expected) < _MOST_SPIS:
            self._expected.add(spi)

    def keep(self, spi: int, data: memoryview, peer: Address, *, congested: bool) -> bool:
        """Keep a datagram for this SPI; False when it is not expected, or too many wait."""
        if spi not in self._expected:
            return False
        self._forget_old()
        if len(self._kept) >= _MOST_DATAGRAMS:
            return False
        self._kept.append(Early(spi, bytes(data), self._clock(), peer, congested))
        return True

    def settle(self, spi: int, *, there: bool) -> None:
        """The state is there, or will never be."""
        if spi not in self._expected:
            return
        self._expected.discard(spi)
        self._forget_old()
        if there:
            self.ready += [early for early in self._kept if early.spi == spi]
        self._kept = deque(early for early in self._kept if early.spi != spi)

    def take(self) -> list[Early]:
        """What is ready, which is not kept any more."""
        ready, self.ready = self.ready, []
        return ready

    def _forget_old(self) -> None:
        before = self._clock() - PATIENCE
        while self._kept and self._kept[0].came < before:
            self._kept.popleft()
