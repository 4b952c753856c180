"""What a peer that holds the real keys can say of pre-shared keys in IKE_INTERMEDIATE: refused, and nothing kept."""

from dataclasses import replace

import pytest

from gateway.crypto.keys import ike_keys, ppk_confirmation, ppk_skeyseed
from gateway.ike.sa import Lifecycle
from gateway.policy.peers import Peer
from gateway.policy.ppks import Ppk
from gateway.policy.snapshot import Snapshot
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import KeMethod, NotifyType
from tests.hostile.abuses import HOSTILE_TEXT
from tests.hostile.rogue import AUTH, INTERMEDIATE, MIXES, Rogue, errors, mixing
from tests.hostile.scene import PPK, ROGUE, Scene
from tests.simulation.network import psk

USE = wire.Notify(0, b"", NotifyType.USE_PPK, b"")
OTHER = Ppk("other", "other.ppk", bytes(range(32, 64)))


def scene(*, alone: bool = True, **more: object) -> Scene:
    """A gateway whose rogue peer is set so; `alone`: no other peer may be at its address."""
    made = Scene()
    peers: list[Peer] = []
    for one in made.engine.core.snapshot.peers.values():
        if one.name == "rogue":
            peers.append(replace(one, **more))  # type: ignore[arg-type]
        elif not (alone and one.accepts_address(ROGUE)):
            peers.append(one)
    made.network.apply(made.gate, Snapshot.build(2, peers, [psk()], ppks=[PPK, OTHER]))
    made.before = made.books()
    return made


def confirmed(rogue: Rogue, key: Ppk = PPK, **other: bytes) -> bytes:
    """The right confirmation, or one of another session."""
    assert rogue.chosen is not None and rogue.chosen.prf is not None
    of = {"nonce_i": rogue.nonce_i, "nonce_r": rogue.nonce_r, "spi_i": rogue.spi_i, "spi_r": rogue.spi_r}
    return ppk_confirmation(rogue.chosen.prf, key.secret, **(of | other))


def named(data: bytes) -> wire.Notify:
    return wire.Notify(0, b"", NotifyType.PPK_IDENTITY_KEY, data)


def right(rogue: Rogue, key: Ppk = PPK) -> wire.Notify:
    return named(key.ppk_id + confirmed(rogue, key))


def mix(rogue: Rogue, key: Ppk = PPK) -> None:
    """The rogue turns its keys."""
    assert rogue.chosen is not None and rogue.chosen.prf is not None and rogue.keys is not None
    seed = ppk_skeyseed(rogue.chosen.prf, key.secret, rogue.keys.d)
    ends = rogue.nonce_i, rogue.nonce_r, rogue.spi_i, rogue.spi_r
    rogue.keys = ike_keys(rogue.chosen.prf, seed, *ends, rogue.chosen.encr, rogue.chosen.integ)


def chosen(response: Message | None) -> list[bytes]:
    assert response is not None and not errors(response)
    return [one.data for one in response.notifies(NotifyType.PPK_IDENTITY)]


def gone(made: Scene, rogue: Rogue, cause: str) -> None:
    attempt = made.engine.core.attempts.latest(1)[0]
    assert (rogue.sa, attempt.cause) == (None, cause)
    assert "\x1b" not in attempt.reason + str(attempt.steps)
    made.assert_serves()
    made.assert_forgets()


