"""Requests of a RADIUS server to us (RFC 5176) that are forged, sent again, or name the wrong session."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest

from gateway.crypto.radius import check_answer, sign_request
from gateway.policy.radius import RadiusServer
from gateway.service.radius.dynamic import FRESH_SECONDS, Listener, Wanted, Which
from gateway.wire.outcome import Drop
from gateway.wire.radius import Attribute, Code, Packet, Type, number, parse, text

SECRET = b"of the two of us"


@dataclass
class Everybody:
    asked: list[Which] = field(default_factory=list)

    def names(self) -> tuple[str, ...]:
        return ("gateway.example",)

    async def disconnect(self, which: Which) -> int:
        self.asked.append(which)
        return 1

    async def change(self, which: Which, wanted: Wanted) -> int:
        self.asked.append(which)
        return 1


class Asker(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.heard.put_nowait(data)


@asynccontextmanager
async def listening(
    *, server: str = "127.0.0.1"
) -> AsyncIterator[tuple[Everybody, Listener, Callable[..., "asyncio.Future[list[bytes]]"]]]:
    """Who is in, the listener, and a way to send it datagrams that answers what came back."""
    sessions = Everybody()
    listener = Listener({"one": RadiusServer("one", server, SECRET)}, sessions, lambda: 1e9)
    port = await listener.open("127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    transport, asker = await loop.create_datagram_endpoint(Asker, remote_addr=("127.0.0.1", port))

    async def send(*datagrams: bytes, answers: int) -> list[bytes]:
        for one in datagrams:
            transport.sendto(one)
        # What is ignored leaves no trace but the count; a good one behind it tells that it was read.
        transport.sendto(disconnect("last", 99))
        found = [await asyncio.wait_for(asker.heard.get(), 10) for _ in range(answers + 1)]
        assert asker.heard.empty()
        return found[:-1]

    try:
        yield sessions, listener, send  # type: ignore[misc]
    finally:
        transport.close()
        await listener.close()


def disconnect(user: str, identifier: int = 1, *more: Attribute, code: Code = Code.DISCONNECT_REQUEST) -> bytes:
    body = (text(Type.USER_NAME, user), number(Type.EVENT_TIMESTAMP, 10**9), *more)
    return sign_request(Packet(code, identifier, bytes(16), body), SECRET).octets()


async def test_what_comes_again_is_answered_again_and_done_once() -> None:
    async with listening() as (sessions, _, send):
        first, second, third = await send(*[disconnect("alice")] * 3, answers=3)
        assert first == second == third
        assert first[0] == Code.DISCONNECT_ACK
        assert [one.user for one in sessions.asked] == ["alice", "last"]


async def test_forgers_hear_nothing_and_reach_nobody() -> None:
    good = disconnect("alice")
    stale = sign_request(
        Packet(
            Code.DISCONNECT_REQUEST,
            5,
            bytes(16),
            (text(Type.USER_NAME, "alice"), number(Type.EVENT_TIMESTAMP, 10**9 - int(FRESH_SECONDS) - 1)),
        ),
        SECRET,
    )
    forged = [
        b"\x28",
        good[:-1],
        good[:4] + bytes(16) + good[20:],
        good.replace(b"alice", b"bobby"),
        sign_request(parse(good), b"guessed").octets(),
        disconnect("alice", code=Code.ACCESS_REQUEST),
        disconnect("alice", code=Code.ACCOUNTING_REQUEST),
        stale.octets(),
    ]
    async with listening() as (sessions, listener, send):
        assert await send(*forged, answers=0) == []
        assert [one.user for one in sessions.asked] == ["last"]
        assert listener.dropped == len(forged)


async def test_who_is_no_server_of_ours_hears_nothing() -> None:
    sessions = Everybody()
    listener = Listener({"one": RadiusServer("one", "192.0.2.9", SECRET)}, sessions, lambda: 1e9)
    listener.datagram_received(disconnect("alice"), ("127.0.0.1", 3799))
    assert listener.dropped == 1
    await listener.close()
    assert sessions.asked == []


async def test_a_request_that_names_nobody_does_not_mean_everybody() -> None:
    nobody = [
        (),
        (text(Type.NAS_IDENTIFIER, "gateway.example"),),
        (text(Type.CALLED_STATION_ID, "192.0.2.1"),),
        (text(Type.CALLED_STATION_ID, "192.0.2.1"), Attribute(Type.USER_NAME, b"")),
        (Attribute(Type.USER_NAME, b""),),
        (number(Type.FRAMED_IP_ADDRESS, 0xFFFFFFFF),),
        (Attribute(Type.FRAMED_IP_ADDRESS, b"\x0a"),),
    ]
    requests = [
        sign_request(Packet(Code.DISCONNECT_REQUEST, number, bytes(16), body), SECRET).octets()
        for number, body in enumerate(nobody)
    ]
    async with listening() as (sessions, _, send):
        answers = await send(*requests, answers=len(requests))
        assert {one[0] for one in answers} == {Code.DISCONNECT_NAK}
        assert [one.user for one in sessions.asked] == ["last"]


FRESH = number(Type.EVENT_TIMESTAMP, 10**9)


@pytest.mark.parametrize(
    "attributes",
    [
        (text(Type.USER_NAME, "alice"), FRESH, Attribute(Type.FRAMED_IP_ADDRESS, b"\x0a\x03\x00")),
        (text(Type.USER_NAME, "alice"), FRESH, Attribute(Type.FRAMED_IPV6_ADDRESS, bytes(15))),
        (text(Type.USER_NAME, "alice"), FRESH, Attribute(Type.NAS_IP_ADDRESS, b"\x0a")),
        (text(Type.USER_NAME, "alice"), FRESH, Attribute(Type.NAS_IPV6_ADDRESS, b"\x0a")),
    ],
)
async def test_an_address_that_is_none_does_not_mean_any(attributes: tuple[Attribute, ...]) -> None:
    asked = sign_request(Packet(Code.DISCONNECT_REQUEST, 3, bytes(16), attributes), SECRET).octets()
    async with listening() as (sessions, _, send):
        (got,) = await send(asked, answers=1)
        assert (got[0], parse(got).number(Type.ERROR_CAUSE)) == (Code.DISCONNECT_NAK, 404)
        assert [one.user for one in sessions.asked] == ["last"]


async def test_the_address_of_nobody_is_nobody_s() -> None:
    asked = disconnect("alice", 4, number(Type.FRAMED_IP_ADDRESS, 0xFFFFFFFF))
    async with listening() as (sessions, _, send):
        await send(asked, answers=1)
        assert sessions.asked[0].ipv4 == ip_address("255.255.255.255")


async def test_what_could_be_sent_again_names_one_session() -> None:
    """Without a time it could end sessions to come; a session's own number is never another's."""
    ended = (text(Type.USER_NAME, "alice"),), (text(Type.USER_NAME, "alice"), text(Type.ACCT_SESSION_ID, "7"))
    asked = [
        sign_request(Packet(Code.DISCONNECT_REQUEST, at, bytes(16), body), SECRET).octets()
        for at, body in enumerate(ended)
    ]
    async with listening() as (sessions, _, send):
        first, second = sorted(await send(*asked, answers=2), key=lambda one: one[1])
        assert (first[0], parse(first).number(Type.ERROR_CAUSE)) == (Code.DISCONNECT_NAK, 402)
        assert second[0] == Code.DISCONNECT_ACK
        assert [one.session_id for one in sessions.asked] == ["7", ""]


async def test_which_of_our_addresses_is_meant_is_told_on() -> None:
    asked = disconnect("alice", 5, Attribute(Type.NAS_IP_ADDRESS, bytes((192, 0, 2, 1))))
    async with listening() as (sessions, _, send):
        await send(asked, answers=1)
        assert sessions.asked[0].nas == (ip_address("192.0.2.1"),)


async def test_servers_at_one_address_have_each_its_own_secret() -> None:
    sessions = Everybody()
    servers = {name: RadiusServer(name, "127.0.0.1", name.encode()) for name in ("one", "two")}
    listener = Listener(servers, sessions, lambda: 1e9)
    body = (text(Type.USER_NAME, "alice"), FRESH)
    for at, secret in enumerate((b"one", b"two", b"three")):
        request = sign_request(Packet(Code.DISCONNECT_REQUEST, at, bytes(16), body), secret)
        listener.datagram_received(request.octets(), ("127.0.0.1", 3799))
    await asyncio.gather(*listener._under_way.values())
    assert (len(sessions.asked), listener.dropped) == (2, 1)
    for octets in listener._answered.values():
        answered = parse(octets)
        secret = (b"one", b"two")[answered.identifier]
        asked = sign_request(Packet(Code.DISCONNECT_REQUEST, answered.identifier, bytes(16), body), secret)
        check_answer(answered, asked, secret)
    await listener.close()


async def test_proxies_get_back_what_is_theirs_and_every_answer_is_signed() -> None:
    proxies = (Attribute(Type.PROXY_STATE, b"a"), Attribute(Type.PROXY_STATE, b"b"))
    asked = disconnect("alice", 7, *proxies)
    async with listening() as (_, _, send):
        (got,) = await send(asked, answers=1)
    answered = parse(got)
    check_answer(answered, parse(asked), SECRET)
    assert list(answered.all(Type.PROXY_STATE)) == [b"a", b"b"]
    with pytest.raises(Drop):
        check_answer(replace(answered, code=Code.DISCONNECT_NAK), parse(asked), SECRET)
