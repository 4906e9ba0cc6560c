"""The tables of dual streams: where several publishers may push one stream, and which of them was the master when."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.models.core import Base


class MultiStreamDomain(Base):
    """A main streaming domain on which several publishers may push one stream; the others have no row."""

    __tablename__ = "multi_stream_domains"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    since_s: Mapped[float]


class ManualStream(Base):
    """A stream whose master only the customer changes; every other one has its optimal mode on."""

    __tablename__ = "manual_streams"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    app: Mapped[str] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)


class MasterChange(Base):
    """From `changed_s` on, this publisher was the master of its stream; `reason` as in StreamPresence."""

    __tablename__ = "master_changes"
    __table_args__ = (Index(None, "domain", "app", "stream", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"))
    app: Mapped[str]
    stream: Mapped[str]
    session: Mapped[str]
    upstream: Mapped[int]
    client_ip: Mapped[str]
    reason: Mapped[str]
    changed_s: Mapped[float] = mapped_column(index=True)
