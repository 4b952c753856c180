"""Who looks into which table of routes into the TUN device: rules by the source address."""

import errno
import ipaddress
import logging
import socket
from collections.abc import Iterator
from struct import Struct

from gateway.dataplane.netlink import NLM_F_CREATE, NLM_F_EXCL, Netlink, Request, attribute, attributes

_log = logging.getLogger(__name__)

# uapi/linux/fib_rules.h
_RTM_NEWRULE, _RTM_DELRULE, _RTM_GETRULE = 32, 33, 34
_FRA_SRC, _FRA_IIFNAME, _FRA_GOTO, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL = 2, 3, 4, 6, 15, 21
_FR_ACT_TO_TBL, _FR_ACT_GOTO, _FR_ACT_NOP = 1, 2, 3
_OUR_PROTOCOL = 129
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_LOCAL = b"lo\0"  # as the incoming device it stands for packets that start here
_fib_rule_hdr = Struct("=8BI")
_u32 = Struct("=I")

_FIRST_TABLE, _TABLES_EACH = 45_000_000, 100_000
_FIRST_RULE, _RULES_EACH, _MOST_PLANES = 4500, 4, 375  # before the walls of PassingRules
_ABSENT = (errno.ESRCH, errno.ENOENT)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Sources = tuple[Network, ...]
"""Networks; () stands for packets of a socket that is not bound to an address, before they have one."""

EVERYTHING: dict[int, Network] = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}


def is_ours(table: int) -> bool:
    """Whether the number is one that we give to tables."""
    return _FIRST_TABLE <= table < _FIRST_TABLE + _MOST_PLANES * _TABLES_EACH


class Lookups:
    """A table for each IP version and set of sources, as long as somebody has routes in it."""

    def __init__(self, number: int, netlink: Netlink) -> None:
        """Several planes in one network namespace take different numbers."""
        self._netlink = netlink
        self._base = _FIRST_TABLE + number % _MOST_PLANES * _TABLES_EACH
        self._priority = _FIRST_RULE + number % _MOST_PLANES * _RULES_EACH
        self._tables: dict[tuple[int, Sources], int] = {}
        self._rules: dict[int, list[bytes]] = {}
        self._users: dict[int, int] = {}

    def begin(self, version: int, sources: Sources) -> int:
        """The number of the table; once more wanted. Raises OSError."""
        key = version, sources
        table = self._tables.get(key)
        if table is None:
            table = self._free()
            rules = list(self._local(version, table) if not sources else self._from(version, sources, table))
            laid: list[bytes] = []
            for rule in rules:
                (outcome,) = self._netlink.send([(_RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule)])
                if outcome and outcome.errno != errno.EEXIST:  # left by a run of ours that was killed
                    self._take_away(laid)
                    raise outcome
                laid.append(rule)
            self._tables[key], self._rules[table] = table, rules
        self._users[table] = self._users.get(table, 0) + 1
        return table

    def put_back(self) -> None:
        """Lay again what somebody removed."""
        for outcome in self._netlink.send(
            [(_RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule) for rules in self._rules.values() for rule in rules]
        ):
            if outcome and outcome.errno != errno.EEXIST:
                _log.warning("a routing rule of ours cannot be laid again: %s", outcome)

    def end(self, table: int) -> None:
        """Wanted once less; with the last wish its rules go."""
        self._users[table] -= 1
        if not self._users[table]:
            self._forget(table)

    def close(self) -> None:
        for table in list(self._rules):
            self._forget(table)

    def sweep(self) -> None:
        """Remove the rules of a killed process; only where no other one lives. Raises OSError."""
        left = []
        for body in self._netlink.dump((_RTM_GETRULE, 0, _fib_rule_hdr.pack(*[0] * 9))):
            found = dict(attributes(body, _fib_rule_hdr.size, len(body)))
            priority = _u32.unpack(found[_FRA_PRIORITY])[0] if _FRA_PRIORITY in found else 0
            ours = found.get(_FRA_PROTOCOL) == bytes([_OUR_PROTOCOL])
            if ours and _FIRST_RULE <= priority < _FIRST_RULE + _MOST_PLANES * _RULES_EACH:
                left.append(body)
        self._take_away(left)

    def _free(self) -> int:
        return next(table for table in range(self._base, self._base + _TABLES_EACH) if table not in self._rules)

    def _forget(self, table: int) -> None:
        self._take_away(self._rules.pop(table))
        self._users.pop(table, None)
        self._tables = {key: number for key, number in self._tables.items() if number != table}

    def _take_away(self, rules: list[bytes]) -> None:
        removals: list[Request] = [(_RTM_DELRULE, 0, rule) for rule in reversed(rules)]
        for outcome in self._netlink.send(removals):
            if outcome and outcome.errno not in _ABSENT:
                _log.warning("a routing rule of ours stays behind: %s", outcome)

    def _from(self, version: int, sources: Sources, table: int) -> Iterator[bytes]:
        for source in sources:
            yield _rule(version, self._priority, _FR_ACT_TO_TBL, table, source)

    def _local(self, version: int, table: int) -> Iterator[bytes]:
        """A socket that is not bound has no source address yet when the kernel looks for its route.

        In IPv4 it is 0.0.0.0 then. In IPv6 no rule with a source is about it: of what starts here, who has an address
        goes past, and who has none is left.
        """
        first = self._priority + 1
        if version == 4:
            yield _rule(4, first, _FR_ACT_TO_TBL, table, ipaddress.ip_network("0.0.0.0/32"), local=True)
            return
        end = first + 2
        yield _rule(6, end, _FR_ACT_NOP, 0)
        for half in EVERYTHING[6].subnets():
            yield _rule(6, first, _FR_ACT_GOTO, 0, half, local=True, goto=end)
        yield _rule(6, first + 1, _FR_ACT_TO_TBL, table, local=True)


def _rule(
    version: int,
    priority: int,
    action: int,
    table: int,
    source: Network | None = None,
    *,
    local: bool = False,
    goto: int = 0,
) -> bytes:
    """`local` are packets that start here alone; `goto` is the priority to go on with."""
    length = source.prefixlen if source else 0
    body = _fib_rule_hdr.pack(_FAMILY[version], 0, length, 0, 0, 0, 0, action, 0)
    body += attribute(_FRA_PRIORITY, _u32.pack(priority)) + attribute(_FRA_PROTOCOL, bytes([_OUR_PROTOCOL]))
    if table:
        body += attribute(_FRA_TABLE, _u32.pack(table))
    if source and length:
        body += attribute(_FRA_SRC, source.network_address.packed)
    if goto:
        body += attribute(_FRA_GOTO, _u32.pack(goto))
    return body + (attribute(_FRA_IIFNAME, _LOCAL) if local else b"")
