"""Puts the engine's questions to the RADIUS client, and its verdicts into the engine's words."""

import os
import time

from gateway.ike.authentication.eap.radius import AskRadius, RadiusAccept, RadiusChallenge, RadiusReject
from gateway.ike.flow import NoAnswer
from gateway.policy.radius import RadiusServer
from gateway.service.radius.client import Accept, Caller, Challenge, Client, NoServer, Round


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
        return RadiusAccept(granted.user, verdict.msk, addresses, groups)
    return RadiusReject(verdict.why)


class Radius:
    """The servers of the configuration, as the engine asks them. Used on one event loop."""

    def __init__(self) -> None:
        self._servers: tuple[RadiusServer, ...] = ()
        self._client: Client | None = None

    def apply(self, servers: tuple[RadiusServer, ...]) -> None:
        """These are the servers from now on; who waits for an answer of the former ones gets none."""
        if servers == self._servers:
            return
        self.close()
        self._servers = servers
        self._client = Client(servers, os.urandom, time.monotonic) if servers else None

    async def answer(self, question: object) -> object:
        """Raises NoAnswer."""
        if not isinstance(question, AskRadius) or self._client is None:
            raise NoAnswer("there is no RADIUS server in the configuration")
        return await consult(self._client, question)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None
