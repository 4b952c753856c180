"""Datagrams to messages and back (RFC 7296 3.1, 3.2): any octets give a Message or a Drop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct
from typing import NamedTuple, TypeVar

from gateway.wire import payloads as wire
from gateway.wire.numbers import NotifyType, PayloadType
from gateway.wire.outcome import Drop, Reject
from gateway.wire.payloads import SK, SKF, Notify, Payload, Unknown

HEADER_OCTETS = 28
MAX_MESSAGE = 65535
MAX_PAYLOADS = 64
VERSION = 0x20  # major 2, minor 0

_HEADER = Struct(">8s8sBBBBII")
_GENERIC = Struct(">BBH")  # next payload, critical bit and reserved, length
_FRAGMENT = Struct(">HH")
_INITIATOR = 0x08
_RESPONSE = 0x20
_CRITICAL = 0x80
_SEALED: frozenset[int] = frozenset({PayloadType.SK, PayloadType.SKF})

_Reader = Callable[[bytes, int, int], Payload]
_READERS: dict[int, _Reader] = {
    int(known.payload_type): known.read
    for known in (
        wire.SA,
        wire.KE,
        wire.IDi,
        wire.IDr,
        wire.CERT,
        wire.CERTREQ,
        wire.AUTH,
        wire.Nonce,
        wire.Notify,
        wire.Delete,
        wire.VendorId,
        wire.TSi,
        wire.TSr,
        wire.SK,
        wire.CP,
        wire.EAP,
        wire.SKF,
        wire.PuzzleSolution,
    )
}

P = TypeVar("P", bound=Payload)


class Header(NamedTuple):
    """The fixed header, whose first fields are the same in all major versions."""

    spi_i: bytes
    spi_r: bytes
    next_payload: int
    version: int
    exchange: int
    flags: int
    message_id: int
    length: int

    @property
    def major(self) -> int:
        return self.version >> 4

    @property
    def initiator(self) -> bool:
        """Whether the sender is the one who opened the IKE SA."""
        return bool(self.flags & _INITIATOR)

    @property
    def response(self) -> bool:
        return bool(self.flags & _RESPONSE)


@dataclass(slots=True)
class Message:
    """One IKE message; `initiator` tells that its sender opened the IKE SA, `response` that it answers a request.

    `other_flags` has the rest of the flags octet; there only 0x10 has a meaning, that a higher version is spoken.
    """

    spi_i: bytes
    spi_r: bytes
    exchange: int
    initiator: bool
    response: bool
    message_id: int
    payloads: list[Payload]
    version: int = VERSION
    other_flags: int = field(default=0, repr=False, compare=False)

    def one(self, kind: type[P]) -> P:
        """The only payload of this kind. Raises Reject(INVALID_SYNTAX) when there is none, or more."""
        found = self.maybe(kind)
        if found is None:
            raise Reject(NotifyType.INVALID_SYNTAX, f"the message has no {kind.__name__} payload")
        return found

    def maybe(self, kind: type[P]) -> P | None:
        """The payload of this kind, or None. Raises Reject(INVALID_SYNTAX) when there are two."""
        found = None
        for payload in self.payloads:
            if isinstance(payload, kind):
                if found is not None:
                    raise Reject(NotifyType.INVALID_SYNTAX, f"the message has more than one {kind.__name__} payload")
                found = payload
        return found

    def all(self, kind: type[P]) -> list[P]:
        """The payloads of this kind in their order."""
        return [payload for payload in self.payloads if isinstance(payload, kind)]

    def notify(self, notify_type: int) -> Notify | None:
        """The first Notify of this type, or None."""
        for payload in self.payloads:
            if type(payload) is Notify and payload.type == notify_type:
                return payload
        return None

    def notifies(self, notify_type: int) -> list[Notify]:
        """All Notify payloads of this type."""
        return [payload for payload in self.payloads if type(payload) is Notify and payload.type == notify_type]


def parse_header(data: bytes) -> Header:
    """The header alone, of any major version; its length is not yet compared with the datagram's. Raises Drop."""
    if len(data) < HEADER_OCTETS:
        raise Drop(f"{len(data)} octets are no IKE header")
    return Header._make(_HEADER.unpack_from(data))


def parse(data: bytes) -> Message:
    """The whole datagram (without a non-ESP marker); payloads under encryption stay so. Raises Drop."""
    octets = len(data)
    if octets < HEADER_OCTETS:
        raise Drop(f"{octets} octets are no IKE header")
    if octets > MAX_MESSAGE:
        raise Drop(f"{octets} octets are more than a message may have")
    spi_i, spi_r, first, version, exchange, flags, message_id, length = _HEADER.unpack_from(data)
    if version >> 4 != 2:
        raise Drop(f"IKE version {version >> 4}.{version & 15}")
    if length != octets:
        raise Drop(f"the header says {length} octets, the datagram has {octets}")
    payloads = _read_chain(first, bytes(data), HEADER_OCTETS, sealed=True)
    initiator, response = bool(flags & _INITIATOR), bool(flags & _RESPONSE)
    other = flags & ~(_INITIATOR | _RESPONSE)
    return Message(spi_i, spi_r, exchange, initiator, response, message_id, payloads, version, other)


