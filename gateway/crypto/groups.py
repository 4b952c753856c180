"""Key exchange in one shape for Diffie-Hellman and KEMs: the initiator offers and finishes, the responder accepts."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.crypto.modp import Modp
from gateway.crypto.rows import KeyExchangeMethod
from gateway.crypto.suites import key_exchange
from gateway.wire.numbers import KeMethod

Random = Callable[[int], bytes]
Finish = Callable[[bytes], bytes]


class InvalidPublic(ValueError):
    """The peer's public value is not one of this method; the sentence says why (RFC 6989 2.5 says what to do)."""


@dataclass(slots=True)
class Offer:
    """An initiator's half of a key exchange, to be finished once: `public` goes into its KE payload."""

    method: KeyExchangeMethod
    public: bytes
    _finish: Finish = field(repr=False)

    def finish(self, peer_public: bytes) -> bytes:
        """The shared secret from the responder's KE data. Raises InvalidPublic."""
        _check_length(self.method, peer_public, self.method.answer_octets)
        return self._finish(peer_public)


class _Group(ABC):
    """How one family of methods makes its two halves; lengths have been checked by the callers."""

    @abstractmethod
    def offer(self, random: Random) -> tuple[bytes, Finish]:
        """A public value and what makes the shared secret of the answer."""

    @abstractmethod
    def accept(self, peer_public: bytes, random: Random) -> tuple[bytes, bytes]:
        """The answering public value and the shared secret."""


class _DiffieHellman(_Group):
    """Both ends do the same: accepting is offering and finishing at once."""

    def accept(self, peer_public: bytes, random: Random) -> tuple[bytes, bytes]:
        public, finish = self.offer(random)
        return public, finish(peer_public)


class _X25519(_DiffieHellman):
    """Curve25519 (RFC 7748 6.1, RFC 8031); the library masks and clamps."""

    def offer(self, random: Random) -> tuple[bytes, Finish]:
        private = x25519.X25519PrivateKey.from_private_bytes(random(32))

        def finish(peer_public: bytes) -> bytes:
            try:
                return private.exchange(x25519.X25519PublicKey.from_public_bytes(peer_public))
            except ValueError as cause:  # RFC 7748 6.1: the result is all zero
                raise InvalidPublic("the public value is a point of small order") from cause

        return private.public_key().public_bytes_raw(), finish


class _X448(_DiffieHellman):
    """Curve448 (RFC 7748 6.2, RFC 8031)."""

    def offer(self, random: Random) -> tuple[bytes, Finish]:
        private = x448.X448PrivateKey.from_private_bytes(random(56))

        def finish(peer_public: bytes) -> bytes:
            try:
                return private.exchange(x448.X448PublicKey.from_public_bytes(peer_public))
            except ValueError as cause:  # RFC 7748 6.2: the result is all zero
                raise InvalidPublic("the public value is a point of small order") from cause

        return private.public_key().public_bytes_raw(), finish


class _Ecp(_DiffieHellman):
    """Groups modulo a prime: the KE data is x | y, the secret x alone (RFC 5903 7, RFC 6954 2.3)."""

    def __init__(self, curve: ec.EllipticCurve) -> None:
        self._curve = curve
        self._octets = (curve.key_size + 7) // 8
        self._ecdh = ec.ECDH()

    def offer(self, random: Random) -> tuple[bytes, Finish]:
        # FIPS 186-5 A.2.1: 64 bits more than the order make the bias of the remainder negligible.
        scalar = int.from_bytes(random(self._octets + 8), "big") % (self._curve.group_order - 1) + 1
        private = ec.derive_private_key(scalar, self._curve)

        def finish(peer_public: bytes) -> bytes:
            try:
                # RFC 6989 2.3: OpenSSL checks that the point lies on the curve.
                peer = ec.EllipticCurvePublicKey.from_encoded_point(self._curve, b"\x04" + peer_public)
                return private.exchange(self._ecdh, peer)
            except ValueError as cause:
                raise InvalidPublic(f"the public value is no point on the curve {self._curve.name}") from cause

        return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:], finish


