"""A gateway's status by hand, with every state in it and a peer that writes markup wherever a peer may write."""

from dataclasses import replace

from gateway.crypto.chains import Link
from gateway.ike.attempts import Attempt, Considered, MessageSeen, Outcome, Step, StepTaken
from gateway.ike.reasons import Kind
from gateway.policy.peers import Start
from gateway.policy.snapshot import Snapshot
from gateway.service.journal import Record
from gateway.service.outages import Outage
from gateway.service.seeds import first_inventory
from gateway.service.status import (
    AccessStatus,
    ChildSaStatus,
    IkeSaStatus,
    PeerStatus,
    Status,
    TunnelState,
    WantedChildStatus,
)
from gateway.storage.compiling.snapshot import compile_snapshot
from gateway.storage.objects import Inventory
from gateway.storage.peers import ChildObject, PeerObject, PskObject

NOW = 1_800_000_000.0
HOSTILE = "</td><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"


def wanted(name: str, address: tuple[str, ...], *children: ChildObject, enabled: bool = True) -> PeerObject:
    return PeerObject(
        name=name,
        remote_addresses=address,
        remote_id=f"{name}.example",
        local_id="gw.example",
        children=children,
        enabled=enabled,
    )


def networks(name: str, ours: str, theirs: str) -> ChildObject:
    return ChildObject(name=name, local_selectors=(ours,), remote_selectors=(theirs,))


def inventory() -> Inventory:
    peers = (
        wanted("geneva", ("192.0.2.17",), networks("net", "10.1.0.0/16", "10.2.0.0/16")),
        wanted(
            "acme",
            ("198.51.100.7",),
            networks("net", "10.1.20.0/24", "172.16.8.0/22"),
            networks("storage", "10.1.5.0/24", "172.16.40.0/24"),
        ),
        wanted("hotel", ("203.0.113.80",), networks("net", "10.1.0.0/16", "10.66.0.0/24")),
        wanted("roaming", (), networks("net", "10.1.0.0/16", "10.7.0.0/24")),
        wanted("old", ("203.0.113.9",), networks("net", "10.1.0.0/16", "10.9.0.0/24"), enabled=False),
        wanted("partner", ("203.0.113.44",), networks("net", "10.1.0.0/16", "10.44.0.0/24")),
    )
    psks = (
        PskObject(name="geneva", remote_ids=("geneva.example",), local_ids=("gw.example",)),
        PskObject(name="anybody", description="left over"),
        PskObject(name="stranger", remote_ids=("nobody.example",)),
    )
    return replace(
        first_inventory(),
        peers={peer.name: peer for peer in peers},
        psks={psk.name: psk for psk in psks},
        secrets={("psks", psk.name): b"0123456789abcdef" for psk in psks},
    )


def snapshot() -> Snapshot:
    return compile_snapshot(inventory(), lambda kind, name: f"/{kind}/{name}")


GENEVA_NET = ChildSaStatus(
    id=11,
    name="net",
    peer="geneva",
    ike_sa=4,
    state="installed",
    spi_in="c0ffee01",
    spi_out="8badf00d",
    local_selectors=("10.1.0.0/16",),
    remote_selectors=("10.2.0.0/16",),
    algorithms="aes256gcm16-x25519",
    mode="tunnel",
    encapsulation=False,
    installed_at=NOW - 3100,
    octets_in=5_812_345_678,
    octets_out=912_345_000,
    packets_in=4_812_111,
    packets_out=1_212_345,
    rekeys=2,
)
ACME_NET = replace(
    GENEVA_NET,
    id=12,
    peer="acme",
    ike_sa=5,
    local_selectors=("10.1.20.0/24",),
    remote_selectors=("172.16.8.0/24",),
    unmet_local=("10.1.0.0-10.1.19.255", "10.1.21.0-10.1.255.255"),
    octets_in=0,
    octets_out=8122,
    packets_in=0,
    packets_out=81,
)
ACCESS = AccessStatus("staff", "people", "split", ("10.1.0.0/24[tcp/443]",), True, 12_345, 9_876_543, 67, 4_020)
GENEVA = IkeSaStatus(
    id=4,
    peer="geneva",
    state="established",
    initiator=True,
    spi_i="6f1d2c3b4a596877",
    spi_r="8796a5b4c3d2e1f0",
    local="203.0.113.5",
    remote="192.0.2.17:500",
    local_id="gw.example",
    remote_id="geneva.example",
    algorithms="aes256gcm16-prfsha384-x25519",
    key_exchange="classical: X25519; its proposals have no ML-KEM",
    nat="none",
    created_at=NOW - 90_000,
    established_at=NOW - 89_999,
    task="",
    children=(GENEVA_NET,),
)
ACME = replace(
    GENEVA,
    id=5,
    peer="acme",
    remote="198.51.100.7:500",
    remote_id=HOSTILE,
    children=(ACME_NET,),
    access=ACCESS,
    leased=("10.99.0.7",),
    lent=("10.97.0.5", "fd00:97::5"),
    dns=("10.2.0.53", "fd02::53"),
    domains=("corp.example", HOSTILE),
)
STRANGER = replace(
    GENEVA,
    id=9,
    peer=None,
    state="connecting",
    remote_id=HOSTILE,
    established_at=None,
    task=f"waiting for {HOSTILE}",
    refusal=HOSTILE,
    children=(),
)
NOTHING = (0, 0, 0, 0)


