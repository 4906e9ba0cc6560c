"""A job: pictures of one stream at its interval, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from headwater.center.jobs import JobState, Source
from headwater.center.process import Desk
from headwater.center.snapshot import keyframe, picture, spool
from headwater.center.snapshot.keyframe import KeyFrame, NoStreamError
from headwater.center.snapshot.messages import PictureTaken, SnapshotSpec
from headwater.center.snapshot.picture import PictureError
from headwater.center.snapshot.suspects import Guard

AGAIN_S = 1.0
"""Pause before a stream that is not there is asked for again: its publisher may be about to return."""

TRIES = 3
"""Key frames of one interval that are tried until one of them gives a picture; each costs as much as a good one."""

LOGGED_EVERY_S = 60.0
"""A stream whose key frames are all broken does not fill the log."""

log = structlog.get_logger()


class SnapshotJob:
    """The pictures of one stream. now_s: unix seconds."""

    def __init__(self, desk: Desk, now_s: Callable[[], float] = time.time) -> None:
        self._spec = msgspec.json.decode(desk.start.spec, type=SnapshotSpec)
        self._source = desk.start.source
        self._tell = desk.tell
        self._spool = Path(desk.setup.spool)
        self._guard = Guard(spool.marks(self._spool), desk.start.job)
        self._now_s = now_s
        self._running: asyncio.Task[None] | None = None
        self._state = JobState()
        self._last_ms: int | None = None  # of the key frame that was looked at last
        self._created_ms = 0
        self._taken = 0
        self._failed = 0
        self._logged_s = 0.0

    async def run(self) -> None:
        """Take pictures until `stop`."""
        self._running = asyncio.current_task()
        with contextlib.suppress(asyncio.CancelledError):
            await self._held_back()
            await self._go_on()

    async def change(self, source: Source, spec: msgspec.Raw) -> None:
        """Go on with another publisher, worker or place, from the next picture on."""
        if source.session != self._source.session:
            self._last_ms = None
        self._source, self._spec = source, msgspec.json.decode(spec, type=SnapshotSpec)

    async def stop(self, reason: str) -> None:
        """End at once: no picture is ever half taken."""
        if self._running is not None:
            self._running.cancel()

    async def ask(self, question: msgspec.Raw) -> object:
        """There is nothing to ask."""
        raise ValueError("a snapshot job answers no questions")

    def state(self) -> JobState:
        """frames: pictures taken. dropped: key frames that gave none. detail: what was wrong last."""
        return self._state

    async def _held_back(self) -> None:
        held_s = self._guard.held_s(self._now_s())
        if held_s:
            log.warning("stream is set aside, for its process died while it was decoded", held_s=round(held_s))
            detail = f"suspect: the process died {self._guard.crashes} times while it decoded this stream"
            self._state = JobState("waiting", detail=detail)
            await asyncio.sleep(held_s)

    async def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        self._state = JobState("running", detail="waits for a key frame")
        while True:
            interval_s = self._spec.interval_s
            # the first picture is the first that can be had; after it one for each interval that begins
            until = due + interval_s if self._last_ms is not None else None
            try:
                async with asyncio.timeout_at(until):
                    await self._one()
            except TimeoutError:
                self._say("no key frame came in time")
            now = loop.time()
            due = now + interval_s if until is None else until + max(0.0, (now - until) // interval_s) * interval_s
            await asyncio.sleep(due - now)

    async def _one(self) -> None:
        """Take one picture; a key frame that gives none is left out, and the next one is tried."""
        for _ in range(TRIES):
            frame = await self._key_frame()
            self._last_ms = frame.timestamp_ms
            try:
                with self._guard.decoding():
                    made = picture.take(frame.config, frame.payload)
            except PictureError as error:
                self._failed += 1
                self._say(str(error))
                continue
            try:
                self._keep(made.data, frame)
            except OSError as error:  # the disk is full, say: the next one may fit again
                self._failed += 1
                self._say(f"the picture cannot be written: {error.strerror or error}")
                return
            self._taken += 1
            self._state = JobState("running", frames=self._taken, dropped=self._failed, detail=f"{made.width}x{made.height}")
            return

    async def _key_frame(self) -> KeyFrame:
        while True:
            try:
                return await keyframe.newest(self._source, but_ms=self._last_ms)
            except (NoStreamError, OSError) as error:
                self._say(str(error))
            await asyncio.sleep(AGAIN_S)

    def _keep(self, data: bytes, frame: KeyFrame) -> None:
        source = self._source
        self._created_ms = max(int(self._now_s() * 1000) - frame.behind_ms, self._created_ms + 1)
        path = spool.write(self._spool, (source.domain, source.app, source.stream), self._created_ms, data)
        self._tell(
            PictureTaken(
                source.domain,
                source.app,
                source.stream,
                str(path),
                self._created_ms,
                len(data),
                hashlib.sha256(data).hexdigest(),
                self._spec.place,
            )
        )

    def _say(self, detail: str) -> None:
        """Note down why there is no picture now."""
        self._state = JobState("running", frames=self._taken, dropped=self._failed, detail=detail)
        now_s = self._now_s()
        if now_s - self._logged_s >= LOGGED_EVERY_S:
            self._logged_s = now_s
            log.warning("no snapshot", stream=f"{self._source.domain}/{self._source.app}/{self._source.stream}", reason=detail)
