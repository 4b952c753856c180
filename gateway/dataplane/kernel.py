"""The kernel's data plane: ESP states and policies in XFRM, told by NETLINK_XFRM."""

import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.dataplane.driver import IkeReceived
from gateway.dataplane.kernel_batch import ABSENT, Batch, Step, refusal
from gateway.dataplane.kernel_events import Events
from gateway.dataplane.kernel_owner import Owner, sweep
from gateway.dataplane.kernel_policies import Policies
from gateway.dataplane.kernel_routes import Routes
from gateway.dataplane.kernel_sockets import bypass, take_esp
from gateway.dataplane.netlink import NETLINK_XFRM, Netlink, NetlinkError, Request
from gateway.dataplane.xfrm import XFRM_MSG_NEWSA, XFRMA_LASTUSED
from gateway.dataplane.xfrm_messages import (
    Place,
    allocation,
    find,
    place_of,
    read_state,
    redacted,
    restore_request,
    same_keys,
    state_query,
    state_removal,
    state_request,
    states_dump,
)
from gateway.dataplane.xfrm_policies import Spot, policies_dump, read_policy
from gateway.dataplane.xfrm_structs import XfrmId, XfrmUsersaInfo
from gateway.ike.plane import (
    AddPolicy,
    AddRoute,
    AddState,
    Counters,
    EspState,
    Order,
    PlaneEvent,
    Policy,
    Refused,
    RemovePolicy,
    RemoveRoute,
    RemoveState,
    StateKey,
)

_log = logging.getLogger(__name__)

__all__ = ["KernelPlane", "bypass"]

_ADDITIONS = (AddState, AddPolicy, AddRoute)
_ALLOCATION_TRIES = 16
_OFFSET = XfrmUsersaInfo.OFFSETS
# What counting needs of struct xfrm_usersa_info: id, the tag in lft, curlft.bytes and .packets, stats, family.
_u64 = struct.Struct("=Q")
_counted = struct.Struct("=56x16s4s4x16x16s48xQQ16x4xII8xH10x")


@dataclass(slots=True)
class _Known:
    """A state of ours, and when the count of its packets was last seen to have grown."""

    key: StateKey
    inbound: bool
    packets: int = 0
    grown: float = 0.0


