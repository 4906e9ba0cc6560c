"""The cluster's store in the memory of the main process: all that one machine needs.

Everything happens on one event loop and every operation is a plain step of it, so there are no locks. Time comes from
the `clock` given at construction; one timer of the loop calls `expire` when the next lease or job may have ended.
"""

from __future__ import annotations

import asyncio
import bisect
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from headwater.cluster.interface import (
    SYNCED,
    Change,
    ClusterError,
    ClusterGone,
    Conflict,
    Entry,
    Event,
    Lease,
    LeaseEnded,
)
from headwater.cluster.limits import (
    EVENT_QUEUE_MAX,
    JOB_TIMEOUT_S,
    WATCH_QUEUE_MAX,
    check_name,
    check_subject,
    check_ttl,
    check_value,
)
from headwater.cluster.told import Told

T = TypeVar("T")


class Feed(AsyncIterator[T], Generic[T]):
    """An endless iteration for one reader. The store refers to it weakly: a feed that nobody holds has ended."""

    def __init__(self, home: WeakSet[Any]) -> None:
        self._home = home
        home.add(self)
        self._queue: deque[T] = deque()
        self._ended = False
        self._news = asyncio.Event()

    async def __anext__(self) -> T:
        while (item := self.next_ready()) is None:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return item

    def next_ready(self) -> T | None:
        """The next item if there is one now."""
        return self._queue.popleft() if self._queue else None

    def end(self) -> None:
        """Nothing more will come, and the store forgets it; the reader gets what is left."""
        self._home.discard(self)
        self._ended = True
        self._news.set()


class Watch(Feed[Change]):
    """One watch: what exists, then a bounded queue of changes; when that overflows, it starts over with what exists.

    What exists is taken from the store as the reader goes on, not all at once: there may be a million keys. Meanwhile only
    changes of keys that the reader has passed are queued, for the others are still to come.
    """

    def __init__(self, home: WeakSet[Watch], prefix: str, snapshot: Callable[[str], Iterator[Change]]) -> None:
        super().__init__(home)
        self._prefix = prefix
        self._snapshot = snapshot
        self._existing: Iterator[Change] | None = None
        self._first: deque[Change] = deque()
        self._passed = ""
        self._behind = True
        self._told = Told()

    def next_ready(self) -> Change | None:
        """The next change if there is one now."""
        if self._behind and not self._ended:
            self._told.start_over()
            self._existing = self._snapshot(self._prefix)
            self._passed = ""
            self._behind = False
        if self._existing is not None and not self._first:
            change = next(self._existing)
            self._first.append(change)
            if change.key == SYNCED:
                self._existing = None
            else:
                self._passed = change.key
        return self._told.next_of(self._first or self._queue)

    def notify(self, change: Change) -> None:
        """Take note of a change in the store."""
        if self._behind or not change.key.startswith(self._prefix):
            return
        if self._existing is not None and change.key > self._passed:
            return
        if len(self._queue) >= WATCH_QUEUE_MAX:
            self._queue.clear()
            self._first.clear()
            self._behind = True
        else:
            self._queue.append(change)
            self._news.set()


class Subscription(Feed[Event]):
    """One subscription: a bounded queue of events; when it overflows the oldest are lost."""

    def __init__(self, home: WeakSet[Subscription], pattern: str) -> None:
        super().__init__(home)
        self._pattern = pattern
        self._queue = deque(maxlen=EVENT_QUEUE_MAX)

    def notify(self, event: Event) -> None:
        """Take note of a published event."""
        below = self._pattern.endswith(".>") and event.subject.startswith(self._pattern[:-1])
        if below or event.subject == self._pattern:
            self._queue.append(event)
            self._news.set()


class EmbeddedLease:
    """A lease by its id. One that the store's own process took lives until revoked: it cannot be gone without the store."""

    def __init__(self, cluster: EmbeddedCluster, lease_id: str) -> None:
        self.id = lease_id
        self._cluster = cluster

    async def revoke(self) -> None:
        """End the lease now and delete its keys."""
        self._cluster.end_lease(self.id)


