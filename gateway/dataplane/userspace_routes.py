"""Routes into the TUN device, in a table of their own that never catches the packets on the way to a peer."""

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
from gateway.ike.plane import Refused, Route

_log = logging.getLogger(__name__)

# uapi/linux/rtnetlink.h, uapi/linux/fib_rules.h
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_RTM_NEWRULE, _RTM_DELRULE = 32, 33
_RTN_UNICAST, _RTN_THROW = 1, 9
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK = 0, 253
_RTPROT_STATIC = 4
_FR_ACT_TO_TBL = 1
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 6, 7, 15
_FRA_PRIORITY, _FRA_TABLE = 6, 15
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_rtmsg = Struct("=8BI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags; fib_rule_hdr likewise
_ifaddrmsg = Struct("=4BI")
_u32 = Struct("=I")

_FIRST_TABLE = 4500
_THROW_METRIC, _TUN_METRIC = 1, 2
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_ABSENT = (errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL)
# What is never meant for a peer though a selector of all addresses holds it: link-local and multicast traffic.
_KEPT_LOCAL = {4: ("224.0.0.0/4", "169.254.0.0/16"), 6: ("fe80::/10", "ff00::/8")}

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TunRoutes:
    """The routes that are wanted, each as often as it was ordered.

    They lie in a table of their own, looked at before the main one. There a peer's outer address is a *throw* route:
    the lookup goes on with the next table, whatever wider destination leads into the tunnel. This holds for IKE and ESP
    packets as well as for the kernel's check of where packets from the peer may come from (rp_filter), without marks.
    """

    def __init__(self, device: int, number: int = 0) -> None:
        """`device` is the TUN's interface index; several planes in one namespace take different numbers.

        Raises Refused without netlink.
        """
        self._device = device
        self.table = _FIRST_TABLE + number
        self._wanted: Counter[Route] = Counter()
        self._lies: Counter[tuple[_Network, bool]] = Counter()
        self._ruled: set[int] = set()
        try:
            self._netlink = Netlink(NETLINK_ROUTE)
        except OSError as error:
            raise Refused(f"no netlink for routes: {error.strerror}") from error

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
                for network, throw in _lines(route):
                    self._drop(network, throw)

    def wanted(self) -> tuple[Route, ...]:
        return tuple(self._wanted)

    def close(self) -> None:
        """Remove every route and rule of ours."""
        self.remove([route for route, count in self._wanted.items() for _ in range(count)])
        for version in self._ruled:
            self._quietly((_RTM_DELRULE, 0, self._rule(version)))
            for network in _KEPT_LOCAL[version]:
                self._quietly((_RTM_DELROUTE, 0, self._line(ipaddress.ip_network(network), throw=True)))
        self._ruled.clear()
        self._netlink.close()

    def _add(self, route: Route) -> None:
        if route not in self._wanted:
            source = self._local_address(route)
            laid: list[tuple[_Network, bool]] = []
            try:
                for network, throw in _lines(route):
                    self._begin(network.version)
                    if not self._lies[network, throw]:
                        body = self._line(network, throw=throw, source=source)
                        self._ask((_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body))
                    self._lies[network, throw] += 1
                    laid.append((network, throw))
            except OSError:
                for network, throw in laid:
                    self._drop(network, throw)
                raise
        self._wanted[route] += 1

    def _drop(self, network: _Network, throw: bool) -> None:
        self._lies[network, throw] -= 1
        if not self._lies[network, throw]:
            del self._lies[network, throw]
            self._quietly((_RTM_DELROUTE, 0, self._line(network, throw=throw)))

    def _begin(self, version: int) -> None:
        """Have the kernel look into our table, once for each family."""
        if version in self._ruled:
            return
        try:
            self._ask((_RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, self._rule(version)))
        except OSError as error:
            if error.errno != errno.EEXIST:  # left by a run of ours that was killed
                raise
        self._ruled.add(version)
        for network in _KEPT_LOCAL[version]:
            body = self._line(ipaddress.ip_network(network), throw=True)
            self._ask((_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body))

    def _rule(self, version: int) -> bytes:
        head = _rtmsg.pack(_FAMILY[version], 0, 0, 0, 0, 0, 0, _FR_ACT_TO_TBL, 0)
        number = _u32.pack(self.table)
        return head + attribute(_FRA_TABLE, number) + attribute(_FRA_PRIORITY, number)

    def _line(self, network: _Network, *, throw: bool, source: str = "") -> bytes:
        kind, scope = (_RTN_THROW, _RT_SCOPE_UNIVERSE) if throw else (_RTN_UNICAST, _RT_SCOPE_LINK)
        if network.version == 6:
            scope = _RT_SCOPE_UNIVERSE
        family = _FAMILY[network.version]
        body = _rtmsg.pack(family, network.prefixlen, 0, 0, 0, _RTPROT_STATIC, scope, kind, 0)
        body += attribute(_RTA_DST, network.network_address.packed) + attribute(_RTA_TABLE, _u32.pack(self.table))
        body += attribute(_RTA_PRIORITY, _u32.pack(_THROW_METRIC if throw else _TUN_METRIC))
        if not throw:
            body += attribute(_RTA_OIF, _u32.pack(self._device))
            if source:
                body += attribute(_RTA_PREFSRC, ipaddress.ip_address(source).packed)
        return body

    def _local_address(self, route: Route) -> str:
        """An address of this machine inside the route's sources, for its own packets into the tunnel."""
        version = route.destination.version
        here = self._addresses(version)
        for source in route.sources:
            for address in here if source.version == version else ():
                if source.start <= int(address) <= source.end:
                    return str(address)
        return ""

    def _addresses(self, version: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
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


def _lines(route: Route) -> list[tuple[_Network, bool]]:
    """The lines of the table that a route needs, and whether each is a throw. ValueError for a strange remote."""
    lines: list[tuple[_Network, bool]] = [(ipaddress.ip_network(text), False) for text in route.destination.networks()]
    if route.remote:
        lines.insert(0, (ipaddress.ip_network(route.remote.partition("%")[0]), True))
    return lines
