"""Keyed ciphers of one direction: one shape for AEADs and for encryption with a separate MAC, for IKE and for ESP."""

import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import ciphers
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.cmac import CMAC

from gateway.crypto.macs import XcbcKey
from gateway.crypto.rows import Encryption, Integrity

Octets = bytes | bytearray | memoryview
_FULL_TAG = 16
_AEAD_IV = 8
_AEAD_MISUSE = "an AEAD takes an IV of 8 octets and no trailer: extended sequence numbers go into its associated data"
_COUNTER_ONE = b"\x00\x00\x00\x01"  # RFC 3686 4: the block counter starts at one


class Forged(Exception):
    """The octets were not sealed with this key, or were changed or cut on the way."""


def _fill(buffer: bytearray | memoryview, octets: bytes) -> int:
    if len(buffer) != len(octets):
        raise ValueError(f"the buffer has {len(buffer)} octets, the result {len(octets)}")
    buffer[:] = octets
    return len(octets)


class Cipher(ABC):
    """A keyed cipher for one direction.

    `seal` and `open` take the explicit IV (`iv_octets` long) and the associated data: for IKE everything before the IV
    (RFC 5282 5.1), for ESP the SPI and the sequence number, for an AEAD with its high half between (RFC 4106 5).
    `trailer` is MACed after the ciphertext and not sent: the high half of an extended sequence number where the MAC is
    separate (RFC 4303 2.2.1); an AEAD takes none. The plaintext comes padded to `block_octets`.
    """

    __slots__ = ("block_octets", "icv_octets", "iv_octets")

    def __init__(self, iv_octets: int, icv_octets: int, block_octets: int) -> None:
        self.iv_octets = iv_octets
        self.icv_octets = icv_octets
        self.block_octets = block_octets

    @abstractmethod
    def seal(self, iv: Octets, aad: Octets, plaintext: Octets, trailer: bytes = b"") -> bytes:
        """Ciphertext and ICV. ValueError when the IV or the plaintext has a length that this cipher cannot take."""

    @abstractmethod
    def open(self, iv: Octets, aad: Octets, sealed: Octets, trailer: bytes = b"") -> bytes:
        """The plaintext of ciphertext and ICV, padded, or empty. Raises Forged, for every wrong length too."""

    def seal_into(self, iv: Octets, aad: Octets, plaintext: Octets, buffer: bytearray | memoryview) -> int:
        """`seal` into a buffer of exactly the result's length; the number of octets written."""
        return _fill(buffer, self.seal(iv, aad, plaintext))

    def open_into(self, iv: Octets, aad: Octets, sealed: Octets, buffer: bytearray | memoryview) -> int:
        """`open` into a buffer of exactly the result's length; the number of octets written. Raises Forged."""
        return _fill(buffer, self.open(iv, aad, sealed))


class AeadCipher(Cipher):
    """An AEAD whose nonce is salt | IV: AES-GCM-16, AES-CCM, ChaCha20-Poly1305 (RFC 4106, 4309, 5282, 7634)."""

    __slots__ = ("_decrypt", "_decrypt_into", "_encrypt", "_encrypt_into", "_salt")

    def __init__(self, aead: AESGCM | AESCCM | ChaCha20Poly1305, salt: bytes, row: Encryption) -> None:
        super().__init__(row.iv_octets, row.icv_octets, row.block_octets)
        self._salt = salt
        self._encrypt, self._encrypt_into = aead.encrypt, aead.encrypt_into
        self._decrypt, self._decrypt_into = aead.decrypt, aead.decrypt_into

    def seal(self, iv: Octets, aad: Octets, plaintext: Octets, trailer: bytes = b"") -> bytes:
        if trailer or len(iv) != _AEAD_IV:
            raise ValueError(_AEAD_MISUSE)
        return self._encrypt(self._salt + iv, plaintext, aad)

    def open(self, iv: Octets, aad: Octets, sealed: Octets, trailer: bytes = b"") -> bytes:
        if trailer:
            raise ValueError(_AEAD_MISUSE)
        try:
            return self._decrypt(self._salt + iv, sealed, aad)
        except (InvalidTag, ValueError) as cause:  # ValueError: an IV cut short by the sender
            raise Forged("the integrity check failed") from cause

    def seal_into(self, iv: Octets, aad: Octets, plaintext: Octets, buffer: bytearray | memoryview) -> int:
        if len(iv) != _AEAD_IV:
            raise ValueError(_AEAD_MISUSE)
        return self._encrypt_into(self._salt + iv, plaintext, aad, buffer)

    def open_into(self, iv: Octets, aad: Octets, sealed: Octets, buffer: bytearray | memoryview) -> int:
        try:
            return self._decrypt_into(self._salt + iv, sealed, aad, buffer)
        except (InvalidTag, ValueError) as cause:
            if isinstance(cause, ValueError) and len(buffer) != max(0, len(sealed) - self.icv_octets):
                raise  # the caller's buffer, not the sender's octets
            raise Forged("the integrity check failed") from cause


