"""What happened, as far as it outlives the process: written behind, never waited for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from gateway.policy.identities import Identity
from gateway.policy.pools import Lease
from gateway.storage.history_models import FetchedRevocationRow, LeaseRow, OutageRow, SightingRow, UsedCodeRow

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


def save_leases(session: Session, changed: Iterable[Lease], gone: Iterable[tuple[str, str]] = ()) -> None:
    """Write these as they are now, by pool and address, and forget those."""
    rows = [
        {
            "pool": lease.pool,
            "address": lease.address,
            "id_type": lease.identity.id_type,
            "id_data": lease.identity.data,
            "since": lease.since,
            "released": lease.released,
        }
        for lease in changed
    ]
    if rows:
        session.execute(insert(LeaseRow).prefix_with("OR REPLACE"), rows)
    for pool, address in gone:
        session.execute(delete(LeaseRow).where(LeaseRow.pool == pool, LeaseRow.address == address))


def load_leases(session: Session) -> list[Lease]:
    """All of them."""
    rows = session.scalars(select(LeaseRow)).all()
    return [Lease(row.pool, row.address, Identity(row.id_type, row.id_data), row.since, row.released) for row in rows]


def save_sightings(session: Session, changed: Iterable[tuple[str, float, float]], gone: Iterable[str] = ()) -> None:
    """Write when these devices were seen first and last, and forget those."""
    for device, first, last in changed:
        session.merge(SightingRow(device=device, first=first, last=last))
    session.execute(delete(SightingRow).where(SightingRow.device.in_(list(gone))))


def load_sightings(session: Session) -> list[tuple[str, float, float]]:
    """All of them."""
    return [(row.device, row.first, row.last) for row in session.scalars(select(SightingRow))]


@dataclass(frozen=True, slots=True)
class KeptRevocation:
    """A list, or an OCSP answer about the certificate of this `fingerprint`, as fetched (Unix seconds); all in DER."""

    authority: str
    uri: str
    fingerprint: str
    octets: bytes = field(default=b"", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    issuer: bytes = field(default=b"", repr=False)
    fetched_at: float = 0.0


def save_revocations(session: Session, changed: Iterable[KeptRevocation], gone: Iterable[KeptRevocation]) -> None:
    """Write these in the place of what was there of the same source, and forget those."""
    for one in changed:
        values = {name: getattr(one, name) for name in KeptRevocation.__slots__}
        session.merge(FetchedRevocationRow(**values))
    row = FetchedRevocationRow
    for one in gone:
        session.execute(
            delete(row).where(row.authority == one.authority, row.uri == one.uri, row.fingerprint == one.fingerprint)
        )


def load_revocations(session: Session) -> list[KeptRevocation]:
    """All of them."""
    rows = session.scalars(select(FetchedRevocationRow)).all()
    return [KeptRevocation(**{name: getattr(row, name) for name in KeptRevocation.__slots__}) for row in rows]


def save_used_code(session: Session, user: str, step: int) -> None:
    """The step of the user's last one-time code."""
    session.merge(UsedCodeRow(user=user, step=step))


def load_used_codes(session: Session) -> dict[str, int]:
    """By user."""
    return {row.user: row.step for row in session.scalars(select(UsedCodeRow))}
