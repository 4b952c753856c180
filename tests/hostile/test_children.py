"""CHILD_SAs asked for, replaced and deleted by a peer that means no good: the right notify, and nothing left behind."""

import pytest

from gateway.ike.sa import Lifecycle
from gateway.policy.selectors import MAX_NARROWED
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType, Protocol, TransformType
from tests.hostile.abuses import ABUSES, notify, offer, raw, selector
from tests.hostile.rogue import (
    CREATE,
    INFORM,
    Rogue,
    answered,
    called,
    creating,
    delete,
    errors,
    half_open,
    proving,
    rekeying,
)
from tests.hostile.scene import Scene

SYNTAX, NONE_CHOSEN = NotifyType.INVALID_SYNTAX, NotifyType.NO_PROPOSAL_CHOSEN
NOT_FOUND, UNACCEPTABLE = NotifyType.CHILD_SA_NOT_FOUND, NotifyType.TS_UNACCEPTABLE
ESP = Protocol.ESP


def out(rogue: Rogue) -> bytes:
    return rogue.only_child.spi_out.to_bytes(4)


def inward(rogue: Rogue) -> bytes:
    return rogue.only_child.spi_in.to_bytes(4)


def stands_as_before(scene: Scene, rogue: Rogue, books: dict[str, int]) -> None:
    assert scene.books() == books
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED
    assert rogue.request(INFORM) is not None
    scene.assert_serves()
    scene.assert_forgets()


@pytest.mark.parametrize(
    ("protocol", "spi"),
    [
        (ESP, b""),
        (ESP, bytes(4)),
        (ESP, b"\0\0\0\1"),
        (ESP, b"\xff" * 4),
        (ESP, bytes(255)),
        (Protocol.IKE, bytes(8)),
        (0, b""),
    ],
)
def test_a_rekey_of_what_is_not_there_is_refused(protocol: int, spi: bytes) -> None:
    scene = Scene()
    rogue = answered(scene)
    books = scene.books()
    answer = rogue.request(CREATE, *rogue.new_child(b"\0\4\5\6", notify(NotifyType.REKEY_SA, b"", spi, protocol)))
    assert errors(answer) == [NOT_FOUND]
    stands_as_before(scene, rogue, books)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 255])
def test_a_rekey_under_the_wrong_protocol_finds_no_child(protocol: int) -> None:
    scene = Scene()
    rogue = answered(scene)
    books = scene.books()
    answer = rogue.request(
        CREATE, *rogue.new_child(b"\0\4\5\6", notify(NotifyType.REKEY_SA, b"", out(rogue), protocol))
    )
    assert errors(answer) == [NOT_FOUND]
    stands_as_before(scene, rogue, books)


def test_a_rekey_by_our_own_inbound_spi_finds_no_child() -> None:
    """The SPI in REKEY_SA is the sender's inbound one (RFC 7296 1.3.3); ours would let it name another's."""
    scene = Scene()
    rogue = answered(scene)
    books = scene.books()
    answer = rogue.request(CREATE, *rogue.new_child(b"\0\4\5\6", notify(NotifyType.REKEY_SA, b"", inward(rogue), ESP)))
    assert errors(answer) == [NOT_FOUND]
    stands_as_before(scene, rogue, books)


@pytest.mark.parametrize("spi", [bytes(4), b"\0\0\0\1", b"\0\0\0\xff"])
def test_a_reserved_spi_cannot_be_offered(spi: bytes) -> None:
    scene = Scene()
    rogue = answered(scene)
    books = scene.books()
    assert errors(rogue.request(CREATE, *rogue.new_child(spi))) == [NONE_CHOSEN]
    stands_as_before(scene, rogue, books)


