"""Numbers, times and sentences as the console writes them."""

import pytest

from gateway.ike.attempts import Outcome
from gateway.service.status import TunnelState
from web.console import words


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (5_812_345_678, "5.81 GB"),
        (10**18, "1000 PB"),
    ],
)
def test_octets_have_three_digits_and_a_unit(count: int, text: str) -> None:
    assert words.octets(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (3_661, "1 h 1 min"), (90_000, "1 d 1 h")],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_a_moment_of_today_is_a_clock_and_any_other_has_its_day() -> None:
    now = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
    assert words.moment(now - 60, now) == "07:59:00 UTC"
    assert words.moment(now - 86_400, now) == "14 Jan, 08:00 UTC"
    assert words.moment(now - 30 * 86_400, now) == "16 Dec 2026, 08:00 UTC"
    assert words.iso(now) == "2027-01-15T08:00:00.000Z"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("the peer is gone", "The peer is gone."),
        ("net: the peer is gone", "net: the peer is gone."),
        ("Is it?", "Is it?"),
        ("  ", ""),
    ],
)
def test_a_reason_becomes_a_sentence_but_a_name_keeps_its_letters(text: str, told: str) -> None:
    assert words.sentence(text) == told


def test_lists_are_cut_where_they_get_long() -> None:
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed(["a", "b", "c", "d"]) == "a, b and 2 more"
    assert words.listed([]) == ""


def test_every_state_has_a_word_and_a_shape_of_its_own() -> None:
    assert words.TUNNEL_STATES.keys() == set(TunnelState)
    assert words.OUTCOMES.keys() == set(Outcome)
    shown = list(words.TUNNEL_STATES.values())
    assert len({state.word for state in shown}) == len({state.css for state in shown}) == len(shown)


def test_a_tunnel_name_cannot_leave_its_place_in_an_address() -> None:
    assert words.tunnel("../x?y#z") == "/tunnels/..%2Fx%3Fy%23z"
