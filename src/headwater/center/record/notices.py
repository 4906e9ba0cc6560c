"""Tells customers' servers of recordings, and asks them what to record (reference media-plane 3.3)."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.presence import StreamPresence
from headwater.center.record.orders import NO, Answer
from headwater.center.record.spec import RecordSpec
from headwater.notify.client import CallFailed, Client
from headwater.notify.events import FileCreated, RecordEvent, RecordStatus
from headwater.notify.question import ask_on_demand
from headwater.notify.queue import enqueue
from headwater.settings import Notify
from headwater.store.database import Database
from headwater.store.models import RecordedFile, Recording, RecordNotify

HEVC = 12
"""FLV's id of the codec that the question calls `h265`; every other one is `h264`."""

log = structlog.get_logger()


class CustomerNotices:
    """`center.record.orders.Notices` by the settings of each domain (`notify.configs`)."""

    def __init__(self, database: Database, settings: Notify, now_s: Callable[[], float] = time.time) -> None:
        self._database = database
        self._client = Client(allow_private=settings.private_addresses)
        self._now_s = now_s

    async def ask(self, stream: StreamPresence) -> Answer:
        """Ask the domain's OnDemandUrl; NO if there is none, or no answer that can be understood."""
        async with self._database.read() as session:
            target = await session.get(RecordNotify, stream.domain)
        if target is None or not target.on_demand_url:
            return NO
        try:
            answer = await ask_on_demand(
                self._client,
                target.on_demand_url,
                app=stream.app,
                domain=stream.domain,
                stream=stream.stream,
                video_kbps=stream.video_kbps,
                codec="h265" if stream.video_codec_id == HEVC else "h264",
            )
        except CallFailed as fault:
            log.warning("on_demand_question_failed", domain=stream.domain, stream=stream.stream, error=str(fault))
            return NO
        return Answer(answer.need_record, answer.formats, answer.intervals)

    async def status(self, session: AsyncSession, spec: RecordSpec, event: RecordEvent) -> None:
        """Queue it, if the domain wants to know of states."""
        told = RecordStatus(type=event, domain=spec.domain, app=spec.app, stream=spec.stream, storage=spec.storage)
        await enqueue(session, told, self._now_s())

    async def file(self, session: AsyncSession, recording: Recording, file: RecordedFile) -> None:
        """Queue it."""
        spec = msgspec.json.decode(recording.spec, type=RecordSpec)
        told = FileCreated(
            domain=file.domain,
            app=file.app,
            stream=spec.stream,
            uri=file.key,
            duration_s=file.duration_ms / 1000,
            start_s=file.start_ms // 1000,
            stop_s=file.end_ms // 1000,
            push_args=msgspec.json.decode(recording.push_args, type=dict[str, str]),
            session=recording.session,
            storage=spec.storage,
        )
        await enqueue(session, told, self._now_s())

    async def close(self) -> None:
        """Close the connections to customers' servers."""
        await self._client.close()
