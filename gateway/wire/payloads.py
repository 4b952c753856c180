"""All payloads of IKEv2, one dataclass each; reading and writing an octet string are side by side."""

from dataclasses import dataclass, field
from struct import Struct
from typing import ClassVar, Self

from gateway.wire.encrypted import SK, SKF
from gateway.wire.numbers import CertEncoding, EapCode, PayloadType
from gateway.wire.outcome import Drop
from gateway.wire.payload import Payload, number_in_field
from gateway.wire.security_association import (
    MAX_PROPOSALS,
    MAX_SA_TRANSFORMS,
    MAX_TRANSFORM_ATTRIBUTES,
    MAX_TRANSFORMS,
    SA,
    Proposal,
    Transform,
    TransformAttribute,
)
from gateway.wire.traffic_selectors import MAX_SELECTORS, TrafficSelector, TrafficSelectors, TSi, TSr

__all__ = [
    "AUTH",
    "CERT",
    "CERTREQ",
    "CP",
    "EAP",
    "KE",
    "MAX_ATTRIBUTES",
    "MAX_PROPOSALS",
    "MAX_SA_TRANSFORMS",
    "MAX_SELECTORS",
    "MAX_SPIS",
    "MAX_TRANSFORMS",
    "MAX_TRANSFORM_ATTRIBUTES",
    "SA",
    "SK",
    "SKF",
    "Attribute",
    "Delete",
    "IDi",
    "IDr",
    "Identification",
    "Nonce",
    "Notify",
    "Payload",
    "Proposal",
    "PuzzleSolution",
    "TSi",
    "TSr",
    "TrafficSelector",
    "TrafficSelectors",
    "Transform",
    "TransformAttribute",
    "Unknown",
    "VendorId",
]

MAX_SPIS = 1024
MAX_ATTRIBUTES = 255

_KE = Struct(">HH")  # method, reserved
_NOTIFY = Struct(">BBH")  # protocol, SPI size, type
_DELETE = Struct(">BBH")  # protocol, SPI size, number of SPIs
_ATTRIBUTE = Struct(">HH")  # reserved bit and type, length
_EAP = Struct(">BBH")  # code, identifier, length
_KEY_HASH_OCTETS = 20


@dataclass(slots=True)
class KE(Payload):
    """Key exchange data of one method: a Diffie-Hellman value, or a KEM's public key or ciphertext (RFC 7296 3.4)."""

    payload_type: ClassVar[int] = PayloadType.KE

    method: int
    data: bytes
    reserved: int = field(default=0, kw_only=True, repr=False, compare=False)

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        if start + 4 > end:
            raise Drop("a Key Exchange payload is too short")
        method, reserved = _KE.unpack_from(data, start)
        return cls(method, data[start + 4 : end], reserved=reserved)

    def octets(self) -> bytes:
        return _KE.pack(self.method, self.reserved) + self.data


@dataclass(slots=True)
class Identification(Payload):
    """Who one end says it is (RFC 7296 3.5).

    `octets()` is what the AUTH payload signs: it has the reserved octets as they came (RFC 7296 2.15).
    """

    id_type: int
    data: bytes
    reserved: bytes = field(default=bytes(3), kw_only=True, repr=False, compare=False)

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        if start + 4 > end:
            raise Drop("an Identification payload is too short")
        return cls(data[start], data[start + 4 : end], reserved=data[start + 1 : start + 4])

    def octets(self) -> bytes:
        return bytes((self.id_type,)) + self.reserved + self.data


@dataclass(slots=True)
class IDi(Identification):
    """The initiator's identity."""

    payload_type: ClassVar[int] = PayloadType.IDi


@dataclass(slots=True)
class IDr(Identification):
    """The responder's identity; from the initiator, the one that it wants to meet."""

    payload_type: ClassVar[int] = PayloadType.IDr


@dataclass(slots=True)
class Encoded(Payload):
    """Data of the kind that `encoding` names, and nothing else."""

    encoding: int
    data: bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        if start >= end:
            raise Drop("a certificate payload is empty")
        return cls(data[start], data[start + 1 : end])

    def octets(self) -> bytes:
        return bytes((self.encoding,)) + self.data


