"""The department of recordings: which streams are recorded, into what, and when their files close.

The truth is the table `recordings`: a row is a recording that runs, is paused, or is being finished, so that a center that was
killed goes on as if its streams had only been away for a moment. The files themselves are made by jobs (`center.record`), and
by `center.record.finish` once a stream has been away too long. What these say is noted here: rows, uploads, callbacks.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from headwater.access.plan import ANY, Plan, Record, RecordFormat
from headwater.access.presence import StreamPresence
from headwater.center.department import AskFailed, Center, StreamId, Wanted
from headwater.center.record import orders
from headwater.center.record.notices import CustomerNotices
from headwater.center.record.spec import (
    CONTENT_TYPES,
    Began,
    Event,
    Failed,
    File,
    RecordSpec,
    Slice,
)
from headwater.center.record.spool import JOURNAL, LOCK, told
from headwater.notify.events import RecordEvent
from headwater.store.models import MediaSlice, RecordedFile, Recording
from headwater.wording import sentence

JOBS_PER_PROCESS = 32
"""Recordings that share a process: at 1 ms of CPU a second each they leave it idle, and a crash breaks few."""

GRACE_S = 15.0
"""After a start of the center, a publisher who is still there has at least so long to be seen again."""

GONE_S = 30.0
"""A stream that has been gone for so long has no job any more, whether its end was told or not."""

LOOK_S = 1.0
"""How often deadlines are looked at."""

TIDY_S = 60.0
"""How often folders are removed whose files are all stored."""

PURGE_S = 3600.0
"""How often rows are deleted of pushes that were not recorded."""

FINISHERS = 2
"""Recordings that are finished at a time: it costs a core for seconds."""

FINISH_AGAIN_S, FINISH_AGAIN_MAX_S = 5.0, 600.0
"""Pauses before a recording is finished that could not be: the disk is full, say. They grow; nothing is given up."""

BEGIN_AGAIN_S = 2.0
"""Pause before a recording is begun that the database could not take."""

FAILURES_TOLD = 2
"""Customers are told of a job that fails so often in a row: one that dies once costs them nothing."""

STOPPED_KEPT_S = 7 * 86_400
"""That a stream's recording was stopped by hand, or declined, is remembered for so long; pushes seldom last longer."""

BODY_BYTES_MAX = 16 * 1024

Key = tuple[str, str, str, str]
"""Domain, app, source stream, template."""

log = structlog.get_logger()


class Command(msgspec.Struct, frozen=True):
    """RealTimeRecordCommand (reference media-plane 3.2)."""

    domain: str
    app: str
    stream: str
    command: Literal["start", "stop", "cancel_delay", "restart"]


