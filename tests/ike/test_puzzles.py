"""Client puzzles (RFC 8019), as the one who sets them and as the one who solves them."""

import hmac
from dataclasses import replace

import pytest

from gateway.crypto import suites
from gateway.crypto.rows import PseudoRandom
from gateway.ike.effects import Send, Solve
from gateway.ike.engine import Engine
from gateway.ike.path import Path
from gateway.ike.puzzles import TOO_HARD, Search, puzzle, read_puzzle, solves, zero_bits
from gateway.ike.sa import Lifecycle
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build, parse
from gateway.wire.numbers import ExchangeType, NotifyType
from tests.ike.solving import solve
from tests.ike.strangers import answering, ask, cookie_of, init_payloads, init_request, with_cookie
from tests.ike.test_scripts import HERE, THERE, answer, calling
from tests.simulation.network import IKE, Network, psk, two

PRF = suites.pseudo_random(5)
assert isinstance(PRF, PseudoRandom)
SHA256: PseudoRandom = PRF
UNDER_ATTACK = EngineSettings(cookie_threshold=0, puzzles=True)

COOKIE = bytes.fromhex("739ae7492d8a810cf5e8dc0f9626c9dda773c5a3")
FOUND = solve(SHA256, COOKIE, 12)
KEYS = [FOUND[at : at + 4] for at in range(0, 16, 4)]


def solution(*keys: bytes) -> wire.PuzzleSolution:
    return wire.PuzzleSolution(b"".join(keys))


def test_a_solution_is_four_keys_under_which_the_function_ends_in_zeros() -> None:
    # PRF(Ki, S) of RFC 8019 7.1.3, with another HMAC; its table 1 fits neither this nor any other order of the two
    ends = [int(hmac.new(key, COOKIE, "sha256").hexdigest()[-8:], 16) for key in KEYS]
    assert all(end % 2**12 == 0 for end in ends)
    least = min((end & -end).bit_length() - 1 for end in ends)
    assert solves(SHA256, COOKIE, solution(*KEYS), least)
    assert not solves(SHA256, COOKIE, solution(*KEYS), least + 1)


def test_nothing_else_solves_it() -> None:
    assert not solves(SHA256, COOKIE, solution(*KEYS[:3]), 8)
    assert not solves(SHA256, COOKIE, solution(KEYS[0], KEYS[0], KEYS[1], KEYS[2]), 12)  # four different ones
    assert not solves(SHA256, COOKIE, solution(*KEYS[:3], b"\0\0\0\0"), 12)
    assert not solves(SHA256, COOKIE + b"\0", solution(*KEYS), 12)
    assert not solves(SHA256, COOKIE, solution(), 8)
    assert not solves(SHA256, COOKIE, solution(*(bytes(33) + bytes((n,)) for n in range(4))), 0)  # longer than the key
    assert not solves(SHA256, COOKIE, wire.PuzzleSolution(bytes(65_000)), 0)
    assert zero_bits(bytes(4)) == 32
    assert zero_bits(b"\x01\x00") == 8


@pytest.mark.parametrize("keyword", ["prfsha256", "prfsha512", "prfaesxcbc", "prfaescmac"])
def test_what_is_found_solves(keyword: str) -> None:
    prf = suites.by_keyword(keyword)
    assert isinstance(prf, PseudoRandom)
    found = solve(prf, COOKIE, 8)
    assert len(found) == 16
    assert solves(prf, COOKIE, wire.PuzzleSolution(found), 8)


def test_a_search_goes_on_where_it_stopped_and_ends() -> None:
    search, whole = Search(SHA256, COOKIE, 10), Search(SHA256, COOKIE, 10)
    steps = 0
    while (found := search.step(100)) is None:
        steps += 1
    assert steps > 5
    assert found == whole.step(1 << 20)
    steps, search = 0, Search(SHA256, COOKIE, 3)
    while not search.hopeless:
        search.step(16)
        steps += 1
    assert 8 <= steps <= 12


def test_only_what_can_be_done_is_taken_on() -> None:
    assert read_puzzle(puzzle(SHA256, 18), IKE) == (SHA256, 18)
    assert read_puzzle(puzzle(SHA256, 0), IKE) == (SHA256, 16)
    assert read_puzzle(puzzle(SHA256, TOO_HARD + 1), IKE) is None
    assert read_puzzle(puzzle(SHA256, 255), IKE) is None
    sha512 = suites.by_keyword("prfsha512")
    assert isinstance(sha512, PseudoRandom)
    assert read_puzzle(puzzle(sha512, 8), IKE) is None  # we did not offer it
    for data in (b"", b"\0\5", b"\0\5\x08\0", b"\xff\xff\x08"):
        assert read_puzzle(wire.Notify(0, b"", NotifyType.PUZZLE, data), IKE) is None
    assert read_puzzle(None, IKE) is None


