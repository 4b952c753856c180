"""Inventories, revisions and the keyring, in and out of the database."""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from gateway.storage.access_models import KeyRow
from gateway.storage.models import (
    AccessProfileRow,
    AuthorityRow,
    BlockRow,
    CertificateRow,
    ChildProposalRow,
    ChildRow,
    DeviceRow,
    PeerProposalRow,
    PeerRow,
    PoolRow,
    PpkRow,
    ProposalRow,
    PskRow,
    RadiusRow,
    RevisionRow,
    SettingsRow,
    ShuntRow,
    UserRow,
)
from gateway.storage.objects import FURTHER, KEYS, SEALED, SETTINGS, STORED, ConfigObject, Inventory
from gateway.storage.peers import ChildObject, PeerObject, RetransmitFields
from gateway.storage.rules import SettingsObject
from gateway.storage.secrets import Place, SecretBox

_COMPRESSION = 3
"""Of the documents that revisions keep: half the time of zlib's own choice, and a tenth more octets."""
_ASKED_FOR = 500
"""Rows in one question: SQLite bounds the values that a statement takes."""
_PEER_FIELDS = (
    "description",
    "enabled",
    "local_id",
    "remote_id",
    "local_addresses",
    "remote_addresses",
    "remote_port",
    "dpd_delay",
    "rekey_time",
    "force_encapsulation",
    "reauth_time",
    "mobike",
    "fragment_octets",
    "childless",
    "redirect",
    "resumption",
    "dscp",
    "local_auth",
    "remote_auth",
    "pools",
    "virtual_ip",
    "redirect_to",
    "ppks",
    "ppk_required",
    "ppk_exchange",
    "post_quantum",
    "post_quantum_from",
)
_CHILD_FIELDS = (
    "description",
    "local_selectors",
    "remote_selectors",
    "start",
    "rekey_time",
    "replay_window",
    "mode",
    "rekey_octets",
    "rekey_packets",
    "idle_timeout",
    "when_down",
    "interface_id",
    "interface",
    "mark",
    "single_pair",
    "offload",
    "copy_dscp",
    "copy_df",
    "mss",
    "groups",
)
_SETTINGS_FIELDS = tuple(SettingsObject.model_fields)


@dataclass(frozen=True, slots=True)
class _Table:
    """How the objects of one kind lie in a table of their own: column by column, in a sealed one what is secret."""

    kind: str
    row: Any

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns with what an object says, its name among them."""
        return tuple(STORED[self.kind].model_fields)

    @property
    def key(self) -> Any:
        """The column that names an object."""
        return getattr(self.row, KEYS.get(self.kind, "name"))

    @property
    def sealed(self) -> dict[str, str]:
        """The columns of secrets, by the words that stand for them in an inventory."""
        own = {self.kind: SEALED[self.kind]} if self.kind in SEALED else {}
        return own | {word: field for word, (kind, field) in FURTHER.items() if kind == self.kind}

    def place(self, row: Any, field: str) -> Place:
        """Where a row's secret lies, as its seal says."""
        return Place(self.row.__tablename__, field, str(row.id))


_TABLES = (
    _Table("proposals", ProposalRow),
    _Table("psks", PskRow),
    _Table("ppks", PpkRow),
    _Table("authorities", AuthorityRow),
    _Table("certificates", CertificateRow),
    _Table("pools", PoolRow),
    _Table("access_profiles", AccessProfileRow),
    _Table("users", UserRow),
    _Table("devices", DeviceRow),
    _Table("radius", RadiusRow),
    _Table("shunts", ShuntRow),
    _Table("blocks", BlockRow),
)


def _peer_place(row: PeerRow) -> Place:
    """Where a peer's password for EAP lies."""
    return Place("peers", SEALED["peers"], str(row.id))


def load_inventory(session: Session, box: SecretBox) -> Inventory:
    """Everything that is configured, with the secrets opened. Raises SecretUnreadable."""
    changed: dict[tuple[str, str], int] = {}
    secrets: dict[tuple[str, str], bytes] = {}
    things: dict[str, Any] = {table.kind: _load(session, box, table, changed, secrets) for table in _TABLES}
    peers: dict[str, PeerObject] = {}
    for peer in session.scalars(select(PeerRow).order_by(PeerRow.name)):
        peers[peer.name] = _peer_object(peer)
        changed["peers", peer.name] = peer.changed
        if peer.eap_password:
            secrets["peers", peer.name] = box.open(peer.eap_password, _peer_place(peer))
        changed.update({("children", f"{peer.name}/{child.name}"): child.changed for child in peer.children})
    one = session.scalars(select(SettingsRow)).one()
    settings = SettingsObject.model_validate(_columns(one, _SETTINGS_FIELDS))
    changed[SETTINGS] = one.changed
    return Inventory(last_revision(session), peers=peers, secrets=secrets, changed=changed, settings=settings, **things)


