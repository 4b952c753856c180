"""How far somebody who comes in gets: which children, how much of them, and the rules of his virtual address.

All of it follows from the user behind an IKE SA, the children's groups and his access profile, when he comes and again
when any of these changes: what is laid are rules, what was negotiated otherwise than it would be now ends.
"""

from collections.abc import Sequence
from dataclasses import replace

from gateway.ike.abilities import Ability
from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.leases import still_fits
from gateway.ike.plane import AddressRules, LayRules, LiftRules, Refused
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.ike.virtual_addresses import personal
from gateway.policy.access import Access, AccessProfile
from gateway.policy.peers import Child
from gateway.policy.pools import Pool
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector, narrow, subtract
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import User
from gateway.wire.numbers import NotifyType


def user_of(core: Core, sa: IkeSa) -> User | None:
    """The user whose identity the peer proved; or a guest, whom a certificate or a RADIUS server lets in."""
    known = core.snapshot.user_by_identity(sa.remote_id) if sa.remote_id else None
    return known or sa.guest


def access_of(core: Core, sa: IkeSa) -> Access | None:
    """By which profile the peer came in, whoever rekeyed since; None without one, and where we called."""
    user = user_of(core, sa) if Ability.CALLED not in sa.abilities else None
    return core.snapshot.access_of(user) if user else None


def profile_of(core: Core, sa: IkeSa) -> AccessProfile | None:
    access = access_of(core, sa)
    return access.profile if access else None


def may_have(core: Core, sa: IkeSa, child: Child) -> bool:
    """Whether the child is for who is behind the IKE SA: for everybody, or for a group that the user is in."""
    if not child.groups:
        return True
    user = user_of(core, sa)
    return user is not None and not set(child.groups).isdisjoint(user.groups)


def as_offered(core: Core, sa: IkeSa, child: Child) -> Child:
    """The child as it is on this IKE SA: for the addresses held by it, and as far as the profile goes.

    Where rules say how far, it is for none but the addresses that have them.
    """
    profile = profile_of(core, sa)
    config = personal(sa, child)
    if profile is not None and profile.needs_rules:
        config = replace(config, remote=tuple(narrow(config.remote, _leased(sa))))
    return profile.applied_to(config) if profile else config


def children_for(core: Core, sa: IkeSa) -> list[Child]:
    """The children that who is behind the IKE SA may have, each as far as he may."""
    wanted = [child for child in sa.peer.children if may_have(core, sa, child)] if sa.peer else []
    found = [as_offered(core, sa, child) for child in wanted]
    return [config for config in found if config.local and config.remote] if profile_of(core, sa) else found


def why_none(core: Core, sa: IkeSa) -> str:
    """The peer is proven, but nothing is for it: the sentence for the attempt."""
    children = [child for child in sa.peer.children if may_have(core, sa, child)] if sa.peer else []
    profile = profile_of(core, sa)
    if children and profile is not None:
        of_profile = f"in the networks of the access profile {profile.name}"
        return f"{sa.peer_name} has no child for {sa.remote_id} with anything {of_profile}"
    of_peer = sa.peer.children if sa.peer else ()
    groups = ", ".join(dict.fromkeys(group for child in of_peer for group in child.groups))
    return f"{sa.remote_id} is in none of the groups that {sa.peer_name} has a child for: {groups}"


def pools_of(core: Core, sa: IkeSa) -> list[Pool]:
    """Where the peer's addresses come from."""
    return core.snapshot.pools_of(sa.peer, profile_of(core, sa)) if sa.peer else []


def holds_what_it_may(core: Core, sa: IkeSa) -> bool:
    """Whether the peer would be given the same addresses under the configuration as it is now."""
    pools = pools_of(core, sa)
    return all(still_fits(pools, lease) for lease in sa.leases)


def ike_proposals(core: Core, sa: IkeSa) -> tuple[Proposal, ...]:
    """What a rekey of the IKE SA may lead to: by then it is known who is behind it."""
    profile = profile_of(core, sa)
    assert sa.peer is not None
    return profile.ike if profile and profile.ike else sa.peer.proposals


def weak(core: Core, sa: IkeSa) -> str:
    """Why the algorithms of the IKE SA are not enough for the profile, as a sentence; empty when they are."""
    profile = profile_of(core, sa)
    if profile is None or sa.chosen is None or profile.permits_ike(sa.chosen):
        return ""
    return f"the access profile {profile.name} asks for other algorithms of IKE than {sa.chosen.keywords}"


