"""The anti-replay window of RFC 4303 3.4.3 and the receiver's guess at the high half of an extended sequence number."""

LARGEST_WINDOW = 4096
_HALF = 1 << 32


class ReplayWindow:
    """Which sequence numbers were accepted lately; the window is one integer, bit 0 for the highest number accepted.

    `size` numbers are remembered, at most LARGEST_WINDOW; 0 turns the check off (RFC 4303 3.4.3).
    """

    __slots__ = ("_bits", "_mask", "_span", "size", "top")

    def __init__(self, size: int) -> None:
        self.size = min(size, LARGEST_WINDOW)
        self.top = 0
        self._span = self.size or 1  # without a check the guess still needs some width
        self._mask = (1 << self.size) - 1
        self._bits = 0

    def expand(self, low: int) -> int:
        """The extended sequence number meant by its low 32 bits (RFC 4303 appendix A2.2).

        Of all numbers with these low bits it is the only one among the 2**32 from the window's lower edge on. While
        that edge lies below zero the answer may be negative: no such number was ever sent.
        """
        bottom = self.top - self._span + 1
        return bottom + (low - bottom) % _HALF

    def fresh(self, sequence: int) -> bool:
        """Whether a packet with this number may be accepted: neither seen nor left of the window."""
        behind = self.top - sequence
        if behind < 0:
            return True
        if not self.size or sequence <= 0:  # RFC 4303 3.3.2: a sender begins with 1
            return sequence > 0
        return behind < self.size and not self._bits >> behind & 1

    def accept(self, sequence: int) -> bool:
        """Remember a number that was `fresh` and whose packet proved genuine; whether it is the highest so far."""
        ahead = sequence - self.top
        if ahead <= 0:
            self._bits |= 1 << -ahead & self._mask
            return False
        self.top = sequence
        # A jump over the whole window would shift by as much as a peer likes.
        self._bits = (self._bits << ahead | 1) & self._mask if ahead < self.size else 1
        return True
