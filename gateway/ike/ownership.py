"""The books of what lies in the data plane and whose it is: policies, which `claims` keeps, and rules (`access`)."""

from dataclasses import dataclass, field

from gateway.ike.plane import AddressRules, PolicyKey, StateKey
from gateway.ike.sa import ChildSa


@dataclass(slots=True)
class Ownership:
    """Of the CHILD_SAs that want one policy, whose lies in the data plane; and what lingers there.

    `heirs` are those that take over when the owner goes. `lingering` are replaced CHILD_SAs by their inbound state,
    with their peer: they still receive what was under way. `rules` are by the virtual address of a peer.
    """

    owners: dict[PolicyKey, ChildSa] = field(default_factory=dict)
    heirs: dict[PolicyKey, list[ChildSa]] = field(default_factory=dict)
    lingering: dict[StateKey, tuple[str, ChildSa]] = field(default_factory=dict)
    rules: dict[str, AddressRules] = field(default_factory=dict)
    compared: float = float("-inf")
    """When the data plane was last compared with these books."""
