"""Before there are keys, and before anybody has proven anything: the right notify or silence, and nothing kept."""

import pytest

from gateway.ike.sa import Lifecycle
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build
from gateway.wire.numbers import ExchangeType, KeMethod, NotifyType, Protocol, TransformType
from tests.hostile.abuses import HOSTILE_TEXT, notify
from tests.hostile.rogue import AUTH, CREATE, INFORM, INIT, STATES, Rogue, delete, errors, half_open, proving
from tests.hostile.scene import Scene
from tests.simulation.network import IKE

X25519, ECP256 = KeMethod.CURVE25519, KeMethod.ECP_256
SA = wire.SA([IKE[0].to_wire(1, b"")])
GOOD_KE, GOOD_NONCE = wire.KE(X25519, b"\x09" + bytes(31)), wire.Nonce(b"n" * 32)
LONG_ENOUGH = wire.VendorId(bytes(200))  # a shorter request gets a cookie: our answer would be the longer one
P256_OFF_CURVE = bytes(63) + b"\1"


@pytest.mark.parametrize(
    ("payloads", "wanted"),
    [
        ([SA, wire.KE(X25519, b""), GOOD_NONCE], NotifyType.INVALID_SYNTAX),
        ([SA, wire.KE(X25519, bytes(31)), GOOD_NONCE], NotifyType.INVALID_SYNTAX),
        ([SA, wire.KE(X25519, bytes(33)), GOOD_NONCE], NotifyType.INVALID_SYNTAX),
        ([SA, wire.KE(X25519, bytes(32)), GOOD_NONCE], NotifyType.INVALID_SYNTAX),
        ([SA, wire.KE(X25519, b"\1" + bytes(31)), GOOD_NONCE], NotifyType.INVALID_SYNTAX),
        ([SA, wire.KE(X25519, b"\xec" + b"\xff" * 30 + b"\x7f"), GOOD_NONCE], NotifyType.INVALID_SYNTAX),
        ([SA, wire.KE(14, bytes(256)), GOOD_NONCE], NotifyType.INVALID_KE_PAYLOAD),
        ([SA, wire.KE(0, b""), GOOD_NONCE], NotifyType.INVALID_KE_PAYLOAD),
        ([SA, wire.KE(65535, b""), GOOD_NONCE], NotifyType.INVALID_KE_PAYLOAD),
        ([SA, GOOD_KE, wire.Nonce(b"n" * 15)], NotifyType.INVALID_SYNTAX),
        ([SA, GOOD_KE, wire.Nonce(b"n" * 257)], NotifyType.INVALID_SYNTAX),
        ([SA, GOOD_KE, GOOD_NONCE, GOOD_NONCE], NotifyType.INVALID_SYNTAX),
        ([SA, SA, GOOD_KE, GOOD_NONCE], NotifyType.INVALID_SYNTAX),
        ([SA, GOOD_KE, GOOD_KE, GOOD_NONCE], NotifyType.INVALID_SYNTAX),
        ([GOOD_KE, GOOD_NONCE], NotifyType.INVALID_SYNTAX),
        ([SA, GOOD_NONCE], NotifyType.INVALID_SYNTAX),
        ([SA, GOOD_KE], NotifyType.INVALID_SYNTAX),
        ([wire.Unknown(99, b"", critical=True), SA, GOOD_KE, GOOD_NONCE], NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD),
    ],
    ids=lambda value: "" if not isinstance(value, list) else " ".join(type(one).__name__ for one in value),
)
def test_a_broken_opening_is_refused_and_forgotten(payloads: list[wire.Payload], wanted: int) -> None:
    scene = Scene()
    rogue = Rogue(scene, True)
    (answer,) = rogue.call([*payloads, LONG_ENOUGH])
    assert errors(answer) == [wanted]
    assert answer.spi_r == bytes(8)
    assert len(build(answer)) <= len(rogue.init_request)
    assert scene.books() == scene.before
    scene.assert_serves()


