"""Message IDs, roles and reflections: what was sent before, to another, or by ourselves is nothing new."""

import pytest

from gateway.ike.sa import Lifecycle
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build
from gateway.wire.numbers import NotifyType, Protocol
from tests.hostile.rogue import (
    AUTH,
    CREATE,
    INFORM,
    STATES,
    Rogue,
    answered,
    called,
    creating,
    delete,
    half_open,
    proving,
)
from tests.hostile.scene import GATE, Scene


def assert_unheard(answers: list[Message]) -> None:
    """Silence, or once in a while that there is no such SA (RFC 7296 2.21.4, RFC 6290 4.5)."""
    nobody = {NotifyType.INVALID_IKE_SPI, NotifyType.QUICK_CRASH_DETECTION}
    for answer in answers:
        assert {notify.type for notify in answer.all(wire.Notify)} <= nobody
        assert len(answer.all(wire.Notify)) == len(answer.payloads)


@pytest.mark.parametrize("number", [0, 2, 3, 0x7FFFFFFF, 0xFFFFFFFF])
def test_authentication_with_another_message_id_is_ignored(number: int) -> None:
    scene = Scene()
    rogue = half_open(scene)
    assert rogue.request(AUTH, *rogue.credentials(), *rogue.child(), message_id=number) is None
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.CONNECTING
    assert rogue.authenticate() is not None
    assert rogue.sa.state is Lifecycle.ESTABLISHED


def test_who_was_called_does_not_authenticate_by_a_request() -> None:
    """The other role's exchange, with right proof: it must not make an SA behind the back of our own IKE_AUTH."""
    scene = Scene()
    rogue = proving(scene)
    books = scene.books()
    assert rogue.request(AUTH, *rogue.credentials(), *rogue.child(), message_id=0) is None
    assert rogue.request(AUTH, *rogue.credentials(), *rogue.child(), message_id=1) is None
    assert scene.books() == books
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.CONNECTING
    rogue.respond(*rogue.credentials(), *rogue.child())
    assert rogue.sa.state is Lifecycle.ESTABLISHED


@pytest.mark.parametrize("state", STATES)
def test_our_own_messages_sent_back_change_nothing(state: str) -> None:
    scene = Scene()
    rogue = STATES[state](scene)
    books = scene.books()
    for _, source, _, data in list(scene.network.carried):
        if source == GATE:
            assert_unheard(rogue.deliver(data))
            flipped = bytearray(data)
            flipped[19] ^= 0x20  # a request as a response, and the other way round
            assert_unheard(rogue.deliver(bytes(flipped)))
    assert scene.books() == books


def test_a_peer_that_takes_our_spi_for_its_own_gains_nothing() -> None:
    """With both SPIs equal a reflected message finds the SA, but under the wrong role."""
    scene = Scene()
    rogue = Rogue(scene, False)
    scene.connect()
    rogue.spi_r = rogue.heard()[-1].spi_i
    rogue.answer_call()
    assert rogue.sa is not None
    for _, source, _, data in list(scene.network.carried):
        if source == GATE:
            assert rogue.deliver(data) == []
    assert rogue.sa.state is Lifecycle.CONNECTING
    rogue.respond(*rogue.credentials(), *rogue.child())
    assert rogue.sa.state is Lifecycle.ESTABLISHED
    scene.assert_serves()


@pytest.mark.parametrize("state", STATES)
def test_the_wrong_role_bit_is_not_us(state: str) -> None:
    scene = Scene()
    rogue = STATES[state](scene)
    books = scene.books()
    for exchange in (AUTH, CREATE, INFORM):
        for response in (False, True):
            for number in range(4):
                sealed = rogue.seal(exchange, [], response=response, message_id=number, spoof_role=True)
                assert_unheard(rogue.deliver(sealed))
    assert scene.books() == books


