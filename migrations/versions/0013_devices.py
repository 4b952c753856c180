"""Devices of users, when they were seen, and invitations that make them."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "devices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("authority", sa.Text(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
        sa.UniqueConstraint("name", name="uq_devices_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "sightings",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("first", sa.REAL(), nullable=False),
        sa.Column("last", sa.REAL(), nullable=False),
        sa.PrimaryKeyConstraint("device", name="pk_sightings"),
        sqlite_strict=True,
    )
    op.create_table(
        "invites",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("on_demand", sa.Integer(), nullable=False),
        sa.Column("life", sa.REAL(), nullable=False),
        sa.Column("created_at", sa.REAL(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.REAL(), nullable=False),
        sa.Column("opened_at", sa.REAL(), nullable=True),
        sa.Column("used_at", sa.REAL(), nullable=True),
        sa.Column("used_from", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.REAL(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_invites"),
        sa.UniqueConstraint("digest", name="uq_invites_digest"),
        sqlite_strict=True,
    )


def downgrade() -> None:
    op.drop_table("invites")
    op.drop_table("sightings")
    op.drop_table("devices")
