"""Hostile RADIUS servers, and who stands between: only what is proven is believed, and each wait has an end."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest

from gateway.crypto.radius import check_answer, sign_answer, sign_request
from gateway.ike.authentication.eap.talk import MAX_ROUNDS
from gateway.policy.radius import RadiusServer
from gateway.service.radius.client import Accept, Caller, Challenge, Client, NoServer, Reject, Round
from gateway.service.radius.dynamic import FRESH_SECONDS, Listener, Wanted, Which
from gateway.wire.outcome import Drop
from gateway.wire.radius import Attribute, Code, Packet, Type, eap_message, number, parse, text

SECRET = b"of the two of us"
CALLER = Caller("198.51.100.7:4500", "192.0.2.1:4500", "gateway.example")
EAP_RESPONSE = bytes((2, 1, 0, 10, 1)) + b"alice"
EAP_SUCCESS, EAP_FAILURE, EAP_REQUEST = bytes((3, 1, 0, 4)), bytes((4, 1, 0, 4)), bytes((1, 2, 0, 5, 26))

Answers = Callable[[Packet], list[bytes]]


@dataclass
class Rogue(asyncio.DatagramProtocol):
    """Answers each request with whatever datagrams the test makes of it, and keeps what it was asked."""

    answers: Answers
    asked: list[bytes] = field(default_factory=list)
    transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.asked.append(data)
        assert self.transport is not None
        for answer in self.answers(parse(data)):
            self.transport.sendto(answer, addr)  # type: ignore[arg-type]


@asynccontextmanager
async def rogue(answers: Answers, name: str = "one", **more: object) -> AsyncIterator[tuple[Rogue, RadiusServer]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: Rogue(answers), local_addr=("127.0.0.1", 0))
    settings = {"port": transport.get_extra_info("sockname")[1], "timeout": 0.3, "tries": 3, **more}
    try:
        yield protocol, RadiusServer(name, "127.0.0.1", SECRET, **settings)  # type: ignore[arg-type]
    finally:
        transport.close()


@contextmanager
def client_of(*servers: RadiusServer) -> Iterator[Client]:
    client = Client(servers, os.urandom, time.monotonic)
    try:
        yield client
    finally:
        client.close()


def answer(request: Packet, code: Code, *attributes: Attribute) -> Packet:
    return Packet(code, request.identifier, bytes(16), attributes)


def accept(request: Packet) -> Packet:
    return answer(request, Code.ACCESS_ACCEPT, *eap_message(EAP_SUCCESS))


def signed(request: Packet, unsigned: Packet) -> bytes:
    return sign_answer(unsigned, request, SECRET).octets()


def collided(request: Packet, unsigned: Packet) -> bytes:
    """With a right Response Authenticator, as a forger with an MD5 collision has it, and no Message-Authenticator."""
    octets = replace(unsigned, authenticator=request.authenticator).octets()
    return replace(unsigned, authenticator=hashlib.md5(octets + SECRET).digest()).octets()


async def refused(answers: Answers) -> str:
    """That no answer of these lets anybody in, and what is told of it."""
    async with rogue(answers) as (_, server):
        with client_of(server) as client, pytest.raises(NoServer) as told:
            await client.authenticate(b"alice", EAP_RESPONSE, CALLER)
    return str(told.value)


async def test_an_accept_without_message_authenticator_lets_nobody_in() -> None:
    """BlastRADIUS, CVE-2024-3596."""
    assert "no Message-Authenticator" in await refused(lambda request: [collided(request, accept(request))])


async def test_an_accept_by_another_secret_lets_nobody_in() -> None:
    forged = await refused(lambda request: [sign_answer(accept(request), request, b"guessed").octets()])
    assert forged.startswith("one: 3 answers of no use to 3 tries: its Response Authenticator is wrong")


async def test_an_old_accept_is_for_another_request() -> None:
    old = Packet(Code.ACCESS_REQUEST, 0, bytes(16))
    await refused(lambda request: [signed(old, replace(accept(old), identifier=request.identifier))])


async def test_a_refusal_turned_into_an_accept_is_neither() -> None:
    def turned(request: Packet) -> list[bytes]:
        octets = bytearray(signed(request, answer(request, Code.ACCESS_REJECT)))
        octets[0] = Code.ACCESS_ACCEPT
        return [bytes(octets)]

    await refused(turned)


async def test_the_true_answer_is_found_in_a_flood_of_false_ones() -> None:
    endless = bytes((2, 0)) + (20 + 4000).to_bytes(2) + bytes(16) + b"\x4f\x02" * 2000
    zeros = bytes((2, 0)) + (24).to_bytes(2) + bytes(16) + b"\x4f\x00\x01\x00"

    def flood(request: Packet) -> list[bytes]:
        names = [bytes((one[0], request.identifier)) + one[2:] for one in (endless, zeros)]
        junk = [b"", b"\x02", os.urandom(30), bytes((2, request.identifier)) + bytes(18), *names] * 3
        return [*junk, sign_answer(accept(request), request, b"guessed").octets(), signed(request, accept(request))]

    async with rogue(flood, timeout=5.0) as (_, server):
        with client_of(server) as client:
            verdict = await client.authenticate(b"alice", EAP_RESPONSE, CALLER)
    assert isinstance(verdict, Accept)


async def test_a_request_that_is_sent_again_is_the_same() -> None:
    async with rogue(lambda _: []) as (silent, server):
        with client_of(server) as client, pytest.raises(NoServer, match="no answer to 3 tries"):
            await client.authenticate(b"alice", EAP_RESPONSE, CALLER)
    assert len(silent.asked) == 3
    assert len(set(silent.asked)) == 1


@pytest.mark.parametrize("eap", [EAP_FAILURE, EAP_REQUEST, b"\x07"])
async def test_an_accept_whose_eap_says_otherwise_is_a_refusal(eap: bytes) -> None:
    async with rogue(lambda r: [signed(r, answer(r, Code.ACCESS_ACCEPT, *eap_message(eap)))]) as (_, server):
        with client_of(server) as client:
            verdict = await client.authenticate(b"alice", EAP_RESPONSE, CALLER)
    assert isinstance(verdict, Reject)
    assert "no Success" in verdict.why


@pytest.mark.parametrize(
    "attributes",
    [
        (Attribute(26, (311).to_bytes(4) + b"\x11\x04\x80\x01"),),
        (Attribute(26, (311).to_bytes(4) + b"\x11\x14\x80\x01" + bytes(16)),),
    ],
)
async def test_an_accept_with_half_a_key_is_a_refusal(attributes: tuple[Attribute, ...]) -> None:
    """Without its key the EAP method proves nothing to IKE, and a wrong one would only fail later."""
    body = (*eap_message(EAP_SUCCESS), *attributes)
    async with rogue(lambda r: [signed(r, answer(r, Code.ACCESS_ACCEPT, *body))]) as (_, server):
        with client_of(server) as client:
            verdict = await client.authenticate(b"alice", EAP_RESPONSE, CALLER)
    assert isinstance(verdict, Reject)


@pytest.mark.parametrize("code", [Code.ACCOUNTING_RESPONSE, Code.COA_ACK, Code.ACCESS_CHALLENGE])
async def test_an_answer_that_is_none_is_a_refusal(code: Code) -> None:
    async with rogue(lambda r: [signed(r, answer(r, code))]) as (_, server):
        with client_of(server) as client:
            assert isinstance(await client.authenticate(b"alice", EAP_RESPONSE, CALLER), Reject)


async def test_challenges_without_end_come_to_one() -> None:
    body = (*eap_message(EAP_REQUEST), text(Type.STATE, b"on and on"))
    async with rogue(lambda r: [signed(r, answer(r, Code.ACCESS_CHALLENGE, *body))]) as (endless, server):
        with client_of(server) as client:
            state: Round | None = None
            for _ in range(MAX_ROUNDS):
                verdict = await client.authenticate(b"alice", EAP_RESPONSE, CALLER, state)
                assert isinstance(verdict, Challenge)
                state = verdict.state
            assert isinstance(await client.authenticate(b"alice", EAP_RESPONSE, CALLER, state), Reject)
    assert [parse(one).maybe(Type.STATE) for one in endless.asked] == [None] + [b"on and on"] * (MAX_ROUNDS - 1)


async def test_a_conversation_is_told_to_its_own_server_alone() -> None:
    """What another server would make of the State of this one is a question nobody should ask."""
    body = (*eap_message(EAP_REQUEST), text(Type.STATE, b"secret of one"))
    speaks = [True]

    def once(request: Packet) -> list[bytes]:
        return [signed(request, answer(request, Code.ACCESS_CHALLENGE, *body))] if speaks[0] else []

    async with rogue(once) as (_, one), rogue(lambda r: [signed(r, accept(r))], "two") as (other, two):
        with client_of(one, two) as client:
            verdict = await client.authenticate(b"alice", EAP_RESPONSE, CALLER)
            assert isinstance(verdict, Challenge)
            speaks[0] = False
            with pytest.raises(NoServer):
                await client.authenticate(b"alice", EAP_RESPONSE, CALLER, verdict.state)
            assert other.asked == []
            assert isinstance(await client.authenticate(b"bob", EAP_RESPONSE, CALLER), Accept)  # begins anew, with two
            with pytest.raises(NoServer):
                await client.authenticate(b"alice", EAP_RESPONSE, CALLER, Round("gone", (), 1))


async def test_more_requests_than_identifiers_wait_their_turn() -> None:
    seen: list[set[int]] = [set()]

    def echo(request: Packet) -> list[bytes]:
        seen[0].add(request.identifier)
        name = answer(request, Code.ACCESS_ACCEPT, *eap_message(EAP_SUCCESS), text(1, request.text(Type.USER_NAME)))
        return [signed(request, name)]

    async with rogue(echo, timeout=10.0) as (_, server):
        with client_of(server) as client:
            names = [f"user{number}" for number in range(600)]
            tries = (client.authenticate(name.encode(), EAP_RESPONSE, CALLER) for name in names)
            verdicts = await asyncio.gather(*tries)
    assert [verdict.granted.user for verdict in verdicts if isinstance(verdict, Accept)] == names
    assert len(seen[0]) == 256


@pytest.mark.parametrize("identity", [b"", b"x" * 254])
async def test_an_identity_that_no_attribute_holds_is_a_refusal(identity: bytes) -> None:
    with client_of() as client:
        assert isinstance(await client.authenticate(identity, EAP_RESPONSE, CALLER), Reject)


async def test_an_eap_packet_that_no_request_holds_is_a_refusal() -> None:
    async with rogue(lambda r: [signed(r, accept(r))]) as (other, server):
        with client_of(server) as client:
            assert isinstance(await client.authenticate(b"alice", bytes(5000), CALLER), Reject)
    assert other.asked == []


# --- whoever wants a session ended ---


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


async def test_an_unsigned_refusal_is_no_answer_unless_the_server_is_old() -> None:
    def refuse(request: Packet) -> list[bytes]:
        return [collided(request, answer(request, Code.ACCESS_REJECT, *eap_message(EAP_FAILURE)))]

    async with rogue(refuse) as (_, server):
        with client_of(server) as client, pytest.raises(NoServer, match="no Message-Authenticator"):
            await client.authenticate(b"alice", EAP_RESPONSE, CALLER)
        with client_of(replace(server, unsigned_rejects=True)) as client:
            assert isinstance(await client.authenticate(b"alice", EAP_RESPONSE, CALLER), Reject)


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