# --- as responder ---


def challenged(engine: Engine, request: Message, now: float = 0.0) -> tuple[bytes, int]:
    """The cookie and the difficulty that come with it."""
    answers = ask(engine, request, now=now)
    cookie = cookie_of(answers)
    notify = answers[0].notify(NotifyType.PUZZLE)
    assert notify is not None
    assert notify.data[:2] == b"\0\5"
    assert len(build(answers[0])) <= len(build(request))
    return cookie, notify.data[2]


def spend_legacy(engine: Engine) -> None:
    while engine.core.admission.admit_unsolved(0.0):
        pass


def test_who_solves_it_comes_in_once() -> None:
    engine = answering(replace(UNDER_ATTACK, half_open_timeout=5.0))
    spend_legacy(engine)
    request = init_request()
    cookie, difficulty = challenged(engine, request)
    assert 16 <= difficulty <= 20
    solved = with_cookie(request, cookie, wire.PuzzleSolution(solve(SHA256, cookie, difficulty)))
    (answer,) = ask(engine, solved)
    assert answer.spi_r != bytes(8)
    assert engine.core.counters["puzzles-solved"] == 1
    engine.tick(6.0)
    assert not engine.ike_sas()
    assert ask(engine, solved, now=6.0) == []  # the same work does not pay twice (RFC 8019 10)
    assert engine.core.counters["dropped: a puzzle's solution came a second time"] == 1


def test_who_does_not_is_asked_again() -> None:
    engine = answering(UNDER_ATTACK)
    spend_legacy(engine)
    request = init_request()
    cookie, difficulty = challenged(engine, request)
    unsolved = [
        with_cookie(request, cookie),
        with_cookie(request, cookie, wire.PuzzleSolution(bytes(16))),
        with_cookie(request, cookie, wire.PuzzleSolution(b"")),
        with_cookie(request, cookie, *[wire.PuzzleSolution(solve(SHA256, cookie, 8))] * 2),
        with_cookie(request, cookie, wire.PuzzleSolution(solve(SHA256, b"another cookie", 8))),
    ]
    for attempt in unsolved:
        assert challenged(engine, attempt) == (cookie, difficulty)
    # a cookie whose difficulty was changed is no cookie of ours
    easier = bytes((cookie[0], 1)) + cookie[2:]
    forged = with_cookie(request, easier, wire.PuzzleSolution(solve(SHA256, easier, 1)))
    assert challenged(engine, forged) == (cookie, difficulty)
    assert not engine.ike_sas()


def test_a_few_who_cannot_solve_are_served() -> None:
    engine = answering(UNDER_ATTACK)
    served = 0
    for number in range(1, 100):
        request = init_request(number.to_bytes(8))
        cookie, _ = challenged(engine, request)
        served += ask(engine, with_cookie(request, cookie))[0].spi_r != bytes(8)
    assert served == 32


def test_puzzles_are_set_only_when_they_are_switched_on() -> None:
    engine = answering(replace(UNDER_ATTACK, puzzles=False))
    (answer,) = ask(engine, init_request())
    assert answer.notify(NotifyType.COOKIE)
    assert answer.notify(NotifyType.PUZZLE) is None


def test_the_more_pressure_the_harder() -> None:
    engine = answering(EngineSettings(cookie_threshold=4, half_open_per_source=10**6, puzzles=True))
    admission, limits = engine.core.admission, engine.core.snapshot.settings
    seen = []
    for number in range(4000):
        admission.opened(f"11.{number >> 8}.{number & 255}.1")
        seen.append(admission.difficulty("192.0.2.99", 0.0, limits))
    assert seen[:7] == [0] * 7
    assert seen == sorted(seen)
    assert (seen[8], seen[-1]) == (16, 20)


def test_a_stranger_without_a_function_in_common_is_refused_as_ever() -> None:
    engine = answering(UNDER_ATTACK)
    payloads = init_payloads()
    offered = payloads[0]
    assert isinstance(offered, wire.SA)
    for transform in offered.proposals[0].transforms:
        if transform.type == 2:
            transform.number = 7
    request = init_request(payloads=payloads)
    cookie = cookie_of(ask(engine, request))
    (answer,) = ask(engine, with_cookie(request, cookie))
    assert answer.notify(NotifyType.NO_PROPOSAL_CHOSEN)


