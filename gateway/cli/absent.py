"""What stands in for a data plane where none works: the console and the API are served, and every order is refused."""

from collections.abc import Callable, Mapping, Sequence
from socket import socket

from gateway.dataplane.driver import IkeReceived
from gateway.ike.plane import Counters, EspState, Order, Policy, Refused, RuleCounters, StateKey
from gateway.ike.plane_events import PlaneEvent
from gateway.ike.plane_protocol import Mended


class AbsentPlane:
    """Refuses with one reason whatever it is told to do, so that nothing ever looks protected that is not."""

    name = "none"
    needs_encapsulation = False

    def __init__(self, why: str) -> None:
        self._why = why

    def describe(self) -> str:
        return "none: no packet can be protected"

    def allocate_spi(self, source: str, destination: str) -> int:
        raise Refused(self._why)

    def apply(self, orders: Sequence[Order]) -> None:
        if orders:
            raise Refused(self._why)

    def counters(self) -> Mapping[StateKey, Counters]:
        return {}

    def rule_counters(self) -> Mapping[str, RuleCounters]:
        return {}

    def shortcomings(self) -> Sequence[str]:
        return ()

    def states(self) -> Sequence[EspState]:
        return ()

    def policies(self) -> Sequence[Policy]:
        return ()

    def mend(self) -> Mended:
        return Mended()

    def sweep(self) -> str:
        return ""

    def look(self) -> bool:
        return False

    def trouble(self) -> str:
        return self._why

    def listen(self, emit: Callable[[PlaneEvent], None]) -> None:
        """There are no events."""

    def adopt(self, sock: socket, ike_received: IkeReceived) -> bool:
        return False

    def exempt(self, sock: socket) -> None:
        """There are no policies."""

    def close(self) -> None:
        """There is nothing to remove."""
