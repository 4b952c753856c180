"""Signatures that prove an end of IKE: the schemes of RFC 7427 and the older methods, one row each, and their keys.

RFC 4055 and RFC 7427 (RSA), RFC 4754 (ECDSA by method), RFC 8420 (EdDSA), draft-ietf-ipsecme-ikev2-pqc-auth (ML-DSA).
SHAKE (RFC 8692) has no number among IKE's hashes, so that no peer can ask for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from gateway.crypto import der
from gateway.crypto.signature_keys import KeyKind, Private, Public, describe, load_public, spki, strength
from gateway.wire.numbers import AuthMethod, HashAlgorithm, name_of

_PSS = "1.2.840.113549.1.1.10"
_MGF1 = "1.2.840.113549.1.1.8"
_HASHES: dict[int, hashes.HashAlgorithm] = {
    HashAlgorithm.SHA1: hashes.SHA1(),  # noqa: S303 - off unless an administrator turns it on for an old peer
    HashAlgorithm.SHA2_256: hashes.SHA256(),
    HashAlgorithm.SHA2_384: hashes.SHA384(),
    HashAlgorithm.SHA2_512: hashes.SHA512(),
}
_HASH_OIDS = {
    "1.3.14.3.2.26": HashAlgorithm.SHA1,
    "2.16.840.1.101.3.4.2.1": HashAlgorithm.SHA2_256,
    "2.16.840.1.101.3.4.2.2": HashAlgorithm.SHA2_384,
    "2.16.840.1.101.3.4.2.3": HashAlgorithm.SHA2_512,
}
_CURVE_OF_METHOD = {
    AuthMethod.ECDSA_SHA256_P256: ("secp256r1", HashAlgorithm.SHA2_256, 32),
    AuthMethod.ECDSA_SHA384_P384: ("secp384r1", HashAlgorithm.SHA2_384, 48),
    AuthMethod.ECDSA_SHA512_P521: ("secp521r1", HashAlgorithm.SHA2_512, 66),
}
METHODS = (AuthMethod.RSA_DIGITAL_SIGNATURE, *_CURVE_OF_METHOD, AuthMethod.DIGITAL_SIGNATURE)
"""All methods of authentication that are a signature."""


class InvalidProof(ValueError):
    """The AUTH data is no signature by that key over those octets; the message says in a sentence why."""


class UnknownAlgorithm(InvalidProof):
    """The signature is of an algorithm that we do not know, so that nothing can be said of it."""


class Padding(StrEnum):
    """What an RSA signature is padded by."""

    NONE = ""
    PKCS1 = "PKCS#1 v1.5"
    PSS = "PSS"


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to sign: `identifier` is its AlgorithmIdentifier in DER, `hash` IANA's number (RFC 7427 5).

    `salt` counts only for PSS; MGF1 is used with the same hash. `weak` rows verify and sign only where an administrator
    allows SHA-1.
    """

    keyword: str
    label: str
    kind: KeyKind
    identifier: bytes
    hash: int
    padding: Padding = Padding.NONE
    salt: int = 0
    weak: bool = False


def _pss_identifier(digest: str, salt: int) -> bytes:
    """RSASSA-PSS-params with every field as in RFC 7427 A.4.3; trailerField keeps its default (RFC 4055 3.1)."""
    function = bytes.fromhex(digest)
    parameters = [
        der.pack(0xA0, function),
        der.pack(0xA1, der.pack(der.SEQUENCE, bytes.fromhex("06092a864886f70d010108"), function)),
        der.pack(0xA2, der.pack(der.INTEGER, bytes((salt,)))),
    ]
    return der.pack(der.SEQUENCE, bytes.fromhex("06092a864886f70d01010a"), der.pack(der.SEQUENCE, *parameters))


def _rsa(keyword: str, label: str, oid_end: int, hash_number: int, *, weak: bool = False) -> Scheme:
    identifier = bytes.fromhex(f"300d06092a864886f70d0101{oid_end:02x}0500")
    return Scheme(keyword, label, KeyKind.RSA, identifier, hash_number, Padding.PKCS1, weak=weak)


def _pss(keyword: str, label: str, hash_number: int, salt: int) -> Scheme:
    digest = f"300d06096086480165030402{hash_number - 1:02x}0500"
    return Scheme(keyword, label, KeyKind.RSA, _pss_identifier(digest, salt), hash_number, Padding.PSS, salt)


def _plain(keyword: str, label: str, kind: KeyKind, identifier: str, hash_number: int, *, weak: bool = False) -> Scheme:
    return Scheme(keyword, label, kind, bytes.fromhex(identifier), hash_number, weak=weak)


