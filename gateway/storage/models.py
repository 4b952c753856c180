"""The tables of the configuration database."""

import json
from typing import Any

from sqlalchemy import REAL, ForeignKey, Integer, LargeBinary, MetaData, Text, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator


class Flag(TypeDecorator[bool]):
    """A boolean as 0 or 1: a STRICT table knows no BOOLEAN."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> bool | None:
        return None if value is None else bool(value)


class Texts(TypeDecorator[tuple[str, ...]]):
    """An ordered list of texts as a JSON array."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(list(value), ensure_ascii=False)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> tuple[str, ...] | None:
        return None if value is None else tuple(json.loads(value))


class Records(TypeDecorator[tuple[Any, ...]]):
    """A list of small records as a JSON array; they go in as models and come out as plain data."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[Any, ...] | None, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps([one.model_dump(mode="json") for one in value], ensure_ascii=False)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> tuple[Any, ...] | None:
        return None if value is None else tuple(json.loads(value))


class Base(DeclarativeBase):
    """Every table is STRICT, and its keys are named, so that a migration can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, float: REAL, int: Integer, bytes: LargeBinary, bool: Flag, tuple[str, ...]: Texts}  # noqa: RUF012


_STRICT = {
    "sqlite_strict": True,
    "sqlite_autoincrement": True,
}  # a row's number, which binds its secrets, is never used again


class _NamedRow:
    """What every table of objects with a name begins with: before the table's own columns, as the database has them."""

    __table_args__ = _STRICT

    id: Mapped[int] = mapped_column(primary_key=True, sort_order=-1)
    name: Mapped[str] = mapped_column(unique=True, sort_order=-1)
    changed: Mapped[int] = mapped_column(sort_order=-1)
    description: Mapped[str] = mapped_column(sort_order=-1)


class ProposalRow(_NamedRow, Base):
    __tablename__ = "proposals"

    protocol: Mapped[str]
    suites: Mapped[tuple[str, ...]]


class PskRow(_NamedRow, Base):
    __tablename__ = "psks"

    local_ids: Mapped[tuple[str, ...]]
    remote_ids: Mapped[tuple[str, ...]]
    secret: Mapped[str]  # sealed


class PpkRow(_NamedRow, Base):
    __tablename__ = "ppks"

    identity: Mapped[str]
    secret: Mapped[str]  # sealed


class AuthorityRow(_NamedRow, Base):
    __tablename__ = "authorities"

    certificate: Mapped[str]
    intermediates: Mapped[str]
    crls: Mapped[tuple[str, ...]]
    crl_uris: Mapped[tuple[str, ...]]
    fetch_private: Mapped[bool]
    publish_uri: Mapped[str]
    revoked: Mapped[tuple[Any, ...]] = mapped_column(Records)
    private_key: Mapped[str]  # sealed, or empty


class CertificateRow(_NamedRow, Base):
    __tablename__ = "certificates"

    certificate: Mapped[str]
    request: Mapped[str]
    authority: Mapped[str]
    renew: Mapped[bool]
    private_key: Mapped[str]  # sealed, or empty


class PoolRow(_NamedRow, Base):
    __tablename__ = "pools"

    networks: Mapped[tuple[str, ...]]
    excluded: Mapped[tuple[str, ...]]
    dns: Mapped[tuple[str, ...]]
    nbns: Mapped[tuple[str, ...]]
    domains: Mapped[tuple[str, ...]]
    subnets: Mapped[tuple[str, ...]]
    reservations: Mapped[tuple[Any, ...]] = mapped_column(Records)


class AccessProfileRow(_NamedRow, Base):
    __tablename__ = "access_profiles"

    networks: Mapped[tuple[str, ...]]
    tunnel: Mapped[str]
    groups: Mapped[tuple[str, ...]]
    pools: Mapped[tuple[str, ...]]
    dns: Mapped[tuple[str, ...]]
    domains: Mapped[tuple[str, ...]]
    esp_proposals: Mapped[tuple[str, ...]]
    ike_proposals: Mapped[tuple[str, ...]]
    masquerade: Mapped[bool]
    sessions: Mapped[int]


class UserRow(_NamedRow, Base):
    __tablename__ = "users"

    enabled: Mapped[bool]
    login: Mapped[str]
    identities: Mapped[tuple[str, ...]]
    expires_at: Mapped[float | None]
    groups: Mapped[tuple[str, ...]]
    addresses: Mapped[tuple[str, ...]]
    sessions: Mapped[int]
    access_profile: Mapped[str]
    password: Mapped[str]  # sealed, or empty
    totp_secret: Mapped[str]  # sealed, or empty


