"""The queue of uploads: carries finished files from this node into the object store, and tells whoever owns them.

A file is in the queue from the very transaction in which its owner's row says that it exists. It is removed here only after the
store has confirmed it and the owner's row says so; whatever dies in between is taken up again at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from sqlalchemy import and_, func, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.store.database import Database
from headwater.store.models import Upload
from headwater.store.objects import ObjectError, ObjectStores

RETRY_FIRST_S, RETRY_FACTOR, RETRY_MAX_S = 5.0, 2.0, 600.0
"""Pauses after failures. A store that is back after a night gets everything within ten minutes; no file is ever given up."""

AWAY_S = 5.0
"""Rest of a bucket that fails. While it rests none of its files is tried, and then one to begin with: thousands of files for a
store that is away must not stand in the way of those for one that answers."""

LOOK_S = 5.0
"""How often the queue is looked at, even without news: operators change it in the database (`domains.uploads`)."""

HASH_BYTES = 1024 * 1024
"""Read at once for a checksum."""

MISSING = "the local file is missing"

Place = tuple[str, str]
"""Endpoint and bucket."""

Handler = Callable[[AsyncSession, int], Awaitable[None]]
"""Told, inside the transaction that notes it, that the file of the owner's row with this id is stored."""

log = structlog.get_logger()


