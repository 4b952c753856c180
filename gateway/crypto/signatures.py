"""The keys that prove an end of IKE by a signature, and the AUTH data that they make: RFC 7427 and older methods."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from gateway.crypto.schemes import RSA_SHA1, SCHEMES, InvalidProof, Padding, Scheme, WeakAlgorithm, recognise
from gateway.crypto.signature_keys import KeyKind, Private, Public, describe, load_public, spki, strength
from gateway.wire.numbers import AuthMethod, HashAlgorithm, name_of

_HASHES: dict[int, hashes.HashAlgorithm] = {
    HashAlgorithm.SHA1: hashes.SHA1(),  # noqa: S303 - off unless an administrator turns it on for an old peer
    HashAlgorithm.SHA2_256: hashes.SHA256(),
    HashAlgorithm.SHA2_384: hashes.SHA384(),
    HashAlgorithm.SHA2_512: hashes.SHA512(),
}
_CURVE_OF_METHOD = {
    AuthMethod.ECDSA_SHA256_P256: ("secp256r1", HashAlgorithm.SHA2_256, 32),
    AuthMethod.ECDSA_SHA384_P384: ("secp384r1", HashAlgorithm.SHA2_384, 48),
    AuthMethod.ECDSA_SHA512_P521: ("secp521r1", HashAlgorithm.SHA2_512, 66),
}
METHODS = (AuthMethod.RSA_DIGITAL_SIGNATURE, *_CURVE_OF_METHOD, AuthMethod.DIGITAL_SIGNATURE)
"""All methods of authentication that are a signature."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies; `spki` is its SubjectPublicKeyInfo in DER, by which keys are the same or not."""

    spki: bytes
    key: Public = field(repr=False, compare=False)
    kind: KeyKind = field(compare=False)

    @classmethod
    def parse(cls, data: bytes) -> "PublicKey":
        """Read a SubjectPublicKeyInfo. Raises InvalidKey for what is none, or of no kind that we know."""
        key, kind = load_public(data)
        return cls(data, key, kind)

    @classmethod
    def of(cls, key: object) -> "PublicKey":
        """Of a key of the library's. Raises InvalidKey for a kind that signs nothing in IKE."""
        octets = spki(key)
        return cls.parse(octets)

    @property
    def text(self) -> str:
        """`RSA 3072`, `ECDSA P-256`, `Ed25519`."""
        return describe(self.key, self.kind)

    @property
    def strength(self) -> int:
        """Bits, on the scale of NIST SP 800-57."""
        return strength(self.key, self.kind)

    def verify(self, scheme: Scheme, signature: bytes, data: bytes) -> bool:
        """Whether this key made the signature, by this scheme, over the data."""
        if scheme.kind != self.kind:
            return False
        try:
            _verify(self.key, scheme, signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


class PrivateKey:
    """A key that signs; its `repr` tells its kind alone, and it equals another when both have the same public key."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Private) -> None:
        """Raises InvalidKey for a kind that signs nothing in IKE."""
        self._key = key
        self.public = PublicKey.of(key.public_key())

    def __repr__(self) -> str:
        return f"<private key, {self.public.text}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and other.public == self.public

    def __hash__(self) -> int:
        return hash(self.public)

    @property
    def unwrapped(self) -> Private:
        """The library's key, for who issues certificates or speaks TLS with it."""
        return self._key

    def schemes(self, hash_numbers: Sequence[int]) -> list[Scheme]:
        """By which we can sign for a peer that announced these hashes, the best first.

        A curve's own hash comes first (RFC 7427 4: as strong as the key), and PSS before PKCS#1 v1.5 (RFC 8247 3.2).
        """
        found = [row for row in SCHEMES if row.kind == self.public.kind and row.hash in hash_numbers]
        return sorted(found, key=lambda row: (row.weak, row.padding == Padding.PKCS1, self._fits(row)))

    def _fits(self, row: Scheme) -> int:
        """0 for the hash that is as strong as the key, then by the distance."""
        strengths: dict[int, int] = {
            HashAlgorithm.SHA1: 80,
            HashAlgorithm.SHA2_256: 128,
            HashAlgorithm.SHA2_384: 192,
            HashAlgorithm.SHA2_512: 256,
        }
        return abs(strengths.get(row.hash, self.public.strength) - self.public.strength)

    def sign(self, scheme: Scheme, data: bytes) -> bytes:
        """The signature, as the scheme's AlgorithmIdentifier has it. ValueError where the scheme is for other keys."""
        if scheme.kind != self.public.kind:
            raise ValueError(f"{scheme.label} is not for {self.public.text}")
        return _sign(self._key, scheme, data)


def _sign(key: Private, scheme: Scheme, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, _padding(scheme), _HASHES[scheme.hash])
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(_HASHES[scheme.hash]))
    return key.sign(data)


