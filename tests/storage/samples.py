"""One object of each kind, with every field another than its default, and an inventory of them."""

from dataclasses import replace

from gateway.storage.access_profiles import AccessProfileObject
from gateway.storage.devices import DeviceObject
from gateway.storage.identity import (
    AuthorityObject,
    CertificateObject,
    LocalAuthFields,
    RemoteAuthFields,
    RevokedFields,
)
from gateway.storage.objects import KINDS, Inventory
from gateway.storage.peers import ChildObject, PeerObject, ProposalObject, PskObject, RetransmitFields
from gateway.storage.people import PoolObject, RadiusObject, ReservationFields, UserObject
from gateway.storage.rules import BlockObject, SettingsObject, ShuntObject

IKE = ProposalObject(name="ike", protocol="ike", suites=("aes256gcm16-prfsha256-x25519",), description="für alle")
ESP = ProposalObject(name="esp", protocol="esp", suites=("aes256gcm16", "aes128gcm16"))
CHILD = ChildObject(
    name="net",
    description="one",
    rekey_time=60.0,
    local_selectors=("10.1.0.0/24",),
    remote_selectors=("10.2.0.0/24[tcp/443]",),
    esp_proposals=("esp",),
)
ODD_CHILD = ChildObject(
    name="odd",
    local_selectors=("10.1.0.0/24",),
    remote_selectors=("0.0.0.0/0",),
    esp_proposals=("esp",),
    mode="transport",
    rekey_octets=2**53,
    rekey_packets=1,
    idle_timeout=0.5,
    when_down="pass",
    interface_id=2**32 - 1,
    interface="office",
    mark="0x10/0xff",
    single_pair=True,
    offload="packet",
    copy_dscp=True,
    copy_df=False,
    mss=1300,
    groups=("staff",),
)
PEER = PeerObject(
    name="sun",
    description="the 'other' side; DROP TABLE peers",
    local_id="moon.example",
    remote_id="sun.example",
    remote_addresses=("192.0.2.1", "sun.example"),
    ike_proposals=("ike",),
    retransmit=RetransmitFields(tries=3, base=0.5, factor=1.5, jitter=0.0),
    force_encapsulation=True,
    unique="never",
    reauth_time=86_400.5,
    mobike=False,
    fragment_octets=0,
    childless=True,
    redirect=False,
    resumption=False,
    dscp=46,
    pools=("people", "guests"),
    virtual_ip=True,
    redirect_to="vpn2.example",
    ppks=("this-year", "last-year"),
    ppk_required=True,
    ppk_exchange="intermediate",
    post_quantum="require",
    post_quantum_from=1_900_000_000.5,
    local_auth=(
        LocalAuthFields(method="certificate", certificate="moon", scheme="ed25519", sha1=True),
        LocalAuthFields(method="eap", eap_identity="moon", eap_methods=("md5",), eap_server="aaa.example"),
    ),
    remote_auth=(
        RemoteAuthFields(
            method="public-key",
            authorities=("ours",),
            public_keys=("-----BEGIN PUBLIC KEY-----",),
            revocation="strict",
            eap_methods=("tls",),
            sha1=True,
        ),
    ),
    children=(ODD_CHILD, CHILD, CHILD.model_copy(update={"name": "net2", "start": "passive", "replay_window": 0})),
)
SECOND_PEER = PeerObject(
    name="star",
    enabled=False,
    local_addresses=("192.0.2.9",),
    remote_port=4501,
    dpd_delay=0.0,
    rekey_time=60.0,
    ike_proposals=("ike",),
)
PSK = PskObject(name="key", local_ids=("moon.example",), remote_ids=("*.example", "%any"))
SHUNT = ShuntObject(
    name="lan",
    description="ours",
    action="pass",
    local_selectors=("10.1.0.0/16",),
    remote_selectors=("10.1.0.0/16", "fd00::/64"),
    priority=7,
)
BLOCK = BlockObject(network="198.51.100.0/24", reason="scans", expires_at=1_900_000_000.5)
AUTHORITY = AuthorityObject(
    name="ours",
    description="the root",
    certificate="-----BEGIN CERTIFICATE-----",
    intermediates="-----BEGIN",
    crls=("-----BEGIN X509 CRL-----",),
    crl_uris=("http://ca.example/crl",),
    fetch_private=True,
    publish_uri="http://gw.example/ours",
    revoked=(RevokedFields(serial="0af3", at=1_800_000_000.5, reason="superseded"),),
)
CERTIFICATE = CertificateObject(
    name="moon", description="us", certificate="-----BEGIN", request="-----BEGIN", authority="ours", renew=False
)
POOL = PoolObject(
    name="people",
    description="of the office",
    networks=("10.9.0.0/24", "fd00:9::/64"),
    excluded=("10.9.0.1",),
    dns=("10.1.0.53",),
    nbns=("10.1.0.137",),
    domains=("corp.example",),
    subnets=("10.1.0.0/16",),
    reservations=(ReservationFields(identity="boss@example.com", address="10.9.0.7"),),
)
RADIUS = RadiusObject(
    name="one",
    description="in the cellar",
    address="192.0.2.9",
    port=11812,
    accounting_port=11813,
    timeout=1.5,
    tries=4,
    priority=7,
    accounting=False,
    interim_interval=90.5,
    dynamic=True,
    unsigned_rejects=True,
)
PROFILE = AccessProfileObject(
    name="staff",
    description="of the house",
    networks=("10.1.0.0/24", "10.2.0.80/32[tcp/443]"),
    tunnel="full",
    groups=("staff",),
    pools=("people",),
    dns=("10.1.0.9",),
    domains=("web.example",),
    esp_proposals=("esp",),
    ike_proposals=("ike",),
    masquerade=True,
    sessions=3,
)
USER = UserObject(
    access_profile="staff",
    name="anna",
    description="at the desk",
    enabled=False,
    login="anna@example.com",
    identities=("CN=anna",),
    expires_at=1_900_000_000.5,
    groups=("staff", "lab"),
    addresses=("10.9.0.8",),
    sessions=2,
)
DEVICE = DeviceObject(
    name="anna/phone",
    description="the red one",
    platform="apple",
    authority="ours",
    certificate="-----BEGIN",
    previous_authority="theirs",
    previous_certificate="-----BEGIN too",
)
SETTINGS = SettingsObject(
    half_open_timeout=9.5,
    half_open_limit=9,
    half_open_per_source=8,
    cookie_threshold=0,
    cookie_lifetime=7.5,
    puzzles=True,
    keepalive=6.5,
    retry_base=0.5,
    retry_limit=4.5,
    attempts_kept=3,
    post_quantum="require",
    post_quantum_from=1_900_000_000.5,
    redirect_to="vpn2.example",
)


def numbered(inventory: Inventory) -> Inventory:
    changed = {(kind, name): 1 for kind in (*KINDS, "settings") for name in inventory.objects(kind)}
    changed |= {
        ("children", f"{peer.name}/{child.name}"): 1 for peer in inventory.peers.values() for child in peer.children
    }
    return replace(inventory, changed=changed)


FULL = numbered(
    Inventory(
        0,
        {"esp": ESP, "ike": IKE},
        {"key": PSK},
        {"star": SECOND_PEER, "sun": PEER},
        {
            ("psks", "key"): b"\x00a secret\xff",
            ("authorities", "ours"): b"the root's key",
            ("certificates", "moon"): b"our key",
            ("peers", "sun"): b"our password",
            ("users", "anna"): b"his password",
            ("radius", "one"): b"a secret of two",
        },
        shunts={"lan": SHUNT},
        blocks={BLOCK.network: BLOCK},
        settings=SETTINGS,
        authorities={"ours": AUTHORITY},
        certificates={"moon": CERTIFICATE},
        pools={"people": POOL},
        access_profiles={"staff": PROFILE},
        users={"anna": USER},
        devices={"anna/phone": DEVICE},
        radius={"one": RADIUS},
    )
)
