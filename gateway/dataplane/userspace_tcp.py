"""Runs of TCP segments on their way into the TUN device, written as one large packet that the kernel need not split."""

import functools
from struct import Struct
from typing import Any

from gateway.dataplane.tun import GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, PLAIN, VNET, Tun
from gateway.dataplane.userspace_packets import TCP, checksum

_HALF = Struct("!H")
_M32 = 0xFFFFFFFF
_ACK, _PSH = 0x10, 0x08
_IPV4_OCTETS, _IPV6_OCTETS, _LEAST_TCP = 20, 40, 20
# Offsets inside the TCP header.
_DATA_OFFSET, _FLAGS, _CHECKSUM = 12, 13, 16
_PSH_OCTET = _FLAGS - 8  # in the fifth piece, which begins with the acknowledgement number


@functools.lru_cache(maxsize=64)
def _fields(ip_octets: int, octets: int) -> Struct:
    """The headers in six pieces: what is the same in all segments of a run, and as the fourth the sequence number.

    Left out are lengths, IPv4's identification and checksum, TCP's checksum and urgent pointer. The fifth piece is
    acknowledgement, data offset, flags and window, the sixth the options.
    """
    ip = "2s4x4s2x12s" if ip_octets == _IPV4_OCTETS else "4s2x38s0s"
    return Struct(f"!{ip}I8s4x{octets - ip_octets - _LEAST_TCP}s")


class TunWriter:
    """Writes inner packets in their order, TCP segments that follow each other together.

    It keeps views of the packets until `flush`, so the buffer they lie in must rest until then. The kernel makes a
    run's TCP checksum anew, without having seen the segments': ESP's own integrity check covers them.
    """

    def __init__(self, tun: Tun) -> None:
        self._write = tun.write
        self.refused = 0
        """Packets that the kernel did not take."""
        self.origin: object = None
        """Whose packets the run is made of: nothing of another origin may join it."""
        self._pieces: list[memoryview] = []
        self._open = False
        self._ip_octets = self._head_octets = self._full = 0
        self._unpack = _fields(_IPV4_OCTETS, _IPV4_OCTETS + _LEAST_TCP).unpack_from
        self._expected: tuple[bytes, bytes, bytes, int, bytes, bytes] = (b"", b"", b"", 0, b"", b"")
        self._psh = 0

    def extend(self, plain: memoryview, at: int, octets: int) -> bool:
        """Add the packet to the run if it is its next segment; False: use `begin`."""
        head = self._head_octets
        if not self._open or not head < octets <= self._full:
            return False
        found = self._unpack(plain, at)
        expected = self._expected
        if found != expected and not self._last_of_run(found):
            return False
        end = at + octets
        self._pieces.append(plain[at + head : end])
        if octets == self._full:
            one, two, three, sequence, five, six = expected
            self._expected = one, two, three, sequence + octets - head & _M32, five, six
        else:
            self._open = False  # like the kernel's GRO: a short or a pushed segment is the last
        return True

    def _last_of_run(self, found: tuple[Any, ...]) -> bool:
        """Whether the packet with these fields differs from the expected segment in PSH alone."""
        one, two, three, sequence, five, six = self._expected
        pushed = five[:_PSH_OCTET] + bytes((five[_PSH_OCTET] | _PSH,)) + five[_PSH_OCTET + 1 :]
        if found != (one, two, three, sequence, pushed, six):
            return False
        self._psh = _PSH
        self._open = False
        return True

    def begin(self, origin: object, plain: memoryview, at: int, octets: int) -> None:
        """Write what was collected; begin a run with this packet, or write it at once when it is no plain segment."""
        if self._pieces:
            self.flush()
        packet = plain[at : at + octets]
        head = _head_octets(packet)
        self.origin = origin
        if not head:
            self._put([PLAIN, packet], 1)
            return
        self._ip_octets = ip_octets = _IPV4_OCTETS if packet[0] >> 4 == 4 else _IPV6_OCTETS
        self._head_octets, self._full = head, octets
        self._unpack = _fields(ip_octets, head).unpack_from
        one, two, three, sequence, five, six = self._unpack(packet)
        self._expected = one, two, three, sequence + octets - head & _M32, five, six
        self._psh = packet[ip_octets + _FLAGS] & _PSH
        self._open = not self._psh
        self._pieces.append(packet)

    def flush(self) -> None:
        """Write what was collected."""
        pieces = self._pieces
        if not pieces:
            return
        if len(pieces) == 1:
            self._put([PLAIN, pieces[0]], 1)
        else:
            self._put([self._virtio(), self._head(), pieces[0][self._head_octets :], *pieces[1:]], len(pieces))
        self._pieces = []
        self._open = False
        self.origin = None

    def _virtio(self) -> bytes:
        gso = GSO_TCPV4 if self._ip_octets == _IPV4_OCTETS else GSO_TCPV6
        mss = self._full - self._head_octets
        return VNET.pack(NEEDS_CSUM, gso, self._head_octets, mss, self._ip_octets, _CHECKSUM)

    def _head(self) -> bytearray:
        """The first segment's headers, with the lengths and checksums of all."""
        head = bytearray(self._pieces[0][: self._head_octets])
        octets = sum(map(len, self._pieces))
        tcp, ip = octets - self._ip_octets, self._ip_octets
        if ip == _IPV4_OCTETS:
            _HALF.pack_into(head, 2, octets)
            head[10:12] = bytes(2)
            _HALF.pack_into(head, 10, checksum(head[:20]))
            addresses = head[12:20]
        else:
            _HALF.pack_into(head, 4, tcp)
            addresses = head[8:40]
        head[ip + _FLAGS] |= self._psh
        # With NEEDS_CSUM the field holds the sum over the pseudo header, and the kernel adds the rest when it must.
        _HALF.pack_into(head, ip + _CHECKSUM, (int.from_bytes(addresses) + TCP + tcp) % 0xFFFF)
        return head

    def _put(self, buffers: list[bytes | bytearray | memoryview], packets: int) -> None:
        try:
            self._write(buffers)
        except OSError:  # counted: the device may be down, or the packet one that the kernel does not take
            self.refused += packets


def _head_octets(packet: memoryview) -> int:
    """The length of IP and TCP header of a segment that may be part of a run, 0 for every other packet."""
    if packet[0] == 0x45 and packet[9] == TCP and not packet[6] & 0x3F and not packet[7]:
        ip_octets = _IPV4_OCTETS
    elif packet[0] >> 4 == 6 and packet[6] == TCP:
        ip_octets = _IPV6_OCTETS
    else:
        return 0
    if len(packet) < ip_octets + _LEAST_TCP or packet[ip_octets + _FLAGS] & ~_PSH != _ACK:
        return 0
    head = ip_octets + (packet[ip_octets + _DATA_OFFSET] >> 4) * 4
    return head if ip_octets + _LEAST_TCP <= head < len(packet) else 0
