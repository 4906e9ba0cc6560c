"""The tables of snapshots: the templates of domains, and the pictures that were taken."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.models.core import Base


class SnapshotTemplate(Base):
    """A picture every `interval_s` of each stream of an app (`*`: of any); overwrite, sequence: object names, "" for none.

    callback: the URL that is told of each picture, "" if none is.
    """

    __tablename__ = "snapshot_templates"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    app: Mapped[str] = mapped_column(primary_key=True)
    interval_s: Mapped[int]
    endpoint: Mapped[str]
    bucket: Mapped[str]
    overwrite: Mapped[str]
    sequence: Mapped[str]
    callback: Mapped[str]
    created_s: Mapped[float]


class Snapshot(Base):
    """An object that holds a picture; one that was overwritten stands for the newest picture alone.

    created_ms: unix milliseconds in which it was taken, CreateTimestamp of the API. state: `waiting` until its store has
    confirmed it, then `stored`.
    """

    __tablename__ = "snapshots"
    __table_args__ = (
        UniqueConstraint("domain", "endpoint", "bucket", "object"),
        Index(None, "domain", "app", "stream", "created_ms"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"))
    app: Mapped[str]
    stream: Mapped[str]
    created_ms: Mapped[int] = mapped_column(BigInteger, index=True)
    is_overlay: Mapped[bool]
    endpoint: Mapped[str]
    bucket: Mapped[str]
    object: Mapped[str]
    size_bytes: Mapped[int]
    state: Mapped[str]


class SnapshotSequence(Base):
    """How many numbered pictures were ever taken of a stream: `{Sequence}` goes on when it is published again."""

    __tablename__ = "snapshot_sequences"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    app: Mapped[str] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    taken: Mapped[int]
    last_s: Mapped[float] = mapped_column(index=True)
