"""The tables of transcoding: templates, multi-bitrate groups, watermarks with their pictures, and templates for mixing."""

from __future__ import annotations

from sqlalchemy import ForeignKey, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.models.core import Base


class TranscodeTemplate(Base):
    """A transcoding template of an app (`*`: of any). kind: `preset`, `custom` or `rts`.

    parameters: JSON of `domains.transcode_parameters.Parameters`, "" for a preset.
    """

    __tablename__ = "transcode_templates"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    app: Mapped[str] = mapped_column(primary_key=True)
    template: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    lazy: Mapped[bool]
    parameters: Mapped[str]
    created_s: Mapped[float]


class BitrateGroup(Base):
    """A multi-bitrate group of an app. children: JSON list of names of templates; "" is the source.

    align: key frames of all children stand where the source has them, whatever their templates say.
    """

    __tablename__ = "bitrate_groups"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    app: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    children: Mapped[str]
    align: Mapped[bool]
    created_s: Mapped[float]


class WatermarkTemplate(Base):
    """A watermark of an account. domain: None for one that was made for no domain in particular.

    picture: SHA-256 of its bytes in hex, by which the center knows it.
    """

    __tablename__ = "watermark_templates"

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    domain: Mapped[str | None] = mapped_column(ForeignKey("domains.name", ondelete="SET NULL"), index=True)
    name: Mapped[str]
    description: Mapped[str]
    picture_url: Mapped[str]
    picture: Mapped[str]
    ref_width: Mapped[int]
    ref_height: Mapped[int]
    height: Mapped[int]
    x: Mapped[float]
    y: Mapped[float]
    corner: Mapped[str]
    transparency: Mapped[int]
    created_s: Mapped[float]


class WatermarkPicture(Base):
    """The picture of a watermark, as it was fetched: a table of its own, so that lists do not read it."""

    __tablename__ = "watermark_pictures"

    template: Mapped[str] = mapped_column(ForeignKey("watermark_templates.id", ondelete="CASCADE"), primary_key=True)
    sha256: Mapped[str] = mapped_column(index=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class WatermarkRule(Base):
    """Which streams of a main streaming domain get a watermark. stream: a pattern as in `access.plan.Watermark`."""

    __tablename__ = "watermark_rules"
    __table_args__ = (UniqueConstraint("domain", "app", "stream"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"))
    app: Mapped[str]
    stream: Mapped[str]
    template: Mapped[str] = mapped_column(ForeignKey("watermark_templates.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    description: Mapped[str]
    created_s: Mapped[float]


class MixTemplate(Base):
    """A custom template for mixing (CreateCustomTemplate). content: JSON as it came."""

    __tablename__ = "mix_templates"

    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str]
    created_s: Mapped[float]
