"""The DNS process: follows names and nodes in the cluster's store, and listens.

It runs by itself, so that a flood of queries can take nothing but its own time from API and media.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog

from headwater.access.certificate import DNS_TXT_PREFIX
from headwater.access.places import Places, PlacesError
from headwater.access.policy import POLICY_PREFIX, Scope
from headwater.cluster.client import RemoteCluster
from headwater.cluster.interface import SYNCED, Change, Cluster, ClusterError, Lease
from headwater.cluster.nodes import NODE_PREFIX, NodeList, Role
from headwater.dns import metrics
from headwater.dns.answers import Responder
from headwater.dns.config import DNS_PREFIX, DnsConfig, DnsPresence
from headwater.dns.limiter import Limiter
from headwater.dns.tcp import TcpListener
from headwater.dns.udp import UdpListener
from headwater.dns.zone import Target, Zone, ZoneError
from headwater.observe import heartbeat
from headwater.settings import listen_address

LEASE_S = 5.0
"""A server that is gone for so long is forgotten."""

SETTLE_S = 0.1
"""Changes that come together are taken together: each makes the ready answers stale."""

REFRESH_S = 10.0
"""How often the operator's files are looked at for changes."""

LIMIT_WINDOW_S = 1.0

ROLES: dict[str, Role] = {"liveEdge": "ingest", "liveVideo": "edge"}
"""Which nodes a domain leads to, by its type: the nearest for pushes, or the nearest for plays."""

log = structlog.get_logger()


class _Policy(msgspec.Struct):
    """What DNS reads of an `access.policy.Policy`."""

    domain: str
    type: Literal["liveEdge", "liveVideo"]
    scope: Scope = "domestic"


