"""Adds time shift and delayed streams."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "shift_configs",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("slice_s", sa.Integer(), nullable=False),
        sa.Column("renditions", sa.Boolean(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_shift_configs_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "app", "stream", name=op.f("pk_shift_configs")),
    )
    op.create_table(
        "shift_streams",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("longest_ms", sa.Integer(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("domain", "app", "stream", "template", name=op.f("pk_shift_streams")),
    )
    op.create_table(
        "delay_configs",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("delay_s", sa.Integer(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_delay_configs_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "app", "stream", name=op.f("pk_delay_configs")),
    )
