"""The tables of what the center makes and keeps: recordings with their files and slices, and the queue of uploads.

Times that end in `_s` are unix seconds, in `_ms` unix milliseconds. domain is always the main streaming domain; template is ""
for the source stream and a transcoding template's name for a rendition. A place in the object store is endpoint, bucket and key
(`store.objects`).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.models.core import Base


class Recording(Base):
    """One recording of a stream or rendition: from its start until its files close, over disconnects that were short.

    node: whose center has it. session: of the publisher who is, or was last, recorded. trigger: the template's OnDemand.
    state: `live` (a job records it, or will as soon as it runs), `paused` (the publisher is away, or it was stopped by hand;
    the files close at close_at_s), `closing` (files are being finished), `closed`, `failed` (error says why), or `declined`
    (the customer's server said no for this session; only so that it is not asked twice).
    held: stopped by RealTimeRecordCommand, so it goes on only when told to.
    spec: how it is recorded, JSON (`center.record.spec.RecordSpec`), as the template was when it began. push_args: JSON, the
    arguments `callback_...` of the push. started_s, ended_s: first and last media, ended_s 0 while unknown.
    status_notify: whether record_started and the like are told.
    """

    __tablename__ = "recordings"
    __table_args__ = (Index(None, "domain", "app", "stream", "started_s"), Index(None, "node", "state"))

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    node: Mapped[str]
    domain: Mapped[str]
    app: Mapped[str]
    stream: Mapped[str]
    template: Mapped[str]
    session: Mapped[str]
    trigger: Mapped[int]
    state: Mapped[str]
    held: Mapped[bool]
    spec: Mapped[str]
    push_args: Mapped[str]
    started_s: Mapped[float]
    ended_s: Mapped[float]
    close_at_s: Mapped[float]
    error: Mapped[str]


class RecordedFile(Base):
    """A file that a recording has made, or a clip from stored slices; the row comes once the file is complete on disk.

    number: {Sequence}, counted in each recording and format. format: `m3u8`, `flv`, `mp4`, `cmaf`. start_ms, end_ms: of its
    media. endpoint, bucket, key: where it is, or will be, stored.
    state: `local` (waits for its upload, or is being uploaded), `stored`, `failed` (an operator gave up), `deleted`.
    How often an upload was tried, and why it failed last, stands in its `Upload` (owner_kind `file`).
    """

    __tablename__ = "recorded_files"
    __table_args__ = (
        UniqueConstraint("recording", "format", "number"),
        Index(None, "domain", "app", "stream", "start_ms"),
        Index(None, "key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    recording: Mapped[int | None] = mapped_column(ForeignKey("recordings.id", ondelete="SET NULL"))
    domain: Mapped[str]
    app: Mapped[str]
    stream: Mapped[str]
    template: Mapped[str]
    format: Mapped[str]
    number: Mapped[int]
    endpoint: Mapped[str]
    bucket: Mapped[str]
    key: Mapped[str]
    start_ms: Mapped[int] = mapped_column(BigInteger)
    end_ms: Mapped[int] = mapped_column(BigInteger)
    duration_ms: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    state: Mapped[str]
    created_s: Mapped[float] = mapped_column(index=True)


class MediaSlice(Base):
    """A slice of a stream, complete on disk or stored: what playlists, clips and time shift are made of.

    kind: `record` or `shift`. recording: of slices of kind `record`, with file_number, the number of the playlist file that
    lists it. Of kind `shift`, number counts the slices of the stream for ever, and file_number its discontinuities up to this
    slice (`ShiftStream`). format: `m3u8` (MPEG-TS) or `cmaf` (fragmented MP4, which needs the object init_key in front).
    start_ms: of its first frame. discontinuity: it does not go on from the slice before. state: as of RecordedFile. local_path:
    where it lies until it is stored, then "".
    """

    __tablename__ = "media_slices"
    __table_args__ = (
        UniqueConstraint("recording", "format", "number"),
        Index(None, "domain", "app", "stream", "kind", "start_ms"),
        Index(None, "kind", "start_ms"),
        Index(None, "key"),
        Index(None, "init_key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str]
    recording: Mapped[int | None] = mapped_column(ForeignKey("recordings.id", ondelete="SET NULL"))
    file_number: Mapped[int]
    domain: Mapped[str]
    app: Mapped[str]
    stream: Mapped[str]
    template: Mapped[str]
    format: Mapped[str]
    number: Mapped[int]
    endpoint: Mapped[str]
    bucket: Mapped[str]
    key: Mapped[str]
    init_key: Mapped[str]
    start_ms: Mapped[int] = mapped_column(BigInteger)
    duration_ms: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    discontinuity: Mapped[bool]
    state: Mapped[str]
    local_path: Mapped[str]


class Upload(Base):
    """A file on this node that waits to be stored (`center.uploads`); the row goes when the file is stored and removed here.

    node, path: where the local file is. owner_kind, owner_id: the row that it belongs to, whose kind's handler is told.
    sha256: hex, of the content. state: `waiting`, `stored` (only the local file is still to be removed), or `given_up`.
    tries: how often it failed; error: why it did last. next_try_s: not before.
    """

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "node", "state", "next_try_s"), Index(None, "owner_kind", "owner_id"))

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    node: Mapped[str]
    path: Mapped[str]
    endpoint: Mapped[str]
    bucket: Mapped[str]
    key: Mapped[str]
    content_type: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    owner_kind: Mapped[str]
    owner_id: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    tries: Mapped[int]
    next_try_s: Mapped[float]
    error: Mapped[str]
    created_s: Mapped[float]
