"""The protocol that a driver of a data plane fulfils."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from gateway.ike.plane import Counters, EspState, Order, Policy, RuleCounters, StateKey
from gateway.ike.plane_events import PlaneEvent


class Mended(NamedTuple):
    """What was found missing: `gone` states, and how many of everything else are back in their places.

    `tables` are nftables' since the last time; what of them is gone is not found here, but by looks of their own.
    """

    gone: frozenset[StateKey] = frozenset()
    policies: int = 0
    routes: int = 0
    interfaces: int = 0
    addresses: int = 0
    tables: int = 0


class DataPlane(Protocol):
    """A driver. Every call returns at once; only `apply` and `allocate_spi` raise, and only Refused."""

    name: str
    needs_encapsulation: bool
    """Whether it carries ESP only inside UDP."""

    def describe(self) -> str:
        """One line for people: which data plane this is."""

    def allocate_spi(self, source: str, destination: str) -> int:
        """An inbound SPI (256 or more) that is free at `destination`, our address; held until added or removed."""

    def apply(self, orders: Sequence[Order]) -> None:
        """Carry out the orders in their sequence, all or none. Raises Refused with the driver's own reason."""

    def counters(self) -> Mapping[StateKey, Counters]:
        """Of every state of ours, from one dump."""

    def rule_counters(self) -> Mapping[str, RuleCounters]:
        """By virtual address with rules, as last looked at; calling it has them looked at again."""

    def shortcomings(self) -> Sequence[str]:
        """What was ordered and cannot be done here, as sentences with what would help."""

    def states(self) -> Sequence[EspState]:
        """The states that really lie there, as read back where that is possible (without keys), else as remembered."""

    def policies(self) -> Sequence[Policy]:
        """The policies of ours that really lie there."""

    def mend(self) -> Mended:
        """Put back what was ordered and is not there any more, and let routes fit the network as it is now.

        States that are gone are told and stay so: their sequence numbers would begin anew under the same keys. What
        cannot be put back is logged.
        """

    def listen(self, emit: Callable[[PlaneEvent], None]) -> None:
        """Begin to deliver events through `emit`, on the running event loop."""

    def close(self) -> None:
        """Remove everything of ours, states, policies and routes; never touches another's, never raises."""
