"""The first schema: objects, revisions, accounts, the keyring."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _proposals_and_keys()
    _peers()
    _children()
    _revisions_and_keyring()
    _accounts()


def downgrade() -> None:
    for table in (
        "tokens",
        "sessions",
        "admins",
        "keyring",
        "revisions",
        "child_proposals",
        "children",
        "peer_proposals",
        "peers",
        "psks",
        "proposals",
    ):
        op.drop_table(table)


def _proposals_and_keys() -> None:
    op.create_table(
        "proposals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("suites", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_proposals"),
        sa.UniqueConstraint("name", name="uq_proposals_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "psks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("local_ids", sa.Text(), nullable=False),
        sa.Column("remote_ids", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_psks"),
        sa.UniqueConstraint("name", name="uq_psks_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )


def _peers() -> None:
    op.create_table(
        "peers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Integer(), nullable=False),
        sa.Column("local_id", sa.Text(), nullable=True),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("local_addresses", sa.Text(), nullable=False),
        sa.Column("remote_addresses", sa.Text(), nullable=False),
        sa.Column("remote_port", sa.Integer(), nullable=False),
        sa.Column("dpd_delay", sa.REAL(), nullable=False),
        sa.Column("rekey_time", sa.REAL(), nullable=False),
        sa.Column("retransmit_tries", sa.Integer(), nullable=False),
        sa.Column("retransmit_base", sa.REAL(), nullable=False),
        sa.Column("retransmit_factor", sa.REAL(), nullable=False),
        sa.Column("retransmit_jitter", sa.REAL(), nullable=False),
        sa.Column("force_encapsulation", sa.Integer(), nullable=False),
        sa.Column("uniqueness", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_peers"),
        sa.UniqueConstraint("name", name="uq_peers_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "peer_proposals",
        sa.Column("peer_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("proposal_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["peer_id"], ["peers.id"], name="fk_peer_proposals_peer_id_peers", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["proposals.id"], name="fk_peer_proposals_proposal_id_proposals", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("peer_id", "position", name="pk_peer_proposals"),
        sqlite_strict=True,
    )
    op.create_index("ix_peer_proposals_proposal_id", "peer_proposals", ["proposal_id"], unique=False)


def _children() -> None:
    op.create_table(
        "children",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("peer_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("local_selectors", sa.Text(), nullable=False),
        sa.Column("remote_selectors", sa.Text(), nullable=False),
        sa.Column("start", sa.Text(), nullable=False),
        sa.Column("rekey_time", sa.REAL(), nullable=False),
        sa.Column("replay_window", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["peer_id"], ["peers.id"], name="fk_children_peer_id_peers", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_children"),
        sa.UniqueConstraint("peer_id", "name", name="uq_children_peer_id_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "child_proposals",
        sa.Column("child_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("proposal_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["child_id"], ["children.id"], name="fk_child_proposals_child_id_children", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["proposals.id"], name="fk_child_proposals_proposal_id_proposals", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("child_id", "position", name="pk_child_proposals"),
        sqlite_strict=True,
    )
    op.create_index("ix_child_proposals_proposal_id", "child_proposals", ["proposal_id"], unique=False)


def _revisions_and_keyring() -> None:
    op.create_table(
        "revisions",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.REAL(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_revisions"),
        sqlite_strict=True,
    )
    op.create_table(
        "keyring",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.REAL(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_keyring"),
        sqlite_strict=True,
    )


def _accounts() -> None:
    op.create_table(
        "admins",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("created_at", sa.REAL(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_admins"),
        sa.UniqueConstraint("name", name="uq_admins_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("admin_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.REAL(), nullable=False),
        sa.Column("used_at", sa.REAL(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["admin_id"], ["admins.id"], name="fk_sessions_admin_id_admins", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("digest", name="uq_sessions_digest"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("ix_sessions_admin_id", "sessions", ["admin_id"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.REAL(), nullable=False),
        sa.Column("expires_at", sa.REAL(), nullable=False),
        sa.Column("used_at", sa.REAL(), nullable=True),
        sa.Column("used_from", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("name", name="uq_tokens_name"),
        sa.UniqueConstraint("public_id", name="uq_tokens_public_id"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