def _verify(key: Public, scheme: Scheme, signature: bytes, data: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, _padding(scheme), _HASHES[scheme.hash])
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, ec.ECDSA(_HASHES[scheme.hash]))
    else:
        key.verify(signature, data)


def _padding(scheme: Scheme) -> padding.PKCS1v15 | padding.PSS:
    if scheme.padding == Padding.PKCS1:
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(_HASHES[scheme.hash]), scheme.salt)


# --- AUTH data ---


@dataclass(frozen=True, slots=True)
class Made:
    """AUTH data that proves us, and the method that says how to read it."""

    method: int
    data: bytes = field(repr=False)
    scheme: Scheme


def prove(
    key: PrivateKey, data: bytes, hash_numbers: Sequence[int], *, wanted: str = "", sha1: bool = False
) -> Made | None:
    """Sign for a peer that announced these hashes, none where it knows no RFC 7427; None where it can verify nothing.

    `wanted` is the keyword of the only scheme to use; `sha1` allows method 1 with SHA-1 for peers that know no other.
    """
    if hash_numbers:
        announced = [number for number in hash_numbers if sha1 or number != HashAlgorithm.SHA1]
        rows = [row for row in key.schemes(announced) if wanted in ("", row.keyword)]
        if rows:
            row = rows[0]
            signature = key.sign(row, data)
            octets = bytes((len(row.identifier),)) + row.identifier + signature
            return Made(AuthMethod.DIGITAL_SIGNATURE, octets, row)
        return None
    if key.public.kind == KeyKind.RSA:
        return Made(AuthMethod.RSA_DIGITAL_SIGNATURE, key.sign(RSA_SHA1, data), RSA_SHA1) if sha1 else None
    return _prove_by_curve(key, data)


def _prove_by_curve(key: PrivateKey, data: bytes) -> Made | None:
    """RFC 4754 3: r and s at their full lengths, one after the other."""
    curve = getattr(key.public.key, "curve", None)
    for method, (name, hash_number, octets) in _CURVE_OF_METHOD.items():
        if curve is not None and curve.name == name:
            row = next(row for row in SCHEMES if row.kind == KeyKind.ECDSA and row.hash == hash_number)
            r, s = decode_dss_signature(key.sign(row, data))
            return Made(method, r.to_bytes(octets) + s.to_bytes(octets), row)
    return None


def check(method: int, auth: bytes, key: PublicKey, data: bytes, *, sha1: bool = False) -> Scheme:
    """The scheme by which the key signed `data` in an AUTH payload. Raises InvalidProof.

    SHA-1 is accepted only with `sha1`. What RFC 7296 3.8 calls method 1 may be any hash that the padding names.
    """
    for row, signature in _candidates(method, auth, key):
        if method == AuthMethod.DIGITAL_SIGNATURE and row.weak and not sha1:
            raise _weak(row)
        if row.kind != key.kind:
            raise InvalidProof(f"it signs by {row.label}, and its key is {key.text}")
        if key.verify(row, signature, data):
            if row.weak and not sha1:
                raise _weak(row)
            return row
    raise InvalidProof("its signature is not right: it does not hold the private key, or signs something else")


def _weak(row: Scheme) -> WeakAlgorithm:
    return WeakAlgorithm(f"it signs by {row.label}, which is not allowed for this peer")


def _candidates(method: int, auth: bytes, key: PublicKey) -> Iterable[tuple[Scheme, bytes]]:
    """Each scheme that the AUTH data may be of, with the signature as the scheme has it. Raises InvalidProof."""
    if method == AuthMethod.DIGITAL_SIGNATURE:
        length = auth[0] if auth else 0
        if len(auth) < 2 + length or not length:
            raise InvalidProof("its signature is cut short")
        return [(recognise(auth[1 : 1 + length]), auth[1 + length :])]
    if method == AuthMethod.RSA_DIGITAL_SIGNATURE:
        return [(row, auth) for row in SCHEMES if row.padding == Padding.PKCS1]
    if method in _CURVE_OF_METHOD:
        name, hash_number, octets = _CURVE_OF_METHOD[AuthMethod(method)]
        curve = getattr(key.key, "curve", None)
        if curve is None or curve.name != name:
            raise InvalidProof(f"it signs by method {method} for the curve {name}, and its key is {key.text}")
        if len(auth) != 2 * octets:
            raise InvalidProof(f"its signature has {len(auth)} octets; method {method} has {2 * octets}")
        row = next(row for row in SCHEMES if row.kind == KeyKind.ECDSA and row.hash == hash_number)
        pair = int.from_bytes(auth[:octets]), int.from_bytes(auth[octets:])
        return [(row, encode_dss_signature(*pair))]
    raise InvalidProof(f"it authenticates by {name_of(AuthMethod, method)}, which is no signature")
