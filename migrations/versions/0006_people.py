"""Users, the pools of their addresses, and who holds which."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _of_peers() -> tuple[sa.Column, ...]:
    return (
        sa.Column("pools", sa.Text(), server_default="[]", nullable=False),
        sa.Column("virtual_ip", sa.Integer(), server_default="0", nullable=False),
    )


def upgrade() -> None:
    op.create_table(
        "pools",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("networks", sa.Text(), nullable=False),
        sa.Column("excluded", sa.Text(), nullable=False),
        sa.Column("dns", sa.Text(), nullable=False),
        sa.Column("nbns", sa.Text(), nullable=False),
        sa.Column("domains", sa.Text(), nullable=False),
        sa.Column("subnets", sa.Text(), nullable=False),
        sa.Column("reservations", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pools"),
        sa.UniqueConstraint("name", name="uq_pools_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Integer(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("identities", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.REAL(), nullable=True),
        sa.Column("groups", sa.Text(), nullable=False),
        sa.Column("addresses", sa.Text(), nullable=False),
        sa.Column("sessions", sa.Integer(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("name", name="uq_users_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "leases",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("id_type", sa.Integer(), nullable=False),
        sa.Column("id_data", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.REAL(), nullable=False),
        sa.Column("released", sa.REAL(), nullable=True),
        sa.PrimaryKeyConstraint("pool", "address", name="pk_leases"),
        sqlite_strict=True,
    )
    for column in _of_peers():
        op.add_column("peers", column)


def downgrade() -> None:
    for column in _of_peers():
        op.drop_column("peers", column.name)
    op.drop_table("leases")
    op.drop_table("users")
    op.drop_table("pools")
