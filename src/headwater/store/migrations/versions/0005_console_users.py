"""Adds the console's users and sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "console_users",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("must_change", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("disabled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_console_users_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_console_users")),
    )
    op.create_index(op.f("ix_console_users_account"), "console_users", ["account"], unique=False)
    op.create_table(
        "console_sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("acting", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.Column("seen_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["console_users.name"], name=op.f("fk_console_sessions_user"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["acting"], ["accounts.id"], name=op.f("fk_console_sessions_acting"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_console_sessions")),
    )
    op.create_index(op.f("ix_console_sessions_user"), "console_sessions", ["user"], unique=False)
    op.create_index(op.f("ix_console_sessions_seen_s"), "console_sessions", ["seen_s"], unique=False)
