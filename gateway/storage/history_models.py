"""The tables of what happened, which is written behind."""

from sqlalchemy.orm import Mapped, mapped_column

from gateway.storage.columns import Base


class SightingRow(Base):
    """When a device came in first and last: `gateway.service.devices.Sighting`."""

    __tablename__ = "sightings"

    device: Mapped[str] = mapped_column(primary_key=True)
    first: Mapped[float]
    last: Mapped[float]


class LeaseRow(Base):
    """Who holds, or held last, an address of a pool: `gateway.policy.pools.Lease`."""

    __tablename__ = "leases"

    pool: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    id_type: Mapped[int]
    id_data: Mapped[bytes]
    since: Mapped[float]
    released: Mapped[float | None]


class OutageRow(Base):
    """A time in which a child was down: `gateway.service.outages.Outage`."""

    __tablename__ = "outages"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    peer: Mapped[str]
    child: Mapped[str]
    start: Mapped[str]
    began_at: Mapped[float]
    kind: Mapped[str]
    reason: Mapped[str]
    ended_at: Mapped[float | None]
    ended_by: Mapped[str]
    attempts: Mapped[int]
    last_failure: Mapped[str]


class FetchedRevocationRow(Base):
    """What came of a source of `gateway.service.revocation_sources`; `certificate` and `issuer` may be empty."""

    __tablename__ = "fetched_revocations"

    authority: Mapped[str] = mapped_column(primary_key=True)
    uri: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)  # SHA-256 of the certificate; empty for a list
    certificate: Mapped[bytes]
    issuer: Mapped[bytes]
    octets: Mapped[bytes]
    fetched_at: Mapped[float]


class UsedCodeRow(Base):
    """The step of a user's last one-time code: none is good twice."""

    __tablename__ = "used_codes"

    user: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int]
