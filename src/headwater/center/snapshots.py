"""The snapshot department: which streams are pictured, what becomes of the pictures, and a picture at once for who asks."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog
from sqlalchemy import select
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
from headwater.domains.snapshots import OWNER_KIND, note, remove_files, stored
from headwater.store.models import Snapshot, SnapshotTemplate, Upload

KEY_FRAME_S = 12.0
"""How long a picture at once waits for a key frame: encoders are commonly set to one in ten seconds at most."""

AT_ONCE = 2
"""Pictures that are made for askers at the same time; the others wait. Each takes a core for a third of a second."""

REMEMBERED = 64
REMEMBERED_S = 2.0
"""A picture that was just made is good for everybody who asks: this many, for so long."""

JPEG = "image/jpeg"

log = structlog.get_logger()


class Now(msgspec.Struct, frozen=True):
    """The question for a picture at once (POST /snapshot/now)."""

    domain: str
    app: str
    stream: str


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
        self.routes: Sequence[BaseRoute] = [Route("/snapshot/now", self._now, methods=["POST"])]
        center.uploads.register(OWNER_KIND, stored)

    async def start(self) -> None:
        """Take up the pictures that an earlier run has written and not noted down."""
        async with self._center.database.read() as session:
            queued = select(Upload.path).where(Upload.node == self._center.node, Upload.owner_kind == OWNER_KIND)
            keep = {Path(path) for path in await session.scalars(queued)}
        for path, stream, created_ms in spool.left(self._center.spool):
            place = await self._place(stream)
            if place is not None and not await self._known(stream, created_ms):
                await self._keep(stream, path, created_ms, place)
        async with self._center.database.read() as session:
            keep |= {Path(path) for path in await session.scalars(queued)}
        await asyncio.to_thread(spool.clean, self._center.spool, keep)

    def needs(self, stream: StreamPresence, plan: Plan) -> Collection[str]:
        """None: pictures are of the source stream."""
        return ()

    def wanted(self, stream: StreamPresence, plan: Plan, granted: Mapping[str, float]) -> list[Wanted]:
        """One job for a stream whose app has a template."""
        template = template_of(plan, stream.app)
        if template is None:
            return []
        place = Place(template.endpoint, template.bucket, template.overwrite, template.sequence)
        spec = msgspec.json.encode(SnapshotSpec(template.interval_s, place))
        return [Wanted(f"{stream.domain}/{stream.app}/{stream.stream}", spec)]

    async def told(self, job: str, event: msgspec.Raw) -> None:
        """A picture was taken."""
        taken = msgspec.json.decode(event, type=PictureTaken)
        stream = (taken.domain, taken.app, taken.stream)
        await self._keep(stream, Path(taken.path), taken.created_ms, taken.place, taken.sha256)

    async def ended(self, job: str, error: str) -> None:
        """Nothing is left open."""

    async def close(self) -> None:
        """Nobody waits for a picture any more."""
        tasks = [task for _, task in self._asked.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # what becomes of a picture

    async def _keep(self, stream: StreamId, path: Path, created_ms: int, place: Place, sha256: str = "") -> None:
        """Note a picture down and put it into the queue of uploads, in one transaction; `path` is its own name of the file."""
        size_bytes = (await asyncio.to_thread(path.stat)).st_size
        replaced: list[Path] = []
        async with self._center.database.write() as session:
            written = await note(
                session,
                *stream,
                created_ms,
                size_bytes,
                endpoint=place.endpoint,
                bucket=place.bucket,
                overwrite=place.overwrite,
                sequence=place.sequence,
            )
            for item in written:
                replaced += item.replaced
                self._center.uploads.enqueue(
                    session,
                    await asyncio.to_thread(spool.again, path, item.id),
                    endpoint=place.endpoint,
                    bucket=place.bucket,
                    key=item.object,
                    bytes_=size_bytes,
                    sha256=sha256,
                    owner_kind=OWNER_KIND,
                    owner_id=item.id,
                    content_type=JPEG,
                )
        self._center.uploads.wake()
        await remove_files([path, *replaced])

    async def _known(self, stream: StreamId, created_ms: int) -> bool:
        """Whether this picture, or a newer one, has been noted down: then what lies there is left over."""
        domain, app, name = stream
        newer = select(Snapshot.id).where(Snapshot.domain == domain, Snapshot.app == app, Snapshot.stream == name)
        async with self._center.database.read() as session:
            return await session.scalar(newer.where(Snapshot.created_ms >= created_ms).limit(1)) is not None

    async def _place(self, stream: StreamId) -> Place | None:
        """Where pictures of a stream go by the template of now, None if it has none."""
        async with self._center.database.read() as session:
            row = await _template(session, stream)
            return None if row is None else Place(row.endpoint, row.bucket, row.overwrite, row.sequence)

    # a picture at once

    async def _now(self, request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await request.body(), type=Now)
        except msgspec.DecodeError as fault:
            return _refusal(400, "InvalidParam", str(fault))
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
            await self._keep(stream, path, created_ms, place, hashlib.sha256(made.data).hexdigest())
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


def template_of(plan: Plan, app: str) -> Snapshots | None:
    """The template of an app: one that names it beats one for any (reference media-plane 1.2)."""
    by_app = {template.app: template for template in plan.snapshots}
    return by_app.get(app) or by_app.get(ANY)


async def _template(session: AsyncSession, stream: StreamId) -> SnapshotTemplate | None:
    domain, app, _ = stream
    return await session.get(SnapshotTemplate, (domain, app)) or await session.get(SnapshotTemplate, (domain, ANY))


def _refusal(status: int, code: str, message: str) -> Response:
    return JSONResponse({"code": code, "message": message}, status)
