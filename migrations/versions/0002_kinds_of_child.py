"""What a peer and a child may be told beyond the first schema: modes, limits, interfaces, marks, mobility."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _of_peers() -> tuple[sa.Column, ...]:
    """Each begins with what a new peer has."""
    return (
        sa.Column("reauth_time", sa.REAL(), server_default="0", nullable=False),
        sa.Column("mobike", sa.Integer(), server_default="1", nullable=False),
        sa.Column("fragment_octets", sa.Integer(), server_default="1280", nullable=False),
        sa.Column("childless", sa.Integer(), server_default="0", nullable=False),
        sa.Column("redirect", sa.Integer(), server_default="1", nullable=False),
        sa.Column("resumption", sa.Integer(), server_default="1", nullable=False),
        sa.Column("dscp", sa.Integer(), server_default="0", nullable=False),
    )


def _of_children() -> tuple[sa.Column, ...]:
    return (
        sa.Column("mode", sa.Text(), server_default="tunnel", nullable=False),
        sa.Column("rekey_octets", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rekey_packets", sa.Integer(), server_default="0", nullable=False),
        sa.Column("idle_timeout", sa.REAL(), server_default="0", nullable=False),
        sa.Column("when_down", sa.Text(), server_default="drop", nullable=False),
        sa.Column("interface_id", sa.Integer(), server_default="0", nullable=False),
        sa.Column("interface", sa.Text(), server_default="", nullable=False),
        sa.Column("mark", sa.Text(), nullable=True),
        sa.Column("single_pair", sa.Integer(), server_default="0", nullable=False),
        sa.Column("offload", sa.Text(), server_default="none", nullable=False),
        sa.Column("copy_dscp", sa.Integer(), server_default="0", nullable=False),
        sa.Column("copy_df", sa.Integer(), server_default="1", nullable=False),
        sa.Column("mss", sa.Integer(), server_default="0", nullable=False),
    )


def upgrade() -> None:
    for table, columns in (("peers", _of_peers()), ("children", _of_children())):
        for column in columns:
            op.add_column(table, column)


def downgrade() -> None:
    for table, columns in (("peers", _of_peers()), ("children", _of_children())):
        for column in columns:
            op.drop_column(table, column.name)
