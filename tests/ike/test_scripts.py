"""Scripts stepped by hand: the test is the peer and the clock."""

import random
from itertools import pairwise

import pytest

from gateway.dataplane.memory import MemoryPlane
from gateway.ike.effects import Locate, Send
from gateway.ike.engine import Engine
from gateway.ike.path import Path, nat_hash
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.snapshot import Snapshot
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build, parse
from gateway.wire.numbers import ExchangeType, NotifyType
from tests.simulation.network import peer, psk

HERE, THERE = "192.0.2.1", "192.0.2.2"


def calling(**more: object) -> tuple[Engine, IkeSa, Message]:
    """An engine that has just sent its IKE_SA_INIT."""
    engine = Engine(MemoryPlane(random.Random(1).randbytes), random.Random(2).randbytes)
    config = peer("right", me="left.example", them="right.example", remote=THERE, **more)
    _, effects = engine.apply(Snapshot.build(1, [config], [psk()]), 0.0)
    (where,) = [effect for effect in effects if isinstance(effect, Locate)]
    (sent,) = [e for e in engine.located(where.token, (HERE, THERE), "", 0.0) if isinstance(e, Send)]
    (sa,) = engine.ike_sas()
    return engine, sa, parse(sent.data)


def answer(engine: Engine, request: Message, *payloads: wire.Payload, spi_r: bytes = bytes(8)) -> list[Message]:
    response = Message(request.spi_i, spi_r, ExchangeType.IKE_SA_INIT, False, True, 0, list(payloads))
    effects = engine.receive(build(response), Path(HERE, THERE), 0.1)
    return [parse(effect.data) for effect in effects if isinstance(effect, Send)]


def test_the_cookie_is_sent_back_first_and_nothing_else_changes() -> None:
    engine, _, request = calling()
    (again,) = answer(engine, request, wire.Notify(0, b"", NotifyType.COOKIE, b"biscuit"))
    first = again.payloads[0]
    assert isinstance(first, wire.Notify)
    assert first.data == b"biscuit"
    assert again.payloads[1:] == request.payloads  # RFC 7296 2.6
    assert again.spi_i == request.spi_i
    assert again.message_id == 0


def test_the_wanted_group_is_used_with_the_cookie_kept_out() -> None:
    engine, _, request = calling()
    (again,) = answer(engine, request, wire.Notify(0, b"", NotifyType.INVALID_KE_PAYLOAD, bytes((0, 19))))
    assert again.one(wire.KE).method == 19
    assert len(again.one(wire.KE).data) == 64
    assert again.one(wire.SA) == request.one(wire.SA)


def test_a_group_that_was_not_offered_ends_it() -> None:
    engine, sa, request = calling()
    assert not answer(engine, request, wire.Notify(0, b"", NotifyType.INVALID_KE_PAYLOAD, bytes((0, 14))))
    assert sa.state == Lifecycle.CLOSED
    attempt = engine.core.attempts.latest(1)[0]
    assert "modp2048" in attempt.reason


def test_a_peer_that_asks_for_ever_is_left() -> None:
    engine, sa, request = calling()
    for turn in range(20):
        if not answer(engine, request, wire.Notify(0, b"", NotifyType.COOKIE, bytes((turn,)))):
            break
    assert turn < 10
    assert sa.state == Lifecycle.CLOSED


def test_retransmissions_are_the_same_octets_with_growing_waits() -> None:
    engine, sa, _ = calling()
    first, times, now = sa.init_request, [], 0.0
    while (due := engine.next_deadline()) is not None and sa.state == Lifecycle.CONNECTING:
        now = due
        sent = [effect for effect in engine.tick(now) if isinstance(effect, Send)]
        if sa.state == Lifecycle.CONNECTING:
            assert [effect.data for effect in sent] == [first]
            times.append(now)
    waits = [later - earlier for earlier, later in pairwise([0.0, *times])]
    assert len(waits) == 5
    assert all(later > earlier for earlier, later in pairwise(waits))
    assert engine.core.attempts.latest(1)[0].cause == "timeout"


@pytest.mark.parametrize("other", ["192.0.2.99", THERE])
def test_a_response_to_nothing_asked_is_dropped(other: str) -> None:
    engine, sa, request = calling()
    response = Message(b"x" * 8, b"r" * 8, ExchangeType.IKE_SA_INIT, False, True, 0, [])
    assert engine.receive(build(response), Path(HERE, other), 0.1) == []
    wrong_role = Message(request.spi_i, b"r" * 8, ExchangeType.IKE_SA_INIT, True, True, 0, [])
    assert engine.receive(build(wrong_role), Path(HERE, other), 0.1) == []
    assert sa.state == Lifecycle.CONNECTING


def test_nat_hash_is_the_rfcs() -> None:
    # SHA-1(SPIi | SPIr | address | port), RFC 7296 2.23; the value is from sha1sum
    assert nat_hash(bytes(8), bytes(8), "192.0.2.1", 500).hex() == "3e6805d566d6b9a63bcc858eb7873062a1fa2b1e"
