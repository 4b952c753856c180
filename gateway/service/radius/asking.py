"""Puts the engine's questions to the RADIUS client, and its verdicts into the engine's words."""

import asyncio
import logging
import os
import time
from collections.abc import Callable

from gateway.ike.authentication.eap.radius import AskRadius, RadiusAccept, RadiusChallenge, RadiusReject
from gateway.ike.flow import NoAnswer
from gateway.policy.radius import RadiusServer
from gateway.service.radius.client import Accept, Caller, Challenge, Client, NoServer, Round
from gateway.service.radius.dynamic import PORT, Listener
from gateway.service.radius.visits import Hold, Visits
from gateway.wire.radius import Packet

log = logging.getLogger("ikegate")


async def consult(client: Client, question: AskRadius) -> RadiusChallenge | RadiusAccept | RadiusReject:
    """Raises NoAnswer when every server is silent."""
    caller = Caller(question.address, question.ours, question.nas)
    state = question.state if isinstance(question.state, Round) else None
    try:
        verdict = await client.authenticate(question.identity, question.eap, caller, state)
    except NoServer as silent:
        raise NoAnswer(str(silent)) from None
    if isinstance(verdict, Challenge):
        return RadiusChallenge(verdict.eap, verdict.state)
    if isinstance(verdict, Accept):
        granted = verdict.granted
        addresses = tuple(str(one) for one in (granted.ipv4, granted.ipv6) if one is not None)
        groups = tuple(one.decode("utf-8", "replace") for one in granted.classes)
        return RadiusAccept(granted.user, verdict.msk, addresses, groups, granted)
    return RadiusReject(verdict.why)


class Radius:
    """The servers of the configuration, as the engine asks and tells them, and as they ask us. Used on one event loop.

    `port` is where they do (RFC 5176).
    """

    def __init__(self, hold: Hold, port: int = PORT) -> None:
        self.visits = Visits(hold, self)
        self.problems: tuple[str, ...] = ()
        """Why servers that may end sessions cannot, as a sentence."""
        self._port = port
        self._servers: tuple[RadiusServer, ...] = ()
        self._client: Client | None = None
        self._listener: Listener | None = None
        self._turning = asyncio.Lock()
        self._turns: set[asyncio.Task[None]] = set()

    def apply(self, servers: tuple[RadiusServer, ...]) -> None:
        """These are the servers from now on; who waits for an answer of the former ones gets none."""
        if servers == self._servers:
            return
        self._end_client()
        before, self._servers = self._servers, servers
        self._client = Client(servers, os.urandom, time.monotonic) if servers else None
        self.visits.apply(servers)
        if _dynamic(before) != _dynamic(servers):
            turn = asyncio.get_running_loop().create_task(self._listen())
            self._turns.add(turn)
            turn.add_done_callback(self._turns.discard)

    async def answer(self, question: object) -> object:
        """Raises NoAnswer."""
        if not isinstance(question, AskRadius) or self._client is None:
            raise NoAnswer("there is no RADIUS server in the configuration")
        return await consult(self._client, question)

    async def ask(
        self, request: Callable[[RadiusServer], Callable[[int], Packet]], *, accounting: bool
    ) -> tuple[RadiusServer, Packet, Packet]:
        """Whatever the servers are now, and again when they are others before one has answered. Raises NoServer."""
        while (client := self._client) is not None:
            try:
                return await client.ask(request, accounting=accounting)
            except NoServer:
                if client is self._client:
                    raise
        raise NoServer("there is no RADIUS server in the configuration any more")

    async def _listen(self) -> None:
        """Open to those servers that may end and change sessions, and to nobody where there is none."""
        async with self._turning:
            if self._listener is not None:
                await self._listener.close()
            self._listener, self.problems = None, ()
            servers = {server.name: server for server in _dynamic(self._servers)}
            if not servers:
                return
            listener = Listener(servers, self.visits, time.time)
            where = "::" if any(":" in server.address for server in servers.values()) else "0.0.0.0"  # noqa: S104
            try:
                await listener.open(where, self._port)
            except OSError as error:
                why = f"UDP port {self._port} is not free for it ({error.strerror or error})"
                self.problems = (f"RADIUS servers cannot end sessions: {why}",)
                log.error(self.problems[0])
                return
            self._listener = listener

    async def close(self, patience: float) -> None:
        """Nobody is in any longer; wait so many seconds for servers to hear of it."""
        await asyncio.gather(*self._turns)
        if self._listener is not None:
            await self._listener.close()
        await self.visits.close(patience)
        self._end_client()

    def _end_client(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


def _dynamic(servers: tuple[RadiusServer, ...]) -> tuple[RadiusServer, ...]:
    return tuple(server for server in servers if server.dynamic)
