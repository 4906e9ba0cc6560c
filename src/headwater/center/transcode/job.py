"""The transcoding job: reads the source, lets a thread make the renditions, and publishes each of them."""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from headwater.center.jobs import JobState, Source
from headwater.center.process import Desk
from headwater.center.publish import Publication
from headwater.center.sender import Sender
from headwater.center.source import Part, SourceReader
from headwater.center.transcode.spec import SeiTaken, Spec, decode_question
from headwater.center.transcode.thread import TranscoderThread
from headwater.media.tag import Flags, Tag

log = structlog.get_logger()


class TranscodeJob:
    """One source stream and all that is made of it. Raises msgspec.ValidationError for a spec that is none."""

    def __init__(self, desk: Desk) -> None:
        start = desk.start
        self._loop = desk.loop
        self._source = start.source
        self._spec = msgspec.json.decode(start.spec, type=Spec)
        self._reader = SourceReader(start.source)
        self._thread = TranscoderThread(self._spec, desk.loop, self._send)
        self._senders: dict[str, Sender[Publication]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._newest_ms: dict[int, int] = {}

    async def run(self) -> None:
        """Work until `stop`; raises what the thread has failed by."""
        self._apply_senders()
        reading = self._loop.create_task(self._read())
        try:
            await self._thread.run()
        finally:
            self._reader.close()
            await asyncio.gather(reading, return_exceptions=True)
            closing = [self._loop.create_task(sender.close()) for sender in self._senders.values()]
            await asyncio.gather(*closing, *self._closing, return_exceptions=True)

    async def change(self, source: Source, spec: msgspec.Raw) -> None:
        """Follow the source, and make what the new spec says."""
        wanted = msgspec.json.decode(spec, type=Spec)
        self._source = source
        self._reader.follow(source)
        for sender in self._senders.values():
            sender.publication.follow(source)
        self._spec = wanted
        self._apply_senders()
        self._thread.apply(wanted)

    async def stop(self, reason: str) -> None:
        """Finish; what the encoders hold is still published."""
        log.info("transcoding stops", reason=reason)
        self._reader.close()
        self._thread.close()

    async def ask(self, question: msgspec.Raw) -> SeiTaken:
        """Carry out an `InsertSei`. Raises msgspec.ValidationError."""
        return await self._thread.insert_sei(decode_question(bytes(question)))

    def state(self) -> JobState:
        """What the job does now."""
        parts = {template: sender.fault or self._part(template, sender) for template, sender in self._senders.items()}
        return msgspec.structs.replace(self._thread.state(), parts=parts)

    def _part(self, template: str, sender: Sender[Publication]) -> str:
        made = self._thread.parts.get(template, "")
        waits = sender.publication.waits
        return f"{made}; not published: {waits}" if made and waits else made or "no picture yet"

    def _apply_senders(self) -> None:
        wanted = {rendition.template for rendition in self._spec.renditions}
        for template in self._senders.keys() - wanted:
            task = self._loop.create_task(self._senders.pop(template).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for template in wanted - self._senders.keys():
            self._senders[template] = Sender(Publication(self._source, f"{self._source.stream}_{template}", template))

    async def _read(self) -> None:
        async for part in self._reader:
            self._thread.feed(self._without_repeats(part))

    def _without_repeats(self, part: Part) -> list[Tag]:
        """A connection made anew begins with what may have come before."""
        tags = part.tags
        if part.fresh and self._newest_ms and part.newest_ms >= max(self._newest_ms.values()):
            tags = [tag for tag in tags if tag.flags & Flags.CONFIG or tag.timestamp_ms > self._newest_ms.get(tag.kind, -1)]
        for tag in tags:
            self._newest_ms[tag.kind] = tag.timestamp_ms
        return tags

    def _send(self, ready: dict[str, list[Tag]]) -> None:
        for template, tags in ready.items():
            if template in self._senders:
                self._senders[template].send(tags)
