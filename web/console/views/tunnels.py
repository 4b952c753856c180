"""The list of tunnels and one tunnel's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.ike.reasons import Kind
from gateway.policy.peers import Child, Offload, Peer, Start, WhenDown
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot
from gateway.service.outages import Outage
from gateway.service.status import ChildSaStatus, IkeSaStatus, PeerStatus, Status, TunnelState, WantedChildStatus
from web.console.views.quantum import KEYS, Keys
from web.console.words import TUNNEL_STATES, State, duration, ike_sa_state

START_WORDS = {
    Start.ALWAYS: "always up",
    Start.ON_DEMAND: "when there is traffic",
    Start.PASSIVE: "when the other side asks",
}
_WHEN_DOWN_WORDS = {WhenDown.DROP: "dropped while down", WhenDown.PASS: "in the clear while down"}
_OFFLOAD_WORDS = {Offload.CRYPTO: "encrypted by the device", Offload.PACKET: "ESP done by the device"}
FILTERS = (("", "Every state"), *((state.value, shown.word) for state, shown in TUNNEL_STATES.items()))


@dataclass(frozen=True, slots=True)
class TunnelRow:
    """One line of the list; `remote` is where the peer is now, or where it is expected."""

    name: str
    description: str
    state: State
    reason: str
    remote: str
    networks: tuple[tuple[str, str], ...]
    octets_in: int
    octets_out: int
    since: float
    keys: Keys | None = None
    why_classical: str = ""


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """One wanted child with what was agreed: `narrowed` when the two ends protect less than we want."""

    name: str
    state: State
    reason: str
    start: str
    options: tuple[str, ...]
    local: tuple[str, ...]
    remote: tuple[str, ...]
    narrowed: bool
    sa: ChildSaStatus | None
    octets_in: int
    octets_out: int
    packets_in: int
    packets_out: int

    @property
    def one_way(self) -> str:
        """What to say when packets go only one way through an installed SA."""
        if self.sa is None or bool(self.sa.packets_in) is bool(self.sa.packets_out):
            return ""
        if self.sa.packets_in:
            return "Packets come in but none go out: look at the routes and the firewall on this side."
        return (
            "Packets go out but none come back: look at the routes, the firewall and ESP on the way to the other side."
        )


@dataclass(frozen=True, slots=True)
class SaRow:
    """An IKE SA with its state in words."""

    sa: IkeSaStatus
    state: State


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One tunnel's page."""

    name: str
    description: str
    state: State
    status: PeerStatus
    networks: tuple[NetworkRow, ...]
    ike_sas: tuple[SaRow, ...]
    dialable: bool

    @property
    def busy(self) -> bool:
        return bool(self.ike_sas)

    @property
    def established(self) -> bool:
        return any(row.sa.established_at is not None for row in self.ike_sas)


def tunnel_rows(status: Status, peers: Mapping[str, Peer], query: str = "", state: str = "") -> tuple[TunnelRow, ...]:
    """The tunnels that have `query` in a text and are in `state` (empty: any), what needs attention first."""
    rows = [_row(status, peer, peers.get(peer.name)) for peer in status.peers if not state or peer.state == state]
    needle = query.strip().lower()
    if needle:
        rows = [row for row in rows if needle in _haystack(row)]
    return tuple(sorted(rows, key=lambda row: (-row.state.urgency, row.name)))


def _row(status: Status, peer: PeerStatus, wanted: Peer | None) -> TunnelRow:
    networks = _networks(wanted) if wanted else ()
    expected = ", ".join(wanted.remote_addresses) if wanted else ""
    return TunnelRow(
        peer.name,
        wanted.description if wanted else "",
        TUNNEL_STATES[peer.state],
        peer.reason if peer.state is not TunnelState.DISABLED else "",
        peer.remote or expected or "calls us",
        networks,
        peer.octets_in,
        peer.octets_out,
        peer.since,
        KEYS[peer.post_quantum] if peer.post_quantum else None,
        peer.why_classical,
    )


def _networks(peer: Peer) -> tuple[tuple[str, str], ...]:
    return tuple((", ".join(_side(child.local)), ", ".join(_side(child.remote))) for child in peer.children)


def _side(selectors: Sequence[Selector]) -> tuple[str, ...]:
    """A side without networks is for the virtual address that is given to it."""
    return tuple(one.text for one in selectors) or ("virtual address",)


def _haystack(row: TunnelRow) -> str:
    return "\n".join(
        (row.name, row.description, row.remote, row.reason, *(side for pair in row.networks for side in pair))
    ).lower()


