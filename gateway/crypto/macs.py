"""AES-based message authentication codes and the pseudo-random functions made of them (RFC 3566, 4434, 4493, 4615)."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

BLOCK = 16
_ZERO = bytes(BLOCK)


def _encrypt(key: bytes, blocks: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - single blocks, as RFC 3566 4 asks
    return encryptor.update(blocks)


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(BLOCK, "big")


class XcbcKey:
    """One AES-XCBC-MAC key with its three subkeys derived once (RFC 3566 4)."""

    __slots__ = ("_k1", "_k2", "_k3")

    def __init__(self, key: bytes) -> None:
        if len(key) != BLOCK:
            raise ValueError(f"an AES-XCBC-MAC key has 16 octets, not {len(key)}")
        subkeys = _encrypt(key, b"\x01" * BLOCK + b"\x02" * BLOCK + b"\x03" * BLOCK)
        self._k1, self._k2, self._k3 = subkeys[:16], subkeys[16:32], subkeys[32:]

    def compute(self, data: bytes) -> bytes:
        """The full 16 octets of AES-XCBC-MAC over `data` (RFC 3566 4; AES-XCBC-96 takes the first 12)."""
        whole = max(0, (len(data) - 1) // BLOCK * BLOCK)
        last = data[whole:]
        filled, subkey = (last, self._k2) if len(last) == BLOCK else (last + b"\x80", self._k3)
        # CBC with a zero IV is the chain of RFC 3566 4 steps 3 and 4: its last block is the MAC.
        chain = Cipher(algorithms.AES(self._k1), modes.CBC(_ZERO)).encryptor()
        return chain.update(data[:whole] + _xor(filled.ljust(BLOCK, b"\0"), subkey))[-BLOCK:]


def aes_xcbc(key: bytes, data: bytes) -> bytes:
    """AES-XCBC-MAC with a 16-octet key, untruncated (RFC 3566 4)."""
    return XcbcKey(key).compute(data)


def aes_cmac(key: bytes, data: bytes) -> bytes:
    """AES-CMAC with a 16-octet key, untruncated (RFC 4493 2.4)."""
    mac = CMAC(algorithms.AES(key))
    mac.update(data)
    return mac.finalize()


def aes_xcbc_prf(key: bytes, data: bytes) -> bytes:
    """AES-XCBC-PRF-128: a shorter key is padded with zeros, a longer one is hashed under the zero key (RFC 4434 2)."""
    key = key.ljust(BLOCK, b"\0") if len(key) <= BLOCK else aes_xcbc(_ZERO, key)
    return aes_xcbc(key, data)


def aes_cmac_prf(key: bytes, data: bytes) -> bytes:
    """AES-CMAC-PRF-128: a key of any length but 16, shorter ones too, is hashed under the zero key (RFC 4615 3)."""
    return aes_cmac(key if len(key) == BLOCK else aes_cmac(_ZERO, key), data)
