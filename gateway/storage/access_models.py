"""The tables of who may come to the API, the console and a link, and of the keys that seal secrets."""

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from gateway.storage.columns import NUMBERED, Base


class AdminRow(Base):
    __tablename__ = "admins"
    __table_args__ = NUMBERED

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    password: Mapped[str]  # argon2id, in PHC form
    created_at: Mapped[float]


class SessionRow(Base):
    """A signed-in browser; `digest` is SHA-256 of the cookie's value."""

    __tablename__ = "sessions"
    __table_args__ = NUMBERED

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
    __table_args__ = NUMBERED

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


class InviteRow(Base):
    """An invitation of a device: `gateway.service.invitations.Invite`; `digest` is SHA-256 of its token."""

    __tablename__ = "invites"

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


class KeyRow(Base):
    """A key-encryption key that seals values here: its id, its origin, and a known text sealed under it."""

    __tablename__ = "keyring"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[float]
    source: Mapped[str]
    sealed: Mapped[str]
