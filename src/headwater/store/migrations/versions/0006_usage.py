"""Adds recorded usage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "usage_points",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("start_s", sa.BigInteger(), nullable=False),
        sa.Column("bytes_in", sa.BigInteger(), nullable=False),
        sa.Column("bytes_out", sa.BigInteger(), nullable=False),
        sa.Column("bytes_out_tls", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_usage_points_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "start_s", name=op.f("pk_usage_points")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_usage_points_start_s"), "usage_points", ["start_s"], unique=False)
