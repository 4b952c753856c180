"""Keys that sign and verify: which kinds there are, how strong each is, and which are too weak to trust."""

from enum import StrEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from gateway.crypto import der

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
"""Beyond, one verification costs more than a peer without a name may ask for."""
_MIN_EXPONENT = 65537  # FIPS 186-5 5.1: a small exponent forgives padding that is not checked to the last octet
_MAX_EXPONENT = 1 << 33
_MAX_SPKI = 4096
_RSA_STRENGTHS = ((2048, 112), (3072, 128), (7680, 192), (15360, 256))  # NIST SP 800-57 part 1, table 2
_CURVES = {"secp256r1": ("P-256", 128), "secp384r1": ("P-384", 192), "secp521r1": ("P-521", 256)}

Private = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)
Public = (
    rsa.RSAPublicKey
    | ec.EllipticCurvePublicKey
    | ed25519.Ed25519PublicKey
    | ed448.Ed448PublicKey
    | mldsa.MLDSA44PublicKey
    | mldsa.MLDSA65PublicKey
    | mldsa.MLDSA87PublicKey
)


class InvalidKey(ValueError):
    """The octets are no key that signs in IKE; the message says why."""


class KeyKind(StrEnum):
    """What a key is, in the words of the console."""

    RSA = "RSA"
    ECDSA = "ECDSA"
    ED25519 = "Ed25519"
    ED448 = "Ed448"
    ML_DSA_44 = "ML-DSA-44"
    ML_DSA_65 = "ML-DSA-65"
    ML_DSA_87 = "ML-DSA-87"


ML_DSA = frozenset({KeyKind.ML_DSA_44, KeyKind.ML_DSA_65, KeyKind.ML_DSA_87})
"""Kinds whose signatures stay hard to forge for a quantum computer (FIPS 204)."""
_KINDS: tuple[tuple[type, KeyKind, int], ...] = (
    (rsa.RSAPublicKey, KeyKind.RSA, 0),
    (ec.EllipticCurvePublicKey, KeyKind.ECDSA, 0),
    (ed25519.Ed25519PublicKey, KeyKind.ED25519, 128),
    (ed448.Ed448PublicKey, KeyKind.ED448, 224),
    (mldsa.MLDSA44PublicKey, KeyKind.ML_DSA_44, 128),
    (mldsa.MLDSA65PublicKey, KeyKind.ML_DSA_65, 192),
    (mldsa.MLDSA87PublicKey, KeyKind.ML_DSA_87, 256),
)


def load_public(data: bytes) -> tuple[Public, KeyKind]:
    """Read a SubjectPublicKeyInfo. Raises InvalidKey for what is none, or of no kind that we know."""
    if len(data) > _MAX_SPKI:
        raise InvalidKey(f"a public key of {len(data)} octets; up to {_MAX_SPKI} are read")
    try:
        der.whole(data, der.SEQUENCE)
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKey("the octets are no public key, or one of a kind that we do not know") from None
    for type_of, kind, _ in _KINDS:
        if isinstance(key, type_of):
            if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
                raise InvalidKey(f"a key on the curve {key.curve.name}; P-256, P-384 and P-521 are known")
            return key, kind  # type: ignore[return-value]
    raise InvalidKey("the key is of a kind that does not sign")


def spki(key: object) -> bytes:
    """The SubjectPublicKeyInfo of a key of the library's. Raises InvalidKey for what is none."""
    try:
        octets: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    except AttributeError:
        raise InvalidKey("the key is of a kind that does not sign") from None
    return octets


def describe(key: Public, kind: KeyKind) -> str:
    """`RSA 3072`, `ECDSA P-256`, `Ed25519`."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return f"ECDSA {_CURVES[key.curve.name][0]}" if isinstance(key, ec.EllipticCurvePublicKey) else str(kind)


def strength(key: Public, kind: KeyKind) -> int:
    """Bits, on the scale of NIST SP 800-57."""
    if isinstance(key, rsa.RSAPublicKey):
        return max((bits for size, bits in _RSA_STRENGTHS if key.key_size >= size), default=80)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES[key.curve.name][1]
    return next(bits for _, known, bits in _KINDS if known == kind)


def weakness(key: Public) -> str:
    """Why the key must not be trusted, in a sentence; empty when it may be."""
    if not isinstance(key, rsa.RSAPublicKey):
        return ""
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return f"its RSA key has {key.key_size} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted"
    exponent = key.public_numbers().e
    if exponent % 2 == 0 or not _MIN_EXPONENT <= exponent < _MAX_EXPONENT:
        return f"its RSA key has the exponent {exponent}; odd ones from {_MIN_EXPONENT} to 2^33 are accepted"
    return ""