def child(
    name: str, state: TunnelState, reason: str = "", sa: int | None = None, counts: tuple[int, int, int, int] = NOTHING
) -> WantedChildStatus:
    return WantedChildStatus(name, state, reason, sa, *counts)


def peer(name: str, state: TunnelState, reason: str = "", *children: WantedChildStatus, **more: object) -> PeerStatus:
    plain = PeerStatus(name, state, reason, "", NOW - 60, "", None, None, (), children, 0, 0)
    return replace(plain, **more)  # type: ignore[arg-type]


PEERS = (
    peer(
        "geneva",
        TunnelState.UP,
        "",
        child("net", TunnelState.UP, "", 11, (5_812_345_678, 912_345_000, 4_812_111, 1_212_345)),
        remote="192.0.2.17:500",
        octets_in=5_812_345_678,
        octets_out=912_345_000,
        ike_sas=(4,),
    ),
    peer(
        "acme",
        TunnelState.DEGRADED,
        f"storage: the peer answered {HOSTILE}",
        child("net", TunnelState.UP, "", 12, (0, 8122, 0, 81)),
        child("storage", TunnelState.DOWN, f"the peer answered {HOSTILE}"),
        remote="198.51.100.7:500",
        advice=f"Ask them about {HOSTILE}",
        last_attempt=6,
        ike_sas=(5,),
    ),
    peer("hotel", TunnelState.CONNECTING, "waiting for the IKE_SA_INIT response", child("net", TunnelState.DOWN)),
    peer("old", TunnelState.DISABLED, "disabled by configuration", child("net", TunnelState.DISABLED)),
    peer(
        "partner",
        TunnelState.DOWN,
        "the peer chose none of our algorithms",
        child("net", TunnelState.DOWN, "the peer is not connected"),
        advice="Give both sides one list of algorithms in common.",
        last_attempt=7,
        next_try=NOW + 42,
    ),
    peer("roaming", TunnelState.WAITING, "waiting for the peer to call", child("net", TunnelState.WAITING)),
)
STATUS = Status(
    at=NOW,
    revision=14,
    data_plane="memory",
    listening=("udp 0.0.0.0:500", "udp 0.0.0.0:4500"),
    problems=(),
    peers=PEERS,
    ike_sas=(GENEVA, ACME, STRANGER),
    counters={},
)
MISMATCH = Attempt(
    id=7,
    started=NOW - 44,
    initiator=True,
    local="203.0.113.5",
    remote="203.0.113.44:500",
    peer="partner",
    ended=NOW - 43.9,
    outcome=Outcome.FAILED,
    cause="no-proposal",
    notify=14,
    reason="the peer chose none of our algorithms",
    advice="Give both sides one list of algorithms in common.",
    offered=("aes256gcm16-prfsha256-x25519",),
    acceptable=("aes256gcm16-prfsha256-modp2048", HOSTILE),
    differences=("key exchange: they offer x25519; we accept modp2048",),
    steps=[
        StepTaken(Step.REACH, done=True, at=NOW - 43.95, text="203.0.113.44 answers"),
        StepTaken(Step.ALGORITHMS, done=False, at=NOW - 43.9),
    ],
    messages=[
        MessageSeen(NOW - 44, True, 34, False, 0, 412, ("SA", "KE", "Nonce")),
        MessageSeen(NOW - 43.9, False, 34, True, 0, 36, (f"N({HOSTILE})",)),
    ],
)
KNOCK = Attempt(
    id=9,
    started=NOW - 2,
    initiator=False,
    local="203.0.113.5",
    remote="198.18.66.6:500",
    ended=NOW - 1,
    outcome=Outcome.FAILED,
    cause="unknown-identity",
    reason=f"no peer is configured for {HOSTILE}",
    advice=f"If {HOSTILE} is wanted, create it.",
    remote_id=HOSTILE,
    considered=(Considered("acme", f"it is to say {HOSTILE}"), Considered("geneva", "it is disabled")),
    chain=(
        Link(HOSTILE, HOSTILE, "4711", "2026-01-01 00:00 UTC", "2027-01-01 00:00 UTC", "ECDSA P-256", HOSTILE),
        Link("CN=Root", "CN=Root", "1", "2026-01-01 00:00 UTC", "2036-01-01 00:00 UTC", "RSA 3072"),
    ),
    eap_identity=HOSTILE,
)
RECORDS = (
    Record(3, NOW - 1, "attempt.failed", f"198.18.66.6 knocked as {HOSTILE}", None),
    Record(2, NOW - 400, "child-sa.installed", "CHILD_SA acme/net installed", "acme"),
    Record(1, NOW - 90_000, "ike-sa.established", "IKE SA with geneva established", "geneva"),
)

OUTAGES = (
    Outage(3, HOSTILE, HOSTILE, Start.ALWAYS, NOW - 90, Kind.FAILURE, HOSTILE, None, "", 2, HOSTILE + "?"),
    Outage(2, HOSTILE, "net", Start.ALWAYS, NOW - 7200, Kind.ADMINISTRATOR, "disconnected", NOW - 3600, HOSTILE),
)