class _ModpGroup(_DiffieHellman):
    """MODP groups with safe primes (RFC 3526): public value and secret are padded to the prime's length."""

    def __init__(self, bits: int) -> None:
        self._group = Modp(bits)

    def offer(self, random: Random) -> tuple[bytes, Finish]:
        group = self._group
        private = group.private(random(group.private_octets))

        def finish(peer_public: bytes) -> bytes:
            value = int.from_bytes(peer_public, "big")
            if not group.in_range(value):
                raise InvalidPublic("the public value is not between 1 and the prime less 1")
            return private.exchange(group.peer(value))

        return group.public(private), finish


class _MlKem(_Group):
    """ML-KEM (FIPS 203, draft-ietf-ipsecme-ikev2-mlkem): the offer is a key, the answer a ciphertext.

    The responder's randomness is the library's own, which takes none from outside: only the offer can be repeated.
    """

    def __init__(
        self,
        private: Callable[[bytes], mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey],
        public: Callable[[bytes], mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey],
    ) -> None:
        self._private, self._public = private, public

    def offer(self, random: Random) -> tuple[bytes, Finish]:
        private = self._private(random(64))
        # FIPS 203 6.3: a wrong ciphertext gives another secret and no error, so that the AUTH fails, not this.
        return private.public_key().public_bytes_raw(), private.decapsulate

    def accept(self, peer_public: bytes, random: Random) -> tuple[bytes, bytes]:
        try:
            public = self._public(peer_public)
        except ValueError as cause:  # FIPS 203 7.2: a coefficient is not reduced modulo q
            raise InvalidPublic("the public value is no ML-KEM encapsulation key") from cause
        shared, ciphertext = public.encapsulate()
        return ciphertext, shared


_MAKERS: dict[int, Callable[[], _Group]] = {
    KeMethod.MODP2048: lambda: _ModpGroup(2048),
    KeMethod.MODP3072: lambda: _ModpGroup(3072),
    KeMethod.MODP4096: lambda: _ModpGroup(4096),
    KeMethod.MODP6144: lambda: _ModpGroup(6144),
    KeMethod.MODP8192: lambda: _ModpGroup(8192),
    KeMethod.ECP_256: lambda: _Ecp(ec.SECP256R1()),
    KeMethod.ECP_384: lambda: _Ecp(ec.SECP384R1()),
    KeMethod.ECP_521: lambda: _Ecp(ec.SECP521R1()),
    KeMethod.BRAINPOOL_P256R1: lambda: _Ecp(ec.BrainpoolP256R1()),
    KeMethod.BRAINPOOL_P384R1: lambda: _Ecp(ec.BrainpoolP384R1()),
    KeMethod.BRAINPOOL_P512R1: lambda: _Ecp(ec.BrainpoolP512R1()),
    KeMethod.CURVE25519: _X25519,
    KeMethod.CURVE448: _X448,
    KeMethod.ML_KEM_768: lambda: _MlKem(
        mlkem.MLKEM768PrivateKey.from_seed_bytes, mlkem.MLKEM768PublicKey.from_public_bytes
    ),
    KeMethod.ML_KEM_1024: lambda: _MlKem(
        mlkem.MLKEM1024PrivateKey.from_seed_bytes, mlkem.MLKEM1024PublicKey.from_public_bytes
    ),
}


def defers(method_number: int) -> bool:
    """Whether a responder can answer now and compute the secret later: `offer` and `finish` in place of `accept`."""
    return isinstance(_group(method_number)[1], _DiffieHellman)


@cache
def _group(number: int) -> tuple[KeyExchangeMethod, _Group]:
    method = key_exchange(number)
    if method is None:
        raise ValueError(f"no key exchange method {number}")
    return method, _MAKERS[number]()


def _check_length(method: KeyExchangeMethod, public: bytes, octets: int) -> None:
    if len(public) != octets:
        raise InvalidPublic(f"a public value of {method.label} has {octets} octets, not {len(public)}")


def offer(method_number: int, random: Random) -> Offer:
    """Start a key exchange as its initiator; the private key is made from `random`. ValueError: no such method."""
    method, group = _group(method_number)
    public, finish = group.offer(random)
    return Offer(method, public, finish)


def accept(method_number: int, peer_public: bytes, random: Random) -> tuple[bytes, bytes]:
    """Answer an offer as the responder: the public value to send back, and the shared secret. Raises InvalidPublic."""
    method, group = _group(method_number)
    _check_length(method, peer_public, method.public_octets)
    return group.accept(peer_public, random)