class EmbeddedJob:
    """A job as its taker holds it. Each method raises ClusterError once the job is no longer this taker's."""

    def __init__(self, cluster: EmbeddedCluster, queue: str, record: JobRecord) -> None:
        self.id = record.id
        self.payload = record.payload
        self.attempt = record.attempt
        self._cluster = cluster
        self._queue = queue
        self._record = record

    async def keep_alive(self) -> None:
        """Say that the job still runs."""
        self._cluster.keep_job(self._queue, self._record, self.attempt)

    async def done(self) -> None:
        """Finish the job: it will not be offered again."""
        self._cluster.finish_job(self._queue, self._record, self.attempt, again=False)

    async def release(self) -> None:
        """Give the job back at once, for another taker."""
        self._cluster.finish_job(self._queue, self._record, self.attempt, again=True)


class _LeaseRecord:
    """A lease in the store; `ends_at` is None for one of the store's own process."""

    def __init__(self, ends_at: float | None) -> None:
        self.ends_at = ends_at
        self.keys: set[str] = set()


class JobRecord:
    """A job in the store; `ends_at` is when its taker must have been heard of, None while it is queued."""

    def __init__(self, job_id: str, payload: bytes) -> None:
        self.id = job_id
        self.payload = payload
        self.attempt = 0
        self.ends_at: float | None = None


class _Queue:
    """The jobs of one queue in the order in which they are given out, and who waits for one."""

    def __init__(self) -> None:
        self.waiting: dict[str, JobRecord] = {}
        self.running: dict[str, JobRecord] = {}
        self.takers: deque[asyncio.Future[None]] = deque()

    def wake_taker(self) -> None:
        """Tell the first taker that still waits that there may be a job."""
        for taker in self.takers:
            if not taker.done():
                taker.set_result(None)
                return


