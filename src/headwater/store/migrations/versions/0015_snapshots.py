"""Adds snapshot templates and snapshots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "snapshot_templates",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("interval_s", sa.Integer(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("overwrite", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Text(), nullable=False),
        sa.Column("callback", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_snapshot_templates_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "app", name=op.f("pk_snapshot_templates")),
    )
    op.create_table(
        "snapshots",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("is_overlay", sa.Boolean(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_snapshots_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshots")),
        sa.UniqueConstraint("domain", "endpoint", "bucket", "object", name=op.f("uq_snapshots_domain_endpoint_bucket_object")),
    )
    op.create_index(
        op.f("ix_snapshots_domain_app_stream_created_ms"), "snapshots", ["domain", "app", "stream", "created_ms"], unique=False
    )
    op.create_index(op.f("ix_snapshots_created_ms"), "snapshots", ["created_ms"], unique=False)
    op.create_table(
        "snapshot_sequences",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("last_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_snapshot_sequences_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "app", "stream", name=op.f("pk_snapshot_sequences")),
    )
    op.create_index(op.f("ix_snapshot_sequences_last_s"), "snapshot_sequences", ["last_s"], unique=False)