_SHA256, _SHA384, _SHA512 = HashAlgorithm.SHA2_256, HashAlgorithm.SHA2_384, HashAlgorithm.SHA2_512
_IDENTITY = HashAlgorithm.IDENTITY
SCHEMES: tuple[Scheme, ...] = (
    _pss("rsa-pss-sha256", "RSA-PSS with SHA-256", _SHA256, 32),
    _pss("rsa-pss-sha384", "RSA-PSS with SHA-384", _SHA384, 48),
    _pss("rsa-pss-sha512", "RSA-PSS with SHA-512", _SHA512, 64),
    _rsa("rsa-sha256", "RSA PKCS#1 v1.5 with SHA-256", 11, _SHA256),
    _rsa("rsa-sha384", "RSA PKCS#1 v1.5 with SHA-384", 12, _SHA384),
    _rsa("rsa-sha512", "RSA PKCS#1 v1.5 with SHA-512", 13, _SHA512),
    _rsa("rsa-sha1", "RSA PKCS#1 v1.5 with SHA-1", 5, HashAlgorithm.SHA1, weak=True),
    _plain("ecdsa-sha256", "ECDSA with SHA-256", KeyKind.ECDSA, "300a06082a8648ce3d040302", _SHA256),
    _plain("ecdsa-sha384", "ECDSA with SHA-384", KeyKind.ECDSA, "300a06082a8648ce3d040303", _SHA384),
    _plain("ecdsa-sha512", "ECDSA with SHA-512", KeyKind.ECDSA, "300a06082a8648ce3d040304", _SHA512),
    _plain("ecdsa-sha1", "ECDSA with SHA-1", KeyKind.ECDSA, "300906072a8648ce3d0401", HashAlgorithm.SHA1, weak=True),
    _plain("ed25519", "Ed25519", KeyKind.ED25519, "300506032b6570", _IDENTITY),
    _plain("ed448", "Ed448", KeyKind.ED448, "300506032b6571", _IDENTITY),
    _plain("ml-dsa-44", "ML-DSA-44", KeyKind.ML_DSA_44, "300b0609608648016503040311", _IDENTITY),
    _plain("ml-dsa-65", "ML-DSA-65", KeyKind.ML_DSA_65, "300b0609608648016503040312", _IDENTITY),
    _plain("ml-dsa-87", "ML-DSA-87", KeyKind.ML_DSA_87, "300b0609608648016503040313", _IDENTITY),
)
_BY_IDENTIFIER = {scheme.identifier: scheme for scheme in SCHEMES}
_BY_KEYWORD = {scheme.keyword: scheme for scheme in SCHEMES}
_BY_OID = {
    der.dotted(next(der.inside(der.whole(row.identifier, der.SEQUENCE)))[1]): row
    for row in SCHEMES
    if row.padding != Padding.PSS and not row.weak
}
_NIST_SIGNATURES = "2.16.840.1.101.3.4.3"
_FAMILIES = ((20, 31, "SLH-DSA"), (32, 34, "ML-DSA of a hash"), (35, 46, "SLH-DSA of a hash"))
_UNSUPPORTED = {
    "1.2.840.10040.4.3": "DSA with SHA-1",
    "1.2.840.113549.1.1.4": "RSA with MD5",
    "1.3.6.1.5.5.7.6.30": "RSA-PSS with SHAKE128",
    "1.3.6.1.5.5.7.6.31": "RSA-PSS with SHAKE256",
    "1.3.6.1.5.5.7.6.32": "ECDSA with SHAKE128",
    "1.3.6.1.5.5.7.6.33": "ECDSA with SHAKE256",
    "2.16.840.1.101.3.4.3.2": "DSA with SHA-256",
    "1.2.840.113549.1.9.16.3.17": "HSS/LMS",
}
"""What a peer may sign by and we know by name alone."""
HASHES = (_SHA256, _SHA384, _SHA512, _IDENTITY)
"""The hashes that we verify signatures with, and announce."""


def scheme(keyword: str) -> Scheme | None:
    """The row of this keyword, as a configuration names it."""
    return _BY_KEYWORD.get(keyword)


def scheme_of_oid(oid: str) -> Scheme | None:
    """The row of an algorithm that its object identifier alone names: none of RSA-PSS, and none with SHA-1."""
    return _BY_OID.get(oid)


