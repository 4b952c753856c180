"""What is saved is what is loaded, whatever the order of changes."""

from dataclasses import replace

import pytest
from pydantic import BaseModel
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from gateway.storage.access_profiles import AccessProfileObject
from gateway.storage.database import Database
from gateway.storage.devices import DeviceObject
from gateway.storage.identity import (
    AuthorityObject,
    CertificateObject,
    LocalAuthFields,
    RemoteAuthFields,
    RevokedFields,
)
from gateway.storage.models import ChildRow, PeerRow, ProposalRow, PskRow
from gateway.storage.objects import KINDS, Inventory
from gateway.storage.peers import ChildObject, PeerObject, ProposalObject, PskObject, RetransmitFields
from gateway.storage.people import PoolObject, RadiusObject, ReservationFields, UserObject
from gateway.storage.repositories import (
    Revision,
    add_revision,
    find_revision,
    forget_revisions,
    last_revision,
    list_revisions,
    load_inventory,
    save_inventory,
)
from gateway.storage.rules import BlockObject, SettingsObject, ShuntObject
from gateway.storage.secrets import SecretBox, SecretUnreadable

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


def _numbered(inventory: Inventory) -> Inventory:
    changed = {(kind, name): 1 for kind in (*KINDS, "settings") for name in inventory.objects(kind)}
    changed |= {
        ("children", f"{peer.name}/{child.name}"): 1 for peer in inventory.peers.values() for child in peer.children
    }
    return replace(inventory, changed=changed)


