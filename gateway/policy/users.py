"""People, as EAP knows them: what a user proves himself with, and whether he may come in at all."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class User:
    """One person, found by the name that EAP's Identity gives.

    `password` is UTF-8; without one no method that asks for a password lets him in. `expires` is Unix time in seconds,
    None for never. `addresses` are virtual addresses that are always his. `totp_secret` is the key of his one-time
    codes (RFC 6238), empty where he has none.
    """

    name: str
    password: bytes = field(default=b"", repr=False)
    enabled: bool = True
    expires: float | None = None
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    totp_secret: bytes = field(default=b"", repr=False)

    def barred(self, unix: float) -> str:
        """Why he may not come in at this time, as the end of a sentence; empty when he may."""
        if not self.enabled:
            return "is disabled"
        if self.expires is not None and unix >= self.expires:
            return "has expired"
        return ""
