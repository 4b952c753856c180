"""A data plane that remembers what it was told: for tests, simulation and dry runs."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from socket import socket
from typing import Any

from gateway.dataplane.driver import IkeReceived
from gateway.ike.plane import (
    AddAddress,
    AddInterface,
    AddPolicy,
    AddressRules,
    AddRoute,
    AddState,
    Counters,
    EspState,
    Interface,
    LayRules,
    LiftRules,
    MoveState,
    Order,
    Policy,
    PolicyKey,
    Refused,
    RemoveAddress,
    RemoveInterface,
    RemovePolicy,
    RemoveRoute,
    RemoveState,
    Route,
    RuleCounters,
    SkipSequence,
    StateKey,
)
from gateway.ike.plane_events import PlaneEvent
from gateway.ike.plane_protocol import Mended

_MAY_BE_REFUSED = AddState | AddPolicy | AddRoute | MoveState | AddInterface | AddAddress | SkipSequence | LayRules
LOWEST_SPI = 256  # RFC 4303 2.1: 0 means none, 1-255 are reserved


@dataclass(slots=True)
class Tables:
    """What lies in a data plane: allocated SPIs, states, policies, and how often each route is wanted."""

    held: set[StateKey] = field(default_factory=set)
    states: dict[StateKey, EspState] = field(default_factory=dict)
    policies: dict[PolicyKey, Policy] = field(default_factory=dict)
    routes: Counter[Route] = field(default_factory=Counter)
    interfaces: Counter[Interface] = field(default_factory=Counter)
    addresses: Counter[str] = field(default_factory=Counter)
    skipped: Counter[StateKey] = field(default_factory=Counter)
    rules: dict[str, AddressRules] = field(default_factory=dict)

    def check(self, orders: Sequence[Order]) -> None:
        """Raises Refused when the orders, in their sequence, would add a state that is there already."""
        present: dict[StateKey, bool] = {}
        for order in orders:
            match order:
                case AddState(state):
                    key = state.key
                    if present.get(key, key in self.states):
                        raise Refused(f"a state with SPI {state.spi:08x} to {state.destination} exists already")
                    present[key] = True
                case RemoveState(key):
                    present[key] = False
                case MoveState(key, state):
                    if not present.get(key, key in self.states):
                        raise Refused(f"there is no state with SPI {key.spi:08x} to {key.destination} to move")
                    present[key], present[state.key] = False, True
                case SkipSequence(key) if not present.get(key, key in self.states):
                    raise Refused(f"there is no state with SPI {key.spi:08x} to {key.destination}")

    def carry_out(self, order: Order) -> None:
        """One order that has passed `check`."""
        match order:
            case AddState(state):
                key = state.key
                self.held.discard(key)
                self.states[key] = state
            case RemoveState(key):
                self.held.discard(key)
                self.states.pop(key, None)
                self.skipped.pop(key, None)
            case AddPolicy(policy):
                self.policies[policy.key] = policy
            case RemovePolicy(policy):  # by direction and selectors, whatever it points to now: XFRM_MSG_DELPOLICY
                self.policies.pop(policy.key, None)
            case MoveState(key, state):
                del self.states[key]
                self.states[state.key] = state
                self.skipped[state.key] = self.skipped.pop(key, 0)
            case SkipSequence(key, by):
                self.skipped[key] += by
            case LayRules(rules):
                self.rules[rules.address] = rules
            case LiftRules(address):
                self.rules.pop(address, None)
            case _:
                self._count(order)

    def _count(self, order: Order) -> None:
        """What is wanted as often as it was ordered."""
        match order:
            case AddRoute(route):
                self.routes[route] += 1
            case RemoveRoute(route):
                _want_less(self.routes, route)
            case AddInterface(interface):
                self.interfaces[interface] += 1
            case RemoveInterface(interface):
                _want_less(self.interfaces, interface)
            case AddAddress(address):
                self.addresses[address] += 1
            case RemoveAddress(address):
                _want_less(self.addresses, address)

    def allocate_spi(self, destination: str, random: Callable[[int], bytes]) -> int:
        """An SPI that nobody has or holds at `destination`, held from now on. Raises Refused when chance finds none."""
        for _ in range(1000):
            spi = int.from_bytes(random(4))
            key = StateKey(destination, spi)
            if spi >= LOWEST_SPI and key not in self.held and key not in self.states:
                self.held.add(key)
                return spi
        raise Refused(f"no free SPI found at {destination}")


def _want_less(wanted: Counter[Any], what: object) -> None:
    wanted[what] -= 1
    if wanted[what] <= 0:
        del wanted[what]


class MemoryPlane:
    """Remembers states, policies and routes exactly; refuses what a kernel would refuse, and what it is told to.

    `random(n)` gives n random octets; with a seeded source the SPIs are the same in every run. `remember` keeps every
    order that was carried out, which grows for ever.
    """

    name = "memory"
    needs_encapsulation = False

    def __init__(self, random: Callable[[int], bytes] = os.urandom, *, remember: bool = False) -> None:
        self._random, self._remember = random, remember
        self._tables = Tables()
        self._counters: dict[StateKey, Counters] = {}
        self._emit: Callable[[PlaneEvent], None] | None = None
        self._refuse_apply: list[str] = []
        self._refuse_allocation: list[str] = []
        self._gone: set[StateKey] = set()
        self._missing: dict[PolicyKey, Policy] = {}
        self.orders: list[Order] = []
        """Every order ever carried out, oldest first, where they are to be remembered."""

    def describe(self) -> str:
        return "memory: remembers what it is told, no packet is protected"

    def fail_next(self, why: str) -> None:
        """Refuse the next `apply` that adds something with this sentence; called twice, the next two."""
        self._refuse_apply.append(why)

    def fail_no_more(self) -> None:
        """Refuse nothing any longer of what was to be refused."""
        self._refuse_apply.clear()
        self._refuse_allocation.clear()

    def fail_next_allocation(self, why: str) -> None:
        """Refuse the next `allocate_spi` with this sentence."""
        self._refuse_allocation.append(why)

    def allocate_spi(self, source: str, destination: str) -> int:
        if self._refuse_allocation:
            raise Refused(self._refuse_allocation.pop(0))
        return self._tables.allocate_spi(destination, self._random)

    def apply(self, orders: Sequence[Order]) -> None:
        if self._refuse_apply and any(isinstance(order, _MAY_BE_REFUSED) for order in orders):
            raise Refused(self._refuse_apply.pop(0))
        self._tables.check(orders)
        for order in orders:
            self._tables.carry_out(order)
        if self._counters or self._missing:
            self._keep_counters(orders)
        if self._remember:
            self.orders.extend(orders)

    def _keep_counters(self, orders: Sequence[Order]) -> None:
        """They go with their states and policies, wherever those went."""
        for order in orders:
            if isinstance(order, RemoveState):
                self._counters.pop(order.key, None)
            elif self._missing and isinstance(order, AddPolicy | RemovePolicy):
                self._missing.pop(order.policy.key, None)
            elif isinstance(order, MoveState) and (moved := self._counters.pop(order.key, None)):
                self._counters[order.state.key] = moved

    def counters(self) -> Mapping[StateKey, Counters]:
        return {key: self._counters.get(key, Counters()) for key in self._tables.states}

    def count(self, key: StateKey, counters: Counters) -> None:
        """Let the state have carried this much. KeyError for a state that is not there."""
        if key not in self._tables.states:
            raise KeyError(key)
        self._counters[key] = counters

    def states(self) -> Sequence[EspState]:
        return tuple(self._tables.states.values())

    def policies(self) -> Sequence[Policy]:
        return tuple(self._tables.policies.values())

    def routes(self) -> Sequence[Route]:
        """The routes that are wanted at least once."""
        return tuple(self._tables.routes)

    def interfaces(self) -> Sequence[Interface]:
        """The XFRM interfaces that are wanted at least once."""
        return tuple(self._tables.interfaces)

    def addresses(self) -> Sequence[str]:
        """Virtual addresses of ours that are wanted at least once."""
        return tuple(self._tables.addresses)

    def skipped(self) -> Mapping[StateKey, int]:
        """By how much the sequence numbers of states were told to go on."""
        return +self._tables.skipped

    def rules(self) -> Sequence[AddressRules]:
        """Those that lie for virtual addresses of peers."""
        return tuple(self._tables.rules.values())

    def rule_counters(self) -> Mapping[str, RuleCounters]:
        return {address: RuleCounters() for address in self._tables.rules}

    def shortcomings(self) -> Sequence[str]:
        return ()

    @property
    def held(self) -> frozenset[StateKey]:
        """SPIs allocated and neither added nor given back."""
        return frozenset(self._tables.held)

    def listen(self, emit: Callable[[PlaneEvent], None]) -> None:
        self._emit = emit

    def take_away(self, keys: Iterable[StateKey], policies: Iterable[Policy] = ()) -> None:
        """Lose these as if somebody else had removed them; `mend` finds out."""
        for key in keys:
            self._gone.add(key)
            del self._tables.states[key]
            self._counters.pop(key, None)
        for policy in policies:
            self._missing[policy.key] = self._tables.policies.pop(policy.key)

    def mend(self) -> Mended:
        gone, self._gone = frozenset(self._gone), set()
        missing, self._missing = self._missing, {}
        self._tables.policies |= missing
        return Mended(gone, len(missing))

    def sweep(self) -> str:
        return ""

    def look(self) -> bool:
        return False

    def trouble(self) -> str:
        return ""

    def report(self, event: PlaneEvent) -> None:
        """Deliver an event as if packets or timers had caused it. RuntimeError when nobody listens."""
        if self._emit is None:
            raise RuntimeError("nobody listens")
        self._emit(event)

    def adopt(self, sock: socket, ike_received: IkeReceived) -> bool:
        return False

    def exempt(self, sock: socket) -> None:
        """Nothing to do: there are no packets."""

    def close(self) -> None:
        self._tables = Tables()
        self._counters.clear()
        self._emit = None
