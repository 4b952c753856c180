"""Inventories, revisions and the keyring, in and out of the database."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from gateway.storage.models import (
    BlockRow,
    ChildProposalRow,
    ChildRow,
    KeyRow,
    PeerProposalRow,
    PeerRow,
    ProposalRow,
    PskRow,
    RevisionRow,
    SettingsRow,
    ShuntRow,
)
from gateway.storage.objects import (
    SETTINGS,
    BlockObject,
    ChildObject,
    Inventory,
    PeerObject,
    ProposalObject,
    PskObject,
    RetransmitFields,
    SettingsObject,
    ShuntObject,
)
from gateway.storage.secrets import Place, SecretBox

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
)
_PSK_FIELDS = ("description", "local_ids", "remote_ids")
_PROPOSAL_FIELDS = ("description", "protocol", "suites")
_SHUNT_FIELDS = ("description", "action", "local_selectors", "remote_selectors", "priority")
_BLOCK_FIELDS = ("reason", "expires_at")
_SETTINGS_FIELDS = tuple(SettingsObject.model_fields)


def psk_place(row_id: int) -> Place:
    """Where the key of the psks row `row_id` lies, as its seal says."""
    return Place("psks", "secret", str(row_id))


def load_inventory(session: Session, box: SecretBox) -> Inventory:
    """Everything that is configured, with the keys opened. Raises SecretUnreadable."""
    changed: dict[tuple[str, str], int] = {}
    proposals: dict[str, ProposalObject] = {}
    for row in session.scalars(select(ProposalRow).order_by(ProposalRow.name)):
        proposals[row.name] = ProposalObject.model_validate({"name": row.name, **_columns(row, _PROPOSAL_FIELDS)})
        changed["proposals", row.name] = row.changed
    psks: dict[str, PskObject] = {}
    secrets: dict[str, bytes] = {}
    for psk in session.scalars(select(PskRow).order_by(PskRow.name)):
        psks[psk.name] = PskObject.model_validate({"name": psk.name, **_columns(psk, _PSK_FIELDS)})
        secrets[psk.name] = box.open(psk.secret, psk_place(psk.id))
        changed["psks", psk.name] = psk.changed
    peers: dict[str, PeerObject] = {}
    for peer in session.scalars(select(PeerRow).order_by(PeerRow.name)):
        peers[peer.name] = _peer_object(peer)
        changed["peers", peer.name] = peer.changed
        changed.update({("children", f"{peer.name}/{child.name}"): child.changed for child in peer.children})
    shunts: dict[str, ShuntObject] = {}
    for shunt in session.scalars(select(ShuntRow).order_by(ShuntRow.name)):
        shunts[shunt.name] = ShuntObject.model_validate({"name": shunt.name, **_columns(shunt, _SHUNT_FIELDS)})
        changed["shunts", shunt.name] = shunt.changed
    blocks: dict[str, BlockObject] = {}
    for block in session.scalars(select(BlockRow).order_by(BlockRow.network)):
        blocks[block.network] = BlockObject.model_validate({"network": block.network, **_columns(block, _BLOCK_FIELDS)})
        changed["blocks", block.network] = block.changed
    one = session.scalars(select(SettingsRow)).one()
    settings = SettingsObject.model_validate(_columns(one, _SETTINGS_FIELDS))
    changed[SETTINGS] = one.changed
    return Inventory(last_revision(session), proposals, psks, peers, secrets, changed, shunts, blocks, settings)


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
    _save_proposals(session, old, new)
    _save_psks(session, box, old, new)
    _save_rules(session, old, new)
    ids = {row.name: row.id for row in session.scalars(select(ProposalRow))}
    for name in old.peers.keys() - new.peers.keys():
        session.execute(delete(PeerRow).where(PeerRow.name == name))
    for name, peer in new.peers.items():
        if old.peers.get(name) is peer:
            continue
        if old.peers.get(name) == peer and old.changed.get(("peers", name)) == new.changed["peers", name]:
            continue
        row = session.scalar(select(PeerRow).where(PeerRow.name == name)) or PeerRow(name=name)
        _fill_peer(session, row, peer, ids, new)
    session.flush()
    for name in old.proposals.keys() - new.proposals.keys():
        session.execute(delete(ProposalRow).where(ProposalRow.name == name))


def _save_proposals(session: Session, old: Inventory, new: Inventory) -> None:
    for name, proposal in new.proposals.items():
        if old.proposals.get(name) == proposal:
            continue
        row = session.scalar(select(ProposalRow).where(ProposalRow.name == name)) or ProposalRow(name=name)
        _copy(proposal, row, _PROPOSAL_FIELDS)
        row.changed = new.changed["proposals", name]
        session.add(row)
    session.flush()


def _save_psks(session: Session, box: SecretBox, old: Inventory, new: Inventory) -> None:
    for name in old.psks.keys() - new.psks.keys():
        session.execute(delete(PskRow).where(PskRow.name == name))
    for name, psk in new.psks.items():
        if old.psks.get(name) == psk and old.secrets.get(name) == new.secrets[name]:
            continue
        row = session.scalar(select(PskRow).where(PskRow.name == name))
        if row is None:
            row = PskRow(name=name, secret="")
        _copy(psk, row, _PSK_FIELDS)
        row.changed = new.changed["psks", name]
        session.add(row)
        session.flush()  # a new row gets its number here, and the seal is bound to it
        if old.secrets.get(name) != new.secrets[name]:
            row.secret = box.seal(new.secrets[name], psk_place(row.id))
    session.flush()


def _save_rules(session: Session, old: Inventory, new: Inventory) -> None:
    """Shunts, blocks and settings, to which nothing refers."""
    for name in old.shunts.keys() - new.shunts.keys():
        session.execute(delete(ShuntRow).where(ShuntRow.name == name))
    for name, shunt in new.shunts.items():
        if old.shunts.get(name) != shunt:
            row = session.scalar(select(ShuntRow).where(ShuntRow.name == name)) or ShuntRow(name=name)
            _copy(shunt, row, _SHUNT_FIELDS)
            row.changed = new.changed["shunts", name]
            session.add(row)
    for network in old.blocks.keys() - new.blocks.keys():
        session.execute(delete(BlockRow).where(BlockRow.network == network))
    for network, block in new.blocks.items():
        if old.blocks.get(network) != block:
            entry = session.scalar(select(BlockRow).where(BlockRow.network == network)) or BlockRow(network=network)
            _copy(block, entry, _BLOCK_FIELDS)
            entry.changed = new.changed["blocks", network]
            session.add(entry)
    if old.settings != new.settings:
        one = session.scalars(select(SettingsRow)).one()
        _copy(new.settings, one, _SETTINGS_FIELDS)
        one.changed = new.changed[SETTINGS]
    session.flush()


def _copy(source: object, row: object, names: tuple[str, ...]) -> None:
    for name in names:
        setattr(row, name, getattr(source, name))


def _fill_peer(session: Session, row: PeerRow, peer: PeerObject, ids: Mapping[str, int], new: Inventory) -> None:
    _copy(peer, row, _PEER_FIELDS)
    row.changed = new.changed["peers", peer.name]
    row.uniqueness = peer.unique
    row.retransmit_tries, row.retransmit_base = peer.retransmit.tries, peer.retransmit.base
    row.retransmit_factor, row.retransmit_jitter = peer.retransmit.factor, peer.retransmit.jitter
    row.proposals.clear()
    row.children.clear()
    session.add(row)
    session.flush()  # the old entries go before new ones take their places
    row.proposals = [PeerProposalRow(position=at, proposal_id=ids[name]) for at, name in enumerate(peer.ike_proposals)]
    row.children = [_child_row(at, child, peer, ids, new) for at, child in enumerate(peer.children)]
    session.flush()


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


def add_revision(session: Session, revision: Revision, document: Mapping[str, Any]) -> None:
    packed = zlib.compress(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(), 6)
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
    document: dict[str, Any] = json.loads(zlib.decompress(row.document))
    return Revision(row.number, row.at, row.author, row.comment, row.summary), document


def known_key(session: Session) -> KeyRow | None:
    """The key-encryption key that the sealed values were made with."""
    return session.scalar(select(KeyRow).order_by(KeyRow.created_at.desc()))


def add_key(session: Session, key: KeyRow) -> None:
    session.add(key)
