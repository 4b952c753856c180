"""Sealed packets of equal length on their way out, many datagrams in one send."""

import errno
import socket
from collections.abc import Callable, Mapping

from gateway.dataplane.esp import IPV4, IPV6, Exhausted
from gateway.dataplane.userspace_packets import clamp_mss
from gateway.dataplane.userspace_sas import Drops, Lane, OutboundSa
from gateway.dataplane.userspace_udp import MOST_OCTETS, MOST_SEGMENTS, segmented
from gateway.ike.plane_events import Expire, PlaneEvent

LARGEST_PACKET = 1 << 11
_ROOM = MOST_OCTETS - LARGEST_PACKET
_V4, _V6 = 4, 0x60
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT, _IP_PMTUDISC_WANT = 10, 0, 1  # uapi/linux/in.h
# The kernel cannot cut this send into datagrams: they are larger than the path's MTU, or it lacks checksum offload.
_NO_SEGMENTS = frozenset({errno.EINVAL, errno.EMSGSIZE, errno.EIO})


class Batch:
    """Seals packets of one lane behind each other. All have one length, but the last may be shorter (UDP_SEGMENT).

    `sockets` maps an IP version to the socket of that family. `emit` hears when limits are
    reached or sequence numbers run out.
    """

    def __init__(self, sockets: Mapping[int, socket.socket], drops: Drops, clock: Callable[[], float]) -> None:
        self._sockets = sockets
        self._drops = drops
        self._clock = clock
        self._out = memoryview(bytearray(1 << 16))
        self._lane: Lane | None = None
        self._end = self._size = self._count = self._octets = 0
        self._fragmentable = False
        self.stuck = False
        """The socket is full: the batch waits for another `flush`, packets added meanwhile are lost."""
        self.emit: Callable[[PlaneEvent], None] = lambda event: None

    def add(self, lane: Lane, plain: memoryview, octets: int) -> None:
        """Seal the packet `plain[:octets]`; the octets behind it are overwritten."""
        end = self._end
        if (lane is not self._lane or end > _ROOM or self._count == MOST_SEGMENTS) and self._count:
            if not self.flush():
                self._drops.not_sent += 1
                return
            end = 0
        if lane.mss:
            clamp_mss(plain[:octets], lane.mss)
        try:
            stop = lane.sa.esp.seal_into(plain, octets, IPV4 if plain[0] < _V6 else IPV6, self._out, end)
        except Exhausted:
            self._exhausted(lane.sa)
            return
        size = stop - end
        if not self._count:
            self._lane, self._size = lane, size
        elif size > self._size:
            if not self.flush():
                self._drops.not_sent += 1
                return
            self._out[:size] = self._out[end:stop]
            self._lane, self._size, stop = lane, size, size
        self._end = stop
        self._count += 1
        self._octets += octets
        if size < self._size:
            self.flush()

    def flush(self) -> bool:
        """Send what is there; False when the socket takes nothing now."""
        lane = self._lane
        if lane is None:
            return True
        sa, sock = lane.sa, self._sockets.get(lane.sa.version)
        sent = 0
        try:
            if sock is not None:
                sent = self._send(lane, sock)
        except BlockingIOError:
            self.stuck = True
            return False
        self._drops.not_sent += self._count - sent
        if sent:
            sa.packets += sent
            sa.octets += self._octets
            sa.last_used = self._clock()
        if sa.octets >= sa.hard_octets:
            sa.esp.hard = min(sa.esp.hard, sa.esp.sequence)
        if (sa.esp.sequence >= sa.esp.soft or sa.octets >= sa.soft_octets) and not sa.warned:
            sa.warned = True
            self.emit(Expire(sa.state.key, hard=False, reqid=sa.state.reqid))
        self.stuck = False
        self._lane = None
        self._end = self._count = self._octets = 0
        return True

    def _send(self, lane: Lane, sock: socket.socket) -> int:
        """How many datagrams the kernel took. Raises BlockingIOError when it takes none now."""
        if lane.sa.fragmentable is not self._fragmentable and lane.sa.version == _V4:
            self._fragmentable = lane.sa.fragmentable
            sock.setsockopt(
                socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT if self._fragmentable else _IP_PMTUDISC_WANT
            )
        if self._count > 1 and not lane.whole:
            try:
                sock.sendmsg([self._out[: self._end]], segmented(lane.control, self._size), 0, lane.sa.address)
                return self._count
            except BlockingIOError:
                raise
            except OSError as error:
                if error.errno not in _NO_SEGMENTS:
                    return 0
        sent = 0
        for start in range(0, self._end, self._size):
            piece = self._out[start : min(start + self._size, self._end)]
            try:
                sock.sendmsg([piece], lane.control, 0, lane.sa.address)
                sent += 1
            except BlockingIOError:
                if not start:
                    raise
            except OSError:  # counted by the caller as not sent
                continue
        lane.whole = lane.whole or (sent > 0 and self._count > 1)  # one by one went, together did not
        return sent

    def _exhausted(self, sa: OutboundSa) -> None:
        self._drops.exhausted += 1
        if not sa.closed:
            sa.closed = True
            self.emit(Expire(sa.state.key, hard=True, reqid=sa.state.reqid))
