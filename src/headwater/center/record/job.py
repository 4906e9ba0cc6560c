"""One recording in a job process: reads its stream, writes pieces, and makes what is due in a thread beside.

A stream is not followed read by read: its socket is emptied twice a second, which costs a tenth, and in the same moment as
those of all other recordings of the process. What waits meanwhile is in the kernel and in the worker's ring, so it is lost to
nobody but a crash of both.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import msgspec
import structlog

from headwater.center.jobs import JobState, Source
from headwater.center.process import Desk
from headwater.center.record.build import Builder
from headwater.center.record.recorder import Recorder, Unsupported
from headwater.center.record.spec import Began, Failed, RecordSpec
from headwater.center.record.spool import Folder, Span

READ_S = 0.5
"""Pause between two looks at the socket. What was read is written at once, so a crash of this process loses so much at most;
and even that is read again if the stream's ring still holds it when the next process asks."""

BUSY_S, BUSY_BYTES = 0.02, 96 * 1024
"""A socket that had so much is looked at again soon: it holds some 200 kB, and its worker may wait to write more."""

READ_BYTES = 256 * 1024
"""Read at once."""

SYNC_S = 2.0
"""What a power cut may take: so often all that was written is forced to the disk. It costs a thread's wake-up and a write of
what the kernel would write soon anyway: 0.1 ms of CPU a second, and the disk's time."""

AGAIN_S = 0.25
"""Pause before a worker is asked again for a stream that it does not have (yet), or has no more."""

ANSWER_S = 5.0
"""How long a worker may take to begin its answer, on a busy machine."""

HEAD_MAX_BYTES = 4096

BEHIND_S_MAX = 60
"""Never asks for more of the past than this; rings hold less."""

REPEATED_S = 2
"""So much of what was written is asked for again, and left out: clocks differ, and times of frames are those of the encoder."""

DISK_AGAIN_S = 10.0
"""Pause before something is made again that the disk did not take. Its pieces stay until it is made."""

THREADS = 1
"""Slices and files that are made at a time by one process: several would only take turns, with Python's lock to fight for."""

log = structlog.get_logger()

_pool = ThreadPoolExecutor(THREADS, "record")
_buffer = bytearray(READ_BYTES)


