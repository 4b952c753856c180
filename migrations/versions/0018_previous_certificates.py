"""The certificate that a device had before, which is good until it comes in by the new one."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("previous_authority", "previous_certificate"):
        op.add_column("devices", sa.Column(name, sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    for name in ("previous_certificate", "previous_authority"):
        op.drop_column("devices", name)
