"""The books of who has which policy in the data plane; `claims` keeps them."""

from dataclasses import dataclass, field

from gateway.ike.plane import PolicyKey, StateKey
from gateway.ike.sa import ChildSa


@dataclass(slots=True)
class Ownership:
    """Of the CHILD_SAs that want one policy, whose lies in the data plane; and what lingers there.

    `heirs` are those that take over when the owner goes. `lingering` are replaced CHILD_SAs by their inbound state,
    with their peer: they still receive what was under way.
    """

    owners: dict[PolicyKey, ChildSa] = field(default_factory=dict)
    heirs: dict[PolicyKey, list[ChildSa]] = field(default_factory=dict)
    lingering: dict[StateKey, tuple[str, ChildSa]] = field(default_factory=dict)
    compared: float = float("-inf")
    """When the data plane was last compared with these books."""
