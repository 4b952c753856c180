"""Asks RADIUS servers who may come in (RFC 2865, RFC 3579); the next one where one is silent."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from gateway.crypto.radius import msk, sign_access_request
from gateway.ike.authentication.eap.talk import MAX_ROUNDS
from gateway.policy.radius import RadiusServer
from gateway.service.radius.link import Link, Silent
from gateway.wire.numbers import EapCode
from gateway.wire.outcome import Drop
from gateway.wire.radius import (
    AUTHENTICATOR_OCTETS,
    MAX_VALUE,
    Attribute,
    Code,
    Packet,
    Type,
    eap_message,
    fits,
    number,
    text,
)

log = logging.getLogger("ikegate")

DEAD_SECONDS = 60.0
"""For so long a silent server is asked after the others."""
_FRAMED, _VIRTUAL = 2, 5  # RFC 2865 5.6 and 5.41
_FRAMED_MTU = 1344
"""What EAP may put into one packet so that IKE_AUTH still passes where IPv6's least MTU does."""


class NoServer(Exception):
    """Nobody answered; the text tells what each server did."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who wants to come in, and where: addresses with their ports as text, and what we are called."""

    address: str
    ours: str
    nas: str

    @property
    def host(self) -> IPv4Address | IPv6Address:
        """Our address."""
        return ip_address(self.ours.rpartition(":")[0].strip("[]") or self.ours)


@dataclass(frozen=True, slots=True)
class Round:
    """Where a conversation stands; its server alone knows more."""

    server: str
    state: tuple[bytes, ...] = field(repr=False)
    number: int


@dataclass(frozen=True, slots=True)
class Granted:
    """What an Access-Accept grants; None and empty where it says nothing. Times are in seconds."""

    user: str
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    classes: tuple[bytes, ...]
    filters: tuple[str, ...]
    session_timeout: int | None
    idle_timeout: int | None
    interim_interval: int | None


@dataclass(frozen=True, slots=True)
class Challenge:
    """The conversation goes on: `eap` is for the peer, and its answer for `state`'s server."""

    eap: bytes
    state: Round


@dataclass(frozen=True, slots=True)
class Accept:
    """Come in. `msk` is empty where the method makes no key, `eap` where the server left EAP Success to us."""

    eap: bytes
    msk: bytes = field(repr=False)
    granted: Granted


@dataclass(frozen=True, slots=True)
class Reject:
    """Stay out; `why` is a sentence, `eap` the EAP Failure if the server made one."""

    eap: bytes
    why: str


Verdict = Challenge | Accept | Reject


