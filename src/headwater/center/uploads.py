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
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.store.database import Database
from headwater.store.models import Upload
from headwater.store.objects import ObjectError, ObjectStores

RETRY_FIRST_S, RETRY_FACTOR, RETRY_MAX_S = 5.0, 2.0, 600.0
"""Pauses after failures. A store that is back after a night gets everything within ten minutes; no file is ever given up."""

HASH_BYTES = 1024 * 1024
"""Read at once for a checksum."""

MISSING = "the local file is missing"

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
        self._busy: dict[int, str] = {}  # keys by id
        self._carrying: set[asyncio.Task[None]] = set()
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
        """Stop; uploads that run are cut off, and begin again with the next start."""
        tasks = [*self._carrying, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def waiting(self) -> int:
        """How many files are not stored yet, those that were given up left out."""
        async with self._database.read() as session:
            query = select(func.count()).select_from(Upload).where(Upload.node == self._node, Upload.state == "waiting")
            return await session.scalar(query) or 0

    async def _run(self) -> None:
        while True:
            self._news.clear()
            pause_s = RETRY_FIRST_S
            try:
                pause_s = await self._begin_due()
            except Exception:  # the top of this task: a database that fails now may be back later
                log.exception("the queue of uploads could not be read")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), pause_s)

    async def _begin_due(self) -> float:
        """Begin as many uploads as may run at once; seconds until the next one is due."""
        room = self._at_once - len(self._busy)
        if room <= 0:
            return RETRY_MAX_S  # the end of one is news
        async with self._database.read() as session:
            query = select(Upload).where(Upload.node == self._node, Upload.state.in_(("waiting", "stored")))
            # the file before it under the same name must be done with first, or it might be the last to arrive
            query = query.where(Upload.id.not_in(list(self._busy)), Upload.key.not_in(list(self._busy.values())))
            found = (await session.scalars(query.order_by(Upload.next_try_s, Upload.id).limit(room + 1))).all()
        now_s = self._now_s()
        for upload in found[:room]:
            if upload.next_try_s > now_s:
                return upload.next_try_s - now_s
            if upload.key in self._busy.values():
                continue
            task = asyncio.create_task(self._carry(upload), name=f"upload {upload.id}")
            self._busy[upload.id] = upload.key
            self._carrying.add(task)
            task.add_done_callback(functools.partial(self._done, upload.id))
        return max(found[-1].next_try_s - now_s, 0.0) if len(found) > room else RETRY_MAX_S

    def _done(self, upload: int, task: asyncio.Task[None]) -> None:
        del self._busy[upload]
        self._carrying.discard(task)
        self._news.set()

    async def _carry(self, upload: Upload) -> None:
        path = Path(upload.path)
        try:
            if upload.state == "waiting":
                await self._put(upload, path)
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
        await self._stores.put_file(
            upload.endpoint, upload.bucket, upload.key, path, bytes_=upload.bytes, content_type=upload.content_type
        )

    async def _failed(self, upload: Upload, reason: str) -> None:
        pause_s = min(RETRY_FIRST_S * RETRY_FACTOR**upload.tries, RETRY_MAX_S)
        log.warning("a file could not be stored", bucket=upload.bucket, key=upload.key, error=reason, again_in_s=pause_s)
        with contextlib.suppress(Exception):  # a database that fails, too: the queue is read again in RETRY_MAX_S at the latest
            async with self._database.write() as session:
                row = await session.get(Upload, upload.id)
                if row is not None and row.state != "given_up":
                    row.tries += 1
                    row.error = reason
                    row.next_try_s = self._now_s() + pause_s


async def give_up(session: AsyncSession, upload: int) -> Upload | None:
    """An operator gives up on an upload: it is not tried again, and the local file stays. None if there is no such upload."""
    row = await session.get(Upload, upload)
    if row is not None:
        row.state = "given_up"
    return row


async def try_again(session: AsyncSession, upload: int, now_s: float) -> Upload | None:
    """An operator wants an upload to be tried now, given up or not; `Uploads.wake` begins at once."""
    row = await session.get(Upload, upload)
    if row is not None:
        row.state = "waiting"
        row.next_try_s = now_s
    return row


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(HASH_BYTES):
            digest.update(data)
    return digest.hexdigest()
