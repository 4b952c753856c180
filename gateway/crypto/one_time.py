"""One-time codes (RFC 6238): which of them is good at a moment."""

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

STEP = 30
"""Seconds that a code lasts."""
DIGITS = 6
_ASIDE = 1
"""Clocks may differ, and people type: codes so many steps before and after are good, too."""


def codes(secret: bytes, unix: float) -> dict[int, bytes]:
    """The codes that are good at Unix time `unix`, by their step, the present one first. Raises ValueError."""
    hotp = HOTP(secret, DIGITS, SHA1(), enforce_key_length=False)  # noqa: S303 - what every authenticator app has
    now = int(unix) // STEP
    near = [now, *(now + way * away for away in range(1, _ASIDE + 1) for way in (-1, 1))]
    return {step: hotp.generate(step) for step in near if step >= 0}