def recognise(identifier: bytes) -> Scheme:
    """The row of a peer's AlgorithmIdentifier, with its salt length. Raises InvalidProof that names what it is."""
    if known := _BY_IDENTIFIER.get(identifier):
        return known
    try:
        parts = list(der.inside(der.whole(identifier, der.SEQUENCE)))
        if not parts or parts[0][0] != der.OBJECT_IDENTIFIER:
            raise der.InvalidDer("no algorithm")
        oid = der.dotted(parts[0][1])
        if oid == _PSS and len(parts) == 2 and parts[1][0] == der.SEQUENCE:
            return _recognise_pss(parts[1][1])
    except der.InvalidDer as error:
        raise InvalidProof(f"its signature's algorithm makes no sense ({error})") from None
    told = f"{name} ({oid})" if (name := _UNSUPPORTED.get(oid) or _of_family(oid)) else oid
    kinds = ", ".join(dict.fromkeys(row.kind for row in SCHEMES))
    raise UnknownAlgorithm(
        f"its signature is of the algorithm {told}, which we do not verify in this form; known: {kinds}"
    )


def _of_family(oid: str) -> str:
    """The name of the family that NIST's identifier belongs to; empty for another."""
    arc, _, last = oid.rpartition(".")
    number = int(last) if arc == _NIST_SIGNATURES and len(last) <= 2 else 0
    return next((name for first, end, name in _FAMILIES if first <= number <= end), "")


def _recognise_pss(parameters: bytes) -> Scheme:
    """RFC 4055 3.1; what is left out is SHA-1, MGF1 with SHA-1, 20 octets of salt. Raises InvalidDer, InvalidProof."""
    given = list(der.inside(parameters))
    tags = [tag for tag, _ in given]
    if tags != sorted(set(tags)) or not set(tags) <= {0xA0, 0xA1, 0xA2, 0xA3}:
        raise der.InvalidDer("unknown parameters of RSASSA-PSS")
    fields = dict(given)
    digest = _hash(fields[0xA0]) if 0xA0 in fields else HashAlgorithm.SHA1
    mask = _mask_hash(fields[0xA1]) if 0xA1 in fields else HashAlgorithm.SHA1
    salt = der.number(der.whole(fields[0xA2], der.INTEGER)) if 0xA2 in fields else 20
    if 0xA3 in fields and der.number(der.whole(fields[0xA3], der.INTEGER)) != 1:
        raise der.InvalidDer("another trailer than RSASSA-PSS knows")
    row = _BY_KEYWORD.get(f"rsa-pss-{name_of(HashAlgorithm, digest).lower().replace('sha2_', 'sha')}")
    if row is None or digest != mask:
        raise InvalidProof("its RSA-PSS signature is made with SHA-1, or with two different hashes")
    if salt > 64:
        raise InvalidProof(f"its RSA-PSS signature has a salt of {salt} octets")
    return replace(row, salt=salt)


def _mask_hash(identifier: bytes) -> int:
    """The hash of MGF1. Raises InvalidDer, InvalidProof."""
    content = der.whole(identifier, der.SEQUENCE)
    tag, oid, rest = der.element(content)
    if tag != der.OBJECT_IDENTIFIER or der.dotted(oid) != _MGF1:
        raise InvalidProof("its RSA-PSS signature has another mask generation function than MGF1")
    return _hash(content[rest:])


def _hash(identifier: bytes) -> int:
    """The hash of an AlgorithmIdentifier, whose parameters may be NULL or absent. Raises InvalidDer, InvalidProof."""
    parts = list(der.inside(der.whole(identifier, der.SEQUENCE)))
    if not parts or parts[0][0] != der.OBJECT_IDENTIFIER or parts[1:] not in ([], [(der.NULL, b"")]):
        raise der.InvalidDer("no hash")
    found = _HASH_OIDS.get(der.dotted(parts[0][1]))
    if found is None:
        raise InvalidProof(f"its RSA-PSS signature has the hash {der.dotted(parts[0][1])}, which we do not know")
    return found


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
        strengths: dict[int, int] = {HashAlgorithm.SHA1: 80, _SHA256: 128, _SHA384: 192, _SHA512: 256}
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
        row = _BY_KEYWORD["rsa-sha1"]
        return Made(AuthMethod.RSA_DIGITAL_SIGNATURE, key.sign(row, data), row) if sha1 else None
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
        if row.weak and not sha1:
            if method == AuthMethod.DIGITAL_SIGNATURE:
                raise InvalidProof(f"it signs by {row.label}, which is not allowed for this peer")
            continue
        if row.kind != key.kind:
            raise InvalidProof(f"it signs by {row.label}, and its key is {key.text}")
        if key.verify(row, signature, data):
            return row
    if method == AuthMethod.RSA_DIGITAL_SIGNATURE and not sha1:
        raise InvalidProof("its RSA signature is not right, or made with SHA-1, which is not allowed for this peer")
    raise InvalidProof("its signature is not right: it does not hold the private key, or signs something else")


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
