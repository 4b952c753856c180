"""What EAP methods carry behind the type octet; reading and writing an octet string are side by side.

Every `read` takes any octets and gives a value, or raises Drop with what is wrong with them. No length from the wire is
used before it was compared with what is there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Self

from gateway.wire.numbers import EapType
from gateway.wire.outcome import Drop

MAX_NAKS = 32
"""Methods that one Nak may name."""
MAX_NAME_OCTETS = 256
_EXPANDED = Struct(">BHBI")  # type, vendor in 3 octets, method
_MSCHAP = Struct(">BBH")  # op code, MS-CHAPv2 identifier, length
_TLS_LENGTH = 4


def read_nak(data: bytes) -> tuple[int, ...]:
    """The methods that the peer would rather have (RFC 3748 5.3.1); 0, for none, is left out."""
    if not data:
        raise Drop("a Nak names no method, not even none")
    if len(data) > MAX_NAKS:
        raise Drop(f"a Nak names more than {MAX_NAKS} methods")
    return tuple(wanted for wanted in dict.fromkeys(data) if wanted)


def nak(wanted: Iterable[int]) -> bytes:
    """A Nak's data: the methods that we would take, or 0 for none."""
    return bytes(wanted) or b"\0"


def expanded_nak(wanted: Iterable[int]) -> bytes:
    """Behind the type 254: an Expanded Nak with methods of vendor 0 (RFC 3748 5.3.2)."""
    naming = [_EXPANDED.pack(EapType.EXPANDED, 0, 0, kind) for kind in wanted]
    entries = naming or [_EXPANDED.pack(EapType.EXPANDED, 0, 0, 0)]
    return _EXPANDED.pack(EapType.EXPANDED, 0, 0, EapType.LEGACY_NAK)[1:] + b"".join(entries)


@dataclass(frozen=True, slots=True)
class Md5Value:
    """A challenge, or the 16 octets that answer it (RFC 1994 4.1, RFC 3748 5.4)."""

    value: bytes = field(repr=False)
    name: bytes = b""

    @classmethod
    def read(cls, data: bytes) -> Self:
        if not data or not 0 < data[0] < len(data):
            raise Drop("an EAP-MD5 value is empty, or longer than its packet")
        value, name = data[1 : 1 + data[0]], data[1 + data[0] :]
        if len(name) > MAX_NAME_OCTETS:
            raise Drop("an EAP-MD5 name is too long")
        return cls(value, name)

    def octets(self) -> bytes:
        return bytes((len(self.value),)) + self.value + self.name


class MsChapOp(IntEnum):
    """What an EAP-MSCHAPv2 packet is (draft-kamath-pppext-eap-mschapv2 2)."""

    CHALLENGE = 1
    RESPONSE = 2
    SUCCESS = 3
    FAILURE = 4
    CHANGE_PASSWORD = 7


@dataclass(frozen=True, slots=True)
class MsChap:
    """Any EAP-MSCHAPv2 packet; `body` is what follows its header, which a bare Success or Failure does not have."""

    op: int
    identifier: int = 0
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def read(cls, data: bytes) -> Self:
        if len(data) == 1 and data[0] in (MsChapOp.SUCCESS, MsChapOp.FAILURE):
            return cls(data[0])
        if len(data) < _MSCHAP.size:
            raise Drop("an EAP-MSCHAPv2 packet is shorter than its header")
        op, identifier, length = _MSCHAP.unpack_from(data)
        if length != len(data):
            raise Drop("an EAP-MSCHAPv2 packet's length does not agree with its packet")
        return cls(op, identifier, data[_MSCHAP.size :])

    def octets(self) -> bytes:
        if not self.body and self.op in (MsChapOp.SUCCESS, MsChapOp.FAILURE):
            return bytes((self.op,))
        return _MSCHAP.pack(self.op, self.identifier, _MSCHAP.size + len(self.body)) + self.body


@dataclass(frozen=True, slots=True)
class MsChapChallenge:
    """The body of a Challenge: 16 octets and the server's name."""

    challenge: bytes
    name: bytes = b""

    @classmethod
    def read(cls, body: bytes) -> Self:
        if len(body) < 17 or body[0] != 16:
            raise Drop("an EAP-MSCHAPv2 challenge does not have 16 octets")
        return cls(body[1:17], _name(body[17:]))

    def octets(self) -> bytes:
        return bytes((len(self.challenge),)) + self.challenge + self.name


@dataclass(frozen=True, slots=True)
class MsChapResponse:
    """The body of a Response: the peer's challenge, its answer to the server's, and the user's name."""

    peer_challenge: bytes
    nt_response: bytes = field(repr=False)
    name: bytes

    @classmethod
    def read(cls, body: bytes) -> Self:
        if len(body) < 50 or body[0] != 49:
            raise Drop("an EAP-MSCHAPv2 response does not have 49 octets")
        return cls(body[1:17], body[25:49], _name(body[50:]))

    def octets(self) -> bytes:
        return bytes((49,)) + self.peer_challenge + bytes(8) + self.nt_response + b"\0" + self.name


def _name(name: bytes) -> bytes:
    if len(name) > MAX_NAME_OCTETS:
        raise Drop("an EAP-MSCHAPv2 name is too long")
    return name


def words(body: bytes) -> dict[str, str]:
    """The `X=…` words of a Success or Failure text (RFC 2759 5, 6); M's runs to the end. Bounded by its packet."""
    text = body[:512].decode("ascii", "replace")
    found: dict[str, str] = {}
    while text:
        key, equals, rest = text.lstrip(" ").partition("=")
        if not equals or len(key) != 1:
            break
        value, _, text = (rest, "", "") if key == "M" else rest.partition(" ")
        found.setdefault(key, value)
    return found


class TlsFlag(IntEnum):
    """The flags of EAP-TLS (RFC 5216 3.1)."""

    LENGTH = 0x80
    MORE = 0x40
    START = 0x20


@dataclass(frozen=True, slots=True)
class TlsFragment:
    """A piece of TLS records; `total` is how long the whole is, where its first fragment says so."""

    data: bytes = field(default=b"", repr=False)
    total: int | None = None
    more: bool = False
    start: bool = False

    @classmethod
    def read(cls, data: bytes) -> Self:
        if not data:
            raise Drop("an EAP-TLS packet has no flags")
        flags, total, begin = data[0], None, 1
        if flags & TlsFlag.LENGTH:
            if len(data) < 1 + _TLS_LENGTH:
                raise Drop("an EAP-TLS packet is shorter than its length field")
            total, begin = int.from_bytes(data[1 : 1 + _TLS_LENGTH]), 1 + _TLS_LENGTH
        piece = data[begin:]
        if total is not None and total < len(piece):
            raise Drop("an EAP-TLS fragment is longer than the whole that it announces")
        return cls(piece, total, bool(flags & TlsFlag.MORE), bool(flags & TlsFlag.START))

    def octets(self) -> bytes:
        flags = TlsFlag.MORE * self.more | TlsFlag.START * self.start
        if self.total is None:
            return bytes((flags,)) + self.data
        return bytes((flags | TlsFlag.LENGTH,)) + self.total.to_bytes(_TLS_LENGTH) + self.data
