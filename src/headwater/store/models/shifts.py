"""The tables of time shift and of delayed streams: what customers set, and what is kept of each shifted stream."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.models.core import Base


class ShiftConfig(Base):
    """Time shift is on (OpenLiveShift) for these streams of a streaming domain, main or not. app, stream: or `*`.

    days: how long slices of slice_s seconds are kept. renditions: those of transcoding templates are kept, too.
    """

    __tablename__ = "shift_configs"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    app: Mapped[str] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    days: Mapped[int]
    slice_s: Mapped[int]
    renditions: Mapped[bool]
    created_s: Mapped[float]


class ShiftStream(Base):
    """A stream or rendition of which slices were made: where their numbers go on, and how long they are kept.

    It has no foreign key: when its domain is gone, its slices must still be found to be deleted. last_number: of its newest
    slice. run: how many discontinuities there were up to this slice. longest_ms: the longest slice there ever was, because the
    target duration of playlists must not change. days: as when it was published last.
    """

    __tablename__ = "shift_streams"

    domain: Mapped[str] = mapped_column(primary_key=True)
    app: Mapped[str] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    template: Mapped[str] = mapped_column(primary_key=True)
    last_number: Mapped[int]
    run: Mapped[int]
    longest_ms: Mapped[int]
    days: Mapped[int]


class DelayConfig(Base):
    """A delayed copy of these streams of a main streaming domain (CreateLiveDelayConfig). app, stream: or `*`."""

    __tablename__ = "delay_configs"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    app: Mapped[str] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    delay_s: Mapped[int]
    trigger: Mapped[str]
    created_s: Mapped[float]
