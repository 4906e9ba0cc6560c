"""Adds dual streams: the switch of a domain, streams without optimal mode, and the log of masters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "multi_stream_domains",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("since_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_multi_stream_domains_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_multi_stream_domains")),
    )
    op.create_table(
        "manual_streams",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_manual_streams_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "app", "stream", name=op.f("pk_manual_streams")),
    )
    op.create_table(
        "master_changes",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Integer(), nullable=False),
        sa.Column("client_ip", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_master_changes_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_master_changes")),
    )
    op.create_index(
        op.f("ix_master_changes_domain_app_stream_id"), "master_changes", ["domain", "app", "stream", "id"], unique=False
    )
    op.create_index(op.f("ix_master_changes_changed_s"), "master_changes", ["changed_s"], unique=False)
