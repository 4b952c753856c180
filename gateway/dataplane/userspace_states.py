"""The states of the userspace data plane, both ways, and which of them a batch of orders may add or move."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from gateway.dataplane.userspace_inbound import Inbound
from gateway.dataplane.userspace_outbound import Outbound
from gateway.dataplane.userspace_sas import InboundSa, OutboundSa
from gateway.ike.plane import (
    AddInterface,
    AddPolicy,
    AddState,
    EspState,
    MoveState,
    Order,
    Policy,
    Refused,
    RemoveState,
    SkipSequence,
    StateKey,
)
from gateway.policy.peers import Mode, Offload

_NO_INTERFACES = "XFRM interfaces are the kernel's; the userspace data plane has none"

Sa = InboundSa | OutboundSa


class States:
    """Those that the packet paths have. What is to be added is made first: a batch is refused as a whole."""

    def __init__(self, inbound: Inbound, outbound: Outbound, random: Callable[[int], bytes]) -> None:
        self._inbound, self._outbound = inbound, outbound
        self._random = random

    def make(self, orders: Sequence[Order]) -> list[Sa]:
        """The SAs of the states to be added or moved, in their order; nothing is changed. Raises Refused."""
        removed: list[Sa] = []
        gone: set[StateKey] = set()
        new: dict[StateKey, Sa] = {}
        made: list[Sa] = []
        for order in orders:
            if isinstance(order, RemoveState):
                old = new.pop(order.key, None) or self._existing(order.key)
                gone.add(order.key)
                if old is not None:
                    removed.append(old)
            elif isinstance(order, AddState):
                sa = self._sa(order.state, new, gone)
                _inherit(sa, removed)
                new[sa.state.key] = sa
                made.append(sa)
            elif isinstance(order, MoveState):
                moving = new.pop(order.key, None) or (None if order.key in gone else self._existing(order.key))
                gone.add(order.key)
                if moving is None:
                    raise Refused(f"there is no state with SPI {order.key.spi:08x} to {order.key.destination} to move")
                sa = self._sa(order.state, new, gone)
                if not _inherit(sa, [moving]):
                    raise Refused(f"the state with SPI {order.key.spi:08x} can be moved, but not become another SA")
                new[sa.state.key] = sa
                made.append(sa)
            elif isinstance(order, SkipSequence) and not (new.get(order.key) or self._outbound.find(order.key)):
                raise Refused(f"there is no state with SPI {order.key.spi:08x} to {order.key.destination}")
            elif isinstance(order, AddInterface):
                raise Refused(f"the interface {order.interface.name}: {_NO_INTERFACES}")
            elif isinstance(order, AddPolicy) and (why := _beyond(order.policy)):
                raise Refused(f"a policy for {order.policy.source} to {order.policy.destination}: {why}")
        return made

    def _sa(self, state: EspState, new: Mapping[StateKey, Sa], gone: AbstractSet[StateKey]) -> Sa:
        """What is to lie there beside the `new` ones and all that is not `gone` by then. Raises Refused."""
        there = self._existing(state.key), self._inbound.find(state.spi)
        staying = [sa for sa in there if sa is not None and sa.state.key not in gone]
        if any(_clash(sa.state, state) for sa in (*new.values(), *staying)):
            raise Refused(f"a state with SPI {state.spi:08x} to {state.destination} exists already")
        try:
            if why := _beyond(state):
                raise ValueError(why)
            return InboundSa(state) if state.inbound else OutboundSa(state, self._random)
        except ValueError as error:
            raise Refused(f"the state with SPI {state.spi:08x} to {state.destination}: {error}") from error

    def _existing(self, key: StateKey) -> Sa | None:
        inbound = self._inbound.find(key.spi)
        if inbound is not None and inbound.state.key == key:
            return inbound
        return self._outbound.find(key)

    def move(self, key: StateKey, sa: Sa) -> None:
        """What lies under `key` goes on as this."""
        if isinstance(sa, InboundSa):
            self._inbound.remove(key)
            self._inbound.add(sa)
        else:
            self._outbound.move(key, sa)

    def add(self, sa: Sa) -> None:
        if isinstance(sa, InboundSa):
            self._inbound.add(sa)
        else:
            self._outbound.add(sa)

    def remove(self, key: StateKey) -> None:
        self._inbound.remove(key)
        self._outbound.remove(key)

    def all(self) -> list[Sa]:
        return [*self._inbound.states(), *self._outbound.states()]


def _clash(one: EspState, two: EspState) -> bool:
    """Whether both cannot lie there: what comes in is matched by its SPI alone (RFC 4301 4.1)."""
    return one.key == two.key or (one.inbound and two.inbound and one.spi == two.spi)


def _beyond(thing: EspState | Policy) -> str:
    """What of a state or policy this data plane cannot do, as a sentence; "" when it can do it."""
    if thing.mode is Mode.TRANSPORT:
        return "the userspace data plane knows tunnel mode alone: packets to the peer itself do not come by its device"
    if thing.interface_id:
        return _NO_INTERFACES
    if thing.mark:
        return "the userspace data plane does not see the marks of packets"
    if isinstance(thing, EspState) and thing.offload is not Offload.NONE:
        return "the userspace data plane does ESP by itself: no device can take it off its hands"
    return ""


def _inherit(sa: Sa, removed: Sequence[Sa]) -> bool:
    """Go on with the sequence numbers and the window of the same SA, when it is only given other addresses or ports.

    Whether there was one.
    """
    found = False
    for old in removed:
        same = old.state.spi == sa.state.spi and old.state.encr_key == sa.state.encr_key
        if same and old.state.integ_key == sa.state.integ_key:
            match old, sa:
                case (InboundSa() as before, InboundSa() as now):
                    now.inherit(before)
                    found = True
                case (OutboundSa() as before, OutboundSa() as now):
                    now.inherit(before)
                    found = True
    return found
