"""Creates accounts, domains and what belongs to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("name", name=op.f("uq_accounts_name")),
    )
    op.create_table(
        "api_nonces",
        sa.Column("access_key", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("expires_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("access_key", "nonce", name=op.f("pk_api_nonces")),
    )
    op.create_index(op.f("ix_api_nonces_expires_s"), "api_nonces", ["expires_s"], unique=False)
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("before", sa.LargeBinary(), nullable=False),
        sa.Column("after", sa.LargeBinary(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_account"), "audit_log", ["account"], unique=False)
    op.create_index(op.f("ix_audit_log_time_s"), "audit_log", ["time_s"], unique=False)
    op.create_table(
        "access_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_access_keys_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_keys")),
    )
    op.create_index(op.f("ix_access_keys_account"), "access_keys", ["account"], unique=False)
    op.create_table(
        "domains",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.Column("modified_s", sa.Double(), nullable=False),
        sa.Column("cname", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("resource_group_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_domains_account")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_domains")),
    )
    op.create_index(op.f("ix_domains_account"), "domains", ["account"], unique=False)
    op.create_table(
        "domain_delays",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("delay_s", sa.Integer(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_domain_delays_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "protocol", name=op.f("pk_domain_delays")),
    )
    op.create_table(
        "domain_functions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("args", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_domain_functions_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domain_functions")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_domain_functions_domain_function"), "domain_functions", ["domain", "function"], unique=False)
    op.create_table(
        "domain_mappings",
        sa.Column("push_domain", sa.Text(), nullable=False),
        sa.Column("pull_domain", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pull_domain"], ["domains.name"], name=op.f("fk_domain_mappings_pull_domain"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["push_domain"], ["domains.name"], name=op.f("fk_domain_mappings_push_domain"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("push_domain", name=op.f("pk_domain_mappings")),
    )
    op.create_index(op.f("ix_domain_mappings_pull_domain"), "domain_mappings", ["pull_domain"], unique=False)
    op.create_table(
        "publishes",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("publish_domain", sa.Text(), nullable=False),
        sa.Column("publish_url", sa.Text(), nullable=False),
        sa.Column("client_ip", sa.Text(), nullable=False),
        sa.Column("server_ip", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("started_s", sa.Double(), nullable=False),
        sa.Column("stopped_s", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_publishes_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publishes")),
        sa.UniqueConstraint("session", name=op.f("uq_publishes_session")),
    )
    op.create_index(op.f("ix_publishes_domain_started_s"), "publishes", ["domain", "started_s"], unique=False)
    op.create_index(op.f("ix_publishes_started_s"), "publishes", ["started_s"], unique=False)
    op.create_index(op.f("ix_publishes_stopped_s"), "publishes", ["stopped_s"], unique=False)
    op.create_table(
        "stream_bans",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("until_s", sa.Double(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_stream_bans_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "app", "stream", name=op.f("pk_stream_bans")),
    )
    op.create_index(op.f("ix_stream_bans_until_s"), "stream_bans", ["until_s"], unique=False)
