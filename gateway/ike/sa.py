"""IKE SAs and CHILD_SAs as plain data, and the one table of what a peer may open in which state."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.crypto.keys import IkeKeys
from gateway.ike.abilities import Ability
from gateway.ike.attempts import Attempt
from gateway.ike.flow import Script
from gateway.ike.intermediate import Intermediate
from gateway.ike.mobility import Mobility
from gateway.ike.path import NO_NAT, Nat, Path
from gateway.ike.plane import EspState, Policy, Route
from gateway.ike.protect import Protection
from gateway.ike.standing import Shortfall
from gateway.ike.window import Requests, Responses
from gateway.policy.choice import Chosen
from gateway.policy.identities import Identity
from gateway.policy.name_service import NO_NAMES, NameService
from gateway.policy.peers import Child, Peer
from gateway.policy.pools import Lease
from gateway.policy.selectors import Selector
from gateway.policy.users import User
from gateway.policy.visits import Visit
from gateway.wire.numbers import ExchangeType


class Lifecycle(StrEnum):
    """The five rows; nothing else is a state."""

    CONNECTING = "connecting"
    ESTABLISHED = "established"
    REKEYED = "rekeyed"
    DELETING = "deleting"
    CLOSED = "closed"


OPENING = frozenset({ExchangeType.IKE_SA_INIT, ExchangeType.IKE_SESSION_RESUME})
"""The exchanges in the open by which an IKE SA begins."""

_CREATING = frozenset({ExchangeType.CREATE_CHILD_SA, ExchangeType.IKE_FOLLOWUP_KE})
ALLOWED: dict[Lifecycle, frozenset[int]] = {
    Lifecycle.CONNECTING: frozenset({ExchangeType.IKE_INTERMEDIATE, ExchangeType.IKE_AUTH}),
    Lifecycle.ESTABLISHED: _CREATING | {ExchangeType.INFORMATIONAL},
    Lifecycle.REKEYED: _CREATING | {ExchangeType.INFORMATIONAL},
    Lifecycle.DELETING: _CREATING | {ExchangeType.INFORMATIONAL},
    Lifecycle.CLOSED: frozenset(),
}
"""Which exchanges the peer may open in each state; all else is dropped and counted. IKE_SA_INIT makes an SA anew.

A CREATE_CHILD_SA on an SA that is on its way out is answered with TEMPORARY_FAILURE (RFC 7296 2.25.2).
"""


@dataclass(slots=True, eq=False)
class ChildSa:
    """One installed pair of ESP states."""

    id: int
    name: str
    config: Child
    chosen: Chosen
    inbound: EspState
    outbound: EspState
    local: tuple[Selector, ...]
    remote: tuple[Selector, ...]
    policies: tuple[Policy, ...]
    routes: tuple[Route, ...]
    installed: float
    rekeys: int = 0
    rekeying: bool = False
    """Our rekey of it is under way."""
    deleting: bool = False
    """Our delete of it is under way."""
    gone: bool = False
    """It is out of the books; a script may still hold it."""
    lowest: bytes = field(default=b"", repr=False)
    """The lower nonce of the exchange that made it (RFC 7296 2.8.1)."""
    successor: "ChildSa | None" = None
    """The CHILD_SA that was made in its place."""
    doubled: float = 0.0
    """Since when it, or what it replaced, has stood beside another for the same packets; 0: it has not."""
    answered: tuple[int, int] | None = None
    """The IKE SA and the message ID of the peer's request that it answers, where the peer began."""
    aged: float = 0.0
    """From when its lifetime counts."""
    packets_in: int = 0
    packets_out: int = 0
    looked: float = 0.0
    heard: float = 0.0
    used: float = 0.0
    """What the looks at its counters showed and when: see `traffic`."""

    @property
    def superseded(self) -> bool:
        """Another stands in its place; this one only waits for its delete."""
        return self.successor is not None and not self.successor.gone

    @property
    def spi_in(self) -> int:
        return self.inbound.spi

    @property
    def spi_out(self) -> int:
        return self.outbound.spi


@dataclass(slots=True)
class Task:
    """A script that waits for its turn: an SA has one request of ours outstanding (RFC 7296 2.3)."""

    label: str
    begin: "Callable[[IkeSa], Script[None]]"
    about_addresses: bool = False
    """It tells the peer where we are: until the peer is known to have a new IKE SA, by the one that it replaces."""


@dataclass(slots=True)
class Renewal:
    """Our rekey of an IKE SA under way; `rival` is what the peer made of the same SA meanwhile (RFC 7296 2.8.2)."""

    rival: "IkeSa | None" = None


