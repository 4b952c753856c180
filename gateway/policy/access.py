"""Access profiles: how far a user who comes in gets, and what he is told beside his address."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from gateway.policy.choice import Chosen
from gateway.policy.peers import Child
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import ANY_PORT, Selector, narrow
from gateway.policy.users import User


@dataclass(frozen=True, slots=True)
class AccessProfile:
    """What its users reach of all that a peer's children let in.

    `networks` are where their packets may go, narrowed to a protocol and ports where they say so. Without `full_tunnel`
    the CHILD_SAs carry the addresses of these alone; with it they carry all that the child does, what is to go
    elsewhere is dropped, and no networks at all stand for everything. `groups` have it where a user names none.
    `pools`, `dns` and `domains` take the place of the peer's pools and of what these tell; `esp` of the child's
    proposals. The IKE SA stands before anybody knows who calls: one that `ike` would not have led to is ended. With
    `masquerade` packets that leave by no tunnel have our address. `sessions` is for users who have no limit.
    """

    name: str
    networks: tuple[Selector, ...] = ()
    full_tunnel: bool = False
    groups: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    esp: tuple[Proposal, ...] = ()
    ike: tuple[Proposal, ...] = ()
    masquerade: bool = False
    sessions: int = 0
    description: str = ""

    @property
    def allowed(self) -> tuple[Selector, ...] | None:
        """Where packets may go; None for anywhere."""
        return None if self.full_tunnel and not self.networks else self.networks

    @property
    def needs_rules(self) -> bool:
        """Whether the selectors of a CHILD_SA carry more than is allowed: ports are no matter of theirs."""
        return any(_ends(one) != ANY_PORT or one.protocol for one in self.networks) or (
            self.full_tunnel and bool(self.networks)
        )

    def applied_to(self, child: Child) -> Child:
        """The child as far as it is for the profile's users; without local selectors where it is not at all."""
        ranges = dict.fromkeys(Selector(one.version, one.start, one.end) for one in self.networks)
        local = child.local if self.full_tunnel else tuple(narrow(child.local, tuple(ranges)))
        return replace(child, local=local, proposals=self.esp or child.proposals)

    def permits_ike(self, chosen: Chosen) -> bool:
        return not self.ike or any(_could_lead_to(one, chosen) for one in self.ike)

    def permits_esp(self, chosen: Chosen) -> bool:
        return not self.esp or any(_could_lead_to(one, chosen) for one in self.esp)


class Access(NamedTuple):
    """A user's profile, and by which of his groups he has it; empty where it is his own."""

    profile: AccessProfile
    group: str = ""


def by_group(profiles: Iterable[AccessProfile]) -> Mapping[str, AccessProfile]:
    """No group has two."""
    return {group: profile for profile in profiles for group in profile.groups}


def access_of(
    user: User, profiles: Mapping[str, AccessProfile], of_groups: Mapping[str, AccessProfile]
) -> Access | None:
    """The profile that the user names; else that of the first of his groups that has one; else none."""
    own = profiles.get(user.access_profile)
    if own is not None:
        return Access(own)
    return next((Access(of_groups[group], group) for group in user.groups if group in of_groups), None)


def _ends(selector: Selector) -> tuple[int, int]:
    return selector.start_port, selector.end_port


def _could_lead_to(proposal: Proposal, chosen: Chosen) -> bool:
    """Whether an outcome is one of the proposal's. The first CHILD_SA has no key exchange of its own (RFC 7296 1.2)."""
    wanted, made = dict(proposal.additional), dict(chosen.additional)
    return (
        chosen.encr in proposal.encr
        and (chosen.integ in proposal.integ if proposal.integ else chosen.integ is None)
        and (chosen.prf is None or chosen.prf in proposal.prf)
        and (chosen.ke is None or chosen.ke in proposal.ke)
        and (not proposal.esn or int(chosen.esn) in proposal.esn)
        and (chosen.ke is None or all(made.get(place) in rows for place, rows in wanted.items()))
        and all(row is None or row in wanted.get(place, ()) for place, row in made.items())
    )