class Client:
    """The servers in the order in which they are asked. `clock` is monotonic seconds."""

    def __init__(
        self, servers: Sequence[RadiusServer], random: Callable[[int], bytes], clock: Callable[[], float]
    ) -> None:
        self.servers = {server.name: server for server in servers}
        self._random = random
        self._clock = clock
        self._dead: dict[tuple[str, bool], float] = {}  # one that does no accounting may still let people in
        self._links = {
            (server.name, port): Link(server, port)
            for server in servers
            for port in {server.port, server.accounting_port}
        }

    async def authenticate(self, identity: bytes, eap: bytes, caller: Caller, state: Round | None = None) -> Verdict:
        """What the server says to the peer's EAP packet; `state` is the last challenge's. Raises NoServer.

        --> Access-Request (User-Name, EAP-Message, State)
        <-- Access-Challenge (EAP-Message, State), Access-Accept (EAP-Message, keys) or Access-Reject (EAP-Message)
        """
        if not identity or len(identity) > MAX_VALUE:
            return Reject(b"", f"an identity of {len(identity)} octets cannot be asked about by RADIUS")
        count = state.number + 1 if state else 1
        if count > MAX_ROUNDS:
            return Reject(b"", f"the RADIUS server did not come to an end in {MAX_ROUNDS} rounds")
        body = (text(Type.USER_NAME, identity), *_described(caller), *eap_message(eap))
        if state is not None:
            body = (*body, *(Attribute(Type.STATE, value) for value in state.state))
        if not fits(body):
            return Reject(b"", f"an EAP packet of {len(eap)} octets is more than RADIUS carries")

        def request(server: RadiusServer) -> Callable[[int], Packet]:
            chance = self._random(AUTHENTICATOR_OCTETS)
            return lambda identifier: sign_access_request(
                Packet(Code.ACCESS_REQUEST, identifier, chance, body), server.secret
            )

        server, asked, answer = await self.ask(request, accounting=False, only=state.server if state else None)
        try:
            return _verdict(server, asked, answer, count)
        except Drop as drop:
            return Reject(b"", f"the RADIUS server {server.name} gave an answer of no use: {drop.why}")

    async def ask(
        self, request: Callable[[RadiusServer], Callable[[int], Packet]], *, accounting: bool, only: str | None = None
    ) -> tuple[RadiusServer, Packet, Packet]:
        """One server after the other until one answers: that server, the request, its answer. Raises NoServer."""
        said = []
        for server in self._in_turn(only, accounting=accounting):
            link = self._links[server.name, server.accounting_port if accounting else server.port]
            try:
                asked, answer = await link.ask(request(server))
            except Silent as silent:
                self._dead[server.name, accounting] = self._clock() + DEAD_SECONDS
                said.append(f"{server.name}: {silent}")
                log.warning("RADIUS server %s: %s", server.name, silent)
                continue
            self._dead.pop((server.name, accounting), None)
            return server, asked, answer
        raise NoServer("; ".join(said) or "there is no RADIUS server")

    def _in_turn(self, only: str | None, *, accounting: bool = False) -> list[RadiusServer]:
        """Those that fell silent lately go last; a conversation goes on with its own server alone (RFC 3579 2.6.1)."""
        if only is not None:
            return [self.servers[only]] if only in self.servers else []
        now = self._clock()
        fit = [server for server in self.servers.values() if server.accounting or not accounting]
        return sorted(fit, key=lambda server: self._dead.get((server.name, accounting), 0.0) > now)

    def close(self) -> None:
        """Whoever waits for an answer gets none, and nobody is asked any more."""
        for link in self._links.values():
            link.close()


def described(caller: Caller) -> tuple[Attribute, ...]:
    """The caller and ourselves, in every request."""
    address = caller.host
    ours = Type.NAS_IP_ADDRESS if address.version == 4 else Type.NAS_IPV6_ADDRESS
    return (
        text(Type.NAS_IDENTIFIER, caller.nas),
        Attribute(ours, address.packed),
        number(Type.NAS_PORT_TYPE, _VIRTUAL),
        text(Type.CALLED_STATION_ID, caller.ours),
        text(Type.CALLING_STATION_ID, caller.address),
    )


def _described(caller: Caller) -> tuple[Attribute, ...]:
    return (*described(caller), number(Type.SERVICE_TYPE, _FRAMED), number(Type.FRAMED_MTU, _FRAMED_MTU))


def _verdict(server: RadiusServer, request: Packet, answer: Packet, count: int) -> Verdict:
    """Raises Drop for an answer that contradicts itself."""
    eap = answer.eap
    if answer.code == Code.ACCESS_CHALLENGE:
        if not eap:
            raise Drop("a challenge without EAP")
        return Challenge(eap, Round(server.name, tuple(answer.all(Type.STATE)), count))
    if answer.code == Code.ACCESS_REJECT:
        said = answer.text(Type.REPLY_MESSAGE)
        return Reject(eap, f"the RADIUS server {server.name} refused{said and ': '}{said}")
    if answer.code != Code.ACCESS_ACCEPT:
        raise Drop(f"code {answer.code}")
    if eap and eap[0] != EapCode.SUCCESS:  # RFC 3579 2.6.3: what is in it must not say otherwise
        raise Drop("it accepts, but its EAP packet is no Success")
    return Accept(eap, msk(answer, request, server.secret), _granted(request, answer))


def _granted(request: Packet, answer: Packet) -> Granted:
    return Granted(
        user=answer.text(Type.USER_NAME) or request.text(Type.USER_NAME),
        ipv4=answer.ipv4(Type.FRAMED_IP_ADDRESS),
        ipv6=answer.ipv6(Type.FRAMED_IPV6_ADDRESS),
        classes=tuple(answer.all(Type.CLASS)),
        filters=tuple(value.decode("utf-8", "replace") for value in answer.all(Type.FILTER_ID)),
        session_timeout=answer.number(Type.SESSION_TIMEOUT),
        idle_timeout=answer.number(Type.IDLE_TIMEOUT),
        interim_interval=answer.number(Type.ACCT_INTERIM_INTERVAL),
    )
