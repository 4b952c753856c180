"""The Security Association payload: proposals, their transforms and attributes (RFC 7296 3.3)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct
from typing import ClassVar, Self

from gateway.wire.numbers import AttributeType, PayloadType, Protocol
from gateway.wire.outcome import Drop
from gateway.wire.payload import Payload

MAX_PROPOSALS = 64
MAX_TRANSFORMS = 255  # a proposal: the count is one octet
MAX_SA_TRANSFORMS = 1024  # all proposals of a payload together
MAX_TRANSFORM_ATTRIBUTES = 16

_PROPOSAL = Struct(">BBHBBBB")  # more, reserved, length, number, protocol, SPI size, transforms
_TRANSFORM = Struct(">BBHBBH")  # more, reserved, length, type, reserved, number
_KEYED_TRANSFORM = Struct(">BBHBBHHH")  # the same with a Key Length attribute
_ATTRIBUTE = Struct(">HH")  # format bit and type, value or length
_MORE_PROPOSALS = 2
_MORE_TRANSFORMS = 3
_TYPE_VALUE = 0x8000  # RFC 7296 3.3.5: the attribute format bit
_KEY_LENGTH = _TYPE_VALUE | AttributeType.KEY_LENGTH
_CACHED_OCTETS = 512  # bounds what a hostile peer can make the cache hold: 256 entries of 64 transforms
_SPI_SIZES: dict[int, tuple[int, ...]] = {Protocol.IKE: (0, 8), Protocol.AH: (4,), Protocol.ESP: (4,)}


@dataclass(slots=True)
class TransformAttribute:
    """An attribute other than the key length: `value` is a number in the short format, octets in the long one."""

    type: int
    value: int | bytes


@dataclass(slots=True)
class Transform:
    """One algorithm: `type` says of what kind, `key_bits` is its Key Length attribute if it has one.

    What was parsed is shared between messages that offer the same: read it, do not change it. A transform with
    `attributes` has something that we do not understand, and is not acceptable (RFC 7296 3.3.6).
    """

    type: int
    number: int
    key_bits: int | None = None
    attributes: tuple[TransformAttribute, ...] = ()
    key_position: int = field(default=0, repr=False, compare=False)  # of the key length among the attributes
    reserved: int = field(default=0, repr=False, compare=False)  # both reserved octets

    def octets(self, *, more: bool) -> bytes:
        """The substructure; `more` tells that another transform follows."""
        follows = _MORE_TRANSFORMS if more else 0
        high, low = divmod(self.reserved, 256) if self.reserved else (0, 0)
        if self.attributes:
            attributes = self._attribute_octets()
            length = _TRANSFORM.size + len(attributes)
            return _TRANSFORM.pack(follows, high, length, self.type, low, self.number) + attributes
        if self.key_bits is None:
            return _TRANSFORM.pack(follows, high, 8, self.type, low, self.number)
        return _KEYED_TRANSFORM.pack(follows, high, 12, self.type, low, self.number, _KEY_LENGTH, self.key_bits)

    def _attribute_octets(self) -> bytes:
        if len(self.attributes) > MAX_TRANSFORM_ATTRIBUTES:
            raise ValueError(f"a transform has up to {MAX_TRANSFORM_ATTRIBUTES} attributes")
        found = []
        for attribute in self.attributes:
            if isinstance(attribute.value, int):
                found.append(_ATTRIBUTE.pack(_TYPE_VALUE | attribute.type, attribute.value))
            else:
                found.append(_ATTRIBUTE.pack(attribute.type, len(attribute.value)) + attribute.value)
        if self.key_bits is not None:
            found.insert(self.key_position, _ATTRIBUTE.pack(_KEY_LENGTH, self.key_bits))
        return b"".join(found)


@dataclass(slots=True)
class Proposal:
    """Algorithms for one protocol; of each type of transform one is to be chosen (RFC 7296 3.3.1).

    `spi` is the sender's inbound SPI: 4 octets for AH and ESP, 8 for IKE, none in IKE_SA_INIT.
    """

    number: int
    protocol: int
    spi: bytes
    transforms: list[Transform]
    reserved: int = field(default=0, repr=False, compare=False)

    def octets(self, *, more: bool) -> bytes:
        """The substructure; `more` tells that another proposal follows."""
        count = len(self.transforms)
        if not 1 <= count <= MAX_TRANSFORMS:
            raise ValueError(f"a proposal has 1 to {MAX_TRANSFORMS} transforms, not {count}")
        last = count - 1
        inner = b"".join([t.octets(more=index != last) for index, t in enumerate(self.transforms)])
        length = _PROPOSAL.size + len(self.spi) + len(inner)
        follows = _MORE_PROPOSALS if more else 0
        header = _PROPOSAL.pack(follows, self.reserved, length, self.number, self.protocol, len(self.spi), count)
        return header + self.spi + inner


@dataclass(slots=True)
class SA(Payload):
    """Proposals, the most preferred first; a response has the one that was chosen."""

    payload_type: ClassVar[int] = PayloadType.SA

    proposals: list[Proposal]

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        proposals: list[Proposal] = []
        transforms = 0
        while True:
            if len(proposals) == MAX_PROPOSALS:
                raise Drop(f"more than {MAX_PROPOSALS} proposals in a Security Association payload")
            proposal, more, start = _read_proposal(data, start, end)
            proposals.append(proposal)
            transforms += len(proposal.transforms)
            if transforms > MAX_SA_TRANSFORMS:
                raise Drop(f"more than {MAX_SA_TRANSFORMS} transforms in a Security Association payload")
            if start == end:
                if more:
                    raise Drop("the last proposal says that another follows")
                return cls(proposals)
            if more != _MORE_PROPOSALS:
                raise Drop("a proposal that is not the last says that it is")

    def octets(self) -> bytes:
        last = len(self.proposals) - 1
        if last < 0:
            raise ValueError("a Security Association payload has at least one proposal")
        return b"".join([p.octets(more=index != last) for index, p in enumerate(self.proposals)])


def _read_proposal(data: bytes, start: int, end: int) -> tuple[Proposal, int, int]:
    """The proposal, its mark for another to follow, and where it ends."""
    if start + 8 > end:
        raise Drop("a proposal runs past its payload")
    more, reserved, length, number, protocol, spi_size, count = _PROPOSAL.unpack_from(data, start)
    inner, stop = start + 8 + spi_size, start + length
    if inner > stop or stop > end:
        raise Drop("a proposal's length does not agree with what contains it")
    if (sizes := _SPI_SIZES.get(protocol)) and spi_size not in sizes:
        raise Drop(f"a proposal for protocol {protocol} has an SPI of {spi_size} octets")
    raw = data[inner:stop]
    read: Callable[[bytes, int], tuple[Transform, ...]] = _offered if len(raw) <= _CACHED_OCTETS else _read_transforms
    spi = data[start + 8 : inner]
    return Proposal(number, protocol, spi, list(read(raw, count)), reserved), more, stop


def _read_transforms(raw: bytes, count: int) -> tuple[Transform, ...]:
    transforms: list[Transform] = []
    start, end = 0, len(raw)
    while start < end:
        if start + 8 > end:
            raise Drop("a transform runs past its proposal")
        more, high, length, kind, low, number = _TRANSFORM.unpack_from(raw, start)
        stop = start + length
        if length < 8 or stop > end:
            raise Drop("a transform's length does not agree with what contains it")
        if more != (_MORE_TRANSFORMS if stop < end else 0):
            raise Drop("a transform does not say rightly whether another follows")
        transform = Transform(kind, number, None, (), 0, high << 8 | low)
        if length > 8:
            _read_attributes(transform, raw, start + 8, stop)
        transforms.append(transform)
        if len(transforms) > count:
            break
        start = stop
    if len(transforms) != count or not count:
        raise Drop(f"a proposal says that it has {count} transforms, and has another number")
    return tuple(transforms)


_offered = lru_cache(maxsize=256)(_read_transforms)  # offers repeat, between peers and between retries


def _read_attributes(transform: Transform, raw: bytes, start: int, end: int) -> None:
    others: list[TransformAttribute] = []
    while start < end:
        if start + 4 > end:
            raise Drop("a transform attribute runs past its transform")
        kind, value = _ATTRIBUTE.unpack_from(raw, start)
        start += 4
        if kind == _KEY_LENGTH:
            if transform.key_bits is not None:
                raise Drop("a transform has two key lengths")  # RFC 7296 3.3: MUST NOT
            transform.key_bits, transform.key_position = value, len(others)
        elif kind & _TYPE_VALUE:
            others.append(TransformAttribute(kind & ~_TYPE_VALUE, value))
        else:
            if start + value > end:
                raise Drop("a transform attribute runs past its transform")
            others.append(TransformAttribute(kind, raw[start : start + value]))
            start += value
        if len(others) > MAX_TRANSFORM_ATTRIBUTES:
            raise Drop(f"a transform has more than {MAX_TRANSFORM_ATTRIBUTES} attributes")
    transform.attributes = tuple(others)
