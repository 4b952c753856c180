"""How long, and for how many, the console's port waits: nobody outside can hold it by saying nothing."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 512
OF_ONE_SOURCE = 128
"""A proxy or NAT stands for many browsers, with some connections each."""
HEAD = 10.0
"""Seconds for the head of a request, from the connection or from its first octet on."""
STILL = 60.0
"""Seconds in which nothing, or as good as nothing, of a request's body may come."""
RATE = 1024.0
"""Octets a second that a body brings at the least: as many buy a second more, and never more than STILL."""


class PatientProtocol(H11Protocol):
    """One connection, cut when a request does not get on, or at once where there are too many."""

    _due: asyncio.TimerHandle | None = None
    _waits = 0.0
    _until = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        sources = [one.client[0] for one in self.connections if isinstance(one, PatientProtocol) and one.client]
        mine = self.client[0] if self.client else ""
        if len(self.connections) > CONNECTIONS or sources.count(mine) > OF_ONE_SOURCE:
            transport.abort()
        else:
            self._wait(HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(0.0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._wait(STILL)
            self._until = min(self._until + len(data) / RATE, self.loop.time() + STILL)
        else:
            self._wait(HEAD if state is h11.IDLE and self.conn.trailing_data[0] else 0.0)

    def _wait(self, seconds: float) -> None:
        """For as long in all, but for what a body brings meanwhile; 0 waits for nothing."""
        if seconds == self._waits:
            return
        if self._due is not None:
            self._due.cancel()
        self._waits, self._until = seconds, self.loop.time() + seconds
        self._due = self.loop.call_at(self._until, self._over) if seconds else None

    def _over(self) -> None:
        if self.flow.read_paused:  # it is we who do not read on
            self._until = max(self._until, self.loop.time() + HEAD)
        if self.loop.time() < self._until:
            self._due = self.loop.call_at(self._until, self._over)
        else:
            self.transport.abort()
