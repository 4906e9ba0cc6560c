"""Collects usage: asks every media worker what its domains received and sent, and hands on what has grown since.

A worker tells sums since its start, so an answer that is lost or comes twice changes nothing. What a worker counted since it
was last asked is lost with it if it dies: one interval at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
import structlog

from headwater.observe.exposition import WorkerSilent, ask_worker
from headwater.observe.traffic import Traffic, WorkerUsage

COLLECT_S = 60.0
"""How often workers are asked: a fifth of a recorded point, so little is lost with a worker and points are drawn sharply."""

USAGE_ANSWER_MAX_BYTES = 64 * 1024 * 1024
"""Half a million domains in use on one worker; more is a fault."""

log = structlog.get_logger()


Read = Callable[[], Awaitable[WorkerUsage]]
"""Asks a worker. Raises WorkerSilent."""

Record = Callable[[float, float, Mapping[str, Traffic]], Awaitable[None]]
"""Adds what domains received and sent between two unix times."""


def worker_usage(internal_socket: str) -> Read:
    """Asks the worker behind this Unix socket."""

    async def read() -> WorkerUsage:
        body = await ask_worker(internal_socket, "/usage", USAGE_ANSWER_MAX_BYTES)
        try:
            return msgspec.json.decode(body, type=WorkerUsage)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise WorkerSilent(f"{type(error).__name__}: {error}") from error

    return read


class UsageCollector:
    """Keeps in mind what each worker has told, and records the difference. clock: unix seconds."""

    def __init__(self, workers: Sequence[Read], record: Record, clock: Callable[[], float] = time.time) -> None:
        now_s = clock()
        self._sources = [_Source(read, now_s) for read in workers]
        self._record = record
        self._clock = clock

    async def run(self) -> None:
        """Collect at every full minute, so that spans seldom cross a point's border; until cancelled."""
        while True:
            await asyncio.sleep(COLLECT_S - self._clock() % COLLECT_S)
            await self.collect()

    async def collect(self) -> None:
        """Ask all workers now. One that is silent is asked again the next time, and loses nothing by that."""
        await asyncio.gather(*(self._collect(source) for source in self._sources))

    async def _collect(self, source: _Source) -> None:
        try:
            said = await source.read()
        except WorkerSilent as error:
            log.warning("usage not collected", error=str(error))
            return
        now_s = self._clock()
        growth = source.growth(said)
        if growth:
            await self._record(min(source.at_s, now_s), now_s, growth)
        source.at_s, source.said = now_s, said


class _Source:
    """One worker: when it was asked, and what it said."""

    def __init__(self, read: Read, now_s: float) -> None:
        self.read = read
        self.at_s = now_s
        self.said = WorkerUsage("", {})

    def growth(self, said: WorkerUsage) -> dict[str, Traffic]:
        """What has grown; a new process begins at nothing, and so does a domain that was missing."""
        before = self.said.domains if said.run == self.said.run else {}
        none = Traffic()
        growth = {name: traffic - before.get(name, none) for name, traffic in said.domains.items()}
        return {name: traffic for name, traffic in growth.items() if traffic != none}