class DeviceRow(_NamedRow, Base):
    __tablename__ = "devices"

    platform: Mapped[str]
    authority: Mapped[str]
    certificate: Mapped[str]


class SightingRow(Base):
    """When a device came in first and last: `gateway.service.devices.Sighting`."""

    __tablename__ = "sightings"
    __table_args__ = {"sqlite_strict": True}  # noqa: RUF012

    device: Mapped[str] = mapped_column(primary_key=True)
    first: Mapped[float]
    last: Mapped[float]


class InviteRow(Base):
    """An invitation of a device: `gateway.service.invitations.Invite`; `digest` is SHA-256 of its token."""

    __tablename__ = "invites"
    __table_args__ = {"sqlite_strict": True}  # noqa: RUF012

    id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    device: Mapped[str]
    peer: Mapped[str]
    on_demand: Mapped[bool]
    life: Mapped[float]
    created_at: Mapped[float]
    created_by: Mapped[str]
    expires_at: Mapped[float]
    opened_at: Mapped[float | None]
    used_at: Mapped[float | None]
    used_from: Mapped[str]
    platform: Mapped[str]
    revoked_at: Mapped[float | None]


class RadiusRow(_NamedRow, Base):
    __tablename__ = "radius"

    address: Mapped[str]
    port: Mapped[int]
    accounting_port: Mapped[int]
    timeout: Mapped[float]
    tries: Mapped[int]
    priority: Mapped[int]
    accounting: Mapped[bool]
    interim_interval: Mapped[float]
    dynamic: Mapped[bool]
    unsigned_rejects: Mapped[bool]
    secret: Mapped[str]  # sealed


class LeaseRow(Base):
    """Who holds, or held last, an address of a pool: `gateway.policy.pools.Lease`."""

    __tablename__ = "leases"
    __table_args__ = {"sqlite_strict": True}  # noqa: RUF012

    pool: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    id_type: Mapped[int]
    id_data: Mapped[bytes]
    since: Mapped[float]
    released: Mapped[float | None]


class PeerRow(_NamedRow, Base):
    __tablename__ = "peers"

    enabled: Mapped[bool]
    local_id: Mapped[str | None]
    remote_id: Mapped[str]
    local_addresses: Mapped[tuple[str, ...]]
    remote_addresses: Mapped[tuple[str, ...]]
    remote_port: Mapped[int]
    dpd_delay: Mapped[float]
    rekey_time: Mapped[float]
    retransmit_tries: Mapped[int]
    retransmit_base: Mapped[float]
    retransmit_factor: Mapped[float]
    retransmit_jitter: Mapped[float]
    force_encapsulation: Mapped[bool]
    uniqueness: Mapped[str]
    reauth_time: Mapped[float]
    mobike: Mapped[bool]
    fragment_octets: Mapped[int]
    childless: Mapped[bool]
    redirect: Mapped[bool]
    resumption: Mapped[bool]
    dscp: Mapped[int]
    local_auth: Mapped[tuple[Any, ...]] = mapped_column(Records)
    remote_auth: Mapped[tuple[Any, ...]] = mapped_column(Records)
    eap_password: Mapped[str]  # sealed, or empty
    pools: Mapped[tuple[str, ...]]
    virtual_ip: Mapped[bool]
    redirect_to: Mapped[str]
    ppks: Mapped[tuple[str, ...]]
    ppk_required: Mapped[bool]
    ppk_exchange: Mapped[str]
    post_quantum: Mapped[str]
    post_quantum_from: Mapped[float | None]
    proposals: Mapped[list["PeerProposalRow"]] = relationship(
        cascade="all, delete-orphan", order_by="PeerProposalRow.position", lazy="selectin", passive_deletes=True
    )
    children: Mapped[list["ChildRow"]] = relationship(
        cascade="all, delete-orphan", order_by="ChildRow.position", lazy="selectin", passive_deletes=True
    )


