"""What is demanded of keys against quantum computers, and the proposal that a new peer takes."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, default in (("peers", "default"), ("settings", "prefer")):
        op.add_column(table, sa.Column("post_quantum", sa.Text(), server_default=default, nullable=False))
        op.add_column(table, sa.Column("post_quantum_from", sa.REAL(), nullable=True))
    # What a new peer takes has another name from now on; until somebody changes it, it is what it was.
    op.execute(
        "INSERT INTO proposals (name, changed, description, protocol, suites) "
        "SELECT 'modern-pq-ike', changed, description, protocol, suites FROM proposals WHERE name = 'modern-ike' "
        "AND protocol = 'ike' AND NOT EXISTS (SELECT 1 FROM proposals WHERE name = 'modern-pq-ike')"
    )


def downgrade() -> None:
    """The proposal stays: to the older version it is one as any other."""
    for table in ("peers", "settings"):
        op.drop_column(table, "post_quantum_from")
        op.drop_column(table, "post_quantum")
