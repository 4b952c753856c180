"""Reads packet captures, pcap and pcapng: whatever the file holds gives frames, or one sentence why not."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import BinaryIO

MOST_OCTETS = 262_144  # one packet; libpcap's own limit
MOST_BLOCK = 16 * 1024 * 1024
MOST_INTERFACES = 65_536

_PCAP_MAGICS = {  # octets in the file -> byte order, parts of a second
    b"\xa1\xb2\xc3\xd4": (">", 1e6),
    b"\xd4\xc3\xb2\xa1": ("<", 1e6),
    b"\xa1\xb2\x3c\x4d": (">", 1e9),
    b"\x4d\x3c\xb2\xa1": ("<", 1e9),
}
_SECTION = b"\x0a\x0d\x0d\x0a"
_ORDERS = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 2, 3, 6
_RESOLUTION, _OFFSET = 9, 14  # options of an interface


class MalformedCapture(Exception):
    """The file is no capture, or is damaged; the text says where and how."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured packet: its number in the file from 1, Unix time, link type (LINKTYPE_…), octets.

    `missing` counts the octets that the capture's snap length cut off; `at` is None where the file has no time.
    """

    number: int
    at: float | None
    link: int
    data: bytes
    missing: int = 0


def read_frames(file: BinaryIO) -> Iterator[Frame]:
    """The frames of a capture, one after the other; raises MalformedCapture where the file goes wrong."""
    magic = file.read(4)
    if magic in _PCAP_MAGICS:
        return _read_pcap(file, *_PCAP_MAGICS[magic])
    if magic == _SECTION:
        return _Sections(file).frames()
    if not magic:
        raise MalformedCapture("the file is empty")
    raise MalformedCapture("this is no packet capture: it begins like neither pcap nor pcapng")


def _exactly(file: BinaryIO, octets: int, where: str) -> bytes:
    data = file.read(octets)
    if len(data) != octets:
        raise MalformedCapture(f"the file ends inside {where}")
    return data


def _read_pcap(file: BinaryIO, order: str, parts: float) -> Iterator[Frame]:
    header = _exactly(file, 20, "its header")
    (link,) = Struct(order + "I").unpack_from(header, 16)
    link &= 0x0FFFFFFF  # the upper bits tell of frame check sequences
    record = Struct(order + "IIII")
    number = 0
    while start := file.read(record.size):
        number += 1
        if len(start) != record.size:
            raise MalformedCapture(f"the file ends inside the header of packet {number}")
        seconds, fraction, octets, original = record.unpack(start)
        if octets > MOST_OCTETS:
            raise MalformedCapture(f"packet {number} claims {octets} octets, more than a packet can have")
        data = _exactly(file, octets, f"packet {number}")
        yield Frame(number, seconds + fraction / parts, link, data, max(0, original - octets))


@dataclass(slots=True)
class _Interface:
    link: int
    parts: float = 1e6  # of a second, in timestamps
    offset: int = 0  # seconds


@dataclass(slots=True)
class _Sections:
    """The blocks of a pcapng file; byte order and interfaces begin anew with each section."""

    file: BinaryIO
    order: str = ">"
    interfaces: list[_Interface] = field(default_factory=list)
    number: int = 0

    def frames(self) -> Iterator[Frame]:
        self._section()
        while start := self.file.read(4):
            if len(start) != 4:
                raise MalformedCapture("the file ends inside the type of a block")
            if start == _SECTION:
                self._section()
                continue
            (kind,) = Struct(self.order + "I").unpack(start)
            frame = self._block(kind, self._body())
            if frame is not None:
                yield frame

    def _section(self) -> None:
        raw = _exactly(self.file, 8, "a section header")
        order = _ORDERS.get(raw[4:])
        if order is None:
            raise MalformedCapture("a section header has no byte order mark")
        self.order, self.interfaces = order, []
        (length,) = Struct(order + "I").unpack_from(raw)
        self._rest(length, 12)

    def _body(self) -> bytes:
        (length,) = Struct(self.order + "I").unpack(_exactly(self.file, 4, "the length of a block"))
        return self._rest(length, 8)

    def _rest(self, length: int, read: int) -> bytes:
        """What is left of a block of which `read` octets were read; checks the length repeated at its end."""
        if length % 4 or not read + 4 <= length <= MOST_BLOCK:
            raise MalformedCapture(f"a block after packet {self.number} has an impossible length of {length} octets")
        data = _exactly(self.file, length - read, f"a block after packet {self.number}")
        if Struct(self.order + "I").unpack(data[-4:])[0] != length:
            raise MalformedCapture(f"a block after packet {self.number} has two different lengths")
        return data[:-4]

    def _block(self, kind: int, body: bytes) -> Frame | None:
        if kind == _INTERFACE:
            self._add_interface(body)
        elif kind == _ENHANCED_PACKET:
            return self._enhanced(body)
        elif kind == _SIMPLE_PACKET:
            return self._simple(body)
        elif kind == _OLD_PACKET:
            return self._old(body)
        return None

    def _add_interface(self, body: bytes) -> None:
        if len(body) < 8 or len(self.interfaces) == MOST_INTERFACES:
            raise MalformedCapture("an interface block is too short" if len(body) < 8 else "too many interfaces")
        made = _Interface(Struct(self.order + "H").unpack_from(body)[0])
        option, at = Struct(self.order + "HH"), 8
        while at + 4 <= len(body):
            code, length = option.unpack_from(body, at)
            value = body[at + 4 : at + 4 + length]
            if code == 0:
                break
            if code == _RESOLUTION and len(value) == 1:
                made.parts = 2.0 ** (value[0] & 0x7F) if value[0] & 0x80 else 10.0 ** value[0]
            if code == _OFFSET and len(value) == 8:
                (made.offset,) = Struct(self.order + "q").unpack(value)
            at += 4 + length + -length % 4
        self.interfaces.append(made)

    def _enhanced(self, body: bytes) -> Frame:
        layout = Struct(self.order + "IIIII")
        self._long_enough(body, layout)
        interface, high, low, octets, original = layout.unpack_from(body)
        return self._frame(body[layout.size :], interface, high << 32 | low, octets, original)

    def _old(self, body: bytes) -> Frame:
        layout = Struct(self.order + "HHIIII")
        self._long_enough(body, layout)
        interface, _, high, low, octets, original = layout.unpack_from(body)
        return self._frame(body[layout.size :], interface, high << 32 | low, octets, original)

    def _simple(self, body: bytes) -> Frame:
        layout = Struct(self.order + "I")
        self._long_enough(body, layout)
        (original,) = layout.unpack_from(body)
        return self._frame(body[4:], 0, None, min(original, len(body) - 4), original)

    def _long_enough(self, body: bytes, layout: Struct) -> None:
        if len(body) < layout.size:
            raise MalformedCapture(f"the block of packet {self.number + 1} is too short")

    def _frame(self, rest: bytes, number: int, ticks: int | None, octets: int, original: int) -> Frame:
        self.number += 1
        if number >= len(self.interfaces):
            raise MalformedCapture(f"packet {self.number} names interface {number}, which the file does not describe")
        if octets > len(rest):
            raise MalformedCapture(f"packet {self.number} claims more octets than its block has")
        interface = self.interfaces[number]
        at = None if ticks is None else interface.offset + ticks / interface.parts
        return Frame(self.number, at, interface.link, rest[:octets], max(0, original - octets))
