"""The Traffic Selector payloads (RFC 7296 3.13)."""

from dataclasses import dataclass, field
from struct import Struct
from typing import ClassVar, Self

from gateway.wire.numbers import PayloadType, TsType
from gateway.wire.outcome import Drop
from gateway.wire.payload import Payload, number_in_field

MAX_SELECTORS = 255  # the count is one octet

_HEADER = Struct(">BBH")  # type, IP protocol, length
_RANGE = Struct(">BBHHH")  # the same with start and end port
_ADDRESS_OCTETS: dict[int, int] = {TsType.TS_IPV4_ADDR_RANGE: 4, TsType.TS_IPV6_ADDR_RANGE: 16}


@dataclass(slots=True)
class TrafficSelector:
    """A range of addresses and ports; `protocol` 0 is any. Addresses have 4 octets (TS_IPV4_ADDR_RANGE) or 16.

    A selector of any other type keeps what follows its length in `opaque`, and its second octet in `protocol`.
    Whether a range is the right way round is for the exchange to judge.
    """

    ts_type: int
    protocol: int
    start_port: int
    end_port: int
    start: bytes
    end: bytes
    opaque: bytes = b""

    def octets(self) -> bytes:
        size = _ADDRESS_OCTETS.get(self.ts_type)
        if size is None:
            length = number_in_field(4 + len(self.opaque), 2, "a traffic selector's length")
            return _HEADER.pack(self.ts_type, self.protocol, length) + self.opaque
        if len(self.start) != size or len(self.end) != size:
            raise ValueError(f"a traffic selector of type {self.ts_type} has addresses of {size} octets")
        ports = self.start_port, self.end_port
        return _RANGE.pack(self.ts_type, self.protocol, 8 + 2 * size, *ports) + self.start + self.end


@dataclass(slots=True)
class TrafficSelectors(Payload):
    """One end's traffic: what matches any of `selectors`."""

    selectors: list[TrafficSelector]
    reserved: bytes = field(default=bytes(3), kw_only=True, repr=False, compare=False)

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        if start + 4 > end:
            raise Drop("a Traffic Selector payload runs past its end")
        count = data[start]
        reserved = data[start + 1 : start + 4]
        start += 4
        selectors: list[TrafficSelector] = []
        while start < end:
            selector, start = _read_selector(data, start, end)
            selectors.append(selector)
            if len(selectors) > count:
                break
        if len(selectors) != count or not count:
            raise Drop(f"a payload says that it has {count} traffic selectors, and has another number")
        return cls(selectors, reserved=reserved)

    def octets(self) -> bytes:
        count = len(self.selectors)
        if not 1 <= count <= MAX_SELECTORS:
            raise ValueError(f"a payload has 1 to {MAX_SELECTORS} traffic selectors, not {count}")
        return bytes((count,)) + self.reserved + b"".join([selector.octets() for selector in self.selectors])


@dataclass(slots=True)
class TSi(TrafficSelectors):
    """The initiator's end."""

    payload_type: ClassVar[int] = PayloadType.TSi


@dataclass(slots=True)
class TSr(TrafficSelectors):
    """The responder's end."""

    payload_type: ClassVar[int] = PayloadType.TSr


def _read_selector(data: bytes, start: int, end: int) -> tuple[TrafficSelector, int]:
    if start + 4 > end:
        raise Drop("a traffic selector runs past its payload")
    kind, protocol, length = _HEADER.unpack_from(data, start)
    stop = start + length
    if length < 4 or stop > end:
        raise Drop("a traffic selector's length does not agree with what contains it")
    size = _ADDRESS_OCTETS.get(kind)
    if size is None:
        return TrafficSelector(kind, protocol, 0, 0, b"", b"", data[start + 4 : stop]), stop
    if length != 8 + 2 * size:
        raise Drop(f"a traffic selector of type {kind} has {length} octets")
    start_port, end_port = _RANGE.unpack_from(data, start)[3:]
    middle = start + 8 + size
    return TrafficSelector(kind, protocol, start_port, end_port, data[start + 8 : middle], data[middle:stop]), stop
