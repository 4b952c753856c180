"""Routing rules for what is not to follow the routes into the TUN device: IKE's own datagrams, and shunts."""

import errno
import ipaddress
import logging
import socket
from collections.abc import Collection, Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from gateway.dataplane.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
    Request,
    attribute,
    attributes,
)
from gateway.dataplane.userspace_policies import rank
from gateway.ike.plane import Action, Policy, Refused
from gateway.policy.selectors import ANY_PORT, Selector

_log = logging.getLogger(__name__)

# uapi/linux/rtnetlink.h, uapi/linux/fib_rules.h
_RTM_NEWRULE, _RTM_DELRULE, _RTM_GETRULE = 32, 33, 34
_FRA_DST, _FRA_SRC, _FRA_IIFNAME, _FRA_PRIORITY, _FRA_TABLE = 1, 2, 3, 6, 15
_FRA_PROTOCOL, _FRA_IP_PROTO, _FRA_SPORT_RANGE, _FRA_DPORT_RANGE = 21, 22, 23, 24
_FR_ACT_TO_TBL, _FR_ACT_BLACKHOLE = 1, 6
_RT_TABLE_MAIN = 254
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_OUR_PROTOCOL = 129  # who made a rule; free for any program's own use (/etc/iproute2/rt_protos)
_fib_rule_hdr = Struct("=8BI")
_u32, _ports = Struct("=I"), Struct("=HH")
_LOCAL = b"lo\0"  # as the incoming device it stands for packets that start here
_LEAST_PORT, _MOST_PORT = 1, 65534  # what a rule can name

_SPARED = 1499
_WINDOWS = (range(1500, 3000), range(3000, 4499))  # all before the rules of TunRoutes
_WALL = 6000  # behind the rules of TunRoutes, and before the main table's
_MOST_RULES = 4096

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Match(NamedTuple):
    """What a rule is about, and whether it lets pass or drops."""

    version: int
    passing: bool
    source: _Network | None = None
    destination: _Network | None = None
    protocol: int = 0
    source_ports: tuple[int, int] = ANY_PORT
    destination_ports: tuple[int, int] = ANY_PORT
    local: bool = False
    """Only packets that start here."""


class PassingRules:
    """What was last ordered, as rules of the routing policy.

    A shunt that lets pass sends its packets on to the main table, one that drops sends them nowhere. The order among
    shunts is the order of the rules: a change of it lays all of them anew in the other of two windows of priorities,
    and so that no packet meanwhile meets one that is not its own. Walls stand behind the routes into the device.
    """

    def __init__(self) -> None:
        """Raises OSError without netlink."""
        self._netlink = Netlink(NETLINK_ROUTE)
        self._spared: list[Match] = []
        self._shunts: tuple[Policy, ...] = ()
        self._laid: list[tuple[int, Match]] = []
        self._walls: set[Match] = set()
        self._window = 0

    def sweep(self) -> None:
        """Remove what a killed process of ours left in this network namespace; only where no other one lives."""
        ours = {_SPARED, *_WINDOWS[0], *_WINDOWS[1], _WALL}
        left: list[Request] = []
        for body in self._netlink.dump((_RTM_GETRULE, 0, _fib_rule_hdr.pack(*[0] * 9))):
            found = dict(attributes(body, _fib_rule_hdr.size, len(body)))
            priority = _u32.unpack(found[_FRA_PRIORITY])[0] if _FRA_PRIORITY in found else 0
            if found.get(_FRA_PROTOCOL) == bytes([_OUR_PROTOCOL]) and priority in ours:
                left.append((_RTM_DELRULE, 0, body))
        self._take_away(left)

    def spare(self, version: int, port: int) -> None:
        """Let the datagrams that this host sends from a UDP port pass by all routes of ours. Raises Refused."""
        match = Match(version, True, protocol=socket.IPPROTO_UDP, source_ports=(port, port), local=True)
        if match not in self._spared:
            try:
                self._put([(_SPARED, match)])
            except OSError as error:
                raise Refused(f"IKE's datagrams from port {port} cannot be kept out of the tunnel: {error}") from error
            self._spared.append(match)

    def lay(self, policies: Iterable[Policy]) -> None:
        """Have these shunts and walls and no others. Raises Refused; then those before stay."""
        ruling = sorted(policies, key=rank)
        shunts = tuple(policy for policy in ruling if policy.priority is not None)
        walls = {match for policy in ruling[len(shunts) :] for match in _matches(policy)}
        before = self._walls
        try:
            self._put([(_WALL, match) for match in walls - before])
            self._walls = before | walls
            if shunts != self._shunts:
                self._lay(shunts)
        except OSError as error:
            self._break(self._walls - before)
            raise Refused(f"a shunt cannot be laid as a routing rule: {error}") from error
        except Refused:
            self._break(self._walls - before)
            raise
        self._break(before - walls)

    def _break(self, walls: Collection[Match]) -> None:
        self._take_away([(_RTM_DELRULE, 0, _pack(_WALL, match)) for match in walls])
        self._walls = self._walls.difference(walls)

    def _lay(self, shunts: tuple[Policy, ...]) -> None:
        """Raises OSError, Refused."""
        matches = [list(_matches(policy)) for policy in shunts]
        window = 1 - self._window
        places = _WINDOWS[window]
        if len(shunts) > len(places) or sum(map(len, matches)) > _MOST_RULES:
            raise Refused(
                f"the userspace data plane has room for {len(places)} shunts and {_MOST_RULES} rules for them"
            )
        new = [(place, match) for place, alike in zip(places, matches, strict=False) for match in alike]
        # Into the foremost window the first rule goes first: until a packet finds its own, the old ones hold.
        self._put(new)
        # Out of the foremost window the last rule goes first, for the same reason.
        self._take_away([(_RTM_DELRULE, 0, _pack(*rule)) for rule in reversed(self._laid)])
        self._shunts, self._laid, self._window = shunts, new, window

    def close(self) -> None:
        """Remove every rule of ours."""
        self._break(self._walls)
        rules = [*reversed(self._laid), *((_SPARED, match) for match in self._spared)]
        self._take_away([(_RTM_DELRULE, 0, _pack(*rule)) for rule in rules])
        self._shunts, self._laid, self._spared = (), [], []
        self._netlink.close()

    def _put(self, rules: Sequence[tuple[int, Match]]) -> None:
        """All or none. Raises OSError."""
        requests = [(_RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, _pack(*rule)) for rule in rules]
        outcomes = self._netlink.send(requests)
        failure = next((found for found in outcomes if found and found.errno != errno.EEXIST), None)
        if failure:
            done = [request for request, found in zip(requests, outcomes, strict=True) if found is None]
            self._take_away([(_RTM_DELRULE, 0, body) for _, _, body in done])
            raise failure

    def _take_away(self, requests: Sequence[Request]) -> None:
        for outcome in self._netlink.send(requests):
            if outcome and outcome.errno != errno.ENOENT:
                _log.warning("a routing rule of ours stays behind: %s", outcome)


