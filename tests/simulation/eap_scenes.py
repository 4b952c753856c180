"""Two gateways of which one proves itself by EAP."""

from dataclasses import replace

from cryptography import x509

from gateway.crypto.signatures import PrivateKey
from gateway.ike.attempts import Attempt
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import Authority, Credential, LocalAuth, Method, RemoteAuth
from gateway.policy.peers import Peer, Start
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import User
from tests.ike.eap_lab import CLIENT, SERVER, Issued, issue
from tests.simulation.network import Host, Network, peer, psk

ANNA = User("anna", b"open sesame")
PSK, EAP = Method.PSK, Method.EAP
PASSWORD = LocalAuth(EAP, eap_identity="anna", eap_password=b"open sesame")
ROOT = issue("Root", ca=True)
GATE = issue("right", ROOT, san=(x509.DNSName("right.example"),), usage=SERVER)
OTHER = issue("other", ROOT, san=(x509.DNSName("other.example"),), usage=SERVER)
CARD = issue("anna", ROOT, usage=CLIENT)
CERTIFICATE = LocalAuth(EAP, credential="own", eap_identity="anna")


def credential(issued: Issued) -> Credential:
    return Credential("own", PrivateKey(issued.key), (issued.der,))


def scene(
    network: Network,
    left_auth: tuple[LocalAuth, ...] = (PASSWORD,),
    right_auth: tuple[RemoteAuth, ...] = (RemoteAuth(EAP),),
    *,
    users: tuple[User, ...] = (ANNA,),
    alone: bool = False,
    card: Issued = CARD,
    gate: Issued = GATE,
    trusted: Issued = ROOT,
    expected: str = "%any",
    methods: tuple[str, ...] = (),
) -> tuple[Host, Host]:
    """`left` calls `right`, which knows the users; it proves itself by a key, or by EAP `alone`."""
    a, b = network.host("left", "192.0.2.1"), network.host("right", "192.0.2.2")
    mine = LocalAuth(EAP, credential="own") if alone else LocalAuth()
    theirs = RemoteAuth(EAP) if alone else RemoteAuth()
    left: Peer = peer("right", me="laptop.example", them="right.example", remote="192.0.2.2")
    left = replace(left, local_auth=left_auth, remote_auth=(theirs,))
    right: Peer = peer(
        "left",
        me="right.example",
        them=expected,
        remote=None,
        mine="10.2.0.0/24",
        theirs="10.1.0.0/24",
        start=Start.PASSIVE,
    )
    right = replace(right, local_auth=(mine,), remote_auth=right_auth)
    roots = [Authority("root", trusted.der)]
    network.apply(
        b, Snapshot.build(1, [right], [psk()], credentials=[credential(gate)], authorities=roots, users=users)
    )
    roots = [Authority("root", ROOT.der)]
    network.apply(a, Snapshot.build(1, [left], [psk()], credentials=[credential(card)], authorities=roots))
    return a, b


def established(host: Host) -> IkeSa:
    (sa,) = host.engine.ike_sas()
    assert sa.state == "established", host.events
    return sa


def attempt(host: Host) -> Attempt:
    return host.engine.core.attempts.latest(1)[0]


def assert_up(a: Host, b: Host) -> None:
    sa = established(b)
    assert sa.eap_identity == "anna" and str(sa.remote_id) == "anna"
    assert [child.name for child in sa.children.values()] == ["net"]
    assert len(a.protecting()) == len(b.protecting()) > 0
    assert attempt(b).eap_identity == "anna" and attempt(b).outcome == "established"


def established_any(host: Host) -> bool:
    return any(sa.state == "established" for sa in host.engine.ike_sas())
