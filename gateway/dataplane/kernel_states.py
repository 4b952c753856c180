"""Our ESP states and the SPIs we hold, and the requests that make, move and remove them in the kernel."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.dataplane.kernel_batch import ABSENT, Batch, Step, refusal
from gateway.dataplane.netlink import Netlink, NetlinkError, Request
from gateway.dataplane.xfrm import XFRM_MSG_NEWSA, XFRM_MSG_UPDSA, XFRMA_ENCAP, XFRMA_OFFLOAD_DEV
from gateway.dataplane.xfrm_messages import (
    Place,
    Tag,
    allocation,
    find,
    place_of,
    redacted,
    restore_request,
    same_keys,
    skipping,
    state_query,
    state_removal,
    state_request,
)
from gateway.dataplane.xfrm_structs import XfrmId, XfrmStats, XfrmUsersaInfo
from gateway.ike.plane import AddState, EspState, MoveState, Order, Refused, RemoveState, StateKey
from gateway.policy.peers import Offload

_log = logging.getLogger(__name__)

_ALLOCATION_TRIES = 16
_OFFSET = XfrmUsersaInfo.OFFSETS


@dataclass(slots=True)
class Known:
    """A state of ours, when the count of its packets was last seen to have grown, and what a move would forget.

    `replays` and `forged` were counted before it moved; `warned` says that its soft limit was told; `clamp` is the MSS
    for its reqid.
    """

    key: StateKey
    inbound: bool
    packets: int = 0
    grown: float = 0.0
    replays: int = 0
    forged: int = 0
    warned: bool = False
    clamp: tuple[int, int] | None = None

    def moved(self, state: EspState, before: bytes) -> "Known":
        """The same after a move; the kernel's counts of what was refused begin anew."""
        stats = XfrmStats.unpack_from(before, _OFFSET["stats"])
        counted = self.replays + stats.replay, self.forged + stats.integrity_failed
        return Known(state.key, self.inbound, self.packets, self.grown, *counted, self.warned, _clamp(state))


