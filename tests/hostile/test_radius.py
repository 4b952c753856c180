"""Hostile RADIUS servers, and who stands between: only what is proven is believed, and each wait has an end."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace

import pytest

from gateway.crypto.radius import sign_answer
from gateway.ike.authentication.eap.talk import MAX_ROUNDS
from gateway.policy.radius import RadiusServer
from gateway.service.radius.client import Accept, Caller, Challenge, Client, NoServer, Reject, Round
from gateway.wire.radius import Attribute, Code, Packet, Type, eap_message, parse, text

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


async def test_an_unsigned_refusal_is_no_answer_unless_the_server_is_old() -> None:
    def refuse(request: Packet) -> list[bytes]:
        return [collided(request, answer(request, Code.ACCESS_REJECT, *eap_message(EAP_FAILURE)))]

    async with rogue(refuse) as (_, server):
        with client_of(server) as client, pytest.raises(NoServer, match="no Message-Authenticator"):
            await client.authenticate(b"alice", EAP_RESPONSE, CALLER)
        with client_of(replace(server, unsigned_rejects=True)) as client:
            assert isinstance(await client.authenticate(b"alice", EAP_RESPONSE, CALLER), Reject)
