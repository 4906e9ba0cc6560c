"""Adds callbacks: where they go, and the queue of those that must go."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    _of_domain(
        "stream_notifies",
        sa.Column("notify_url", sa.Text(), nullable=False),
        sa.Column("exception_url", sa.Text(), nullable=False),
        sa.Column("switch_url", sa.Text(), nullable=False),
    )
    _of_domain(
        "record_notifies",
        sa.Column("notify_url", sa.Text(), nullable=False),
        sa.Column("on_demand_url", sa.Text(), nullable=False),
        sa.Column("status", sa.Boolean(), nullable=False),
    )
    _of_domain("snapshot_notifies", sa.Column("notify_url", sa.Text(), nullable=False))
    _of_domain("snapshot_auths")
    texts = ("app", "stream", "session", "lane", "method", "url", "body", "signer")
    op.create_table(
        "callbacks",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
        sa.Column("storage", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.Column("next_try_s", sa.Double(), nullable=False),
        sa.Column("done_s", sa.Double(), nullable=True),
        sa.Column("header", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_callbacks_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_callbacks")),
    )
    for columns in (
        ["state", "next_try_s"],
        ["state", "lane", "id"],
        ["domain", "family", "created_s"],
        ["state", "done_s"],
    ):
        op.create_index(op.f(f"ix_callbacks_{'_'.join(columns)}"), "callbacks", columns, unique=False)


def _of_domain(table: str, *columns: sa.Column[str] | sa.Column[bool]) -> None:
    """A table of settings, one row for each domain that has them, with how its callbacks are signed."""
    op.create_table(
        table,
        sa.Column("domain", sa.Text(), nullable=False),
        *columns,
        sa.Column("signed", sa.Boolean(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f(f"fk_{table}_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", name=op.f(f"pk_{table}")),
    )