WRONG = {
    "nothing": lambda r: b"",
    "a name and no confirmation": lambda r: PPK.ppk_id,
    "a confirmation and no name": confirmed,
    "seven octets of eight": lambda r: PPK.ppk_id + confirmed(r)[:7],
    "nine octets of eight": lambda r: PPK.ppk_id + confirmed(r) + b"\0",
    "another type of name": lambda r: b"\1" + PPK.ppk_id[1:] + confirmed(r),
    "an unknown name": lambda r: b"\2unknown" + confirmed(r),
    "another key's name": lambda r: OTHER.ppk_id + confirmed(r, OTHER),
    "zeros": lambda r: PPK.ppk_id + bytes(8),
    "of the other secret": lambda r: PPK.ppk_id + confirmed(r, OTHER),
    "of another session": lambda r: PPK.ppk_id + confirmed(r, nonce_r=bytes(32)),
    "the ends exchanged": lambda r: PPK.ppk_id + confirmed(r, spi_i=r.spi_r, spi_r=r.spi_i),
    "hostile text": lambda r: b"\2" + HOSTILE_TEXT + confirmed(r),
    "60,000 octets": lambda r: PPK.ppk_id + bytes(60_000) + confirmed(r),
}


def test_the_right_one_is_chosen_once_however_often_it_is_named() -> None:
    made = scene(ppk_required=True)
    rogue = mixing(made)
    response = rogue.request(INTERMEDIATE, named(PPK.ppk_id + bytes(8)), right(rogue), right(rogue))
    assert chosen(response) == [PPK.ppk_id]
    assert made.engine.core.counters["ppks-used"] == 1


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("required", [False, True])
def test_a_wrong_name_or_confirmation_is_none(wrong: str, required: bool) -> None:
    made = scene(ppk_required=required)
    rogue = mixing(made)
    response = rogue.request(INTERMEDIATE, named(WRONG[wrong](rogue)))
    if required:
        assert errors(response) == [NotifyType.AUTHENTICATION_FAILED]
        gone(made, rogue, "ppk")
        return
    assert chosen(response) == []
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.CONNECTING
    made.assert_serves()
    made.assert_forgets()


@pytest.mark.parametrize(("before", "found"), [(15, [PPK.ppk_id]), (16, []), (60, [])])
def test_no_more_than_sixteen_are_looked_at(before: int, found: list[bytes]) -> None:
    made = scene()
    rogue = mixing(made)
    wrong = [named(PPK.ppk_id + bytes(8))] * before
    assert chosen(rogue.request(INTERMEDIATE, *wrong, right(rogue))) == found
    assert str(made.engine.core.attempts.latest(1)[0].steps).count("is another one") <= 1
    made.assert_serves()
    made.assert_forgets()


@pytest.mark.parametrize("names", [(), ("a name",)])
def test_where_others_may_call_from_there_the_proof_is_asked_who_it_is(names: tuple[str, ...]) -> None:
    made = scene(alone=False, ppk_required=True)
    rogue = mixing(made)
    response = rogue.request(INTERMEDIATE, *(named(b"\2" + name.encode() + bytes(8)) for name in names))
    assert chosen(response) == []
    response = rogue.authenticate()
    assert errors(response) == [NotifyType.AUTHENTICATION_FAILED]
    assert "uses no post-quantum pre-shared key, and one is required" in made.engine.core.attempts.latest(1)[0].reason
    gone(made, rogue, "ppk")


@pytest.mark.parametrize("required", [False, True])
def test_it_cannot_be_skipped(required: bool) -> None:
    made = scene(ppk_required=required)
    rogue = mixing(made)
    response = rogue.authenticate()
    if required:
        assert errors(response) == [NotifyType.AUTHENTICATION_FAILED]
        gone(made, rogue, "ppk")
    else:
        assert response is not None and rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED


def test_after_the_choice_nothing_is_heard_under_the_old_keys() -> None:
    made = scene()
    rogue = mixing(made)
    assert chosen(rogue.request(INTERMEDIATE, right(rogue))) == [PPK.ppk_id]
    assert rogue.request(AUTH, *rogue.credentials(), *rogue.child()) is None
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.CONNECTING
    made.assert_serves()
    made.assert_forgets()


