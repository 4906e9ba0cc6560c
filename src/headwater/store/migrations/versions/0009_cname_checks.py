"""Adds what DNS said last of each domain's CNAME record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "cname_checks",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.Column("checked_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_cname_checks_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_cname_checks")),
    )
