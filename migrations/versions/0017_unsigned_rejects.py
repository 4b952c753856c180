"""Whether a RADIUS server's refusals are believed without a signature."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("radius", sa.Column("unsigned_rejects", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("radius", "unsigned_rejects")
