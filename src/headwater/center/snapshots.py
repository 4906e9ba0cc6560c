"""The snapshot department: which streams are pictured, what becomes of the pictures, and a picture at once for who asks."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from headwater.access import presence
from headwater.access.plan import ANY, Plan, Snapshots
from headwater.access.presence import WORKER_PREFIX, StreamPresence, WorkerPresence
from headwater.center.department import Center, StreamId, Wanted
from headwater.center.jobs import Source
from headwater.center.snapshot import keyframe, once, spool
from headwater.center.snapshot.keyframe import NoStreamError
from headwater.center.snapshot.messages import PictureTaken, Place, SnapshotSpec
from headwater.center.snapshot.picture import Picture, PictureError
from headwater.domains.snapshots import (
    OWNER_KIND,
    Taken,
    drop_uploads,
    names,
    note,
    note_numbers,
    numbers,
    remove_files,
    row_of,
    stored,
    tell,
    template_of,
)
from headwater.store.models import Snapshot, Upload
from headwater.store.objects import ObjectError
from headwater.wording import sentence

KEY_FRAME_S = 12.0
"""How long a picture at once waits for a key frame: encoders are commonly set to one in ten seconds at most."""

AT_ONCE = 2
"""Pictures that are made for askers at the same time; the others wait. Each takes a core for a third of a second."""

REMEMBERED = 64
REMEMBERED_S = 2.0
"""A picture that was just made is good for everybody who asks: this many, for so long."""

DIRECT_S = 5.0
AWAY_S = 30.0
"""A picture that its store does not take so soon goes through the queue, and the next ones for the same bucket do, too, for a
while: nobody waits for a store that is away.
"""

NOTE_S = 1.0
"""Pictures of so long are noted down in one transaction: what a transaction costs is for the most part the same for one and for
twenty. A crash meanwhile costs nothing: what is not noted down lies in the spool."""

NUMBERS_MAX = 10_000
"""Streams whose numbers are known without a look into the database."""

JPEG = "image/jpeg"

log = structlog.get_logger()


class Now(msgspec.Struct, frozen=True):
    """The question for a picture at once (POST /snapshot/now)."""

    domain: str
    app: str
    stream: str


@dataclass(slots=True)
class _Kept:
    """A picture that is to be noted down: where it lies, and under which names it is stored (direct) or waits (queued).

    number: among the numbered ones of its stream, 0 if it has none. replaced: files of pictures that it takes the places of.
    """

    stream: StreamId
    path: Path
    created_ms: int
    place: Place
    sha256: str
    number: int
    direct: list[Taken] = field(default_factory=list)
    queued: list[Taken] = field(default_factory=list)
    replaced: list[Path] = field(default_factory=list)


class SnapshotDepartment:
    """Pictures of all streams for which a template exists."""

    kind = "snapshot"
    module = "headwater.center.snapshot"
    jobs_per_process = 50  # each decodes a few milliseconds in a second, one after the other
    follows_plan = False

    def __init__(self, center: Center) -> None:
        self._center = center
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._asked: OrderedDict[StreamId, tuple[float, asyncio.Task[Picture]]] = OrderedDict()
        self._keeping: dict[StreamId, asyncio.Task[None]] = {}
        self._numbers: dict[StreamId, int] = {}
        self._waiting: dict[tuple[str, str, str], int] = {}  # rows of pictures in the queue, by endpoint, bucket and object
        self._away_until: dict[tuple[str, str], float] = {}
        self._to_note: list[_Kept] = []
        self._noting: asyncio.Task[None] | None = None
        self.routes: Sequence[BaseRoute] = [Route("/snapshot/now", self._now, methods=["POST"])]
        center.uploads.register(OWNER_KIND, self._stored)

    async def start(self) -> None:
        """Take up the pictures that an earlier run has written and not noted down."""
        keep = await self._queued()
        for path, stream, created_ms in spool.left(self._center.spool):
            place = await self._place(stream)
            if place is not None and not await self._known(stream, created_ms):
                await self._keep(stream, path, created_ms, place, path.stat().st_size)
        keep |= await self._queued()
        await asyncio.to_thread(spool.clean, self._center.spool, keep)

    def needs(self, stream: StreamPresence, plan: Plan) -> Collection[str]:
        """None: pictures are of the source stream."""
        return ()

    def wanted(self, stream: StreamPresence, plan: Plan, granted: Mapping[str, float]) -> list[Wanted]:
        """One job for a stream whose app has a template."""
        template = in_plan(plan, stream.app)
        if template is None:
            return []
        place = Place(template.endpoint, template.bucket, template.overwrite, template.sequence, template.callback)
        spec = msgspec.json.encode(SnapshotSpec(template.interval_s, place))
        return [Wanted(f"{stream.domain}/{stream.app}/{stream.stream}", spec)]

    async def told(self, job: str, event: msgspec.Raw) -> None:
        """A picture was taken."""
        taken = msgspec.json.decode(event, type=PictureTaken)
        stream = (taken.domain, taken.app, taken.stream)
        keeping = self._keep(
            stream, Path(taken.path), taken.created_ms, taken.place, taken.size_bytes, taken.sha256, alone=False
        )
        task = asyncio.create_task(self._in_turn(self._keeping.get(stream), keeping))
        self._keeping[stream] = task
        task.add_done_callback(lambda done: self._kept(stream, done))

    async def ended(self, job: str, error: str) -> None:
        """Nothing is left open."""

    async def close(self) -> None:
        """What was taken is noted down; nobody waits for a picture any more."""
        asked = [task for _, task in self._asked.values()]
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, *self._keeping.values(), return_exceptions=True)

    # what becomes of a picture

    async def _in_turn(self, before: asyncio.Task[None] | None, keeping: Coroutine[Any, Any, None]) -> None:
        """Pictures of different streams are stored side by side, those of one stream one after the other."""
        if before is not None:
            await asyncio.wait([before])
        await keeping

    def _kept(self, stream: StreamId, task: asyncio.Task[None]) -> None:
        if self._keeping.get(stream) is task:
            del self._keeping[stream]
        if not task.cancelled() and (fault := task.exception()) is not None:  # its file stays in the spool for the next start
            log.error("a picture could not be kept", stream="/".join(stream), exc_info=fault)

    async def _keep(
        self,
        stream: StreamId,
        path: Path,
        created_ms: int,
        place: Place,
        size_bytes: int,
        sha256: str = "",
        *,
        alone: bool = True,
    ) -> None:
        """Store a picture under its names and note it down; what cannot be stored now goes through the queue of uploads.

        alone: at once; otherwise together with the pictures of NOTE_S. The file in the spool goes last: a run that dies before
        leaves it to the next one, which does all of this again.
        """
        number = await self._number(stream) if place.sequence else 0
        kept = _Kept(stream, path, created_ms, place, sha256, number)
        for name, is_overlay in names(place.overwrite, place.sequence, *stream[1:], created_ms, number):
            taken = Taken(*stream, created_ms, is_overlay, place.endpoint, place.bucket, name, size_bytes)
            (kept.direct if await self._store(taken, path) else kept.queued).append(taken)
        if alone:
            await self._note([kept])
        else:
            await self._note_soon(kept)
        if kept.queued:
            self._center.uploads.wake()
        await remove_files([path, *kept.replaced])

    async def _note_soon(self, kept: _Kept) -> None:
        """Note a picture down together with those that come within NOTE_S."""
        self._to_note.append(kept)
        if len(self._to_note) == 1:
            self._noting = asyncio.create_task(self._note_waiting())
        assert self._noting is not None  # the first one has begun it
        await asyncio.shield(self._noting)

    async def _note_waiting(self) -> None:
        await asyncio.sleep(NOTE_S)
        pictures, self._to_note = self._to_note, []
        await self._note(pictures)

    async def _note(self, pictures: Sequence[_Kept]) -> None:
        """Note pictures down in one transaction; those of domains that were deleted a moment ago are left out."""
        try:
            async with self._center.database.write() as session:
                await self._write(session, pictures)
        except IntegrityError:
            if len(pictures) == 1:
                log.info("snapshot of a domain that is gone", stream="/".join(pictures[0].stream))
                return
            for each in pictures:
                await self._note([each])

    async def _write(self, session: AsyncSession, pictures: Sequence[_Kept]) -> None:
        direct = [(taken, kept.place.callback) for kept in pictures for taken in kept.direct]
        await note(session, [taken for taken, _ in direct], is_stored=True)
        await tell(session, direct)
        for kept in pictures:
            await note(session, kept.queued, is_stored=False)
            kept.replaced = [
                path for taken in kept.queued for path in await self._queue(session, taken, kept.path, kept.sha256)
            ]
        await note_numbers(session, {kept.stream: (kept.number, kept.created_ms / 1000) for kept in pictures if kept.number})

    async def _number(self, stream: StreamId) -> int:
        """The number of a stream's next picture. Counted here, because pictures of one stream may be taken side by side."""
        if stream not in self._numbers:
            async with self._center.database.read() as session:
                found = await numbers(session, *stream)
            self._numbers.setdefault(stream, found)
            if len(self._numbers) > NUMBERS_MAX:
                del self._numbers[next(iter(self._numbers))]
        self._numbers[stream] += 1
        return self._numbers[stream]

    async def _store(self, taken: Taken, path: Path) -> bool:
        """Store a picture at once, unless one before it still waits under the same name: they must arrive in order."""
        bucket = taken.endpoint, taken.bucket
        if (*bucket, taken.object) in self._waiting or time.monotonic() < self._away_until.get(bucket, 0.0):
            return False
        try:
            async with asyncio.timeout(DIRECT_S):
                await self._center.objects.put_file(*bucket, taken.object, path, bytes_=taken.size_bytes, content_type=JPEG)
        except (ObjectError, TimeoutError) as error:
            log.warning("a picture could not be stored", bucket=taken.bucket, key=taken.object, error=str(error))
            self._away_until[bucket] = time.monotonic() + AWAY_S
            return False
        self._away_until.pop(bucket, None)
        return True

    async def _queue(self, session: AsyncSession, taken: Taken, path: Path, sha256: str) -> list[Path]:
        """Put a picture into the queue of uploads; returns the files of those that wait there and are not wanted any more."""
        row = await row_of(session, taken)
        replaced = await drop_uploads(session, [row])
        self._waiting[taken.endpoint, taken.bucket, taken.object] = row
        self._center.uploads.enqueue(
            session,
            await asyncio.to_thread(spool.again, path, row),
            endpoint=taken.endpoint,
            bucket=taken.bucket,
            key=taken.object,
            bytes_=taken.size_bytes,
            sha256=sha256,
            owner_kind=OWNER_KIND,
            owner_id=row,
            content_type=JPEG,
        )
        return replaced

    async def _stored(self, session: AsyncSession, snapshot: int) -> None:
        await stored(session, snapshot)
        for place in [place for place, row in self._waiting.items() if row == snapshot]:
            del self._waiting[place]

    async def _queued(self) -> set[Path]:
        """The files that wait in the queue of uploads."""
        queued = select(Upload).where(Upload.node == self._center.node, Upload.owner_kind == OWNER_KIND)
        async with self._center.database.read() as session:
            uploads = list(await session.scalars(queued))
        self._waiting = {(item.endpoint, item.bucket, item.key): item.owner_id for item in uploads}
        return {Path(item.path) for item in uploads}

    async def _known(self, stream: StreamId, created_ms: int) -> bool:
        """Whether this picture, or a newer one, has been noted down: then what lies there is left over."""
        domain, app, name = stream
        newer = select(Snapshot.id).where(Snapshot.domain == domain, Snapshot.app == app, Snapshot.stream == name)
        async with self._center.database.read() as session:
            return await session.scalar(newer.where(Snapshot.created_ms >= created_ms).limit(1)) is not None

    async def _place(self, stream: StreamId) -> Place | None:
        """Where pictures of a stream go by the template of now, None if it has none."""
        domain, app, _ = stream
        async with self._center.database.read() as session:
            row = await template_of(session, domain, app)
        return None if row is None else Place(row.endpoint, row.bucket, row.overwrite, row.sequence, row.callback)

    # a picture at once

    async def _now(self, request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await request.body(), type=Now)
        except msgspec.DecodeError as fault:
            return _refusal(400, "InvalidParam", sentence(fault))
        stream = (asked.domain, asked.app, asked.stream)
        try:
            made = await self._picture(stream)
        except NoStreamError as fault:
            return _refusal(404, "InvalidStream.NotFound", str(fault))
        except PictureError as fault:
            return _refusal(503, "Snapshot.NotTaken", str(fault))
        return Response(made.data, media_type=JPEG)

    async def _picture(self, stream: StreamId) -> Picture:
        """A picture of now, one for all who ask at the same time."""
        now = time.monotonic()
        since, task = self._asked.get(stream, (0.0, None))
        if task is None or (task.done() and (now - since > REMEMBERED_S or _failed(task))):
            task = asyncio.create_task(self._make(stream))
            task.add_done_callback(_failed)  # so that the error is read even if whoever asked has left
            self._asked[stream] = now, task
            self._asked.move_to_end(stream)
            self._forget()
        return await asyncio.shield(task)

    def _forget(self) -> None:
        done = [key for key, (_, task) in self._asked.items() if task.done()]
        for key in done[: max(0, len(self._asked) - REMEMBERED)]:
            del self._asked[key]

    async def _make(self, stream: StreamId) -> Picture:
        source = await self._source(stream)
        try:
            async with asyncio.timeout(KEY_FRAME_S):
                frame = await keyframe.newest(source)
        except TimeoutError:
            raise PictureError(f"No key frame of the stream came within {KEY_FRAME_S:.0f} seconds.") from None
        except OSError as fault:
            raise NoStreamError(f"The stream cannot be read: {fault.strerror or fault}.") from None
        async with self._at_once:
            made = await once.take(frame)
        place = await self._place(stream)
        if place is not None:
            created_ms = int(time.time() * 1000) - frame.behind_ms
            path = await asyncio.to_thread(spool.write, self._center.spool, stream, created_ms, made.data)
            await self._keep(stream, path, created_ms, place, len(made.data), hashlib.sha256(made.data).hexdigest())
        return made

    async def _source(self, stream: StreamId) -> Source:
        """Where a stream, a rendition perhaps, can be read. Raises NoStreamError."""
        entry = await self._center.cluster.get(presence.stream_key(*stream))
        if entry is None:
            raise NoStreamError("The stream is not live.")
        found = presence.decode(entry.value)
        worker = await self._center.cluster.get(f"{WORKER_PREFIX}{found.node}/{found.worker}")
        if worker is None or found.node != self._center.node:
            raise NoStreamError("The stream is on a node that cannot be reached.")
        socket = msgspec.json.decode(worker.value, type=WorkerPresence).internal_socket
        return Source(*stream, session=found.session, socket=socket)


def _failed(task: asyncio.Task[Picture]) -> bool:
    return task.cancelled() or task.exception() is not None


def in_plan(plan: Plan, app: str) -> Snapshots | None:
    """The template of an app: one that names it beats one for any (reference media-plane 1.2)."""
    by_app = {template.app: template for template in plan.snapshots}
    return by_app.get(app) or by_app.get(ANY)


def _refusal(status: int, code: str, message: str) -> Response:
    return JSONResponse({"code": code, "message": message}, status)
