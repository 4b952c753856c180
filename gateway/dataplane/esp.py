"""ESP packets in tunnel mode (RFC 4303): sequence numbers, IVs, padding and integrity, one direction of an SA each."""

import os
from collections.abc import Callable
from struct import Struct

from gateway.crypto.ciphers import Cipher, Forged, sealer
from gateway.dataplane.replay import ReplayWindow
from gateway.ike.plane import EspState

__all__ = ["DUMMY", "IPV4", "IPV6", "Exhausted", "Forged", "InboundEsp", "Malformed", "OutboundEsp", "Replayed"]

IPV4, IPV6, DUMMY = 4, 41, 59  # IANA protocol numbers in Next Header (RFC 4303 2.6)
HARD_LIMIT = (1 << 32) - 1  # RFC 4303 3.3.3: without ESN the number must not cycle
SOFT_LIMIT = HARD_LIMIT - (1 << 28)  # time for a rekey even at a million packets a second: four minutes
_HARD_LIMIT_ESN = (1 << 64) - 1
_SOFT_LIMIT_ESN = _HARD_LIMIT_ESN - (1 << 60)
_HEADER, _HEADER_AND_IV = Struct("!II"), Struct("!IIQ")
_IPV4_START, _IPV6_START = Struct("!BxH"), Struct("!BxxxH")  # up to the length
_HEADER_OCTETS = 8
_IPV4_HEADER, _IPV6_HEADER = 20, 40
_ALIGNMENT = 4  # RFC 4303 2.4: Pad Length and Next Header end on a 4-octet boundary
_PADDING = bytes(range(1, 256))
_PADDINGS = tuple(_PADDING[:octets] for octets in range(256))
_TRAILERS = {
    next_header: tuple(_PADDING[:octets] + bytes((octets, next_header)) for octets in range(16))
    for next_header in range(256)
}
_M64 = (1 << 64) - 1


class Exhausted(Exception):
    """The SA has no sequence number left, or has reached its hard limit; nothing more may be sent with its key."""


class Malformed(Exception):
    """Too short for ESP, or genuine ESP whose inside is not a packet of a tunnel (RFC 4303 2.4-2.6)."""


class Replayed(Exception):
    """The sequence number was seen already or lies left of the window."""


class OutboundEsp:
    """The sending half: numbers packets from 1 and seals them.

    `random(n)` gives n random octets. A counter IV begins at a random place, so that even a key installed twice by
    mistake (after a restart, say) does not repeat an IV (RFC 4106 3.1).
    """

    __slots__ = (
        "_align", "_before", "_cipher", "_esn", "_icv", "_iv_base", "_random", "_seal_into", "_separate_mac",
        "hard", "sequence", "soft", "spi",
    )  # fmt: skip

    def __init__(self, state: EspState, random: Callable[[int], bytes] = os.urandom) -> None:
        """Raises ValueError when the keys do not fit the algorithms."""
        self._cipher = sealer(state.encr, state.encr_key, state.integ, state.integ_key)
        self._seal_into = self._cipher.seal_into
        self._separate_mac = state.integ is not None
        self._align = max(_ALIGNMENT, self._cipher.block_octets)
        self._before = _HEADER_OCTETS + self._cipher.iv_octets
        self._icv = self._cipher.icv_octets
        self._random = random
        self._iv_base = None if state.encr.iv_random else int.from_bytes(random(self._cipher.iv_octets))
        self._esn = state.esn
        self.spi = state.spi
        self.sequence = 0
        soft, hard = (_SOFT_LIMIT_ESN, _HARD_LIMIT_ESN) if state.esn else (SOFT_LIMIT, HARD_LIMIT)
        self.soft = min(state.limits.soft_packets or soft, soft)
        self.hard = min(state.limits.hard_packets or hard, hard)

    def sealed_octets(self, octets: int) -> int:
        """How long the ESP packet around `octets` of packet is."""
        return self._before + octets + -(octets + 2) % self._align + 2 + self._cipher.icv_octets

    def skip(self, numbers: int) -> None:
        """Go on with sequence numbers so much higher; where none are left, nothing is sent any more."""
        self.sequence = min(self.sequence + numbers, _HARD_LIMIT_ESN if self._esn else HARD_LIMIT)

    def seal(self, packet: bytes, next_header: int) -> bytes:
        """The ESP packet around an IP packet. Raises Exhausted."""
        plain, out = bytearray(len(packet) + self._align + 1), bytearray(self.sealed_octets(len(packet)))
        plain[: len(packet)] = packet
        self.seal_into(memoryview(plain), len(packet), next_header, memoryview(out), 0)
        return bytes(out)

    def seal_into(self, plain: memoryview, octets: int, next_header: int, out: memoryview, at: int) -> int:
        """Seal `plain[:octets]` to `out[at:]`; where it ends. The trailer is written behind the packet in `plain`.

        Raises Exhausted.
        """
        sequence = self.sequence + 1
        if sequence > self.hard:
            raise Exhausted
        self.sequence = sequence
        padding = -(octets + 2) % self._align
        end = octets + padding + 2
        plain[octets:end] = _TRAILERS[next_header][padding]
        body = at + self._before
        stop = body + end + self._icv
        iv = out[at + _HEADER_OCTETS : body]
        if self._iv_base is None:
            _HEADER.pack_into(out, at, self.spi, sequence & 0xFFFFFFFF)
            iv[:] = self._random(len(iv))
        else:
            _HEADER_AND_IV.pack_into(out, at, self.spi, sequence & 0xFFFFFFFF, self._iv_base + sequence & _M64)
        if not self._esn:
            self._seal_into(iv, out[at : at + _HEADER_OCTETS], plain[:end], out[body:stop])
        elif self._separate_mac:  # RFC 4303 2.2.1: the high half is MACed last and not sent
            trailer = (sequence >> 32).to_bytes(4, "big")
            out[body:stop] = self._cipher.seal(iv, out[at : at + _HEADER_OCTETS], plain[:end], trailer)
        else:  # RFC 4106 5: SPI and the whole number
            aad = self.spi.to_bytes(4, "big") + sequence.to_bytes(8, "big")
            self._seal_into(iv, aad, plain[:end], out[body:stop])
        return stop