@dataclass(slots=True)
class CERT(Encoded):
    """A certificate, or a revocation list, an OCSP response, the hash and URL of one (RFC 7296 3.6)."""

    payload_type: ClassVar[int] = PayloadType.CERT


@dataclass(slots=True)
class CERTREQ(Encoded):
    """Which certificates the sender would like (RFC 7296 3.7)."""

    payload_type: ClassVar[int] = PayloadType.CERTREQ

    @property
    def authorities(self) -> list[bytes]:
        """SHA-1 hashes of the trusted authorities' public keys; empty when the payload holds no such list."""
        if self.encoding != CertEncoding.X509_SIGNATURE or len(self.data) % _KEY_HASH_OCTETS:
            return []
        return [self.data[at : at + _KEY_HASH_OCTETS] for at in range(0, len(self.data), _KEY_HASH_OCTETS)]


@dataclass(slots=True)
class AUTH(Payload):
    """The proof of an identity (RFC 7296 3.8)."""

    payload_type: ClassVar[int] = PayloadType.AUTH

    method: int
    data: bytes = field(repr=False)  # made with a pre-shared key, it lets a reader try passwords
    reserved: bytes = field(default=bytes(3), kw_only=True, repr=False, compare=False)

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        if start + 4 > end:
            raise Drop("an Authentication payload is too short")
        return cls(data[start], data[start + 4 : end], reserved=data[start + 1 : start + 4])

    def octets(self) -> bytes:
        return bytes((self.method,)) + self.reserved + self.data


@dataclass(slots=True)
class Octets(Payload):
    """A payload that is one string of octets."""

    data: bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        return cls(data[start:end])

    def octets(self) -> bytes:
        return self.data


@dataclass(slots=True)
class Nonce(Octets):
    """Fresh random octets, 16 to 256 of them if the peer keeps to RFC 7296 3.9; the exchange checks that."""

    payload_type: ClassVar[int] = PayloadType.NONCE

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        if start >= end:
            raise Drop("a nonce is empty")
        return cls(data[start:end])


@dataclass(slots=True)
class VendorId(Octets):
    """A mark of the implementation (RFC 7296 3.12)."""

    payload_type: ClassVar[int] = PayloadType.VENDOR_ID


@dataclass(slots=True)
class PuzzleSolution(Octets):
    """Four keys for the PRF (RFC 8019 8.2)."""

    payload_type: ClassVar[int] = PayloadType.PS

    @property
    def keys(self) -> list[bytes]:
        """The four keys; none when the payload cannot be divided by four."""
        size, rest = divmod(len(self.data), 4)
        return [] if rest or not size else [self.data[at : at + size] for at in range(0, 4 * size, size)]


@dataclass(slots=True)
class Notify(Payload):
    """An error or a status (RFC 7296 3.10); `protocol` and `spi` name an SA where the type asks for one."""

    payload_type: ClassVar[int] = PayloadType.NOTIFY

    protocol: int
    spi: bytes
    type: int
    data: bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        if start + 4 > end:
            raise Drop("a Notify payload is too short")
        protocol, spi_size, kind = _NOTIFY.unpack_from(data, start)
        start += 4
        if not spi_size:
            return cls(protocol, b"", kind, data[start:end])
        stop = start + spi_size
        if stop > end:
            raise Drop("a Notify payload's SPI runs past its end")
        return cls(protocol, data[start:stop], kind, data[stop:end])

    def octets(self) -> bytes:
        return _NOTIFY.pack(self.protocol, len(self.spi), self.type) + self.spi + self.data


