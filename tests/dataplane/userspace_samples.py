"""A state and a policy as a userspace data plane may have them."""

from gateway.ike.plane import Direction, Encapsulation, EspState, Policy
from gateway.policy.selectors import Selector
from tests.dataplane.userspace_paths import row


def selector(text: str) -> Selector:
    return Selector.parse(text)


STATE = EspState(
    0x1001, "192.0.2.2", "192.0.2.1", True, 1, row("aes256gcm16"), bytes(36), encapsulation=Encapsulation(4500, 4500)
)
POLICY = Policy(Direction.OUT, selector("10.1.0.0/24"), selector("10.2.0.0/24"), "192.0.2.1", "192.0.2.2", 1, 0x1002)