# --- as initiator ---


def receive(engine: Engine, request: Message, *payloads: wire.Payload) -> tuple[list[Solve], list[Message]]:
    response = Message(request.spi_i, bytes(8), ExchangeType.IKE_SA_INIT, False, True, 0, list(payloads))
    effects = engine.receive(build(response), Path(HERE, THERE), 0.1)
    return (
        [effect for effect in effects if isinstance(effect, Solve)],
        [parse(effect.data) for effect in effects if isinstance(effect, Send)],
    )


def test_we_solve_what_is_asked_and_send_it_behind_the_cookie() -> None:
    engine, sa, request = calling()
    cookie = wire.Notify(0, b"", NotifyType.COOKIE, b"biscuit")
    (question,), nothing = receive(engine, request, cookie, puzzle(SHA256, 9))
    assert nothing == []
    assert (question.prf, question.data, question.difficulty) == (SHA256, b"biscuit", 9)
    assert engine.tick(5.0) == []  # nothing is sent meanwhile, and nothing waits for it
    found = solve(question.prf, question.data, question.difficulty)
    (effect,) = [one for one in engine.solved(question.token, found, 6.0) if isinstance(one, Send)]
    again = parse(effect.data)
    assert [type(payload).__name__ for payload in again.payloads[:3]] == ["Notify", "PuzzleSolution", "SA"]
    assert again.payloads[2:] == request.payloads
    assert solves(SHA256, b"biscuit", again.one(wire.PuzzleSolution), 9)
    assert engine.solved(question.token, found, 6.0) == []
    assert sa.state == Lifecycle.CONNECTING
    # the other group that is wanted then brings cookie and solution along (RFC 7296 2.6.1)
    _, (third,) = receive(engine, request, wire.Notify(0, b"", NotifyType.INVALID_KE_PAYLOAD, b"\0\x13"))
    assert third.payloads[:2] == again.payloads[:2]


def test_what_is_too_hard_gets_the_cookie_alone() -> None:
    engine, _, request = calling()
    cookie = wire.Notify(0, b"", NotifyType.COOKIE, b"biscuit")
    questions, (again,) = receive(engine, request, cookie, puzzle(SHA256, 40))
    assert questions == []
    assert again.payloads[0] == cookie
    assert again.payloads[1:] == request.payloads


def test_a_search_in_vain_gets_the_cookie_alone() -> None:
    engine, _, request = calling()
    cookie = wire.Notify(0, b"", NotifyType.COOKIE, b"biscuit")
    (question,), _ = receive(engine, request, cookie, puzzle(SHA256, 9))
    (effect,) = [one for one in engine.solved(question.token, b"", 6.0) if isinstance(one, Send)]
    assert parse(effect.data).payloads[1:] == request.payloads


def test_a_puzzle_without_a_cookie_is_not_heard() -> None:
    engine, sa, request = calling()
    assert answer(engine, request, puzzle(SHA256, 9)) == []
    assert sa.state == Lifecycle.CONNECTING
    assert sa.requests.pending


def test_puzzles_without_end_are_left() -> None:
    engine, sa, request = calling()
    solved = 0
    for turn in range(20):
        cookie = wire.Notify(0, b"", NotifyType.COOKIE, bytes((turn,)))
        questions, _ = receive(engine, request, cookie, puzzle(SHA256, 9))
        for question in questions:
            solved += 1
            engine.solved(question.token, bytes(range(16)), 1.0)
    assert solved <= 6
    assert sa.state == Lifecycle.CLOSED


def test_an_answer_for_an_sa_that_ended_meanwhile_is_nothing() -> None:
    engine, sa, request = calling()
    (question,), _ = receive(engine, request, wire.Notify(0, b"", NotifyType.COOKIE, b"x"), puzzle(SHA256, 9))
    engine.disconnect("right", None, 1.0)
    assert sa.state == Lifecycle.CLOSED
    assert engine.solved(question.token, bytes(range(16)), 2.0) == []
    assert engine.solved(4711, b"", 2.0) == []


def test_two_gateways_meet_through_a_puzzle() -> None:
    network = Network(1)
    a, b = two(network)
    config = b.engine.core.snapshot
    network.reboot(b, Snapshot.build(2, config.peers.values(), [psk()], UNDER_ATTACK))
    spend_legacy(b.engine)
    network.run(60)
    assert a.engine.core.established("right")
    assert b.engine.core.counters["puzzles-sent"] >= 1
    assert b.engine.core.counters["puzzles-solved"] == 1
