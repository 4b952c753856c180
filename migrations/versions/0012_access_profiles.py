"""What users reach."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_LISTS = ("groups", "pools", "dns", "domains", "esp_proposals", "ike_proposals")


def upgrade() -> None:
    op.create_table(
        "access_profiles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("networks", sa.Text(), nullable=False),
        sa.Column("tunnel", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _LISTS),
        sa.Column("masquerade", sa.Integer(), nullable=False),
        sa.Column("sessions", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_access_profiles"),
        sa.UniqueConstraint("name", name="uq_access_profiles_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.add_column("users", sa.Column("access_profile", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("users", "access_profile")
    op.drop_table("access_profiles")
