"""Shunts, blocked sources, and the settings of the whole gateway."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shunts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("local_selectors", sa.Text(), nullable=False),
        sa.Column("remote_selectors", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_shunts"),
        sa.UniqueConstraint("name", name="uq_shunts_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "blocks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.REAL(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_blocks"),
        sa.UniqueConstraint("network", name="uq_blocks_network"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    _settings()


def _settings() -> None:
    """One row, of what was fixed until now; it got that content in the first revision."""
    settings = op.create_table(
        "settings",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("half_open_timeout", sa.REAL(), nullable=False),
        sa.Column("half_open_limit", sa.Integer(), nullable=False),
        sa.Column("half_open_per_source", sa.Integer(), nullable=False),
        sa.Column("cookie_threshold", sa.Integer(), nullable=False),
        sa.Column("cookie_lifetime", sa.REAL(), nullable=False),
        sa.Column("puzzles", sa.Integer(), nullable=False),
        sa.Column("keepalive", sa.REAL(), nullable=False),
        sa.Column("retry_base", sa.REAL(), nullable=False),
        sa.Column("retry_limit", sa.REAL(), nullable=False),
        sa.Column("attempts_kept", sa.Integer(), nullable=False),
        sa.Column("redirect_to", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_settings"),
        sqlite_strict=True,
    )
    first = {
        "id": 1,
        "changed": 1,
        "half_open_timeout": 30.0,
        "half_open_limit": 10_000,
        "half_open_per_source": 64,
        "cookie_threshold": 64,
        "cookie_lifetime": 60.0,
        "puzzles": 0,
        "keepalive": 20.0,
        "retry_base": 2.0,
        "retry_limit": 300.0,
        "attempts_kept": 2_000,
        "redirect_to": "",
    }
    op.bulk_insert(settings, [first])


def downgrade() -> None:
    for table in ("settings", "blocks", "shunts"):
        op.drop_table(table)
