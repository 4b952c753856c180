"""What is saved is what is loaded, whatever the order of changes."""

from dataclasses import replace

import pytest
from pydantic import BaseModel
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from gateway.storage.access_profiles import AccessProfileObject
from gateway.storage.database import Database
from gateway.storage.devices import DeviceObject
from gateway.storage.identity import AuthorityObject, CertificateObject, LocalAuthFields, RemoteAuthFields
from gateway.storage.models import ChildRow, PeerRow, ProposalRow, PskRow
from gateway.storage.objects import Inventory
from gateway.storage.peers import ChildObject, PeerObject
from gateway.storage.people import PoolObject, RadiusObject, UserObject
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
from tests.storage.samples import (
    AUTHORITY,
    BLOCK,
    CERTIFICATE,
    DEVICE,
    ESP,
    FULL,
    IKE,
    PEER,
    POOL,
    PROFILE,
    PSK,
    RADIUS,
    SECOND_PEER,
    SETTINGS,
    SHUNT,
    USER,
    numbered,
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
    other = numbered(
        Inventory(
            0,
            {"esp": ESP, "ike": IKE, "ike2": IKE.model_copy(update={"name": "ike2"})},
            {},
            {"moon": PEER.model_copy(update={"name": "moon", "children": ()}), "sun": turned},
        )
    )
    less = numbered(
        Inventory(0, {"ike": IKE}, {"new": PSK.model_copy(update={"name": "new"})}, {}, {("psks", "new"): b"s"})
    )
    state = Inventory()
    for step in (FULL, other, less, FULL, numbered(Inventory()), other):
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
    for step in (numbered(later), FULL, numbered(replace(FULL, shunts={}, blocks={}))):
        assert _save(database, box, state, step) == step
        state = step


def test_a_peer_takes_its_children_along(database: Database, box: SecretBox) -> None:
    _save(database, box, Inventory(), FULL)
    _save(database, box, FULL, numbered(replace(FULL, peers={})))
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
    both = numbered(
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