class EmbeddedCluster:
    """The store itself (see `interface.Cluster`). Prefixes are plain string prefixes; revisions go on across restarts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, job_timeout_s: float = JOB_TIMEOUT_S) -> None:
        self.job_timeout_s = job_timeout_s
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        # All keys, sorted: a prefix is read in O(log n + its own keys); an insert moves pointers in C, half a millisecond for
        # a million keys.
        self._keys: list[str] = []
        self._lease_of: dict[str, str] = {}
        self._leases: dict[str, _LeaseRecord] = {}
        self._watches: WeakSet[Watch] = WeakSet()
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._queues: dict[str, _Queue] = {}
        # The wall clock in microseconds, so that a store that was started anew has higher revisions than the one before:
        # a client that was there before cannot mistake a new entry for the one it knew.
        self._revision = time.time_ns() // 1000
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._closed = False

    # Keys

    async def get(self, key: str) -> Entry | None:
        """The entry of a key."""
        self._check_open()
        return self._entries.get(key)

    async def list(self, prefix: str) -> list[Entry]:
        """All entries below a prefix, sorted by key."""
        self._check_open()
        return [*self._below(prefix)]

    async def put(self, key: str, value: bytes, *, lease: Lease | None = None, expect_revision: int | None = None) -> int:
        """Set a key and return its revision. A put without a lease takes the key out of the lease that it had.

        Raises Conflict, LeaseEnded.
        """
        self._check_open()
        check_name(key)
        check_value(value)
        if lease is not None and lease.id not in self._leases:
            raise LeaseEnded(f"lease {lease.id} has ended")
        self._check_revision(key, expect_revision)
        if key not in self._entries:
            bisect.insort(self._keys, key)
        self._detach(key)
        if lease is not None:
            self._leases[lease.id].keys.add(key)
            self._lease_of[key] = lease.id
        revision = self._next_revision()
        self._entries[key] = Entry(key, value, revision)
        self._notify(Change(key, value, revision))
        return revision

    async def delete(self, key: str, *, expect_revision: int | None = None) -> bool:
        """Delete a key; True if it existed. Raises Conflict."""
        self._check_open()
        self._check_revision(key, expect_revision)
        return self._remove(key)

    def watch(self, prefix: str) -> Watch:
        """Watch a prefix; ends when nobody holds the iterator any more."""
        self._check_open()
        return Watch(self._watches, prefix, self._snapshot)

    # Leases

    async def lease(self, ttl_s: float) -> EmbeddedLease:
        """A lease of the store's own process."""
        self._check_open()
        check_ttl(ttl_s)
        lease_id = uuid.uuid4().hex
        self._leases[lease_id] = _LeaseRecord(None)
        return EmbeddedLease(self, lease_id)

    def keep_lease(self, lease_id: str, ttl_s: float) -> bool:
        """Make another process's lease last `ttl_s` from now. False if it did not exist (any more) and was made anew."""
        self._check_open()
        check_name(lease_id)
        check_ttl(ttl_s)
        self.expire()
        ends_at = self._clock() + ttl_s
        known = self._leases.get(lease_id)
        if known is None:
            self._leases[lease_id] = _LeaseRecord(ends_at)
        else:
            known.ends_at = ends_at
        self._arm(ends_at)
        return known is not None

    def end_lease(self, lease_id: str) -> None:
        """End a lease, if it is there, and delete its keys."""
        record = self._leases.pop(lease_id, None)
        if record is not None:
            for key in sorted(record.keys):
                self._remove(key)

    # Events

    async def publish(self, subject: str, payload: bytes) -> None:
        """Deliver an event to everybody who has subscribed by now."""
        self._check_open()
        check_subject(subject)
        check_value(payload)
        event = Event(subject, payload)
        for subscription in self._subscriptions:
            subscription.notify(event)

    def subscribe(self, subject: str) -> Subscription:
        """Events of a subject from now on; ends when nobody holds the iterator any more."""
        self._check_open()
        check_name(subject)
        return Subscription(self._subscriptions, subject)

    # Jobs

    async def offer(self, queue: str, job_id: str, payload: bytes) -> bool:
        """Put a job in a queue unless it is there already, queued or running; True if it was added."""
        self._check_open()
        check_name(queue)
        check_name(job_id)
        check_value(payload)
        jobs = self._queues.setdefault(queue, _Queue())
        if job_id in jobs.waiting or job_id in jobs.running:
            return False
        jobs.waiting[job_id] = JobRecord(job_id, payload)
        jobs.wake_taker()
        return True

    async def withdraw(self, queue: str, job_id: str) -> bool:
        """Remove a job, queued or running; True if it existed."""
        self._check_open()
        jobs = self._queues.get(queue)
        if jobs is None:
            return False
        existed = jobs.waiting.pop(job_id, None) or jobs.running.pop(job_id, None)
        self._forget_if_empty(queue)
        return existed is not None

    async def take(self, queue: str) -> EmbeddedJob:
        """Wait for a job and take it. Raises ClusterGone when the store closes."""
        self._check_open()
        check_name(queue)
        while not (jobs := self._queues.setdefault(queue, _Queue())).waiting:
            await self._turn(queue, jobs)
            self._check_open()
        record = jobs.waiting.pop(next(iter(jobs.waiting)))
        record.attempt += 1
        record.ends_at = self._clock() + self.job_timeout_s
        jobs.running[record.id] = record
        self._arm(record.ends_at)
        return EmbeddedJob(self, queue, record)

    def keep_job(self, queue: str, record: JobRecord, attempt: int) -> None:
        """Make a running job last `job_timeout_s` from now. Raises ClusterError if it is not this attempt's any more."""
        self._check_running(queue, record, attempt)
        record.ends_at = self._clock() + self.job_timeout_s

    def finish_job(self, queue: str, record: JobRecord, attempt: int, *, again: bool) -> None:
        """End a running job or queue it again. Raises ClusterError if it is not this attempt's any more."""
        self._check_running(queue, record, attempt)
        del self._queues[queue].running[record.id]
        if again:
            self._requeue(queue, record)
        self._forget_if_empty(queue)

    # Time

    def expire(self) -> None:
        """End the leases that were not kept and return the jobs whose takers were not heard of, as of the clock's time."""
        now = self._clock()
        for lease_id in [i for i, lease in self._leases.items() if lease.ends_at is not None and lease.ends_at <= now]:
            self.end_lease(lease_id)
        for name, jobs in self._queues.items():
            for record in [job for job in jobs.running.values() if job.ends_at is not None and job.ends_at <= now]:
                del jobs.running[record.id]
                self._requeue(name, record)

    def sizes(self) -> dict[str, int]:
        """How much of everything the store holds, for metrics."""
        return {
            "keys": len(self._entries),
            "leases": len(self._leases),
            "watches": len(self._watches),
            "subscriptions": len(self._subscriptions),
            "queues": len(self._queues),
        }

    async def close(self) -> None:
        """End everything: watches and subscriptions end, takers and later calls get ClusterGone."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for watch in [*self._watches]:
            watch.end()
        for subscription in [*self._subscriptions]:
            subscription.end()
        for jobs in self._queues.values():
            for taker in jobs.takers:
                if not taker.done():
                    taker.set_result(None)

    # Inside

    def _check_open(self) -> None:
        if self._closed:
            raise ClusterGone("the store is closed")

    def _next_revision(self) -> int:
        self._revision += 1
        return self._revision

    def _check_revision(self, key: str, expected: int | None) -> None:
        entry = self._entries.get(key)
        found = entry.revision if entry is not None else 0
        if expected is not None and expected != found:
            raise Conflict(f"{key} has revision {found}, not {expected}")

    def _below(self, prefix: str) -> Iterator[Entry]:
        for index in range(bisect.bisect_left(self._keys, prefix), len(self._keys)):
            key = self._keys[index]
            if not key.startswith(prefix):
                return
            yield self._entries[key]

    def _snapshot(self, prefix: str) -> Iterator[Change]:
        """What exists, in the order of keys, then SYNCED. Keys may come and go while the reader rests."""
        index = bisect.bisect_left(self._keys, prefix)
        while index < len(self._keys) and (key := self._keys[index]).startswith(prefix):
            entry = self._entries[key]
            yield Change(key, entry.value, entry.revision)
            if index < len(self._keys) and self._keys[index] == key:
                index += 1
            else:
                index = bisect.bisect_right(self._keys, key)
        yield Change(SYNCED, None, self._revision)

    def _notify(self, change: Change) -> None:
        for watch in self._watches:
            watch.notify(change)

    def _detach(self, key: str) -> None:
        lease_id = self._lease_of.pop(key, None)
        if lease_id is not None and lease_id in self._leases:
            self._leases[lease_id].keys.discard(key)

    def _remove(self, key: str) -> bool:
        if self._entries.pop(key, None) is None:
            return False
        del self._keys[bisect.bisect_left(self._keys, key)]
        self._detach(key)
        self._notify(Change(key, None, self._next_revision()))
        return True

    def _check_running(self, queue: str, record: JobRecord, attempt: int) -> None:
        self._check_open()
        jobs = self._queues.get(queue)
        if jobs is None or jobs.running.get(record.id) is not record or record.attempt != attempt:
            raise ClusterError(f"job {record.id} of {queue} was withdrawn or has gone to another taker")

    async def _turn(self, queue: str, jobs: _Queue) -> None:
        """Wait until woken because there may be a job. A taker that is cancelled just then passes the news on."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        jobs.takers.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                jobs.wake_taker()
            raise
        finally:
            jobs.takers.remove(turn)
            self._forget_if_empty(queue)

    def _requeue(self, queue: str, record: JobRecord) -> None:
        record.ends_at = None
        jobs = self._queues[queue]
        jobs.waiting[record.id] = record
        jobs.wake_taker()

    def _forget_if_empty(self, queue: str) -> None:
        jobs = self._queues.get(queue)
        if jobs is not None and not (jobs.waiting or jobs.running or jobs.takers):
            del self._queues[queue]

    def _arm(self, ends_at: float) -> None:
        """See to it that `expire` runs when the clock shows this time."""
        if self._timer is not None:
            if self._timer_at <= ends_at:
                return
            self._timer.cancel()
        self._timer_at = ends_at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, ends_at - self._clock()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.expire()
        ends = [lease.ends_at for lease in self._leases.values()]
        ends += [job.ends_at for jobs in self._queues.values() for job in jobs.running.values()]
        if known := [end for end in ends if end is not None]:
            self._arm(min(known))
