"""Adds staged functions, blocked regions of streams, and dual streams."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "staged_functions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("args", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_staged_functions_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staged_functions")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_staged_functions_domain_function"), "staged_functions", ["domain", "function"], unique=False)
    op.create_table(
        "stream_blocks",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("locations", sa.Text(), nullable=False),
        sa.Column("release_s", sa.Double(), nullable=False),
        sa.Column("updated_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_stream_blocks_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "app", "stream", name=op.f("pk_stream_blocks")),
    )
    op.create_index(op.f("ix_stream_blocks_release_s"), "stream_blocks", ["release_s"], unique=False)
    op.create_table(
        "dual_stream_domains",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_dual_stream_domains_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_dual_stream_domains")),
    )
    op.create_table(
        "dual_stream_modes",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("optimal", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_dual_stream_modes_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "app", "stream", name=op.f("pk_dual_stream_modes")),
    )
    op.create_table(
        "dual_stream_changes",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("upstream_ip", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_dual_stream_changes_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dual_stream_changes")),
    )
    op.create_index(op.f("ix_dual_stream_changes_domain_time_s"), "dual_stream_changes", ["domain", "time_s"], unique=False)
    op.create_index(op.f("ix_dual_stream_changes_time_s"), "dual_stream_changes", ["time_s"], unique=False)
