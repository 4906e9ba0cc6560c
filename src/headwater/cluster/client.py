"""The cluster's store as the other processes of the machine see it: over the main process's Unix socket.

The connection is restored by itself. What that means to a caller:

- A call in flight fails with ClusterGone, and so does every call until the connection is back. `take` waits instead.
- Watches start over: what exists, deletions of what has gone meanwhile, SYNCED. Subscriptions go on; events are lost.
- A lease survives if the connection is back within its TTL. Otherwise, or when the store itself was started anew, it is
  made anew with the keys and values that were last put under it: its holder owns these keys. A key that somebody else has
  put meanwhile stays theirs and leaves the lease.
- A job that was taken has gone back to its queue: its methods raise ClusterError.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import uuid
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from headwater.cluster import wire
from headwater.cluster.interface import Change, ClusterError, ClusterGone, Conflict, Entry, Event, Lease, LeaseEnded
from headwater.cluster.limits import JOB_TIMEOUT_S, check_name, check_subject, check_ttl, check_value
from headwater.cluster.told import Told

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.05
"""The first wait between two attempts to connect; a restarting main process is back within a second or so."""

BACKOFF_MAX_S = 1.0
"""Waits double up to this: a local connect costs nothing, and a worker without the store misses bans."""

RENEWALS_PER_TTL = 3
"""A lease is kept alive so often within its TTL that two renewals may come late."""

CLOSE_TIMEOUT_S = 2.0
"""How long `close` waits for the store to end the leases; they lapse anyway."""

_ERRORS: dict[str, type[ClusterError]] = {cls.__name__: cls for cls in (ClusterGone, Conflict, LeaseEnded)}

T = TypeVar("T")
R = TypeVar("R", bound=wire.Message)


class _Link:
    """One connection while it lasts: the calls in flight on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.calls: dict[int, asyncio.Future[wire.Reply]] = {}
        self.parts: dict[int, list[Entry]] = {}
        self.lost = False

    def send(self, message: wire.Message) -> None:
        """Send a message; on a lost link it is dropped, which its caller learns from the call's future."""
        if not self.lost and not self.writer.transport.is_closing():
            self.writer.write(wire.frame(message))

    async def call(self, message: wire.Message, expected: type[R]) -> R:
        """Send a request and wait for its reply. Raises ClusterError and what the store raised."""
        if self.lost:
            raise ClusterGone("the connection to the store is lost")
        future: asyncio.Future[wire.Reply] = asyncio.get_running_loop().create_future()
        self.calls[message.id] = future
        self.send(message)
        try:
            reply = await future
        finally:
            self.calls.pop(message.id, None)
            self.parts.pop(message.id, None)
        if isinstance(reply, wire.Failed):
            raise _ERRORS.get(reply.error, ClusterError)(reply.message)
        if not isinstance(reply, expected):
            raise ClusterError(f"the store answered with {type(reply).__name__}")
        return reply

    def answer(self, reply: wire.Reply) -> None:
        """Hand a reply to its call; the parts of a list are put together first. One that nobody waits for is dropped."""
        future = self.calls.get(reply.id)
        if future is None or future.done():
            return
        if isinstance(reply, wire.Entries):
            entries = self.parts.setdefault(reply.id, [])
            entries.extend(reply.entries)
            if reply.more:
                return
            reply = wire.Entries(reply.id, entries, more=False)
        future.set_result(reply)

    def lose(self) -> None:
        """The connection has ended: so have its calls."""
        self.lost = True
        self.writer.transport.abort()
        for future in self.calls.values():
            if not future.done():
                future.set_exception(ClusterGone("the connection to the store was lost"))


class _RemoteFeed(AsyncIterator[T], Generic[T]):
    """An endless iteration for one reader, pulled from the store batch by batch. One that nobody holds has ended.

    id: of its request, the same on every connection.
    """

    def __init__(self, cluster: RemoteCluster) -> None:
        self.id = cluster.next_id()
        self._cluster = cluster
        self._batch: deque[T] = deque()
        self._news = asyncio.Event()
        self._ended = False
        self._unanswered = False

    async def __anext__(self) -> T:
        while (item := self._next_ready()) is None:
            if self._ended:
                raise StopAsyncIteration
            if self._unanswered:
                self._unanswered = False
                self._cluster.pull(self.id)
            self._news.clear()
            await self._news.wait()
        return item

    def _next_ready(self) -> T | None:
        return self._batch.popleft() if self._batch else None

    def request(self) -> wire.Message:
        """The request that opens the feed on a new connection."""
        self._unanswered = False
        return self._request()

    def _request(self) -> wire.Message:
        raise NotImplementedError

    def receive(self, batch: list[T]) -> None:
        """Take a batch; the next is asked for when this one has been read."""
        self._batch.extend(batch)
        self._unanswered = True
        self._news.set()

    def end(self) -> None:
        """Nothing more will come; the reader gets what is left."""
        self._ended = True
        self._news.set()


