"""One UDP socket towards one RADIUS server: requests by their identifiers, sent again until an answer proves itself."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gateway.crypto.radius import check_answer
from gateway.policy.radius import RadiusServer
from gateway.wire.outcome import Drop
from gateway.wire.radius import Packet, parse

_IDENTIFIERS = 256
_OVER = "the servers of the configuration were changed, or the gateway ends"


class Silent(Exception):
    """The server gave no answer that proves itself; the text tells what came instead."""


@dataclass(slots=True)
class _Asked:
    request: Packet
    answer: "asyncio.Future[Packet]"
    unproven: int = 0
    why: str = ""
    """What was wrong with the last answer that proved nothing, or what the network said."""


class Link(asyncio.DatagramProtocol):
    """At most 256 requests are under way: an identifier has eight bits. What would be one more waits."""

    def __init__(self, server: RadiusServer, port: int) -> None:
        self.server = server
        self.port = port
        self._transport: asyncio.DatagramTransport | None = None
        self._closed = False
        self._asked: dict[int, _Asked] = {}
        self._next = 0
        self._room = asyncio.Semaphore(_IDENTIFIERS)
        self._opening = asyncio.Lock()

    async def ask(self, make: Callable[[int], Packet]) -> tuple[Packet, Packet]:
        """The request that `make` makes of an identifier, and its answer. Raises Silent."""
        async with self._room:
            await self._open()
            identifier = self._free()
            request = make(identifier)
            asked = self._asked[identifier] = _Asked(request, asyncio.get_running_loop().create_future())
            try:
                return request, await self._insist(asked)
            finally:
                del self._asked[identifier]

    async def _insist(self, asked: _Asked) -> Packet:
        octets = asked.request.octets()
        for _ in range(self.server.tries):
            if self._transport is not None:
                self._transport.sendto(octets)
            try:
                return await asyncio.wait_for(asyncio.shield(asked.answer), self.server.timeout)
            except TimeoutError:
                continue
        answers = f"{asked.unproven} answers of no use" if asked.unproven else "no answer"
        raise Silent(f"{answers} to {self.server.tries} tries{asked.why and ': '}{asked.why}")

    def _free(self) -> int:
        """The next identifier that no request under way has: an old answer then fits nothing for a while."""
        while self._next in self._asked:
            self._next = (self._next + 1) % _IDENTIFIERS
        found, self._next = self._next, (self._next + 1) % _IDENTIFIERS
        return found

    async def _open(self) -> None:
        async with self._opening:
            if self._transport is None:
                loop = asyncio.get_running_loop()
                where = (self.server.address, self.port)
                try:
                    self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=where)
                except OSError as error:
                    raise Silent(f"it cannot be reached: {error.strerror or error}") from None
            if self._closed:  # before, or while the socket was made
                self._transport.close()
                raise Silent(_OVER)

    def datagram_received(self, data: bytes, addr: object) -> None:
        asked = self._asked.get(data[1]) if len(data) > 1 else None
        if asked is None or asked.answer.done():
            return  # late, or the second of two
        try:
            answer = parse(data)
            unsigned = self.server.unsigned_rejects
            check_answer(answer, asked.request, self.server.secret, unsigned_rejects=unsigned)
        except Drop as drop:
            asked.unproven, asked.why = asked.unproven + 1, drop.why
            return
        asked.answer.set_result(answer)

    def error_received(self, error: Exception) -> None:
        """Such as "port unreachable", which anybody may say: it is told, and not acted upon."""
        for asked in self._asked.values():
            asked.why = getattr(error, "strerror", None) or str(error)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def close(self) -> None:
        self._closed = True
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(Silent(_OVER))
        if self._transport is not None:
            self._transport.close()
