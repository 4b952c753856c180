"""What RADIUS servers are told of sessions, and whether they may end them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("radius", sa.Column("accounting", sa.Integer(), server_default="1", nullable=False))
    op.add_column("radius", sa.Column("interim_interval", sa.REAL(), server_default="0", nullable=False))
    op.add_column("radius", sa.Column("dynamic", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    for column in ("dynamic", "interim_interval", "accounting"):
        op.drop_column("radius", column)
