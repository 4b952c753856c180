"""The schemes by which a signature can be made, one row each, and what AlgorithmIdentifiers name them.

RFC 4055 and RFC 7427 (RSA), RFC 4754 (ECDSA by method), RFC 8420 (EdDSA), draft-ietf-ipsecme-ikev2-pqc-auth (ML-DSA).
SHAKE (RFC 8692) has no number among IKE's hashes, so that no peer can ask for it.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from gateway.crypto import der
from gateway.crypto.signature_keys import KeyKind
from gateway.wire.numbers import HashAlgorithm, name_of

_PSS = "1.2.840.113549.1.1.10"
_MGF1 = "1.2.840.113549.1.1.8"
_HASH_OIDS = {
    "1.3.14.3.2.26": HashAlgorithm.SHA1,
    "2.16.840.1.101.3.4.2.1": HashAlgorithm.SHA2_256,
    "2.16.840.1.101.3.4.2.2": HashAlgorithm.SHA2_384,
    "2.16.840.1.101.3.4.2.3": HashAlgorithm.SHA2_512,
}


class InvalidProof(ValueError):
    """The AUTH data is no signature by that key over those octets; the message says in a sentence why."""


class UnknownAlgorithm(InvalidProof):
    """The signature is of an algorithm that we do not know, so that nothing can be said of it."""


class WeakAlgorithm(InvalidProof):
    """The signature is made with SHA-1, which this peer may not use."""


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
RSA_SHA1 = _rsa("rsa-sha1", "RSA PKCS#1 v1.5 with SHA-1", 5, HashAlgorithm.SHA1, weak=True)
SCHEMES: tuple[Scheme, ...] = (
    _pss("rsa-pss-sha256", "RSA-PSS with SHA-256", _SHA256, 32),
    _pss("rsa-pss-sha384", "RSA-PSS with SHA-384", _SHA384, 48),
    _pss("rsa-pss-sha512", "RSA-PSS with SHA-512", _SHA512, 64),
    _rsa("rsa-sha256", "RSA PKCS#1 v1.5 with SHA-256", 11, _SHA256),
    _rsa("rsa-sha384", "RSA PKCS#1 v1.5 with SHA-384", 12, _SHA384),
    _rsa("rsa-sha512", "RSA PKCS#1 v1.5 with SHA-512", 13, _SHA512),
    RSA_SHA1,
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
