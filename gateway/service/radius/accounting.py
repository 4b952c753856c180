"""Tells RADIUS servers when somebody came, how much he carried, and when and why he went (RFC 2866, RFC 2869 2.1)."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from gateway.crypto.radius import sign_request
from gateway.policy.radius import RadiusServer
from gateway.service.radius.client import Caller, NoServer, described
from gateway.wire.radius import AUTHENTICATOR_OCTETS, Attribute, Code, Packet, Type, number, text

log = logging.getLogger("ikegate")

SHORTEST_INTERIM = 60.0
"""Seconds; a server that asks for more reports than that does not get them (RFC 2869 2.1)."""
_WRAP = 32  # bits of the octet counters; what is more goes into the gigawords


class Status(IntEnum):
    """What a report is about (RFC 2866 5.1)."""

    START = 1
    STOP = 2
    INTERIM = 3


class Cause(IntEnum):
    """Why somebody went (RFC 2866 5.10)."""

    USER_REQUEST = 1
    LOST_CARRIER = 2
    IDLE_TIMEOUT = 4
    SESSION_TIMEOUT = 5
    ADMIN_RESET = 6
    ADMIN_REBOOT = 7
    NAS_ERROR = 9
    NAS_REQUEST = 10


@dataclass(frozen=True, slots=True)
class Session:
    """Who is in: `id` is ours and unique for ever, `classes` are what the Access-Accept gave to be repeated here."""

    id: str
    user: str
    caller: Caller
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    classes: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Carried:
    """What went through since the session began; `in` is what came from the user."""

    octets_in: int = 0
    octets_out: int = 0
    packets_in: int = 0
    packets_out: int = 0


class Servers(Protocol):
    """Whoever takes requests: a client, or what has one."""

    async def ask(
        self, request: Callable[[RadiusServer], Callable[[int], Packet]], *, accounting: bool
    ) -> tuple[RadiusServer, Packet, Packet]: ...


class Accounting:
    """Reports to the servers. `clock` is monotonic seconds, `unix` is what the reports are dated with."""

    def __init__(self, client: Servers, clock: Callable[[], float], unix: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._unix = unix

    async def accompany(
        self, session: Session, carried: Callable[[], Carried], ended: "asyncio.Future[Cause]", interim: float | None
    ) -> None:
        """From its start to its end, with a report every `interim` seconds (None: none). A lost report is no reason to
        end a session: it is logged, and the next one tells more."""
        began = self._clock()
        await self._tell(Status.START, session, Carried(), 0.0)
        pause = None if interim is None else max(interim, SHORTEST_INTERIM)
        while True:
            done, _ = await asyncio.wait([ended], timeout=pause)
            seconds = self._clock() - began
            if done:
                return await self._tell(Status.STOP, session, carried(), seconds, ended.result())
            await self._tell(Status.INTERIM, session, carried(), seconds)

    async def _tell(
        self, status: Status, session: Session, carried: Carried, seconds: float, cause: Cause | None = None
    ) -> None:
        try:
            await self.report(status, session, carried, seconds, cause)
        except NoServer as silent:
            log.warning("RADIUS accounting of %s (%s) is lost: %s", session.id, status.name.lower(), silent)

    async def report(
        self, status: Status, session: Session, carried: Carried, seconds: float, cause: Cause | None = None
    ) -> None:
        """Raises NoServer.

        --> Accounting-Request (Acct-Status-Type, Acct-Session-Id, …)
        <-- Accounting-Response
        """
        body = [number(Type.ACCT_STATUS_TYPE, status), text(Type.ACCT_SESSION_ID, session.id)]
        body += [text(Type.USER_NAME, session.user), *described(session.caller)]
        body += [number(Type.EVENT_TIMESTAMP, int(self._unix()))]
        body += [text(Type.CLASS, value) for value in session.classes if value]
        if session.ipv4 is not None:
            body.append(Attribute(Type.FRAMED_IP_ADDRESS, session.ipv4.packed))
        if session.ipv6 is not None:
            body.append(Attribute(Type.FRAMED_IPV6_ADDRESS, session.ipv6.packed))
        if status is not Status.START:
            body += [number(Type.ACCT_SESSION_TIME, int(seconds)), *_counters(carried)]
        if cause is not None:
            body.append(number(Type.ACCT_TERMINATE_CAUSE, cause))

        def request(server: RadiusServer) -> Callable[[int], Packet]:
            return lambda identifier: sign_request(
                Packet(Code.ACCOUNTING_REQUEST, identifier, bytes(AUTHENTICATOR_OCTETS), tuple(body)), server.secret
            )

        await self._client.ask(request, accounting=True)


def _counters(carried: Carried) -> list[Attribute]:
    found = []
    for octets, low, high in (
        (carried.octets_in, Type.ACCT_INPUT_OCTETS, Type.ACCT_INPUT_GIGAWORDS),
        (carried.octets_out, Type.ACCT_OUTPUT_OCTETS, Type.ACCT_OUTPUT_GIGAWORDS),
    ):
        found += [number(low, octets & (1 << _WRAP) - 1), number(high, octets >> _WRAP)]
    return [
        *found,
        number(Type.ACCT_INPUT_PACKETS, carried.packets_in & (1 << _WRAP) - 1),
        number(Type.ACCT_OUTPUT_PACKETS, carried.packets_out & (1 << _WRAP) - 1),
    ]
