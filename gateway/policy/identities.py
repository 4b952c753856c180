"""Identities as IKE carries them, and the patterns by which an administrator names them."""

import ipaddress
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from cryptography import x509

from gateway.crypto import der
from gateway.crypto.certificates import canonical_name
from gateway.policy import distinguished
from gateway.wire.numbers import IdType, name_of

_FQDN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")
_PREFIXES = {
    "fqdn": IdType.ID_FQDN,
    "email": IdType.ID_RFC822_ADDR,
    "keyid": IdType.ID_KEY_ID,
    "dn": IdType.ID_DER_ASN1_DN,
    "ipv4": IdType.ID_IPV4_ADDR,
    "ipv6": IdType.ID_IPV6_ADDR,
}
_ADDRESS_OCTETS: dict[int, int] = {IdType.ID_IPV4_ADDR: 4, IdType.ID_IPV6_ADDR: 16}
_MAX_OCTETS = 1024
_REMEMBERED_OCTETS = 256
"""Names are asked for their text again and again; of longer ones, a peer could make us remember too much."""
MAX_IDENTITY_OCTETS = 2048
"""What a peer may be called: any longer identity is no one's, and is not worth the time to look at it."""


class InvalidIdentity(ValueError):
    """The text names no identity; the message says what would."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One end's name, as in the ID payload (RFC 7296 3.5): its type and its octets."""

    id_type: int
    data: bytes

    @classmethod
    def parse(cls, text: str) -> "Identity":
        """Read `10.0.0.1`, `moon.example`, `admin@example`, `CN=moon, O=Lab`, `keyid:…`, `null`, or `type:value`.

        A key ID is text, or octets after `0x`. Raises InvalidIdentity.
        """
        text = text.strip()
        if not text or len(text) > _MAX_OCTETS:
            raise InvalidIdentity("an identity is 1 to 1024 characters: an address, a name, user@name, a DN or keyid:…")
        if text == "null":
            return cls(IdType.ID_NULL, b"")
        prefix, colon, rest = text.partition(":")
        if colon and prefix in _PREFIXES:
            return cls._typed(_PREFIXES[prefix], rest)
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            pass
        else:
            return cls(IdType.ID_IPV4_ADDR if address.version == 4 else IdType.ID_IPV6_ADDR, address.packed)
        if "=" in text:
            return cls._typed(IdType.ID_DER_ASN1_DN, text)
        if "@" in text:
            return cls._typed(
                IdType.ID_KEY_ID if text.startswith("@#") else IdType.ID_RFC822_ADDR, text.removeprefix("@#")
            )
        return cls._typed(IdType.ID_FQDN, text)

    @classmethod
    def _typed(cls, id_type: IdType, text: str) -> "Identity":
        if id_type in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR):
            try:
                address = ipaddress.ip_address(text)
            except ValueError:
                raise InvalidIdentity(f"{text!r} is no IP address") from None
            if (address.version == 4) is not (id_type == IdType.ID_IPV4_ADDR):
                raise InvalidIdentity(f"{text!r} is an address of the other family")
            return cls(id_type, address.packed)
        if id_type == IdType.ID_KEY_ID:
            return cls(id_type, _key_id(text))
        if id_type == IdType.ID_DER_ASN1_DN:
            return cls(id_type, _distinguished_name(text).public_bytes())
        if id_type == IdType.ID_FQDN and not _FQDN.fullmatch(text):
            raise InvalidIdentity(f"{text!r} is no domain name; write keyid:{text} for an opaque identity")
        if id_type == IdType.ID_RFC822_ADDR and not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
            raise InvalidIdentity(f"{text!r} is no e-mail address; write keyid:{text} for an opaque identity")
        return cls(id_type, text.encode())

    @property
    def text(self) -> str:
        """The identity for people and logs; octets a terminal could act on are escaped."""
        return (_text if len(self.data) <= _REMEMBERED_OCTETS else _text.__wrapped__)(self.id_type, self.data)

    def same(self, other: "Identity") -> bool:
        """Equal as names: DNS and e-mail domains ignore case, DNs ignore the encoding of their strings."""
        if self.id_type != other.id_type:
            return False
        if self.data == other.data:
            return True
        return self.canonical == other.canonical

    @property
    def canonical(self) -> tuple[int, object]:
        """Equal for identities that are the same name; fit for a dictionary."""
        seen = _canonical if len(self.data) <= _REMEMBERED_OCTETS else _canonical.__wrapped__
        return self.id_type, seen(self.id_type, self.data)

    def __str__(self) -> str:
        return self.text


def _key_id(text: str) -> bytes:
    if not text.startswith("0x"):
        return text.encode()
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        raise InvalidIdentity(f"{text!r} is no hexadecimal key ID") from None


def _is_text(data: bytes) -> bool:
    return bool(data) and all(0x20 <= octet < 0x7F for octet in data)


def _printable(data: bytes) -> str:
    text = data.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _distinguished_name(text: str) -> x509.Name:
    try:
        return distinguished.read(text)
    except ValueError as error:
        raise InvalidIdentity(f"{text!r} is no distinguished name: {error}") from None