@pytest.mark.parametrize("data", [bytes(64), P256_OFF_CURVE, b"\xff" * 64, b"", bytes(65)])
def test_a_point_that_is_not_on_the_curve_is_refused(data: bytes) -> None:
    """RFC 6989 2.3; the point at infinity has no affine coordinates and cannot be written at all."""
    scene = Scene()
    transforms = [t for t in IKE[0].to_wire(1, b"").transforms if t.number != X25519 or t.type != TransformType.KE]
    only_p256 = wire.SA([wire.Proposal(1, Protocol.IKE, b"", transforms)])
    (answer,) = Rogue(scene, True).call([only_p256, wire.KE(ECP256, data), GOOD_NONCE, LONG_ENOUGH])
    assert errors(answer) == [NotifyType.INVALID_SYNTAX]
    assert scene.books() == scene.before


@pytest.mark.parametrize(
    "abuse",
    [
        Message(bytes(8), bytes(8), INIT, True, False, 0, [SA, GOOD_KE, GOOD_NONCE]),
        Message(b"12345678", b"87654321", INIT, True, False, 0, [SA, GOOD_KE, GOOD_NONCE]),
        Message(b"12345678", bytes(8), INIT, False, False, 0, [SA, GOOD_KE, GOOD_NONCE]),
        Message(b"12345678", bytes(8), INIT, True, False, 1, [SA, GOOD_KE, GOOD_NONCE]),
        Message(b"12345678", bytes(8), INIT, True, True, 0, [SA, GOOD_KE, GOOD_NONCE]),
        Message(b"12345678", bytes(8), INFORM, True, False, 0, [delete(protocol=Protocol.IKE)]),
        Message(b"12345678", b"87654321", INFORM, True, False, 0, [notify(NotifyType.AUTHENTICATION_FAILED)]),
        Message(b"12345678", b"87654321", CREATE, False, True, 0, []),
        Message(b"12345678", bytes(8), 255, True, False, 0, [SA]),
        Message(b"12345678", bytes(8), 0, True, False, 0, [SA]),
    ],
    ids=lambda message: f"{message.exchange} {message.spi_i.hex()[:4]} {message.spi_r.hex()[:4]}",
)
def test_a_stranger_without_an_opening_hears_nothing(abuse: Message) -> None:
    scene = Scene()
    assert Rogue(scene, True).deliver(build(abuse)) == []
    assert scene.books() == scene.before
    scene.assert_serves()


@pytest.mark.parametrize("major", [0, 1, 3, 15])
def test_another_major_version_makes_no_state(major: int) -> None:
    scene = Scene()
    for exchange in (2, 4, 5, 32, 34):
        datagram = bytearray(build(Message(b"12345678", bytes(8), exchange, True, False, 0, [SA])))
        datagram[17] = major << 4
        scene.receive(bytes(datagram), Rogue(scene, True).path)
    assert {name: count for name, count in scene.books().items() if count > scene.before[name]} == {}
    scene.assert_serves()


@pytest.mark.parametrize("exchange", [INFORM, CREATE, ExchangeType.IKE_SESSION_RESUME, 0, 33, 99, 255])
def test_no_exchange_goes_before_authentication(exchange: int) -> None:
    """An INFORMATIONAL or CREATE_CHILD_SA before IKE_AUTH, sealed with the right keys: silence."""
    for make in (half_open, proving):
        scene = Scene()
        rogue = make(scene)
        books = scene.books()
        for inside in ([], [delete(protocol=Protocol.IKE)], rogue.new_child(), [notify(24)]):
            assert rogue.request(exchange, *inside, message_id=1 if rogue.initiator else 0) is None
            assert rogue.sa is not None and rogue.sa.state is Lifecycle.CONNECTING
        assert scene.books() == books
        scene.assert_serves()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("exchange", [AUTH, CREATE, INFORM, 0, 200])
@pytest.mark.parametrize("response", [False, True])
def test_what_comes_in_the_clear_is_ignored_when_there_are_keys(state: str, exchange: int, response: bool) -> None:
    """RFC 7296 2.21: nothing unprotected may change an IKE SA that has keys."""
    scene = Scene()
    rogue = STATES[state](scene)
    books, was = scene.books(), rogue.sa and rogue.sa.state
    for payload in (notify(7), notify(NotifyType.AUTHENTICATION_FAILED), delete(protocol=Protocol.IKE), SA):
        for number in range(4):
            message = Message(rogue.spi_i, rogue.spi_r, exchange, rogue.initiator, response, number, [payload])
            assert rogue.deliver(build(message)) == []
    assert scene.books() == books
    assert (rogue.sa and rogue.sa.state) is was