def tunnel(status: Status, name: str, wanted: Peer | None) -> Tunnel | None:
    """One tunnel with all its children and SAs, or None when there is no such tunnel."""
    peer = status.peer(name)
    if peer is None:
        return None
    installed = {child.id: child for child in status.child_sas}
    children = {child.name: child for child in wanted.children} if wanted else {}
    networks = tuple(_network_row(child, children.get(child.name), installed) for child in peer.children)
    sas = tuple(SaRow(sa, ike_sa_state(sa)) for sa in status.ike_sas if sa.peer == name)
    dialable = wanted is not None and wanted.dialable is not None and peer.state is not TunnelState.DISABLED
    return Tunnel(name, wanted.description if wanted else "", TUNNEL_STATES[peer.state], peer, networks, sas, dialable)


def _network_row(child: WantedChildStatus, wanted: Child | None, installed: Mapping[int, ChildSaStatus]) -> NetworkRow:
    sa = installed.get(child.child_sa) if child.child_sa is not None else None
    local = _side(wanted.local) if wanted else ()
    remote = _side(wanted.remote) if wanted else ()
    narrowed = sa is not None and bool(sa.unmet_local or sa.unmet_remote)
    return NetworkRow(
        child.name,
        TUNNEL_STATES[child.state],
        child.reason,
        START_WORDS[wanted.start] if wanted else "",
        options_of(wanted) if wanted else (),
        local,
        remote,
        narrowed,
        sa,
        child.octets_in,
        child.octets_out,
        child.packets_in,
        child.packets_out,
    )


def options_of(child: Child) -> tuple[str, ...]:
    """How a child's traffic is treated, in words: the mode and what happens while it is down, then what is unusual."""
    unusual = (
        (child.interface_id, f"through interface {child.interface_name}"),
        (child.mark, f"only packets marked {child.mark.text}" if child.mark else ""),
        (child.single_pair, "a CHILD_SA for each pair of networks"),
        (child.idle_timeout, f"taken down after {duration(child.idle_timeout)} of silence"),
        (child.mss, f"TCP segments up to {child.mss} octets"),
        (child.offload is not Offload.NONE, _OFFLOAD_WORDS.get(child.offload, "")),
        (not child.replay_window, "no protection against repeats"),
    )
    return (f"{child.mode} mode", _WHEN_DOWN_WORDS[child.when_down], *(words for is_so, words in unusual if is_so))


@dataclass(frozen=True, slots=True)
class OutageRow:
    """One time that a child was down, in words."""

    outage: Outage
    state: State
    kind: str

    @property
    def lasted(self) -> float | None:
        """Seconds; None while it lasts."""
        return self.outage.ended_at - self.outage.began_at if self.outage.ended_at is not None else None


KIND_WORDS = {
    Kind.FAILURE: "Failure",
    Kind.ADMINISTRATOR: "Disconnected by an administrator",
    Kind.CONFIGURATION: "Configuration changed",
    Kind.IDLE: "Not used",
    Kind.STOP: "Gateway stopped",
}
_OUTAGES_SHOWN = 20


def outage_rows(outages: Sequence[Outage]) -> tuple[OutageRow, ...]:
    """The newest first; what was meant does not look like a failure."""
    return tuple(_outage_row(outage) for outage in outages[:_OUTAGES_SHOWN])


def _outage_row(outage: Outage) -> OutageRow:
    lasting = TunnelState.DOWN if outage.kind is Kind.FAILURE else TunnelState.DISABLED
    state = TUNNEL_STATES[lasting if outage.ended_at is None else TunnelState.UP]
    return OutageRow(outage, state, KIND_WORDS[outage.kind])


def complete(status: Status, snapshot: Snapshot) -> Status:
    """The status with the tunnels that the engine does not know, because it does not run, added as down."""
    known = {peer.name for peer in status.peers}
    missing = tuple(_unknown(peer, status.at) for name, peer in snapshot.peers.items() if name not in known)
    return replace(status, peers=(*status.peers, *missing)) if missing else status


def _unknown(peer: Peer, at: float) -> PeerStatus:
    state = TunnelState.DOWN if peer.enabled else TunnelState.DISABLED
    reason = "the gateway's IKE does not run" if peer.enabled else ""
    children = tuple(WantedChildStatus(child.name, state, reason, None, 0, 0, 0, 0) for child in peer.children)
    remote = ", ".join(peer.remote_addresses)
    return PeerStatus(peer.name, state, reason, "", at, remote, None, None, (), children, 0, 0)
