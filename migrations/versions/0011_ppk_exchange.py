"""In which exchange a peer's post-quantum pre-shared keys are mixed in."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("peers", sa.Column("ppk_exchange", sa.Text(), server_default="either", nullable=False))


def downgrade() -> None:
    op.drop_column("peers", "ppk_exchange")
