"""Secrets of users' one-time codes, and which code was used last."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("totp_secret", sa.Text(), server_default="", nullable=False))
    op.create_table(
        "used_codes",
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("user", name="pk_used_codes"),
        sqlite_strict=True,
    )


def downgrade() -> None:
    op.drop_table("used_codes")
    op.drop_column("users", "totp_secret")
