"""Announces who pushes the streams that several publishers may push at once, each under a number of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import structlog

from headwater.access.presence import UpstreamPresence, upstream_key
from headwater.cluster.interface import Cluster, ClusterError, Conflict, Lease
from headwater.ingest.session import PublishSession
from headwater.node.config import WorkerConfig

UPSTREAMS_MAX = 4
"""Publishers of one stream at once: the service speaks of two; two more leave room for one that is being replaced."""

RETRY_S = 0.5
"""How long to wait when the store cannot be reached."""

log = structlog.get_logger()


class Upstreams:
    """Keeps `upstream/...` keys under the worker's lease. on_number: told when a session has got its number."""

    def __init__(
        self, cluster: Cluster, lease: Lease, config: WorkerConfig, on_number: Callable[[PublishSession], None]
    ) -> None:
        self._cluster = cluster
        self._lease = lease
        self._config = config
        self._on_number = on_number
        self._wanted: set[PublishSession] = set()
        self._told: dict[PublishSession, str] = {}
        self._news = asyncio.Event()

    def changed(self, session: PublishSession) -> None:
        """A session has begun or ended, or its domain's switch has been changed."""
        wanted = not session.ended and session.stream.options.multi_stream and not session.product
        if wanted != (session in self._wanted):
            (self._wanted.add if wanted else self._wanted.discard)(session)
            self._news.set()

    async def run(self) -> None:
        """Keep the store in step with who pushes, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._tell()
            except ClusterError as error:
                log.warning("publishers could not be announced", error=str(error))
                self._news.set()
                await asyncio.sleep(RETRY_S)

    async def _tell(self) -> None:
        for session in [session for session in self._told if session not in self._wanted]:
            await self._cluster.delete(self._told[session])
            del self._told[session]
            session.upstream = 0
        for session in [session for session in self._wanted if session not in self._told]:
            await self._announce(session)

    async def _announce(self, session: PublishSession) -> None:
        presence = UpstreamPresence(
            session.id, session.request.client.origin, session.published_at, self._config.node, self._config.index
        )
        value = msgspec.json.encode(presence)
        for number in range(1, UPSTREAMS_MAX + 1):
            key = upstream_key(*session.stream.key, number)
            with contextlib.suppress(Conflict):  # the number is another publisher's
                await self._cluster.put(key, value, lease=self._lease, expect_revision=0)
                self._told[session] = key
                session.upstream = number
                self._on_number(session)
                return
        self._wanted.discard(session)
        session.cut(f"the stream has {UPSTREAMS_MAX} publishers already")
