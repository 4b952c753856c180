"""What the kernel tells by itself: packets without a state, states that expire, peers that move, what others remove."""

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from gateway.dataplane.netlink import NETLINK_ADD_MEMBERSHIP, NETLINK_XFRM, SOL_NETLINK, attributes, messages, nlmsghdr
from gateway.dataplane.xfrm import (
    XFRM_MSG_ACQUIRE,
    XFRM_MSG_DELPOLICY,
    XFRM_MSG_DELSA,
    XFRM_MSG_EXPIRE,
    XFRM_MSG_FLUSHPOLICY,
    XFRM_MSG_FLUSHSA,
    XFRM_MSG_MAPPING,
    XFRMNLGRP_ACQUIRE,
    XFRMNLGRP_EXPIRE,
    XFRMNLGRP_MAPPING,
    XFRMNLGRP_POLICY,
    XFRMNLGRP_SA,
)
from gateway.dataplane.xfrm_messages import Place, address_text
from gateway.dataplane.xfrm_policies import Spot, spot_named, spot_of
from gateway.dataplane.xfrm_selectors import packet_of
from gateway.dataplane.xfrm_structs import (
    XfrmId,
    XfrmUserAcquire,
    XfrmUserExpire,
    XfrmUserMapping,
    XfrmUserpolicyId,
    XfrmUserpolicyInfo,
    XfrmUsersaId,
    XfrmUsersaInfo,
)
from gateway.ike.plane import Policy, StateKey
from gateway.ike.plane_events import Acquire, Disturbed, EventsLost, Expire, PlaneEvent, Remapped

_log = logging.getLogger(__name__)

_DATAGRAM = 1 << 16
_REPEAT_SECONDS = 10.0
_MOST_MOVES = 4096
_DATAGRAMS_A_WAKE_UP = 64
_BUFFER = 1 << 22
_SO_RCVBUFFORCE = 33
_SMALLEST = {
    XFRM_MSG_ACQUIRE: XfrmUserAcquire.LAYOUT.size,
    XFRM_MSG_EXPIRE: XfrmUserExpire.LAYOUT.size,
    XFRM_MSG_MAPPING: XfrmUserMapping.LAYOUT.size,
    XFRM_MSG_DELSA: XfrmUsersaId.LAYOUT.size,
    XFRM_MSG_DELPOLICY: XfrmUserpolicyId.LAYOUT.size,
}
_GROUPS = (XFRMNLGRP_ACQUIRE, XFRMNLGRP_EXPIRE, XFRMNLGRP_SA, XFRMNLGRP_POLICY, XFRMNLGRP_MAPPING)
_REMOVALS = (XFRM_MSG_DELSA, XFRM_MSG_DELPOLICY, XFRM_MSG_FLUSHSA, XFRM_MSG_FLUSHPOLICY)


class Ours(Protocol):
    """What an event must concern to be told."""

    def state_key(self, place: Place) -> StateKey | None:
        """Of a state of ours."""

    def warns_first(self, place: Place) -> bool:
        """Whether its soft limit was not told before."""

    def policy_behind(self, spot: Spot) -> Policy | None:
        """Ours of that name."""


def read_event(kind: int, body: bytes, ours: Ours) -> PlaneEvent | None:
    """The event that a message means; None for what is not ours."""
    if len(body) < _SMALLEST.get(kind, 0):
        return None
    if kind == XFRM_MSG_ACQUIRE:
        acquire = XfrmUserAcquire.unpack_from(body)
        found = dict(attributes(body, XfrmUserAcquire.LAYOUT.size, len(body)))
        policy = ours.policy_behind(spot_of(XfrmUserpolicyInfo.unpack_from(acquire.policy), found))
        return Acquire(policy.reqid, packet_of(acquire.sel)) if policy else None
    if kind == XFRM_MSG_EXPIRE:
        expire = XfrmUserExpire.unpack_from(body)
        info = XfrmUsersaInfo.unpack_from(expire.state)
        ident = XfrmId.unpack_from(info.id)
        place = Place(info.family, ident.daddr, ident.spi)
        key = ours.state_key(place)
        if not key or not (expire.hard or ours.warns_first(place)):
            return None
        return Expire(key, bool(expire.hard), info.reqid)
    if kind == XFRM_MSG_MAPPING:
        mapping = XfrmUserMapping.unpack_from(body)
        moved = XfrmUsersaId.unpack_from(mapping.id)
        key = ours.state_key(Place(moved.family, moved.daddr, moved.spi))
        address = address_text(moved.family, mapping.new_saddr) if key else ""
        return Remapped(key, address, mapping.new_sport, mapping.reqid) if key else None
    return None


