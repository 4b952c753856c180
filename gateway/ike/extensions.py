"""The engine's books for extensions of IKEv2: none is needed while nobody uses one."""

from dataclasses import dataclass, field

from gateway.crypto.keys import IkeKeys
from gateway.ike.authentication.eap.gate import Tries
from gateway.ike.authentication.eap.tls_machine import TlsMaker
from gateway.ike.deferred import Deferred
from gateway.ike.following import Following
from gateway.ike.last_answers import LastAnswers
from gateway.ike.leases import Leases
from gateway.ike.sa import IkeSa
from gateway.ike.standing import FellBack, Seen
from gateway.ike.tickets import Ticket, Tickets
from gateway.policy.ppks import Ppk
from gateway.policy.proposals import Proposal
from gateway.policy.quantum import Demand
from gateway.wire.payloads import PuzzleSolution


@dataclass(slots=True)
class Extensions:
    """What lies between two inputs, or outlives an IKE SA."""

    tickets: Tickets
    resuming: dict[bytes, Ticket] = field(default_factory=dict)
    """Half-open IKE SAs that began with a ticket of ours (RFC 5723), by our SPI."""
    sent_on: list[tuple[IkeSa, str, tuple[str, ...]]] = field(default_factory=list)
    """IKE SAs whose peer sent us on (RFC 5685), where to, and the children that are wanted there."""
    deferred: dict[bytes, Deferred] = field(default_factory=dict)
    """Half-open IKE SAs that wait for the solution of a puzzle (RFC 8019 7.2), by our SPI."""
    solutions: dict[bytes, PuzzleSolution] = field(default_factory=dict)
    """Our solutions for the next IKE_AUTH request, by our SPI."""
    ppk_offers: dict[bytes, tuple[Ppk, IkeKeys]] = field(default_factory=dict, repr=False)
    """The PPK that we offered and the keys without it, by our SPI, until the responder has said whether it uses it
    (RFC 8784)."""
    following: dict[int, Following] = field(default_factory=dict)
    """By the IKE SA's number: what the peer has begun with a CREATE_CHILD_SA and goes on with (RFC 9370)."""
    last_answers: LastAnswers = field(default_factory=LastAnswers)
    redirects: dict[str, list[float]] = field(default_factory=dict)
    """When each peer sent us on lately."""
    asked: dict[int, IkeSa] = field(default_factory=dict)
    """Who waits for an answer from outside, by the question's number."""
    eap_tries: Tries = field(default_factory=Tries)
    """How often who was wrong."""
    tls: TlsMaker | None = None
    """Makes connections for EAP-TLS; without it that method is not offered."""
    leases: Leases = field(default_factory=Leases)
    """Who holds which address of our pools."""
    offers: dict[str, tuple[tuple[Proposal, ...], Demand, tuple[Proposal, ...]]] = field(default_factory=dict)
    """By peer: its proposals, the demand that they were sorted by, and the outcome."""
    fell_back: dict[str, FellBack] = field(default_factory=dict)
    """Since its large messages got lost, and until ML-KEM's get through: how long each peer is called without."""
    seen: dict[str, Seen] = field(default_factory=dict)
    """By peer: what its keys rested on last."""
    lent: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The addresses that each peer gave us last: we ask for the same again."""
