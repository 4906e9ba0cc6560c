"""Adds transcoding and watermark templates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "transcode_templates",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("lazy", sa.Boolean(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_transcode_templates_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "app", "template", name=op.f("pk_transcode_templates")),
    )
    op.create_table(
        "bitrate_groups",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("children", sa.Text(), nullable=False),
        sa.Column("align", sa.Boolean(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_bitrate_groups_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "app", "name", name=op.f("pk_bitrate_groups")),
    )
    op.create_table(
        "watermark_templates",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("picture_url", sa.Text(), nullable=False),
        sa.Column("picture", sa.Text(), nullable=False),
        sa.Column("ref_width", sa.Integer(), nullable=False),
        sa.Column("ref_height", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("x", sa.Double(), nullable=False),
        sa.Column("y", sa.Double(), nullable=False),
        sa.Column("corner", sa.Text(), nullable=False),
        sa.Column("transparency", sa.Integer(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_watermark_templates_account"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_watermark_templates_domain"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_watermark_templates")),
    )
    op.create_index(op.f("ix_watermark_templates_account"), "watermark_templates", ["account"])
    op.create_index(op.f("ix_watermark_templates_domain"), "watermark_templates", ["domain"])
    op.create_table(
        "watermark_pictures",
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["template"], ["watermark_templates.id"], name=op.f("fk_watermark_pictures_template"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("template", name=op.f("pk_watermark_pictures")),
    )
    op.create_index(op.f("ix_watermark_pictures_sha256"), "watermark_pictures", ["sha256"])
    op.create_table(
        "watermark_rules",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_watermark_rules_domain"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["template"], ["watermark_templates.id"], name=op.f("fk_watermark_rules_template"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_watermark_rules")),
        sa.UniqueConstraint("domain", "app", "stream", name=op.f("uq_watermark_rules_domain_app_stream")),
    )
    op.create_index(op.f("ix_watermark_rules_template"), "watermark_rules", ["template"])
    op.create_table(
        "mix_templates",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_mix_templates_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account", "name", name=op.f("pk_mix_templates")),
    )