def test_the_gateways_answers_do_not_amplify() -> None:
    """Nothing that a stranger can make us send is larger than what it sent (RFC 7296 2.1 allows no more state)."""
    scene = Scene()
    rogue = Rogue(scene, True)
    texts = [wire.VendorId(HOSTILE_TEXT), *[notify(kind) for kind in range(16384, 16400)]]
    for payloads in ([SA], [SA, GOOD_KE], [SA, wire.KE(14, bytes(256)), GOOD_NONCE], texts):
        for answer in rogue.call(payloads):
            assert len(build(answer)) <= len(rogue.init_request)


def calling(scene: Scene) -> Rogue:
    """The gateway has called and waits for the first response."""
    rogue = Rogue(scene, False)
    scene.connect()
    return rogue


def refuse(rogue: Rogue, *payloads: wire.Payload, spi_r: bytes | None = None) -> list[Message]:
    asked = next(m for m in reversed(rogue.heard()) if m.exchange == INIT)
    spi = rogue.spi_r if spi_r is None else spi_r
    return rogue.deliver(build(Message(asked.spi_i, spi, INIT, False, True, 0, list(payloads))))


@pytest.mark.parametrize("octets", [0, 65, 60_000, 65_400])
def test_a_cookie_of_a_wrong_size_ends_the_call(octets: int) -> None:
    """RFC 7296 2.6: 1 to 64 octets; sent back, one of 64 KiB would fit no datagram."""
    scene = Scene()
    rogue = calling(scene)
    assert refuse(rogue, notify(NotifyType.COOKIE, bytes(octets)), spi_r=bytes(8)) == []
    attempt = scene.engine.core.attempts.latest(1)[0]
    assert (attempt.cause, scene.books()["sas"]) == ("syntax", 0)
    scene.assert_serves()


@pytest.mark.parametrize(
    "payloads",
    [
        [],
        [SA],
        [SA, wire.KE(X25519, bytes(32)), GOOD_NONCE],
        [SA, wire.KE(X25519, b""), GOOD_NONCE],
        [SA, GOOD_KE, wire.Nonce(b"n")],
        [SA, GOOD_KE, GOOD_NONCE, GOOD_NONCE],
        [SA, SA, GOOD_KE, GOOD_NONCE],
        [wire.SA([*SA.proposals, *SA.proposals]), GOOD_KE, GOOD_NONCE],
        [wire.SA([wire.Proposal(9, 77, b"", [wire.Transform(1, 20, 256)])]), GOOD_KE, GOOD_NONCE],
        [notify(NotifyType.INVALID_KE_PAYLOAD, b"")],
        [notify(NotifyType.INVALID_KE_PAYLOAD, b"\0\x0e")],
        [notify(NotifyType.INVALID_KE_PAYLOAD, b"\0\x1f" * 9000)],
        [notify(0, HOSTILE_TEXT)],
        [notify(16383, HOSTILE_TEXT)],
        [wire.Unknown(99, HOSTILE_TEXT, critical=True)],
        [delete(protocol=Protocol.IKE)],
    ],
    ids=lambda payloads: " ".join(type(one).__name__ for one in payloads) or "nothing",
)
def test_a_broken_answer_ends_the_call_with_a_reason(payloads: list[wire.Payload]) -> None:
    scene = Scene()
    rogue = calling(scene)
    refuse(rogue, *payloads)
    attempt = scene.engine.core.attempts.latest(1)[0]
    assert attempt.ended is not None and attempt.reason and attempt.advice
    if isinstance(payloads[:1] and payloads[0], wire.Notify) and scene.books()["sas"]:  # others may answer better
        scene.network.run(5)
    assert scene.books()["sas"] == 0
    scene.assert_serves()
    scene.assert_forgets()


def test_the_responders_spi_zero_is_refused() -> None:
    scene = Scene()
    rogue = calling(scene)
    rogue.spi_r = bytes(8)
    rogue.answer_call()
    assert "SPI zero" in scene.engine.core.attempts.latest(1)[0].reason
    assert scene.books()["sas"] == 0