class RecordJob:
    """`center.process.Job` for a recording; its spec is a `RecordSpec`, its events are `center.record.spec.Event`."""

    def __init__(self, desk: Desk, clock: Callable[[], float] = time.time) -> None:
        self._desk = desk
        self._clock = clock
        self._source = desk.start.source
        self._spec = msgspec.json.decode(desk.start.spec, type=RecordSpec)
        self._folder = Folder(Path(self._spec.folder))
        self._recorder = Recorder(self._folder, self._spec)
        self._builder = Builder(self._folder, self._spec)
        self._due: asyncio.Queue[Span | None] = asyncio.Queue()
        self._stopping = False
        self._connected = False
        self._told = ""
        self._kept_from = 1
        self._synced = self._folder.ledger.last
        self._safe = (0, 0)
        self._last = (0.0, 0)

    async def run(self) -> None:
        """Record until `stop`. Raises Unsupported, OSError."""
        for span in self._folder.ledger.due():
            self._due.put_nowait(span)
        making = asyncio.create_task(self._make_due())
        _syncer.add(self)
        try:
            while not self._stopping:
                await self._follow()
                if not self._stopping:
                    await asyncio.sleep(AGAIN_S)
        except Unsupported as error:
            self._desk.tell(Failed("", str(error)))
            raise
        finally:
            self._recorder.close()
            _syncer.remove(self)
            self._due.put_nowait(None)
            with contextlib.suppress(asyncio.CancelledError):
                await making
            if (sync := self.to_sync()) is not None:
                await asyncio.to_thread(_all, [sync])
            self._folder.close()

    async def change(self, source: Source, spec: msgspec.Raw) -> None:
        """Another publisher has come, or another worker has it now; how it is recorded stays as it is."""
        if source.session != self._source.session and self._connected:
            self._recorder.follow(source.session)
        self._source = source

    async def stop(self, reason: str) -> None:
        """Take what is in the socket still, and end."""
        self._stopping = True

    async def ask(self, question: msgspec.Raw) -> object:
        """`"restart"`: files end here and new ones begin."""
        if msgspec.json.decode(question) != "restart":
            raise ValueError("a recording understands nothing but restart")
        self._recorder.new_files()
        return {}

    def state(self) -> JobState:
        """How far it is."""
        now_s, written_ms = self._clock(), self._recorder.written_ms
        before_s, before_ms = self._last
        self._last = now_s, written_ms
        speed = (written_ms - before_ms) / 1000 / (now_s - before_s) if before_s and now_s > before_s else 0.0
        return JobState(
            state="running" if self._connected else "waiting",
            speed=round(speed, 2),
            detail=f"{self._recorder.written_bytes} bytes",
            parts={"written_s": f"{written_ms / 1000:.3f}", "made": str(len(self._folder.ledger.made))},
        )

    # reading

    async def _follow(self) -> None:
        """Read the stream over one connection, until it ends."""
        source = self._source
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            try:
                async with asyncio.timeout(ANSWER_S):
                    await loop.sock_connect(connection, source.socket)
                    await loop.sock_sendall(connection, self._request())
                    fields, rest = await self._head(loop, connection)
                    newest_ms, session_ms = int(fields.get("x-newest-ms", "-1")), int(fields.get("x-session-ms", "0"))
            except (OSError, ValueError, TimeoutError) as error:
                log.debug("source not there", stream=self._spec.stream, error=repr(error))
                return
            now_ms = round(self._clock() * 1000)
            self._recorder.connect(source.session, newest_ms, now_ms, session_ms=session_ms, clock=fields.get("x-clock", ""))
            self._connected = True
            try:
                self._write(rest)
                while True:
                    stopping = self._stopping
                    taken = self._empty(connection)
                    if taken is None or (stopping and taken < BUSY_BYTES):
                        return
                    if taken >= BUSY_BYTES:
                        await asyncio.sleep(BUSY_S)
                    else:
                        await _next_round()
            finally:
                self._connected = False

    def _request(self) -> bytes:
        spec = self._spec
        path = "/".join(quote(name, safe="") for name in (spec.domain, spec.app, spec.stream))
        since_s = spec.since_s
        last = self._folder.ledger.pieces.get(self._folder.ledger.last)
        if last is not None:
            since_s = (last.unix_ms + self._recorder.written_ms - last.start_ms) / 1000 - REPEATED_S
        behind_s = min(max(math.ceil(self._clock() - since_s), 0), BEHIND_S_MAX)
        return f"GET /relay/{path}?behind_s={behind_s} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n".encode()

    async def _head(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> tuple[dict[str, str], bytes]:
        """What the worker says of the stream, and what came behind the head. Raises OSError and ValueError."""
        data = b""
        while b"\r\n\r\n" not in data:
            if len(data) > HEAD_MAX_BYTES:
                raise ValueError("the worker's answer has no end")
            more = await loop.sock_recv(connection, HEAD_MAX_BYTES)
            if not more:
                raise ConnectionError("the worker closed")
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        if status.split(" ")[1:2] != ["200"]:
            raise ConnectionError(f"the worker answers: {status[:80]}")
        fields = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        return fields, rest

    def _empty(self, connection: socket.socket) -> int | None:
        """Take all that is in the socket; how much that was, None at the stream's end."""
        taken = 0
        while True:
            try:
                size = connection.recv_into(_buffer)
            except BlockingIOError:
                return taken
            except OSError:
                return None
            if not size:
                return None
            with memoryview(_buffer) as view:
                self._write(view[:size])
            taken += size
            if size < READ_BYTES // 4 or taken >= 16 * READ_BYTES:
                return taken  # another look would find little, or others wait

    def _write(self, data: bytes | memoryview) -> None:
        for span in self._recorder.feed(data):
            self._due.put_nowait(span)
        ledger = self._folder.ledger
        if ledger.last and self._told != self._source.session:
            line = ledger.pieces[ledger.last]
            if line.session == self._source.session:
                self._told = line.session
                self._desk.tell(Began(line.unix_ms))

    # what is made of it

    async def _make_due(self) -> None:
        """Make slices and files in their order, until all are made and nothing more comes."""
        loop = asyncio.get_running_loop()
        ledger = self._folder.ledger
        while (span := await self._due.get()) is not None:
            while True:
                try:
                    made = await loop.run_in_executor(_pool, self._builder.attempt, span, ledger.slices(span.format, span.file))
                except OSError as error:
                    log.error("the disk takes no recorded file", format=span.format, error=str(error))
                    if self._stopping:
                        return  # made by whoever finishes the recording
                    await asyncio.sleep(DISK_AGAIN_S)
                else:
                    break
            self._folder.write(made)
            if not isinstance(made, Failed) or made.error:
                self._desk.tell(made)

    def to_sync(self) -> Callable[[], None] | None:
        """What must be done, on a thread, so that a power cut takes only what comes from now on; None if nothing has come.

        Pieces that are needed no more go once the journal that says what was made of them is safe.
        """
        ledger = self._folder.ledger
        until, needed, bytes_, journal = ledger.last, ledger.needed_from(), self._recorder.written_bytes, self._folder.written
        if (bytes_, journal) == self._safe:
            return None
        # what all that was made of it is complete and safe needs no sync of its own
        first, kept_from, journal_safe = max(self._synced, needed, 1), self._kept_from, self._safe[1]
        self._synced, self._kept_from, self._safe = until, needed, (bytes_, journal)

        def sync() -> None:
            for number in range(first, until + 1):
                self._folder.sync_piece(number)
            if journal != journal_safe:
                self._folder.sync()
            self._folder.forget_pieces(kept_from, needed)

        return sync


async def _next_round() -> None:
    """Wait until all recordings of the process look at their sockets: when the clock says a multiple of READ_S.

    If each woke up alone, the waking would cost more than the looking: a timer, a system call, and code that other work has
    driven out of the processor's caches.
    """
    await asyncio.sleep(READ_S - asyncio.get_running_loop().time() % READ_S)


class _Syncer:
    """Syncs all jobs of the process together: a thread's wake-up for each would cost more than the rest of them."""

    def __init__(self) -> None:
        self._jobs: set[RecordJob] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, job: RecordJob) -> None:
        self._jobs.add(job)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def remove(self, job: RecordJob) -> None:
        self._jobs.discard(job)

    async def _run(self) -> None:
        while self._jobs:
            await asyncio.sleep(SYNC_S)
            work = [sync for job in tuple(self._jobs) if (sync := job.to_sync()) is not None]
            if work:
                await asyncio.to_thread(_all, work)


_syncer = _Syncer()


def _all(work: Sequence[Callable[[], None]]) -> None:
    """Do it all; a disk that fails is met by whoever writes to it next."""
    for each in work:
        try:
            each()
        except OSError as error:
            log.error("the disk cannot be synced", error=str(error))
