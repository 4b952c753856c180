"""What policies protect or drop neither leaves nor comes in by another way than the TUN device: nftables rules."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

from gateway.dataplane.netfilter import Generation
from gateway.dataplane.nft import LAID, WORDS, Nft, addresses, ports
from gateway.dataplane.userspace_policies import rank
from gateway.ike.plane import Action, Direction, Policy
from gateway.policy.selectors import ANY_PORT, OPAQUE_PORT, Selector

_log = logging.getLogger(__name__)

# A selector of all addresses does not mean what stays on a link.
_ON_LINK = ("224.0.0.0/4", "169.254.0.0/16", "255.255.255.255/32", "ff00::/8", "fe80::/10")
# RFC 4861: without these no packet finds its neighbour, and unlike ARP they are IP packets that ::/0 catches.
_DISCOVERY = "icmpv6 type { 133, 134, 135, 136, 137 } accept"

_SHARE, _LONGEST = 9, 1.0

_Range = tuple[int, int]


class ClearGuard:
    """Drops in the clear what a policy protects or drops, in a table of our own, as XFRM does for its policies.

    What goes into or comes out of the TUN device is not its matter, nor are IKE's own datagrams, the loopback and a
    child's traffic within its own side. It takes the command nft and tables of the family inet; where they lack, the
    log says so. nft runs beside the event loop for at most a tenth of the time, or once in a second: so long what was
    ordered last may not hold yet.

    `close` removes the table. A killed process leaves it, so that what was protected stays shut until the next run has
    ordered all that it wants, and says so by `sweep`.
    """

    def __init__(self, device: str, number: int, policies: Callable[[], Sequence[Policy]]) -> None:
        """Of the network namespace in which the object is made; `policies` gives those that lie there now."""
        self._nft = Nft()
        self._table = f"ikegate_clear_{number}"
        self._device = device
        self._policies = policies
        self._ports: tuple[int, ...] = ()
        self._worker = ThreadPoolExecutor(1, "nft")
        self._hurry = Event()
        self._next = 0.0
        self._changed = self._ordered = False
        self._lying: str | None = None
        self._said = ""
        self._generation = Generation()
        self._again = False
        self._left = self._table in self._nft.tables()

    def spare(self, port: int) -> None:
        """Let the datagrams of this UDP port of our own pass."""
        self._ports = tuple(sorted({*self._ports, port}))
        self._changed = True
        self.order()

    def look(self, old: Policy | None, new: Policy | None) -> None:
        """One policy takes another's place; after a rekey it says the same of the same packets."""
        self._changed = self._changed or old is None or new is None or _said(old) != _said(new)

    def order(self) -> None:
        """Have the rules follow what changed."""
        if self._changed and not self._ordered:
            self._changed, self._ordered = False, True
            self._worker.submit(self._lay).add_done_callback(_report)

    def sweep(self) -> None:
        """All that is wanted is ordered: it takes the place of what a killed process left."""
        self._left, self._changed = False, True
        self.order()

    def put_back(self) -> None:
        """Lay the table again, whether somebody removed it or not: other programs flush all there is."""
        self._worker.submit(setattr, self, "_lying", None)
        self._changed = True
        self.order()

    def was_taken_away(self) -> bool:
        """Whether the last look found that somebody took the rules away, and laid them again; look now, too."""
        found, self._again = self._again, False
        if self._generation.changed():
            self._worker.submit(self._check).add_done_callback(_report)
        return found

    def _check(self) -> None:
        if self._lying and self._nft.lies(self._table) is False:
            self._lying = None
            self._replace()
            self._again = self._lying is not None

    def settle(self) -> None:
        """Wait until everything ordered lies there."""
        self._hurry.set()
        self._worker.submit(int).result()
        self.order()
        self._worker.submit(self._hurry.clear).result()

    def close(self) -> None:
        self._hurry.set()
        if not self._left:
            self._worker.submit(self._nft.remove, self._table)
        self._worker.shutdown()
        self._generation.close()
        self._nft.close()

    def _lay(self) -> None:
        self._hurry.wait(max(0.0, self._next - time.monotonic()))
        self._ordered = False  # before the policies are read: what comes later is ordered anew
        began = time.monotonic()
        self._replace()
        self._next = time.monotonic() + min(_LONGEST, _SHARE * (time.monotonic() - began))

    def _replace(self) -> None:
        content = self._content(self._policies())
        if self._left or content == self._lying:
            return
        failure = self._nft.replace(self._table, content) if content else self._nft.remove(self._table)
        self._lying = None if failure else content
        if failure and failure != self._said and content:
            _log.warning("what a tunnel protects may come in in the clear, past the tunnel: %s", failure)
        self._said = failure

    def _content(self, policies: Sequence[Policy]) -> str:
        leaving = [policy for policy in policies if policy.direction is Direction.OUT]
        arriving = [policy for policy in policies if policy.direction is not Direction.OUT]
        if not policies:
            return ""
        ours = f'{{ "lo", "{self._device}" }}'
        spared = f"{{ {', '.join(map(str, self._ports))} }}"
        lines = [LAID, "chain arriving {", *_rules(arriving, inward=True), "}"]
        lines += ["chain leaving {", *_rules(leaving, inward=False), "}"]
        for hook, way, port, verdict in (
            ("input", "iifname", "dport", "arriving"),
            ("output", "oifname", "sport", "leaving"),
        ):
            lines += [f"chain {hook} {{", f"type filter hook {hook} priority mangle; policy accept;"]
            lines += [f"{way} {ours} accept", *([f"udp {port} {spared} accept"] if self._ports else [])]
            lines += [_DISCOVERY, f"jump {verdict}", "}"]
        lines += ["chain forward {", "type filter hook forward priority mangle; policy accept;"]
        lines += [f'iifname != "{self._device}" jump arriving', f'oifname != "{self._device}" jump leaving', "}"]
        return "\n".join(lines)


