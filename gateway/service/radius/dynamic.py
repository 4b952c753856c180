"""Listens to RADIUS servers that want a session ended or changed (RFC 5176)."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

from gateway.crypto.radius import NotAuthentic, check_request, sign_answer
from gateway.policy.radius import RadiusServer
from gateway.wire.outcome import Drop
from gateway.wire.radius import Attribute, Code, Packet, Type, number, parse

log = logging.getLogger("ikegate")

PORT = 3799
FRESH_SECONDS = 300.0
"""How far a request's Event-Timestamp may be from our clock (RFC 5176 6.3)."""
_REMEMBERED = 256
_MOST_UNDER_WAY = 64
_ANSWERS = {
    Code.DISCONNECT_REQUEST: (Code.DISCONNECT_ACK, Code.DISCONNECT_NAK),
    Code.COA_REQUEST: (Code.COA_ACK, Code.COA_NAK),
}
_OF_THE_PACKET = frozenset({Type.MESSAGE_AUTHENTICATOR, Type.PROXY_STATE, Type.EVENT_TIMESTAMP})
_IGNORED = frozenset({Type.REPLY_MESSAGE, Type.ACCT_TERMINATE_CAUSE})
_OF_THE_NAS = frozenset({Type.NAS_IP_ADDRESS, Type.NAS_IPV6_ADDRESS, Type.NAS_IDENTIFIER})
_OF_THE_SESSION = frozenset(
    {
        Type.USER_NAME,
        Type.ACCT_SESSION_ID,
        Type.FRAMED_IP_ADDRESS,
        Type.FRAMED_IPV6_ADDRESS,
        Type.CALLING_STATION_ID,
        Type.CALLED_STATION_ID,
    }
)
_CHANGEABLE = frozenset({Type.SESSION_TIMEOUT, Type.IDLE_TIMEOUT})


_ADDRESS_OCTETS = {
    Type.NAS_IP_ADDRESS: 4,
    Type.NAS_IPV6_ADDRESS: 16,
    Type.FRAMED_IP_ADDRESS: 4,
    Type.FRAMED_IPV6_ADDRESS: 16,
}
Address = IPv4Address | IPv6Address


class ErrorCause(IntEnum):
    """Why a request was not carried out (RFC 5176 3.5)."""

    UNSUPPORTED_ATTRIBUTE = 401
    MISSING_ATTRIBUTE = 402
    NAS_IDENTIFICATION_MISMATCH = 403
    INVALID_REQUEST = 404
    SESSION_CONTEXT_NOT_FOUND = 503


@dataclass(frozen=True, slots=True)
class Which:
    """The sessions that are meant: those that fit everything that is told. Empty and None are not told."""

    user: str = ""
    session_id: str = ""
    ipv4: Address | None = None
    ipv6: Address | None = None
    calling: str = ""
    called: str = ""
    nas: tuple[Address, ...] = ()
    """Addresses of ours, at which it came in."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a session is to have from now on; None leaves it as it is. Times are in seconds."""

    session_timeout: int | None
    idle_timeout: int | None


class Sessions(Protocol):
    """Who is in, as this listener needs to know it. What is asked for is answered by how many sessions were meant."""

    def names(self) -> Collection[str]:
        """What we are called (NAS-Identifier)."""
        ...

    async def disconnect(self, which: Which) -> int: ...

    async def change(self, which: Which, wanted: Wanted) -> int: ...


