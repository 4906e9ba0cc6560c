"""Adds tags."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "domain_tags",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_domain_tags_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "key", name=op.f("pk_domain_tags")),
    )
    op.create_index(op.f("ix_domain_tags_key_value_domain"), "domain_tags", ["key", "value", "domain"], unique=False)