@dataclass(slots=True)
class Reauth:
    """The authentication of an IKE SA ends some time; `before` is the SA that this one is made to replace."""

    before: "IkeSa | None" = None
    told: float = 0.0
    """When we shall have done so at the latest, by what the peer told us; 0 where it told nothing."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """By what the peer proved itself: its chain, its own certificate first, and its public key; all in DER.

    The chain is empty where the key alone is known.
    """

    chain: tuple[bytes, ...]
    key: bytes
    ocsp: tuple[bytes, ...] = ()
    """What the peer itself brought on the state of its certificate (RFC 4806), or was fetched for it."""
    weak: bool = False
    """Its signature was made with SHA-1."""


@dataclass(slots=True, eq=False)
class IkeSa:
    """One IKE SA. What is made during the negotiation is None only while CONNECTING."""

    id: int
    initiator: bool
    path: Path
    created: float
    spi_i: bytes
    spi_r: bytes = bytes(8)
    state: Lifecycle = Lifecycle.CONNECTING
    peer: Peer | None = None
    nat: Nat = NO_NAT
    encapsulate: bool = False
    mobility: Mobility | None = None
    """Where both ends speak MOBIKE."""
    moved: float = 0.0
    """When the peer's NAT last made us follow it."""
    fragmentation: int = 0
    """The largest IP datagram that we send before a message goes out in fragments; 0 where that is not agreed."""
    chosen: Chosen | None = None
    keys: IkeKeys | None = field(default=None, repr=False)
    protection: Protection | None = field(default=None, repr=False)
    shortfall: Shortfall = Shortfall.NONE
    """Why its keys are classical, where they are."""
    incomplete: str = ""
    """What came, and what did not, of the last message that was given up for want of its fragments."""
    nonce_i: bytes = field(default=b"", repr=False)
    nonce_r: bytes = field(default=b"", repr=False)
    init_request: bytes = field(default=b"", repr=False)
    init_response: bytes = field(default=b"", repr=False)
    init_source: tuple[str, int] = ("", 0)
    signature_hashes: tuple[int, ...] = ()
    local_id: Identity | None = None
    remote_id: Identity | None = None
    guest: User | None = None
    """Who so proved himself and is no user of the configuration: by a certificate, or by a RADIUS server's word."""
    visit: Visit | None = None
    """Where a RADIUS server let the peer in."""
    asked: int = 0
    """The number of the question that somebody outside is to answer; 0 for none."""
    eap_identity: str = ""
    """As whom the peer proved itself by EAP: a user's name, or that in a certificate."""
    evidence: Evidence | None = field(default=None, repr=False)
    """Where the peer proved itself by a signature."""
    shaken: bool = False
    """While connecting: what the peer's proof rests on is not what it was."""
    proof_ends: float = 0.0
    """When the first certificate of the peer's chain expires (Unix time); 0 where it showed none."""
    between: tuple[str | None, object, object] | None = None
    """The peer and both identities, once they are proven: the same for two SAs that do each other's work."""
    established: float | None = None
    last_heard: float = 0.0
    aged: float = 0.0
    """From when its lifetime counts."""
    reason: str = ""
    children: dict[int, ChildSa] = field(default_factory=dict)
    requests: Requests = field(default_factory=Requests)
    responses: Responses = field(default_factory=Responses)
    tasks: list[Task] = field(default_factory=list)
    attempt: Attempt | None = None
    replaced_by: "IkeSa | None" = None
    abilities: Ability = Ability.NONE
    intermediate: Intermediate | None = None
    """While connecting, when IKE_INTERMEDIATE exchanges are due or done."""
    token: bytes = field(default=b"", repr=False)
    """By which the peer proves that it lost this SA (RFC 6290)."""
    lowest: bytes = field(default=b"", repr=False)
    """The lower nonce of the rekey that made it; empty for an SA that was not made so."""
    renewal: Renewal | None = None
    reauth: Reauth | None = None
    stands_by: "IkeSa | None" = None
    """The peer made this one while we were rekeying that one ourselves: it is not decided which of two SAs stays."""
    refused_since: float | None = None
    """Since when the peer has answered nothing but TEMPORARY_FAILURE to our CREATE_CHILD_SA (RFC 7296 2.25)."""

    refusal: str = ""
    """Why the CHILD_SA that was asked for last is not there; empty once there is one."""
    leases: tuple[Lease, ...] = ()
    """The addresses of our pools that the peer holds by it."""

    virtual: tuple[str, ...] = ()
    """The addresses that the peer gave us by it."""
    name_service: NameService = NO_NAMES
    """What it told us of DNS with these."""

    @property
    def living(self) -> "IkeSa":
        """The IKE SA that is in its place by now, after however many rekeys; itself where there was none."""
        sa = self
        while sa.replaced_by is not None:
            sa = sa.replaced_by
        return sa

    @property
    def lessee(self) -> str:
        """By which leased address its peer is told from others of the same configuration; empty where it holds none."""
        return self.leases[0].address if self.leases else ""

    @property
    def our_spi(self) -> bytes:
        return self.spi_i if self.initiator else self.spi_r

    @property
    def dscp(self) -> int:
        """How IKE's own datagrams are marked."""
        return self.peer.dscp if self.peer else 0

    @property
    def peer_name(self) -> str | None:
        return self.peer.name if self.peer else None

    @property
    def text(self) -> str:
        """How a log line names the SA."""
        return f"sa {self.our_spi.hex()[:8]} peer={self.peer_name or self.path.remote}"

    def child_by_spi_out(self, spi: int) -> ChildSa | None:
        return next((child for child in self.children.values() if child.spi_out == spi), None)


@dataclass(slots=True)
class Relocation:
    """We asked where the SA's peer is reached from now; `places` (host, our addresses) are still to be asked for.

    A `probe` does not move the SA: the request under way is only tried there too.
    """

    sa: IkeSa
    places: list[tuple[str, tuple[str, ...]]]
    probe: bool = False
    silent: bool = False
    """Its peer does not answer, and was found by a name: where does that lead?"""
