"""Puts events into the queue of callbacks, in the transaction of whatever caused them: what has happened will be told."""

from __future__ import annotations

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.notify.events import Event, FileCreated, RecordStatus, SnapshotTaken, StreamState, signer_of
from headwater.store.models import Callback, RecordNotify, SnapshotAuth, SnapshotNotify, StreamNotify

PUBLISH_AFTER_S = 2.0
"""A push is told once it has lasted so long (reference media-plane 5.2)."""

WAITING_MAX: Final = 1000
"""Callbacks of a lane that wait while its server does not answer, an hour and more of snapshots; what comes then is given up at
once. It keeps a server that is gone for good from filling the database."""


async def enqueue(session: AsyncSession, event: Event, now_s: float) -> bool:
    """Queue a callback if the domain wants to know; False if it does not. Sent by `notify.service` after the commit."""
    url, key = await _target(session, event)
    if not url:
        return False
    method, url, body = event.request(url)
    starts = isinstance(event, StreamState) and event.type == "publish"
    lane = _lane(event)
    waiting = select(func.count()).select_from(Callback).where(Callback.state == "queued", Callback.lane == lane)
    crowded = (await session.scalar(waiting) or 0) >= WAITING_MAX
    session.add(
        Callback(
            family=event.family,
            type=event.type,
            domain=event.domain,
            app=event.app,
            stream=event.stream,
            session=event.session,
            lane=lane,
            method=method,
            url=url,
            body=body,
            storage=event.storage if isinstance(event, RecordStatus | FileCreated) else "",
            signer=signer_of(event, url),
            key=key,
            state="dead" if crowded else "queued",
            tries=0,
            created_s=now_s,
            next_try_s=now_s + PUBLISH_AFTER_S if starts else now_s,
            done_s=now_s if crowded else None,
            header="",
            response="",
            error=f"not tried: {WAITING_MAX} callbacks wait before it" if crowded else "",
        )
    )
    return True


async def pending_publish(session: AsyncSession, state: StreamState) -> Callback | None:
    """The callback for the start of this push if it has not been tried yet."""
    return await session.scalar(
        select(Callback).where(
            Callback.state == "queued",
            Callback.lane == _lane(state),
            Callback.session == state.session,
            Callback.type == "publish",
            Callback.tries == 0,
        )
    )


def _lane(event: Event) -> str:
    return f"{event.family}/{event.domain}/{event.app}/{event.stream}"


async def _target(session: AsyncSession, event: Event) -> tuple[str, str]:
    """The URL to call, and the key to sign with; "" for none."""
    match event:
        case SnapshotTaken(callback=own) if own:
            auth = await session.get(SnapshotAuth, event.domain)
            return own, auth.key if auth is not None and auth.signed else ""
        case SnapshotTaken():
            told = await session.get(SnapshotNotify, event.domain)
            return ("", "") if told is None else (told.notify_url, told.key if told.signed else "")
        case RecordStatus() | FileCreated():
            record = await session.get(RecordNotify, event.domain)
            if record is None or (isinstance(event, RecordStatus) and not record.status):
                return "", ""
            return record.notify_url, record.key if record.signed else ""
    row = await session.get(StreamNotify, event.domain)
    if row is None:
        return "", ""
    urls = {"stream": row.notify_url, "exception": row.exception_url, "switch": row.switch_url}
    return urls[event.family], row.key if row.signed else ""
