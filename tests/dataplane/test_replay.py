"""The replay window against a plain set of numbers, and the guess at the high half against the RFC's table."""

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.dataplane.replay import LARGEST_WINDOW, ReplayWindow

SIZES = st.sampled_from([1, 2, 32, 64, 128, 1024])


class PlainWindow:
    """What RFC 4303 3.4.3 asks for, with a set."""

    def __init__(self, size: int) -> None:
        self.size, self.top, self.seen = size, 0, set[int]()

    def fresh(self, sequence: int) -> bool:
        return sequence > 0 and sequence > self.top - self.size and sequence not in self.seen

    def accept(self, sequence: int) -> None:
        self.seen.add(sequence)
        self.top = max(self.top, sequence)


@given(SIZES, st.lists(st.one_of(st.integers(0, 3000), st.integers(-70, 70)), max_size=200))
@example(128, [1, 1, 200, 0, 73, 72])
def test_accepts_what_a_set_would(size: int, moves: list[int]) -> None:
    window, plain = ReplayWindow(size), PlainWindow(size)
    for move in moves:
        sequence = max(0, plain.top + move if move < 70 else move)
        assert window.fresh(sequence) == plain.fresh(sequence), sequence
        if plain.fresh(sequence):
            newest = sequence > plain.top
            assert window.accept(sequence) == newest
            plain.accept(sequence)
        assert window.top == plain.top


def test_without_a_window_only_number_zero_is_refused() -> None:
    window = ReplayWindow(0)
    assert window.fresh(5)
    window.accept(5)
    assert window.fresh(5)
    assert window.fresh(1)
    assert not window.fresh(0)


def test_the_window_is_limited() -> None:
    window = ReplayWindow(10**9)
    assert window.size == LARGEST_WINDOW
    window.accept(2**62)
    assert not window.fresh(2**62 - LARGEST_WINDOW)
    assert window.fresh(2**62 - LARGEST_WINDOW + 1)


def appendix_a2_2(top: int, size: int, low: int) -> int:
    """RFC 4303 appendix A2.2 word by word: Tl, Th, Bl, Seql, Seqh."""
    th, tl = divmod(top, 1 << 32)
    if tl >= size - 1:  # case A
        high = th if low >= tl - size + 1 else th + 1
    else:  # case B: the window spans two subspaces, Bl wraps
        bl = (tl - size + 1) % (1 << 32)
        high = th - 1 if low >= bl else th
    return (high << 32) + low


TOPS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.builds(lambda h, o: max(0, (h << 32) + o), st.integers(0, 5), st.integers(-1100, 1100)),
)


@given(SIZES, TOPS, st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 1100), st.integers(2**32 - 1100, 2**32 - 1)))
def test_guesses_the_high_half_as_the_rfc_says(size: int, top: int, low: int) -> None:
    window = ReplayWindow(size)
    if top:
        window.accept(top)
    assert window.expand(low) == appendix_a2_2(top, size, low)


@given(SIZES, TOPS, st.integers(1, 2**31))
def test_the_sender_s_next_numbers_are_understood(size: int, top: int, ahead: int) -> None:
    window = ReplayWindow(size)
    if top:
        window.accept(top)
    assert window.expand((top + ahead) % 2**32) == top + ahead