def _parse_name(octets: bytes) -> x509.Name | None:
    """A DER Name; the library parses one only inside a structure, so walk its three levels with it."""
    if len(octets) > MAX_IDENTITY_OCTETS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's remarks about lengths: a peer could fill a log with them
            return _decode_name(octets)
    except (ValueError, IndexError):
        return None


def _decode_name(name: bytes) -> x509.Name:
    rdns = []
    for _, rdn in der.inside(der.whole(name, der.SEQUENCE)):
        attributes = []
        for _, pair in der.inside(rdn):
            (_, oid), (kind, value) = list(der.inside(pair))[:2]
            text = value.decode("utf-16-be" if kind == 0x1E else "utf-8" if kind != 0x14 else "latin-1")
            attributes.append(x509.NameAttribute(x509.ObjectIdentifier(der.dotted(oid)), text, _validate=False))
        rdns.append(x509.RelativeDistinguishedName(attributes))
    return x509.Name(rdns)


@lru_cache(4096)
def _canonical(id_type: int, data: bytes) -> object:
    if id_type == IdType.ID_FQDN:
        return data.lower().rstrip(b".")
    if id_type == IdType.ID_RFC822_ADDR:
        user, _, domain = data.rpartition(b"@")
        return user, domain.lower()
    if id_type == IdType.ID_DER_ASN1_DN and (name := _parse_name(data)):
        return canonical_name(name)
    return data


@lru_cache(4096)
def _text(id_type: int, data: bytes) -> str:
    match id_type:
        case IdType.ID_IPV4_ADDR | IdType.ID_IPV6_ADDR if len(data) in (4, 16):
            return str(ipaddress.ip_address(data))
        case IdType.ID_FQDN | IdType.ID_RFC822_ADDR:
            return _printable(data)
        case IdType.ID_KEY_ID:
            return "keyid:" + (_printable(data) if _is_text(data) else "0x" + data.hex())
        case IdType.ID_DER_ASN1_DN:
            name = _parse_name(data)
            if name is None:
                return "dn:0x" + data.hex()
            return _printable(", ".join(rdn.rfc4514_string() for rdn in name.rdns).encode())
        case IdType.ID_NULL:
            return "null"
        case _:
            return f"{name_of(IdType, id_type)}:0x{data.hex()}"


@dataclass(frozen=True, slots=True)
class IdentityPattern:
    """Which identities are meant: `%any`, one identity, `*.example.com`, `*@…`, `10.0.0.0/8`, `O=Lab, CN=*`."""

    text: str
    exact: Identity | None = None
    parts: tuple[tuple[str, str], ...] = ()
    """Of a DN with `*` as values: each attribute's OID and value."""

    @classmethod
    def parse(cls, text: str) -> "IdentityPattern":
        """Raises InvalidIdentity."""
        text = text.strip()
        if text == "%any":
            return cls(text)
        if "*" in text and "=" in text:
            return cls(text, parts=distinguished.attributes(_distinguished_name(text)))
        if "*" in text:
            if not re.fullmatch(r"[A-Za-z0-9_.@*-]+", text):
                raise InvalidIdentity(f"{text!r}: a wildcard stands in a domain name or an e-mail address")
            return cls(text)
        if "/" in text and "=" not in text and ":" not in text.split("/")[0].removeprefix("keyid"):
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise InvalidIdentity(f"{text!r} is no network; a subnet of address identities is 10.0.0.0/8") from None
            return cls(text)
        return cls(text, Identity.parse(text))

    @property
    def rank(self) -> int:
        """How particular the pattern is: 2 one identity, 1 a wildcard, 0 anybody."""
        return 2 if self.exact is not None else 0 if self.text == "%any" else 1

    def matches(self, identity: Identity) -> bool:
        """Whether the peer that proved `identity` is meant."""
        if self.exact is not None:
            return self.exact.same(identity)
        if self.text == "%any":
            return True
        if self.parts:
            return identity.id_type == IdType.ID_DER_ASN1_DN and self._matches_name(identity.data)
        if identity.id_type in (IdType.ID_FQDN, IdType.ID_RFC822_ADDR):
            wants_mail = "@" in self.text
            if wants_mail is not (identity.id_type == IdType.ID_RFC822_ADDR):
                return False
            return fnmatchcase(_printable(identity.data).lower(), self.text.lower())
        if len(identity.data) == _ADDRESS_OCTETS.get(identity.id_type) and "/" in self.text:
            return ipaddress.ip_address(identity.data) in ipaddress.ip_network(self.text, strict=False)
        return False

    def _matches_name(self, octets: bytes) -> bool:
        name = _parse_name(octets)
        sent = distinguished.attributes(name) if name else ()
        return len(sent) == len(self.parts) and all(
            oid == wanted and value in ("*", given)
            for (wanted, value), (oid, given) in zip(self.parts, sent, strict=True)
        )

    def __str__(self) -> str:
        return self.text


def rank_of(patterns: Sequence[IdentityPattern], identity: Identity) -> int | None:
    """How closely the patterns name it; none of them fits: None; an empty list fits anybody, least of all."""
    if not patterns:
        return 0
    return max((1 + pattern.rank for pattern in patterns if pattern.matches(identity)), default=None)
