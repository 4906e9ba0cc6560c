"""Adds ownership, filings, claims, quotas, tickets and sub-streaming domains; domains get their root, accounts their count."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from publicsuffixlist import PublicSuffixList

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROWS_AT_ONCE = 1000


def upgrade() -> None:
    """Create the tables, and fill in what existing domains lack."""
    op.create_table(
        "domain_roots",
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("proved_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_domain_roots_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("root", name=op.f("pk_domain_roots")),
    )
    op.create_index(op.f("ix_domain_roots_account"), "domain_roots", ["account"], unique=False)
    op.create_table(
        "name_claims",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_name_claims")),
    )
    op.create_table(
        "icp_filings",
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_s", sa.Double(), nullable=True),
        sa.Column("modified_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("root", name=op.f("pk_icp_filings")),
    )
    op.create_table(
        "domain_counts",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("domains", sa.Integer(), nullable=False),
        sa.Column("quota", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_domain_counts_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_domain_counts")),
    )
    op.create_table(
        "tickets",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=True),
        sa.Column("granted", sa.Integer(), nullable=True),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.Column("modified_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_tickets_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tickets")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tickets_account_status"), "tickets", ["account", "status"], unique=False)
    op.create_index(op.f("ix_tickets_status_id"), "tickets", ["status", "id"], unique=False)
    op.create_table(
        "ticket_messages",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("ticket", sa.Integer(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["ticket"], ["tickets.id"], name=op.f("fk_ticket_messages_ticket"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ticket_messages")),
    )
    op.create_index(op.f("ix_ticket_messages_ticket"), "ticket_messages", ["ticket"], unique=False)
    op.create_table(
        "play_mappings",
        sa.Column("play_domain", sa.Text(), nullable=False),
        sa.Column("pull_domain", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["play_domain"], ["domains.name"], name=op.f("fk_play_mappings_play_domain"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["pull_domain"], ["domains.name"], name=op.f("fk_play_mappings_pull_domain"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("play_domain", name=op.f("pk_play_mappings")),
    )
    op.create_index(op.f("ix_play_mappings_pull_domain"), "play_mappings", ["pull_domain"], unique=False)
    op.add_column("domains", sa.Column("root", sa.Text(), nullable=False, server_default=""))
    _fill_roots()
    op.execute(
        "INSERT INTO domain_counts (account, domains) "
        "SELECT accounts.id, count(domains.name) FROM accounts LEFT JOIN domains ON domains.account = accounts.id "
        "GROUP BY accounts.id"
    )
    op.drop_index(op.f("ix_domains_account"), "domains")
    op.create_index(op.f("ix_domains_account_name"), "domains", ["account", "name"], unique=False)
    op.create_index(op.f("ix_domains_root"), "domains", ["root"], unique=False)
    op.create_index(op.f("ix_domains_status"), "domains", ["status"], unique=False)


def _fill_roots() -> None:
    domains = sa.table("domains", sa.column("name", sa.Text()), sa.column("root", sa.Text()))
    suffixes = PublicSuffixList()
    connection, last = op.get_bind(), ""
    while True:
        some = sa.select(domains.c.name).where(domains.c.name > last).order_by(domains.c.name).limit(ROWS_AT_ONCE)
        names = list(connection.scalars(some))
        if not names:
            return
        change = domains.update().where(domains.c.name == sa.bindparam("which")).values(root=sa.bindparam("found"))
        connection.execute(change, [{"which": name, "found": suffixes.privatesuffix(name) or name} for name in names])
        last = names[-1]