@pytest.mark.parametrize("state", ["answered", "called", "rekeyed", "half_open"])
def test_a_response_to_nothing_is_ignored(state: str) -> None:
    scene = Scene()
    rogue = STATES[state](scene)
    books = scene.books()
    for exchange in (AUTH, CREATE, INFORM, 34, 255):
        for number in (0, 1, 2, 3, 0xFFFFFFFF):
            sealed = rogue.seal(exchange, [delete(protocol=Protocol.IKE)], response=True, message_id=number)
            assert rogue.deliver(sealed) == []
    assert scene.books() == books
    assert rogue.sa is not None


def test_the_response_of_another_exchange_is_not_the_response() -> None:
    scene = Scene()
    rogue = creating(scene)
    asked = next(m for m in reversed(rogue.heard()) if not m.response)
    for exchange in (AUTH, INFORM, 34, 200):
        assert rogue.deliver(rogue.seal(exchange, [], response=True, message_id=asked.message_id)) == []
    assert rogue.sa is not None and rogue.sa.requests.pending is not None


def test_repeats_are_answered_with_the_same_octets_and_differing_ones_not_at_all() -> None:
    scene = Scene()
    rogue = answered(scene)
    first = rogue.seal(INFORM, [])
    answer = rogue.ask(first)
    assert answer is not None
    for _ in range(50):
        (again,) = rogue.deliver(first)
        assert build(again) == build(answer)
    other = rogue.seal(INFORM, [delete(protocol=Protocol.IKE)], message_id=answer.message_id)
    assert rogue.deliver(other) == []
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED


@pytest.mark.parametrize("make", [answered, called])
def test_our_message_ids_do_not_wrap(make) -> None:  # type: ignore[no-untyped-def]
    """RFC 7296 2.2: the SA ends rather than use an ID twice."""
    scene = Scene()
    rogue = make(scene)
    assert rogue.sa is not None
    rogue.sa.requests.next_id = 0xFFFFFFFF
    scene.network.run(31)  # the liveness check takes the last one
    assert rogue.heard()[-1].message_id == 0xFFFFFFFF
    rogue.respond()
    assert rogue.sa is not None
    scene.network.run(31)
    assert rogue.sa is None
    assert "message IDs" in scene.gate.events[-1].text
    scene.assert_serves()


def test_the_peers_message_ids_end_with_the_last() -> None:
    scene = Scene()
    rogue = answered(scene)
    assert rogue.sa is not None
    rogue.sa.responses.expected = 0xFFFFFFFF
    assert rogue.request(INFORM, message_id=0xFFFFFFFF) is not None
    for number in (0, 1, 0xFFFFFFFE):
        assert rogue.request(INFORM, delete(protocol=Protocol.IKE), message_id=number) is None
    assert rogue.sa.state is Lifecycle.ESTABLISHED


def test_a_message_under_the_keys_of_another_sa_is_ignored() -> None:
    scene = Scene()
    one = answered(scene)
    other = Rogue(scene, True, seed=99)
    other.call()
    one.spi_i, one.spi_r = other.spi_i, other.spi_r
    assert one.deliver(one.seal(AUTH, [], message_id=1)) == []
    assert one.deliver(build(Message(other.spi_i, other.spi_r, AUTH, True, False, 1, []))) == []
    assert other.authenticate() is not None


def test_a_mirror_does_not_become_our_peer() -> None:
    """A peer that may be anybody sends all that we say back to us: we must not prove ourselves to ourselves."""
    scene = Scene(them="%any")
    scene.connect()
    seen = 0
    while seen < len(scene.network.carried):
        _, source, _, data = scene.network.carried[seen]
        seen += 1
        if source == GATE:
            scene.receive(data, Rogue(scene, True).path)
    (sa,) = scene.engine.ike_sas()
    assert sa.state is Lifecycle.CONNECTING
    assert sa.initiator
    assert scene.engine.core.counters["dropped: our own IKE_SA_INIT came back"] == 1