def _matches(policy: Policy) -> Iterator[Match]:
    """What the rules of a shunt are about. Raises Refused where rules cannot say it."""
    source, destination = policy.source, policy.destination
    protocol = source.protocol or destination.protocol
    ours, theirs = _port_range(policy, source), _port_range(policy, destination)
    if protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6) and (ours, theirs) != (ANY_PORT, ANY_PORT):
        raise Refused(f"the shunt {source} to {destination}: the userspace data plane tells no ICMP types apart")
    passing = policy.action is Action.PASS
    for sent in map(ipaddress.ip_network, source.networks()):
        for received in map(ipaddress.ip_network, destination.networks()):
            match = Match(source.version, passing, sent, received, protocol, ours, theirs)
            yield match
            if passing and source.version == 4 and sent.prefixlen:
                # A socket that is not bound has no source address yet when the kernel looks for its route.
                yield match._replace(source=ipaddress.IPv4Network("0.0.0.0/32"), local=True)


def _port_range(policy: Policy, selector: Selector) -> tuple[int, int]:
    ports = selector.start_port, selector.end_port
    if ports != ANY_PORT and not _LEAST_PORT <= ports[0] <= ports[1] <= _MOST_PORT:
        raise Refused(
            f"the shunt {policy.source} to {policy.destination}: the userspace data plane takes ports from "
            f"{_LEAST_PORT} to {_MOST_PORT}, or all"
        )
    return ports


def _pack(priority: int, match: Match) -> bytes:
    lengths = [network.prefixlen if network else 0 for network in (match.destination, match.source)]
    action, table = (_FR_ACT_TO_TBL, _RT_TABLE_MAIN) if match.passing else (_FR_ACT_BLACKHOLE, 0)
    body = _fib_rule_hdr.pack(_FAMILY[match.version], *lengths, 0, table, 0, 0, action, 0)
    body += attribute(_FRA_PRIORITY, _u32.pack(priority)) + attribute(_FRA_PROTOCOL, bytes([_OUR_PROTOCOL]))
    if table:
        body += attribute(_FRA_TABLE, _u32.pack(table))
    for kind, network in ((_FRA_DST, match.destination), (_FRA_SRC, match.source)):
        if network and network.prefixlen:
            body += attribute(kind, network.network_address.packed)
    if match.protocol:
        body += attribute(_FRA_IP_PROTO, bytes([match.protocol]))
    for kind, ports in ((_FRA_SPORT_RANGE, match.source_ports), (_FRA_DPORT_RANGE, match.destination_ports)):
        if ports != ANY_PORT:
            body += attribute(kind, _ports.pack(*ports))
    return body + (attribute(_FRA_IIFNAME, _LOCAL) if match.local else b"")
