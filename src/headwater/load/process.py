"""One process of a load run: begins its clients in time, watches them, and reports what they have seen."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from headwater.load.clip import Clip, parse_clip
from headwater.load.hls_viewer import HlsViewer
from headwater.load.plan import Plan
from headwater.load.publisher import Pacer, Publisher
from headwater.load.session import Run, Session
from headwater.load.stream_viewer import FlvViewer, RtmpViewer
from headwater.load.tally import Tally

REPORT_EVERY_S = 0.5
CHECK_EVERY_S = 0.1
"""Also the timer by whose lateness one sees whether this process keeps up."""

FAREWELL_S = 0.1
"""For the publishers' last words to leave; without them the server would wait for each to come back."""

Emit = Callable[[Tally], None]


async def run(plan: Plan, emit: Emit, stop: asyncio.Event) -> Tally:
    """Do this process's part until its time is over, `stop` is set, or no client is left.

    emit: takes what has been counted so far, now and then. Returns the whole. Raises OSError or MediaError if the clip cannot
    be read.
    """
    work = _Work(Run(plan, _read_clip(plan.clip)))
    beginner = asyncio.create_task(work.begin())
    watcher = asyncio.create_task(work.watch(emit))
    over = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({watcher, over}, timeout=plan.seconds, return_when=asyncio.FIRST_COMPLETED)
        for work_task in (beginner, watcher):
            if work_task.done():
                work_task.result()
    finally:
        for task in (beginner, watcher, over):
            task.cancel()
        await asyncio.gather(beginner, watcher, over, return_exceptions=True)
        await work.finish()
    return work.snapshot()


def _read_clip(path: str | None) -> Clip | None:
    return None if path is None else parse_clip(Path(path).read_bytes())


class _Work:
    """The clients of a process."""

    def __init__(self, shared: Run) -> None:
        self._run = shared
        self._sessions: list[Session] = []
        self._all_begun = False
        self._pacer = Pacer(shared.loop)
        self._started_at = time.monotonic()
        self._started_cpu_s = _cpu_s()

    async def begin(self) -> None:
        """Begin each client at its time."""
        plan = self._run.plan
        for number in plan.numbers():
            wait_s = self._started_at + number * plan.delay_s - time.monotonic()
            await asyncio.sleep(max(wait_s, 0))
            session = self._make(number)
            self._sessions.append(session)
            session.begin()
        self._all_begun = True

    async def watch(self, emit: Emit) -> None:
        """Look after the clients until none is left."""
        report_at = self._started_at
        while True:
            due_at = time.monotonic() + CHECK_EVERY_S
            await asyncio.sleep(CHECK_EVERY_S)
            now = time.monotonic()
            self._run.tally.late_ms.add(max(now - due_at, 0.0) * 1000)
            if now >= report_at:
                report_at = now + REPORT_EVERY_S
                self._run.tally.stalled_now = sum(session.check(now) for session in self._sessions)
                emit(self.snapshot())
            if self._all_begun and not self._run.tally.open:
                return

    async def finish(self) -> None:
        """End all clients."""
        self._pacer.close()
        now = time.monotonic()
        left = [task for session in self._sessions if (task := session.finish(now)) is not None]
        await asyncio.gather(*left, return_exceptions=True)
        if self._run.clip is not None:
            await asyncio.sleep(FAREWELL_S)

    def _make(self, number: int) -> Session:
        shared = self._run
        if shared.clip is not None:
            return Publisher(shared, number, shared.clip, self._pacer)
        match shared.plan.target(number).protocol:
            case "rtmp":
                return RtmpViewer(shared, number)
            case "hls":
                return HlsViewer(shared, number)
            case _:
                return FlvViewer(shared, number)

    def snapshot(self) -> Tally:
        """What has been counted so far, with this process's own cost."""
        cpu_s = _cpu_s() - self._started_cpu_s
        return msgspec.structs.replace(self._run.tally, cpu_s=[cpu_s], elapsed_s=[time.monotonic() - self._started_at])


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
