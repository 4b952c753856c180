"""The tables of the configuration, and of its revisions."""

from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from gateway.storage.columns import NUMBERED, Base, NamedRow, Records


class ProposalRow(NamedRow, Base):
    __tablename__ = "proposals"

    protocol: Mapped[str]
    suites: Mapped[tuple[str, ...]]


class PskRow(NamedRow, Base):
    __tablename__ = "psks"

    local_ids: Mapped[tuple[str, ...]]
    remote_ids: Mapped[tuple[str, ...]]
    secret: Mapped[str]  # sealed


class PpkRow(NamedRow, Base):
    __tablename__ = "ppks"

    identity: Mapped[str]
    secret: Mapped[str]  # sealed


class AuthorityRow(NamedRow, Base):
    __tablename__ = "authorities"

    certificate: Mapped[str]
    intermediates: Mapped[str]
    crls: Mapped[tuple[str, ...]]
    crl_uris: Mapped[tuple[str, ...]]
    fetch_private: Mapped[bool]
    publish_uri: Mapped[str]
    revoked: Mapped[tuple[Any, ...]] = mapped_column(Records)
    private_key: Mapped[str]  # sealed, or empty


class CertificateRow(NamedRow, Base):
    __tablename__ = "certificates"

    certificate: Mapped[str]
    request: Mapped[str]
    authority: Mapped[str]
    renew: Mapped[bool]
    private_key: Mapped[str]  # sealed, or empty


class PoolRow(NamedRow, Base):
    __tablename__ = "pools"

    networks: Mapped[tuple[str, ...]]
    excluded: Mapped[tuple[str, ...]]
    dns: Mapped[tuple[str, ...]]
    nbns: Mapped[tuple[str, ...]]
    domains: Mapped[tuple[str, ...]]
    subnets: Mapped[tuple[str, ...]]
    reservations: Mapped[tuple[Any, ...]] = mapped_column(Records)


class AccessProfileRow(NamedRow, Base):
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


class UserRow(NamedRow, Base):
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


class DeviceRow(NamedRow, Base):
    __tablename__ = "devices"

    platform: Mapped[str]
    authority: Mapped[str]
    certificate: Mapped[str]
    previous_authority: Mapped[str]
    previous_certificate: Mapped[str]


class RadiusRow(NamedRow, Base):
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


class PeerRow(NamedRow, Base):
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

    peer_id: Mapped[int] = mapped_column(ForeignKey("peers.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    proposal_id: Mapped[int] = mapped_column(ForeignKey("proposals.id", ondelete="RESTRICT"), index=True)
    proposal: Mapped[ProposalRow] = relationship(lazy="joined")


class ChildRow(Base):
    __tablename__ = "children"
    __table_args__ = (UniqueConstraint("peer_id", "name"), NUMBERED)

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

    child_id: Mapped[int] = mapped_column(ForeignKey("children.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    proposal_id: Mapped[int] = mapped_column(ForeignKey("proposals.id", ondelete="RESTRICT"), index=True)
    proposal: Mapped[ProposalRow] = relationship(lazy="joined")


class ShuntRow(NamedRow, Base):
    __tablename__ = "shunts"

    action: Mapped[str]
    local_selectors: Mapped[tuple[str, ...]]
    remote_selectors: Mapped[tuple[str, ...]]
    priority: Mapped[int]


class BlockRow(Base):
    __tablename__ = "blocks"
    __table_args__ = NUMBERED

    id: Mapped[int] = mapped_column(primary_key=True)
    network: Mapped[str] = mapped_column(unique=True)
    changed: Mapped[int]
    reason: Mapped[str]
    expires_at: Mapped[float | None]


class SettingsRow(Base):
    """The one row of the gateway's settings."""

    __tablename__ = "settings"

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

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    author: Mapped[str]
    comment: Mapped[str]
    summary: Mapped[str]
    document: Mapped[bytes]
