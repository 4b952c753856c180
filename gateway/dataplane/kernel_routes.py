"""Routes by which tunnelled traffic starts with the right source address, in a table of their own."""

import errno
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from gateway.dataplane.kernel_batch import refusal
from gateway.dataplane.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Netlink,
    NetlinkError,
    Request,
    attribute,
    attributes,
)
from gateway.dataplane.xfrm_selectors import MOST_SELECTORS, prefixes
from gateway.ike.plane import Refused, Route
from gateway.policy.selectors import Selector

_log = logging.getLogger(__name__)

# uapi/linux/rtnetlink.h, if_addr.h, fib_rules.h
_RTM_GETADDR = 22
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTM_NEWRULE, _RTM_DELRULE = 32, 33
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 7, 15
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_UNUSABLE = 0x08 | 0x20 | 0x40  # DADFAILED, DEPRECATED, TENTATIVE
_FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL = 6, 15, 21
_RTN_UNICAST, _RTN_THROW = 1, 9
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK = 0, 253
_RTNH_F_ONLINK = 4
_FR_ACT_TO_TBL = 1
_OUR_PROTOCOL = 129  # rtm_protocol: who made a route; free for any program's own use (/etc/iproute2/rt_protos)

rtmsg = Struct("=8BI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags; fib_rule_hdr is alike
ifaddrmsg = Struct("=4BI")  # family, prefixlen, flags, scope, index
_u32 = Struct("=I")
# Multicast and link-local traffic is never meant for a peer though a destination of all addresses holds it.
_KEPT_LOCAL = tuple(map(Selector.parse, ("224.0.0.0/4", "169.254.0.0/16", "ff00::/8", "fe80::/10")))
_FAMILIES = {4: (socket.AF_INET, 32), 6: (socket.AF_INET6, 128)}
_ABSENT = (errno.ESRCH, errno.ENOENT, errno.ENODEV)
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ESRCH, errno.EACCES, errno.EINVAL, errno.EAGAIN)


class Lay(NamedTuple):
    """One kernel route of ours; without a device it throws the lookup on to the next table."""

    version: int
    prefix: int
    length: int
    device: int = 0
    gateway: bytes = b""
    source: bytes = b""


class _Way(NamedTuple):
    """What the kernel says about the way to an address."""

    device: int
    gateway: bytes
    source: bytes