@pytest.mark.parametrize("spi", [bytes(4), b"\0\0\0\xff", b"", b"\0\1\2\3\4"])
@pytest.mark.parametrize("make", [proving, creating])
def test_a_reserved_spi_cannot_be_chosen(make, spi: bytes) -> None:  # type: ignore[no-untyped-def]
    """As responder; it is told that the child is not wanted, and no SPI stays held."""
    scene = Scene()
    rogue = make(scene)
    credentials = rogue.credentials() if make is proving else []
    nonce = [] if make is proving else [wire.Nonce(bytes(32)), wire.KE(31, b"\x09" + bytes(31))]
    sa, tsi, tsr = rogue.child(b"\0\7\7\7", with_ke=make is creating)
    assert isinstance(sa, wire.SA)
    sa.proposals[0].protocol = ESP if len(spi) == 4 else 99
    sa.proposals[0].spi = spi
    rogue.respond(*credentials, sa, *nonce, tsi, tsr)
    children = list(rogue.sa.children.values()) if rogue.sa else []
    assert all(child.spi_out > 255 for child in children)
    scene.assert_serves()
    scene.assert_forgets()


def test_the_same_spi_twice_is_refused() -> None:
    scene = Scene()
    rogue = answered(scene)
    books = scene.books()
    assert errors(rogue.request(CREATE, *rogue.new_child(out(rogue)))) == [NotifyType.NO_ADDITIONAL_SAS]
    rekey = notify(NotifyType.REKEY_SA, b"", out(rogue), ESP)
    assert errors(rogue.request(CREATE, *rogue.new_child(out(rogue), rekey))) == [NotifyType.NO_ADDITIONAL_SAS]
    stands_as_before(scene, rogue, books)


def test_our_own_spi_as_the_peers_is_only_a_number() -> None:
    scene = Scene()
    rogue = answered(scene)
    mine = inward(rogue)
    rogue.request(CREATE, *rogue.new_child(mine))
    assert rogue.request(INFORM, delete(mine)) is not None
    assert rogue.sa is not None
    assert int.from_bytes(mine) in rogue.sa.children, "the delete named the peer's SPI, not ours"
    scene.assert_serves()
    scene.assert_forgets()


@pytest.mark.parametrize(
    ("abuse", "wanted"),
    [
        ("an empty TS", SYNTAX),
        ("an SA without proposals", SYNTAX),
        ("a proposal without transforms", SYNTAX),
        ("a key length twice", SYNTAX),
        ("a delete of 1025 SPIs", SYNTAX),
        ("a delete with an SPI size of 0", SYNTAX),
        ("SK within SK", SYNTAX),
        ("SKF within SK", SYNTAX),
        ("padding longer than everything", SYNTAX),
        ("sixty-five payloads", SYNTAX),
        ("octets after the last payload", SYNTAX),
        ("an unknown critical payload", NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD),
        ("EAP too short", SYNTAX),
        ("nothing", SYNTAX),
        ("no nonce", SYNTAX),
        ("a nonce of 60,000 octets", SYNTAX),
        ("an empty nonce", SYNTAX),
        ("an empty KE", SYNTAX),
        ("KE of low order", SYNTAX),
        ("KE for a group not proposed", NotifyType.INVALID_KE_PAYLOAD),
        ("KE for group 0", NotifyType.INVALID_KE_PAYLOAD),
        ("a rekey with an SPI of zero", NONE_CHOSEN),
        ("a rekey without an SPI", NONE_CHOSEN),
        ("a rekey with a low-order point", SYNTAX),
        ("a rekey with a short nonce", SYNTAX),
        ("a rekey without KE", SYNTAX),
        ("AH offered", NONE_CHOSEN),
        ("protocol 0 offered", NONE_CHOSEN),
        ("a key length of 0", NONE_CHOSEN),
        ("a key length of 65535", NONE_CHOSEN),
        ("an unknown attribute", NONE_CHOSEN),
        ("unknown transform types", NONE_CHOSEN),
        ("additional key exchanges", NONE_CHOSEN),
        ("sixty-five proposals", SYNTAX),
        ("two thousand transforms", SYNTAX),
        ("a TS that runs backwards", UNACCEPTABLE),
        ("ports that run backwards", UNACCEPTABLE),
        ("TS of unknown types", UNACCEPTABLE),
    ],
)
def test_a_broken_request_for_a_child_gets_its_notify(abuse: str, wanted: int) -> None:
    scene = Scene()
    rogue = answered(scene)
    books = scene.books()
    inside = ABUSES[abuse](rogue)
    if isinstance(inside, list):  # what IKE_AUTH would have besides
        inside = [one for one in inside if not isinstance(one, wire.IDi | wire.AUTH)]
    answer = rogue.ask(rogue.seal(CREATE, inside))
    assert errors(answer) == [wanted]
    assert answer is not None and len(answer.payloads) == 1
    stands_as_before(scene, rogue, books)


