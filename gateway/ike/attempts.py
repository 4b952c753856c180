"""What every negotiation leaves behind: steps, both sides' lists, one cause and what to do about it."""

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.crypto.chains import Link
from gateway.wire.numbers import NotifyType


class Step(StrEnum):
    """The stations every negotiation passes, always in this order."""

    REACH = "reach the peer"
    ALGORITHMS = "agree on algorithms"
    NAT = "cross the NAT"
    IDENTITY = "prove who we are"
    NETWORKS = "agree on networks"
    INSTALL = "install in the data plane"


class Outcome(StrEnum):
    RUNNING = "running"
    ESTABLISHED = "established"
    FAILED = "failed"


@dataclass(slots=True)
class StepTaken:
    """A station reached at `at` (the engine's clock, seconds); `done` False is where it ended."""

    step: Step
    done: bool
    at: float
    text: str = ""


@dataclass(slots=True)
class MessageSeen:
    """One IKE message of the negotiation, without its secrets."""

    at: float
    outgoing: bool
    exchange: int
    response: bool
    message_id: int
    octets: int
    payloads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Considered:
    """A peer entry that came into question for a caller, and why it fell out."""

    peer: str
    why: str


@dataclass(slots=True)
class Attempt:
    """One negotiation, ours or the peer's, with a known peer or a stranger.

    `cause` is a stable code (`no-proposal`, `authentication-failed`, `timeout` …), `reason` and `advice` are sentences.
    `offered`, `acceptable` and `differences` are filled when algorithms or networks did not meet, `considered` when a
    caller fits no peer, the closest first. `chain` is what the peer proved itself by, its own certificate first, with
    the fault where one was found.
    """

    id: int
    started: float
    initiator: bool
    local: str
    remote: str
    peer: str | None = None
    ike_sa: int | None = None
    ended: float | None = None
    outcome: Outcome = Outcome.RUNNING
    cause: str = ""
    notify: int | None = None
    reason: str = ""
    advice: str = ""
    local_id: str = ""
    remote_id: str = ""
    eap_identity: str = ""
    """Whom the one that is to prove itself by EAP says it is."""
    offered: tuple[str, ...] = ()
    acceptable: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    considered: tuple[Considered, ...] = ()
    chain: tuple[Link, ...] = ()
    steps: list[StepTaken] = field(default_factory=list)
    messages: list[MessageSeen] = field(default_factory=list)

    @property
    def refused(self) -> bool:
        """Whether it failed for good; a peer that is only busy (TEMPORARY_FAILURE) is asked again."""
        return self.outcome is Outcome.FAILED and self.notify != NotifyType.TEMPORARY_FAILURE