class Refused(Exception):
    """A command that cannot be carried out. code: as the API says it."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


class _Open:
    """A recording that is not closed. wanted: its job runs, or will soon.

    telling: its customer takes it for running. failures: of its job in a row.
    """

    def __init__(self, row: Recording) -> None:
        self.id = row.id
        self.key: Key = (row.domain, row.app, row.stream, row.template)
        self.session = row.session
        self.trigger = row.trigger
        self.state = row.state
        self.held = row.held
        self.close_at_s = row.close_at_s
        self.started = row.started_s > 0
        self.spec = msgspec.json.decode(row.spec, type=RecordSpec)
        self.encoded = row.spec.encode()
        self.push_args = row.push_args
        self.wanted = False
        self.telling = row.state == "live"
        self.close_soon = False
        self.gone_since_s: float | None = None
        self.error = ""
        self.failures = 0

    @property
    def stream(self) -> StreamId:
        """The source stream."""
        return self.key[:3]


class RecordingDepartment:
    """`center.department.Department` for recordings. now_s: the clock, unix seconds."""

    kind = "record"
    module = "headwater.center.record"
    jobs_per_process = JOBS_PER_PROCESS
    follows_plan = False

    def __init__(self, center: Center, notices: orders.Notices | None = None, now_s: Callable[[], float] = time.time) -> None:
        self.routes: Sequence[BaseRoute] = (Route("/record/command", self._answer, methods=["POST"]),)
        self._notices = notices or CustomerNotices(center.database, center.settings.notify)
        self._center = center
        self._now_s = now_s
        self._folder = center.spool / "record"
        self._open: dict[int, _Open] = {}
        self._by_key: dict[Key, _Open] = {}
        self._beginning: set[Key] = set()
        self._stopped: dict[Key, str] = {}
        self._answers: dict[tuple[StreamId, str], orders.Answer | None] = {}
        self._away: set[StreamId] = set()
        self._purge_at_s = 0.0
        self._again_at: dict[StreamId, float] = {}
        self._finishers = asyncio.Semaphore(FINISHERS)
        self._tasks: set[asyncio.Task[None]] = set()
        center.uploads.register("file", self._file_stored)
        center.uploads.register("slice", self._slice_stored)

    # Department

    async def start(self) -> None:
        """Take up every recording that is not closed: note what its journal says, and give its publisher time to be seen."""
        now_s = self._now_s()
        await self._forget()
        async with self._center.database.write() as session:
            past = now_s - STOPPED_KEPT_S
            mine = select(Recording).where(Recording.node == self._center.node)
            for row in await session.scalars(mine.where(Recording.state.in_(("live", "paused", "closing")))):
                self._keep(_Open(row))
            stopped = Recording.held | (Recording.state.in_(("declined", "failed")))
            for row in await session.scalars(mine.where(stopped, Recording.close_at_s >= past).order_by(Recording.id)):
                self._stopped[row.domain, row.app, row.stream, row.template] = row.session
        for recording in tuple(self._open.values()):
            await self._replay(recording)
            if recording.state == "closing":
                self._close(recording)
            else:
                if recording.state == "live":
                    recording.close_at_s = _written_s(Path(recording.spec.folder), now_s) + recording.spec.delay_s
                    recording.state = "paused"
                recording.close_at_s = max(recording.close_at_s, now_s + GRACE_S)
        self._own(self._watch())

    def needs(self, stream: StreamPresence, plan: Plan) -> Collection[str]:
        """The renditions that the stream's template records."""
        record = record_of(plan, stream.app, stream.stream)
        if record is None or not record.rendition_formats or not orders.in_time(record, self._now_s()):
            return ()
        return record.renditions if self._wants(record, stream) else ()

    def wanted(self, stream: StreamPresence, plan: Plan, granted: Mapping[str, float]) -> list[Wanted]:
        """A job for each recording of the stream and of its renditions that runs now."""
        record = record_of(plan, stream.app, stream.stream)
        templates: dict[str, tuple[RecordFormat, ...]] = {}
        if record is not None and self._is_time(record, stream):
            if record.formats:
                templates[""] = record.formats
            if record.rendition_formats and record.on_demand != orders.BY_ARGUMENT:
                templates.update({template: record.rendition_formats for template in record.renditions if template in granted})
        for known in self._of((stream.domain, stream.app, stream.stream)):
            known.wanted = False
        jobs = []
        for template, formats in templates.items():
            assert record is not None
            key = (stream.domain, stream.app, stream.stream, template)
            recording = self._by_key.get(key)
            if recording is not None and recording.held and recording.session != stream.session:
                recording.close_at_s = 0.0  # stopped by hand, and then the publisher left: that was the end of it
                self._own(self._close_due())
            elif recording is not None and not recording.held:
                recording.wanted = True
                recording.session = stream.session
                jobs.append(Wanted(str(recording.id), recording.encoded, template=template))
            elif recording is None and key not in self._beginning and self._wants(record, stream):
                answer = self._answers.get((key[:3], stream.session))
                self._own(self._begin(stream, record, template, orders.answered(formats, answer), record.on_demand))
        return jobs

    async def told(self, job: str, event: msgspec.Raw) -> None:
        """A job has made something, or begins."""
        recording = self._open.get(int(job))
        if recording is not None:
            await self._take(recording, msgspec.json.decode(event, type=Event))

    async def ended(self, job: str, error: str) -> None:
        """A job has ended: the stream is away, or it is to be started again."""
        recording = self._open.get(int(job))
        if recording is None or recording.state not in ("live", "paused"):
            return
        if error:
            await self._replay(recording)
        if self._center.stream(recording.stream) is None or not recording.wanted:
            await self._pause(recording)
        elif error:
            recording.failures += 1
            if recording.failures == FAILURES_TOLD:
                async with self._center.database.write() as session:
                    await self._tell(session, recording, "record_error")
        # it goes on with the next job, in this center or, if this one ends, in the one that follows it

    async def close(self) -> None:
        """Stop finishing; it goes on with the next start."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._notices.close()

    # deciding

    def _is_time(self, record: Record, stream: StreamPresence) -> bool:
        now_s = self._now_s()
        edges = [edge for edge in (record.start_s, record.end_s) if edge > now_s]
        if edges:
            self._again_at[stream.domain, stream.app, stream.stream] = min(edges)
        return orders.in_time(record, now_s)

    def _wants(self, record: Record, stream: StreamPresence) -> bool:
        """Whether a publisher's stream is to be recorded, as far as is known; the customer's server is asked."""
        key: StreamId = (stream.domain, stream.app, stream.stream)
        if any(self._stopped.get((*key, template)) == stream.session for template in ("", *record.renditions)):
            return False
        match record.on_demand:
            case orders.ALWAYS:
                return True
            case orders.BY_ARGUMENT:
                return orders.argument(stream.publish_url)
            case orders.BY_QUESTION:
                if (key, stream.session) not in self._answers:
                    self._answers[key, stream.session] = None
                    self._own(self._ask(stream))
                answer = self._answers[key, stream.session]
                return answer is not None and answer.need
        return any(known[:3] == key for known in self._by_key)  # by hand: a command has begun it

    async def _ask(self, stream: StreamPresence) -> None:
        """Ask the customer's server, once for a push; without an answer nothing is recorded."""
        key: StreamId = (stream.domain, stream.app, stream.stream)
        answer = await self._notices.ask(stream)
        self._answers[key, stream.session] = answer
        if not answer.need:
            self._stopped[*key, ""] = stream.session
            async with self._center.database.write() as session:
                session.add(self._row(stream, "", orders.BY_QUESTION, state="declined", spec="{}"))
        for old in [known for known in self._answers if known[0] == key and known[1] != stream.session]:
            del self._answers[old]
        self._center.again(key)

    async def _begin(
        self, stream: StreamPresence, record: Record, template: str, formats: Sequence[RecordFormat], trigger: int
    ) -> None:
        """Note a new recording; its job is wanted from then on."""
        key: Key = (stream.domain, stream.app, stream.stream, template)
        if key in self._beginning or key in self._by_key or not formats:
            return
        self._beginning.add(key)
        try:
            async with self._center.database.write() as session:
                row = self._row(stream, template, trigger, state="live", spec="")
                session.add(row)
                await session.flush()
                spec = RecordSpec(
                    recording=row.id,
                    folder=str(self._folder / str(row.id)),
                    endpoint=record.endpoint,
                    bucket=record.bucket,
                    delay_s=record.delay_s,
                    domain=stream.domain,
                    app=stream.app,
                    stream=f"{stream.stream}_{template}" if template else stream.stream,
                    formats=tuple(formats),
                    storage=record.storage,
                    since_s=self._now_s() if trigger == orders.BY_HAND else max(stream.published_at, record.start_s),
                )
                row.spec = msgspec.json.encode(spec).decode()
            self._keep(_Open(row))
            log.info("recording begins", recording=row.id, stream="/".join(key[:3]), template=template)
        except SQLAlchemyError:
            self._again_at[key[:3]] = self._now_s() + BEGIN_AGAIN_S
            raise
        finally:
            self._beginning.discard(key)
        self._center.again(key[:3])

    def _row(self, stream: StreamPresence, template: str, trigger: int, *, state: str, spec: str) -> Recording:
        return Recording(
            node=self._center.node,
            domain=stream.domain,
            app=stream.app,
            stream=stream.stream,
            template=template,
            session=stream.session,
            trigger=trigger,
            state=state,
            held=False,
            spec=spec,
            push_args=msgspec.json.encode(orders.push_args(stream.publish_url)).decode(),
            started_s=0.0,
            ended_s=0.0,
            close_at_s=self._now_s() if state == "declined" else 0.0,
            error="",
        )

    def _of(self, stream: StreamId) -> list[_Open]:
        """The recordings of a stream and its renditions that run or are paused."""
        return [recording for key, recording in self._by_key.items() if key[:3] == stream]

    def _keep(self, recording: _Open) -> None:
        self._open[recording.id] = recording
        if recording.state != "closing":
            self._by_key[recording.key] = recording

    # what happens to a recording

    async def _take(self, recording: _Open, event: Event) -> None:
        match event:
            case Began():
                await self._began(recording, event)
            case Slice():
                await self._slice_made(recording, event)
            case File():
                await self._file_made(recording, event)
            case Failed() if not event.what:
                await self._failed(recording, event.error)
            case Failed():
                log.error("recorded file could not be made", recording=recording.id, format=event.what, error=event.error)
                async with self._center.database.write() as session:
                    await self._tell(session, recording, "record_error")

    async def _began(self, recording: _Open, event: Began) -> None:
        async with self._center.database.write() as session:
            row = await session.get(Recording, recording.id)
            if row is None or recording.state not in ("live", "paused"):
                return
            if not recording.started:
                await self._tell(session, recording, "record_started")
                row.started_s = event.unix_ms / 1000
            elif not recording.telling:
                await self._tell(session, recording, "record_resumed")
            row.state, row.close_at_s, row.session = "live", 0.0, recording.session
        recording.started = recording.telling = True
        recording.failures = 0
        recording.state, recording.close_at_s, recording.gone_since_s = "live", 0.0, None

    async def _pause(self, recording: _Open) -> None:
        """The publisher is away, or the recording was stopped: its files close unless it goes on in time."""
        now_s = self._now_s()
        if recording.trigger == orders.BY_HAND and not recording.held:
            recording.held = True  # ends with its stream (reference media-plane 3.2)
        recording.wanted = False
        recording.close_at_s = now_s if recording.close_soon or not recording.started else now_s + recording.spec.delay_s
        async with self._center.database.write() as session:
            row = await session.get(Recording, recording.id)
            if row is not None:
                row.state, row.held, row.close_at_s, row.ended_s = "paused", recording.held, recording.close_at_s, now_s
                if recording.telling and recording.started:
                    await self._tell(session, recording, "record_paused")
        recording.telling = False
        recording.state = "paused"
        if recording.held:
            self._stopped[recording.key] = recording.session

    async def _failed(self, recording: _Open, error: str) -> None:
        """Nothing of this push can be recorded; what there is of an earlier one is finished."""
        log.error("stream cannot be recorded", recording=recording.id, error=error)
        recording.error = error
        self._stopped[recording.key] = recording.session
        async with self._center.database.write() as session:
            await self._tell(session, recording, "record_error")
        self._close(recording)
        self._center.again(recording.stream)

    def _close(self, recording: _Open) -> None:
        recording.state = "closing"
        recording.wanted = False
        if self._by_key.get(recording.key) is recording:
            del self._by_key[recording.key]
        self._own(self._finish(recording))

    async def _finish(self, recording: _Open) -> None:
        """Have everything made and noted down that is due, until it is."""
        pause_s = FINISH_AGAIN_S
        while True:
            try:
                if await self._finished(recording):
                    break
            except Exception:  # the top of this task: a database or a disk that fails now may be back later
                log.exception("a recording could not be finished", recording=recording.id)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, FINISH_AGAIN_MAX_S)
        del self._open[recording.id]
        log.info("recording closed", recording=recording.id, stream="/".join(recording.stream), template=recording.key[3])

    async def _finished(self, recording: _Open) -> bool:
        """Try once; whether nothing is left to do."""
        async with self._center.database.write() as session:
            row = await session.get(Recording, recording.id)
            if row is not None:
                row.state = "closing"
        self._center.again(recording.stream)
        if not await self._run_finisher(recording):
            return False
        await self._replay(recording)  # what was told when the database was away
        async with self._center.database.write() as session:
            row = await session.get(Recording, recording.id)
            if row is not None:
                row.state = "failed" if recording.error and not recording.started else "closed"
                row.error = recording.error
                row.close_at_s = self._now_s()
        return True

    async def _run_finisher(self, recording: _Open) -> bool:
        """Whether nothing is left to do."""
        if not await asyncio.to_thread((Path(recording.spec.folder) / JOURNAL).exists):
            return True
        async with self._finishers:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "headwater.center.record.finish",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            assert process.stdin is not None  # as asked for
            assert process.stdout is not None
            try:
                process.stdin.write(recording.encoded + b"\n")
                process.stdin.close()
                async for line in process.stdout:
                    await self._take(recording, msgspec.json.decode(line, type=Event))
                return await process.wait() == 0
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()

    async def _replay(self, recording: _Open) -> None:
        """Note what the journal says and nobody has noted: whoever had to has died, or the database was away."""
        async with self._center.database.read() as session:
            of_slices = select(MediaSlice.format, MediaSlice.number).where(MediaSlice.recording == recording.id)
            of_files = select(RecordedFile.format, RecordedFile.number).where(RecordedFile.recording == recording.id)
            slices = {tuple(row) for row in await session.execute(of_slices)}
            files = {tuple(row) for row in await session.execute(of_files)}
        for event in await asyncio.to_thread(lambda: list(told(Path(recording.spec.folder)))):
            known = slices if isinstance(event, Slice) else files
            if isinstance(event, Slice | File) and (event.format, event.number) not in known:
                await self._take(recording, event)

    # what it has made

    async def _slice_made(self, recording: _Open, made: Slice) -> None:
        spec = recording.spec
        async with self._center.database.write() as session:
            same = select(MediaSlice.id).where(
                MediaSlice.recording == recording.id, MediaSlice.format == made.format, MediaSlice.number == made.number
            )
            if await session.scalar(same) is not None:
                return
            if made.init_key:
                known = select(MediaSlice.id).where(MediaSlice.recording == recording.id, MediaSlice.init_key == made.init_key)
                if await session.scalar(known.limit(1)) is None:
                    self._upload(
                        session,
                        recording,
                        made.init_path,
                        made.init_key,
                        made.init_bytes,
                        made.init_sha256,
                        "init",
                        recording.id,
                    )
            row = MediaSlice(
                kind="record",
                recording=recording.id,
                file_number=made.file,
                domain=spec.domain,
                app=spec.app,
                stream=recording.key[2],
                template=recording.key[3],
                format=made.format,
                number=made.number,
                endpoint=spec.endpoint,
                bucket=spec.bucket,
                key=made.key,
                init_key=made.init_key,
                start_ms=made.start_ms,
                duration_ms=made.duration_ms,
                width=made.width,
                height=made.height,
                bytes=made.bytes,
                discontinuity=made.broken,
                state="local",
                local_path=str(Path(spec.folder) / made.path),
            )
            session.add(row)
            await session.flush()
            self._upload(session, recording, made.path, made.key, made.bytes, made.sha256, "slice", row.id)
        self._center.uploads.wake()

    async def _file_made(self, recording: _Open, made: File) -> None:
        spec = recording.spec
        async with self._center.database.write() as session:
            same = select(RecordedFile.id).where(
                RecordedFile.recording == recording.id, RecordedFile.format == made.format, RecordedFile.number == made.number
            )
            if await session.scalar(same) is not None:
                return
            row = RecordedFile(
                recording=recording.id,
                domain=spec.domain,
                app=spec.app,
                stream=recording.key[2],
                template=recording.key[3],
                format=made.format,
                number=made.number,
                endpoint=spec.endpoint,
                bucket=spec.bucket,
                key=made.key,
                start_ms=made.start_ms,
                end_ms=made.end_ms,
                duration_ms=made.duration_ms,
                width=made.width,
                height=made.height,
                bytes=made.bytes,
                sha256=made.sha256,
                state="local",
                created_s=self._now_s(),
            )
            session.add(row)
            await session.flush()
            self._upload(session, recording, made.path, made.key, made.bytes, made.sha256, "file", row.id)
        self._center.uploads.wake()
        log.info("recorded file complete", recording=recording.id, key=made.key, bytes=made.bytes, duration_ms=made.duration_ms)

    def _upload(
        self,
        session: AsyncSession,
        recording: _Open,
        path: str,
        key: str,
        bytes_: int,
        sha256: str,
        owner_kind: str,
        owner: int,
    ) -> None:
        self._center.uploads.enqueue(
            session,
            Path(recording.spec.folder) / path,
            endpoint=recording.spec.endpoint,
            bucket=recording.spec.bucket,
            key=key,
            bytes_=bytes_,
            sha256=sha256,
            owner_kind=owner_kind,
            owner_id=owner,
            content_type=CONTENT_TYPES.get(Path(path).suffix, "application/octet-stream"),
        )

    async def _file_stored(self, session: AsyncSession, owner: int) -> None:
        """Customers are told of a file when they can fetch it."""
        row = await session.get(RecordedFile, owner)
        if row is None:
            return
        row.state = "stored"
        recording = await session.get(Recording, row.recording) if row.recording is not None else None
        if recording is not None:
            await self._notices.file(session, recording, row)

    async def _slice_stored(self, session: AsyncSession, owner: int) -> None:
        row = await session.get(MediaSlice, owner)
        if row is not None:
            row.state, row.local_path = "stored", ""

    async def _tell(self, session: AsyncSession, recording: _Open, event: RecordEvent) -> None:
        await self._notices.status(session, recording.spec, event)

    # commands

    async def _answer(self, request: Request) -> Response:
        try:
            body = await request.body()
            if len(body) > BODY_BYTES_MAX:
                raise Refused(413, "InvalidParam", "the command is too long")
            await self.command(msgspec.json.decode(body, type=Command))
        except msgspec.MsgspecError as error:
            return JSONResponse({"code": "InvalidParam", "message": sentence(error)}, 400)
        except Refused as refused:
            return JSONResponse({"code": refused.code, "message": str(refused)}, refused.status)
        return JSONResponse({})

    async def command(self, command: Command) -> None:
        """Carry out a command for a stream and its renditions. Raises Refused."""
        stream: StreamId = (command.domain, command.app, command.stream)
        recordings = self._of(stream)
        match command.command:
            case "start":
                await self._start(stream, recordings)
            case "stop":
                running = [each for each in recordings if not each.held and each.state == "live"]
                if not running:
                    raise Refused(404, "TaskNotFound", "The stream is not being recorded.")
                await self._hold(running, held=True)
                self._center.again(stream)
            case "cancel_delay":
                stopped = [each for each in recordings if each.held]
                if not stopped:
                    raise Refused(409, "TaskNotStopped", "The recording of this stream was not stopped.")
                for recording in stopped:
                    recording.close_soon, recording.close_at_s = True, 0.0
                await self._close_due()
            case "restart":
                await self._restart(stream, recordings)

    async def _restart(self, stream: StreamId, recordings: Sequence[_Open]) -> None:
        """Close the files now and begin new ones; of a recording that was stopped, too."""
        running = [each for each in recordings if not each.held and each.state == "live"]
        held = [each for each in recordings if each.held]
        if running:
            try:
                for recording in running:
                    await self._center.ask(self.kind, str(recording.id), "restart")
            except AskFailed as failed:
                raise Refused(503, "ServiceUnavailable", f"The recording does not answer: {failed}.") from failed
        elif self._center.stream(stream) is None and recordings:
            raise Refused(404, "InvalidStream.NotFound", "The stream is not live; its recording goes on when it is back.")
        elif held:
            if any(recording.state == "live" for recording in held):
                raise Refused(503, "ServiceUnavailable", "The recording is being stopped; try again in a moment.")
            for recording in held:
                recording.close_soon, recording.close_at_s = True, 0.0
            await self._close_due()
            await self._start(stream, self._of(stream))
        elif recordings:
            raise Refused(503, "ServiceUnavailable", "The recording is just beginning; try again in a moment.")
        else:
            raise Refused(404, "TaskNotFound", "The stream is not being recorded; `start` begins a recording.")

    async def _start(self, stream: StreamId, recordings: Sequence[_Open]) -> None:
        presence = self._center.stream(stream)
        if presence is None:
            raise Refused(404, "InvalidStream.NotFound", "The stream is not live.")
        held = [each for each in recordings if each.held]
        if recordings and not held:
            raise Refused(409, "TaskAlreadyStarted", "The stream is being recorded already.")
        record = record_of(self._center.plan(stream[0]), stream[1], stream[2])
        if record is None:
            raise Refused(404, "ConfigNotFound", "No recording template applies to this stream.")
        for key in [key for key in self._stopped if key[:3] == stream]:
            del self._stopped[key]
        for recording in held:
            recording.session = presence.session
        await self._hold(held, held=False)
        if not held:
            if record.formats:
                await self._begin(presence, record, "", record.formats, orders.BY_HAND)
            for template in record.renditions:
                await self._begin(presence, record, template, record.rendition_formats, orders.BY_HAND)
        self._center.again(stream)

    async def _hold(self, recordings: Sequence[_Open], *, held: bool) -> None:
        for recording in recordings:
            recording.held = held
            if held:
                self._stopped[recording.key] = recording.session
            async with self._center.database.write() as session:
                row = await session.get(Recording, recording.id)
                if row is not None:
                    row.held, row.session = held, recording.session

    # time

    async def _watch(self) -> None:
        tidy_at_s = 0.0
        while True:
            try:
                await self._close_due()
                now_s = self._now_s()
                for stream in [stream for stream, at_s in self._again_at.items() if at_s <= now_s]:
                    del self._again_at[stream]
                    self._center.again(stream)
                if now_s >= tidy_at_s:
                    tidy_at_s = now_s + TIDY_S
                    await self._forget()
                    await asyncio.to_thread(self._tidy, frozenset(self._open))
            except Exception:  # the top of this task: a database that fails now may be back later
                log.exception("recordings could not be looked after")
            await asyncio.sleep(LOOK_S)

    async def _close_due(self) -> None:
        """Close what has been paused for too long, and pause what has lost its stream unheard."""
        now_s = self._now_s()
        for recording in tuple(self._by_key.values()):
            if recording.wanted and self._center.stream(recording.stream) is None:
                if recording.gone_since_s is None:
                    recording.gone_since_s = now_s
                elif now_s - recording.gone_since_s >= GONE_S:
                    await self._pause(recording)
            else:
                recording.gone_since_s = None
            # a later end than any pause has was noted before the clock went back
            recording.close_at_s = min(recording.close_at_s, now_s + max(recording.spec.delay_s, GRACE_S))
            if recording.state == "paused" and not recording.wanted and recording.close_at_s <= now_s:
                self._close(recording)

    async def _forget(self) -> None:
        """Drop what was decided of pushes that are over. A stream that was away a look ago as well comes back as another."""
        decided = {key[:3] for key in self._stopped} | {stream for stream, _ in self._answers}
        away = {stream for stream in decided if self._center.stream(stream) is None}
        over, self._away = away & self._away, away
        self._stopped = {key: session for key, session in self._stopped.items() if key[:3] not in over}
        self._answers = {key: answer for key, answer in self._answers.items() if key[0] not in over}
        now_s = self._now_s()
        if now_s >= self._purge_at_s:
            self._purge_at_s = now_s + PURGE_S
            past = now_s - STOPPED_KEPT_S
            async with self._center.database.write() as session:
                await session.execute(delete(Recording).where(Recording.state == "declined", Recording.close_at_s < past))

    def _tidy(self, open_: Collection[int]) -> None:
        """Remove the folders of closed recordings that hold no file any more that is to be stored."""
        for folder in self._folder.glob("*"):
            if folder.name.isdecimal() and int(folder.name) not in open_:
                left = [path for path in folder.iterdir() if path.name not in (JOURNAL, LOCK) and path.suffix != ".tmp"]
                if not left:
                    shutil.rmtree(folder, ignore_errors=True)

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("work on a recording failed", error=repr(error))


def record_of(plan: Plan, app: str, stream: str) -> Record | None:
    """The template of a stream: an exact name beats `*`, the app's before the stream's (reference media-plane 3)."""
    fitting = [each for each in plan.records if each.app in (app, ANY) and each.stream in (stream, ANY)]
    return max(fitting, key=lambda each: (each.app == app, each.stream == stream), default=None)


def _written_s(folder: Path, now_s: float) -> float:
    """When a recording that nobody ended wrote its last bytes."""
    try:
        return max((path.stat().st_mtime for path in folder.glob("*.piece")), default=now_s)
    except OSError:
        return now_s
