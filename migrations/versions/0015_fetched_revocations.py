"""What was fetched of what other authorities revoked, so that it is at hand after a restart."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fetched_revocations",
        sa.Column("authority", sa.Text(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("issuer", sa.LargeBinary(), nullable=False),
        sa.Column("octets", sa.LargeBinary(), nullable=False),
        sa.Column("fetched_at", sa.REAL(), nullable=False),
        sa.PrimaryKeyConstraint("authority", "uri", "fingerprint", name="pk_fetched_revocations"),
        sqlite_strict=True,
    )


def downgrade() -> None:
    op.drop_table("fetched_revocations")
