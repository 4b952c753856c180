"""Our policies and the kernel policies that they stand in."""

import errno
from collections.abc import Callable, Sequence
from functools import partial

from gateway.dataplane.kernel_batch import ABSENT, Batch, Step
from gateway.dataplane.netlink import Request
from gateway.dataplane.xfrm import XFRM_POLICY_IN, XFRM_POLICY_OUT
from gateway.dataplane.xfrm_messages import (
    DIRECTIONS,
    ReadPolicy,
    Tag,
    bypass_request,
    policy_removal,
    policy_request,
)
from gateway.dataplane.xfrm_selectors import KernelSelector, kernel_selectors
from gateway.ike.plane import Direction, Policy
from gateway.policy.selectors import Selector

_PRESENT = frozenset({errno.EEXIST})
_Key = tuple[Direction, Selector, Selector]
_Spot = tuple[int, bytes]
"""The kernel has one policy for a direction and a selector, whoever put it there."""


# RFC 4861: router and neighbour solicitation and advertisement, redirect. Without them no packet finds its neighbour,
# and unlike ARP they are IP packets that a policy for ::/0 catches.
_DISCOVERY = kernel_selectors(Selector.parse("::/0[icmpv6/34048-35327]"), Selector.parse("::/0[icmpv6]"))


class Policies:
    """What was ordered, by its own key, and which of ours claim each spot in the kernel: the last one lies there.

    Two of ours meet in one spot when ranges overlap that share a prefix. As long as there is one for IPv6, neighbour
    discovery is exempt from all.
    """

    def __init__(self, tag: Tag) -> None:
        self._tag = tag
        self._ordered: dict[_Key, Policy] = {}
        self._claims: dict[_Spot, list[_Key]] = {}
        self._version_6 = 0
        self._exempt: dict[_Spot, KernelSelector] = {}

    def add(self, policy: Policy, batch: Batch) -> None:
        """Raises Refused when the kernel cannot express it."""
        selectors = kernel_selectors(policy.source, policy.destination)
        direction = DIRECTIONS[policy.direction]
        key = policy.key
        previous = self._ordered.get(key)
        doing = partial(_text, "adding", policy)
        for selector in selectors:
            spot = (direction, selector.packed)
            claims = self._claims.get(spot, [])
            if previous and claims[-1] != key:
                continue  # hidden behind another of ours
            hidden = self._ordered[claims[-1]] if claims else None
            request = policy_request(policy, selector, self._tag, replace=hidden is not None)
            batch.add(Step(request, doing, partial(self._undoing, hidden, selector, spot)))
            if not previous:
                self._claims.setdefault(spot, []).append(key)
        self._ordered[key] = policy
        batch.on_rollback(partial(self._restore, policy, previous))
        if not previous and policy.source.version == 6:
            self._count_version_6(1, batch)

    def remove(self, policy: Policy, batch: Batch) -> None:
        """By direction and selectors; what is not ours stays."""
        lying = self._ordered.get(policy.key)
        if lying is None:
            return
        direction = DIRECTIONS[lying.direction]
        doing = partial(_text, "removing", lying)
        for selector in kernel_selectors(lying.source, lying.destination):
            spot = (direction, selector.packed)
            claims = self._claims[spot]
            if claims[-1] != lying.key:
                continue
            undo = partial(self._undoing, lying, selector, spot)
            if len(claims) > 1:
                batch.add(Step(self._put(self._ordered[claims[-2]], selector), doing, undo))
            else:
                batch.add(Step(policy_removal(*spot), doing, undo, ABSENT))
        claimed = self._release(lying)
        batch.on_rollback(partial(self._reclaim, lying, claimed))
        if lying.source.version == 6:
            self._count_version_6(-1, batch)

    def _count_version_6(self, change: int, batch: Batch) -> None:
        """Exempt neighbour discovery with the first policy for IPv6, no longer with the last one gone."""
        before, self._version_6 = self._version_6, self._version_6 + change
        batch.on_rollback(partial(setattr, self, "_version_6", before))
        if not before:
            for selector in _DISCOVERY:
                self._exempt_discovery(XFRM_POLICY_IN, selector, batch)
                self._exempt_discovery(XFRM_POLICY_OUT, selector, batch)
        elif not self._version_6:
            self.end_exemption(batch)

    def end_exemption(self, batch: Batch) -> None:
        """Subject neighbour discovery to policies again."""
        for (direction, packed), selector in self._exempt.items():
            undo = partial(_one, partial(bypass_request, direction, selector, self._tag))
            batch.add(Step(policy_removal(direction, packed), _discovery, undo, ABSENT))
        batch.on_rollback(partial(setattr, self, "_exempt", self._exempt))
        self._exempt = {}

    def _exempt_discovery(self, direction: int, selector: KernelSelector, batch: Batch) -> None:
        spot = (direction, selector.packed)
        request = bypass_request(direction, selector, self._tag)
        done = partial(self._exempt.__setitem__, spot, selector)
        batch.on_rollback(partial(self._exempt.pop, spot, None))
        # Another may have put it there, as strongSwan's users do; then it is not ours to remove.
        batch.add(Step(request, _discovery, partial(self._undoing, None, selector, spot), _PRESENT, done=done))

    def _put(self, policy: Policy, selector: KernelSelector) -> Request:
        return policy_request(policy, selector, self._tag, replace=True)

    def _undoing(self, before: Policy | None, selector: KernelSelector, spot: _Spot) -> Sequence[Request]:
        """What makes a spot as it was: with a policy of ours in it or with none."""
        return [self._put(before, selector) if before else policy_removal(*spot)]

    def _release(self, policy: Policy) -> dict[_Spot, list[_Key]]:
        """Forget a policy; every spot's claims as they were before."""
        before: dict[_Spot, list[_Key]] = {}
        for selector in kernel_selectors(policy.source, policy.destination):
            spot = (DIRECTIONS[policy.direction], selector.packed)
            before[spot] = list(self._claims[spot])
            self._claims[spot].remove(policy.key)
            if not self._claims[spot]:
                del self._claims[spot]
        del self._ordered[policy.key]
        return before

    def _reclaim(self, policy: Policy, before: dict[_Spot, list[_Key]]) -> None:
        self._ordered[policy.key] = policy
        self._claims.update(before)

    def _restore(self, policy: Policy, previous: Policy | None) -> None:
        if previous:
            self._ordered[previous.key] = previous
        else:
            self._release(policy)

    def acquired(self, selector: bytes) -> Policy | None:
        """Ours that lies behind the selector of an OUT policy."""
        claims = self._claims.get((DIRECTIONS[Direction.OUT], selector))
        return self._ordered[claims[-1]] if claims else None

    def found(self, read: Sequence[ReadPolicy]) -> list[Policy]:
        """Those of ours that lie in the kernel whole, as it was just read."""
        # Another's policy may have the same selector with a mark, an interface or of another type.
        there = {(policy.dir, policy.selector): policy for policy in read if self._tag.marks(policy.lifetime)}
        found: list[Policy] = []
        for key, policy in self._ordered.items():
            spots = [
                (DIRECTIONS[policy.direction], selector.packed)
                for selector in kernel_selectors(policy.source, policy.destination)
            ]
            tops = (spot for spot in spots if self._claims[spot][-1] == key)
            if all(spot in there and there[spot].carries_out(policy) for spot in tops):
                found.append(policy)
        return found

    def everything(self) -> list[Policy]:
        return list(self._ordered.values())


def _one(maker: Callable[[], Request]) -> Sequence[Request]:
    return [maker()]


def _discovery() -> str:
    return "exempting IPv6 neighbour discovery from policies"


def _text(verb: str, policy: Policy) -> str:
    return f"{verb} policy {policy.direction} {policy.source} to {policy.destination}"
