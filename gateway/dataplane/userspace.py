"""ESP in this process, over a TUN device and UDP, for kernels and containers that have no ESP."""

import asyncio
import functools
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

from gateway.dataplane.access_rules import AccessRules
from gateway.dataplane.addresses import Addresses
from gateway.dataplane.driver import IkeReceived
from gateway.dataplane.memory import LOWEST_SPI
from gateway.dataplane.tun import Tun, exists
from gateway.dataplane.userspace_guard import ClearGuard
from gateway.dataplane.userspace_inbound import Inbound
from gateway.dataplane.userspace_outbound import Outbound
from gateway.dataplane.userspace_policies import PolicyTable, is_wall
from gateway.dataplane.userspace_routes import TunRoutes
from gateway.dataplane.userspace_rules import PassingRules
from gateway.dataplane.userspace_sas import Drops
from gateway.dataplane.userspace_states import Sa, States
from gateway.dataplane.userspace_udp import prepare
from gateway.ike.plane import (
    Action,
    AddAddress,
    AddPolicy,
    AddRoute,
    AddState,
    Counters,
    Direction,
    EspState,
    Expect,
    MoveState,
    Order,
    Policy,
    Refused,
    RemoveAddress,
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
from gateway.policy.selectors import Selector

_log = logging.getLogger(__name__)
_SOCKET_FULL_SECONDS = 0.001


class UserspacePlane:
    """A data plane of this process. ESP always goes in UDP: there must be a socket, handed over by `adopt`.

    A packet that the kernel routes into the TUN device and no policy is about is dropped, never sent in the clear; what
    a policy protects and comes or goes past the device is dropped, too. Addresses for the kernel's own packets,
    forwarding and the firewall for all else are not its matter.
    """

    name = "userspace"
    needs_encapsulation = True

    def __init__(
        self,
        random: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] = time.time,
        device: str = "ikegate%d",
    ) -> None:
        """Makes the TUN device. Raises Refused without one, or without netlink.

        `random(n)` gives n random octets, `clock()` the seconds in which `Counters.last_used` is told. `%d` in `device`
        stands for the first free number.
        """
        self._random = random
        self._held: set[StateKey] = set()
        self._policies = PolicyTable()
        self._sockets: dict[int, socket.socket] = {}
        self._readers: list[tuple[socket.socket, IkeReceived]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self.drops = Drops()
        """Packets that were not passed on, by reason."""
        self._tun = Tun(device)
        text = self._tun.name.lstrip("abcdefghijklmnopqrstuvwxyz-_.")
        number, prefix = int(text) if text.isdecimal() else 0, self._tun.name.removesuffix(text)
        try:
            self._routes = TunRoutes(self._tun.index, number)
            self._addresses = Addresses(self._tun.index)
            self._rules = self._passing_rules(prefix)
        except Refused:
            self._tun.close()
            raise
        ours = self._tun.name
        self._access = AccessRules(ours, f'iifname "{ours}"', f'oifname != "{ours}"')
        self._access.sweep(lambda name: name.startswith(prefix) and not exists(name))
        self._tables = 0
        self._guard = ClearGuard(self._tun.name, number, self._policies.policies)
        self._outbound = Outbound(self._tun, self._policies, self._sockets, self.drops, clock)
        self._inbound = Inbound(self._tun, self._policies, self.drops, clock)
        self._states = States(self._inbound, self._outbound, random)

    def _passing_rules(self, prefix: str) -> PassingRules:
        try:
            rules = PassingRules()
            if not any(name.startswith(prefix) and name != self._tun.name for _, name in socket.if_nameindex()):
                rules.sweep()
                self._routes.sweep()
        except OSError as error:
            raise Refused(f"no netlink for routing rules: {error.strerror}") from error
        return rules

    @property
    def device(self) -> str:
        """The name of the TUN device."""
        return self._tun.name

    def describe(self) -> str:
        return f"userspace: ESP in UDP in this process, over the TUN device {self._tun.name} (MTU {self._tun.mtu})"

    # -- orders

    def allocate_spi(self, source: str, destination: str) -> int:
        for _ in range(1000):
            spi = int.from_bytes(self._random(4))
            key = StateKey(destination, spi)
            # Of all our addresses, not of `destination` alone: packets are matched by the SPI (RFC 4301 4.1).
            if spi >= LOWEST_SPI and self._inbound.find(spi) is None and all(held.spi != spi for held in self._held):
                self._held.add(key)
                return spi
        raise Refused(f"no free SPI found at {destination}")

    def apply(self, orders: Sequence[Order]) -> None:
        self._access.obey(orders)
        made = self._states.make(orders)
        self._rules.lay(self._policies.ruling_after(orders))
        try:
            self._add_ways(orders)
        except Refused:
            self._rules.lay(self._policies.ruling_after(()))
            raise
        for order in orders:
            self._carry_out(order, made)
        self._guard.order()
        if self._outbound.waiting and self._loop is not None:
            self._loop.call_soon(self._outbound.release)  # not now: packets may be on their way through this very call
        if self._inbound.early.ready and self._loop is not None:
            self._loop.call_soon(self._inbound.open_early)

    def _carry_out(self, order: Order, made: list[Sa]) -> None:
        """One order, with the SAs that are to be added still in `made`; cannot fail."""
        match order:
            case AddState(state):
                self._held.discard(state.key)
                self._states.add(made.pop(0))
            case MoveState(key):
                self._states.move(key, made.pop(0))
            case RemoveState(key):
                self._held.discard(key)
                self._states.remove(key)
            case Expect(key):
                self._inbound.early.expect(key.spi)
            case AddPolicy(policy):
                self._lift(policy, policy)
                self._policies.add(policy)
            case RemovePolicy(policy):
                self._lift(policy, None)
                self._policies.remove(policy)
            case RemoveRoute(route):
                self._routes.remove([route])
            case RemoveAddress(address):
                self._addresses.remove(address)
            case SkipSequence(key, by):
                if (sending := self._outbound.find(key)) is not None:
                    sending.esp.skip(by)

    def _add_ways(self, orders: Sequence[Order]) -> None:
        """Addresses and routes, all or none. Raises Refused."""
        added: list[str] = []
        try:
            for order in orders:
                if isinstance(order, AddAddress):
                    self._addresses.add(order.address)
                    added.append(order.address)
            self._routes.add([route for order in orders if (route := _route_of(order)) is not None])
        except Refused:
            for address in added:
                self._addresses.remove(address)
            raise

    def _lift(self, policy: Policy, successor: Policy | None) -> None:
        """A policy goes, or is replaced: so does the route of its own that led packets to it."""
        old = self._policies.find(policy)
        self._guard.look(old, successor)
        if old is not None and (route := _own_route(old)) is not None:
            self._routes.remove([route])

    # -- what lies there

    def counters(self) -> Mapping[StateKey, Counters]:
        return {sa.state.key: sa.counters() for sa in self._states.all()}

    def rule_counters(self) -> Mapping[str, RuleCounters]:
        return self._access.counters()

    def shortcomings(self) -> Sequence[str]:
        return self._access.shortcomings()

    def states(self) -> Sequence[EspState]:
        return tuple(replace(sa.state, encr_key=b"", integ_key=b"") for sa in self._states.all())

    def policies(self) -> Sequence[Policy]:
        return self._policies.policies()

    def routes(self) -> Sequence[Route]:
        """The routes that are wanted at least once."""
        return self._routes.wanted()

    def sweep(self) -> str:
        self._guard.sweep()
        return ""

    def trouble(self) -> str:
        match self._tun.running():
            case None:
                return f"the TUN device {self._tun.name} is gone: restart ikegate"
            case False:
                return f"the TUN device {self._tun.name} is down; it is brought up again"
        return ""

    def mend(self) -> Mended:
        self._tun.bring_up()
        self._guard.put_back()
        addresses = self._addresses.put_back()
        tables, self._tables = self._tables, 0
        return Mended(routes=self._routes.put_back(), addresses=addresses, tables=tables)

    def look(self) -> bool:
        found = self._guard.was_taken_away()
        self._tables += found
        return found

    # -- running

    def adopt(self, sock: socket.socket, ike_received: IkeReceived) -> bool:
        self.exempt(sock)
        prepare(sock)
        self._sockets[6 if sock.family == socket.AF_INET6 else 4] = sock
        self._readers.append((sock, ike_received))
        if self._loop is not None:
            self._read(sock, ike_received)
        return True

    def exempt(self, sock: socket.socket) -> None:
        port = sock.getsockname()[1]
        self._rules.spare(6 if sock.family == socket.AF_INET6 else 4, port)
        self._guard.spare(port)

    def settle(self) -> None:
        """Wait until all that was ordered lies in the kernel, as it does some milliseconds later by itself."""
        self._guard.settle()

    def listen(self, emit: Callable[[PlaneEvent], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._outbound.begin(emit, self._pause, self._lose)
        self._inbound.begin(emit)
        self._access.listen(emit)
        self._loop.add_reader(self._tun.fd, self._outbound.drain)
        for sock, ike_received in self._readers:
            self._read(sock, ike_received)

    def _read(self, sock: socket.socket, ike_received: IkeReceived) -> None:
        assert self._loop is not None
        self._loop.add_reader(sock, functools.partial(self._inbound.drain, sock, ike_received))

    def _pause(self) -> None:
        """The socket is full: packets wait in the TUN device's queue, where TCP's senders notice."""
        if self._loop is not None:
            self._loop.remove_reader(self._tun.fd)
            self._loop.call_later(_SOCKET_FULL_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._loop is None:  # closed meanwhile
            return
        if self._outbound.resume():
            self._loop.add_reader(self._tun.fd, self._outbound.drain)
        else:
            self._loop.call_later(_SOCKET_FULL_SECONDS, self._resume)

    def _lose(self, error: OSError) -> None:
        """Somebody deleted the device: say it once instead of failing at every turn of the loop."""
        _log.error("the TUN device %s is gone (%s): no packet goes out until a restart", self._tun.name, error.strerror)
        if self._loop is not None:
            self._loop.remove_reader(self._tun.fd)

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            for reader in (self._tun.fd, *(sock.fileno() for sock, _ in self._readers)):
                if reader >= 0:
                    loop.remove_reader(reader)
        self._readers.clear()
        self._sockets.clear()
        for sa in self._states.all():
            self._states.remove(sa.state.key)
        for policy in self._policies.policies():
            self._policies.remove(policy)
        self._held.clear()
        if self._tun.fd >= 0:
            self._guard.close()
            self._access.close()
            self._routes.close()
            self._addresses.close()
            self._rules.close()
            self._tun.close()
            _log.info("userspace data plane closed; packets not passed on: %s", asdict(self.drops))


def _own_route(policy: Policy) -> Route | None:
    """A policy here is only met by packets that are routed into the device. Where no state brings a route along, it is
    the policy's own: a trap's, and that of one that drops what would be protected if its CHILD_SA were up."""
    if policy.direction is not Direction.OUT or policy.priority is not None or is_wall(policy):
        return None
    destination = Selector(policy.destination.version, policy.destination.start, policy.destination.end)
    if policy.action is Action.DROP:
        return Route(destination, (policy.source,), "")
    if policy.action is Action.PROTECT and policy.spi is None:
        return Route(destination, (policy.source,), policy.tunnel_destination)
    return None


def _route_of(order: Order) -> Route | None:
    match order:
        case AddRoute(route):
            return route
        case AddPolicy(policy):
            return _own_route(policy)
        case _:
            return None