class InboundEsp:
    """The receiving half: opens packets, keeps the replay window."""

    __slots__ = ("_before", "_cipher", "_esn", "_icv", "_least", "_open_into", "_separate_mac", "newest", "window")

    def __init__(self, state: EspState) -> None:
        """Raises ValueError when the keys do not fit the algorithms."""
        self._cipher: Cipher = sealer(state.encr, state.encr_key, state.integ, state.integ_key)
        self._open_into = self._cipher.open_into
        self._separate_mac = state.integ is not None
        self._esn = state.esn
        self._before = _HEADER_OCTETS + self._cipher.iv_octets
        self._icv = self._cipher.icv_octets
        self._least = self._before + max(_ALIGNMENT, self._cipher.block_octets) + self._icv
        self.window = ReplayWindow(state.replay_window)
        self.newest = False
        """Whether the packet opened last had the highest sequence number so far."""

    def open(self, datagram: bytes) -> bytes:
        """The IP packet inside, b"" for a dummy (RFC 4303 2.6). Raises Forged, Malformed, Replayed."""
        plain = bytearray(len(datagram))
        octets = self.open_into(memoryview(datagram), 0, len(datagram), memoryview(plain), 0)
        return bytes(plain[:octets])

    def open_into(self, data: memoryview, start: int, stop: int, plain: memoryview, at: int) -> int:
        """Open `data[start:stop]` to `plain[at:]`; the octets of the IP packet there, 0 for a dummy.

        The octets behind it are used too: `plain` needs `stop - start` of room. Raises Forged, Malformed, Replayed.
        """
        if stop - start < self._least:
            raise Malformed("shorter than any ESP packet of this SA")
        sequence: int = _HEADER.unpack_from(data, start)[1]
        window = self.window
        if self._esn:
            sequence = window.expand(sequence)
            if sequence < 0:
                raise Replayed
        if not window.fresh(sequence):
            raise Replayed
        body = start + self._before
        end = at + stop - body - self._icv
        if not self._esn:
            aad = data[start : start + _HEADER_OCTETS]
            self._open_into(data[start + _HEADER_OCTETS : body], aad, data[body:stop], plain[at:end])
        else:
            self._open_extended(data, start, stop, plain[at:end], sequence)
        self.newest = window.accept(sequence)
        return _inner_octets(plain, at, end)

    def _open_extended(self, data: memoryview, start: int, stop: int, plain: memoryview, sequence: int) -> None:
        body = start + self._before
        iv = data[start + _HEADER_OCTETS : body]
        if self._separate_mac:
            aad = data[start : start + _HEADER_OCTETS]
            plain[:] = self._cipher.open(iv, aad, data[body:stop], (sequence >> 32).to_bytes(4, "big"))
        else:
            aad_extended = bytes(data[start : start + 4]) + sequence.to_bytes(8, "big")
            self._open_into(iv, aad_extended, data[body:stop], plain)


def _inner_octets(plain: memoryview, at: int, end: int) -> int:
    """How long the IP packet in the decrypted `plain[at:end]` is by its own header; what follows it is padding.

    Raises Malformed.
    """
    padding, next_header = plain[end - 2], plain[end - 1]
    room = end - at - 2 - padding
    if room < 0:
        raise Malformed("the padding is longer than the packet")
    if padding and plain[at + room : end - 2] != _PADDINGS[padding]:  # RFC 4303 2.4: SHOULD be inspected
        raise Malformed("the padding is not 1, 2, 3, …")
    if next_header == IPV4:
        first, octets = _IPV4_START.unpack_from(plain, at) if room >= _IPV4_HEADER else (0, 0)
        if first >> 4 != 4 or octets < _IPV4_HEADER:
            raise Malformed("no IPv4 packet inside")
    elif next_header == IPV6:
        first, octets = _IPV6_START.unpack_from(plain, at) if room >= _IPV6_HEADER else (0, 0)
        octets += _IPV6_HEADER
        if first >> 4 != 6:
            raise Malformed("no IPv6 packet inside")
    elif next_header == DUMMY:
        return 0
    else:
        raise Malformed(f"next header {next_header} is none of a tunnel's")
    if octets > room:
        raise Malformed("the inner packet is cut short")
    return int(octets)  # RFC 4303 2.7: the rest, up to the padding, only hides the length