def _load(
    session: Session,
    box: SecretBox,
    table: _Table,
    changed: dict[tuple[str, str], int],
    secrets: dict[tuple[str, str], bytes],
) -> dict[str, ConfigObject]:
    """The objects of a table; what is known of each besides goes into `changed` and `secrets`."""
    found: dict[str, ConfigObject] = {}
    for row in session.scalars(select(table.row).order_by(table.key)):
        name = getattr(row, table.key.key)
        found[name] = STORED[table.kind].model_validate(_columns(row, table.fields))
        changed[table.kind, name] = row.changed
        for word, field in table.sealed.items():
            if sealed := getattr(row, field):
                secrets[word, name] = box.open(sealed, table.place(row, field))
    return found


def _columns(row: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _peer_object(row: PeerRow) -> PeerObject:
    children = tuple(
        ChildObject.model_validate(
            {
                "name": child.name,
                "esp_proposals": tuple(use.proposal.name for use in child.proposals),
                **_columns(child, _CHILD_FIELDS),
            }
        )
        for child in row.children
    )
    return PeerObject.model_validate(
        {
            "name": row.name,
            "unique": row.uniqueness,
            "ike_proposals": tuple(use.proposal.name for use in row.proposals),
            "retransmit": RetransmitFields(
                tries=row.retransmit_tries,
                base=row.retransmit_base,
                factor=row.retransmit_factor,
                jitter=row.retransmit_jitter,
            ),
            "children": children,
            **_columns(row, _PEER_FIELDS),
        }
    )


def save_inventory(session: Session, box: SecretBox, old: Inventory, new: Inventory) -> None:
    """Write what differs between the two; what nobody refers to any more goes last."""
    for table in _TABLES:
        _save(session, box, table, old, new)
    if old.settings != new.settings:
        one = session.scalars(select(SettingsRow)).one()
        _copy(new.settings, one, _SETTINGS_FIELDS)
        one.changed = new.changed[SETTINGS]
    _save_peers(session, box, old, new)
    for table in _TABLES:
        for name in old.objects(table.kind).keys() - new.objects(table.kind).keys():
            session.execute(delete(table.row).where(table.key == name))


def _rows(session: Session, key: Any, names: Sequence[str]) -> dict[str, Any]:
    """The rows that are there of these names, found by the column `key`."""
    found: dict[str, Any] = {}
    for at in range(0, len(names), _ASKED_FOR):
        some = select(key.class_).where(key.in_(names[at : at + _ASKED_FOR]))
        found |= {getattr(row, key.key): row for row in session.scalars(some)}
    return found


def _save(session: Session, box: SecretBox, table: _Table, old: Inventory, new: Inventory) -> None:
    """The objects of a table that are new or differ."""
    before, after = old.objects(table.kind), new.objects(table.kind)

    def differs(name: str) -> bool:
        same = before.get(name) == after[name]
        return not same or old.secrets_of(table.kind, name) != new.secrets_of(table.kind, name)

    names = [name for name in new.touched(old, table.kind) if name in after and differs(name)]
    rows = _rows(session, table.key, [name for name in names if name in before])
    for name in names:
        row, now = rows.setdefault(name, table.row()), new.secrets_of(table.kind, name)
        _copy(after[name], row, table.fields)
        row.changed = new.changed[table.kind, name]
        for field in table.sealed.values():
            if field not in now or row.id is None:
                setattr(row, field, "")
        session.add(row)
    session.flush()  # new rows get their numbers here, and the seals are bound to them
    for name in names:
        was = old.secrets_of(table.kind, name)
        for field, secret in new.secrets_of(table.kind, name).items():
            if was.get(field) != secret or name not in before:
                setattr(rows[name], field, box.seal(secret, table.place(rows[name], field)))
    session.flush()


def _save_peers(session: Session, box: SecretBox, old: Inventory, new: Inventory) -> None:
    """The peers that are new or differ, with their children; those that are gone go."""
    ids = {row.name: row.id for row in session.scalars(select(ProposalRow))}
    for name in old.peers.keys() - new.peers.keys():
        session.execute(delete(PeerRow).where(PeerRow.name == name))

    def differs(name: str) -> bool:
        place, before, after = ("peers", name), old.peers.get(name), new.peers[name]
        same = before is after or (before == after and old.changed.get(place) == new.changed[place])
        return not same or old.secrets.get(place) != new.secrets.get(place)

    names = [name for name in new.touched(old, "peers") if name in new.peers and differs(name)]
    known = _rows(session, PeerRow.name, [name for name in names if name in old.peers])
    for row in known.values():
        row.proposals.clear()
        row.children.clear()
    session.flush()  # old entries go before new ones take their places
    rows: dict[str, PeerRow] = {name: known.get(name) or PeerRow(name=name, eap_password="") for name in names}
    for row in rows.values():
        _fill_peer(row, new, ids)
    session.add_all(rows.values())
    session.flush()  # new rows get their numbers here, and the seals are bound to them
    for name, row in rows.items():
        secret = new.secrets.get(("peers", name))
        if old.secrets.get(("peers", name)) != secret:
            row.eap_password = box.seal(secret, _peer_place(row)) if secret is not None else ""
    session.flush()


def _copy(source: object, row: object, names: tuple[str, ...]) -> None:
    for name in names:
        setattr(row, name, getattr(source, name))


def _fill_peer(row: PeerRow, new: Inventory, ids: Mapping[str, int]) -> None:
    """A row with empty lists becomes what the new inventory says of the peer."""
    peer = new.peers[row.name]
    _copy(peer, row, _PEER_FIELDS)
    row.changed = new.changed["peers", peer.name]
    row.uniqueness = peer.unique
    row.retransmit_tries, row.retransmit_base = peer.retransmit.tries, peer.retransmit.base
    row.retransmit_factor, row.retransmit_jitter = peer.retransmit.factor, peer.retransmit.jitter
    row.proposals = [PeerProposalRow(position=at, proposal_id=ids[name]) for at, name in enumerate(peer.ike_proposals)]
    row.children = [_child_row(at, child, peer, ids, new) for at, child in enumerate(peer.children)]


def _child_row(position: int, child: ChildObject, peer: PeerObject, ids: Mapping[str, int], new: Inventory) -> ChildRow:
    row = ChildRow(name=child.name, position=position, changed=new.changed["children", f"{peer.name}/{child.name}"])
    _copy(child, row, _CHILD_FIELDS)
    row.proposals = [
        ChildProposalRow(position=at, proposal_id=ids[name]) for at, name in enumerate(child.esp_proposals)
    ]
    return row


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of the configuration: `at` is Unix time in seconds, `summary` a sentence."""

    number: int
    at: float
    author: str
    comment: str
    summary: str


def last_revision(session: Session) -> int:
    return session.scalar(select(func.max(RevisionRow.number))) or 0


def add_revision(session: Session, revision: Revision, document: str) -> None:
    """`document` is the whole configuration as JSON."""
    packed = zlib.compress(document.encode(), _COMPRESSION)
    session.add(
        RevisionRow(
            number=revision.number,
            at=revision.at,
            author=revision.author,
            comment=revision.comment,
            summary=revision.summary,
            document=packed,
        )
    )


def forget_revisions(session: Session, kept: int) -> None:
    """Drop all but the newest `kept`."""
    session.execute(delete(RevisionRow).where(RevisionRow.number <= last_revision(session) - kept))


def list_revisions(session: Session, below: int | None, limit: int) -> list[Revision]:
    """The newest first, those with a number under `below`."""
    columns = (RevisionRow.number, RevisionRow.at, RevisionRow.author, RevisionRow.comment, RevisionRow.summary)
    query = select(*columns).order_by(RevisionRow.number.desc()).limit(limit)
    if below is not None:
        query = query.where(RevisionRow.number < below)
    return [Revision(*row) for row in session.execute(query)]


def find_revision(session: Session, number: int) -> tuple[Revision, dict[str, Any]] | None:
    """A revision with its document."""
    row = session.get(RevisionRow, number)
    if row is None:
        return None
    return Revision(row.number, row.at, row.author, row.comment, row.summary), _read(row.document)


def later_documents(session: Session, number: int) -> Iterator[dict[str, Any]]:
    """The documents of the revisions after this one, the newest first."""
    query = select(RevisionRow.document).where(RevisionRow.number > number).order_by(RevisionRow.number.desc())
    return map(_read, session.scalars(query.execution_options(yield_per=1)))


def _read(deflated: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(zlib.decompress(deflated))
    return document


def known_key(session: Session) -> KeyRow | None:
    """The key-encryption key that the sealed values were made with."""
    return session.scalar(select(KeyRow).order_by(KeyRow.created_at.desc()))


def add_key(session: Session, key: KeyRow) -> None:
    session.add(key)