class Uploads:
    """One queue for all kinds of files of a node; `register` every owner_kind before `start`.

    node: this node's id; other nodes that share the database have files and queues of their own. now_s: unix seconds.
    """

    def __init__(
        self, database: Database, stores: ObjectStores, node: str, *, at_once: int = 4, now_s: Callable[[], float] = time.time
    ) -> None:
        self._node = node
        self._database = database
        self._stores = stores
        self._at_once = at_once
        self._now_s = now_s
        self._handlers: dict[str, Handler] = {}
        self._news = asyncio.Event()
        self._busy: dict[int, Upload] = {}
        self._away: dict[Place, float] = {}  # buckets that fail, and until when they rest
        self._carrying: set[asyncio.Task[None]] = set()
        self._putting: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def register(self, owner_kind: str, stored: Handler) -> None:
        """Who is told of stored files of this kind."""
        self._handlers[owner_kind] = stored

    def enqueue(
        self,
        session: AsyncSession,
        path: Path,
        *,
        endpoint: str,
        bucket: str,
        key: str,
        bytes_: int,
        sha256: str,
        owner_kind: str,
        owner_id: int,
        content_type: str = "application/octet-stream",
    ) -> None:
        """Put a complete file of this node into the queue, within the caller's transaction. Call `wake` after it.

        bytes_, sha256 (hex): of its content, which must not change any more.
        """
        now_s = self._now_s()
        session.add(
            Upload(
                node=self._node,
                path=str(path),
                endpoint=endpoint,
                bucket=bucket,
                key=key,
                content_type=content_type,
                bytes=bytes_,
                sha256=sha256,
                owner_kind=owner_kind,
                owner_id=owner_id,
                state="waiting",
                tries=0,
                next_try_s=now_s,
                error="",
                created_s=now_s,
            )
        )

    def wake(self) -> None:
        """Look at the queue now."""
        self._news.set()

    def start(self) -> None:
        """Begin to carry, with what an earlier run has left."""
        self._task = asyncio.create_task(self._run(), name="uploads")

    async def close(self) -> None:
        """Stop; uploads that run are cut off, and begin again with the next start.

        What speaks to the database is let finish: a call of it that is cancelled may leave its thread behind.
        """
        self._closing.set()
        self._news.set()
        for putting in self._putting:
            putting.cancel()
        await asyncio.gather(*self._carrying, *([self._task] if self._task is not None else []), return_exceptions=True)

    async def waiting(self) -> int:
        """How many files are not stored yet, those that were given up left out."""
        async with self._database.read() as session:
            query = select(func.count()).select_from(Upload).where(Upload.node == self._node, Upload.state == "waiting")
            return await session.scalar(query) or 0

    async def _run(self) -> None:
        while not self._closing.is_set():
            self._news.clear()
            more = False
            try:
                more = await self._begin_due()
            except Exception:  # the top of this task: a database that fails now may be back later
                log.exception("the queue of uploads could not be read")
            if not more and not self._closing.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), LOOK_S)

    async def _begin_due(self) -> bool:
        """Begin as many uploads as may run at once; whether it is worth while to look again at once."""
        room = self._at_once - len(self._busy)
        if room <= 0:
            return False  # the end of one is news
        now_s = self._now_s()
        busy = list(self._busy.values())
        testing = {(each.endpoint, each.bucket) for each in busy} & self._away.keys()
        async with self._database.read() as session:
            query = select(Upload).where(Upload.node == self._node, Upload.state.in_(("waiting", "stored")))
            # what is due later than any pause lasts was noted before the clock went back
            query = query.where(or_(Upload.next_try_s <= now_s, Upload.next_try_s > now_s + RETRY_MAX_S))
            # the file before it under the same name must be done with first, or it might be the last to arrive
            query = query.where(Upload.id.not_in([each.id for each in busy]), Upload.key.not_in([each.key for each in busy]))
            for endpoint, bucket in testing | self._resting(now_s):
                query = query.where(not_(and_(Upload.endpoint == endpoint, Upload.bucket == bucket)))
            found = (await session.scalars(query.order_by(Upload.next_try_s, Upload.id).limit(room + 1))).all()
        for upload in found[:room]:
            place = upload.endpoint, upload.bucket
            if place in testing or any(upload.key == each.key for each in self._busy.values()):
                continue
            if place in self._away:
                testing.add(place)
            if self._closing.is_set():
                return False
            task = asyncio.create_task(self._carry(upload), name=f"upload {upload.id}")
            self._busy[upload.id] = upload
            self._carrying.add(task)
            task.add_done_callback(functools.partial(self._done, upload.id))
        return len(found) > room

    def _done(self, upload: int, task: asyncio.Task[None]) -> None:
        del self._busy[upload]
        self._carrying.discard(task)
        self._news.set()

    async def _carry(self, upload: Upload) -> None:
        path = Path(upload.path)
        try:
            if self._closing.is_set():
                return
            if upload.state == "waiting":
                putting = asyncio.create_task(self._put(upload, path))
                self._putting.add(putting)
                putting.add_done_callback(self._putting.discard)
                await asyncio.wait([putting])
                if putting.cancelled():
                    return  # by `close`
                putting.result()
                self._away.pop((upload.endpoint, upload.bucket), None)
                async with self._database.write() as session:
                    row = await session.get(Upload, upload.id)
                    if row is None or row.state != "waiting":
                        return  # given up, or removed with its owner, meanwhile
                    row.state = "stored"
                    handler = self._handlers.get(row.owner_kind)
                    if handler is not None:
                        await handler(session, row.owner_id)
            await asyncio.to_thread(path.unlink, missing_ok=True)
            async with self._database.write() as session:
                row = await session.get(Upload, upload.id)
                if row is not None:
                    await session.delete(row)
            log.info("file stored", bucket=upload.bucket, key=upload.key, bytes=upload.bytes, tries=upload.tries + 1)
        except ObjectError as error:
            await self._failed(upload, str(error))
        except Exception as error:  # the top of this task
            log.exception("an upload failed", bucket=upload.bucket, key=upload.key)
            await self._failed(upload, f"{type(error).__name__}: {error}")

    async def _put(self, upload: Upload, path: Path) -> None:
        if not await asyncio.to_thread(path.is_file):
            # stored by a run that died before it could say so, or lost
            if await self._stores.size(upload.endpoint, upload.bucket, upload.key) == upload.bytes:
                return
            raise ObjectError(MISSING)
        if (
            upload.sha256
            and self._stores.is_remote(upload.endpoint)
            and await asyncio.to_thread(sha256_of, path) != upload.sha256
        ):
            raise ObjectError("the local file has changed since it was made")
        try:
            await self._stores.put_file(
                upload.endpoint, upload.bucket, upload.key, path, bytes_=upload.bytes, content_type=upload.content_type
            )
        except Exception:
            self._away[upload.endpoint, upload.bucket] = self._now_s() + AWAY_S
            raise

    def _resting(self, now_s: float) -> set[Place]:
        """Buckets that are left alone. A rest that is longer than any was noted before the clock went back."""
        return {place for place, until_s in self._away.items() if 0 < until_s - now_s <= AWAY_S}

    async def _failed(self, upload: Upload, reason: str) -> None:
        pause_s = min(RETRY_FIRST_S * RETRY_FACTOR**upload.tries, RETRY_MAX_S)
        log.warning("a file could not be stored", bucket=upload.bucket, key=upload.key, error=reason, again_in_s=pause_s)
        try:
            async with self._database.write() as session:
                row = await session.get(Upload, upload.id)
                if row is not None and row.state != "given_up":
                    row.tries += 1
                    row.error = reason
                    row.next_try_s = self._now_s() + pause_s
        except Exception as error:  # a database that fails, too: the row is still due, and must not be carried on and on
            log.warning("the queue of uploads cannot be written", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), RETRY_FIRST_S)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(HASH_BYTES):
            digest.update(data)
    return digest.hexdigest()