class KernelPlane:
    """XFRM in the network namespace in which the object is made. Raises OSError when there is no NETLINK_XFRM.

    Routes go into `table`, looked up by a rule with `rule_priority`.
    """

    name = "kernel"
    needs_encapsulation = False

    def __init__(self, *, table: int = 7296, rule_priority: int = 220) -> None:
        self._netlink = Netlink(NETLINK_XFRM)
        self._owner = Owner()
        self._events = Events(self)
        self._tag = self._owner.tag
        self._policies = Policies(self._tag)
        self._routes = Routes(table, rule_priority, self._owner.alone)
        self._held: dict[Place, tuple[StateKey, str]] = {}
        self._states: dict[Place, _Known] = {}

    def describe(self) -> str:
        return f"kernel: ESP by XFRM of Linux {os.uname().release}"

    def sweep(self) -> str:
        """Remove what killed processes of ours left in this network namespace; a sentence when there was something."""
        try:
            states, policies = sweep(self._netlink, self._owner)
            routes = self._routes.sweep() if self._owner.alone() else 0
        except OSError as failure:
            _log.warning("what an earlier process left in the kernel could not be removed: %s", failure)
            return ""
        if not states + policies + routes:
            return ""
        return f"removed {states} states, {policies} policies and {routes} routes that an earlier process left"

    def adopt(self, sock: socket.socket, ike_received: IkeReceived) -> bool:
        """Let the kernel take ESP out of the socket. Raises Refused when it cannot."""
        take_esp(sock)
        bypass(sock)
        return False

    def exempt(self, sock: socket.socket) -> None:
        bypass(sock)

    def listen(self, emit: Callable[[PlaneEvent], None]) -> None:
        self._events.listen(emit)

    def allocate_spi(self, source: str, destination: str) -> int:
        try:
            for _ in range(_ALLOCATION_TRIES):
                ident = XfrmId.unpack_from(self._netlink.ask(allocation(source, destination)), _OFFSET["id"])
                place = place_of(destination, ident.spi)
                if place not in self._states and place not in self._held:
                    self._held[place] = (StateKey(destination, ident.spi), source)
                    return ident.spi
        except OSError as failure:
            raise refusal(f"allocating an SPI at {destination}", failure) from failure
        raise Refused(f"no free SPI found at {destination}")

    def apply(self, orders: Sequence[Order]) -> None:
        """Raises Refused.

        A state that is removed and added again in one batch, with the same SPI and keys, is moved to other addresses
        or ports: its sequence numbers, replay window and counters go on.
        """
        batch = Batch(self._netlink)
        last_addition = max((i for i, order in enumerate(orders) if isinstance(order, _ADDITIONS)), default=-1)
        try:
            before = self._read_before(orders[: last_addition + 1], orders)
            for i, order in enumerate(orders):
                self._carry_out(order, batch, before)
                if i == last_addition:
                    batch.flush()  # a removal cannot fail, so it goes after all that can
            batch.flush()
        except Refused:
            batch.rollback()
            raise

    def _carry_out(self, order: Order, batch: Batch, before: Mapping[Place, bytes]) -> None:
        match order:
            case AddState(state):
                self._add_state(state, batch, before)
            case RemoveState(key):
                self._remove_state(key, batch, before)
            case AddPolicy(policy):
                self._policies.add(policy, batch)
            case RemovePolicy(policy):
                self._policies.remove(policy, batch)
            case AddRoute(route):
                batch.flush()
                self._routes.add(route)
                batch.on_rollback(partial(self._routes.remove, route))
            case RemoveRoute(route):
                if self._routes.remove(route):
                    batch.on_rollback(partial(self._routes.add, route))

    def _read_before(self, until_addition: Sequence[Order], orders: Sequence[Order]) -> dict[Place, bytes]:
        """The states that must be known as they lie now: they are moved, or additions follow that may fail."""
        added = {order.state.spi for order in until_addition if isinstance(order, AddState)}
        before: dict[Place, bytes] = {}
        for i, order in enumerate(orders):
            if isinstance(order, RemoveState) and (i < len(until_addition) or order.key.spi in added):
                place = place_of(order.key.destination, order.key.spi)
                if place in self._states:
                    try:
                        before[place] = self._netlink.ask(state_query(place))
                    except NetlinkError as failure:
                        _log.info("state %08x is not there any more: %s", order.key.spi, failure)
        return before

    def _add_state(self, state: EspState, batch: Batch, before: Mapping[Place, bytes]) -> None:
        place = place_of(state.destination, state.spi)
        doing = partial(_adding, state)
        remove = partial(_all, partial(state_removal, place))
        for other, body in before.items():
            if other.spi == state.spi and same_keys(body, state_request(state, self._tag)):
                batch.add(Step(state_request(state, self._tag, before=body), doing, remove))
                break
        else:
            held = self._held.pop(place, None)
            request = state_request(state, self._tag, allocated=held is not None)
            if held:
                # The kernel forgets an allocated SPI after net.core.xfrm_acq_expires (30 s); we remember it.
                again = partial(allocation, held[1], state.destination, state.spi, state.spi)
                undo = partial(_all, partial(state_removal, place), again)
                batch.add(Step(request, doing, undo, otherwise=(XFRM_MSG_NEWSA, *request[1:])))
                batch.on_rollback(partial(self._held.__setitem__, place, held))
            else:
                batch.add(Step(request, doing, remove))
        self._know(place, _Known(state.key, state.inbound), batch)

    def _remove_state(self, key: StateKey, batch: Batch, before: Mapping[Place, bytes]) -> None:
        place = place_of(key.destination, key.spi)
        doing = partial("removing state {:08x}".format, key.spi)
        held = self._held.pop(place, None)
        if held:
            batch.on_rollback(partial(self._held.__setitem__, place, held))
            again = partial(allocation, held[1], key.destination, key.spi, key.spi)
            batch.add(Step(state_removal(place), doing, partial(_all, again), ABSENT))
        elif place in self._states:
            body = before.get(place)
            restore = partial(_all, partial(restore_request, body)) if body and not redacted(body) else tuple
            batch.add(Step(state_removal(place), doing, restore, ABSENT))
            self._know(place, None, batch)

    def _know(self, place: Place, known: _Known | None, batch: Batch) -> None:
        """Remember a state as ours, or forget it."""
        previous = self._states.get(place)
        if known:
            self._states[place] = known
        else:
            self._states.pop(place, None)
        if previous:
            batch.on_rollback(partial(self._states.__setitem__, place, previous))
        else:
            batch.on_rollback(partial(self._states.pop, place, None))

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
            known = self._states.get(Place(family, daddr, int.from_bytes(spi)))
            if known and self._tag.marks(lifetime):
                if packets > known.packets:
                    known.packets, known.grown = packets, now
                told = find(body, size, XFRMA_LASTUSED)
                last_used = float(_u64.unpack(told)[0]) if told else known.grown
                counters[known.key] = Counters(octets, packets, replays, forged, last_used)
        return counters

    def states(self) -> Sequence[EspState]:
        found: list[EspState] = []
        try:
            bodies = self._netlink.dump(states_dump())
        except OSError as failure:
            _log.warning("the kernel's states cannot be read: %s", failure)
            return found
        for body in bodies:
            info = XfrmUsersaInfo.unpack_from(body)
            ident = XfrmId.unpack_from(info.id)
            known = self._states.get(Place(info.family, ident.daddr, ident.spi))
            if known and self._tag.marks(info.lft) and (state := read_state(body, inbound=known.inbound)):
                found.append(state)
        return found

    def policies(self) -> Sequence[Policy]:
        try:
            return self._policies.found([read_policy(body) for body in self._netlink.dump(policies_dump())])
        except OSError as failure:
            _log.warning("the kernel's policies cannot be read: %s", failure)
            return ()

    def state_key(self, place: Place) -> StateKey | None:
        """The key of a state of ours (for events)."""
        known = self._states.get(place)
        return known.key if known else None

    def policy_behind(self, spot: Spot) -> Policy | None:
        """The policy of ours in which a packet was caught (for events)."""
        return self._policies.acquired(spot)

    def close(self) -> None:
        batch = Batch(self._netlink)
        self._events.close()
        for policy in self._policies.everything():
            self._policies.remove(policy, batch)
        self._policies.end_exemption(batch)
        for place in (*self._states, *self._held):
            batch.add(Step(state_removal(place), partial("removing state {:08x}".format, place.spi), tolerated=ABSENT))
        try:
            batch.flush()
        except Refused as refused:
            _log.warning("not everything of ours could be removed from the kernel: %s", refused.why)
        self._states.clear()
        self._held.clear()
        self._routes.close()
        self._netlink.close()
        self._owner.close()


def _all(*makers: Callable[[], Request]) -> list[Request]:
    return [make() for make in makers]


def _adding(state: EspState) -> str:
    return f"adding {'inbound' if state.inbound else 'outbound'} state {state.spi:08x}"
