"""COOKIEs against floods of IKE_SA_INIT: stateless, with a secret that changes (RFC 7296 2.6, RFC 8019 7.1.1.3)."""

import hashlib
import hmac
from collections.abc import Callable

from gateway.ike.path import Path

_SPENT_KEPT = 20_000


class Cookies:
    """Makes and checks cookies; the secret of the last period is still good.

    A cookie remembers the difficulty of the puzzle that was given with it; 0 stands for none.
    """

    def __init__(self, random: Callable[[int], bytes], lifetime: float) -> None:
        self._random = random
        self.lifetime = lifetime
        self._version = 0
        self._secrets = (random(32), random(32))
        self._changed = 0.0
        self._spent: tuple[set[bytes], set[bytes]] = (set(), set())

    def _rotate(self, now: float) -> None:
        if now - self._changed >= self.lifetime:
            self._version = (self._version + 1) & 0xFF
            self._secrets = (self._random(32), self._secrets[0])
            self._spent = (set(), self._spent[0])
            self._changed = now

    def _make(self, version: int, secret: bytes, path: Path, opening: tuple[bytes, bytes], difficulty: int) -> bytes:
        spi_i, nonce_i = opening
        head = bytes((version, difficulty))
        source = f"{path.remote} {path.port}".encode()
        tag = hmac.digest(secret, head + spi_i + len(nonce_i).to_bytes(2) + nonce_i + source, hashlib.sha256)
        return head + tag[:24]

    def make(self, path: Path, spi_i: bytes, nonce_i: bytes, now: float, difficulty: int = 0) -> bytes:
        """Cookie = version | difficulty | HMAC(secret, both, SPIi | Ni | IPi, port): 26 octets."""
        self._rotate(now)
        return self._make(self._version, self._secrets[0], path, (spi_i, nonce_i), difficulty)

    def check(self, cookie: bytes, path: Path, spi_i: bytes, nonce_i: bytes, now: float) -> int | None:
        """The difficulty that this cookie of ours was given with; None when it is not good."""
        self._rotate(now)
        if len(cookie) != 26:
            return None
        age = (self._version - cookie[0]) & 0xFF
        if age > 1:
            return None
        ours = self._make(cookie[0], self._secrets[age], path, (spi_i, nonce_i), cookie[1])
        return cookie[1] if hmac.compare_digest(cookie, ours) else None

    def good(self, cookie: bytes, path: Path, spi_i: bytes, nonce_i: bytes, now: float) -> bool:
        return self.check(cookie, path, spi_i, nonce_i, now) is not None

    def spend(self, cookie: bytes) -> bool:
        """Use up a cookie whose puzzle was solved: one solution opens one IKE SA (RFC 8019 10). False: it was used."""
        if cookie in self._spent[0] or cookie in self._spent[1]:
            return False
        if len(self._spent[0]) < _SPENT_KEPT:
            self._spent[0].add(cookie)
        return True