def test_many_selectors_make_few_policies() -> None:
    """255 selectors on each side would be 195,000 policies; a part of what was asked is a right answer too."""
    scene = Scene(mine="0.0.0.0/0", theirs="0.0.0.0/0")
    rogue = half_open(scene)
    many = [selector(n << 24, (n << 24) + 0xFFFF, (n, n), 6) for n in range(255)]
    answer = rogue.request(35, *rogue.credentials(), rogue.child()[0], wire.TSi(many), wire.TSr(many))
    assert answer is not None
    assert len(answer.one(wire.TSi).selectors) <= MAX_NARROWED
    assert scene.books()["plane.policies"] <= 3 * MAX_NARROWED**2 + scene.before["plane.policies"]
    scene.assert_forgets()


def test_many_selectors_in_an_answer_make_few_policies() -> None:
    scene = Scene(mine="0.0.0.0/0", theirs="0.0.0.0/0")
    rogue = proving(scene)
    many = [selector(n << 24, (n << 24) + 0xFFFF, (n, n), 6) for n in range(255)]
    rogue.respond(*rogue.credentials(), rogue.child()[0], wire.TSi(many), wire.TSr(many))
    assert scene.books()["plane.policies"] <= 3 * MAX_NARROWED**2 + scene.before["plane.policies"]
    scene.assert_forgets()


def test_a_refusal_of_many_selectors_stays_short() -> None:
    scene = Scene()
    rogue = answered(scene)
    many = [selector(0xC0000000 + 16 * n, 0xC0000000 + 16 * n + 5) for n in range(255)]
    inside = [offer(), wire.Nonce(bytes(32)), wire.KE(31, b"\x09" + bytes(31)), wire.TSi(many), wire.TSr(many)]
    assert errors(rogue.request(CREATE, *inside)) == [UNACCEPTABLE]
    attempt = scene.engine.core.attempts.latest(1)[0]
    assert "and 239 more" in attempt.reason
    assert len(repr(attempt)) < 10_000


@pytest.mark.parametrize(
    "inside",
    [
        [delete(b"\0\0\0\0")],
        [delete(bytes(8))],
        [delete(*[bytes((0, 9, n >> 8, n & 255)) for n in range(1024)])],
        [delete(b"\0\1\2\3", protocol=Protocol.AH)],
        [delete(b"\0\1\2\3", protocol=0)],
        [delete(b"\0\1\2\3", protocol=255)],
        [delete(b"\0\0\0\0\0\1\2\3")],
        [delete(b"\1\2\3")],
        [wire.Delete(ESP, [])],
        [wire.Delete(255, [], spi_size=255)],
        [notify(n, b"\xff" * 40, b"\xff" * 9, 3) for n in range(11, 60) if n not in (24, 34)],
        [notify(NotifyType.INVALID_SPI, b"\0\1\2\3")],
        [notify(NotifyType.INVALID_SELECTORS, b"\xff" * 60)],
    ],
    ids=lambda inside: f"{len(inside)} {inside[0]}"[:50],
)
def test_what_names_nothing_of_ours_is_answered_and_changes_nothing(inside: list[wire.Payload]) -> None:
    scene = Scene()
    rogue = answered(scene)
    books = scene.books()
    answer = rogue.request(INFORM, *inside)
    assert answer is not None and answer.all(wire.Delete) == []
    stands_as_before(scene, rogue, books)


def test_a_delete_of_our_inbound_spi_deletes_nothing() -> None:
    scene = Scene()
    rogue = answered(scene)
    books = scene.books()
    answer = rogue.request(INFORM, delete(inward(rogue)))
    assert answer is not None and answer.payloads == []
    stands_as_before(scene, rogue, books)


def test_a_child_is_deleted_once_however_often_it_is_named() -> None:
    scene = Scene()
    rogue = answered(scene)
    spi, ours = out(rogue), inward(rogue)
    answer = rogue.request(INFORM, delete(spi, spi, spi), delete(spi), delete(spi, protocol=Protocol.AH))
    assert answer is not None
    assert [one.spis for one in answer.all(wire.Delete)] == [[ours]]
    assert scene.books()["plane.states"] == 0
    scene.assert_serves()
    scene.assert_forgets()


