"""The job of a delayed stream: one hand writes what comes into the buffer, the other publishes what is due."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from headwater.center.continuity import Continuity
from headwater.center.delay.spec import NOTE_FILE, DelaySpec, Note
from headwater.center.delay.spool import DelaySpool
from headwater.center.jobs import JobState, Source
from headwater.center.process import Desk
from headwater.center.publish import Publication
from headwater.center.source import Part, SourceReader
from headwater.media.tag import VIDEO, Flags, Tag

TEMPLATE = "alidelay"
"""What makes the copy, in its presence."""

LATE_AT_START_MS = 1000
"""What was due so long ago when the job begins has been published by an earlier process, or it is too late for it."""

LATE_MS = 10_000
"""What is due so long ago is left out: the delay is a promise. A worker that is too busy for a moment loses nothing."""

MOMENT_MS = 200
"""The tags that a new connection gives at once were made over some seconds; they are due one after the other, too."""

IDLE_S = 0.1
"""How often an empty buffer is looked at."""

log = structlog.get_logger()


class DelayJob:
    """One delayed stream. What the buffer holds outlives the process."""

    def __init__(self, desk: Desk) -> None:
        self._spec = msgspec.json.decode(desk.start.spec, type=DelaySpec)
        self._reader = SourceReader(desk.start.source)
        self._continuity = Continuity()
        self._publication = Publication(desk.start.source, self._spec.name, TEMPLATE)
        self._folder = Path(desk.setup.spool) / self._spec.folder
        self._spool: DelaySpool | None = None
        self._playing: asyncio.Task[None] | None = None
        self._cleared = asyncio.Event()
        self._frames = 0
        self._dropped = 0
        self._detail = "waiting for the first media"

    async def run(self) -> None:
        """Raises OSError if the buffer cannot be written, TakenOver if another job publishes the copy."""
        self._spool = DelaySpool(self._folder)
        self._note()
        try:
            async with asyncio.TaskGroup() as group:
                self._playing = group.create_task(self._play(self._spool))
                group.create_task(self._take(self._spool))
        except* Exception as failures:
            raise failures.exceptions[0] from None
        finally:
            self._spool.close()
            await self._publication.close()

    async def change(self, source: Source, spec: msgspec.Raw) -> None:
        """Another publisher, or another worker. A changed delay is that of what comes from now on.

        If it is a shorter one, what still waits would come too late for it, and is left out.
        """
        before_s, self._spec = self._spec.delay_s, msgspec.json.decode(spec, type=DelaySpec)
        if self._spec.delay_s < before_s and self._spool is not None:
            self._spool.clear()
            self._cleared.set()
        self._note()
        self._reader.follow(source)
        self._publication.follow(source)

    async def stop(self, reason: str) -> None:
        """The buffer stays: it is played by the next job of the stream, if that is still in time."""
        self._reader.close()
        if self._playing is not None:
            self._playing.cancel()

    async def ask(self, question: msgspec.Raw) -> object:
        """There is nothing to ask."""
        raise LookupError("a job of a delayed stream answers no questions")

    def state(self) -> JobState:
        """What is published now, and what waits."""
        waits = self._publication.waits
        held = 0 if self._spool is None else self._spool.bytes
        return JobState(
            state="running" if self._frames and not waits else "waiting",
            frames=self._frames,
            dropped=self._dropped,
            detail=self._detail if not self._frames else waits,
            parts={"delay_s": str(self._spec.delay_s), "buffer_bytes": str(held)},
        )

    def _note(self) -> None:
        source = self._publication.source
        note = Note(source.domain, source.app, source.stream, self._spec.delay_s)
        path = self._folder / NOTE_FILE
        written = path.with_suffix(".part")
        try:
            written.write_bytes(msgspec.json.encode(note))
            written.replace(path)
        except OSError as error:  # a full disk; what is in the buffer is played out all the same
            log.warning("a delayed stream cannot be noted", stream=source.stream, error=str(error))
            with contextlib.suppress(OSError):
                written.unlink(missing_ok=True)

    async def _take(self, spool: DelaySpool) -> None:
        async for part in self._reader:
            now_ms = time.time_ns() // 1_000_000
            tags, _ = self._continuity.take(part)
            for moment_ms, some in moments(part, tags, now_ms):
                spool.write(some, moment_ms + self._spec.delay_s * 1000)

    async def _play(self, spool: DelaySpool) -> None:
        started_ms = time.time_ns() // 1_000_000
        gate = Gate()
        while True:
            record = spool.read()
            if record is None:
                self._cleared.clear()
                await asyncio.sleep(IDLE_S)
                continue
            due_ms, tags = record
            now_ms = time.time_ns() // 1_000_000
            if due_ms > now_ms:
                self._detail = f"the first media are due in {(due_ms - now_ms) // 1000} s"
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._cleared.wait(), (due_ms - now_ms) / 1000)
            cleared = self._cleared.is_set()
            self._cleared.clear()
            late = cleared or due_ms < started_ms - LATE_AT_START_MS or due_ms < now_ms - LATE_MS
            passed = gate.take(tags, late=late)
            self._dropped += len(tags) - len(passed)
            self._frames += sum(1 for tag in passed if not tag.flags & (Flags.CONFIG | Flags.METADATA))
            if passed:
                await self._publication.write(passed)


class Gate:
    """Lets tags through, but after something is missing none before the next key frame; configuration always."""

    def __init__(self) -> None:
        self._shut = False
        self._video = False

    def take(self, tags: Sequence[Tag], *, late: bool) -> list[Tag]:
        """The tags that may pass. late: these are the ones that are left out."""
        self._shut |= late
        passed = []
        for tag in tags:
            header = tag.flags & (Flags.CONFIG | Flags.METADATA)
            self._video |= tag.kind == VIDEO
            if not late and self._shut and not header and (tag.flags & Flags.KEY or not self._video):
                self._shut = False
            if header or not self._shut:
                passed.append(tag)
        return passed


def moments(part: Part, tags: Sequence[Tag], now_ms: int) -> Iterator[tuple[int, list[Tag]]]:
    """The tags of a part by the unix time at which each was live."""
    if not part.fresh or part.newest_ms < 0:
        if tags:
            yield now_ms, list(tags)
        return
    some: list[Tag] = []
    at_ms = now_ms - max(part.newest_ms - tags[0].timestamp_ms, 0) if tags else now_ms
    for tag in tags:
        live_ms = now_ms - max(part.newest_ms - tag.timestamp_ms, 0)
        if some and live_ms - at_ms >= MOMENT_MS:
            yield at_ms, some
            some, at_ms = [], live_ms
        some.append(tag)
    if some:
        yield at_ms, some
