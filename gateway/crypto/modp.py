"""The MODP groups of RFC 3526: their primes, made from the formula that defines them, and powers modulo them."""

import warnings
from functools import cache

from cryptography.utils import CryptographyDeprecationWarning

with warnings.catch_warnings():
    # The library wants finite-field Diffie-Hellman to go; MODP-2048 is RFC 8247's one MUST, so we keep to it.
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    from cryptography.hazmat.primitives.asymmetric.dh import (
        DHParameterNumbers,
        DHPrivateKey,
        DHPrivateNumbers,
        DHPublicKey,
        DHPublicNumbers,
    )

GENERATOR = 2
# Prime length in bits -> the constant c of RFC 3526's formula, and the bits of a private exponent (RFC 7919 5.2,
# NIST SP 800-56A: at least twice the group's strength).
_GROUPS = {
    2048: (124476, 225),
    3072: (1690314, 275),
    4096: (240904, 325),
    6144: (929484, 375),
    8192: (4743158, 400),
}


def _arccot(x: int, unity: int) -> int:
    """arccot(x) in units of 1 / unity, by its Taylor series."""
    total, power, odd, sign = 0, unity // x, 1, 1
    while power:
        total += sign * (power // odd)
        power //= x * x
        odd += 2
        sign = -sign
    return total


def _pi(bits: int) -> int:
    """floor(2^bits * pi), by Machin's formula with 64 bits to spare for the series' rounding."""
    unity = 1 << (bits + 64)
    return 4 * (4 * _arccot(5, unity) - _arccot(239, unity)) >> 64


@cache
def prime(bits: int) -> int:
    """The safe prime of that length: 2^n - 2^(n-64) - 1 + 2^64 * (floor(2^(n-130) pi) + c) (RFC 3526 3-7)."""
    constant, _ = _GROUPS[bits]
    return (1 << bits) - (1 << (bits - 64)) - 1 + ((_pi(bits - 130) + constant) << 64)


class Modp:
    """One MODP group on OpenSSL's constant-time exponentiation."""

    __slots__ = ("_generator", "_numbers", "_prime", "exponent_bits")

    def __init__(self, bits: int) -> None:
        self._prime = prime(bits)
        self.exponent_bits = _GROUPS[bits][1]
        self._numbers = DHParameterNumbers(self._prime, GENERATOR)
        self._generator = self.peer(GENERATOR)

    @property
    def private_octets(self) -> int:
        """How many random octets `private` takes."""
        return (self.exponent_bits + 7) // 8

    def in_range(self, value: int) -> bool:
        """Whether a public value is legal: 1 < r < p - 1 (RFC 6989 2.1)."""
        return 1 < value < self._prime - 1

    def peer(self, value: int) -> DHPublicKey:
        """A public value as a key."""
        return DHPublicNumbers(value, self._numbers).public_key()

    def private(self, chance: bytes) -> DHPrivateKey:
        """A private exponent from random octets, its top bit set so that its length is constant."""
        top = 1 << (self.exponent_bits - 1)
        exponent = int.from_bytes(chance, "big") & (top - 1) | top
        # The public part given here is not the exponent's: nothing below asks for it, and OpenSSL need not check it.
        return DHPrivateNumbers(exponent, DHPublicNumbers(GENERATOR, self._numbers)).private_key()

    def public(self, private: DHPrivateKey) -> bytes:
        """g^x, padded: a key exchange with the generator is an exponentiation eight times as fast as Python's."""
        return private.exchange(self._generator)
