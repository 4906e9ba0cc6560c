"""The tables of callbacks: where customers want to be told of what, and what is to be told, or was, or could not be.

Times are unix seconds. Keys that sign callbacks are encrypted.
"""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.crypto import Encrypted
from headwater.store.models.core import Base


class StreamNotify(Base):
    """Where an ingest domain's pushes are told (SetLiveStreamsNotifyUrlConfig). A URL "" is not told."""

    __tablename__ = "stream_notifies"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    notify_url: Mapped[str]
    exception_url: Mapped[str]
    switch_url: Mapped[str]
    signed: Mapped[bool]
    key: Mapped[str] = mapped_column(Encrypted("stream_notifies.key"))


class RecordNotify(Base):
    """Where a streaming domain's recordings are told, and asked about (AddLiveRecordNotifyConfig)."""

    __tablename__ = "record_notifies"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    notify_url: Mapped[str]
    on_demand_url: Mapped[str]
    status: Mapped[bool]
    signed: Mapped[bool]
    key: Mapped[str] = mapped_column(Encrypted("record_notifies.key"))


class SnapshotNotify(Base):
    """Where a streaming domain's snapshots are told (AddLiveSnapshotNotifyConfig)."""

    __tablename__ = "snapshot_notifies"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    notify_url: Mapped[str]
    signed: Mapped[bool]
    key: Mapped[str] = mapped_column(Encrypted("snapshot_notifies.key"))


class SnapshotAuth(Base):
    """How callbacks of snapshot templates (their `Callback`) are signed (SetSnapshotCallbackAuth)."""

    __tablename__ = "snapshot_auths"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    signed: Mapped[bool]
    key: Mapped[str] = mapped_column(Encrypted("snapshot_auths.key"))


class Callback(Base):
    """One callback, from its cause until a week after its end.

    family: `stream`, `exception`, `switch`, `record` or `snapshot`; type: the event's name. domain: the one that has the
    configuration. lane: callbacks of one lane go out one after the other. method, url, body: the request, body "" for GET.
    storage: where a recording goes, `oss` or `vod`; "" for what is no recording's.
    signer, key: what the signature is made of (reference media-plane 5.3), key "" for none.
    state: `queued` (next_try_s is when it is due), `sent`, or `dead`: given up after the last try.
    header, response, error: of the last try. done_s: when it was sent or given up.
    """

    __tablename__ = "callbacks"
    __table_args__ = (
        Index(None, "state", "next_try_s"),
        Index(None, "state", "lane", "id"),
        Index(None, "domain", "family", "created_s"),
        Index(None, "state", "done_s"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    family: Mapped[str]
    type: Mapped[str]
    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"))
    app: Mapped[str]
    stream: Mapped[str]
    session: Mapped[str]
    lane: Mapped[str]
    method: Mapped[str]
    url: Mapped[str]
    body: Mapped[str]
    storage: Mapped[str]
    signer: Mapped[str]
    key: Mapped[str] = mapped_column(Encrypted("callbacks.key"))
    state: Mapped[str]
    tries: Mapped[int]
    created_s: Mapped[float]
    next_try_s: Mapped[float]
    done_s: Mapped[float | None]
    header: Mapped[str]
    response: Mapped[str]
    error: Mapped[str]
