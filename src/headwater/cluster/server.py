"""Serves the main process's store to the other processes of the machine on a Unix socket."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from headwater.cluster import wire
from headwater.cluster.embedded import EmbeddedCluster, EmbeddedJob, EmbeddedLease, Feed
from headwater.cluster.interface import Change, ClusterError, ClusterGone, Entry, Event

T = TypeVar("T")

log = logging.getLogger(__name__)

OPEN_MAX = 4096
"""Watches, subscriptions, takes and jobs of one connection. A worker has a dozen; this stops one that forgets to end them."""

ITEM_BYTES = 64
"""What an entry, change or event needs in a frame besides its name and value, at most."""

SOCKET_MODE = 0o600
"""The store holds signing keys and obeys whoever reaches it: the socket is for the same user alone."""


async def serve(cluster: EmbeddedCluster, path: str) -> ClusterServer:
    """Listen on a Unix socket. A socket file that nobody listens on any more is replaced. Raises ClusterError."""
    listener, inode = _bind(Path(path))
    server = ClusterServer(cluster, Path(path), inode)
    await server.start(listener)
    return server


class ClusterServer:
    """The listener and its connections."""

    def __init__(self, cluster: EmbeddedCluster, path: Path, inode: int) -> None:
        self._cluster = cluster
        self._path = path
        self._inode = inode
        self._server: asyncio.Server | None = None
        self.connections: dict[Connection, asyncio.Task[None]] = {}

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on a bound socket."""
        self._server = await asyncio.start_unix_server(self._accept, sock=listener)

    async def close(self) -> None:
        """Stop listening and drop every connection. Their leases stay until they lapse; the store stays open."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drop()
        await asyncio.gather(*self.connections.values(), return_exceptions=True)
        with suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self._cluster, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self.connections[connection] = task
        try:
            await connection.run()
        finally:
            del self.connections[connection]


class Connection:
    """One process that uses the store. Its jobs return when it is gone; its leases stay until they lapse."""

    def __init__(self, cluster: EmbeddedCluster, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._cluster = cluster
        self._reader = reader
        self._writer = writer
        # What stays open under its request id: watches, subscriptions and takes as tasks; the first two with their feed
        # and the event that says Next; a take that has succeeded becomes a job.
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._feeds: dict[int, tuple[Feed[Any], asyncio.Event]] = {}
        self._jobs: dict[int, EmbeddedJob] = {}

    def drop(self) -> None:
        """End the connection now."""
        self._writer.transport.abort()

    async def run(self) -> None:
        """Carry out requests in their order until the connection ends."""
        try:
            while True:
                request = await wire.read_request(self._reader)
                try:
                    await self._carry_out(request)
                except ClusterError as error:
                    await self._send(wire.Failed(request.id, type(error).__name__, str(error)))
        except (asyncio.IncompleteReadError, OSError):
            pass
        except wire.ProtocolError as error:
            log.warning("cluster connection dropped: %s", error)
        finally:
            self.drop()
            tasks = [*self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for job in self._jobs.values():
                await _release(job)

    async def _carry_out(self, request: wire.Request) -> None:
        """Do what is asked and send the reply. Raises ClusterError."""
        match request:
            case wire.Get():
                await self._send(wire.Found(request.id, await self._cluster.get(request.key)))
            case wire.List():
                await self._send_entries(request.id, await self._cluster.list(request.prefix))
            case wire.Watch():
                self._check_id(request.id)
                self._open_feed(request.id, self._cluster.watch(request.prefix), _change_bytes, wire.Changes)
            case wire.Subscribe():
                self._check_id(request.id)
                self._open_feed(request.id, self._cluster.subscribe(request.subject), _event_bytes, wire.Events)
            case wire.Take():
                self._check_id(request.id)
                self._open(request.id, self._send_job(request.id, request.queue))
            case wire.Next():
                if request.id in self._feeds:
                    self._feeds[request.id][1].set()
            case wire.Cancel():
                await self._cancel(request.id)
            case _:
                await self._send(wire.Done(request.id, int(await self._change(request))))

    async def _change(self, request: wire.ChangeRequest) -> int:
        """Do what changes the store; the number to answer, if there is one. Raises ClusterError."""
        cluster = self._cluster
        match request:
            case wire.Put():
                lease = EmbeddedLease(cluster, request.lease) if request.lease else None
                return await cluster.put(request.key, request.value, lease=lease, expect_revision=request.expect_revision)
            case wire.Delete():
                return await cluster.delete(request.key, expect_revision=request.expect_revision)
            case wire.KeepLease():
                return cluster.keep_lease(request.lease, request.ttl_s)
            case wire.EndLease():
                cluster.end_lease(request.lease)
            case wire.Publish():
                await cluster.publish(request.subject, request.payload)
            case wire.Offer():
                return await cluster.offer(request.queue, request.job, request.payload)
            case wire.Withdraw():
                return await cluster.withdraw(request.queue, request.job)
            case wire.KeepJob():
                await self._job(request.take).keep_alive()
            case wire.FinishJob():
                job = self._job(request.take)
                del self._jobs[request.take]
                await (job.release() if request.again else job.done())
        return 0

    async def _send(self, reply: wire.Reply) -> None:
        self._writer.write(wire.frame(reply))
        # A client that does not read its replies is not read either.
        await self._writer.drain()

    def _job(self, take: int) -> EmbeddedJob:
        job = self._jobs.get(take)
        if job is None:
            raise ClusterError("the job is no longer this taker's")
        return job

    def _check_id(self, request_id: int) -> None:
        if request_id in self._tasks or request_id in self._jobs:
            raise ClusterError(f"request id {request_id} is in use")
        if len(self._tasks) + len(self._jobs) >= OPEN_MAX:
            raise ClusterError(f"more than {OPEN_MAX} watches, subscriptions, takes and jobs")

    def _open(self, request_id: int, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[request_id] = task
        task.add_done_callback(lambda _: self._ended(request_id))

    def _open_feed(
        self, request_id: int, feed: Feed[T], size_of: Callable[[T], int], reply: Callable[[int, list[T]], wire.Reply]
    ) -> None:
        wanted = asyncio.Event()
        self._feeds[request_id] = feed, wanted
        self._open(request_id, self._send_feed(request_id, feed, wanted, size_of, reply))

    def _ended(self, request_id: int) -> None:
        del self._tasks[request_id]
        if request_id in self._feeds:
            self._feeds.pop(request_id)[0].end()

    async def _cancel(self, request_id: int) -> None:
        task = self._tasks.get(request_id)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        job = self._jobs.pop(request_id, None)
        if job is not None:
            await _release(job)

    async def _send_entries(self, request_id: int, entries: list[Entry]) -> None:
        part: list[Entry] = []
        size = 0
        for entry in entries:
            part.append(entry)
            size += ITEM_BYTES + len(entry.key) + len(entry.value)
            if size >= wire.BATCH_BYTES:
                await self._send(wire.Entries(request_id, part, more=True))
                part, size = [], 0
        await self._send(wire.Entries(request_id, part, more=False))

    async def _send_feed(
        self,
        request_id: int,
        feed: Feed[T],
        wanted: asyncio.Event,
        size_of: Callable[[T], int],
        reply: Callable[[int, list[T]], wire.Reply],
    ) -> None:
        try:
            async for first in feed:
                batch, size = [first], size_of(first)
                while size < wire.BATCH_BYTES and (item := feed.next_ready()) is not None:
                    batch.append(item)
                    size += size_of(item)
                await self._send(reply(request_id, batch))
                await wanted.wait()
                wanted.clear()
        except OSError:
            pass
        # The store is closed, or the connection lost: either way the client has to come again.
        self.drop()

    async def _send_job(self, request_id: int, queue: str) -> None:
        try:
            job = await self._cluster.take(queue)
            self._jobs[request_id] = job
            await self._send(wire.Taken(request_id, job.id, job.payload, job.attempt))
        except (ClusterGone, OSError):
            self.drop()


async def _release(job: EmbeddedJob) -> None:
    with suppress(ClusterError):  # withdrawn or lapsed meanwhile
        await job.release()


def _change_bytes(change: Change) -> int:
    return ITEM_BYTES + len(change.key) + len(change.value or b"")


def _event_bytes(event: Event) -> int:
    return ITEM_BYTES + len(event.subject) + len(event.payload)


def _bind(path: Path) -> tuple[socket.socket, int]:
    """A socket bound to `path`, and the file's inode. It does not listen yet, so nobody can come in before its mode is set."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            if _answers(path):
                raise ClusterError(f"another process serves {path}")
            path.unlink()
        listener.bind(str(path))
        path.chmod(SOCKET_MODE)
        inode = path.stat().st_ino
    except (OSError, ClusterError) as error:
        listener.close()
        if isinstance(error, ClusterError):
            raise
        raise ClusterError(f"cannot serve {path}: {error}") from error
    listener.setblocking(False)
    return listener, inode


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True