class DnsServer:
    """The parts of the process, wired."""

    def __init__(self, config: DnsConfig, cluster: Cluster, loop: asyncio.AbstractEventLoop) -> None:
        """Raises ZoneError and PlacesError."""
        settings = config.settings
        self.config = config
        self.cluster = cluster
        self.loop = loop
        self.places = Places(settings.places)
        self.zone = Zone(settings.domains.cname_zone, settings.dns, config.addresses, _serial())
        self.nodes = NodeList(cluster, self._changed)
        limiter = Limiter(settings.dns.same_answers_per_s, settings.dns.answers_per_s)
        self.responder = Responder(self.zone, settings.dns, self.places, self.nodes.nodes.values, limiter)
        self.udp: UdpListener | None = None
        self.tcp: TcpListener | None = None
        self.failed: asyncio.Future[None] = loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._settling: asyncio.TimerHandle | None = None
        self._door: asyncio.Server | None = None
        self._records_file = Path(settings.dns.records) if settings.dns.records else None
        self._records_stamp = self._stamp()

    async def start(self) -> None:
        """Learn every name and node, listen, and say so. Raises OSError if a port cannot be had."""
        lease = await self.cluster.lease(LEASE_S)
        await asyncio.gather(
            self._follow(POLICY_PREFIX, self._policy),
            self._follow(DNS_TXT_PREFIX, self._texts),
            self._follow(NODE_PREFIX, self.nodes.apply),
        )
        address = listen_address(self.config.settings.listen.dns)
        assert address is not None  # the process is only started with one
        self.udp = UdpListener(address, self.responder.answer_udp, self.loop)
        self.tcp = TcpListener(self.responder.answer_tcp, self.loop)
        await self.tcp.start(address)
        self.udp.start()
        self._door = await metrics.serve(self.config.internal_socket, lambda: metrics.families(self))
        self._every(LIMIT_WINDOW_S, self.responder.limiter.next_window)
        self._every(REFRESH_S, self._refresh)
        await self._announce(lease)

    async def stop(self) -> None:
        """Stop listening and following."""
        for listener in (self.udp, self.tcp, self._door):
            if listener is not None:
                listener.close()
        for timer in (*self._timers.values(), *filter(None, [self._settling])):
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.places.close()

    async def _announce(self, lease: Lease) -> None:
        await self.cluster.put(DNS_PREFIX + self.config.node, msgspec.json.encode(DnsPresence(os.getpid())), lease=lease)

    # what the cluster tells

    async def _follow(self, prefix: str, apply: Callable[[str, bytes | None], None]) -> None:
        """Start to follow a prefix; returns once everything that existed has been applied."""
        changes = self.cluster.watch(prefix)
        async for change in changes:
            if change.key == SYNCED:
                break
            apply(change.key, change.value)
        self._own(self._keep_following(changes, apply))

    async def _keep_following(self, changes: AsyncIterator[Change], apply: Callable[[str, bytes | None], None]) -> None:
        async for change in changes:
            if change.key != SYNCED:
                apply(change.key, change.value)
                self._changed()

    def _policy(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.zone.set_target(key.removeprefix(POLICY_PREFIX), None)
            return
        policy = msgspec.json.decode(value, type=_Policy)
        self.zone.set_target(policy.domain, Target(ROLES[policy.type], policy.scope))

    def _texts(self, key: str, value: bytes | None) -> None:
        texts: list[str] | None = None
        if value is not None:
            try:
                texts = msgspec.json.decode(value, type=list[str])
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log.warning("texts of a name cannot be read", key=key, error=str(error))
        self.zone.set_texts(key.removeprefix(DNS_TXT_PREFIX), texts)

    def _changed(self) -> None:
        if self._settling is None:
            self._settling = self.loop.call_later(SETTLE_S, self._settle)

    def _settle(self) -> None:
        self._settling = None
        self.responder.changed()

    # what it does by itself

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        def run() -> None:
            self._timers[work.__name__] = self.loop.call_later(seconds, run)
            work()

        self._timers[work.__name__] = self.loop.call_later(seconds, run)

    def _refresh(self) -> None:
        try:
            if self.places.refresh():
                self.responder.changed(places=True)
                log.info("places read again")
            stamp = self._stamp()
            if stamp != self._records_stamp:
                self._records_stamp = stamp
                self.zone.load_fixed(_serial())
                self.responder.changed()
                log.info("records read again")
        except (PlacesError, ZoneError) as error:
            log.warning("a changed file cannot be used; what it said before holds", error=str(error))

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self._records_file.stat() if self._records_file is not None else None
        except OSError:
            status = None
        return None if status is None else (status.st_mtime_ns, status.st_size)

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task for the life of the process. One that fails ends it: it would answer with what is long gone."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and not self.failed.done():
            self.failed.set_exception(task.exception() or ClusterError("a watch ended"))


def _serial() -> int:
    """The zone's serial number: when it was read."""
    return int(time.time())


async def run(config: DnsConfig) -> None:
    """Answer until SIGTERM or SIGINT, or until the main process is gone (end of file on standard input).

    Raises OSError, ZoneError, PlacesError and ClusterError.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    parent_gone = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), parent_gone.set)
    cluster = await RemoteCluster.connect(config.cluster_socket)
    try:
        server = DnsServer(config, cluster, loop)
        try:
            await server.start()
            # Names are many, long-lived and free of cycles: looking through them for garbage would only cost.
            gc.collect()
            gc.freeze()
            heartbeat.begin(loop)
            log.info("dns ready", pid=os.getpid(), zone=config.settings.domains.cname_zone, names=len(server.zone.targets))
            waits = [loop.create_task(stopping.wait()), loop.create_task(parent_gone.wait())]
            ends: list[asyncio.Future[Any]] = [*waits, server.failed]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if server.failed.done():
                server.failed.result()
            log.info("dns stops", reason="asked to" if stopping.is_set() else "the main process is gone")
        finally:
            await server.stop()
    finally:
        loop.remove_reader(sys.stdin.fileno())
        await cluster.close()
