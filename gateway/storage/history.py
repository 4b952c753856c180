"""What happened, as far as it outlives the process: written behind, never waited for."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from gateway.storage.models import OutageRow

_COLUMNS = tuple(column.name for column in OutageRow.__table__.columns)


def save_outages(session: Session, changed: Iterable[Mapping[str, Any]], gone: Iterable[int]) -> None:
    """Write these as they are now, by their `id`, and forget those."""
    rows = [dict(row) for row in changed]
    session.execute(delete(OutageRow).where(OutageRow.id.in_([*gone, *(row["id"] for row in rows)])))
    if rows:
        session.execute(insert(OutageRow), rows)


def load_outages(session: Session) -> list[dict[str, Any]]:
    """All of them, the oldest first."""
    found = session.scalars(select(OutageRow).order_by(OutageRow.id)).all()
    return [{name: getattr(row, name) for name in _COLUMNS} for row in found]
