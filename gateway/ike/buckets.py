"""How often something may be done: at once up to a number, and then at a rate."""


class Bucket:
    """Holds `most` to begin with, and gains `rate` a second."""

    __slots__ = ("_left", "_most", "_rate", "_since")

    def __init__(self, most: float, rate: float) -> None:
        self._most, self._rate = most, rate
        self._left, self._since = most, 0.0

    def take(self, now: float) -> bool:
        """Whether it may be done once more at `now` (seconds)."""
        self._left = min(self._most, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Rates:
    """What anybody can make us do without being known, each kind so often."""

    __slots__ = ("answers", "hints", "hurries", "strangers")

    def __init__(self) -> None:
        self.strangers = Bucket(20, 2)
        """Attempts of their own for refused IKE_SA_INITs."""
        self.hints = Bucket(20, 10)
        """Looks into what was said in the open about an SA or a peer."""
        self.hurries = Bucket(3, 0.2)
        """Calls brought forward because our network changed."""
        self.answers = Bucket(1000, 500)
        """Answers to messages for SAs that are not here; a whole fleet asks after we restarted."""
