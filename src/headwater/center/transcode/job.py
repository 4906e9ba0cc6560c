"""The transcoding job: reads the source, lets a thread make the renditions, and publishes each of them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec
import structlog

from headwater.center.jobs import JobState, Source
from headwater.center.process import Desk
from headwater.center.publish import Publication, TakenOver
from headwater.center.source import Part, SourceReader
from headwater.center.transcode.spec import SeiTaken, Spec, decode_question
from headwater.center.transcode.transcoder import Transcoder
from headwater.media.tag import VIDEO, Flags, Tag

JUMP_AFTER_S = 4.0
"""Tags that have waited so long are given up for the newest key frame, if there is one."""

UNSENT_MAX_BYTES = 8 * 1024 * 1024
"""What may wait to be published: four seconds of 16 Mbit/s. More is given up, up to the next key frame."""

LOOK_AGAIN_S = 1.0
"""How often a watermark's picture is looked for that was not there yet."""

SPEED_OVER_S = 5.0

IDLE_S = 0.5
"""How long the thread waits for tags before it shows that it is alive."""

log = structlog.get_logger()


class Inbox:
    """What the thread has to do, in order: tags, each with the time at which it came, and calls."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Tag] | Callable[[], None]] = deque()
        self._news = threading.Condition()
        self._closed = False

    def put(self, tags: list[Tag], now: float) -> None:
        """More of the source."""
        with self._news:
            self._waiting.extend((now, tag) for tag in tags)
            self._news.notify()

    def call(self, work: Callable[[], None]) -> None:
        """Run this in the thread, after what is there already."""
        with self._news:
            self._waiting.append(work)
            self._news.notify()

    def close(self) -> None:
        """Nothing else comes; what is there is given up."""
        with self._news:
            self._closed = True
            self._waiting.clear()
            self._news.notify()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def take(self) -> tuple[float, Tag] | Callable[[], None] | None:
        """The next piece of work; None if none came for a while, or none will."""
        with self._news:
            if not self._waiting and not self._closed:
                self._news.wait(IDLE_S)
            return self._waiting.popleft() if self._waiting else None

    def jump(self, now: float) -> int:
        """If the first tag has waited for too long, leave out the video before the newest key frame. Returns frames."""
        with self._news:
            first = next((item for item in self._waiting if isinstance(item, tuple)), None)
            if first is None or now - first[0] < JUMP_AFTER_S:
                return 0
            items = list(self._waiting)
            keys = [at for at, item in enumerate(items) if isinstance(item, tuple) and _is_key(item[1])]
            if not keys:
                return 0
            dropped = {at for at, item in enumerate(items[: keys[-1]]) if isinstance(item, tuple) and _is_frame(item[1])}
            self._waiting = deque(item for at, item in enumerate(items) if at not in dropped)
            return len(dropped)


def _is_frame(tag: Tag) -> bool:
    return tag.kind == VIDEO and not tag.flags & Flags.CONFIG


def _is_key(tag: Tag) -> bool:
    return tag.kind == VIDEO and bool(tag.flags & Flags.KEY)


class Sender:
    """Publishes one rendition from a task of its own, so that none waits for another. fault: why it does not, "" if it does."""

    def __init__(self, source: Source, template: str) -> None:
        self.publication = Publication(source, f"{source.stream}_{template}", template)
        self.fault = ""
        self._unsent: deque[Tag] = deque()
        self._bytes = 0
        self._skipping = False
        self._news = asyncio.Event()
        self._closing = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def send(self, tags: list[Tag]) -> None:
        """Publish these when there is time for them."""
        if self.fault:
            return
        for tag in tags:
            headers = tag.flags & (Flags.CONFIG | Flags.METADATA)
            if self._bytes > UNSENT_MAX_BYTES:
                self._skipping = True
            elif self._skipping and tag.kind == VIDEO and tag.flags & Flags.KEY:
                self._skipping = False
            if self._skipping and not headers:
                continue
            self._unsent.append(tag)
            self._bytes += len(tag.payload)
        self._news.set()

    async def close(self) -> None:
        """Publish what is there, then end the stream."""
        self._closing = True
        self._news.set()
        await self._task
        await self.publication.close()

    async def _run(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._unsent:
                    tags, self._unsent, self._bytes = list(self._unsent), deque(), 0
                    await self.publication.write(tags)
                if self._closing:
                    return
        except TakenOver as error:
            self.fault = str(error)
            self._unsent.clear()
            log.warning("rendition is published by somebody else", stream=self.publication.stream)


class TranscodeJob:
    """One source stream and all that is made of it. Raises msgspec.ValidationError for a spec that is none."""

    def __init__(self, desk: Desk) -> None:
        start = desk.start
        self._loop = desk.loop
        self._source = start.source
        self._spec = msgspec.json.decode(start.spec, type=Spec)
        self._reader = SourceReader(start.source)
        self._inbox = Inbox()
        self._transcoder = Transcoder(self._spec)
        self._senders: dict[str, Sender] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._newest_ms: dict[int, int] = {}
        # written by the thread, read by the loop
        self._alive_at = time.monotonic()
        self._working = False
        self._media_ms = -1
        self._parts: dict[str, str] = {}
        self._notes: list[str] = []
        self._progress: deque[tuple[float, int]] = deque()

    async def run(self) -> None:
        """Work until `stop`; raises what the thread has failed by."""
        self._apply_senders()
        done = asyncio.Event()
        context = contextvars.copy_context()  # of logging
        thread = threading.Thread(target=context.run, args=(self._work, done), name="transcode", daemon=True)
        thread.start()
        reading = self._loop.create_task(self._read())
        try:
            await done.wait()
        finally:
            self._inbox.close()
            self._reader.close()
            await asyncio.gather(reading, return_exceptions=True)
            closing = [self._loop.create_task(sender.close()) for sender in self._senders.values()]
            await asyncio.gather(*closing, *self._closing, return_exceptions=True)
        if self._failure is not None:
            raise self._failure

    async def change(self, source: Source, spec: msgspec.Raw) -> None:
        """Follow the source, and make what the new spec says."""
        wanted = msgspec.json.decode(spec, type=Spec)
        self._source = source
        self._reader.follow(source)
        for sender in self._senders.values():
            sender.publication.follow(source)
        self._spec = wanted
        self._apply_senders()
        self._inbox.call(lambda: self._transcoder.apply(wanted))

    async def stop(self, reason: str) -> None:
        """Finish; what the encoders hold is still published."""
        log.info("transcoding stops", reason=reason)
        self._reader.close()
        self._inbox.close()

    async def ask(self, question: msgspec.Raw) -> SeiTaken:
        """Carry out an `InsertSei`. Raises msgspec.ValidationError."""
        asked = decode_question(bytes(question))
        answer: asyncio.Future[SeiTaken] = self._loop.create_future()

        def tell(taken: SeiTaken) -> None:
            if not answer.done():
                answer.set_result(taken)

        def insert() -> None:
            self._loop.call_soon_threadsafe(tell, self._transcoder.insert_sei(asked))

        self._inbox.call(insert)
        return await answer

    def state(self) -> JobState:
        """What the job does now."""
        now = time.monotonic()
        if self._media_ms >= 0:
            self._progress.append((now, self._media_ms))
        while self._progress and now - self._progress[0][0] > SPEED_OVER_S:
            self._progress.popleft()
        transcoder = self._transcoder
        speed = 0.0
        if len(self._progress) > 1:
            (since, from_ms), (until, to_ms) = self._progress[0], self._progress[-1]
            speed = round(max(0, to_ms - from_ms) / 1000 / (until - since), 2)
        return JobState(
            state="running" if self._media_ms >= 0 else "starting",
            speed=speed,
            frames=transcoder.frames,
            dropped=transcoder.dropped,
            detail="; ".join(self._notes),
            parts={template: sender.fault or self._part(template, sender) for template, sender in self._senders.items()},
            stuck_s=now - self._alive_at if self._working else 0.0,
        )

    def _part(self, template: str, sender: Sender) -> str:
        made = self._parts.get(template, "")
        waits = sender.publication.waits
        return f"{made}; not published: {waits}" if made and waits else made or "no picture yet"

    def _apply_senders(self) -> None:
        wanted = {rendition.template for rendition in self._spec.renditions}
        for template in self._senders.keys() - wanted:
            task = self._loop.create_task(self._senders.pop(template).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for template in wanted - self._senders.keys():
            self._senders[template] = Sender(self._source, template)

    async def _read(self) -> None:
        async for part in self._reader:
            self._inbox.put(self._without_repeats(part), time.monotonic())

    def _without_repeats(self, part: Part) -> list[Tag]:
        """A connection made anew begins with what may have come before."""
        tags = part.tags
        if part.fresh and self._newest_ms and part.newest_ms >= max(self._newest_ms.values()):
            tags = [tag for tag in tags if tag.flags & Flags.CONFIG or tag.timestamp_ms > self._newest_ms.get(tag.kind, -1)]
        for tag in tags:
            self._newest_ms[tag.kind] = tag.timestamp_ms
        return tags

    # the thread

    def _work(self, done: asyncio.Event) -> None:
        try:
            self._transcode()
        except BaseException as error:  # told as the reason why the job failed
            self._failure = error
        self._loop.call_soon_threadsafe(done.set)

    def _transcode(self) -> None:
        look_at = 0.0
        while not self._inbox.closed:
            item = self._inbox.take()
            now = self._alive_at = time.monotonic()
            self._working = item is not None
            if now >= look_at:
                look_at = now + LOOK_AGAIN_S
                self._transcoder.look_again()
                self._parts, self._notes = self._transcoder.describe(), self._transcoder.notes()
            if item is None:
                continue
            if isinstance(item, tuple):
                came, tag = item
                self._transcoder.feed(tag, now - came)
                self._media_ms = tag.timestamp_ms
                if now - came > JUMP_AFTER_S:
                    self._transcoder.missed(self._inbox.jump(now))
            else:
                item()
            self._deliver()
        self._transcoder.flush()
        self._deliver()

    def _deliver(self) -> None:
        ready = self._transcoder.take()
        if ready:
            self._loop.call_soon_threadsafe(self._send, ready)

    def _send(self, ready: dict[str, list[Tag]]) -> None:
        for template, tags in ready.items():
            if template in self._senders:
                self._senders[template].send(tags)
