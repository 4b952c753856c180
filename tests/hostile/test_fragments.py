"""Fragments repeated, contradictory, endless and never finished (RFC 7383 2.6)."""

import pytest

from gateway.ike.fragments import MAX_FRAGMENTS, PARTIAL_LIFETIME
from gateway.ike.sa import Lifecycle
from gateway.wire import payloads as wire
from gateway.wire.message import build_payloads
from gateway.wire.numbers import NotifyType, Protocol
from tests.hostile.abuses import notify
from tests.hostile.rogue import AUTH, INFORM, STATES, Inner, Rogue, delete, errors
from tests.hostile.scene import Scene

SUPPORTED = notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED)


def half_open(scene: Scene, seed: int = 7) -> Rogue:
    rogue = Rogue(scene, True, seed=seed)
    rogue.call(None, SUPPORTED)
    assert rogue.keys is not None
    return rogue


def standing(scene: Scene) -> Rogue:
    rogue = half_open(scene)
    assert rogue.authenticate() is not None
    return rogue


def pieces(payloads: list[wire.Payload], total: int) -> list[Inner]:
    first, octets = build_payloads(payloads)
    size = -(-len(octets) // total)
    return [Inner(0 if n else first, octets[n * size : (n + 1) * size]) for n in range(total)]


def send(rogue: Rogue, piece: Inner, number: int, total: int, exchange: int = INFORM):  # type: ignore[no-untyped-def]
    return rogue.ask(rogue.seal(exchange, piece, fragment=(number, total)))


def waiting(scene: Scene) -> int:
    """Octets of unfinished messages that the gateway keeps."""
    return sum(count for name, count in scene.books().items() if "fragments" in name)


def test_pieces_make_a_message_in_any_order_and_however_often_they_come() -> None:
    scene = Scene()
    rogue = half_open(scene)
    parts = pieces([*rogue.credentials(), *rogue.child()], 5)
    for number in (5, 3, 3, 1, 5, 2, 1):
        assert send(rogue, parts[number - 1], number, 5, AUTH) is None
    assert errors(send(rogue, parts[3], 4, 5, AUTH)) == []
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED
    assert waiting(scene) == 0
    scene.assert_serves()
    scene.assert_forgets()


def test_a_piece_that_contradicts_an_earlier_one_is_not_taken() -> None:
    scene = Scene()
    rogue = half_open(scene)
    parts = pieces([*rogue.credentials(), *rogue.child()], 3)
    send(rogue, parts[0], 1, 3, AUTH)
    send(rogue, Inner(33, b"\xff" * 400), 1, 3, AUTH)
    send(rogue, parts[1], 2, 3, AUTH)
    send(rogue, Inner(0, b""), 2, 3, AUTH)
    assert errors(send(rogue, parts[2], 3, 3, AUTH)) == []


def test_a_smaller_number_of_pieces_is_an_older_set_and_a_larger_one_a_newer() -> None:
    """RFC 7383 2.6: only a larger total takes the place of what came before."""
    scene = Scene()
    rogue = half_open(scene)
    whole = [*rogue.credentials(), *rogue.child()]
    old, new = pieces(whole, 2), pieces(whole, 4)
    send(rogue, old[0], 1, 2, AUTH)
    for number in (1, 2, 3):
        send(rogue, new[number - 1], number, 4, AUTH)
    assert send(rogue, old[1], 2, 2, AUTH) is None
    assert errors(send(rogue, new[3], 4, 4, AUTH)) == []
    assert waiting(scene) == 0


@pytest.mark.parametrize(("number", "total"), [(1, 65535), (65535, 65535), (1, MAX_FRAGMENTS + 1)])
def test_a_message_of_countless_pieces_is_not_begun(number: int, total: int) -> None:
    scene = Scene()
    rogue = standing(scene)
    for _ in range(100):
        assert send(rogue, Inner(0, bytes(1000)), number, total) is None
    assert waiting(scene) == 0


@pytest.mark.parametrize(("number", "total"), [(0, 0), (0, 1), (2, 1), (65535, 1), (1, 0)])
def test_a_piece_that_cannot_be_is_dropped(number: int, total: int) -> None:
    scene = Scene()
    rogue = standing(scene)
    datagram = bytearray(rogue.seal(INFORM, Inner(0, b""), fragment=(1, 1)))
    datagram[32:36] = number.to_bytes(2) + total.to_bytes(2)
    assert rogue.deliver(bytes(datagram)) == []
    assert waiting(scene) == 0
    assert rogue.request(INFORM) is not None


def test_a_forged_piece_does_not_disturb_the_true_ones() -> None:
    scene = Scene()
    rogue = half_open(scene)
    parts = pieces([*rogue.credentials(), *rogue.child()], 2)
    send(rogue, parts[0], 1, 2, AUTH)
    kept = waiting(scene)
    for total in (2, 3, 64):
        forged = bytearray(rogue.seal(AUTH, parts[1], fragment=(2, total)))
        forged[-1] ^= 1
        assert rogue.deliver(bytes(forged)) == []
    assert waiting(scene) == kept > 0
    assert errors(send(rogue, parts[1], 2, 2, AUTH)) == []


def test_pieces_that_make_no_sense_together_are_refused_as_one() -> None:
    scene = Scene()
    rogue = standing(scene)
    send(rogue, Inner(33, b"\0\0\0\xff"), 1, 2)
    assert errors(send(rogue, Inner(0, b"\xff" * 40), 2, 2)) == [NotifyType.INVALID_SYNTAX]
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED
    assert waiting(scene) == 0


def test_a_message_ends_at_its_limit_however_it_comes() -> None:
    """The sum of the pieces is bounded, not each piece alone."""
    scene = Scene()
    rogue = standing(scene)
    for number in range(1, 64):
        assert send(rogue, Inner(0, bytes(60_000)), number, 64) is None
    assert waiting(scene) < 200_000
    scene.assert_serves()
    scene.assert_forgets()


def test_strangers_cannot_fill_the_memory_with_pieces() -> None:
    scene = Scene()
    rogues = [half_open(scene, seed) for seed in range(100, 160)]
    for rogue in rogues:
        for number in range(1, 60):
            send(rogue, Inner(0, bytes(3000)), number, 60, AUTH)
    core = scene.engine.core
    assert core.unproven_fragments.used <= core.unproven_fragments.limit
    assert waiting(scene) <= core.unproven_fragments.limit
    scene.assert_serves()
    scene.assert_forgets()


def test_what_is_never_finished_is_forgotten() -> None:
    scene = Scene()
    rogue = standing(scene)
    send(rogue, Inner(0, bytes(3000)), 1, 3)
    assert waiting(scene) > 0
    scene.network.run(PARTIAL_LIFETIME + 5)
    send(rogue, Inner(0, b""), 3, 3)
    assert rogue.request(INFORM) is not None
    assert waiting(scene) == 0


def test_pieces_without_an_agreement_are_not_kept() -> None:
    scene = Scene()
    rogue = STATES["answered"](scene)
    send(rogue, Inner(0, bytes(3000)), 1, 3)
    assert waiting(scene) == 0


@pytest.mark.parametrize("number", [0, 3, 9, 0xFFFFFFFF])
def test_pieces_outside_the_window_are_not_kept(number: int) -> None:
    scene = Scene()
    rogue = standing(scene)
    assert rogue.deliver(rogue.seal(INFORM, Inner(0, bytes(100)), fragment=(1, 3), message_id=number)) == []
    assert waiting(scene) == 0


def test_a_delete_among_pieces_ends_the_sa_and_frees_them() -> None:
    scene = Scene()
    rogue = standing(scene)
    send(rogue, Inner(0, bytes(3000)), 2, 3)
    assert rogue.request(INFORM, delete(protocol=Protocol.IKE)) is not None
    assert rogue.sa is None
    assert waiting(scene) == 0
    rogue.deliver(rogue.seal(INFORM, Inner(0, b""), fragment=(1, 3)))
    assert waiting(scene) == scene.books()["sas"] == 0
    scene.assert_forgets()


def test_a_forged_piece_of_the_last_request_is_not_answered_again() -> None:
    """Else who knows both SPIs could make us send large answers to small questions."""
    scene = Scene()
    rogue = standing(scene)
    last = rogue.next_id - 1
    for number in (1, 2):
        forged = bytearray(rogue.seal(AUTH, Inner(0, b""), fragment=(number, 3), message_id=last))
        forged[-1] ^= 1
        assert rogue.deliver(bytes(forged)) == []


def test_a_whole_message_takes_the_place_of_its_pieces() -> None:
    scene = Scene()
    rogue = standing(scene)
    send(rogue, Inner(0, bytes(3000)), 2, 3)
    assert rogue.request(INFORM) is not None
    assert waiting(scene) == 0


def test_pieces_of_a_response_are_bounded_too() -> None:
    scene = Scene()
    rogue = standing(scene)
    scene.network.run(31)
    asked = rogue.heard()[-1]
    for number in range(1, 64):
        rogue.deliver(
            rogue.seal(INFORM, Inner(0, bytes(9000)), fragment=(number, 64), message_id=asked.message_id, response=True)
        )
    assert waiting(scene) < 200_000
    rogue.respond()
    assert waiting(scene) == 0
    scene.assert_serves()
    scene.assert_forgets()


def test_pieces_of_a_request_end_though_a_response_in_pieces_comes_whole() -> None:
    scene = Scene()
    rogue = standing(scene)
    scene.network.run(31)
    asked = rogue.heard()[-1]
    send(rogue, Inner(0, bytes(3000)), 1, 3)
    kept = waiting(scene)
    for number in (1, 2):
        rogue.deliver(
            rogue.seal(INFORM, Inner(0, b""), fragment=(number, 2), message_id=asked.message_id, response=True)
        )
    assert waiting(scene) == kept > 0
    scene.network.run(PARTIAL_LIFETIME + 1)
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED
    assert waiting(scene) == 0


def test_a_new_message_in_pieces_has_all_its_time() -> None:
    scene = Scene()
    rogue = standing(scene)
    send(rogue, Inner(0, bytes(3000)), 1, 3)
    assert rogue.request(INFORM) is not None
    scene.network.run(PARTIAL_LIFETIME - 5)
    send(rogue, Inner(0, b""), 1, 2)
    scene.network.run(10)
    assert errors(send(rogue, Inner(0, b""), 2, 2)) == []
