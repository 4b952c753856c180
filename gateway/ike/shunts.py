"""Shunts: traffic that passes in the clear or is dropped, whatever the children say of the same packets."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from gateway.ike.core import Core
from gateway.ike.modes import fits
from gateway.ike.plane import (
    Action,
    AddPolicy,
    Counters,
    Direction,
    EspState,
    Order,
    Policy,
    PolicyKey,
    Refused,
    RemovePolicy,
    RuleCounters,
    StateKey,
)
from gateway.ike.plane_events import PlaneEvent
from gateway.ike.plane_protocol import DataPlane, Mended
from gateway.policy.peers import Shunt, ShuntAction

_ACTIONS = {ShuntAction.PASS: Action.PASS, ShuntAction.DROP: Action.DROP}


class Overlaid:
    """A data plane with shunts in it.

    A data plane has one policy for a direction and a pair of selectors. Where a shunt is it, what a child orders for
    the very same packets is remembered, and put there when the shunt goes.
    """

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self.name = plane.name
        self.needs_encapsulation = plane.needs_encapsulation
        self._shunts: dict[PolicyKey, Policy] = {}
        self._beneath: dict[PolicyKey, Policy] = {}

    def replace(self, wanted: Mapping[PolicyKey, Policy]) -> None:
        """Make these the shunts; only what differs is touched. Raises Refused, and then nothing has changed."""
        new = {key: policy for key, policy in wanted.items() if self._shunts.get(key) != policy}
        gone = [policy for key, policy in self._shunts.items() if key not in wanted]
        if not new and not gone:
            return
        lying = {policy.key: policy for policy in self._plane.policies()} if new else {}
        orders: list[Order] = [AddPolicy(policy) for policy in new.values()]
        for policy in gone:
            beneath = self._beneath.get(policy.key)
            orders.append(AddPolicy(beneath) if beneath else RemovePolicy(policy))
        self._plane.apply(orders)
        for key in (new.keys() - self._shunts.keys()) & lying.keys():
            self._beneath[key] = lying[key]
        for policy in gone:
            self._beneath.pop(policy.key, None)
        self._shunts = dict(wanted)

    def apply(self, orders: Sequence[Order]) -> None:
        through: list[Order] = []
        hidden: list[tuple[PolicyKey, Policy | None]] = []
        for order in orders:
            if not isinstance(order, AddPolicy | RemovePolicy) or order.policy.key not in self._shunts:
                through.append(order)
            else:
                hidden.append((order.policy.key, order.policy if isinstance(order, AddPolicy) else None))
        self._plane.apply(through)
        for key, policy in hidden:
            if policy:
                self._beneath[key] = policy
            else:
                self._beneath.pop(key, None)

    def describe(self) -> str:
        return self._plane.describe()

    def allocate_spi(self, source: str, destination: str) -> int:
        return self._plane.allocate_spi(source, destination)

    def counters(self) -> Mapping[StateKey, Counters]:
        return self._plane.counters()

    def rule_counters(self) -> Mapping[str, RuleCounters]:
        return self._plane.rule_counters()

    def shortcomings(self) -> Sequence[str]:
        return self._plane.shortcomings()

    def states(self) -> Sequence[EspState]:
        return self._plane.states()

    def policies(self) -> Sequence[Policy]:
        return self._plane.policies()

    def mend(self) -> Mended:
        return self._plane.mend()

    def listen(self, emit: Callable[[PlaneEvent], None]) -> None:
        self._plane.listen(emit)

    def close(self) -> None:
        self._plane.close()


def lay_shunts(core: Core) -> None:
    """Move from the shunts that lie there to those of the configuration."""
    wanted = shunt_policies(core.snapshot.shunts)
    plane = core.plane
    if not isinstance(plane, Overlaid):
        if not wanted:
            return
        plane = core.plane = Overlaid(plane)
    try:
        plane.replace(wanted)
    except Refused as refused:
        core.event("data-plane.refused", f"could not lay the shunts: {refused.why}")


def shunt_policies(shunts: Iterable[Shunt]) -> dict[PolicyKey, Policy]:
    """Every direction of every shunt; of two for the very same packets the one with the lower priority."""
    found: dict[PolicyKey, Policy] = {}
    for shunt in sorted(shunts, key=lambda shunt: shunt.priority):
        for local in shunt.local:
            for remote in shunt.remote:
                if not fits(local, remote):
                    continue
                # What is forwarded is looked at on its way out and on its way back.
                for direction, source, destination in (
                    (Direction.OUT, local, remote),
                    (Direction.IN, remote, local),
                    (Direction.FORWARD, remote, local),
                    (Direction.FORWARD, local, remote),
                ):
                    policy = Policy(
                        direction,
                        source,
                        destination,
                        "",
                        "",
                        0,
                        action=_ACTIONS[shunt.action],
                        priority=shunt.priority,
                    )
                    found.setdefault(policy.key, policy)
    return found
