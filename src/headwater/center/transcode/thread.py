"""Runs a transcoder in a thread beside the event loop, and says how it is."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable

from headwater.center.jobs import JobState
from headwater.center.transcode.spec import InsertSei, SeiTaken, Spec
from headwater.center.transcode.transcoder import Transcoder
from headwater.media.tag import VIDEO, Flags, Tag

JUMP_AFTER_S = 4.0
"""Tags that have waited so long are given up for the newest key frame, if there is one."""

LOOK_AGAIN_S = 1.0
"""How often a watermark's picture is looked for that was not there yet."""

SPEED_OVER_S = 5.0

IDLE_S = 0.5
"""How long the thread waits for tags before it shows that it is alive."""


class Inbox:
    """What the thread has to do, in order: tags, each with the time at which it came, and calls.

    waiting_bytes: of the tags.
    """

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self._waiting: deque[tuple[float, Tag] | Callable[[], None]] = deque()
        self._news = threading.Condition()
        self._closed = False

    def put(self, tags: list[Tag], now: float) -> None:
        """More of the source."""
        with self._news:
            self._waiting.extend((now, tag) for tag in tags)
            self.waiting_bytes += sum(len(tag.payload) for tag in tags)
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
            self.waiting_bytes = 0
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
            item = self._waiting.popleft() if self._waiting else None
            if isinstance(item, tuple):
                self.waiting_bytes -= len(item[1].payload)
            return item

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
            self.waiting_bytes = sum(len(item[1].payload) for item in self._waiting if isinstance(item, tuple))
            return len(dropped)


def _is_frame(tag: Tag) -> bool:
    return tag.kind == VIDEO and not tag.flags & Flags.CONFIG


def _is_key(tag: Tag) -> bool:
    return tag.kind == VIDEO and bool(tag.flags & Flags.KEY)


class TranscoderThread:
    """One transcoder and its thread. deliver: called on the loop with the tags of each rendition, by its template.

    parts: what each rendition does, for people.
    """

    def __init__(self, spec: Spec, loop: asyncio.AbstractEventLoop, deliver: Callable[[dict[str, list[Tag]]], None]) -> None:
        self.inbox = Inbox()
        self.parts: dict[str, str] = {}
        self._loop = loop
        self._deliver = deliver
        self._transcoder = Transcoder(spec)
        self._failure: BaseException | None = None
        # written by the thread, read by the loop
        self._alive_at = time.monotonic()
        self._working = False
        self._media_ms = -1
        self._notes: list[str] = []
        self._progress: deque[tuple[float, int]] = deque()

    async def run(self) -> None:
        """Work until `close`; what the encoders hold by then is still delivered. Raises what the thread has failed by."""
        done = asyncio.Event()
        context = contextvars.copy_context()  # of logging
        thread = threading.Thread(target=context.run, args=(self._work, done), name="transcode", daemon=True)
        thread.start()
        try:
            await done.wait()
        finally:
            self.inbox.close()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Take nothing more; `run` returns soon after."""
        self.inbox.close()

    def feed(self, tags: list[Tag]) -> None:
        """More of the source."""
        self.inbox.put(tags, time.monotonic())

    def apply(self, spec: Spec) -> None:
        """Make this from now on."""
        self.inbox.call(lambda: self._transcoder.apply(spec))

    async def insert_sei(self, asked: InsertSei) -> SeiTaken:
        """Write a text into all renditions that have a picture."""
        answer: asyncio.Future[SeiTaken] = self._loop.create_future()

        def tell(taken: SeiTaken) -> None:
            if not answer.done():
                answer.set_result(taken)

        def insert() -> None:
            self._loop.call_soon_threadsafe(tell, self._transcoder.insert_sei(asked))

        self.inbox.call(insert)
        return await answer

    def state(self) -> JobState:
        """What it does now."""
        now = time.monotonic()
        if self._media_ms >= 0:
            self._progress.append((now, self._media_ms))
        while self._progress and now - self._progress[0][0] > SPEED_OVER_S:
            self._progress.popleft()
        speed = 0.0
        if len(self._progress) > 1:
            (since, from_ms), (until, to_ms) = self._progress[0], self._progress[-1]
            speed = round(max(0, to_ms - from_ms) / 1000 / (until - since), 2)
        return JobState(
            state="running" if self._media_ms >= 0 else "starting",
            speed=speed,
            frames=self._transcoder.frames,
            dropped=self._transcoder.dropped,
            detail="; ".join(self._notes),
            parts=self.parts,
            stuck_s=now - self._alive_at if self._working else 0.0,
        )

    # the thread

    def _work(self, done: asyncio.Event) -> None:
        try:
            self._transcode()
        except BaseException as error:  # told as the reason why the job failed
            self._failure = error
        self._loop.call_soon_threadsafe(done.set)

    def _transcode(self) -> None:
        look_at = 0.0
        while not self.inbox.closed:
            item = self.inbox.take()
            now = self._alive_at = time.monotonic()
            self._working = item is not None
            if now >= look_at:
                look_at = now + LOOK_AGAIN_S
                self._transcoder.look_again()
                self.parts, self._notes = self._transcoder.describe(), self._transcoder.notes()
            if item is None:
                continue
            if isinstance(item, tuple):
                came, tag = item
                self._transcoder.feed(tag, now - came)
                self._media_ms = tag.timestamp_ms
                if now - came > JUMP_AFTER_S:
                    self._transcoder.missed(self.inbox.jump(now))
            else:
                item()
            self._hand_over()
        self._transcoder.flush()
        self._hand_over()

    def _hand_over(self) -> None:
        ready = self._transcoder.take()
        if ready:
            self._loop.call_soon_threadsafe(self._deliver, ready)