class RemoteWatch(_RemoteFeed[Change]):
    """A watch that goes on across connections."""

    def __init__(self, cluster: RemoteCluster, prefix: str) -> None:
        super().__init__(cluster)
        self._prefix = prefix
        self._told = Told()

    def _next_ready(self) -> Change | None:
        return self._told.next_of(self._batch)

    def _request(self) -> wire.Message:
        # What was not read yet is older than what comes now.
        self._batch.clear()
        self._told.start_over()
        return wire.Watch(self.id, self._prefix)


class RemoteSubscription(_RemoteFeed[Event]):
    """A subscription that goes on across connections."""

    def __init__(self, cluster: RemoteCluster, subject: str) -> None:
        super().__init__(cluster)
        self._subject = subject

    def _request(self) -> wire.Message:
        return wire.Subscribe(self.id, self._subject)


class RemoteLease:
    """A lease that this process keeps alive; it remembers what was put under it, to put it again."""

    def __init__(self, cluster: RemoteCluster, ttl_s: float) -> None:
        self.id = uuid.uuid4().hex
        self.ttl_s = ttl_s
        self.keys: dict[str, bytes] = {}
        self._cluster = cluster

    async def revoke(self) -> None:
        """End the lease now and delete its keys. Raises ClusterGone; the lease is no longer kept alive even then."""
        await self._cluster.revoke(self)


class RemoteJob:
    """A taken job. Each method raises ClusterError once it is no longer this taker's, ClusterGone without a connection."""

    def __init__(self, cluster: RemoteCluster, link: _Link, taken: wire.Taken) -> None:
        self.id = taken.job
        self.payload = taken.payload
        self.attempt = taken.attempt
        self._cluster = cluster
        self._link = link
        self._take = taken.id

    async def keep_alive(self) -> None:
        """Say that the job still runs."""
        await self._call(wire.KeepJob(self._cluster.next_id(), self._take))

    async def done(self) -> None:
        """Finish the job: it will not be offered again."""
        await self._call(wire.FinishJob(self._cluster.next_id(), self._take, again=False))

    async def release(self) -> None:
        """Give the job back at once, for another taker."""
        await self._call(wire.FinishJob(self._cluster.next_id(), self._take, again=True))

    async def _call(self, message: wire.Message) -> None:
        if self._link.lost:
            raise ClusterError(f"job {self.id} went back to its queue when the connection was lost")
        await self._link.call(message, wire.Done)


