"""Goes through a capture and says what each packet of IKE and ESP is."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.cli.capture import Frame
from gateway.cli.opening import EspOpener, EspPacket, IkeOpener
from gateway.cli.packets import (
    ESP,
    UDP,
    Datagram,
    Fragmented,
    IpPacket,
    Malformed,
    ip_octets,
    ip_packet,
    known_link,
    udp_datagram,
    with_port,
)
from gateway.wire.describe import describe, describe_payloads
from gateway.wire.message import HEADER_OCTETS, parse, parse_header
from gateway.wire.outcome import Drop

IKE_PORT, NAT_PORT = 500, 4500
_MARKER = bytes(4)
_KEEPALIVE = b"\xff"


@dataclass(frozen=True, slots=True)
class Seen:
    """One packet of interest: `kind` is ike, esp, keepalive or malformed, `note` a sentence about it.

    `message` is an IKE message as `gateway.wire.describe` shows it, with the opened payloads under "inside".
    """

    number: int
    at: float | None
    source: str
    destination: str
    kind: str
    octets: int
    note: str = ""
    message: dict[str, Any] | None = None
    esp: EspPacket | None = None

    def document(self) -> dict[str, Any]:
        """The same as plain JSON-safe values."""
        found: dict[str, Any] = {
            "number": self.number,
            "at": self.at,
            "source": self.source,
            "destination": self.destination,
            "kind": self.kind,
            "octets": self.octets,
        }
        if self.note:
            found["note"] = self.note
        if self.message is not None:
            found["message"] = self.message
        if self.esp is not None:
            inner = self.esp.inner.summary if self.esp.inner else None
            found["esp"] = {"spi": f"{self.esp.spi:08x}", "sequence": self.esp.sequence, "inner": inner}
        return found


@dataclass(slots=True)
class Decoding:
    """One pass over a capture; `passed_over` counts the packets that are none of ours, by what they are."""

    ike: IkeOpener
    esp: EspOpener
    ports: frozenset[int] = frozenset()
    secrets: bool = False
    passed_over: Counter[str] = field(default_factory=Counter)

    def go(self, frames: Iterable[Frame]) -> Iterator[Seen]:
        """What is of interest, in the file's order."""
        for frame in frames:
            seen = self._frame(frame)
            if seen is not None:
                yield seen

    def _frame(self, frame: Frame) -> Seen | None:
        octets = ip_octets(frame.link, frame.data)
        if octets is None:
            self.passed_over["not IP" if known_link(frame.link) else f"link type {frame.link}, unknown to us"] += 1
            return None
        try:
            packet = ip_packet(octets)
        except Fragmented:
            self.passed_over["fragments of IP packets"] += 1
            return None
        except Malformed:
            self.passed_over["malformed IP packets"] += 1
            return None
        if packet.protocol == ESP:
            return self._esp(frame, packet.source, packet.destination, packet.payload, packet)
        if packet.protocol == UDP:
            return self._udp(frame, packet)
        self.passed_over["other protocols"] += 1
        return None

    def _udp(self, frame: Frame, packet: IpPacket) -> Seen | None:
        try:
            datagram = udp_datagram(packet)
        except Malformed as error:
            if not self._ports_of_ours(packet.payload):
                self.passed_over["malformed UDP datagrams"] += 1
                return None
            ends = packet.source, packet.destination
            return Seen(frame.number, frame.at, *ends, "malformed", len(packet.payload), str(error))
        ports = {datagram.source_port, datagram.destination_port}
        if not ports & {IKE_PORT, NAT_PORT, *self.ports}:
            self.passed_over["UDP on other ports"] += 1
            return None
        return self._datagram(frame, packet, datagram, ports)

    def _ports_of_ours(self, payload: bytes) -> bool:
        ours = {IKE_PORT, NAT_PORT, *self.ports}
        return any(int.from_bytes(payload[at : at + 2]) in ours for at in (0, 2) if len(payload) >= at + 2)

    def _datagram(self, frame: Frame, packet: IpPacket, datagram: Datagram, ports: set[int]) -> Seen:
        data = datagram.payload
        if data.startswith(_MARKER):  # RFC 3948 2.2; an IKE SPI is never zero
            return self._ike(frame, datagram, data[4:])
        if IKE_PORT in ports or (NAT_PORT not in ports and _is_ike(data)):
            return self._ike(frame, datagram, data)
        if data == _KEEPALIVE:
            return _seen(frame, datagram, "keepalive", 1)
        return self._esp(frame, *_ends(datagram), data, packet)

    def _ike(self, frame: Frame, datagram: Datagram, data: bytes) -> Seen:
        try:
            message = parse(data)
        except Drop as drop:
            return _seen(frame, datagram, "malformed", len(data), drop.why)
        opened = self.ike.open(message, data)
        described = describe(message, secrets=self.secrets)
        note = ""
        if opened is not None:
            note = opened.note
            if opened.payloads is not None:
                described["inside"] = describe_payloads(opened.payloads, secrets=self.secrets)
        return _seen(frame, datagram, "ike", len(data), note, described)

    def _esp(self, frame: Frame, source: str, destination: str, data: bytes, packet: IpPacket) -> Seen:
        try:
            found = self.esp.open(packet.source, packet.destination, data)
        except Malformed as error:
            return Seen(frame.number, frame.at, source, destination, "malformed", len(data), str(error))
        return Seen(frame.number, frame.at, source, destination, "esp", len(data), found.note, esp=found)


def _is_ike(data: bytes) -> bool:
    """Whether it looks like an unmarked IKE message, on a port that tells nothing."""
    if len(data) < HEADER_OCTETS:
        return False
    header = parse_header(data)
    return header.major in (1, 2) and header.length == len(data)


def _ends(datagram: Datagram) -> tuple[str, str]:
    source = with_port(datagram.source, datagram.source_port)
    return source, with_port(datagram.destination, datagram.destination_port)


def _seen(
    frame: Frame, datagram: Datagram, kind: str, octets: int, note: str = "", message: dict[str, Any] | None = None
) -> Seen:
    return Seen(frame.number, frame.at, *_ends(datagram), kind, octets, note, message)
