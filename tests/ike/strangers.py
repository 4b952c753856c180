"""Datagrams as somebody makes them who is no engine of ours: the first messages of an exchange, one field at a time."""

import random
from collections.abc import Iterable
from dataclasses import replace

from gateway.crypto import groups
from gateway.dataplane.memory import MemoryPlane
from gateway.ike.effects import Effect, Send
from gateway.ike.engine import Engine
from gateway.ike.path import Path
from gateway.policy.peers import Peer, Start
from gateway.policy.proposals import Proposal
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build, parse
from gateway.wire.numbers import ExchangeType, NotifyType
from tests.simulation.network import IKE, peer, psk

HERE = "192.0.2.2"


def anybody(**more: object) -> Peer:
    """A peer that may call from everywhere."""
    base = peer("anybody", me="right.example", them="left.example", remote=None, start=Start.PASSIVE)
    return replace(base, **more)  # type: ignore[arg-type]


def answering(
    settings: EngineSettings | None = None, *, blocked: Iterable[str] = (), config: Peer | None = None
) -> Engine:
    """An engine that waits for calls."""
    engine = Engine(MemoryPlane(random.Random(1).randbytes), random.Random(2).randbytes)
    engine.apply(Snapshot.build(1, [config or anybody()], [psk()], settings or EngineSettings(), blocked=blocked), 0.0)
    return engine


def init_payloads(nonce: bytes = b"n" * 32, proposals: tuple[Proposal, ...] = IKE) -> list[wire.Payload]:
    """SAi1, KEi, Ni."""
    method = proposals[0].ke[0].number
    public = groups.offer(method, random.Random(nonce).randbytes).public
    offered = wire.SA([proposal.to_wire(number, b"") for number, proposal in enumerate(proposals, 1)])
    return [offered, wire.KE(method, public), wire.Nonce(nonce)]


def init_request(spi: bytes = b"initiate", payloads: list[wire.Payload] | None = None, **more: object) -> Message:
    payloads = init_payloads() if payloads is None else payloads
    message = Message(spi, bytes(8), ExchangeType.IKE_SA_INIT, True, False, 0, payloads)
    return replace(message, **more)  # type: ignore[arg-type]


def sent(effects: list[Effect]) -> list[bytes]:
    return [effect.data for effect in effects if isinstance(effect, Send)]


def ask(engine: Engine, request: Message | bytes, remote: str = "198.51.100.1", now: float = 0.0) -> list[Message]:
    """Send one datagram; what comes back."""
    datagram = request if isinstance(request, bytes) else build(request)
    return [parse(data) for data in sent(engine.receive(datagram, Path(HERE, remote), now))]


def cookie_of(answers: list[Message]) -> bytes:
    (answer,) = answers
    notify = answer.notify(NotifyType.COOKIE)
    assert notify is not None
    assert answer.spi_r == bytes(8)
    return notify.data


def with_cookie(request: Message, cookie: bytes, *more: wire.Payload) -> Message:
    """RFC 7296 2.6: the same request with the cookie first."""
    return replace(request, payloads=[wire.Notify(0, b"", NotifyType.COOKIE, cookie), *more, *request.payloads])
