"""The job of time shift: reads one stream and writes its slices into the spool, each as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from pathlib import Path

import msgspec
import structlog

from headwater.center.continuity import Continuity
from headwater.center.jobs import JobState, Source
from headwater.center.process import Desk
from headwater.center.shift.slicer import Cut, Slicer
from headwater.center.shift.spec import ShiftSpec, SliceMade
from headwater.center.source import SourceReader

SPEC_FILE = "spec.json"
"""What the slices in a folder are of, for a center that finds them after a crash."""

SPEED_S = 10.0
"""The speed that is told is that of so many seconds."""

log = structlog.get_logger()


class ShiftJob:
    """Slices of one stream. What was begun when the process dies is lost: a slice at most."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._spec = msgspec.json.decode(desk.start.spec, type=ShiftSpec)
        self._session = desk.start.source.session
        self._reader = SourceReader(self._own(desk.start.source))
        self._slicer = Slicer(self._spec.slice_s * 1000)
        self._continuity = Continuity()
        self._broken = False
        self._slices = 0
        self._media_ms = 0
        self._marks: list[tuple[float, int]] = []
        self._folder = Path(desk.setup.spool) / self._spec.folder

    async def run(self) -> None:
        """Raises OSError if the spool cannot be written to."""
        await asyncio.to_thread(prepare, self._folder, self._spec)
        async for part in self._reader:
            tags, joined = self._continuity.take(part)
            if not joined or self._broken:
                self._broken = False
                await self._keep(self._slicer.breaks())
            newest_ms = part.newest_ms if part.fresh and part.newest_ms >= 0 else part.tags[-1].timestamp_ms
            await self._keep(self._slicer.take(tags, time.time_ns() // 1_000_000, newest_ms))
        await self._keep(self._slicer.breaks())

    async def change(self, source: Source, spec: msgspec.Raw) -> None:
        """Another publisher begins another run of slices."""
        changed = msgspec.json.decode(spec, type=ShiftSpec)
        self._slicer.slice_ms = changed.slice_s * 1000
        if changed != self._spec:
            self._spec = changed
            await asyncio.to_thread(prepare, self._folder, changed)
        if source.session != self._session:
            self._session = source.session
            self._broken = True
        self._reader.follow(self._own(source))

    async def stop(self, reason: str) -> None:
        """What was begun becomes the last slice."""
        self._reader.close()

    async def ask(self, question: msgspec.Raw) -> object:
        """There is nothing to ask."""
        raise LookupError("a job of time shift answers no questions")

    def state(self) -> JobState:
        """How many slices were made, and how fast media are taken."""
        now_s = time.monotonic()
        self._marks = [*(mark for mark in self._marks if mark[0] > now_s - SPEED_S), (now_s, self._media_ms)]
        (since_s, since_ms), span_s = self._marks[0], now_s - self._marks[0][0]
        return JobState(
            state="running" if self._slices else "starting",
            speed=round((self._media_ms - since_ms) / 1000 / span_s, 2) if span_s > 1 and since_s else 0.0,
            frames=0,
            detail=self._slicer.unsupported or "",
            parts={"slices": str(self._slices)},
        )

    def _own(self, source: Source) -> Source:
        """The stream of this job: a rendition is published where its source is."""
        return msgspec.structs.replace(source, stream=self._spec.name)

    async def _keep(self, cuts: list[Cut]) -> None:
        for cut in cuts:
            path = self._folder / slice_name(cut)
            if not path.parent.is_dir():  # after a long time without slices
                await asyncio.to_thread(prepare, self._folder, self._spec)
            digest = await asyncio.to_thread(write, path, cut.data)
            self._slices += 1
            self._media_ms += cut.duration_ms
            self._desk.tell(SliceMade(self._spec, str(path), cut.start_ms, cut.duration_ms, cut.broken, len(cut.data), digest))


def slice_name(cut: Cut) -> str:
    """The name of a slice's file says all that is to be known of it."""
    return f"{cut.start_ms}-{cut.duration_ms}-{int(cut.broken)}.ts"


def found(folder: Path) -> list[SliceMade]:
    """The slices in a folder of a job, in their order; what is no slice is passed over."""
    try:
        spec = msgspec.json.decode((folder / SPEC_FILE).read_bytes(), type=ShiftSpec)
    except (OSError, msgspec.DecodeError) as error:
        log.warning("slices of an unknown stream", folder=str(folder), error=str(error))
        return []
    made = []
    for path in folder.glob("*.ts"):
        fields = path.stem.split("-")
        if len(fields) == 3 and all(field.isdecimal() for field in fields):
            start_ms, duration_ms, broken = map(int, fields)
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            made.append(SliceMade(spec, str(path), start_ms, duration_ms, bool(broken), len(data), digest))
    return sorted(made, key=lambda one: one.start_ms)


def remove_unused(folder: Path, age_s: float) -> None:
    """Remove the folder of a job that has nothing left to be stored and has not changed for so long."""
    with contextlib.suppress(OSError):  # somebody else was quicker
        if time.time() - folder.stat().st_mtime >= age_s and {path.name for path in folder.iterdir()} == {SPEC_FILE}:
            (folder / SPEC_FILE).unlink()
            folder.rmdir()


def prepare(folder: Path, spec: ShiftSpec) -> None:
    """Make the folder of a job, which says what it is of. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / SPEC_FILE, msgspec.json.encode(spec))


def write(path: Path, data: bytes) -> str:
    """Write a file that is there as a whole or not at all, whatever dies; returns its SHA-256. Raises OSError."""
    temporary = path.with_suffix(".part")
    try:
        return _write(path, temporary, data)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # a disk that is full needs the room
        raise


def _write(path: Path, temporary: Path, data: bytes) -> str:
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return hashlib.sha256(data).hexdigest()