@lru_cache(8)
def told_in(datagram: bytes) -> frozenset[int]:
    """The types of the notifies in a message in the open; it is asked for one after the other. Raises Drop."""
    return frozenset(notify.type for notify in parse(datagram).all(Notify))


def parse_payloads(first: int, data: bytes | memoryview, offset: int = 0) -> list[Payload]:
    """The payloads of data[offset:], the decrypted inside of an Encrypted payload without its padding. Raises Drop."""
    if len(data) > MAX_MESSAGE:
        raise Drop(f"{len(data)} octets are more than a message may have")
    return _read_chain(first, bytes(data), offset, sealed=False)


def _read_chain(kind: int, data: bytes, start: int, *, sealed: bool) -> list[Payload]:
    """Follow the Next Payload fields; `sealed` allows an Encrypted payload, which ends the chain."""
    payloads: list[Payload] = []
    end = len(data)
    while kind:
        if len(payloads) == MAX_PAYLOADS:
            raise Drop(f"more than {MAX_PAYLOADS} payloads")
        if start + 4 > end:
            raise Drop("a payload header runs past the message")
        following, bits, length = _GENERIC.unpack_from(data, start)
        stop = start + length
        if length < 4 or stop > end:
            raise Drop(f"a payload of type {kind} has a length of {length}, which does not fit the message")
        reader = _READERS.get(kind)
        payload = reader(data, start + 4, stop) if reader else Unknown(kind, data[start + 4 : stop])
        if bits:
            payload.critical, payload.header_reserved = bits >= _CRITICAL, bits & ~_CRITICAL
        payloads.append(payload)
        start = stop
        if kind in _SEALED:
            assert isinstance(payload, SK | SKF)
            if not sealed:
                raise Drop("an Encrypted payload inside an Encrypted payload")
            payload.first = following
            break
        kind = following
    if start < end:
        raise Drop(f"{end - start} octets follow the last payload")
    return payloads


def build(message: Message) -> bytes:
    """The message's octets. Raises ValueError or struct.error when a value does not fit its field."""
    first, body = build_payloads(message.payloads)
    return _header(message, first, len(body)) + body


def _header(message: Message, first: int, body_octets: int) -> bytes:
    length = HEADER_OCTETS + body_octets
    if length > MAX_MESSAGE:
        raise ValueError(f"a message of {length} octets is longer than {MAX_MESSAGE}")
    if len(message.spi_i) != 8 or len(message.spi_r) != 8:
        raise ValueError("an IKE SPI has 8 octets")
    flags = message.other_flags | (_INITIATOR if message.initiator else 0) | (_RESPONSE if message.response else 0)
    spis = message.spi_i, message.spi_r
    return _HEADER.pack(*spis, first, message.version, message.exchange, flags, message.message_id, length)


def build_payloads(payloads: Sequence[Payload]) -> tuple[int, bytes]:
    """The type of the first payload (0 when there is none), and the octets of all. Raises as `build` does."""
    return _build_chain(payloads, 0)


def _build_chain(payloads: Sequence[Payload], following: int) -> tuple[int, bytes]:
    """From the last to the first: each payload names the type of the next, the last one `following`."""
    if len(payloads) > MAX_PAYLOADS:
        raise ValueError(f"a message has up to {MAX_PAYLOADS} payloads")
    parts: list[bytes] = []
    for payload in reversed(payloads):
        octets = payload.octets()
        kind = payload.type if type(payload) is Unknown else payload.payload_type
        if kind in _SEALED and isinstance(payload, SK | SKF):
            if parts or following:
                raise ValueError("an Encrypted payload is the last of its message")
            following = payload.first
        length = 4 + len(octets)
        if length > MAX_MESSAGE:
            raise ValueError(f"a payload of {length} octets is longer than {MAX_MESSAGE}")
        bits = payload.header_reserved | (_CRITICAL if payload.critical else 0)
        parts.append(_GENERIC.pack(following, bits, length) + octets)
        following = kind
    parts.reverse()
    return following, b"".join(parts)


def build_sk_header(message: Message, first_inner: int, body_length: int) -> bytes:
    """What stands before an Encrypted payload's body of `body_length` octets (IV, ciphertext, ICV).

    That is the IKE header, the payloads of `message` in the open, and the generic header, with the lengths of the
    whole: the associated data of an AEAD (RFC 5282 5.1). With the length of the plain inner payloads alone it is the
    IntAuth_A of RFC 9242 3.3.2.
    """
    return _sealed_header(message, PayloadType.SK, first_inner, b"", body_length)


def build_skf_header(message: Message, first_inner: int, fragment_number: int, total: int, body_length: int) -> bytes:
    """The same before one fragment's body (RFC 7383 2.5); in fragments after the first 0 replaces `first_inner`."""
    if not 0 < fragment_number <= total:
        raise ValueError(f"there is no fragment {fragment_number} of {total}")
    position = _FRAGMENT.pack(fragment_number, total)
    first = first_inner if fragment_number == 1 else 0
    return _sealed_header(message, PayloadType.SKF, first, position, body_length)


def _sealed_header(message: Message, kind: int, first_inner: int, position: bytes, body_length: int) -> bytes:
    first, plain = _build_chain(message.payloads, kind)
    length = 4 + len(position) + body_length
    header = _header(message, first, len(plain) + length)
    return header + plain + _GENERIC.pack(first_inner, 0, length) + position
