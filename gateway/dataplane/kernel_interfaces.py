"""XFRM interfaces: devices into which routes lead, and whose packets meet the policies of one interface id."""

import errno
import logging
import socket
from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from gateway.dataplane.kernel_batch import refusal
from gateway.dataplane.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
    NetlinkError,
    Request,
    attribute,
    attributes,
)
from gateway.ike.plane import Interface, Refused

_log = logging.getLogger(__name__)

# uapi/linux/rtnetlink.h, if_link.h, if.h
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_AF_SPEC = 3, 18, 20, 26
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_XFRM_IF_ID = 2
_IFLA_INET6_ADDR_GEN_MODE, _IN6_ADDR_GEN_MODE_NONE = 8, 1
_IFF_UP = 1
_KIND = b"xfrm"
_LONGEST_NAME = 15
_ALIAS = "ikegate "

ifinfomsg = Struct("=BxHiII")  # family, type, index, flags, change
_u32 = Struct("=I")


class Link(NamedTuple):
    """A device as the kernel shows it; `interface_id` None when it is no XFRM interface."""

    device: int
    name: str
    interface_id: int | None
    alias: str
    up: bool


class Interfaces:
    """The XFRM interfaces that are wanted, each as often as it was ordered.

    Those that we make bear our mark in their alias, and go with us. One with the right id that somebody made is used
    as it is, and stays.
    """

    def __init__(self, instance: int, orphaned: Callable[[int], bool]) -> None:
        """`instance` is this process's number; `orphaned` says whether the process with a number is gone."""
        self._netlink = Netlink(NETLINK_ROUTE)
        self._instance, self._orphaned = instance, orphaned
        self._wanted: dict[Interface, int] = {}
        self._made: set[Interface] = set()

    def add(self, interface: Interface) -> None:
        """Make it, or want it once more. Raises Refused."""
        if interface not in self._wanted:
            try:
                self._make(interface)
            except OSError as failure:
                raise refusal(f"making the XFRM interface {interface.name}", failure) from failure
        self._wanted[interface] = self._wanted.get(interface, 0) + 1

    def remove(self, interface: Interface) -> None:
        """Want it once less; what nobody wants is passed over."""
        if interface not in self._wanted:
            return
        self._wanted[interface] -= 1
        if not self._wanted[interface]:
            del self._wanted[interface]
            if interface in self._made:
                self._made.remove(interface)
                self._unmake(interface)

    def put_back(self) -> int:
        """Make those again that somebody removed, and bring those up that somebody took down; how many."""
        amiss = 0
        try:
            up = {(link.name, link.interface_id) for link in self._all() if link.up}
            for interface in self._wanted.keys() - up:
                self._make(interface)
                amiss += 1
        except OSError as failure:
            _log.warning("not every XFRM interface that is gone is back: %s", failure)
        except Refused as refused:
            _log.warning("not every XFRM interface that is gone is back: %s", refused.why)
        return amiss

    def index(self, name: str) -> int:
        """The device's number. Raises Refused when there is none."""
        link = self._find(name)
        if link is None or link.interface_id is None:
            raise Refused(f"there is no XFRM interface {name}")
        return link.device

    def sweep(self) -> int:
        """Remove those that killed processes of ours left; how many. Raises OSError."""
        left = [link for link in self._all() if self._is_left(link)]
        for link in left:
            self._delete(link)
        return len(left)

    def _is_left(self, link: Link) -> bool:
        """Whether a killed process of ours made it, and nobody has taken it over."""
        instance = self._ours(link)
        return instance is not None and self._orphaned(instance)

    def _free(self, interface: Interface) -> Link | None:
        """The device of that name, if any; what a killed process left, and has half of what is wanted, goes."""
        found = None
        for link in self._all():
            same = link.name == interface.name, link.interface_id == interface.interface_id
            if any(same) and not all(same) and self._is_left(link):
                self._delete(link)
            elif same[0]:
                found = link
        return found

    def close(self) -> None:
        for interface in list(self._wanted):
            self._wanted[interface] = 1
            self.remove(interface)
        self._netlink.close()

    def _make(self, interface: Interface) -> None:
        """Raises OSError, Refused."""
        name, interface_id = interface
        if not 0 < len(name.encode()) <= _LONGEST_NAME or "/" in name or any(octet <= " " for octet in name):
            raise Refused(f"{name!r} cannot name an interface: 1 to {_LONGEST_NAME} octets, no space and no slash")
        there = self._free(interface)
        if there:
            if there.interface_id != interface_id:
                what = "no XFRM interface" if there.interface_id is None else f"one of id {there.interface_id}"
                raise Refused(f"an interface {name} exists already, and is {what}: give this one another name")
            if self._is_left(there):
                self._mark(there.device)
                self._made.add(interface)
            self._bring_up(there.device)
            return
        data = attribute(_IFLA_XFRM_IF_ID, _u32.pack(interface_id))
        info = attribute(_IFLA_INFO_KIND, _KIND) + attribute(_IFLA_INFO_DATA, data)
        body = ifinfomsg.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")
        body += attribute(_IFLA_LINKINFO, info)
        try:
            self._ask((_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body))
        except NetlinkError as failure:
            if failure.errno == errno.EOPNOTSUPP:
                raise Refused(
                    f"the interface {name}: this kernel has no XFRM interfaces (CONFIG_XFRM_INTERFACE, Linux 4.19)"
                ) from failure
            raise
        self._made.add(interface)
        made = self._find(name)
        try:
            if made is None:
                raise NetlinkError(errno.ENODEV)
            self._mark(made.device)
            self._bring_up(made.device)
        except OSError:
            self._made.discard(interface)
            if made:
                self._delete(made)
            raise

    def _unmake(self, interface: Interface) -> None:
        try:
            link = self._find(interface.name)
            if link and link.interface_id == interface.interface_id and self._ours(link) == self._instance:
                self._delete(link)
        except OSError as failure:
            _log.warning("the XFRM interface %s stays behind: %s", interface.name, failure)

    def _mark(self, index: int) -> None:
        alias = f"{_ALIAS}{self._instance:08x}".encode()
        self._ask((_RTM_SETLINK, 0, ifinfomsg.pack(0, 0, index, 0, 0) + attribute(_IFLA_IFALIAS, alias)))

    def _bring_up(self, index: int) -> None:
        # Otherwise the kernel gives it a link-local address and asks for routers through the tunnel.
        mode = attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_IN6_ADDR_GEN_MODE_NONE]))
        quiet = attribute(_IFLA_AF_SPEC, attribute(socket.AF_INET6, mode))
        outcome, *_ = self._netlink.send([(_RTM_SETLINK, 0, ifinfomsg.pack(0, 0, index, 0, 0) + quiet)])
        if outcome and outcome.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):  # a kernel without IPv6
            raise outcome
        self._ask((_RTM_SETLINK, 0, ifinfomsg.pack(0, 0, index, _IFF_UP, _IFF_UP)))

    def _delete(self, link: Link) -> None:
        (outcome,) = self._netlink.send([(_RTM_DELLINK, 0, ifinfomsg.pack(0, 0, link.device, 0, 0))])
        if outcome and outcome.errno != errno.ENODEV:
            _log.warning("the XFRM interface %s stays behind: %s", link.name, outcome)

    def _ours(self, link: Link) -> int | None:
        """Which process of ours made it, None for another's."""
        number = link.alias.removeprefix(_ALIAS)
        if link.interface_id is None or number == link.alias:
            return None
        try:
            return int(number, 16)
        except ValueError:
            return None

    def _find(self, name: str) -> Link | None:
        return next((link for link in self._all() if link.name == name), None)

    def _all(self) -> list[Link]:
        return [_link(body) for body in self._netlink.dump((_RTM_GETLINK, 0, ifinfomsg.pack(0, 0, 0, 0, 0)))]

    def _ask(self, request: Request) -> None:
        (outcome,) = self._netlink.send([request])
        if outcome:
            raise outcome


def _link(body: bytes) -> Link:
    found = dict(attributes(body, ifinfomsg.size, len(body)))
    info = found.get(_IFLA_LINKINFO, b"")
    about = dict(attributes(info, 0, len(info)))
    interface_id = None
    if about.get(_IFLA_INFO_KIND, b"").rstrip(b"\0") == _KIND:
        data = about.get(_IFLA_INFO_DATA, b"")
        told = dict(attributes(data, 0, len(data))).get(_IFLA_XFRM_IF_ID)
        interface_id = _u32.unpack(told)[0] if told else 0
    name, alias = (found.get(kind, b"").rstrip(b"\0") for kind in (_IFLA_IFNAME, _IFLA_IFALIAS))
    _, _, device, flags, _ = ifinfomsg.unpack_from(body)
    return Link(device, name.decode(), interface_id, alias.decode(errors="replace"), bool(flags & _IFF_UP))
