"""The Encrypted payload, whole or as a fragment (RFC 7296 3.14, RFC 7383): a frame around what crypto opens."""

from dataclasses import dataclass, field
from struct import Struct
from typing import ClassVar, Self

from gateway.wire.numbers import PayloadType
from gateway.wire.outcome import Drop
from gateway.wire.payload import Payload

_FRAGMENT = Struct(">HH")  # number, total


@dataclass(slots=True)
class SK(Payload):
    """Payloads under encryption (RFC 7296 3.14): `first` is the type of the first one inside.

    `body` is IV, ciphertext and ICV. `offset` is where that begins in the datagram: the octets before are what an
    AEAD authenticates besides (RFC 5282 5.1).
    """

    payload_type: ClassVar[int] = PayloadType.SK

    first: int
    body: bytes = field(repr=False)
    offset: int = field(default=0, kw_only=True, repr=False, compare=False)

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        return cls(0, data[start:end], offset=start)

    def octets(self) -> bytes:
        return self.body


@dataclass(slots=True)
class SKF(Payload):
    """One fragment of payloads under encryption (RFC 7383 2.5): number `fragment_number`, from 1, of `total`.

    `first` is the type of the first payload inside, and 0 in all fragments but the first.
    """

    payload_type: ClassVar[int] = PayloadType.SKF

    first: int
    fragment_number: int
    total: int
    body: bytes = field(repr=False)
    offset: int = field(default=0, kw_only=True, repr=False, compare=False)

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        if start + 4 > end:
            raise Drop("an Encrypted Fragment payload is too short")
        number, total = _FRAGMENT.unpack_from(data, start)
        if not 0 < number <= total:  # RFC 7383 2.6: silently discarded
            raise Drop(f"fragment {number} of {total}")
        return cls(0, number, total, data[start + 4 : end], offset=start + 4)

    def octets(self) -> bytes:
        return _FRAGMENT.pack(self.fragment_number, self.total) + self.body
