"""Invitations of devices, in and out of the database; of a token only its digest."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from gateway.storage.models import InviteRow

_COLUMNS = tuple(column.name for column in InviteRow.__table__.columns)


def save_invite(session: Session, invite: Mapping[str, Any]) -> None:
    """Write it as it is now, by its `id`."""
    session.merge(InviteRow(**invite))


def forget_invites(session: Session, ids: Iterable[str]) -> None:
    session.execute(delete(InviteRow).where(InviteRow.id.in_(list(ids))))


def load_invites(session: Session) -> list[dict[str, Any]]:
    """All of them, the oldest first."""
    found = session.scalars(select(InviteRow).order_by(InviteRow.created_at, InviteRow.id))
    return [{name: getattr(row, name) for name in _COLUMNS} for row in found]