class Routes:
    """The routes wanted, each as often as it was ordered.

    With every route the peer's outer address, and the sources inside the destination, are *thrown* back to the main
    table: a destination such as 0.0.0.0/0 catches neither IKE nor ESP, nor traffic that is on its way to our own side.
    """

    def __init__(
        self, table: int, rule_priority: int, alone: Callable[[], bool], device_of: Callable[[str], int]
    ) -> None:
        """`alone` says whether no other process of ours shares the table; `device_of` is an XFRM interface's index."""
        self._table, self._priority, self._alone, self._device_of = table, rule_priority, alone, device_of
        self._netlink = Netlink(NETLINK_ROUTE)
        self._wanted: dict[Route, int] = {}
        self._laid: dict[Route, list[Lay]] = {}
        self._claims: dict[tuple[int, int, int], list[Lay]] = {}
        self._rules: dict[int, int] = {}
        self._left: set[Lay] = set()

    def add(self, route: Route) -> None:
        """Raises Refused."""
        if route in self._wanted:
            self._wanted[route] += 1
            return
        laid: list[Lay] = []
        self._laid[route] = laid
        self._wanted[route] = 1
        try:
            for plan in (self._throws, self._ways):  # where the peer is must be asked past routes to other peers
                for lay in plan(route):
                    self._lay(lay)
                    laid.append(lay)
        except OSError as failure:
            self.remove(route)
            raise refusal(f"adding the route to {route.destination}", failure) from failure
        except Refused:
            self.remove(route)
            raise

    def remove(self, route: Route) -> bool:
        """Whether it was there."""
        if route not in self._wanted:
            return False
        self._wanted[route] -= 1
        if not self._wanted[route]:
            del self._wanted[route]
            for lay in reversed(self._laid.pop(route)):
                self._lift(lay)
        return True

    def put_back(self) -> int:
        """Lay what is gone, and what the network as it is now wants otherwise; how many routes were not right.

        A route whose peer cannot be reached now stays as it is.
        """
        try:
            there = self._read()
        except OSError as failure:
            _log.warning("the kernel's routes cannot be read: %s", failure)
            return 0
        for version, count in self._rules.items():
            if count:
                try:
                    self._send((_RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, self._rule(version)), errno.EEXIST)
                except OSError as failure:
                    _log.warning("the rule for our routes cannot be laid again: %s", failure)
        amiss = 0
        for route, laid in self._laid.items():
            try:
                wanted = [lay for plan in (self._throws, self._ways) for lay in plan(route)]
                if wanted == laid and all(self._claims[lay[:3]][-1] != lay or lay in there for lay in laid):
                    continue
                amiss += 1
                self._exchange(route, laid, wanted)
            except (OSError, Refused) as failure:
                _log.info("the route to %s stays as it is: %s", route.destination, failure)
        return amiss

    def _exchange(self, route: Route, laid: list[Lay], wanted: list[Lay]) -> None:
        """Raises OSError; then what lay there before stays."""
        done: list[Lay] = []
        try:
            for lay in wanted:
                self._lay(lay)
                done.append(lay)
        except OSError:
            for lay in reversed(done):
                self._lift(lay)
            raise
        for lay in reversed(laid):
            self._lift(lay)
        self._laid[route] = wanted

    def _read(self) -> set[Lay]:
        """Our routes in the kernel. Raises OSError."""
        return {lay for lay, _ in self._lying()}

    def _lying(self) -> Iterator[tuple[Lay, Request]]:
        """Our routes in the kernel, each with what removes it. Raises OSError."""
        for body in self._netlink.dump((_RTM_GETROUTE, 0, rtmsg.pack(*[0] * 9))):
            family, length, _, _, _, protocol, scope, kind, _ = rtmsg.unpack_from(body)
            told = dict(attributes(body, rtmsg.size, len(body)))
            if protocol != _OUR_PROTOCOL or told.get(_RTA_TABLE) != _u32.pack(self._table):
                continue
            version, prefix = (4 if family == socket.AF_INET else 6), int.from_bytes(told.get(_RTA_DST, b""))
            thrown = kind == _RTN_THROW  # IPv6 tells of a device all the same
            device = 0 if thrown or _RTA_OIF not in told else _u32.unpack(told[_RTA_OIF])[0]
            lay = Lay(version, prefix, length, device, told.get(_RTA_GATEWAY, b""), told.get(_RTA_PREFSRC, b""))
            name = b"".join(attribute(kind, told[kind]) for kind in (_RTA_DST, _RTA_TABLE) if kind in told)
            yield lay, (_RTM_DELROUTE, 0, rtmsg.pack(family, length, 0, 0, 0, protocol, scope, kind, 0) + name)

    def close(self) -> None:
        for route in list(self._wanted):
            self._wanted[route] = 1
            self.remove(route)
        self._netlink.close()

    def find_left(self) -> None:
        """Take note of what a killed process left, which still leads where it did until `sweep`. Raises OSError."""
        self._left = self._read()

    def sweep(self) -> int:
        """Remove routes and rules of ours that a killed process left; how many routes. Raises OSError."""
        kept = {claims[-1] for claims in self._claims.values()}
        requests = [removal for lay, removal in self._lying() if lay not in kept]
        routes = len(requests)
        requests += [(_RTM_DELRULE, 0, self._rule(version)) for version in _FAMILIES if not self._rules.get(version)]
        self._report(self._netlink.send(requests))
        if self._left:
            self._left = set()
            self.put_back()  # what was not laid, or laid, because of them
        return routes

    def _throws(self, route: Route) -> list[Lay]:
        """What must not follow the destination: the way to the peer, our own side, and what stays on a link."""
        lays = []
        if route.remote:
            family, packed = _pack_text(route.remote)
            version = 4 if family == socket.AF_INET else 6
            lays.append(Lay(version, int.from_bytes(packed), _FAMILIES[version][1]))
        destination = route.destination
        for spared in (*route.sources, *_KEPT_LOCAL):
            inside = destination.start <= spared.start and spared.end <= destination.end
            whole = (spared.start, spared.end) == (destination.start, destination.end)
            if spared.version == destination.version and inside and not whole:
                lays += [Lay(spared.version, *prefix) for prefix in _prefixes(spared)]
        return lays

    def _ways(self, route: Route) -> list[Lay]:
        """The routes for the destination; none when the main table serves already."""
        destination = route.destination
        source = self._source(route)
        family, remote = _pack_text(route.remote) if route.remote else (0, b"")
        same = _FAMILIES[destination.version][0] == family
        peer = (int.from_bytes(remote), _FAMILIES[destination.version][1]) if same else None  # stays thrown
        blocks = [prefix for prefix in _prefixes(destination) if prefix != peer]
        if route.interface:
            device = self._device_of(route.interface)
            return [Lay(destination.version, *prefix, device, b"", source) for prefix in blocks]
        first = min(destination.start + 1, destination.end)  # the network's own address is no host's
        present = self._way(_pack(destination.version, first))
        served = present and (not source or _inside(destination.version, present.source, route.sources))
        if served and not self._covers(destination.version, first):
            return []
        way = self._way((family, remote))
        if way is None:
            raise Refused(f"adding the route to {destination}: there is no way to {route.remote}")
        gateway = way.gateway if same else b""
        return [Lay(destination.version, *prefix, way.device, gateway, source) for prefix in blocks]

    def _source(self, route: Route) -> bytes:
        """The first address of ours inside the route's sources, b"" when there is none."""
        family, _ = _FAMILIES[route.destination.version]
        for body in self._netlink.dump((_RTM_GETADDR, 0, ifaddrmsg.pack(family, 0, 0, 0, 0))):
            found = dict(attributes(body, ifaddrmsg.size, len(body)))
            flags = _u32.unpack(found[_IFA_FLAGS])[0] if _IFA_FLAGS in found else 0
            address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
            usable = body[0] == family and address and not flags & _IFA_F_UNUSABLE
            if usable and _inside(route.destination.version, address, route.sources):
                return address
        return b""

    def _way(self, target: tuple[int, bytes]) -> _Way | None:
        """How packets to an address leave now (`ip route get`); None when they cannot. Raises OSError."""
        family, packed = target
        head = rtmsg.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
        try:
            body = self._netlink.ask((_RTM_GETROUTE, 0, head + attribute(_RTA_DST, packed)))
        except NetlinkError as failure:
            if failure.errno in _UNREACHABLE:
                return None
            raise
        found = dict(attributes(body, rtmsg.size, len(body)))
        if rtmsg.unpack_from(body)[7] != _RTN_UNICAST or _RTA_OIF not in found:
            return None
        return _Way(_u32.unpack(found[_RTA_OIF])[0], found.get(_RTA_GATEWAY, b""), found.get(_RTA_PREFSRC, b""))

    def _covers(self, version: int, value: int) -> bool:
        """Whether a route of ours leads to the address."""
        bits = _FAMILIES[version][1]
        found = (self._claims.get((version, value >> host << host, bits - host)) for host in range(bits + 1))
        return any(claims[-1].device for claims in found if claims) or any(
            lay.device and lay.version == version and not (value ^ lay.prefix) >> bits - lay.length
            for lay in self._left
        )

    def _lay(self, lay: Lay) -> None:
        """The last one laid for a prefix is the one that lies there. Raises OSError."""
        if not self._rules.get(lay.version):
            self._send((_RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, self._rule(lay.version)), errno.EEXIST)
        self._rules[lay.version] = self._rules.get(lay.version, 0) + 1
        try:
            self._send((_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, self._route(lay)))
        except OSError:
            self._unrule(lay.version)
            raise
        self._claims.setdefault(lay[:3], []).append(lay)

    def _lift(self, lay: Lay) -> None:
        claims = self._claims[lay[:3]]
        top = claims[-1]
        claims.remove(lay)
        if not claims:
            del self._claims[lay[:3]]
            self._report(self._netlink.send([(_RTM_DELROUTE, 0, self._route(lay))]))
        elif top != claims[-1]:
            again = (_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, self._route(claims[-1]))
            self._report(self._netlink.send([again]))
        self._unrule(lay.version)

    def _unrule(self, version: int) -> None:
        self._rules[version] -= 1
        if not self._rules[version] and self._alone():
            self._report(self._netlink.send([(_RTM_DELRULE, 0, self._rule(version))]))

    def _send(self, request: Request, *tolerated: int) -> None:
        (outcome,) = self._netlink.send([request])
        if outcome and outcome.errno not in tolerated:
            raise outcome

    def _report(self, outcomes: Sequence[NetlinkError | None]) -> None:
        for outcome in outcomes:
            if outcome and outcome.errno not in _ABSENT:
                _log.warning("a route or rule of ours could not be removed: %s", outcome)

    def _rule(self, version: int) -> bytes:
        head = rtmsg.pack(_FAMILIES[version][0], 0, 0, 0, 0, 0, 0, _FR_ACT_TO_TBL, 0)
        body = attribute(_FRA_PRIORITY, _u32.pack(self._priority)) + attribute(_FRA_TABLE, _u32.pack(self._table))
        return head + body + attribute(_FRA_PROTOCOL, bytes([_OUR_PROTOCOL]))

    def _route(self, lay: Lay) -> bytes:
        family, bits = _FAMILIES[lay.version]
        scope = _RT_SCOPE_LINK if lay.device and not lay.gateway and lay.version == 4 else _RT_SCOPE_UNIVERSE
        kind = _RTN_UNICAST if lay.device else _RTN_THROW
        # ONLINK: do not look the gateway up, a route of ours may cover it.
        flags = _RTNH_F_ONLINK if lay.gateway else 0
        body = rtmsg.pack(family, lay.length, 0, 0, 0, _OUR_PROTOCOL, scope, kind, flags)
        body += attribute(_RTA_TABLE, _u32.pack(self._table)) + attribute(_RTA_DST, lay.prefix.to_bytes(bits // 8))
        if lay.device:
            body += attribute(_RTA_OIF, _u32.pack(lay.device))
        if lay.gateway:
            body += attribute(_RTA_GATEWAY, lay.gateway)
        return body + (attribute(_RTA_PREFSRC, lay.source) if lay.source else b"")


def _prefixes(selector: Selector) -> list[tuple[int, int]]:
    found = list(prefixes(selector.start, selector.end, _FAMILIES[selector.version][1]))
    if len(found) > MOST_SELECTORS:
        raise Refused(f"the route to {selector} would need {len(found)} prefixes; at most {MOST_SELECTORS} are allowed")
    return found


def _pack(version: int, value: int) -> tuple[int, bytes]:
    family, bits = _FAMILIES[version]
    return family, value.to_bytes(bits // 8)


def _pack_text(address: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


def _inside(version: int, address: bytes, selectors: Sequence[Selector]) -> bool:
    value = int.from_bytes(address)
    return bool(address) and any(
        selector.version == version and selector.start <= value <= selector.end for selector in selectors
    )