class RemoteCluster:
    """The store behind a Unix socket (see `interface.Cluster`). Made by `connect`."""

    job_timeout_s = JOB_TIMEOUT_S

    def __init__(self, path: str) -> None:
        self._path = path
        self._ids = itertools.count(1)
        self._link: _Link | None = None
        self._ready = asyncio.Event()
        self._feeds: weakref.WeakValueDictionary[int, RemoteWatch | RemoteSubscription] = weakref.WeakValueDictionary()
        self._leases: dict[str, tuple[RemoteLease, asyncio.Task[None]]] = {}
        self._closed = False
        self._running: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, path: str) -> RemoteCluster:
        """Connect to the store that `server.serve` serves. Raises ClusterGone if nobody answers there."""
        cluster = cls(path)
        try:
            link = await cluster._open()
        except OSError as error:
            raise ClusterGone(f"no store at {path}: {error}") from error
        cluster._running = asyncio.create_task(cluster._run(link))
        await cluster._ready.wait()
        return cluster

    @property
    def connected(self) -> bool:
        """Whether calls can be carried out now."""
        return self._ready.is_set() and not self._closed

    async def wait_connected(self) -> None:
        """Wait until calls can be carried out. Raises ClusterGone after `close`."""
        await self._ready.wait()
        self._ready_link()

    # Keys

    async def get(self, key: str) -> Entry | None:
        """The entry of a key."""
        return (await self._ready_link().call(wire.Get(self.next_id(), key), wire.Found)).entry

    async def list(self, prefix: str) -> list[Entry]:
        """All entries below a prefix, sorted by key."""
        return (await self._ready_link().call(wire.List(self.next_id(), prefix), wire.Entries)).entries

    async def put(self, key: str, value: bytes, *, lease: Lease | None = None, expect_revision: int | None = None) -> int:
        """Set a key and return its revision. A put without a lease takes the key out of the lease that it had.

        Raises Conflict, LeaseEnded, ClusterGone.
        """
        check_name(key)
        check_value(value)
        holder: RemoteLease | None = None
        if lease is not None:
            if lease.id not in self._leases:
                raise LeaseEnded(f"lease {lease.id} has ended")
            holder = self._leases[lease.id][0]
        link = self._ready_link()
        lease_id = lease.id if lease is not None else ""
        message = wire.Put(self.next_id(), key, value, lease_id, expect_revision)
        try:
            revision = (await link.call(message, wire.Done)).value
        except LeaseEnded:
            # This process was suspended for longer than the TTL.
            if holder is None or holder.id not in self._leases:
                raise
            await self._keep(link, holder)
            again = wire.Put(self.next_id(), key, value, lease_id, expect_revision)
            revision = (await link.call(again, wire.Done)).value
        self._forget_key(key)
        if holder is not None:
            holder.keys[key] = value
        return revision

    async def delete(self, key: str, *, expect_revision: int | None = None) -> bool:
        """Delete a key; True if it existed. Raises Conflict, ClusterGone."""
        message = wire.Delete(self.next_id(), key, expect_revision)
        existed = (await self._ready_link().call(message, wire.Done)).value != 0
        self._forget_key(key)
        return existed

    def watch(self, prefix: str) -> RemoteWatch:
        """Watch a prefix; ends when nobody holds the iterator any more, or with `close`."""
        watch = RemoteWatch(self, prefix)
        self._start(watch)
        return watch

    # Leases

    async def lease(self, ttl_s: float) -> RemoteLease:
        """A new lease, kept alive until revoked or until this process is gone for longer than `ttl_s`."""
        check_ttl(ttl_s)
        lease = RemoteLease(self, ttl_s)
        await self._ready_link().call(wire.KeepLease(self.next_id(), lease.id, ttl_s), wire.Done)
        self._leases[lease.id] = (lease, asyncio.create_task(self._keep_alive(lease)))
        return lease

    async def revoke(self, lease: RemoteLease) -> None:
        """End a lease of this process."""
        held = self._leases.pop(lease.id, None)
        if held is None:
            return
        held[1].cancel()
        await self._ready_link().call(wire.EndLease(self.next_id(), lease.id), wire.Done)

    # Events

    async def publish(self, subject: str, payload: bytes) -> None:
        """Deliver an event to everybody who has subscribed by now."""
        check_subject(subject)
        check_value(payload)
        await self._ready_link().call(wire.Publish(self.next_id(), subject, payload), wire.Done)

    def subscribe(self, subject: str) -> RemoteSubscription:
        """Events of a subject from now on; ends when nobody holds the iterator any more, or with `close`."""
        check_name(subject)
        subscription = RemoteSubscription(self, subject)
        self._start(subscription)
        return subscription

    # Jobs

    async def offer(self, queue: str, job_id: str, payload: bytes) -> bool:
        """Put a job in a queue unless it is there already, queued or running; True if it was added."""
        check_value(payload)
        message = wire.Offer(self.next_id(), queue, job_id, payload)
        return (await self._ready_link().call(message, wire.Done)).value != 0

    async def withdraw(self, queue: str, job_id: str) -> bool:
        """Remove a job, queued or running; True if it existed."""
        return (await self._ready_link().call(wire.Withdraw(self.next_id(), queue, job_id), wire.Done)).value != 0

    async def take(self, queue: str) -> RemoteJob:
        """Wait for a job and take it, across lost connections. Raises ClusterGone after `close`."""
        while True:
            await self._ready.wait()
            link = self._ready_link()
            message = wire.Take(self.next_id(), queue)
            try:
                return RemoteJob(self, link, await link.call(message, wire.Taken))
            except ClusterGone:
                if self._closed:
                    raise
            except asyncio.CancelledError:
                link.send(wire.Cancel(message.id))
                raise

    async def close(self) -> None:
        """End the leases of this process and the connection: feeds end, later calls get ClusterGone."""
        if self._closed:
            return
        self._closed = True
        leases = [*self._leases.values()]
        self._leases.clear()
        link = self._link
        for _, task in leases:
            task.cancel()
        if link is not None and self._ready.is_set():
            with suppress(ClusterError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    for lease, _ in leases:
                        await link.call(wire.EndLease(self.next_id(), lease.id), wire.Done)
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        for feed in [*self._feeds.values()]:
            feed.end()
        self._ready.set()  # whoever waits in take learns from the closed link

    # Inside

    def next_id(self) -> int:
        """An id for a request."""
        return next(self._ids)

    def pull(self, feed_id: int) -> None:
        """Ask for the next batch of a feed; without a connection, the feed is opened again when there is one."""
        if self._link is not None:
            self._link.send(wire.Next(feed_id))

    def _ready_link(self) -> _Link:
        if self._closed or self._link is None or not self._ready.is_set():
            raise ClusterGone("there is no connection to the store")
        return self._link

    def _start(self, feed: RemoteWatch | RemoteSubscription) -> None:
        if self._closed:
            raise ClusterGone("the connection to the store is closed")
        self._feeds[feed.id] = feed
        loop = asyncio.get_running_loop()
        # The collector may run in any thread, and after the loop has ended.
        weakref.finalize(feed, _call_in, loop, self._cancel, feed.id).atexit = False
        if self._link is not None:
            self._link.send(feed.request())

    def _cancel(self, feed_id: int) -> None:
        if self._link is not None:
            self._link.send(wire.Cancel(feed_id))

    def _forget_key(self, key: str) -> None:
        for lease, _ in self._leases.values():
            lease.keys.pop(key, None)

    async def _open(self) -> _Link:
        return _Link(*await asyncio.open_unix_connection(self._path))

    async def _run(self, link: _Link) -> None:
        """Own the connection: read it, and restore it, until closed."""
        while True:
            self._link = link
            restoring = asyncio.create_task(self._restore(link))
            try:
                await self._read(link)
            finally:
                self._link = None
                self._ready.clear()
                link.lose()
                restoring.cancel()
                await asyncio.gather(restoring, return_exceptions=True)
            log.warning("the connection to the cluster's store is lost")
            link = await self._reopen()
            log.info("the connection to the cluster's store is back")

    async def _read(self, link: _Link) -> None:
        """Hand out replies until the connection ends."""
        with suppress(asyncio.IncompleteReadError, OSError, wire.ProtocolError):
            while True:
                self._hand_out(link, await wire.read_reply(link.reader))

    def _hand_out(self, link: _Link, reply: wire.Reply) -> None:
        """Give a reply to whom it is for. (Not in the loop of `_read`, whose frame would keep the last feed alive.)"""
        match reply:
            case wire.Changes():
                watch = self._feeds.get(reply.id)
                if isinstance(watch, RemoteWatch):
                    watch.receive(reply.changes)
            case wire.Events():
                subscription = self._feeds.get(reply.id)
                if isinstance(subscription, RemoteSubscription):
                    subscription.receive(reply.events)
            case _:
                link.answer(reply)

    async def _reopen(self) -> _Link:
        wait_s = BACKOFF_FIRST_S
        while True:
            # Half of the wait is random, so that the workers of a machine do not all come at once.
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
            try:
                return await self._open()
            except OSError:
                wait_s = min(wait_s * 2, BACKOFF_MAX_S)

    async def _restore(self, link: _Link) -> None:
        """Bring back feeds and leases on a new connection, before any call."""
        for feed in [*self._feeds.values()]:
            link.send(feed.request())
        try:
            for lease, _ in [*self._leases.values()]:
                await self._keep(link, lease)
        except ClusterError as error:
            log.warning("the connection to the cluster's store could not be restored: %s", error)
            link.lose()
        else:
            self._ready.set()

    async def _keep(self, link: _Link, lease: RemoteLease) -> None:
        """Keep a lease alive; if it was lost, put its keys again, except those that somebody else has put meanwhile."""
        kept = await link.call(wire.KeepLease(self.next_id(), lease.id, lease.ttl_s), wire.Done)
        if kept.value:
            return
        log.warning("lease %s was lost and is made anew with %d keys", lease.id, len(lease.keys))
        for key, value in [*lease.keys.items()]:
            try:
                await link.call(wire.Put(self.next_id(), key, value, lease.id, 0), wire.Done)
            except Conflict:
                if lease.keys.get(key) is value:
                    del lease.keys[key]
                    log.warning("key %s of lease %s belongs to somebody else now", key, lease.id)

    async def _keep_alive(self, lease: RemoteLease) -> None:
        while True:
            await asyncio.sleep(lease.ttl_s / RENEWALS_PER_TTL)
            if self._link is not None and self._ready.is_set():
                try:
                    await self._keep(self._link, lease)
                except ClusterError as error:
                    log.warning("lease %s could not be kept alive: %s", lease.id, error)


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[int], None], argument: int) -> None:
    """Call a function on a loop from any thread; not at all once the loop has ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, argument)