def _takes_away(kind: int, body: bytes, ours: Ours) -> bool:
    """Whether a removal that another process asked for may be of something of ours."""
    if kind in (XFRM_MSG_FLUSHSA, XFRM_MSG_FLUSHPOLICY):
        return True
    if len(body) < _SMALLEST[kind]:
        return False
    if kind == XFRM_MSG_DELSA:
        gone = XfrmUsersaId.unpack_from(body)
        return ours.state_key(Place(gone.family, gone.daddr, gone.spi)) is not None
    found = dict(attributes(body, XfrmUserpolicyId.LAYOUT.size, len(body)))
    policy = XfrmUserpolicyId.unpack_from(body)
    return ours.policy_behind(spot_named(policy.dir, policy.sel, found)) is not None


class Events:
    """The second socket: it joins the groups when somebody listens."""

    def __init__(self, ours: Ours, port: int = 0) -> None:
        """`port` is the netlink port by which we remove something ourselves."""
        self._ours = ours
        self._port = port
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_XFRM)
        self._socket.setblocking(False)
        self._socket.bind((0, 0))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._emit: Callable[[PlaneEvent], None] | None = None
        self._moves: dict[Remapped, float] = {}

    def listen(self, emit: Callable[[PlaneEvent], None]) -> None:
        """Deliver from now on, on the running loop; called again, to another receiver. Raises OSError."""
        if self._emit is None:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            except PermissionError:
                _log.info("the buffer for kernel events keeps its default size: no CAP_NET_ADMIN")
            for group in _GROUPS:
                self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._socket, self._readable)
        self._emit = emit

    def close(self) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
        self._loop = None
        self._emit = None
        self._socket.close()

    def _readable(self) -> None:
        for event in self._read():
            if self._emit is None:  # closed by the receiver
                return
            self._emit(event)

    def _read(self) -> Iterator[PlaneEvent]:
        for _ in range(_DATAGRAMS_A_WAKE_UP):
            try:
                data, sender = self._socket.recvfrom(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as failure:
                if failure.errno != errno.ENOBUFS:
                    raise
                yield EventsLost()
                continue
            if sender[0] != 0:  # only the kernel's word counts
                continue
            for kind, _, _, start, end in messages(data):
                if kind in _REMOVALS:
                    if _asked_by(data, start) != self._port and _takes_away(kind, data[start:end], self._ours):
                        yield Disturbed()
                    continue
                event = read_event(kind, data[start:end], self._ours)
                if event and not (isinstance(event, Remapped) and self._repeated(event)):
                    yield event

    def _repeated(self, event: Remapped) -> bool:
        """Whether this was told a moment ago: kernels before 5.16 tell it for every packet (no XFRMA_MTIMER_THRESH)."""
        now = time.monotonic()
        if now - self._moves.get(event, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return True
        if len(self._moves) >= _MOST_MOVES:
            self._moves.clear()
        self._moves[event] = now
        return False


def _asked_by(data: bytes, start: int) -> int:
    """The netlink port of who asked for what the message, whose body begins there, tells of (nlmsg_pid)."""
    pid: int = nlmsghdr.unpack_from(data, start - nlmsghdr.size)[4]
    return pid