def _report(laid: Future[None]) -> None:
    """A thread's error is nobody's until somebody asks for it."""
    if (error := laid.exception()) is not None:
        _log.error("what a tunnel protects may pass in the clear: the rules against it are not laid", exc_info=error)


def _said(policy: Policy) -> tuple[object, ...]:
    return policy.direction, policy.source, policy.destination, policy.action is Action.PASS, policy.priority


def _rules(policies: Iterable[Policy], *, inward: bool) -> Iterator[str]:
    """Shunts in their order, then whatever else drops: of the rest none lets pass."""
    whole: dict[Selector, list[_Range]] = {}
    said: set[str] = set()
    for policy in sorted(policies, key=rank):
        local, remote = (policy.destination, policy.source) if inward else (policy.source, policy.destination)
        if policy.priority is None and policy.action is not Action.PASS and _whole(local) and _whole(remote):
            whole.setdefault(local, []).extend(_foreign(remote, local))
            continue
        rule = _rule(policy)
        if rule and rule not in said:
            said.add(rule)
            yield rule
    for local, ranges in whole.items():
        if ranges:
            word = WORDS[local.version]
            here, there = ("daddr", "saddr") if inward else ("saddr", "daddr")
            near = addresses(local.version, local.start, local.end)
            far = ", ".join(addresses(local.version, *each) for each in _joined(ranges))
            yield f"{word} {here} {near} {word} {there} {{ {far} }} drop"


def _rule(policy: Policy) -> str:
    """ "" where nftables cannot say it: packets whose ports cannot be seen."""
    source, destination = policy.source, policy.destination
    if OPAQUE_PORT in ((source.start_port, source.end_port), (destination.start_port, destination.end_port)):
        return ""
    word = WORDS[source.version]
    words = [f"{word} saddr {addresses(source.version, source.start, source.end)}"]
    words.append(f"{word} daddr {addresses(destination.version, destination.start, destination.end)}")
    protocol = source.protocol or destination.protocol
    if protocol:
        words.append(f"meta l4proto {protocol}")
    words += [*ports(source, protocol, "sport"), *ports(destination, protocol, "dport")]
    return " ".join([*words, "return" if policy.action is Action.PASS else "drop"])


def _whole(selector: Selector) -> bool:
    return not selector.protocol and (selector.start_port, selector.end_port) == ANY_PORT


def _foreign(remote: Selector, local: Selector) -> list[_Range]:
    """What of the remote side is neither our own side nor on a link, where it holds those and more."""
    ranges = [(remote.start, remote.end)]
    for spared in (local, *map(Selector.parse, _ON_LINK)):
        if spared.version == remote.version and (spared.start, spared.end) != (remote.start, remote.end):
            ranges = [part for each in ranges for part in _without(each, (spared.start, spared.end))]
    return ranges


def _without(one: _Range, other: _Range) -> list[_Range]:
    """A range without a part of it; one that is not a part takes nothing away."""
    if not (one[0] <= other[0] and other[1] <= one[1]):
        return [one]
    return [part for part in ((one[0], other[0] - 1), (other[1] + 1, one[1])) if part[0] <= part[1]]


def _joined(ranges: Iterable[_Range]) -> list[_Range]:
    """The same addresses in ranges that do not touch each other."""
    found: list[_Range] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found
