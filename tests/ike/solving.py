"""Puzzles solved in one go."""

from gateway.crypto.rows import PseudoRandom
from gateway.ike.puzzles import Search


def solve(prf: PseudoRandom, data: bytes, difficulty: int) -> bytes:
    """The body of a PS payload, or nothing when the search was in vain."""
    search, found = Search(prf, data, difficulty), None
    while found is None and not search.hopeless:
        found = search.step(4096)
    return found or b""
