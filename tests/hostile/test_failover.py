"""Synchronisations of message IDs that break a rule of RFC 6311 5.1: silence, and nothing moves."""

import pytest

from gateway.ike.abilities import Ability
from gateway.ike.sa import Lifecycle
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType, Protocol
from tests.hostile.rogue import AUTH, CREATE, INFORM, Rogue, answered, called, creating, half_open
from tests.hostile.scene import Scene

SYNC, REPLAY = NotifyType.IKEV2_MESSAGE_ID_SYNC, NotifyType.IPSEC_REPLAY_COUNTER_SYNC
CAN = [
    wire.Notify(0, b"", NotifyType.IKEV2_MESSAGE_ID_SYNC_SUPPORTED, b""),
    wire.Notify(0, b"", NotifyType.IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED, b""),
]


def able(scene: Scene) -> Rogue:
    """ESTABLISHED; the rogue called and said that it can synchronise."""
    rogue = half_open(scene)
    response = rogue.authenticate(*CAN)
    assert response is not None
    assert {SYNC - 2, REPLAY - 2} <= {notify.type for notify in response.all(wire.Notify)}
    return rogue


def sync(sends: int, expects: int = 0, nonce: bytes = b"once") -> wire.Notify:
    return wire.Notify(0, b"", SYNC, nonce + sends.to_bytes(4) + expects.to_bytes(4))


def ask(rogue: Rogue, *inside: wire.Payload, exchange: int = INFORM) -> Message | None:
    """The answer to a request with the message ID zero."""
    found = [one for one in rogue.deliver(rogue.seal(exchange, inside, message_id=0)) if one.response]
    return found[-1] if found else None


def numbers(rogue: Rogue) -> tuple[int, int]:
    assert rogue.sa is not None
    return rogue.sa.requests.next_id, rogue.sa.responses.expected


def test_an_honest_one_is_answered_and_believed() -> None:
    scene = Scene()
    rogue = able(scene)
    response = ask(rogue, sync(40, 7))
    assert response is not None
    assert response.message_id == 0
    assert [payload.octets()[4:] for payload in response.payloads] == [b"once" + (7).to_bytes(4) + (40).to_bytes(4)]
    assert numbers(rogue) == (7, 40)
    rogue.next_id = 39
    assert rogue.request(INFORM) is None, "nor is there an answer to be repeated"
    rogue.next_id = 40
    assert rogue.request(INFORM) is not None
    scene.assert_serves()


@pytest.mark.parametrize("sends", [0, 1])
def test_a_number_that_was_used_is_not_heard(sends: int) -> None:
    scene = Scene()
    rogue = able(scene)
    before = numbers(rogue)
    assert ask(rogue, sync(sends)) is None
    assert numbers(rogue) == before


def test_a_repeat_is_not_heard() -> None:
    scene = Scene()
    rogue = able(scene)
    datagram = rogue.seal(INFORM, [sync(40)], message_id=0)
    assert rogue.deliver(datagram)
    after = numbers(rogue)
    assert rogue.deliver(datagram) == []
    rogue.next_id = 40
    assert rogue.request(INFORM) is not None
    assert rogue.deliver(datagram) == []
    assert ask(rogue, sync(40)) is None
    assert numbers(rogue) == (after[0], 41)
    assert ask(rogue, sync(41)) is not None


def test_the_other_ends_numbers_never_go_back() -> None:
    scene = Scene()
    rogue = able(scene)
    assert rogue.sa is not None
    rogue.sa.requests.next_id = 12
    response = ask(rogue, sync(40, 3))
    assert response is not None
    assert response.payloads[0].octets()[8:12] == (12).to_bytes(4)
    assert numbers(rogue) == (12, 40)


@pytest.mark.parametrize(
    "beside",
    [
        [wire.Notify(0, b"", NotifyType.INITIAL_CONTACT, b"")],
        [wire.Delete(Protocol.IKE, [])],
        [sync(50)],
        [wire.Unknown(240, b"")],
        [wire.Notify(0, b"", REPLAY, (9).to_bytes(4))] * 2,
        [wire.Notify(0, b"", REPLAY, b"")],
        [wire.Notify(0, b"", REPLAY, bytes(8))],  # the child has no extended sequence numbers
        [wire.Notify(0, b"", REPLAY, bytes(3))],
    ],
    ids=["notify", "delete", "twice", "unknown", "replay twice", "empty", "esn", "short"],
)
def test_nothing_stands_beside_it(beside: list[wire.Payload]) -> None:
    scene = Scene()
    rogue = able(scene)
    before = numbers(rogue)
    assert ask(rogue, sync(40), *beside) is None
    assert numbers(rogue) == before
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED
    assert not scene.gate.plane.skipped()
    assert rogue.request(INFORM) is not None


@pytest.mark.parametrize("data", [b"", b"once", b"once" + bytes(7), b"once" + bytes(9), bytes(3000)])
def test_a_body_of_another_length_is_not_heard(data: bytes) -> None:
    scene = Scene()
    rogue = able(scene)
    before = numbers(rogue)
    assert ask(rogue, wire.Notify(0, b"", SYNC, data)) is None
    assert numbers(rogue) == before


def test_it_comes_in_an_informational_alone() -> None:
    scene = Scene()
    rogue = able(scene)
    before = numbers(rogue)
    for exchange in (CREATE, AUTH):
        assert ask(rogue, sync(40), exchange=exchange) is None
    assert numbers(rogue) == before


