"""How it is now, as frozen values: the one truth that REST, the CLI and the pages show."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.ike.standing import Standing


class TunnelState(StrEnum):
    """A peer's state in one word; everything that is wanted and not UP has a reason."""

    UP = "up"
    DEGRADED = "degraded"
    CONNECTING = "connecting"
    DOWN = "down"
    WAITING = "waiting"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class ChildSaStatus:
    """One installed CHILD_SA; times are Unix seconds, octets and packets are accumulated across rekeys.

    Where a child has several CHILD_SAs at once, each has its own counts alone. `unmet_…` are networks that were asked
    for, and that the peer did not agree to.
    """

    id: int
    name: str
    peer: str
    ike_sa: int
    state: str
    spi_in: str
    spi_out: str
    local_selectors: tuple[str, ...]
    remote_selectors: tuple[str, ...]
    algorithms: str
    mode: str
    encapsulation: bool
    installed_at: float
    octets_in: int
    octets_out: int
    packets_in: int
    packets_out: int
    rekeys: int = 0
    unmet_local: tuple[str, ...] = ()
    unmet_remote: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessStatus:
    """How far a user gets by an access profile; no `networks` are anywhere.

    `group` is the one of his groups by which he has it, empty where it is his own. What came from his addresses of
    pools is counted where the rules lie in the data plane, a few seconds late; without such addresses nothing is, and
    nothing is masqueraded.
    """

    profile: str
    group: str
    tunnel: str
    networks: tuple[str, ...]
    masquerade: bool
    passed_packets: int
    passed_octets: int
    dropped_packets: int
    dropped_octets: int


@dataclass(frozen=True, slots=True)
class IkeSaStatus:
    """One IKE SA; `state` is its lifecycle row, `task` what a script waits for.

    `post_quantum` tells in a word on what it rests that what is recorded today stays closed to a quantum computer, or
    that it does not; `key_exchange` in a sentence, and if not, why.
    """

    id: int
    peer: str | None
    state: str
    initiator: bool
    spi_i: str
    spi_r: str
    local: str
    remote: str
    local_id: str
    remote_id: str
    algorithms: str
    key_exchange: str
    nat: str
    created_at: float
    established_at: float | None
    task: str
    children: tuple[ChildSaStatus, ...]
    user: str = ""
    """The login of the user behind it, where it is one of ours."""
    device: str = ""
    """That user's device (`user/device`) whose certificate proved it, where it is one."""
    superseded: bool = False
    """Whether that is the certificate which the device had before it was given another one."""
    leased: tuple[str, ...] = ()
    """Addresses of our pools that the peer holds by it."""
    lent: tuple[str, ...] = ()
    """Addresses that the peer gave us."""
    dns: tuple[str, ...] = ()
    """DNS servers that the peer told us with these; we leave it to others to ask them."""
    domains: tuple[str, ...] = ()
    """For names of which domains alone these servers are to be asked (RFC 8598); none: for all names."""
    access: AccessStatus | None = None
    """How far its user gets, where an access profile says so; else the children do."""
    post_quantum: Standing | None = None
    refusal: str = ""
    """Why it has no CHILD_SA, where one was asked for and refused: it stands, and nothing comes through it."""


@dataclass(frozen=True, slots=True)
class WantedChildStatus:
    """A configured child: whether it is up, and if not, why."""

    name: str
    state: TunnelState
    reason: str
    child_sa: int | None
    octets_in: int
    octets_out: int
    packets_in: int
    packets_out: int


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A configured peer; `reason` and `advice` are sentences, `since` is Unix time of the last change of state.

    `post_quantum` is what the weakest keys of its IKE SAs rest on, null where there is none; if they are classical,
    `why_classical` is a clause.
    """

    name: str
    state: TunnelState
    reason: str
    advice: str
    since: float
    remote: str
    last_attempt: int | None
    next_try: float | None
    ike_sas: tuple[int, ...]
    children: tuple[WantedChildStatus, ...]
    octets_in: int
    octets_out: int
    post_quantum: Standing | None = None
    why_classical: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """All of it at one moment (`at`, Unix seconds); `counters` names what was dropped or answered, and how often."""

    at: float
    revision: int
    data_plane: str
    listening: tuple[str, ...]
    problems: tuple[str, ...]
    peers: tuple[PeerStatus, ...]
    ike_sas: tuple[IkeSaStatus, ...]
    counters: Mapping[str, int]

    def peer(self, name: str) -> PeerStatus | None:
        return next((peer for peer in self.peers if peer.name == name), None)

    def ike_sa(self, number: int) -> IkeSaStatus | None:
        return next((sa for sa in self.ike_sas if sa.id == number), None)

    @property
    def child_sas(self) -> tuple[ChildSaStatus, ...]:
        return tuple(child for sa in self.ike_sas for child in sa.children)