def test_nothing_after_the_delete_of_the_ike_sa_is_looked_at() -> None:
    """A payload after a Delete must not touch what the Delete has ended."""
    scene = Scene()
    rogue = answered(scene)
    spi = out(rogue)
    inside = [delete(protocol=Protocol.IKE), delete(spi), *rogue.new_child(), delete(protocol=Protocol.IKE)]
    answer = rogue.request(INFORM, *inside)
    assert answer is not None and answer.payloads == []
    assert rogue.sa is None
    scene.assert_serves()
    scene.assert_forgets()


@pytest.mark.parametrize("make", [creating, rekeying])
def test_a_delete_in_the_middle_of_our_own_exchange(make) -> None:  # type: ignore[no-untyped-def]
    scene = Scene()
    rogue = make(scene)
    asked: Message = next(m for m in reversed(rogue.heard()) if not m.response)
    rogue.next_id = 2 if rogue.initiator else 0
    assert rogue.request(INFORM, delete(protocol=Protocol.IKE)) is not None
    assert rogue.sa is None
    late = rogue.seal(asked.exchange, rogue.child(with_ke=True), response=True, message_id=asked.message_id)
    assert rogue.deliver(late) == []
    scene.assert_serves()
    scene.assert_forgets()


def test_a_response_of_raw_octets_leaves_no_spi_held() -> None:
    for abuse in ("an empty TS", "an SA without proposals", "a key length twice"):
        scene = Scene()
        rogue = creating(scene)
        inside = ABUSES[abuse](rogue)
        assert not isinstance(inside, list)
        rogue.respond(octets=inside)  # type: ignore[arg-type]
        assert scene.books()["plane.held"] == 0
        assert rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED
        scene.assert_serves()


@pytest.mark.parametrize("twice", ["SA", "TSi", "TSr", "Nonce", "KE"])
def test_a_response_with_a_payload_twice_leaves_no_spi_held(twice: str) -> None:
    scene = Scene()
    rogue = creating(scene)
    sa, tsi, tsr = rogue.child(b"\0\7\7\7", with_ke=True)
    whole = [sa, wire.Nonce(bytes(32)), wire.KE(31, b"\x09" + bytes(31)), tsi, tsr]
    again = next(one for one in whole if type(one).__name__ == twice)
    rogue.respond(*whole, again)
    assert scene.books()["plane.held"] == 0
    assert rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED
    scene.assert_serves()
    scene.assert_forgets()


def test_a_first_child_with_two_offers_leaves_nothing() -> None:
    scene = Scene()
    rogue = half_open(scene)
    sa, *selectors = rogue.child()
    assert errors(rogue.request(35, *rogue.credentials(), sa, sa, *selectors)) == [SYNTAX]
    assert scene.books()["plane.states"] == scene.books()["plane.held"] == 0
    scene.assert_serves()
    scene.assert_forgets()


def test_a_peer_that_chooses_what_was_not_offered_gets_no_child() -> None:
    scene = Scene()
    rogue = called(scene)
    scene.do(lambda engine, now: engine.rekey("rogue", "net", now)[1])
    weak = [wire.Transform(TransformType.ENCR, 11), wire.Transform(TransformType.INTEG, 2)]
    rogue.respond(offer(1, weak), wire.Nonce(bytes(32)), wire.KE(31, b"\x09" + bytes(31)), *rogue.child()[1:])
    assert rogue.sa is not None
    assert [child.chosen.encr.keyword for child in rogue.sa.children.values()] == ["aes256gcm16"]
    assert scene.books()["plane.held"] == 0


def test_raw_octets_are_refused_while_connecting_too() -> None:
    scene = Scene()
    rogue = half_open(scene)
    assert errors(rogue.ask(rogue.seal(35, raw(33, b"")))) == [SYNTAX]
    scene.assert_serves()
    scene.assert_forgets()


def test_a_call_that_lost_to_another_holds_no_spi() -> None:
    """Both called at once: what was offered on the SA that goes is given back."""
    scene = Scene()
    scene.connect("honest")
    scene.assert_serves()
    assert scene.books()["plane.held"] == 0
    assert not scene.honest.plane.held
    scene.assert_forgets()
