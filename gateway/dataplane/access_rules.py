"""What tunnels may bring from the virtual addresses of peers: nftables rules in a table of our own.

What is allowed is a chain, the same for all addresses of one access profile; each address has a place in the map by
which the hooks find its chain, and in the sets that count. So one more address is a few elements, whatever else lies
there.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

from gateway.dataplane.nft import WORDS, Nft, addresses, ports
from gateway.ike.plane import AddressRules, LayRules, LiftRules, Order, Refused, RuleCounters
from gateway.ike.plane_events import PlaneEvent, RulesLost
from gateway.policy.selectors import Selector

_log = logging.getLogger(__name__)

_TABLES = "ikegate_access_"
_COUNTING = ("passed", "dropped")
# Connection tracking takes up what it does not know in the middle, as begun by whose packet comes first. What a peer
# began, and may not any more, must not come back as an answer to what the other end sends again.
_MIDSTREAM = "ct state new tcp flags & (fin | syn | rst | ack) != syn"
_Allowed = tuple[Selector, ...] | None


class AccessRules:
    """Drops what comes out of a tunnel from a virtual address and is not allowed, forwarded or for this host itself.

    It takes the command nft, tables of the family inet and connection tracking; masquerading takes NAT in this family,
    too. The table comes with the first rules. nft runs while the caller waits, some milliseconds for each batch, as
    no packet may come before its rules lie there; it lifts them beside the event loop.
    """

    def __init__(self, name: str, arrived: str, leaving: str) -> None:
        """Of the network namespace in which the object is made; `name` tells this plane's table from others.

        `arrived` matches what came out of a tunnel, `leaving` what goes by none: expressions of nft. What a killed
        process left is removed by `sweep`.
        """
        self._nft = Nft()
        self._table = f"{_TABLES}{name}"
        self._arrived, self._leaving = arrived, leaving
        self._rules: dict[str, AddressRules] = {}
        self._chains: dict[_Allowed, str] = {}
        self._numbers = count(1)
        self._made = False
        self._masquerades = False
        self._why_not = ""
        self._why_no_masquerade = ""
        self._read: dict[str, RuleCounters] = {}
        self._lifting = ThreadPoolExecutor(1, "nft")
        self._reader = ThreadPoolExecutor(1, "nft")  # its own, as nobody who comes waits until thousands are listed
        self._reading: Future[dict[str, RuleCounters] | None] | None = None
        self._putting: Future[None] | None = None
        self._expected: set[str] = set()
        self._tell: Callable[[PlaneEvent], object] = _to_nobody

    def listen(self, emit: Callable[[PlaneEvent], None]) -> None:
        """Tell of strict rules that are lost, by the running event loop: not to whoever asks for counters just then."""
        loop = asyncio.get_running_loop()
        self._tell = lambda event: loop.call_soon_threadsafe(emit, event)

    def obey(self, orders: Sequence[Order]) -> None:
        """Carry out what of the orders is about rules, first of all. Raises Refused for strict ones."""
        named = dict.fromkeys(order.address for order in orders if isinstance(order, LiftRules))
        lifted = [address for address in named if address in self._rules]
        if lifted:
            gone = [self._rules.pop(address) for address in lifted]
            for address in lifted:  # whoever has it next is not told what this one did
                self._expected.discard(address)
                self._read.pop(address, None)
            lines = [self._element("delete", name, old.address) for old in gone for name in _places(old)]
            self._lifting.submit(self._nft.run, "\n".join(lines) + "\n")  # it fails where nothing lies any more
        wanted = [order.rules for order in orders if isinstance(order, LayRules)]
        if wanted:
            self._lay(wanted)

    def counters(self) -> Mapping[str, RuleCounters]:
        """As last read; they are read anew beside the event loop, and what lacks is laid again at the next look."""
        if self._reading is not None and self._reading.done():
            found, self._reading = self._reading.result(), None
            lacking = self._expected - (found or {}).keys()
            if found is None or lacking:
                lost = {address: self._rules[address] for address in lacking if address in self._rules}
                self._putting = self._lifting.submit(self._put_back, list(self._rules.values()), lost)
            else:
                self._read = {address: found[address] for address in self._expected}
                self._why_not = ""
        if self._putting is not None and self._putting.done():
            putting, self._putting = self._putting, None
            putting.result()
        if self._made and self._rules and self._reading is None and self._putting is None:
            self._expected = set(self._rules)
            self._reading = self._reader.submit(self._look)
        return dict(self._read)

    def shortcomings(self) -> list[str]:
        """What is ordered and does not lie there, as sentences."""
        found = []
        if self._rules and self._why_not:
            found.append(
                f"the rules of access profiles are not laid, their networks are kept to by selectors alone: "
                f"{self._why_not}; nothing is counted, and ports cannot be told apart"
            )
        if self._why_no_masquerade and any(rules.masquerade for rules in self._rules.values()):
            found.append(
                f"nothing is masqueraded, so that hosts without a way back do not answer: {self._why_no_masquerade}; "
                "it takes nft and CONFIG_NFT_MASQ"
            )
        return found

    def sweep(self, orphaned: Callable[[str], bool] = lambda _: False) -> None:
        """Remove what killed processes left: by this name, and by others whose owner is gone."""
        for table in self._nft.tables():
            if table == self._table or (table.startswith(_TABLES) and orphaned(table.removeprefix(_TABLES))):
                self._nft.remove(table)

    def close(self) -> None:
        self._lifting.shutdown()
        self._reader.shutdown()
        if self._made:
            self._nft.remove(self._table)
        self._made = False
        self._rules.clear()
        self._nft.close()

    def _lay(self, wanted: Sequence[AddressRules]) -> None:
        self._lifting.submit(int).result()  # what is being lifted is out of the way then
        after = {**self._rules, **{rules.address: rules for rules in wanted}}
        why = ""
        if not self._made or self._nft.run("\n".join([*self._changes(wanted, after), ""])):  # somebody removed it
            why = self._anew(after.values())
            self._made = self._made or not why
        if why and why != self._why_not:
            _log.warning("the rules of access profiles are not laid: %s", why)
        self._why_not = why
        if why and any(rules.strict for rules in wanted):
            raise Refused(f"the rules of an access profile cannot be laid: {why}")
        self._rules = after
        if not why:
            self._masquerade()

    def _anew(self, wanted: Iterable[AddressRules]) -> str:
        """The whole table in one step. Why that cannot be."""
        self._chains.clear()
        self._masquerades, self._why_no_masquerade = False, ""
        return self._nft.replace(self._table, self._content(), self._additions(wanted))

    def _look(self) -> dict[str, RuleCounters] | None:
        """What was counted, by address; None for no table, or for one of our name that somebody made."""
        found = self._nft.counts(self._table, [f"{what}{version}" for version in WORDS for what in _COUNTING])
        if found is None:
            return None
        both = [[found[f"{what}{version}"] for what in _COUNTING] for version in WORDS]
        return {
            address: RuleCounters(*passed[address], *dropped[address])
            for passed, dropped in both
            for address in passed.keys() & dropped.keys()
        }

    def _put_back(self, wanted: Sequence[AddressRules], lost: Mapping[str, AddressRules]) -> None:
        """Other programs flush all there is; `lost` do not lie there. Beside the event loop: it takes its time.

        Who lays others meanwhile waits for it, and what is lifted meanwhile is lifted after it.
        """
        self._why_not = self._anew(wanted)
        _log.warning("the rules of access profiles were gone, %s", self._why_not or "and are laid again")
        if not self._why_not:
            self._masquerade()
        elif strict := frozenset(address for address, rules in lost.items() if rules.strict):
            self._tell(RulesLost(strict, self._why_not))

    def _masquerade(self) -> None:
        """The chain for it comes with the first who needs it: not every kernel that filters can do NAT."""
        wanted = any(rules.masquerade for rules in list(self._rules.values()))  # others go meanwhile
        if not wanted or self._masquerades or self._why_no_masquerade:
            return
        hook = "type nat hook postrouting priority srcnat; policy accept;"
        lines = [f"add chain inet {self._table} leaving {{ {hook} }}"]
        lines += [
            f"add rule inet {self._table} leaving {word} saddr @masqueraded{version} {self._leaving} masquerade"
            for version, word in WORDS.items()
        ]
        self._why_no_masquerade = self._nft.run("\n".join(lines) + "\n")
        self._masquerades = not self._why_no_masquerade
        if self._why_no_masquerade:
            _log.warning("nothing is masqueraded: %s", self._why_no_masquerade)

    def _content(self) -> str:
        lines = []
        for version in WORDS:
            lines.append(f"map users{version} {{ type ipv{version}_addr : verdict; }}")
            lines += [f"set {what}{version} {{ type ipv{version}_addr; }}" for what in ("known", "masqueraded")]
            lines += [f"set {what}{version} {{ type ipv{version}_addr; counter; }}" for what in _COUNTING]
        for chain, verdict in (("passed", "accept"), ("dropped", "drop")):
            counting = [f"{word} saddr @{chain}{version} {verdict}" for version, word in WORDS.items()]
            lines += [f"chain {chain} {{", *counting, verdict, "}"]
        arriving = [f"{self._arrived} {word} saddr vmap @users{version}" for version, word in WORDS.items()]
        answering = [f"{word} daddr @known{version} {_MIDSTREAM} drop" for version, word in WORDS.items()]
        for hook, looks in (("forward", arriving + answering), ("input", arriving), ("output", answering)):
            lines += [f"chain {hook} {{", f"type filter hook {hook} priority filter; policy accept;", *looks, "}"]
        return "\n".join(lines)

    def _changes(self, wanted: Sequence[AddressRules], after: Mapping[str, AddressRules]) -> list[str]:
        """From what lies there to what lies `after`, as some is `wanted`, without chains that nobody needs any more."""
        lines: list[str] = []
        counted = set()
        for rules in wanted:
            if (old := self._rules.get(rules.address)) is not None:
                counted.add(rules.address)
                lines += [self._element("delete", name, old.address) for name in _places(old) if name not in _COUNTING]
        lines += self._additions(wanted, counted)
        for allowed in self._chains.keys() - {rules.allowed for rules in after.values()}:
            lines.append(f"delete chain inet {self._table} {self._chains.pop(allowed)}")
        return lines

    def _additions(self, wanted: Iterable[AddressRules], counted: AbstractSet[str] = frozenset()) -> list[str]:
        """Those of `counted` are counted already."""
        lines: list[str] = []
        for rules in wanted:
            if rules.allowed not in self._chains:
                self._chains[rules.allowed] = f"allowed_{next(self._numbers)}"
                lines += self._chain(rules.allowed)
            for name in _places(rules):
                if name not in _COUNTING or rules.address not in counted:
                    data = f" : jump {self._chains[rules.allowed]}" if name == "users" else ""
                    lines.append(self._element("add", name, rules.address, data))
        return lines

    def _element(self, verb: str, name: str, address: str, data: str = "") -> str:
        return f"{verb} element inet {self._table} {_set(name, address)} {{ {address}{data} }}"

    def _chain(self, allowed: _Allowed) -> Iterator[str]:
        """What is passed on: answers to connections that others began, errors about any, and what is allowed.

        What the peer began is looked at packet by packet, so that taking a network away ends what goes there at once.
        """
        chain = f"inet {self._table} {self._chains[allowed]}"
        conditions = ["ct direction reply", "meta l4proto { icmp, icmpv6 } ct state related"]
        conditions += [""] if allowed is None else map(_condition, allowed)
        yield f"add chain {chain}"
        for condition in conditions:
            yield f"add rule {chain} {condition} goto passed"
        yield f"add rule {chain} goto dropped"


def _to_nobody(_: PlaneEvent) -> None:
    """Before the engine listens it has laid no rules."""


def _places(rules: AddressRules) -> tuple[str, ...]:
    """In which sets the address is; of the map, too."""
    return ("users", "known", *_COUNTING, *(("masqueraded",) if rules.masquerade else ()))


def _condition(selector: Selector) -> str:
    words = [f"{WORDS[selector.version]} daddr {addresses(selector.version, selector.start, selector.end)}"]
    if selector.protocol:
        words.append(f"meta l4proto {selector.protocol}")
    return " ".join([*words, *ports(selector, selector.protocol, "dport")])


def _set(name: str, address: str) -> str:
    """The set or map of this name for the address's IP version."""
    return f"{name}{6 if ':' in address else 4}"
