"""Tells the center which renditions this worker's viewers want, with keys under the worker's lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from headwater.access.demand import want_key
from headwater.cluster.interface import Cluster, ClusterError, Lease
from headwater.delivery.renditions import Demanded
from headwater.node.config import WorkerConfig

RETRY_S = 0.5
"""How long to wait when the store cannot be reached."""

log = structlog.get_logger()


class Wants:
    """Keeps `want/...` keys in step with what viewers want. wanted: says what that is now."""

    def __init__(self, cluster: Cluster, lease: Lease, config: WorkerConfig, wanted: Callable[[], set[Demanded]]) -> None:
        self._cluster = cluster
        self._lease = lease
        self._config = config
        self._wanted = wanted
        self._told: set[Demanded] = set()
        self._news = asyncio.Event()

    def look(self) -> None:
        """Viewers may want something else now."""
        if self._wanted() != self._told:
            self._news.set()

    async def run(self) -> None:
        """Keep the store in step, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._tell()
            except ClusterError as error:
                log.warning("wanted renditions could not be told", error=str(error))
                self._news.set()
                await asyncio.sleep(RETRY_S)

    async def _tell(self) -> None:
        wanted = self._wanted()
        for demanded in self._told - wanted:
            await self._cluster.delete(self._key(demanded))
            self._told.discard(demanded)
        for demanded in wanted - self._told:
            await self._cluster.put(self._key(demanded), b"", lease=self._lease)
            self._told.add(demanded)

    def _key(self, demanded: Demanded) -> str:
        source, template = demanded
        return want_key(*source, template, self._config.node, self._config.index)
