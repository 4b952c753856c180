"""The kernel's data plane: ESP states and policies in XFRM, told by NETLINK_XFRM."""

import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from gateway.dataplane.access_rules import AccessRules
from gateway.dataplane.addresses import Addresses
from gateway.dataplane.driver import IkeReceived
from gateway.dataplane.kernel_batch import ABSENT, Batch, Step
from gateway.dataplane.kernel_early import EarlyPackets
from gateway.dataplane.kernel_events import Events
from gateway.dataplane.kernel_interfaces import Interfaces
from gateway.dataplane.kernel_mss import MssClamp
from gateway.dataplane.kernel_owner import Owner, shut, sweep
from gateway.dataplane.kernel_policies import Policies
from gateway.dataplane.kernel_queue import FirstPackets
from gateway.dataplane.kernel_routes import Routes
from gateway.dataplane.kernel_sockets import bypass, take_esp
from gateway.dataplane.kernel_states import States
from gateway.dataplane.netlink import NETLINK_XFRM, Netlink
from gateway.dataplane.xfrm import XFRMA_LASTUSED
from gateway.dataplane.xfrm_messages import Place, find, state_removal, states_dump
from gateway.dataplane.xfrm_policies import Spot, policies_dump, read_policy
from gateway.dataplane.xfrm_reading import read_state
from gateway.dataplane.xfrm_structs import XfrmId, XfrmUsersaInfo
from gateway.ike.plane import (
    Action,
    AddAddress,
    AddInterface,
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
    RemoveInterface,
    RemovePolicy,
    RemoveRoute,
    RemoveState,
    RuleCounters,
    SkipSequence,
    StateKey,
)
from gateway.ike.plane_events import PlaneEvent
from gateway.ike.plane_protocol import Mended

_log = logging.getLogger(__name__)

__all__ = ["KernelPlane", "bypass"]

_ADDITIONS = (AddState, AddPolicy, AddRoute, MoveState, AddInterface, AddAddress)
# Out of IPsec; and with no IPsec before it, neither by a policy nor by an XFRM interface.
_PAST_IPSEC = "meta ipsec exists", 'rt ipsec missing meta oifkind != "xfrm"'
_LOOPBACK = 1  # net/core/dev.c: LOOPBACK_IFINDEX, the same in each network namespace
# What counting needs of struct xfrm_usersa_info: id, lft, curlft.bytes and .packets, stats, family.
_u64 = struct.Struct("=Q")
_counted = struct.Struct("=56x16s4s4x16x64sQQ16x4xII8xH10x")


