"""The department of delayed streams: decides which streams have a delayed copy, and how late (reference media-plane 6.3)."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog
from starlette.routing import BaseRoute

from headwater.access.names import split_query
from headwater.access.plan import DELAY_MAX_S, DELAY_MIN_S, DELAYED, Plan, best_match
from headwater.access.presence import StreamPresence
from headwater.center.delay.spec import NOTE_FILE, DelaySpec, Note
from headwater.center.department import Center, StreamId, Wanted

ARGUMENT = "alDelayTime"
"""The argument of a push that asks for a delay, in seconds."""

FOLDER = "delay"
"""Where the buffers are in the spool."""

LAST_S = 2.0
"""A job goes on for its delay and so much longer once the publisher has gone, so that the last frame is played."""

log = structlog.get_logger()


class Delays:
    """The department. now_s: unix seconds."""

    kind = "delay"
    module = "headwater.center.delay"
    jobs_per_process = 16
    follows_plan = False
    routes: Sequence[BaseRoute] = ()

    def __init__(self, center: Center, now_s: Callable[[], float] = time.time) -> None:
        self._center = center
        self._now_s = now_s

    async def start(self) -> None:
        """Go on with buffers in which something is still to come, though no publisher comes back; remove the others."""
        folder = self._center.spool / FOLDER
        for buffer in list(folder.iterdir()) if folder.is_dir() else ():
            newest_s, note = _newest_s(buffer), _note(buffer)
            if newest_s + (DELAY_MAX_S if note is None else note.delay_s) < self._now_s():
                await asyncio.to_thread(shutil.rmtree, buffer, ignore_errors=True)
            elif note is not None:
                stream = note.domain, note.app, note.stream
                self._center.resume(stream, self.kind, _wanted(stream, note.delay_s), newest_s)

    def needs(self, stream: StreamPresence, plan: Plan) -> Collection[str]:
        """Only sources are delayed."""
        return ()

    def wanted(self, stream: StreamPresence, plan: Plan, granted: Mapping[str, float]) -> list[Wanted]:
        """A job if a rule matches, and the push has the argument that the rule may want."""
        delay_s = delay_of(stream, plan)
        if delay_s is None:
            return []
        return [_wanted((stream.domain, stream.app, stream.stream), delay_s)]

    async def told(self, job: str, event: msgspec.Raw) -> None:
        """These jobs tell nothing."""

    async def ended(self, job: str, error: str) -> None:
        """The buffer of a stream that is over is played out, unless it is the center that ends."""
        domain, app, stream = job.split("/")
        buffer = self._center.spool / _folder(job)
        if error or self._center.stream((domain, app, stream)) is not None:
            return
        note = _note(buffer)
        if note is None or _newest_s(buffer) + note.delay_s <= self._now_s():
            await asyncio.to_thread(shutil.rmtree, buffer, ignore_errors=True)

    async def close(self) -> None:
        """Buffers stay for the next start."""


def delay_of(stream: StreamPresence, plan: Plan) -> int | None:
    """How many seconds later a source stream is published again; None if it is not."""
    if stream.stream.endswith(DELAYED):
        return None
    rule = best_match(plan.delays, stream.app, stream.stream)
    if rule is None:
        return None
    text = split_query(stream.publish_url)[1].get(ARGUMENT, "") if rule.trigger != "CONFIG_ONLY" else ""
    if text:
        if text.isascii() and text.isdecimal() and len(text) <= 4 and DELAY_MIN_S <= int(text) <= DELAY_MAX_S:
            return int(text)
        log.warning("a push asks for an impossible delay", stream=stream.stream, app=stream.app, value=text[:20])
    return None if rule.trigger == "PUBLISH_ONLY" else rule.delay_s


def _wanted(stream: StreamId, delay_s: int) -> Wanted:
    identity = "/".join(stream)
    spec = DelaySpec(delay_s, stream[2] + DELAYED, _folder(identity))
    return Wanted(identity, msgspec.json.encode(spec), linger_s=delay_s + LAST_S)


def _newest_s(buffer: Path) -> float:
    """When the newest media came that are in a buffer."""
    return max([path.stat().st_mtime for path in buffer.glob("*.delay")], default=0.0)


def _note(buffer: Path) -> Note | None:
    """Whose buffer it is; None if that cannot be told."""
    try:
        note = msgspec.json.decode((buffer / NOTE_FILE).read_bytes(), type=Note)
    except (OSError, msgspec.MsgspecError):
        return None
    return note if _folder(f"{note.domain}/{note.app}/{note.stream}") == f"{FOLDER}/{buffer.name}" else None


def _folder(identity: str) -> str:
    return f"{FOLDER}/{hashlib.sha256(identity.encode()).hexdigest()[:24]}"
