"""Adds certificates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "certificates",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("key_type", sa.Text(), nullable=False),
        sa.Column("common_name", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("not_before_s", sa.Double(), nullable=False),
        sa.Column("not_after_s", sa.Double(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.Column("updated_s", sa.Double(), nullable=False),
        sa.Column("warned_days", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_certificates_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificates")),
        sa.UniqueConstraint("account", "name", name=op.f("uq_certificates_account_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_certificates_fingerprint"), "certificates", ["fingerprint"], unique=False)
    op.create_index(op.f("ix_certificates_not_after_s"), "certificates", ["not_after_s"], unique=False)
    op.create_table(
        "domain_https",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("certificate", sa.Integer(), nullable=True),
        sa.Column("updated_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["certificate"], ["certificates.id"], name=op.f("fk_domain_https_certificate")),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_domain_https_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_domain_https")),
    )
    op.create_index(op.f("ix_domain_https_certificate"), "domain_https", ["certificate"], unique=False)
    op.create_table(
        "certificate_orders",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("challenge", sa.Text(), nullable=False),
        sa.Column("order_url", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("next_s", sa.Double(), nullable=False),
        sa.Column("begun_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_certificate_orders_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_certificate_orders")),
    )
    op.create_index(op.f("ix_certificate_orders_begun_s"), "certificate_orders", ["begun_s"], unique=False)
    op.create_index(op.f("ix_certificate_orders_next_s"), "certificate_orders", ["next_s"], unique=False)
    op.create_table(
        "acme_accounts",
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("directory", "email", name=op.f("pk_acme_accounts")),
    )