class States:
    """What we put into the kernel, by its place there."""

    def __init__(self, netlink: Netlink, tag: Tag) -> None:
        self._netlink = netlink
        self._tag = tag
        self._held: dict[Place, tuple[StateKey, str]] = {}
        self.known: dict[Place, Known] = {}

    def clamps(self) -> dict[int, int]:
        """The MSS by the reqid, of those states that have one."""
        return dict(known.clamp for known in self.known.values() if known.clamp)

    def places(self) -> list[Place]:
        """Of all that is ours: states and allocated SPIs."""
        return [*self.known, *self._held]

    def forget(self) -> None:
        self.known.clear()
        self._held.clear()

    def allocate(self, source: str, destination: str) -> int:
        """Raises Refused."""
        try:
            for _ in range(_ALLOCATION_TRIES):
                ident = XfrmId.unpack_from(self._netlink.ask(allocation(source, destination)), _OFFSET["id"])
                place = place_of(destination, ident.spi)
                if place not in self.known and place not in self._held:
                    self._held[place] = (StateKey(destination, ident.spi), source)
                    return ident.spi
        except OSError as failure:
            raise refusal(f"allocating an SPI at {destination}", failure) from failure
        raise Refused(f"no free SPI found at {destination}")

    def read_before(self, orders: Sequence[Order], last_addition: int) -> dict[Place, bytes]:
        """The states that must be known as they lie now: they are moved, or additions follow that may fail."""
        added = {order.state.spi for order in orders[: last_addition + 1] if isinstance(order, AddState)}
        before: dict[Place, bytes] = {}
        for i, order in enumerate(orders):
            removed = isinstance(order, RemoveState) and (i <= last_addition or order.key.spi in added)
            if (isinstance(order, RemoveState) and removed) or isinstance(order, MoveState):
                place = place_of(order.key.destination, order.key.spi)
                if place in self.known:
                    try:
                        before[place] = self._netlink.ask(state_query(place))
                    except NetlinkError as failure:
                        _log.info("state %08x is not there any more: %s", order.key.spi, failure)
        return before

    def add(self, state: EspState, batch: Batch, before: Mapping[Place, bytes]) -> None:
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
        self._know(place, Known(state.key, state.inbound, clamp=_clamp(state)), batch)

    def remove(self, key: StateKey, batch: Batch, before: Mapping[Place, bytes]) -> None:
        place = place_of(key.destination, key.spi)
        doing = partial("removing state {:08x}".format, key.spi)
        held = self._held.pop(place, None)
        if held:
            batch.on_rollback(partial(self._held.__setitem__, place, held))
            again = partial(allocation, held[1], key.destination, key.spi, key.spi)
            batch.add(Step(state_removal(place), doing, partial(_all, again), ABSENT))
        elif place in self.known:
            batch.add(Step(state_removal(place), doing, _restoring(before.get(place)), ABSENT))
            self._know(place, None, batch)

    def move(self, key: StateKey, state: EspState, batch: Batch, before: dict[Place, bytes]) -> None:
        """Let a state go on with other addresses or ports. Raises Refused when it is not there, or another SA.

        Where only ports change the kernel changes them in place. Otherwise the state is added anew with its replay
        window and counters, before the old one goes if both have room beside each other. (XFRM_MSG_MIGRATE picks a
        state by its reqid, so it cannot tell an SA from the one that replaces it.)
        """
        old, new = place_of(key.destination, key.spi), place_of(state.destination, state.spi)
        known, body = self.known.get(old), before.pop(old, b"")
        if known is None or not body:
            raise Refused(f"there is no state with SPI {key.spi:08x} to {key.destination} to move")
        request = state_request(state, self._tag, before=body)
        if key.spi != state.spi or not same_keys(body, request):
            raise Refused(f"the state with SPI {key.spi:08x} can be moved, but not become another SA")
        doing = partial(_moving, state)
        if old == new and _same_kind(body, request[2]):
            back = partial(_all, partial(_updating, restore_request(body))) if not redacted(body) else tuple
            batch.add(Step(_updating(request), doing, back))
            return
        add = Step(request, doing, partial(_all, partial(state_removal, new)))
        remove = Step(state_removal(old), doing, _restoring(body), ABSENT)
        for step in (remove, add) if old == new else (add, remove):
            batch.add(step)
        self._know(old, None, batch)
        self._know(new, known.moved(state, body), batch)

    def skip(self, key: StateKey, by: int, batch: Batch) -> None:
        """Raises Refused when the state is not there."""
        place = place_of(key.destination, key.spi)
        doing = partial("skipping sequence numbers of state {:08x}".format, key.spi)
        try:
            body = self._netlink.ask(state_query(place))
        except OSError as failure:
            raise refusal(doing(), failure) from failure
        batch.add(Step(skipping(place, body, by), doing))

    def check_offload(self, orders: Sequence[Order]) -> None:
        """Raises Refused where a device was to do ESP and the kernel kept it to itself."""
        for order in orders:
            if isinstance(order, AddState | MoveState) and order.state.offload is not Offload.NONE:
                state = order.state
                try:
                    body = self._netlink.ask(state_query(place_of(state.destination, state.spi)))
                except OSError as failure:
                    raise refusal(f"reading state {state.spi:08x}", failure) from failure
                if not find(body, XfrmUsersaInfo.LAYOUT.size, XFRMA_OFFLOAD_DEV):
                    peer = state.source if state.inbound else state.destination
                    raise Refused(f"{state.offload} offload: the device on the way to {peer} does none for this state")

    def _know(self, place: Place, known: Known | None, batch: Batch) -> None:
        """Remember a state as ours, or forget it."""
        previous = self.known.get(place)
        if known:
            self.known[place] = known
        else:
            self.known.pop(place, None)
        if previous:
            batch.on_rollback(partial(self.known.__setitem__, place, previous))
        else:
            batch.on_rollback(partial(self.known.pop, place, None))


def _clamp(state: EspState) -> tuple[int, int] | None:
    return (state.reqid, state.mss) if state.mss else None


def _same_kind(before: bytes, after: bytes) -> bool:
    """Whether one state can become the other where it lies: the kernel then changes ports, and nothing else."""
    one, two = XfrmUsersaInfo.unpack_from(before), XfrmUsersaInfo.unpack_from(after)
    return one.saddr == two.saddr and bool(_encapsulation(before)) is bool(_encapsulation(after))


def _encapsulation(body: bytes) -> bytes:
    return find(body, XfrmUsersaInfo.LAYOUT.size, XFRMA_ENCAP)


def _updating(request: Request) -> Request:
    return XFRM_MSG_UPDSA, request[1], request[2]


def _restoring(body: bytes | None) -> Callable[[], Sequence[Request]]:
    return partial(_all, partial(restore_request, body)) if body and not redacted(body) else tuple


def _all(*makers: Callable[[], Request]) -> list[Request]:
    return [make() for make in makers]


def _adding(state: EspState) -> str:
    offload = "" if state.offload is Offload.NONE else f" with {state.offload} offload"
    return f"adding {'inbound' if state.inbound else 'outbound'} state {state.spi:08x}{offload}"


def _moving(state: EspState) -> str:
    return f"moving {'inbound' if state.inbound else 'outbound'} state {state.spi:08x} to {state.destination}"
