"""Our policies and the kernel policies that they stand in."""

import errno
from collections.abc import Callable, Sequence
from functools import partial

from gateway.dataplane.kernel_batch import ABSENT, Batch, Step
from gateway.dataplane.netlink import Request
from gateway.dataplane.xfrm import XFRM_POLICY_IN, XFRM_POLICY_OUT
from gateway.dataplane.xfrm_messages import Tag
from gateway.dataplane.xfrm_policies import (
    DIRECTIONS,
    ReadPolicy,
    Spot,
    bypass_request,
    policy_removal,
    policy_request,
)
from gateway.dataplane.xfrm_selectors import KernelSelector, kernel_selectors
from gateway.ike.plane import Action, Policy
from gateway.policy.peers import Mark
from gateway.policy.selectors import Selector

_PRESENT = frozenset({errno.EEXIST})
_Key = tuple[int, Selector, Selector, int, Mark | None]
"""As `Policy.key`, with the kernel's number of the direction: enumerations are slow to hash."""


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
        self._claims: dict[Spot, list[_Key]] = {}
        self._version_6 = 0
        self._exempt: dict[Spot, KernelSelector] = {}
        self.left: dict[Spot, Request] = {}
        """What a killed process left, and is replaced by what is ordered; with what puts it there again."""

    def add(self, policy: Policy, batch: Batch) -> None:
        """Raises Refused when the kernel cannot express it."""
        selectors = kernel_selectors(policy.source, policy.destination)
        key = _key(policy)
        previous = self._ordered.get(key)
        doing = partial(_text, "adding", policy)
        for selector in selectors:
            spot = _spot(key, selector)
            claims = self._claims.get(spot)
            if previous and claims and claims[-1] != key:
                continue  # hidden behind another of ours
            hidden = self._ordered[claims[-1]] if claims else None
            request = policy_request(policy, selector, self._tag, replace=hidden is not None or spot in self.left)
            batch.add(Step(request, doing, partial(self._undoing, hidden, selector, spot)))
            if claims is None:
                self._claims[spot] = [key]
            elif not previous:
                claims.append(key)
        self._ordered[key] = policy
        batch.on_rollback(partial(self._restore, key, previous))
        if not previous and policy.source.version == 6:
            self._count_version_6(1, batch)

    def remove(self, policy: Policy, batch: Batch) -> None:
        """By direction and selectors; what is not ours stays."""
        key = _key(policy)
        lying = self._ordered.get(key)
        if lying is None:
            return
        doing = partial(_text, "removing", lying)
        claimed: dict[Spot, list[_Key]] = {}
        for selector in kernel_selectors(lying.source, lying.destination):
            spot = _spot(key, selector)
            claims = claimed[spot] = self._claims[spot]
            if len(claims) == 1:
                del self._claims[spot]
                request = policy_removal(spot)
            else:
                self._claims[spot] = [claim for claim in claims if claim != key]
                if claims[-1] != key:
                    continue
                request = self._put(self._ordered[claims[-2]], selector)
            batch.add(Step(request, doing, partial(self._undoing, lying, selector, spot), ABSENT))
        del self._ordered[key]
        batch.on_rollback(partial(self._reclaim, key, lying, claimed))
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
        for spot, selector in self._exempt.items():
            undo = partial(_one, partial(bypass_request, spot.direction, selector, self._tag))
            batch.add(Step(policy_removal(spot), _discovery, undo, ABSENT))
        batch.on_rollback(partial(setattr, self, "_exempt", self._exempt))
        self._exempt = {}

    def _exempt_discovery(self, direction: int, selector: KernelSelector, batch: Batch) -> None:
        spot = Spot(direction, selector.packed)
        request = bypass_request(direction, selector, self._tag, replace=spot in self.left)
        done = partial(self._exempted, spot, selector)
        batch.on_rollback(partial(self._exempted, spot, None))
        # Another may have put it there, as strongSwan's users do; then it is not ours to remove.
        batch.add(Step(request, _discovery, partial(self._undoing, None, selector, spot), _PRESENT, done=done))

    def _exempted(self, spot: Spot, selector: KernelSelector | None) -> None:
        if selector:
            self._exempt[spot] = selector
        else:
            self._exempt.pop(spot, None)

    def _put(self, policy: Policy, selector: KernelSelector) -> Request:
        return policy_request(policy, selector, self._tag, replace=True)

    def _undoing(self, before: Policy | None, selector: KernelSelector, spot: Spot) -> Sequence[Request]:
        """What makes a spot as it was: with a policy of ours in it or with none."""
        if before:
            return [self._put(before, selector)]
        return [self.left.get(spot) or policy_removal(spot)]

    def _reclaim(self, key: _Key, policy: Policy, claimed: dict[Spot, list[_Key]]) -> None:
        self._ordered[key] = policy
        self._claims.update(claimed)

    def _restore(self, key: _Key, previous: Policy | None) -> None:
        """Put back what `add` replaced, or forget what it added."""
        if previous:
            self._ordered[key] = previous
            return
        policy = self._ordered.pop(key)
        for selector in kernel_selectors(policy.source, policy.destination):
            spot = _spot(key, selector)
            self._claims[spot].remove(key)
            if not self._claims[spot]:
                del self._claims[spot]

    def put_back(self, read: Sequence[ReadPolicy], batch: Batch) -> int:
        """Order anew what is ours and was not read; how many policies of the kernel that takes."""
        there = {policy.spot for policy in read if self._tag.marks(policy.lifetime)}
        missing = [(spot, self._ordered[claims[-1]]) for spot, claims in self._claims.items() if spot not in there]
        for spot, policy in missing:
            selectors = kernel_selectors(policy.source, policy.destination)
            selector = next(selector for selector in selectors if selector.packed == spot.selector)
            request = policy_request(policy, selector, self._tag, replace=False)
            batch.add(Step(request, partial(_text, "adding", policy), tolerated=_PRESENT))
        exempt = [(spot, selector) for spot, selector in self._exempt.items() if spot not in there]
        for spot, selector in exempt:
            request = bypass_request(spot.direction, selector, self._tag)
            batch.add(Step(request, _discovery, tolerated=_PRESENT))
        return len(missing) + len(exempt)

    def acquired(self, spot: Spot) -> Policy | None:
        """Ours that lies there."""
        claims = self._claims.get(spot)
        return self._ordered[claims[-1]] if claims else None

    def found(self, read: Sequence[ReadPolicy]) -> list[Policy]:
        """Those of ours that lie in the kernel whole, as it was just read."""
        # Another's policy may have the same name and be of another type.
        there = {policy.spot: policy for policy in read if self._tag.marks(policy.lifetime)}
        found: list[Policy] = []
        for key, policy in self._ordered.items():
            selectors = kernel_selectors(policy.source, policy.destination)
            spots = [_spot(key, selector) for selector in selectors]
            tops = (spot for spot in spots if self._claims[spot][-1] == key)
            if all(spot in there and there[spot].carries_out(policy) for spot in tops):
                found.append(policy)
        return found

    def everything(self) -> list[Policy]:
        return list(self._ordered.values())


def _key(policy: Policy) -> _Key:
    mark = policy.mark and Mark(policy.mark.value & policy.mark.mask, policy.mark.mask)  # as the kernel keeps it
    return DIRECTIONS[policy.direction], policy.source, policy.destination, policy.interface_id, mark


def _spot(key: _Key, selector: KernelSelector) -> Spot:
    return Spot(key[0], selector.packed, key[3], key[4])


def _one(maker: Callable[[], Request]) -> Sequence[Request]:
    return [maker()]


def _discovery() -> str:
    return "exempting IPv6 neighbour discovery from policies"


def _text(verb: str, policy: Policy) -> str:
    what = "policy" if policy.action is Action.PROTECT else f"{policy.action} policy"
    return f"{verb} {what} {policy.direction} {policy.source} to {policy.destination}"