class Listener(asyncio.DatagramProtocol):
    """Answers configured servers alone, each by its own secret; strangers and forgers hear nothing.

    A request that comes again is answered again and not carried out again (RFC 5176 2.3).
    """

    def __init__(self, servers: Mapping[str, RadiusServer], sessions: Sessions, unix: Callable[[], float]) -> None:
        self._secrets: dict[Address, list[bytes]] = {}
        for server in servers.values():  # several may be at one address, each with its own secret
            self._secrets.setdefault(ip_address(server.address), []).append(server.secret)
        self._sessions = sessions
        self._unix = unix
        self._transport: asyncio.DatagramTransport | None = None
        self._lost = asyncio.Event()
        self._answered: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._under_way: dict[tuple[object, ...], asyncio.Task[None]] = {}
        self.dropped = 0
        """Datagrams that were not answered at all."""

    async def open(self, address: str, port: int = PORT) -> int:
        """Listen; the port that it is (0 takes any). Raises OSError."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(address, port))
        return int(self._transport.get_extra_info("sockname")[1])

    async def close(self) -> None:
        """What is under way is carried out, and answered; the port is free afterwards."""
        await asyncio.gather(*self._under_way.values())
        if self._transport is not None:
            self._transport.close()
            await self._lost.wait()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost.set()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            request, secret = self._read(data, addr)
        except Drop as drop:
            self.dropped += 1
            log.info("RADIUS: a request from %s is ignored: %s", addr[0], drop.why)
            return
        name = (*addr[:2], request.code, request.identifier, request.authenticator)
        if name in self._answered:
            self._send(self._answered[name], addr)
        elif name not in self._under_way and len(self._under_way) < _MOST_UNDER_WAY:
            work = self._serve(request, secret, addr, name)
            self._under_way[name] = asyncio.get_running_loop().create_task(work)

    def _read(self, data: bytes, addr: tuple[str, int]) -> tuple[Packet, bytes]:
        """The request, and the secret that proves it. Raises Drop."""
        secrets = self._secrets.get(_plain(addr[0]))
        if secrets is None:
            raise Drop("no RADIUS server of ours is there")
        request = parse(data)
        if request.code not in _ANSWERS:
            raise Drop(f"code {request.code} is none that we are asked")
        secret = _proving(request, secrets)
        stamp = request.number(Type.EVENT_TIMESTAMP)
        if stamp is not None and abs(stamp - self._unix()) > FRESH_SECONDS:
            raise Drop("its Event-Timestamp is minutes away from our clock: it was sent again, or a clock is wrong")
        return request, secret

    async def _serve(self, request: Packet, secret: bytes, addr: tuple[str, int], name: tuple[object, ...]) -> None:
        ack, nak = _ANSWERS[Code(request.code)]
        try:
            error = self._unacceptable(request) or await self._carry_out(request)
        finally:
            del self._under_way[name]
        body = [Attribute(Type.PROXY_STATE, value) for value in request.all(Type.PROXY_STATE)]
        if error is not None:
            body.append(number(Type.ERROR_CAUSE, error))
        answer = Packet(nak if error else ack, request.identifier, bytes(16), tuple(body))
        octets = sign_answer(answer, request, secret).octets()
        self._answered[name] = octets
        while len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)
        self._send(octets, addr)

    def _send(self, octets: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(octets, addr)

    def _unacceptable(self, request: Packet) -> ErrorCause | None:
        kinds = {kind for kind, _ in request.attributes}
        known = _OF_THE_PACKET | _IGNORED | _OF_THE_NAS | _OF_THE_SESSION
        if request.code == Code.COA_REQUEST:
            known |= _CHANGEABLE
        if kinds - known:
            return ErrorCause.UNSUPPORTED_ATTRIBUTE
        named = request.maybe(Type.NAS_IDENTIFIER)
        if named is not None and named not in [name.encode() for name in self._sessions.names()]:
            return ErrorCause.NAS_IDENTIFICATION_MISMATCH
        if request.code == Code.COA_REQUEST and not kinds & _CHANGEABLE:
            return ErrorCause.MISSING_ATTRIBUTE
        if any(len(value) != 4 for kind in _CHANGEABLE for value in request.all(kind)):
            return ErrorCause.INVALID_REQUEST
        return _vague(request, kinds)

    async def _carry_out(self, request: Packet) -> ErrorCause | None:
        which = Which(
            user=request.text(Type.USER_NAME),
            session_id=request.text(Type.ACCT_SESSION_ID),
            ipv4=next(_addresses(request, Type.FRAMED_IP_ADDRESS), None),
            ipv6=next(_addresses(request, Type.FRAMED_IPV6_ADDRESS), None),
            calling=request.text(Type.CALLING_STATION_ID),
            called=request.text(Type.CALLED_STATION_ID),
            nas=(*_addresses(request, Type.NAS_IP_ADDRESS), *_addresses(request, Type.NAS_IPV6_ADDRESS)),
        )
        if replace(which, called="", nas=()) == Which():
            return ErrorCause.INVALID_REQUEST
        if request.code == Code.DISCONNECT_REQUEST:
            meant = await self._sessions.disconnect(which)
        else:
            timeouts = request.number(Type.SESSION_TIMEOUT), request.number(Type.IDLE_TIMEOUT)
            meant = await self._sessions.change(which, Wanted(*timeouts))
        return None if meant else ErrorCause.SESSION_CONTEXT_NOT_FOUND


def _vague(request: Packet, kinds: Collection[int]) -> ErrorCause | None:
    """What could mean more sessions than were meant."""
    if any(len(value) != octets for kind, octets in _ADDRESS_OCTETS.items() for value in request.all(kind)):
        return ErrorCause.INVALID_REQUEST
    if Type.ACCT_SESSION_ID not in kinds and request.number(Type.EVENT_TIMESTAMP) is None:
        return ErrorCause.MISSING_ATTRIBUTE  # whoever overheard it could send it again, against later sessions
    if not set(kinds) & (_OF_THE_SESSION - {Type.CALLED_STATION_ID}):
        return ErrorCause.MISSING_ATTRIBUTE  # it would mean everybody
    return None


def _addresses(request: Packet, kind: Type) -> Iterator[Address]:
    return (ip_address(value) for value in request.all(kind) if len(value) == _ADDRESS_OCTETS[kind])


def _proving(request: Packet, secrets: Sequence[bytes]) -> bytes:
    """The secret by which the request is one of its server's. Raises NotAuthentic."""
    for secret in secrets[:-1]:
        try:
            check_request(request, secret)
        except NotAuthentic:
            continue
        return secret
    check_request(request, secrets[-1])
    return secrets[-1]


def _plain(host: str) -> IPv4Address | IPv6Address:
    """The address itself, where a socket of both versions shows IPv4 inside IPv6."""
    found = ip_address(host.partition("%")[0])
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
