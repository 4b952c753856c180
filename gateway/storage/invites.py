"""Invitations of devices, in and out of the database; of a token only its digest."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from gateway.storage.access_models import InviteRow

_AT_ONCE = 500  # names in one statement
_COLUMNS = tuple(column.name for column in InviteRow.__table__.columns)


def save_invite(session: Session, invite: Mapping[str, Any]) -> None:
    """Write it as it is now, by its `id`."""
    session.merge(InviteRow(**invite))


def forget_invites(session: Session, ids: Iterable[str]) -> None:
    session.execute(delete(InviteRow).where(InviteRow.id.in_(list(ids))))


def take_back_invites(session: Session, devices: Iterable[str], at: float) -> None:
    """Those of these devices that are still good at a moment (Unix seconds)."""
    names = sorted(devices)
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        still = (InviteRow.used_at.is_(None), InviteRow.revoked_at.is_(None), InviteRow.expires_at > at)
        session.execute(update(InviteRow).where(InviteRow.device.in_(some), *still).values(revoked_at=at))


def load_invites(session: Session) -> list[dict[str, Any]]:
    """All of them, the oldest first."""
    found = session.scalars(select(InviteRow).order_by(InviteRow.created_at, InviteRow.id))
    return [{name: getattr(row, name) for name in _COLUMNS} for row in found]
