"""Several CHILD_SAs may want the same policy: whose lies in the data plane, and who comes after it.

While a CHILD_SA is rekeyed, the old and the new one have the same selectors. The policy's owner is the one to send on;
the heirs wait. Whoever goes, the policy stays as long as one that wants it lives.
"""

from collections.abc import Sequence

from gateway.ike.core import Core
from gateway.ike.plane import AddPolicy, Direction, Order, Policy, PolicyKey, RemovePolicy
from gateway.ike.sa import ChildSa


def wanted(core: Core, policies: Sequence[Policy], *, take: bool) -> list[Order]:
    """The orders that lay the policies: all of them (`take`), or those that nobody has yet."""
    return [AddPolicy(policy) for policy in policies if take or policy.key not in core.ownership.owners]


def enter(core: Core, child: ChildSa, *, take: bool) -> bool:
    """Write into the books what `wanted` ordered; whether the child owns all its policies now."""
    owns, owners = True, core.ownership.owners
    for policy in child.policies:
        key = policy.key
        owner = owners.setdefault(key, child)
        if owner is child:
            continue
        if not take:
            _wait(core, key, child)
            owns = False
            continue
        owners[key] = child
        _leave(core, key, child)
        _wait(core, key, owner)
    return owns


def owned(core: Core, child: ChildSa) -> list[Policy]:
    """The child's policies that lie in the data plane."""
    return [policy for policy in child.policies if core.ownership.owners.get(policy.key) is child]


def heir(core: Core, child: ChildSa) -> ChildSa | None:
    """Who takes over what the child owns, when it goes; nobody who is on its way out itself."""
    waiting = [one for policy in owned(core, child) for one in core.ownership.heirs.get(policy.key, ())]
    return max((one for one in waiting if not (one.deleting or one.superseded)), key=_rank, default=None)


def rivals(core: Core, children: Sequence[ChildSa]) -> tuple[list[ChildSa], bool]:
    """Who else sends what these should, as its policies are the same and lie in the data plane; whether that is all."""
    outbound = [policy.key for child in children for policy in child.policies if policy.direction is Direction.OUT]
    owners = [core.ownership.owners.get(key) for key in outbound]
    others = [owner for owner in owners if owner is not None and owner not in children]
    return others, len(others) == len(owners)


def release(core: Core, child: ChildSa) -> tuple[list[Order], dict[ChildSa, list[Order]], bool]:
    """Take the child out of the books.

    Gives the removals of what nobody else wants (or what lies there without a CHILD_SA), the orders that let each heir
    take over, and whether others now own all that it had.
    """
    removals: list[Order] = []
    heirs: dict[ChildSa, list[PolicyKey]] = {}
    for policy in child.policies:
        key = policy.key
        if core.ownership.owners.get(key) is not child:
            _leave(core, key, child)
            continue
        del core.ownership.owners[key]
        if waiting := core.ownership.heirs.get(key):
            heir = max(waiting, key=_rank)
            core.ownership.owners[key] = heir
            _leave(core, key, heir)
            heirs.setdefault(heir, []).append(key)
        else:
            beneath = core.vacancies.beneath(key)
            removals.append(AddPolicy(beneath) if beneath else RemovePolicy(policy))
    handed: dict[ChildSa, list[Order]] = {}
    for heir, keys in heirs.items():
        by_key = {policy.key: policy for policy in heir.policies}
        handed[heir] = [AddPolicy(by_key[key]) for key in keys]
    return removals, handed, bool(child.policies) and not removals


def _rank(child: ChildSa) -> tuple[bool, bool, int]:
    """Who stays comes before who is on its way out, then the newer before the older."""
    return not child.deleting, not child.superseded, child.id


def _wait(core: Core, key: PolicyKey, child: ChildSa) -> None:
    waiting = core.ownership.heirs.setdefault(key, [])
    if child not in waiting:
        waiting.append(child)


def _leave(core: Core, key: PolicyKey, child: ChildSa) -> None:
    waiting = core.ownership.heirs.get(key)
    if waiting is None:
        return
    if child in waiting:
        waiting.remove(child)
    if not waiting:
        del core.ownership.heirs[key]