def test_a_proof_that_leaves_out_what_was_said_is_refused() -> None:
    """RFC 9242 3.3.2: the exchange is in what the proof covers."""
    made = scene()
    rogue = mixing(made)
    rogue.request(INTERMEDIATE, right(rogue))
    mix(rogue)
    assert errors(rogue.authenticate()) == [NotifyType.AUTHENTICATION_FAILED]
    gone(made, rogue, "wrong-key")


def test_the_key_of_another_peer_is_refused_when_it_is_known_who_calls() -> None:
    made = scene(alone=False)
    peers = [
        replace(one, ppks=("other",)) if one.name.startswith("pattern") else one
        for one in made.engine.core.snapshot.peers.values()
    ]
    made.network.apply(made.gate, Snapshot.build(3, peers, [psk()], ppks=[PPK, OTHER]))
    made.before = made.books()
    rogue = mixing(made)
    assert chosen(rogue.request(INTERMEDIATE, right(rogue, OTHER))) == [OTHER.ppk_id]
    mix(rogue, OTHER)
    assert errors(rogue.authenticate()) == [NotifyType.AUTHENTICATION_FAILED]
    gone(made, rogue, "ppk")


@pytest.mark.parametrize(
    "further", ["again", "with a key exchange", "a key exchange alone"], ids=lambda text: text.replace(" ", "-")
)
def test_what_was_not_agreed_on_ends_it(further: str) -> None:
    made = scene()
    rogue = mixing(made)
    exchange = wire.KE(KeMethod.ML_KEM_768, bytes(1184))
    match further:
        case "again":
            rogue.request(INTERMEDIATE, right(rogue))
            mix(rogue)
            response = rogue.request(INTERMEDIATE, right(rogue))
        case "with a key exchange":
            response = rogue.request(INTERMEDIATE, exchange, right(rogue))
        case _:
            response = rogue.request(INTERMEDIATE, exchange)
    assert errors(response) == [NotifyType.INVALID_SYNTAX]
    gone(made, rogue, "syntax")


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ([*MIXES, USE], NotifyType.USE_PPK_INT),
        ([*MIXES, *MIXES, *MIXES], NotifyType.USE_PPK_INT),
        ([MIXES[1]], None),
        ([MIXES[1], USE], NotifyType.USE_PPK),
        ([MIXES[0]], None),
    ],
)
def test_one_way_is_chosen_or_none(said: list[wire.Payload], answered: int | None) -> None:
    made = scene()
    rogue = Rogue(made, True)
    (answer,) = rogue.call(None, *said)
    ways = (NotifyType.USE_PPK, NotifyType.USE_PPK_INT)
    assert [kind for kind in ways if answer.notify(kind)] == ([answered] if answered else [])
    if answered != NotifyType.USE_PPK_INT:
        assert errors(rogue.request(INTERMEDIATE, right(rogue))) == [NotifyType.INVALID_SYNTAX]
        gone(made, rogue, "syntax")


@pytest.mark.parametrize(
    "answer",
    [
        [b""],
        [PPK.ppk_id + b"\0"],
        [OTHER.ppk_id],
        [PPK.ppk_id, PPK.ppk_id],
        [HOSTILE_TEXT],
        [bytes(60_000)],
    ],
)
def test_as_initiator_no_other_choice_is_taken(answer: list[bytes]) -> None:
    made = scene()
    rogue = Rogue(made, False)
    made.connect()
    rogue.answer_call(*MIXES)
    rogue.respond(*(wire.Notify(0, b"", NotifyType.PPK_IDENTITY, data) for data in answer))
    gone(made, rogue, "ppk")


@pytest.mark.parametrize("answer", [[], [wire.Notify(0, b"", NotifyType.AUTHENTICATION_FAILED, b"")], [USE]])
def test_as_initiator_there_is_no_way_around_a_key_that_is_required(answer: list[wire.Payload]) -> None:
    made = scene(ppk_required=True)
    rogue = Rogue(made, False)
    made.connect()
    rogue.answer_call(*MIXES)
    rogue.respond(*answer)
    gone(made, rogue, "ppk")