class KernelPlane:
    """XFRM in the network namespace in which the object is made. Raises OSError when there is no NETLINK_XFRM.

    Routes go into `table`, looked up by a rule with `rule_priority`.
    """

    name = "kernel"
    needs_encapsulation = False

    def __init__(self, *, table: int = 7296, rule_priority: int = 220) -> None:
        self._netlink = Netlink(NETLINK_XFRM)
        self._owner = Owner()
        self._events = Events(self, self._netlink.port)
        self._tag = self._owner.tag
        self._policies = Policies(self._tag)
        self._interfaces = Interfaces(self._owner.instance, self._owner.gone)
        self._routes = Routes(table, rule_priority, self._owner.alone, self._interfaces.index)
        self._addresses = Addresses(_LOOPBACK)
        self._mss = MssClamp(str(table))
        self._access = AccessRules(str(table), *_PAST_IPSEC)
        self._first_packets = FirstPackets()
        self._early = EarlyPackets()
        self._tables = 0
        self._states = States(self._netlink, self._tag)

    def describe(self) -> str:
        return f"kernel: ESP by XFRM of Linux {os.uname().release}"

    def shut(self) -> str:
        """Drop from now on what killed processes of ours protected in this network namespace, and remove their states.

        What they dropped stays dropped, and what they routed into XFRM interfaces stays there: until `sweep`, or until
        what is ordered takes its place, in one step each. A sentence when there was something.
        """
        try:
            states, self._policies.left = shut(self._netlink, self._owner)
            if self._owner.alone():
                self._routes.find_left()
                self._mss.sweep()
                self._access.sweep()
        except OSError as failure:
            _log.warning("what an earlier process left in the kernel cannot be shut: %s", failure)
            return ""
        if not states and not self._policies.left:
            return ""
        policies = len(self._policies.left)
        return f"removed {states} states that an earlier process left; its {policies} policies are shut for now"

    def sweep(self) -> str:
        """Remove what killed processes of ours left in this network namespace, and nothing has taken the place of.

        A sentence when there was something.
        """
        try:
            states, policies = sweep(self._netlink, self._owner)
            routes = self._routes.sweep() if self._owner.alone() else 0
            interfaces = self._interfaces.sweep()
        except OSError as failure:
            _log.warning("what an earlier process left in the kernel could not be removed: %s", failure)
            return ""
        self._policies.left = {}
        if not states + policies + routes + interfaces:
            return ""
        also = f", {interfaces} XFRM interfaces" if interfaces else ""
        return f"removed {states} states, {policies} policies{also} and {routes} routes that an earlier process left"

    def adopt(self, sock: socket.socket, ike_received: IkeReceived) -> bool:
        """Let the kernel take ESP out of the socket. Raises Refused when it cannot."""
        take_esp(sock)
        bypass(sock)
        return False

    def exempt(self, sock: socket.socket) -> None:
        bypass(sock)

    def listen(self, emit: Callable[[PlaneEvent], None]) -> None:
        self._events.listen(emit)
        self._access.listen(emit)
        self._early.listen()

    def allocate_spi(self, source: str, destination: str) -> int:
        return self._states.allocate(source, destination)

    def apply(self, orders: Sequence[Order]) -> None:
        """Raises Refused.

        A state that is removed and added again in one batch, with the same SPI and keys, is moved to other addresses
        or ports: its sequence numbers, replay window and counters go on.
        """
        self._access.obey(orders)
        batch = Batch(self._netlink)
        last_addition = max((i for i, order in enumerate(orders) if isinstance(order, _ADDITIONS)), default=-1)
        try:
            before = self._states.read_before(orders, last_addition)
            for i, order in enumerate(orders):
                self._carry_out(order, batch, before)
                if i == last_addition:
                    batch.flush()  # a removal cannot fail, so it goes after all that can
            batch.flush()
            self._states.check_offload(orders)
        except Refused:
            batch.rollback()
            raise
        self._settle(orders)
        for order in orders:  # last of all: its routes go with it, and would not come back with a refused batch
            if isinstance(order, RemoveInterface):
                self._interfaces.remove(order.interface)
        if self._mss.wanted or any(isinstance(order, AddState | MoveState) and order.state.mss for order in orders):
            self._mss.want(self._states.clamps())

    def _settle(self, orders: Sequence[Order]) -> None:
        """What is expected from now on, and what no longer, as its state is there or its SPI given back."""
        for order in orders:
            if isinstance(order, Expect):
                self._early.expect(order.key.spi)
            elif not self._early.expected:
                continue
            elif isinstance(order, AddState) and order.state.inbound:
                self._early.settle(order.state.spi)
            elif isinstance(order, RemoveState) and order.inbound:
                self._early.settle(order.key.spi)

    def _carry_out(self, order: Order, batch: Batch, before: dict[Place, bytes]) -> None:
        match order:
            case AddState(state):
                self._states.add(state, batch, before)
            case RemoveState(key):
                self._states.remove(key, batch, before)
            case MoveState(key, state):
                self._states.move(key, state, batch, before)
            case SkipSequence(key, by):
                self._states.skip(key, by, batch)
            case AddPolicy(policy):
                if policy.direction is Direction.OUT and policy.action is Action.PROTECT and policy.spi is None:
                    self._first_packets.keep()
                self._policies.add(policy, batch)
            case RemovePolicy(policy):
                self._policies.remove(policy, batch)
            case _:
                self._carry_out_around(order, batch)

    def _carry_out_around(self, order: Order, batch: Batch) -> None:
        """What is not XFRM's own: routes, interfaces and addresses."""
        match order:
            case AddRoute(route):
                batch.flush()
                self._routes.add(route)
                batch.on_rollback(partial(self._routes.remove, route))
            case RemoveRoute(route):
                if self._routes.remove(route):
                    batch.on_rollback(partial(self._routes.add, route))
            case AddInterface(interface):
                batch.flush()
                self._interfaces.add(interface)
                batch.on_rollback(partial(self._interfaces.remove, interface))
            case AddAddress(address):
                batch.flush()
                self._addresses.add(address)
                batch.on_rollback(partial(self._addresses.remove, address))
            case RemoveAddress(address):
                if self._addresses.remove(address):
                    batch.on_rollback(partial(self._addresses.add, address))

    def counters(self) -> Mapping[StateKey, Counters]:
        """Of every state of ours that lies there; `last_used` in seconds since 1970.

        Where the kernel does not tell it (before 6.2), it is the time of the first dump that showed the last packet.
        """
        counters: dict[StateKey, Counters] = {}
        try:
            bodies = self._netlink.dump(states_dump())
        except OSError as failure:
            _log.warning("the kernel's counters cannot be read: %s", failure)
            return counters
        size, now = _counted.size, time.time()
        for body in bodies:
            daddr, spi, lifetime, octets, packets, replays, forged, family = _counted.unpack_from(body)
            known = self._states.known.get(Place(family, daddr, int.from_bytes(spi)))
            if known and self._tag.marks(lifetime):
                if packets > known.packets:
                    known.packets, known.grown = packets, now
                told = find(body, size, XFRMA_LASTUSED)
                last_used = float(_u64.unpack(told)[0]) if told else known.grown
                refused = known.replays + replays, known.forged + forged
                counters[known.key] = Counters(octets, packets, *refused, last_used)
        return counters

    def rule_counters(self) -> Mapping[str, RuleCounters]:
        return self._access.counters()

    def shortcomings(self) -> Sequence[str]:
        return self._access.shortcomings()

    def states(self) -> Sequence[EspState]:
        found: list[EspState] = []
        try:
            bodies = self._netlink.dump(states_dump())
        except OSError as failure:
            _log.warning("the kernel's states cannot be read: %s", failure)
            return found
        for body in bodies:
            place = self._place_of_ours(body)
            if place and (state := read_state(body, inbound=self._states.known[place].inbound)):
                found.append(state)
        return found

    def policies(self) -> Sequence[Policy]:
        try:
            return self._policies.found([read_policy(body) for body in self._netlink.dump(policies_dump())])
        except OSError as failure:
            _log.warning("the kernel's policies cannot be read: %s", failure)
            return ()

    def trouble(self) -> str:
        return ""  # what it lacks is told state by state

    def mend(self) -> Mended:
        try:
            there = {place for body in self._netlink.dump(states_dump()) if (place := self._place_of_ours(body))}
            read = [read_policy(body) for body in self._netlink.dump(policies_dump())]
        except OSError as failure:
            _log.warning("the kernel's states and policies cannot be read: %s", failure)
            return Mended()
        gone = frozenset(known.key for place, known in self._states.known.items() if place not in there)
        batch = Batch(self._netlink)
        policies = self._policies.put_back(read, batch)
        try:
            batch.flush()
        except Refused as refused:
            _log.warning("not everything that is gone from the kernel is back: %s", refused.why)
        interfaces = self._interfaces.put_back()
        addresses = self._addresses.put_back()  # routes lead into the ones, and start with the others
        tables, self._tables = self._tables, 0
        return Mended(gone, policies, self._routes.put_back(), interfaces, addresses, tables)

    def look(self) -> bool:
        found = self._mss.look()
        self._tables += found
        return found

    def _place_of_ours(self, body: bytes) -> Place | None:
        info = XfrmUsersaInfo.unpack_from(body)
        ident = XfrmId.unpack_from(info.id)
        place = Place(info.family, ident.daddr, ident.spi)
        return place if place in self._states.known and self._tag.marks(info.lft) else None

    def state_key(self, place: Place) -> StateKey | None:
        """The key of a state of ours (for events)."""
        known = self._states.known.get(place)
        return known.key if known else None

    def warns_first(self, place: Place) -> bool:
        """Whether the soft limit of a state of ours is told for the first time (for events).

        The kernel tells it again when a state lives for another second, or has moved.
        """
        known = self._states.known.get(place)
        first = known is not None and not known.warned
        if known:
            known.warned = True
        return first

    def policy_behind(self, spot: Spot) -> Policy | None:
        """The policy of ours in which a packet was caught (for events)."""
        return self._policies.acquired(spot)

    def close(self) -> None:
        batch = Batch(self._netlink)
        self._events.close()
        for policy in self._policies.everything():
            self._policies.remove(policy, batch)
        self._policies.end_exemption(batch)
        for place in self._states.places():
            batch.add(Step(state_removal(place), partial("removing state {:08x}".format, place.spi), tolerated=ABSENT))
        try:
            batch.flush()
        except Refused as refused:
            _log.warning("not everything of ours could be removed from the kernel: %s", refused.why)
        self._states.forget()
        self._routes.close()
        self._interfaces.close()
        self._addresses.close()
        self._mss.close()
        self._access.close()
        self._first_packets.close()
        self._early.close()
        self._netlink.close()
        self._owner.close()