FULL = _numbered(
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


def _save(database: Database, box: SecretBox, old: Inventory, new: Inventory) -> Inventory:
    with database.write() as session:
        save_inventory(session, box, old, new)
    with database.read() as session:
        return load_inventory(session, box)


@pytest.mark.parametrize(
    ("samples", "plain"),
    [
        (PEER.children, ChildObject(name="x", local_selectors=("a",), remote_selectors=("b",))),
        ((PEER, SECOND_PEER), PeerObject(name="x")),
        ((SHUNT,), ShuntObject(name="x", action="drop", local_selectors=("a",), remote_selectors=("b",))),
        ((BLOCK,), BlockObject(network="192.0.2.0/24")),
        ((AUTHORITY,), AuthorityObject(name="x", certificate="y")),
        ((CERTIFICATE,), CertificateObject(name="x")),
        (PEER.local_auth, LocalAuthFields()),
        (PEER.remote_auth, RemoteAuthFields()),
        ((POOL,), PoolObject(name="x", networks=("y",))),
        ((PROFILE,), AccessProfileObject(name="x")),
        ((USER,), UserObject(name="x")),
        ((DEVICE,), DeviceObject(name="x/y")),
        ((RADIUS,), RadiusObject(name="x", address="192.0.2.1")),
        ((SETTINGS,), SettingsObject()),
    ],
    ids=[
        "children",
        "peers",
        "shunts",
        "blocks",
        "authorities",
        "certificates",
        "ours",
        "theirs",
        "pools",
        "access profiles",
        "users",
        "devices",
        "radius",
        "settings",
    ],
)
def test_each_field_has_another_value_than_its_default_in_a_sample(
    samples: tuple[BaseModel, ...], plain: BaseModel
) -> None:
    """Otherwise one that is not stored would come back all the same."""
    usual = [
        name
        for name in type(plain).model_fields
        if all(getattr(sample, name) == getattr(plain, name) for sample in samples)
    ]
    assert usual == []


def test_everything_comes_back(database: Database, box: SecretBox) -> None:
    assert _save(database, box, Inventory(), FULL) == FULL


def test_each_step_between_inventories_is_saved(database: Database, box: SecretBox) -> None:
    turned = PEER.model_copy(update={"children": PEER.children[::-1], "ike_proposals": ("ike2", "ike")})
    other = _numbered(
        Inventory(
            0,
            {"esp": ESP, "ike": IKE, "ike2": IKE.model_copy(update={"name": "ike2"})},
            {},
            {"moon": PEER.model_copy(update={"name": "moon", "children": ()}), "sun": turned},
        )
    )
    less = _numbered(
        Inventory(0, {"ike": IKE}, {"new": PSK.model_copy(update={"name": "new"})}, {}, {("psks", "new"): b"s"})
    )
    state = Inventory()
    for step in (FULL, other, less, FULL, _numbered(Inventory()), other):
        assert _save(database, box, state, step) == step
        state = step


def test_rules_change_one_by_one(database: Database, box: SecretBox) -> None:
    state = _save(database, box, Inventory(), FULL)
    later = replace(
        FULL,
        shunts={"lan": SHUNT.model_copy(update={"action": "drop"}), "more": SHUNT.model_copy(update={"name": "more"})},
        blocks={BLOCK.network: BLOCK.model_copy(update={"expires_at": None})},
        settings=SettingsObject(),
    )
    for step in (_numbered(later), FULL, _numbered(replace(FULL, shunts={}, blocks={}))):
        assert _save(database, box, state, step) == step
        state = step


def test_a_peer_takes_its_children_along(database: Database, box: SecretBox) -> None:
    _save(database, box, Inventory(), FULL)
    _save(database, box, FULL, _numbered(replace(FULL, peers={})))
    with database.read() as session:
        assert session.scalars(select(ChildRow)).all() == []


def test_the_database_keeps_a_proposal_in_use(database: Database, box: SecretBox) -> None:
    _save(database, box, Inventory(), FULL)
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(delete(ProposalRow).where(ProposalRow.name == "esp"))


def test_no_secret_lies_open_in_a_file(database: Database, box: SecretBox) -> None:
    secret = b"canary-in-the-coal-mine"
    _save(database, box, Inventory(), replace(FULL, secrets=dict.fromkeys(FULL.secrets, secret)))
    files = [path for path in database.path.parent.iterdir() if path.name.startswith("config")]
    assert len(files) >= 3
    assert all(secret not in path.read_bytes() and secret.hex().encode() not in path.read_bytes() for path in files)


def test_a_sealed_key_cannot_be_moved_to_another_row(database: Database, box: SecretBox) -> None:
    second = PSK.model_copy(update={"name": "second"})
    both = _numbered(
        replace(
            FULL, psks={"key": PSK, "second": second}, secrets={("psks", "key"): b"one", ("psks", "second"): b"two"}
        )
    )
    _save(database, box, Inventory(), both)
    with database.write() as session:
        sealed = session.scalars(select(PskRow).where(PskRow.name == "key")).one().secret
        session.execute(update(PskRow).where(PskRow.name == "second").values(secret=sealed))
    with pytest.raises(SecretUnreadable), database.read() as session:
        load_inventory(session, box)


def test_an_unchanged_peer_is_not_written_again(database: Database, box: SecretBox) -> None:
    _save(database, box, Inventory(), FULL)
    with database.read() as session:
        before = session.scalars(select(PeerRow).where(PeerRow.name == "sun")).one().children[0].id
    again = replace(FULL, peers={**FULL.peers, "sun": PeerObject.model_validate(PEER.model_dump())})
    _save(database, box, FULL, again)
    with database.read() as session:
        assert session.scalars(select(PeerRow).where(PeerRow.name == "sun")).one().children[0].id == before


def test_revisions_are_listed_found_and_forgotten(database: Database) -> None:
    for number in range(1, 6):
        with database.write() as session:
            add_revision(session, Revision(number, float(number), "me", "", f"step {number}"), f'{{"number":{number}}}')
    with database.read() as session:
        assert [revision.number for revision in list_revisions(session, None, 2)] == [5, 4]
        assert [revision.number for revision in list_revisions(session, 4, 10)] == [3, 2, 1]
        assert find_revision(session, 3) == (Revision(3, 3.0, "me", "", "step 3"), {"number": 3})
        assert find_revision(session, 9) is None
    with database.write() as session:
        forget_revisions(session, 2)
    with database.read() as session:
        assert [revision.number for revision in list_revisions(session, None, 10)] == [5, 4]
        assert last_revision(session) == 5
