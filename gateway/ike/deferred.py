"""What a responder keeps while it waits for a puzzle's solution before it computes keys (RFC 8019 7.2)."""

from dataclasses import dataclass, field

from gateway.crypto import groups
from gateway.crypto.rows import PseudoRandom
from gateway.ike import puzzles
from gateway.policy.choice import Chosen
from gateway.wire import payloads as wire


@dataclass(slots=True)
class Deferred:
    """A half-open IKE SA without keys: what the initiator has to solve, and what makes the keys then."""

    prf: PseudoRandom
    difficulty: int
    chosen: Chosen
    offer: groups.Offer = field(repr=False)
    public: bytes

    @property
    def notify(self) -> wire.Notify:
        return puzzles.puzzle(self.prf, self.difficulty)
