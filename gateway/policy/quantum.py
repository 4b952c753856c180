"""Whether a peer's tunnels must withstand a quantum computer: what is demanded, from when on, and what that offers."""

from dataclasses import dataclass
from enum import StrEnum

from gateway.policy.proposals import Proposal


class Demand(StrEnum):
    """What is demanded of the keys of a peer's IKE SAs: that ML-KEM, or a post-quantum pre-shared key, is in them."""

    OFF = "off"
    PREFER = "prefer"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class PostQuantum:
    """A demand. `since` is Unix time, seconds: until then REQUIRE is no more than PREFER; 0 for at once."""

    demand: Demand = Demand.PREFER
    since: float = 0.0

    def at(self, unix: float) -> Demand:
        """What is demanded at a moment (Unix time, seconds)."""
        return Demand.PREFER if self.demand is Demand.REQUIRE and unix < self.since else self.demand

    def date(self, unix: float) -> float | None:
        """When it begins to be required, if that is still to come."""
        return self.since if self.demand is Demand.REQUIRE and unix < self.since else None


PREFERRED = PostQuantum()


def under(demand: Demand, proposals: tuple[Proposal, ...]) -> tuple[Proposal, ...]:
    """What of these is offered and accepted: as they are, those with ML-KEM first, or these alone and never without."""
    if demand is Demand.OFF:
        return proposals
    if demand is Demand.PREFER:
        return tuple(sorted(proposals, key=lambda proposal: not proposal.post_quantum))
    return tuple(found for proposal in proposals if (found := proposal.insisting()) is not None)


def classical(proposals: tuple[Proposal, ...]) -> tuple[Proposal, ...]:
    """What of these can be agreed on without ML-KEM."""
    return tuple(found for proposal in proposals if (found := proposal.classical()) is not None)