def test_who_did_not_say_so_cannot() -> None:
    scene = Scene()
    rogue = answered(scene)
    before = numbers(rogue)
    assert ask(rogue, sync(40)) is None
    assert rogue.request(INFORM, wire.Notify(0, b"", REPLAY, (1 << 30).to_bytes(4))) is not None
    assert numbers(rogue) == (before[0], before[1] + 1)
    assert not scene.gate.plane.skipped()


def test_it_is_nothing_before_there_is_an_sa() -> None:
    scene = Scene()
    rogue = half_open(scene)
    assert rogue.sa is not None
    rogue.sa.abilities |= Ability.SYNCHRONISES_IDS
    assert ask(rogue, sync(40)) is None
    assert numbers(rogue) == (0, 1)


def test_the_first_request_of_a_rekeyed_sa_has_that_number_too() -> None:
    scene = Scene()
    rogue = able(scene)
    new = rogue.rekey_sa()
    assert new.sa is not None and Ability.SYNCHRONISES_IDS in new.sa.abilities
    response = new.request(INFORM)
    assert response is not None
    assert response.message_id == 0
    assert ask(new, sync(0)) is None
    assert ask(new, sync(9)) is not None


def test_numbers_at_their_end_hurt_nobody_else() -> None:
    scene = Scene()
    rogue = able(scene)
    last = 0xFFFFFFFF
    assert ask(rogue, sync(last, last)) is not None
    rogue.next_id = last
    assert rogue.request(INFORM) is not None
    assert ask(rogue, sync(last, last)) is None
    scene.do(lambda engine, now: engine.rekey("rogue", "net", now)[1])
    scene.network.run(300)
    assert rogue.sa is None
    scene.assert_serves()
    scene.assert_forgets()


def test_skips_alone_come_in_the_sequence() -> None:
    scene = Scene()
    rogue = able(scene)
    assert rogue.sa is not None
    (child,) = rogue.sa.children.values()
    assert rogue.request(INFORM, wire.Notify(0, b"", REPLAY, (77).to_bytes(4))) is not None
    assert scene.gate.plane.skipped() == {child.outbound.key: 77}
    refused = rogue.request(INFORM, wire.Notify(0, b"", REPLAY, (77).to_bytes(8)))
    assert refused is not None and refused.notify(NotifyType.INVALID_SYNTAX)
    assert scene.gate.plane.skipped() == {child.outbound.key: 77}


def taken_over(scene: Scene) -> Rogue:
    """The gateway called, and is a standby that has just taken over: its synchronisation is under way."""
    rogue = called(scene)
    assert rogue.sa is not None
    rogue.sa.abilities |= Ability.SYNCHRONISES_IDS
    scene.do(lambda engine, now: engine.take_over("rogue", now)[1])
    assert rogue.sa.requests.pending is not None and rogue.sa.requests.pending.synchronises
    return rogue


def asked(rogue: Rogue) -> tuple[bytes, int, int]:
    data = rogue.heard()[-1].one(wire.Notify).data
    return data[:4], int.from_bytes(data[4:8]), int.from_bytes(data[8:])


@pytest.mark.parametrize(
    ("nonce", "back", "more"),
    [(b"else", 0, []), (None, -1, []), (None, 0, [wire.Notify(0, b"", NotifyType.INITIAL_CONTACT, b"")]), (b"", 0, [])],
    ids=["nonce", "goes back", "beside", "short"],
)
def test_a_wrong_answer_does_not_end_the_wait(nonce: bytes | None, back: int, more: list[wire.Payload]) -> None:
    scene = Scene()
    rogue = taken_over(scene)
    once, sends, expects = asked(rogue)
    wrong = [sync(expects, sends + back, once if nonce is None else nonce), *more]
    rogue.deliver(rogue.seal(INFORM, wrong, response=True, message_id=0))
    assert rogue.sa is not None and rogue.sa.requests.pending is not None
    right = rogue.seal(INFORM, [sync(expects + 3, sends, once)], response=True, message_id=0)
    rogue.deliver(right)
    assert rogue.sa.requests.pending is None
    assert numbers(rogue) == (sends, expects + 3)
    rogue.deliver(right)  # RFC 6311 11: not processed again
    assert numbers(rogue) == (sends, expects + 3)


def test_malformed_answers_do_not_end_the_wait() -> None:
    scene = Scene()
    rogue = taken_over(scene)
    for inside in ([], [wire.Unknown(240, b"", critical=True)], [wire.Delete(Protocol.IKE, [])]):
        rogue.deliver(rogue.seal(INFORM, inside, response=True, message_id=0))
        assert rogue.sa is not None and rogue.sa.requests.pending is not None
    scene.network.run(200)
    assert rogue.sa is None
    scene.assert_forgets()


def test_a_request_under_way_goes_out_again_once() -> None:
    scene = Scene()
    rogue = creating(scene)
    assert rogue.sa is not None
    rogue.sa.abilities |= Ability.SYNCHRONISES_IDS
    assert ask(rogue, sync(40)) is not None
    # what came of it under the old number is nothing any more
    rogue.deliver(rogue.seal(CREATE, rogue.new_child(), response=True, message_id=2))
    assert rogue.sa.state is Lifecycle.ESTABLISHED
    assert len(rogue.sa.children) == 1
    scene.assert_serves()
