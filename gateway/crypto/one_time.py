"""One-time codes (RFC 6238): which of them is good at a moment."""

from base64 import b32encode
from urllib.parse import quote

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

STEP = 30
"""Seconds that a code lasts."""
DIGITS = 6
SECRET_OCTETS = 20
"""As many as HMAC-SHA-1 gives (RFC 4226 4, R6)."""
_ASIDE = 1
"""Clocks may differ, and people type: codes so many steps before and after are good, too."""


MOST = 2 * _ASIDE + 1
"""Codes that are good at one time."""


def codes(secret: bytes, unix: float) -> dict[int, bytes]:
    """The codes that are good at Unix time `unix`, by their step, the present one first. Raises ValueError."""
    hotp = HOTP(secret, DIGITS, SHA1(), enforce_key_length=False)  # noqa: S303 - what every authenticator app has
    now = int(unix) // STEP
    near = [now, *(now + way * away for away in range(1, _ASIDE + 1) for way in (-1, 1))]
    return {step: hotp.generate(step) for step in near if step >= 0}


def uri(secret: bytes, account: str, issuer: str) -> str:
    """What an authenticator app takes, as a link or a QR code (Key URI Format); it holds the secret.

    A colon parts the issuer from the account, so that those of an IPv6 address become dots.
    """
    issuer = issuer.replace(":", ".")
    name = f"{quote(issuer, safe='')}:{quote(account, safe='@')}"
    return (
        f"otpauth://totp/{name}?secret={text(secret)}&issuer={quote(issuer, safe='')}"
        f"&algorithm=SHA1&digits={DIGITS}&period={STEP}"
    )


def text(secret: bytes) -> str:
    """The secret as people type it (base32)."""
    return b32encode(secret).decode().rstrip("=")
