"""Client puzzles: keys under which a pseudo-random function ends in zero bits (RFC 8019 4.4, 7.1, 8)."""

from collections.abc import Sequence

from gateway.crypto import suites
from gateway.crypto.rows import PseudoRandom
from gateway.policy.proposals import Proposal
from gateway.wire import payloads as wire
from gateway.wire.numbers import NotifyType, TransformType

KEYS = 4
_KEY_OCTETS = 4
TOO_HARD = 20
"""Zero bits beyond which we do not try: some five seconds of one processor."""
FREE_CHOICE = 16
"""What we do where the responder leaves it to us (difficulty 0)."""


def puzzle(prf: PseudoRandom, difficulty: int) -> wire.Notify:
    """What the responder asks: the function and the number of zero bits (RFC 8019 8.1)."""
    return wire.Notify(0, b"", NotifyType.PUZZLE, prf.number.to_bytes(2) + bytes((difficulty,)))


def read_puzzle(notify: wire.Notify | None, ours: Sequence[Proposal]) -> tuple[PseudoRandom, int] | None:
    """The responder's wish, if it is one that we can fulfil: a function that we offered, and not too hard."""
    if notify is None or len(notify.data) != 3:
        return None
    prf = suites.pseudo_random(int.from_bytes(notify.data[:2]))
    difficulty = notify.data[2] or FREE_CHOICE
    if prf is None or difficulty > TOO_HARD or not any(prf in proposal.prf for proposal in ours):
        return None
    return prf, difficulty


def common_prf(ours: Sequence[Proposal], offered: Sequence[wire.Proposal]) -> PseudoRandom | None:
    """The first function of ours that the initiator offers (RFC 8019 7.1.1.2)."""
    theirs = {t.number for proposal in offered for t in proposal.transforms if t.type == TransformType.PRF}
    return next((prf for proposal in ours for prf in proposal.prf if prf.number in theirs), None)


def zero_bits(octets: bytes) -> int:
    """How many zero bits there are at the end."""
    number = int.from_bytes(octets)
    return (number & -number).bit_length() - 1 if number else 8 * len(octets)


def solves(prf: PseudoRandom, data: bytes, solution: wire.PuzzleSolution, difficulty: int) -> bool:
    """Whether four different keys of one size each give that many zero bits over `data` (RFC 8019 7.1.4)."""
    keys = solution.keys
    if len(set(keys)) != KEYS or len(keys[0]) > prf.key_octets:
        return False
    return all(zero_bits(prf.compute(key, data)) >= difficulty for key in keys)


class Search:
    """Looks for a solution, some keys at a time: about 4 * 2**difficulty computations in all."""

    def __init__(self, prf: PseudoRandom, data: bytes, difficulty: int) -> None:
        self._prf, self._data, self._difficulty = prf, data, difficulty
        self._number = 0
        self._found: list[bytes] = []

    @property
    def hopeless(self) -> bool:
        """Four times what it should have taken was in vain."""
        return self._number >= 16 << self._difficulty

    def step(self, tries: int) -> bytes | None:
        """Try the next keys; the body of a PS payload as soon as there are four."""
        compute, data, difficulty = self._prf.compute, self._data, self._difficulty
        for number in range(self._number, self._number + tries):
            key = number.to_bytes(_KEY_OCTETS)
            if zero_bits(compute(key, data)) >= difficulty:
                self._found.append(key)
                if len(self._found) == KEYS:
                    return b"".join(self._found)
        self._number += tries
        return None