def lay(core: Core, sa: IkeSa) -> None:
    """Lay the rules of the peer's addresses, before a CHILD_SA lets anything in from these. Raises Reject."""
    access = access_of(core, sa)
    if access is None:
        return
    profile, group = access
    if profile.needs_rules and not sa.leases:
        why = f"the rules of the access profile {profile.name} are for addresses of pools, and {sa.remote_id} has none"
        raise core.refuse(sa, "no-rules", Step.NETWORKS, NotifyType.NO_ADDITIONAL_SAS, why)
    try:
        laid = _order(core, _rules(sa, profile))
    except Refused as refused:
        raise core.refuse(sa, "data-plane", Step.INSTALL, NotifyType.NO_ADDITIONAL_SAS, refused.why) from None
    if laid:
        text = f"{sa.remote_id} has the access profile {profile.name}{f', by the group {group}' if group else ''}"
        also = {"access_profile": profile.name, "group": group}
        core.event("access.granted", text, sa.peer_name, ike_sa=sa.id, **also)


def follow(core: Core, before: Snapshot) -> dict[IkeSa, str]:
    """The configuration was another before: lay rules as it has them now; who has to come again, and why."""
    sas = [sa for sa in core.sas.values() if sa.state is Lifecycle.ESTABLISHED and Ability.CALLED not in sa.abilities]
    ending = {sa: why for sa in sas if (why := _differs(core, before, sa))}
    wanted: list[AddressRules] = []
    holding = {lease.address: sa for sa in sas for lease in sa.leases if sa not in ending}
    for sa in holding.values():
        profile = profile_of(core, sa)
        wanted += _rules(sa, profile) if profile else []
    kept = {rules.address for rules in wanted}
    lifted = [address for address in holding if address in core.ownership.rules and address not in kept]
    for address in lifted:
        del core.ownership.rules[address]
    if lifted:
        core.plane.apply([LiftRules(address) for address in lifted])
    strict = {rules.address for rules in wanted if rules.strict}
    try:
        _order(core, [rules for rules in wanted if rules.strict])
    except Refused as refused:
        ending |= {sa: f"its rules cannot be laid: {refused.why}" for at, sa in holding.items() if at in strict}
    try:
        _order(core, [rules for rules in wanted if not rules.strict])
    except Refused as refused:
        core.event("data-plane.refused", f"could not lay the rules of access profiles: {refused.why}")
    return ending


def _rules(sa: IkeSa, profile: AccessProfile) -> list[AddressRules]:
    return [
        AddressRules(lease.address, profile.allowed, profile.masquerade, profile.needs_rules) for lease in sa.leases
    ]


def _order(core: Core, wanted: Sequence[AddressRules]) -> bool:
    """Lay what differs from what lies there, if anything does. Raises Refused."""
    differing = [rules for rules in dict.fromkeys(wanted) if core.ownership.rules.get(rules.address) != rules]
    if differing:
        core.plane.apply([LayRules(rules) for rules in differing])
        core.ownership.rules.update({rules.address: rules for rules in differing})
    return bool(differing)


def _differs(core: Core, before: Snapshot, sa: IkeSa) -> str:
    """In what the IKE SA or a child of it is not as it would be made now, as a sentence; empty when it is."""
    if why := weak(core, sa):
        return why
    if not holds_what_it_may(core, sa):
        return f"{sa.remote_id} is given addresses of other pools"
    user = (before.user_by_identity(sa.remote_id) if sa.remote_id else None) or sa.guest
    if user is not None and user_of(core, sa) is None:
        return f"{sa.remote_id} is no user any more"
    was, now = before.access_of(user) if user else None, access_of(core, sa)
    if was is not None and now is None:
        return f"{sa.remote_id} has no access profile any more"
    for made in sa.children.values():
        config = sa.peer.child(made.name) if sa.peer else None
        if config is None or made.superseded:
            continue
        if not may_have(core, sa, config):
            return f"{made.name} is not for {sa.remote_id} any more"
        if _reached(was, config) != _reached(now, config):
            return f"{sa.remote_id} reaches other networks by {made.name}"
        if now is not None and not now.profile.permits_esp(made.chosen):
            return f"{made.name} of {sa.remote_id} is to have other algorithms"
        if now is not None and now.profile.needs_rules and subtract(made.remote, _leased(sa)):
            return f"{made.name} of {sa.remote_id} is for more than the addresses that have rules"
    return ""


def _leased(sa: IkeSa) -> list[Selector]:
    return [lease.selector for lease in sa.leases]


def _reached(access: Access | None, config: Child) -> tuple[Selector, ...]:
    return access.profile.applied_to(config).local if access else config.local
