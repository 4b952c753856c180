"""Authorities and certificates, and how the ends of a peer prove themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_PSK_HERE = '[{"method": "psk", "certificate": "", "scheme": "", "eap_identity": ""}]'
_PSK_THERE = (
    '[{"method": "psk", "authorities": [], "public_keys": [], "revocation": "if-reachable", "eap_methods": []}]'
)


def _of_peers() -> tuple[sa.Column, ...]:
    """Peers of before prove themselves by pre-shared keys, both ways."""
    return (
        sa.Column("local_auth", sa.Text(), server_default=_PSK_HERE, nullable=False),
        sa.Column("remote_auth", sa.Text(), server_default=_PSK_THERE, nullable=False),
        sa.Column("eap_password", sa.Text(), server_default="", nullable=False),
    )


def upgrade() -> None:
    op.create_table(
        "authorities",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("intermediates", sa.Text(), nullable=False),
        sa.Column("crls", sa.Text(), nullable=False),
        sa.Column("crl_uris", sa.Text(), nullable=False),
        sa.Column("fetch_private", sa.Integer(), nullable=False),
        sa.Column("publish_uri", sa.Text(), nullable=False),
        sa.Column("revoked", sa.Text(), nullable=False),
        sa.Column("private_key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_authorities"),
        sa.UniqueConstraint("name", name="uq_authorities_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "certificates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("authority", sa.Text(), nullable=False),
        sa.Column("renew", sa.Integer(), nullable=False),
        sa.Column("private_key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_certificates"),
        sa.UniqueConstraint("name", name="uq_certificates_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    for column in _of_peers():
        op.add_column("peers", column)


def downgrade() -> None:
    for column in _of_peers():
        op.drop_column("peers", column.name)
    op.drop_table("certificates")
    op.drop_table("authorities")
