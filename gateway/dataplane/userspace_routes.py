"""Routes into the TUN device, in tables of their own that only the packets of their children look into."""

import errno
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from struct import Struct

from gateway.dataplane.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Netlink,
    Request,
    attribute,
    attributes,
)
from gateway.dataplane.userspace_lookups import EVERYTHING, Lookups, Network, Sources, is_ours
from gateway.ike.plane import Refused, Route

_log = logging.getLogger(__name__)

# uapi/linux/rtnetlink.h
_RTM_GETADDR = 22
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTN_UNICAST, _RTN_THROW = 1, 9
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK = 0, 253
_OUR_PROTOCOL = 129  # rtm_protocol: who made a route; free for any program's own use (/etc/iproute2/rt_protos)
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 6, 7, 15
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_rtmsg = Struct("=8BI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_ifaddrmsg = Struct("=4BI")
_u32 = Struct("=I")

_THROW_METRIC, _TUN_METRIC = 1, 2
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_ABSENT = (errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL)
# What is never meant for a peer though a selector of all addresses holds it: link-local and multicast traffic.
_KEPT_LOCAL = {
    version: [ipaddress.ip_network(text) for text in texts]
    for version, texts in {4: ("224.0.0.0/4", "169.254.0.0/16"), 6: ("fe80::/10", "ff00::/8")}.items()
}

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Line = tuple[int, Network, bool]
"""Table, destination, and whether it throws the lookup on to the next table."""


class TunRoutes:
    """The routes that are wanted, each as often as it was ordered.

    They lie in one table for each set of sources, which only packets from there look into: a destination such as
    0.0.0.0/0 catches neither what this machine sends from other addresses of its own nor what it forwards for other
    networks. What a socket sends that is not bound to an address looks into one more table; its routes give it an
    address inside their sources.

    A peer's outer address, and sources inside a destination, are *throw* routes: the lookup goes on with the next
    table. This holds for the kernel's check of where packets from the peer may come from (rp_filter), too.
    """

    def __init__(self, device: int, number: int = 0) -> None:
        """`device` is the TUN's interface index; several planes in one namespace take different numbers.

        Raises Refused without netlink.
        """
        self._device = device
        self._wanted: Counter[Route] = Counter()
        self._laid: dict[Route, tuple[list[int], list[tuple[_Line, str]]]] = {}
        self._lies: dict[_Line, list[str]] = {}
        try:
            self._netlink = Netlink(NETLINK_ROUTE)
            self._lookups = Lookups(number, self._netlink)
        except OSError as error:
            raise Refused(f"no netlink for routes: {error.strerror}") from error

    def sweep(self) -> None:
        """Remove what a killed process of ours left; only where no other one lives. Raises OSError."""
        left: list[Request] = []
        for body in self._netlink.dump((_RTM_GETROUTE, 0, _rtmsg.pack(*[0] * 9))):
            family, length, _, _, _, protocol, scope, kind, _ = _rtmsg.unpack_from(body)
            found = dict(attributes(body, _rtmsg.size, len(body)))
            table = _u32.unpack(found[_RTA_TABLE])[0] if _RTA_TABLE in found else 0
            if protocol == _OUR_PROTOCOL and kind == _RTN_THROW and is_ours(table):
                head = _rtmsg.pack(family, length, 0, 0, 0, protocol, scope, kind, 0)
                kept = (key for key in (_RTA_DST, _RTA_TABLE, _RTA_PRIORITY) if key in found)
                left.append((_RTM_DELROUTE, 0, head + b"".join(attribute(key, found[key]) for key in kept)))
        for request in left:
            self._quietly(request)
        self._lookups.sweep()

    def add(self, routes: Sequence[Route]) -> None:
        """Install routes, all or none. Raises Refused with the kernel's reason."""
        done: list[Route] = []
        for route in routes:
            try:
                self._add(route)
            except (OSError, ValueError) as error:
                self.remove(done)
                raise Refused(f"no route to {route.destination} through the tunnel: {error}") from error
            done.append(route)

    def remove(self, routes: Iterable[Route]) -> None:
        """Take back routes, each once; what was not there is passed over."""
        for route in routes:
            if route not in self._wanted:
                continue
            self._wanted[route] -= 1
            if not self._wanted[route]:
                del self._wanted[route]
                self._take_away(route)

    def put_back(self) -> int:
        """Lay what is gone, and what our own addresses as they are now want otherwise; how many were not right."""
        self._lookups.put_back()
        outcomes = self._netlink.send(
            [
                (_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, self._body(line, there[-1]))
                for line, there in self._lies.items()
            ]
        )
        amiss = sum(outcome is None for outcome in outcomes)
        here = {version: self._addresses(version) for version in {route.destination.version for route in self._laid}}
        for route, (_, laid) in list(self._laid.items()):
            source = next((source for _, source in laid if source), "")
            if source == _local_address(route, here[route.destination.version]):
                continue
            amiss += 1
            self._take_away(route)
            again = self._wanted.pop(route)
            try:
                self._add(route)
                self._wanted[route] = again
            except OSError as error:
                _log.warning("the route to %s through the tunnel cannot be laid again: %s", route.destination, error)
        return amiss

    def wanted(self) -> tuple[Route, ...]:
        return tuple(self._wanted)

    def close(self) -> None:
        """Remove every route and rule of ours."""
        self.remove([route for route, count in self._wanted.items() for _ in range(count)])
        self._lookups.close()
        self._netlink.close()

    def _add(self, route: Route) -> None:
        if route not in self._wanted:
            lines = _lines(route)
            tables, laid = self._laid[route] = [], []
            try:
                for sources, given in self._lookers(route):
                    table = self._lookups.begin(route.destination.version, sources)
                    tables.append(table)
                    for network, throw in lines:
                        line = table, network, throw
                        self._put(line, given)
                        laid.append((line, given))
            except OSError:
                self._take_away(route)
                raise
        self._wanted[route] += 1

    def _lookers(self, route: Route) -> list[tuple[Sources, str]]:
        """Who looks for the route: its sources, and sockets without an address if it can give them one of ours."""
        source = _local_address(route, self._addresses(route.destination.version))
        return [(_sources(route), ""), *([((), source)] if source else [])]

    def _take_away(self, route: Route) -> None:
        tables, laid = self._laid.pop(route)
        for line, source in reversed(laid):
            self._drop(line, source)
        for table in tables:
            self._lookups.end(table)

    def _put(self, line: _Line, source: str) -> None:
        """Of several for one destination the last one's source address holds. Raises OSError."""
        there = self._lies.get(line)
        if not there or there[-1] != source:
            self._ask((_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, self._body(line, source)))
        self._lies.setdefault(line, []).append(source)

    def _drop(self, line: _Line, source: str) -> None:
        there = self._lies[line]
        before = there[-1]
        there.remove(source)
        if not there:
            del self._lies[line]
            self._quietly((_RTM_DELROUTE, 0, self._body(line, "")))
        elif there[-1] != before:
            self._quietly((_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, self._body(line, there[-1])))

    def _body(self, line: _Line, source: str) -> bytes:
        table, network, throw = line
        kind, scope = (_RTN_THROW, _RT_SCOPE_UNIVERSE) if throw else (_RTN_UNICAST, _RT_SCOPE_LINK)
        if network.version == 6:
            scope = _RT_SCOPE_UNIVERSE
        family = _FAMILY[network.version]
        body = _rtmsg.pack(family, network.prefixlen, 0, 0, 0, _OUR_PROTOCOL, scope, kind, 0)
        body += attribute(_RTA_DST, network.network_address.packed) + attribute(_RTA_TABLE, _u32.pack(table))
        body += attribute(_RTA_PRIORITY, _u32.pack(_THROW_METRIC if throw else _TUN_METRIC))
        if not throw:
            body += attribute(_RTA_OIF, _u32.pack(self._device))
            if source:
                body += attribute(_RTA_PREFSRC, ipaddress.ip_address(source).packed)
        return body

    def _addresses(self, version: int) -> list[_Address]:
        found = []
        for body in self._netlink.dump((_RTM_GETADDR, 0, _ifaddrmsg.pack(_FAMILY[version], 0, 0, 0, 0))):
            if body[0] != _FAMILY[version]:
                continue
            # On a point-to-point device IFA_ADDRESS is the other end's.
            given = dict(attributes(body, _ifaddrmsg.size, len(body)))
            packed = given.get(_IFA_LOCAL) or given.get(_IFA_ADDRESS)
            if packed:
                found.append(ipaddress.ip_address(packed))
        return found

    def _ask(self, request: Request) -> None:
        for failure in self._netlink.send([request]):
            if failure is not None:
                raise failure

    def _quietly(self, request: Request) -> None:
        """Remove something; that it is gone already is well, anything else is said."""
        try:
            self._ask(request)
        except OSError as error:
            if error.errno not in _ABSENT:
                _log.warning("a route of the tunnel stays behind: %s", error)


def _local_address(route: Route, here: Sequence[_Address]) -> str:
    """Which of this machine's addresses is inside the route's sources, for its own packets into the tunnel."""
    for source in route.sources:
        for address in here if source.version == route.destination.version else ():
            if source.start <= int(address) <= source.end:
                return str(address)
    return ""


def _sources(route: Route) -> Sources:
    version = route.destination.version
    found = {text for source in route.sources if source.version == version for text in source.networks()}
    return tuple(sorted(map(ipaddress.ip_network, found), key=str)) or (EVERYTHING[version],)


def _lines(route: Route) -> list[tuple[Network, bool]]:
    """The lines of a table that a route needs, and whether each is a throw. ValueError for a strange remote."""
    wanted = [ipaddress.ip_network(text) for text in route.destination.networks()]
    spared: list[Network] = [*_sources(route), *_KEPT_LOCAL[route.destination.version]]
    if route.remote:
        spared.append(ipaddress.ip_network(route.remote.partition("%")[0]))
    thrown = [each for each in spared if any(_within(each, network) for network in wanted)]
    return [*((network, True) for network in dict.fromkeys(thrown)), *((network, False) for network in wanted)]


def _within(one: Network, other: Network) -> bool:
    """Whether a network is a part of another one, and not all of it; a peer's own address is spared even so."""
    if one.version != other.version or one.prefixlen < other.prefixlen:
        return False
    inside = one.network_address in other
    return inside and (one != other or one.prefixlen == one.max_prefixlen)
