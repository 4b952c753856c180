"""Opens what a capture holds under encryption: IKE messages, whole or in fragments, and ESP packets."""

from collections import OrderedDict
from dataclasses import dataclass, field
from struct import Struct

from gateway.cli.keyfiles import EspKey, EspKeys, IkeKeys
from gateway.cli.packets import Fragmented, IpPacket, Malformed, ip_packet
from gateway.crypto.ciphers import Cipher, Forged
from gateway.wire.message import Message, parse_payloads
from gateway.wire.outcome import Drop
from gateway.wire.payloads import SK, SKF, Payload

_MOST_UNFINISHED = 256
_MOST_FRAGMENTS = 1024
_ESP_HEADER = Struct(">II")
_IPV4, _IPV6, _DUMMY = 4, 41, 59


@dataclass(frozen=True, slots=True)
class Opened:
    """The payloads inside, or in `note` why there are none."""

    payloads: list[Payload] | None
    note: str = ""


@dataclass(slots=True)
class IkeOpener:
    """Opens Encrypted payloads with the keys of `keys`, and puts fragments (RFC 7383) together."""

    keys: IkeKeys
    _unfinished: OrderedDict[tuple[object, ...], dict[int, bytes]] = field(default_factory=OrderedDict)
    _first: dict[tuple[object, ...], int] = field(default_factory=dict)

    def open(self, message: Message, datagram: bytes) -> Opened | None:
        """What is inside the message's Encrypted payload; None when it has none."""
        sealed = message.payloads[-1] if message.payloads else None
        if not isinstance(sealed, (SK, SKF)):
            return None
        keys = self.keys.get((message.spi_i, message.spi_r))
        if keys is None:
            return Opened(None, "encrypted; there is no key for this IKE SA" if self.keys else "encrypted")
        for key in reversed(keys):
            try:
                plain = _open_ike(key.from_initiator if message.initiator else key.from_responder, datagram, sealed)
                if isinstance(sealed, SKF):
                    return self._fragment(message, sealed, plain)
                return Opened(parse_payloads(sealed.first, plain))
            except Forged:
                continue
            except Drop as drop:
                return Opened(None, f"malformed inside: {drop.why}")
        return Opened(None, "does not open with the key of this IKE SA")

    def _fragment(self, message: Message, fragment: SKF, plain: bytes) -> Opened:
        exchange = (message.spi_i, message.spi_r, message.initiator, message.response, message.message_id)
        name = (*exchange, fragment.total)
        parts = self._unfinished.setdefault(name, {})
        parts[fragment.fragment_number] = plain
        if fragment.fragment_number == 1:
            self._first[name] = fragment.first
        if len(parts) < fragment.total:
            self._forget_old()
            return Opened(None, f"fragment {fragment.fragment_number} of {fragment.total}")
        del self._unfinished[name]
        whole = b"".join(parts[number] for number in sorted(parts))
        return Opened(parse_payloads(self._first.pop(name), whole))

    def _forget_old(self) -> None:
        while len(self._unfinished) > _MOST_UNFINISHED or sum(map(len, self._unfinished.values())) > _MOST_FRAGMENTS:
            name, _ = self._unfinished.popitem(last=False)
            self._first.pop(name, None)


def _open_ike(cipher: Cipher, datagram: bytes, sealed: SK | SKF) -> bytes:
    """The octets inside without their padding (RFC 7296 3.14). Raises Forged, Drop."""
    iv, body = sealed.body[: cipher.iv_octets], sealed.body[cipher.iv_octets :]
    plain = cipher.open(iv, datagram[: sealed.offset], body)
    if not plain or plain[-1] >= len(plain):
        raise Drop("the padding is longer than what it pads")
    return plain[: len(plain) - 1 - plain[-1]]


@dataclass(frozen=True, slots=True)
class EspPacket:
    """An ESP packet as far as it can be read; `note` says why `inner` is missing."""

    spi: int
    sequence: int
    octets: int
    inner: IpPacket | None = None
    note: str = ""


@dataclass(slots=True)
class EspOpener:
    """Opens ESP with the keys of `keys`; follows extended sequence numbers over their wraps."""

    keys: EspKeys
    _newest: dict[int, int] = field(default_factory=dict)

    def open(self, source: str, destination: str, data: bytes) -> EspPacket:
        """Raises Malformed for what cannot be ESP at all."""
        if len(data) < _ESP_HEADER.size:
            raise Malformed(f"{len(data)} octets are no ESP packet")
        spi, sequence = _ESP_HEADER.unpack_from(data)
        found = EspPacket(spi, sequence, len(data))
        keys = [key for key in self.keys.get(spi, ()) if key.carries(source, destination)]
        if not keys:
            return found
        for key in keys:
            for high in self._candidates(spi, sequence) if key.esn else (0,):
                try:
                    plain = _open_esp(key, data, high)
                except Forged:
                    continue
                full = high << 32 | sequence
                self._newest[spi] = max(full, self._newest.get(spi, 0))
                return _with_inner(EspPacket(spi, full, len(data)), plain)
        return EspPacket(spi, sequence, len(data), note="does not open with the key of this SPI")

    def _candidates(self, spi: int, sequence: int) -> tuple[int, ...]:
        """The high halves that this low half can have after what was seen."""
        newest = self._newest.get(spi, 0)
        high = newest >> 32
        return (high, high + 1) if sequence < newest & 0xFFFFFFFF else (high, max(0, high - 1))


def _open_esp(key: EspKey, data: bytes, high: int) -> bytes:
    cipher = key.cipher
    iv, sealed = data[8 : 8 + cipher.iv_octets], data[8 + cipher.iv_octets :]
    if not key.esn:
        return cipher.open(iv, data[:8], sealed)
    if key.separate_mac:  # RFC 4303 2.2.1
        return cipher.open(iv, data[:8], sealed, high.to_bytes(4, "big"))
    return cipher.open(iv, data[:4] + high.to_bytes(4, "big") + data[4:8], sealed)  # RFC 4106 5


def _with_inner(packet: EspPacket, plain: bytes) -> EspPacket:
    inner, note = None, ""
    if len(plain) < 2 or plain[-2] + 2 > len(plain):
        note = "opened, but its padding is longer than the packet"
    elif plain[-1] == _DUMMY:
        note = "a dummy packet"
    elif plain[-1] not in (_IPV4, _IPV6):
        note = f"opened: next header {plain[-1]}, {len(plain) - 2 - plain[-2]} octets"
    else:
        try:
            inner = ip_packet(plain[: len(plain) - 2 - plain[-2]])
        except Malformed as error:
            note = f"opened: {error}"
        except Fragmented:
            note = "opened: a fragment of an IP packet"
    return EspPacket(packet.spi, packet.sequence, packet.octets, inner, note)