@dataclass(slots=True)
class Delete(Payload):
    """SAs that the sender has removed (RFC 7296 3.11): no SPI means the IKE SA itself, under protocol IKE."""

    payload_type: ClassVar[int] = PayloadType.DELETE

    protocol: int
    spis: list[bytes]
    spi_size: int = field(default=0, kw_only=True, repr=False, compare=False)  # as written where there is no SPI

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        if start + 4 > end:
            raise Drop("a Delete payload is too short")
        protocol, size, count = _DELETE.unpack_from(data, start)
        start += 4
        if count > MAX_SPIS:
            raise Drop(f"more than {MAX_SPIS} SPIs in a Delete payload")
        if size * count != end - start or (count and not size):
            raise Drop("a Delete payload's number of SPIs does not agree with its length")
        return cls(protocol, [data[at : at + size] for at in range(start, end, size)] if count else [], spi_size=size)

    def octets(self) -> bytes:
        size = len(self.spis[0]) if self.spis else self.spi_size
        if len(self.spis) > MAX_SPIS or any(not spi or len(spi) != size for spi in self.spis):
            raise ValueError(f"a Delete payload has up to {MAX_SPIS} SPIs of one size")
        return _DELETE.pack(self.protocol, size, len(self.spis)) + b"".join(self.spis)


@dataclass(slots=True)
class Attribute:
    """One configuration attribute (RFC 7296 3.15.1); a request leaves `value` empty to ask for any."""

    type: int
    value: bytes
    reserved: bool = field(default=False, repr=False, compare=False)


@dataclass(slots=True)
class CP(Payload):
    """Configuration asked for or given (RFC 7296 3.15)."""

    payload_type: ClassVar[int] = PayloadType.CP

    cfg_type: int
    attributes: list[Attribute]
    reserved: bytes = field(default=bytes(3), kw_only=True, repr=False, compare=False)

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        if start + 4 > end:
            raise Drop("a Configuration payload is too short")
        cfg_type, reserved = data[start], data[start + 1 : start + 4]
        attributes: list[Attribute] = []
        start += 4
        while start < end:
            if start + 4 > end:
                raise Drop("a configuration attribute runs past its payload")
            kind, length = _ATTRIBUTE.unpack_from(data, start)
            start += 4
            if start + length > end:
                raise Drop("a configuration attribute runs past its payload")
            if len(attributes) == MAX_ATTRIBUTES:
                raise Drop(f"more than {MAX_ATTRIBUTES} configuration attributes")
            attributes.append(Attribute(kind & 0x7FFF, data[start : start + length], kind > 0x7FFF))
            start += length
        return cls(cfg_type, attributes, reserved=reserved)

    def octets(self) -> bytes:
        if len(self.attributes) > MAX_ATTRIBUTES:
            raise ValueError(f"a Configuration payload has up to {MAX_ATTRIBUTES} attributes")
        parts = [bytes((self.cfg_type,)) + self.reserved]
        for attribute in self.attributes:
            kind = number_in_field(attribute.type, 2, "an attribute's type") | (attribute.reserved << 15)
            length = number_in_field(len(attribute.value), 2, "an attribute's length")
            parts.append(_ATTRIBUTE.pack(kind, length) + attribute.value)
        return b"".join(parts)


@dataclass(slots=True)
class EAP(Payload):
    """One EAP packet (RFC 7296 3.16, RFC 3748 4); `data` is the type and its data, empty for Success and Failure."""

    payload_type: ClassVar[int] = PayloadType.EAP

    code: int
    identifier: int
    data: bytes = field(default=b"", repr=False)

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        if start + 4 > end:
            raise Drop("an EAP packet is too short")
        code, identifier, length = _EAP.unpack_from(data, start)
        if length != end - start:
            raise Drop("an EAP packet's length does not agree with its payload")
        return cls(code, identifier, data[start + 4 : end])

    def octets(self) -> bytes:
        length = number_in_field(4 + len(self.data), 2, "an EAP packet's length")
        return _EAP.pack(self.code, self.identifier, length) + self.data

    @property
    def method(self) -> int | None:
        """The EAP type of a request or response; None when there is none."""
        if self.code not in (EapCode.REQUEST, EapCode.RESPONSE) or not self.data:
            return None
        return self.data[0]

    @property
    def method_data(self) -> bytes:
        """What follows the EAP type."""
        return self.data[1:]


@dataclass(slots=True)
class Unknown(Payload):
    """A payload of a type that we do not know."""

    type: int
    body: bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        return cls(0, data[start:end])

    def octets(self) -> bytes:
        return self.body
