"""What nodes and processes share: keys with leases, watches, events and jobs. One interface, several implementations.

Keys are slash-separated paths such as `policy/play.example.com`; values are bytes. `cluster.embedded` implements it in
memory and over a Unix socket for one machine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec


class ClusterError(Exception):
    """The store could not do what was asked."""


class ClusterGone(ClusterError):
    """The connection to the store is lost; the client reconnects by itself, the call was not carried out for certain."""


class Conflict(ClusterError):
    """A conditional put found another revision than the expected one."""


class LeaseEnded(ClusterError):
    """The lease under which a key was to be put has ended."""


# `gc=False`: they hold nothing that could refer to them, and a million of them would make each garbage collection take long.


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One key with its value. `revision` grows with every change anywhere in the store."""

    key: str
    value: bytes
    revision: int


class Change(msgspec.Struct, frozen=True, gc=False):
    """One step of a watch: `value` is None when the key was deleted or its lease ended.

    `key` is "" for the one change that says: everything that existed when the watch began (or began again after a lost
    connection) has been delivered. Whatever a watcher knew before and was not delivered again by then is gone.
    """

    key: str
    value: bytes | None
    revision: int


SYNCED = ""
"""The `Change.key` that ends the initial part of a watch."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """A message published on a subject; delivered at most once to each present subscriber."""

    subject: str
    payload: bytes


class Job(Protocol):
    """A taken job. It returns to the queue when its taker disappears or lets `keep_alive` lapse."""

    id: str
    payload: bytes
    attempt: int
    """1 for the first taker."""

    async def keep_alive(self) -> None:
        """Say that the job still runs; must be called at least every `Cluster.job_timeout_s` seconds."""

    async def done(self) -> None:
        """Finish the job: it will not be offered again."""

    async def release(self) -> None:
        """Give the job back at once, for another taker."""


class Lease(Protocol):
    """A promise to be alive: its keys vanish when it ends. The implementation keeps it alive by itself."""

    id: str

    async def revoke(self) -> None:
        """End the lease now and delete its keys."""


class Cluster(Protocol):
    """The store as every process sees it."""

    job_timeout_s: float

    async def get(self, key: str) -> Entry | None: ...

    async def list(self, prefix: str) -> list[Entry]:
        """All entries below a prefix, sorted by key."""

    async def put(self, key: str, value: bytes, *, lease: Lease | None = None, expect_revision: int | None = None) -> int:
        """Set a key and return its revision. `expect_revision=0` means: only if it does not exist. Raises Conflict."""

    async def delete(self, key: str, *, expect_revision: int | None = None) -> bool:
        """Delete a key; True if it existed. Raises Conflict."""

    def watch(self, prefix: str) -> AsyncIterator[Change]:
        """First what exists below the prefix, then one SYNCED change, then every change, in order, until closed.

        After a lost connection the watch goes on by itself and starts over with what exists and a SYNCED change.
        """

    async def lease(self, ttl_s: float) -> Lease:
        """A new lease, kept alive until revoked or until this process is gone for longer than `ttl_s`."""

    async def publish(self, subject: str, payload: bytes) -> None: ...

    def subscribe(self, subject: str) -> AsyncIterator[Event]:
        """Events of a subject; `prefix.>` subscribes to all below a prefix."""

    async def offer(self, queue: str, job_id: str, payload: bytes) -> bool:
        """Put a job in a queue unless one with this id is queued or running there; True if it was added."""

    async def withdraw(self, queue: str, job_id: str) -> bool:
        """Remove a job, queued or running; True if it existed. A running taker learns it from `keep_alive` (ClusterError)."""

    async def take(self, queue: str) -> Job:
        """Wait for a job and take it."""

    async def close(self) -> None: ...
