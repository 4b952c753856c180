"""Waits for the next of several moments, with one timer."""

import asyncio
from collections.abc import Callable

_LONGEST_WAIT = 3600.0  # seconds; then the clock is looked at anew: it may have been set


class Expiry:
    """Calls `due` on the running loop when a moment of the clock (Unix time, seconds) has come."""

    def __init__(self, clock: Callable[[], float], due: Callable[[], None]) -> None:
        self._clock = clock
        self._due = due
        self._timer: asyncio.TimerHandle | None = None

    def wait_for(self, moment: float | None) -> None:
        """Wait for this moment instead of the one before; for None wait no more."""
        self.cancel()
        if moment is not None:
            wait = min(max(0.0, moment - self._clock()), _LONGEST_WAIT)
            self._timer = asyncio.get_running_loop().call_later(wait, self._look, moment)

    def _look(self, moment: float) -> None:
        if self._clock() < moment:
            self.wait_for(moment)
        else:
            self._timer = None
            self._due()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
