"""Post-quantum pre-shared keys, and the gateway to which a peer belongs."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def _of_peers() -> tuple[sa.Column, ...]:
    return (
        sa.Column("redirect_to", sa.Text(), server_default="", nullable=False),
        sa.Column("ppks", sa.Text(), server_default="[]", nullable=False),
        sa.Column("ppk_required", sa.Integer(), server_default="0", nullable=False),
    )


def upgrade() -> None:
    op.create_table(
        "ppks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ppks"),
        sa.UniqueConstraint("name", name="uq_ppks_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    for column in _of_peers():
        op.add_column("peers", column)


def downgrade() -> None:
    for column in _of_peers():
        op.drop_column("peers", column.name)
    op.drop_table("ppks")
