"""COOKIEs against floods of IKE_SA_INIT: stateless, with a secret that changes (RFC 7296 2.6)."""

import hashlib
import hmac
from collections.abc import Callable

from gateway.ike.path import Path


class Cookies:
    """Makes and checks cookies; the secret of the last period is still good."""

    def __init__(self, random: Callable[[int], bytes], lifetime: float) -> None:
        self._random = random
        self._lifetime = lifetime
        self._version = 0
        self._secrets = (random(32), random(32))
        self._changed = 0.0

    def _rotate(self, now: float) -> None:
        if now - self._changed >= self._lifetime:
            self._version = (self._version + 1) & 0xFF
            self._secrets = (self._random(32), self._secrets[0])
            self._changed = now

    def _make(self, version: int, secret: bytes, path: Path, spi_i: bytes, nonce_i: bytes) -> bytes:
        source = f"{path.remote} {path.port}".encode()
        tag = hmac.digest(secret, spi_i + len(nonce_i).to_bytes(2) + nonce_i + source, hashlib.sha256)
        return bytes((version,)) + tag[:24]

    def make(self, path: Path, spi_i: bytes, nonce_i: bytes, now: float) -> bytes:
        """Cookie = version | HMAC(secret, SPIi | Ni | IPi, port): 25 octets."""
        self._rotate(now)
        return self._make(self._version, self._secrets[0], path, spi_i, nonce_i)

    def good(self, cookie: bytes, path: Path, spi_i: bytes, nonce_i: bytes, now: float) -> bool:
        self._rotate(now)
        if len(cookie) != 25:
            return False
        age = (self._version - cookie[0]) & 0xFF
        if age > 1:
            return False
        return hmac.compare_digest(cookie, self._make(cookie[0], self._secrets[age], path, spi_i, nonce_i))