class ShortTagGcm(Cipher):
    """AES-GCM with its tag cut to 12 or 8 octets (RFC 4106 6), which the one-shot interface does not offer."""

    __slots__ = ("_key", "_salt")

    def __init__(self, key: bytes, salt: bytes, row: Encryption) -> None:
        super().__init__(row.iv_octets, row.icv_octets, row.block_octets)
        self._key = algorithms.AES(key)
        self._salt = salt

    def seal(self, iv: Octets, aad: Octets, plaintext: Octets, trailer: bytes = b"") -> bytes:
        if trailer or len(iv) != _AEAD_IV:
            raise ValueError(_AEAD_MISUSE)
        context = ciphers.Cipher(self._key, modes.GCM(self._salt + iv)).encryptor()
        context.authenticate_additional_data(aad)
        ciphertext = context.update(plaintext) + context.finalize()
        return ciphertext + context.tag[: self.icv_octets]

    def open(self, iv: Octets, aad: Octets, sealed: Octets, trailer: bytes = b"") -> bytes:
        if trailer:
            raise ValueError(_AEAD_MISUSE)
        end = len(sealed) - self.icv_octets
        if end < 0 or len(iv) != self.iv_octets:
            raise Forged("shorter than an integrity check value and an IV")
        mode = modes.GCM(self._salt + iv, bytes(sealed[end:]), self.icv_octets)
        context = ciphers.Cipher(self._key, mode).decryptor()
        context.authenticate_additional_data(aad)
        plaintext = context.update(sealed[:end])
        try:
            return plaintext + context.finalize()
        except InvalidTag as cause:
            raise Forged("the integrity check failed") from cause


class MacedCipher(Cipher):
    """AES-CBC or AES-CTR, then a MAC over aad | IV | ciphertext | trailer (RFC 7296 3.14, RFC 4303 3.3.2)."""

    __slots__ = ("_ctr", "_key", "_mac", "_salt")

    def __init__(
        self, key: bytes, salt: bytes, row: Encryption, mac: Callable[[bytes], bytes], icv_octets: int
    ) -> None:
        super().__init__(row.iv_octets, icv_octets, row.block_octets)
        self._key = algorithms.AES(key)
        self._salt = salt
        self._ctr = not row.iv_random
        self._mac = mac

    def _mode(self, iv: Octets) -> modes.CTR | modes.CBC:
        # RFC 3686 4, RFC 5930 2: the counter block is nonce | IV | counter.
        return modes.CTR(self._salt + iv + _COUNTER_ONE) if self._ctr else modes.CBC(iv)

    def seal(self, iv: Octets, aad: Octets, plaintext: Octets, trailer: bytes = b"") -> bytes:
        if len(plaintext) % self.block_octets:
            raise ValueError(f"the plaintext is not padded to {self.block_octets} octets")
        ciphertext = ciphers.Cipher(self._key, self._mode(iv)).encryptor().update(plaintext)
        return ciphertext + self._mac(b"".join((aad, iv, ciphertext, trailer)))

    def open(self, iv: Octets, aad: Octets, sealed: Octets, trailer: bytes = b"") -> bytes:
        end = len(sealed) - self.icv_octets
        if end < 0 or end % self.block_octets or len(iv) != self.iv_octets:
            raise Forged("not a whole number of blocks, an IV and an integrity check value")
        ciphertext = sealed[:end]
        if not hmac.compare_digest(self._mac(b"".join((aad, iv, ciphertext, trailer))), sealed[end:]):
            raise Forged("the integrity check failed")
        return ciphers.Cipher(self._key, self._mode(iv)).decryptor().update(ciphertext)


def _mac(row: Integrity, key: bytes) -> Callable[[bytes], bytes]:
    """The MAC of `row` keyed with `key`, cut to its ICV."""
    icv, digest = row.icv_octets, row.digest
    if digest:
        return lambda data: hmac.digest(key, data, digest)[:icv]
    if row.keyword == "aesxcbc":
        xcbc = XcbcKey(key)
        return lambda data: xcbc.compute(data)[:icv]
    keyed = CMAC(algorithms.AES(key))

    def cmac(data: bytes) -> bytes:
        mac = keyed.copy()
        mac.update(data)
        return mac.finalize()[:icv]

    return cmac


def sealer(encr: Encryption, key: bytes, integ: Integrity | None = None, integ_key: bytes = b"") -> Cipher:
    """The cipher of `encr` keyed for one direction; `key` is the cipher key with the salt at its end.

    An AEAD takes no `integ`, the others need one (RFC 8221 4). Raises ValueError when the rows do not go together or
    a key has a wrong length.
    """
    if len(key) != encr.key_material_octets:
        raise ValueError(f"{encr.label} takes {encr.key_material_octets} octets of key and salt, not {len(key)}")
    if encr.aead != (integ is None):
        raise ValueError(f"{encr.label} {'takes no' if encr.aead else 'needs an'} integrity algorithm")
    cipher_key, salt = key[: encr.key_octets], key[encr.key_octets :]
    if integ is not None:
        if len(integ_key) != integ.key_octets:
            raise ValueError(f"{integ.label} takes a key of {integ.key_octets} octets, not {len(integ_key)}")
        return MacedCipher(cipher_key, salt, encr, _mac(integ, integ_key), integ.icv_octets)
    if encr.name == "ENCR_CHACHA20_POLY1305":
        return AeadCipher(ChaCha20Poly1305(cipher_key), salt, encr)
    if encr.name.startswith("ENCR_AES_CCM"):
        return AeadCipher(AESCCM(cipher_key, encr.icv_octets), salt, encr)
    if encr.icv_octets == _FULL_TAG:
        return AeadCipher(AESGCM(cipher_key), salt, encr)
    return ShortTagGcm(cipher_key, salt, encr)
