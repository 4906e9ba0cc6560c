"""The tables of recording as customers set it: buckets, templates for object storage and for the media library, clips.

What was recorded stands in `store.models.files`. Times that end in `_s` are unix seconds; domain is a main streaming domain.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.models.core import Base


class Bucket(Base):
    """The account that may write to a bucket. store: as `ObjectStores.store_name` calls it."""

    __tablename__ = "buckets"

    store: Mapped[str] = mapped_column(primary_key=True)
    bucket: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    since_s: Mapped[float]


class RecordTemplate(Base):
    """What is recorded of some streams into a bucket. app, stream: a name, or `*` for all.

    formats, rendition_formats: JSON lists of `access.plan.RecordFormat`; renditions: JSON list of the templates to which
    rendition_formats belong. start_s, end_s: 0 for no bound. The rest is as in `access.plan.Record`.
    """

    __tablename__ = "record_templates"
    __table_args__ = (
        UniqueConstraint("domain", "app", "stream"),
        {"sqlite_autoincrement": True},  # ids stand for the order in which templates were made
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"))
    app: Mapped[str]
    stream: Mapped[str]
    endpoint: Mapped[str]
    bucket: Mapped[str]
    on_demand: Mapped[int]
    delay_s: Mapped[int]
    start_s: Mapped[float]
    end_s: Mapped[float]
    formats: Mapped[str]
    rendition_formats: Mapped[str]
    renditions: Mapped[str]
    created_s: Mapped[float]


class RecordLibraryTemplate(Base):
    """What is recorded of some streams into the media library (the API's `vod`); as RecordTemplate, but for the names of files.

    location: StorageLocation as it was given, "" for the library's own bucket. source: whether the source stream is recorded.
    formats: JSON list of `domains.library.LibraryFormat`; given: whether the customer named them.
    """

    __tablename__ = "record_library_templates"
    __table_args__ = (UniqueConstraint("domain", "app", "stream"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"))
    app: Mapped[str]
    stream: Mapped[str]
    location: Mapped[str]
    endpoint: Mapped[str]
    bucket: Mapped[str]
    on_demand: Mapped[int]
    delay_s: Mapped[int]
    cycle_s: Mapped[int]
    source: Mapped[bool]
    renditions: Mapped[str]
    formats: Mapped[str]
    given: Mapped[bool]
    created_s: Mapped[float]


class RecordIndexFile(Base):
    """A clip: a playlist of stored slices, made by request. id: a UUID. start_s, end_s: as they were asked for."""

    __tablename__ = "record_index_files"
    __table_args__ = (Index(None, "domain", "app", "stream", "created_s"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"))
    app: Mapped[str]
    stream: Mapped[str]
    format: Mapped[str]
    endpoint: Mapped[str]
    bucket: Mapped[str]
    key: Mapped[str]
    start_s: Mapped[float]
    end_s: Mapped[float]
    duration_ms: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    created_s: Mapped[float] = mapped_column(index=True)