class PeerProposalRow(Base):
    """That a peer uses a proposal, in which place; the database refuses to drop a proposal in use."""

    __tablename__ = "peer_proposals"
    __table_args__ = {"sqlite_strict": True}  # noqa: RUF012

    peer_id: Mapped[int] = mapped_column(ForeignKey("peers.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    proposal_id: Mapped[int] = mapped_column(ForeignKey("proposals.id", ondelete="RESTRICT"), index=True)
    proposal: Mapped[ProposalRow] = relationship(lazy="joined")


class ChildRow(Base):
    __tablename__ = "children"
    __table_args__ = (UniqueConstraint("peer_id", "name"), _STRICT)

    id: Mapped[int] = mapped_column(primary_key=True)
    peer_id: Mapped[int] = mapped_column(ForeignKey("peers.id", ondelete="CASCADE"))
    position: Mapped[int]
    name: Mapped[str]
    changed: Mapped[int]
    description: Mapped[str]
    local_selectors: Mapped[tuple[str, ...]]
    remote_selectors: Mapped[tuple[str, ...]]
    start: Mapped[str]
    rekey_time: Mapped[float]
    replay_window: Mapped[int]
    mode: Mapped[str]
    rekey_octets: Mapped[int]
    rekey_packets: Mapped[int]
    idle_timeout: Mapped[float]
    when_down: Mapped[str]
    interface_id: Mapped[int]
    interface: Mapped[str]
    mark: Mapped[str | None]
    single_pair: Mapped[bool]
    offload: Mapped[str]
    copy_dscp: Mapped[bool]
    copy_df: Mapped[bool]
    mss: Mapped[int]
    groups: Mapped[tuple[str, ...]]
    proposals: Mapped[list["ChildProposalRow"]] = relationship(
        cascade="all, delete-orphan", order_by="ChildProposalRow.position", lazy="selectin", passive_deletes=True
    )


class ChildProposalRow(Base):
    """That a child uses a proposal, in which place."""

    __tablename__ = "child_proposals"
    __table_args__ = {"sqlite_strict": True}  # noqa: RUF012

    child_id: Mapped[int] = mapped_column(ForeignKey("children.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    proposal_id: Mapped[int] = mapped_column(ForeignKey("proposals.id", ondelete="RESTRICT"), index=True)
    proposal: Mapped[ProposalRow] = relationship(lazy="joined")


class ShuntRow(_NamedRow, Base):
    __tablename__ = "shunts"

    action: Mapped[str]
    local_selectors: Mapped[tuple[str, ...]]
    remote_selectors: Mapped[tuple[str, ...]]
    priority: Mapped[int]


class BlockRow(Base):
    __tablename__ = "blocks"
    __table_args__ = _STRICT

    id: Mapped[int] = mapped_column(primary_key=True)
    network: Mapped[str] = mapped_column(unique=True)
    changed: Mapped[int]
    reason: Mapped[str]
    expires_at: Mapped[float | None]


class SettingsRow(Base):
    """The one row of the gateway's settings."""

    __tablename__ = "settings"
    __table_args__ = {"sqlite_strict": True}  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    changed: Mapped[int]
    half_open_timeout: Mapped[float]
    half_open_limit: Mapped[int]
    half_open_per_source: Mapped[int]
    cookie_threshold: Mapped[int]
    cookie_lifetime: Mapped[float]
    puzzles: Mapped[bool]
    keepalive: Mapped[float]
    retry_base: Mapped[float]
    retry_limit: Mapped[float]
    attempts_kept: Mapped[int]
    redirect_to: Mapped[str]
    post_quantum: Mapped[str]
    post_quantum_from: Mapped[float | None]


class RevisionRow(Base):
    """One change: the whole document after it (JSON, deflated), without secrets."""

    __tablename__ = "revisions"
    __table_args__ = {"sqlite_strict": True}  # noqa: RUF012

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    author: Mapped[str]
    comment: Mapped[str]
    summary: Mapped[str]
    document: Mapped[bytes]


class AdminRow(Base):
    __tablename__ = "admins"
    __table_args__ = _STRICT

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    password: Mapped[str]  # argon2id, in PHC form
    created_at: Mapped[float]


class SessionRow(Base):
    """A signed-in browser; `digest` is SHA-256 of the cookie's value."""

    __tablename__ = "sessions"
    __table_args__ = _STRICT

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    admin_id: Mapped[int] = mapped_column(ForeignKey("admins.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float]
    used_at: Mapped[float]
    source: Mapped[str]
    admin: Mapped[AdminRow] = relationship(lazy="joined")


class TokenRow(Base):
    """An API token; `digest` is SHA-256 of its secret part."""

    __tablename__ = "tokens"
    __table_args__ = _STRICT

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str]
    scopes: Mapped[tuple[str, ...]]
    created_by: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[float]
    used_at: Mapped[float | None]
    used_from: Mapped[str | None]


class KeyRow(Base):
    """A key-encryption key that seals values here: its id, its origin, and a known text sealed under it."""

    __tablename__ = "keyring"
    __table_args__ = {"sqlite_strict": True}  # noqa: RUF012

    key_id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[float]
    source: Mapped[str]
    sealed: Mapped[str]


class OutageRow(Base):
    """A time in which a child was down: `gateway.service.outages.Outage`."""

    __tablename__ = "outages"
    __table_args__ = {"sqlite_strict": True}  # noqa: RUF012

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
    __table_args__ = {"sqlite_strict": True}  # noqa: RUF012

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
    __table_args__ = {"sqlite_strict": True}  # noqa: RUF012

    user: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int]
