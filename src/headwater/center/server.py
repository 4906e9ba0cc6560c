"""The live center's process: follows streams, plans and demand, runs the departments' jobs, and answers whoever asks.

It answers over HTTP on a Unix socket that only this machine's processes reach:

| request | answer |
|---|---|
| GET /metrics | JSON, a list of observe.families.Family |
| GET /jobs | JSON, a list of cluster.centers.JobPresence |
| others | the departments' own |
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headwater.access import plan as plans
from headwater.access import presence
from headwater.access.demand import WANT_PREFIX, Refused, refused_key
from headwater.access.plan import PLAN_PREFIX, Plan
from headwater.access.presence import STREAM_PREFIX, WORKER_PREFIX, StreamPresence, WorkerPresence
from headwater.center import metrics
from headwater.center.config import CenterConfig
from headwater.center.delays import Delays
from headwater.center.department import Center, Department, Standing, StreamId, Wanted
from headwater.center.edges import Edges
from headwater.center.hosts import Hosts, reap_left_behind
from headwater.center.jobs import NO_SOURCE, Setup
from headwater.center.manager import JobId, KeptPlan, Load, Manager, RenditionId
from headwater.center.recording import RecordingDepartment
from headwater.center.shifts import Shifts
from headwater.center.snapshots import SnapshotDepartment
from headwater.center.transcoding import Transcoding
from headwater.center.uploads import Uploads
from headwater.cluster.centers import CENTER_PREFIX, JOB_PREFIX, CenterPresence, JobPresence
from headwater.cluster.client import RemoteCluster
from headwater.cluster.interface import SYNCED, Change, Cluster, ClusterError, Lease
from headwater.observe import heartbeat
from headwater.observe.machine import MachineLoad
from headwater.settings import Acme, Objects, Settings, SharedClaims
from headwater.store.database import Database
from headwater.store.objects import ObjectStores

DEPARTMENTS: tuple[Callable[[Center], Department], ...] = (
    Transcoding,
    RecordingDepartment,
    SnapshotDepartment,
    Shifts,
    Delays,
    Edges,
)
"""All departments, in the order of their start."""

KEPT_PREFIX = "kept-plan/"
"""Keys `kept-plan/<node>/<domain>/<app>/<stream>` with a KeptPlan. They are not leased: a center that is started anew
goes on with the plans of the sessions that it finds."""

LEASE_S = 5.0
"""A center that is gone for so long is forgotten, with its jobs and refusals."""

TICK_S = 0.5
"""How often deadlines, hung processes and the machine's load are looked at."""

SETTLE_S = 0.02
"""Changes that come together are decided about together."""

SHARE = 0.1
"""Decisions take at most about this share of the time: with thousands of streams they are made less often."""

TELL_S = 2.0
"""How often the state of jobs is put into the store: people and Prometheus read it, nobody decides by it."""

TOLD_PER_S = 100
"""Jobs whose state is told in a second, at most: nearly all of them change all the time."""

FINISH_S = 22.0
"""How long jobs may take at the center's end; their own processes give them 20 s (process.FINISH_S)."""

LEFT_BEHIND_S = 5.0
"""How long jobs of a center that was killed may take to end by themselves: they have lost their standard input already."""

NETWORK_MBPS = 10**9
"""The network's load is none of the center's business: no machine's is as fast as this."""

SPARE_SHARE = 0.1
"""Of the machine's cores, kept free of new renditions: what runs needs more for a difficult scene, and viewers come and go."""

LOADS = 3
"""The busiest of so many readings counts: a moment's rest is no room for a rendition that runs for hours."""

PROCESSES = "processes"
"""The folder in the spool in which job processes are noted: it must outlive this process, and the whole node's."""

log = structlog.get_logger()


class CenterServer:
    """The parts of the process, wired; it is the `Center` of its departments."""

    def __init__(
        self,
        config: CenterConfig,
        cluster: Cluster,
        database: Database,
        loop: asyncio.AbstractEventLoop,
        departments: Sequence[Callable[[Center], Department]] = DEPARTMENTS,
    ) -> None:
        self.node = config.node
        self.settings = config.settings
        self.database = database
        self.cluster = cluster
        self.spool = config.spool
        self.objects = ObjectStores(config.settings)
        self.uploads = Uploads(database, self.objects, config.node, at_once=config.settings.objects.uploads_at_once)
        self.departments = [make(self) for make in departments]
        center = config.settings.center
        self.manager = Manager(self.departments, node=config.node, cores_max=center.transcode_cores, idle_s=center.idle_s)
        self._notes = self.spool / PROCESSES
        setup = Setup(for_jobs(config.settings), str(self.spool))
        self.hosts = Hosts(self.departments, setup, self._notes)
        self.refused: dict[RenditionId, Refused] = {}
        self.refusals: Counter[str] = Counter()
        self.failed: asyncio.Future[None] = loop.create_future()
        self._config = config
        self._loop = loop
        self._machine = MachineLoad(NETWORK_MBPS)
        self._loads: deque[float] = deque(maxlen=LOADS)
        self._free_cores = math.inf
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lease: Lease
        self._told_jobs: dict[str, bytes] = {}
        self._told_refused: dict[str, bytes] = {}
        self._kept: dict[str, bytes] = {}
        self._told_kept: dict[str, bytes] = {}
        self._exits = contextlib.AsyncExitStack()

    # Center

    def stream(self, stream: StreamId) -> StreamPresence | None:
        """A source stream that is live on this node now."""
        return self.manager.stream(stream)

    def streams(self) -> Collection[StreamPresence]:
        """All of them."""
        return self.manager.streams()

    def plan(self, domain: str) -> Plan:
        """What a domain's plan says now; an empty one if it has none."""
        return self.manager.plan(domain)

    def again(self, stream: StreamId) -> None:
        """Ask the departments about a stream again."""
        self.manager.again(stream)
        self._news.set()

    def resume(self, stream: StreamId, kind: str, wanted: Wanted, gone_at: float) -> None:
        """Let a job of a stream that has gone linger for the rest of its time."""
        self.manager.resume(stream, kind, wanted, gone_at)

    def stand(self, kind: str, jobs: Collection[Standing]) -> None:
        """Let exactly these jobs of a department run, beside those of streams."""
        self.manager.standing_changed(kind, jobs)
        self._news.set()

    async def ask(self, kind: str, job: str, question: object) -> msgspec.Raw:
        """Ask a running job. Raises AskFailed."""
        return await self.hosts.ask(kind, job, question)

    def restart(self, kind: str, job: str) -> None:
        """Let a running job finish and begin anew. Raises AskFailed."""
        self.hosts.restart(kind, job)

    # its life

    async def start(self) -> None:
        """Take up what is left, learn what is live and planned, answer, begin to work, and say so."""
        self.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._notes.mkdir(mode=0o700, parents=True, exist_ok=True)
        await reap_left_behind(self._notes, LEFT_BEHIND_S)
        self._exits.push_async_callback(self.uploads.close)
        for department in self.departments:
            await department.start()
            self._exits.push_async_callback(department.close)
        self.uploads.start()
        self._exits.push_async_callback(self._end_jobs)
        self._lease = await self.cluster.lease(LEASE_S)
        for entry in await self.cluster.list(f"{KEPT_PREFIX}{self.node}/"):
            self._told_kept[entry.key] = self._kept[entry.key] = entry.value
            domain, app, stream = entry.key.split("/")[2:]
            self.manager.keep((domain, app, stream), msgspec.json.decode(entry.value, type=KeptPlan))
        # plans first: a stream's jobs are those of the plan that is known when it is seen
        for prefix, apply in (
            (PLAN_PREFIX, self._plan),
            (WORKER_PREFIX, self._worker),
            (STREAM_PREFIX, self._stream),
            (WANT_PREFIX, self._want),
        ):
            await self._follow(prefix, apply)
        self._forget_plans()
        await self._exits.enter_async_context(_web(self._app(), self._config.internal_socket))
        self._own(self._work())
        self._own(self._tell())
        presence = CenterPresence(os.getpid(), self._config.internal_socket)
        await self.cluster.put(CENTER_PREFIX + self.node, msgspec.json.encode(presence), lease=self._lease)

    async def stop(self) -> None:
        """End all jobs in order, then the departments."""
        await self._exits.aclose()

    async def _end_jobs(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.hosts.close(FINISH_S)
        with contextlib.suppress(ClusterError):
            await self._lease.revoke()

    # what the cluster tells

    async def _follow(self, prefix: str, apply: Callable[[list[str], bytes | None], None]) -> None:
        """Start to follow a prefix; returns once everything that existed has been applied."""
        changes = self.cluster.watch(prefix)
        async for change in changes:
            if change.key == SYNCED:
                break
            apply(change.key.split("/")[1:], change.value)
        self._own(self._keep_following(changes, apply))

    async def _keep_following(self, changes: AsyncIterator[Change], apply: Callable[[list[str], bytes | None], None]) -> None:
        async for change in changes:
            if change.key != SYNCED:
                apply(change.key.split("/")[1:], change.value)
                self._news.set()

    def _plan(self, names: list[str], value: bytes | None) -> None:
        self.manager.plan_changed(names[0], None if value is None else plans.decode(value))

    def _worker(self, names: list[str], value: bytes | None) -> None:
        if names[0] == self.node:
            told = None if value is None else msgspec.json.decode(value, type=WorkerPresence).internal_socket
            self.manager.worker_changed(int(names[1]), told)

    def _stream(self, names: list[str], value: bytes | None) -> None:
        domain, app, stream = names
        told = None if value is None else presence.decode(value)
        self.manager.stream_changed((domain, app, stream), told, time.time())

    def _want(self, names: list[str], value: bytes | None) -> None:
        domain, app, stream, template, *worker = names
        self.manager.want_changed((domain, app, stream), template, "/".join(worker), time.time(), wanted=value is not None)

    # what it does by itself

    async def _work(self) -> None:
        """Decide and carry out, whenever something has changed and every TICK_S."""
        took_s = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._news.wait()
            await asyncio.sleep(max(SETTLE_S, took_s / SHARE))
            self._news.clear()
            began = time.monotonic()
            decision = self.manager.decide(time.time(), self._load())
            self.hosts.carry_out(decision.jobs)
            took_s = time.monotonic() - began
            self._note_refusals(decision.refused)
            self._note_plans()
            await self._put_changed(self._told_kept, self._kept, None)
            await self._put_changed(
                self._told_refused,
                {
                    refused_key(*stream, template): msgspec.json.encode(refused)
                    for (stream, template), refused in decision.refused.items()
                },
                self._lease,
            )

    def _note_refusals(self, refused: dict[RenditionId, Refused]) -> None:
        """Say once of each rendition why it is refused, as long as the reason stays the same."""
        for key, refusal in refused.items():
            before = self.refused.get(key)
            if before is None or before.reason != refusal.reason:
                self.refusals[refusal.reason] += 1
                stream, template = key
                log.warning(
                    "rendition refused", stream="/".join(stream), template=template, reason=refusal.reason, error=refusal.text
                )
        self.refused = refused

    def _note_plans(self) -> None:
        for stream, kept in self.manager.kept_news().items():
            key = f"{KEPT_PREFIX}{self.node}/{'/'.join(stream)}"
            if kept is None:
                self._kept.pop(key, None)
            else:
                self._kept[key] = msgspec.json.encode(kept)

    def _forget_plans(self) -> None:
        """Plans of sessions that have ended while no center was here."""
        for key in tuple(self._kept):
            domain, app, stream = key.split("/")[2:]
            if self.manager.stream((domain, app, stream)) is None:
                del self._kept[key]

    def _load(self) -> Load:
        cores: dict[StreamId, float] = {}
        standing: dict[JobId, float] = {}
        for (kind, id_), job in self.hosts.jobs.items():
            process, source = self.hosts.process_of((kind, id_)), job.desired.source
            if process is None or not process.jobs:
                continue
            if source == NO_SOURCE:
                standing[kind, id_] = process.cores / len(process.jobs)
            elif kind == "transcode":
                stream = (source.domain, source.app, source.stream)
                cores[stream] = cores.get(stream, 0.0) + process.cores / len(process.jobs)
        return Load(cores, self._free_cores, standing)

    async def _tell(self) -> None:
        """Put the state of all jobs into the store, and look how busy the machine is."""
        while True:
            await asyncio.sleep(max(TELL_S, len(self.hosts.jobs) / TOLD_PER_S))
            processors = len(os.sched_getaffinity(0))
            self._loads.append(self._machine.look())
            self._free_cores = processors * max(0.0, 1 - SPARE_SHARE - max(self._loads))
            keys = {
                f"{JOB_PREFIX}{self.node}/{job.kind}/{job.id}": msgspec.json.encode(job) for job in job_presences(self.hosts)
            }
            await self._put_changed(self._told_jobs, keys, self._lease)

    async def _put_changed(self, told: dict[str, bytes], wanted: dict[str, bytes], lease: Lease | None) -> None:
        """Bring our keys in the store up to date."""
        try:
            for key in [key for key in told if key not in wanted]:
                await self.cluster.delete(key)
                del told[key]
            for key, value in wanted.items():
                if told.get(key) != value:
                    await self.cluster.put(key, value, lease=lease)
                    told[key] = value
        except ClusterError as error:
            log.warning("store cannot be told", error=str(error))

    # whoever asks

    def _app(self) -> Starlette:
        async def families(_: Request) -> Response:
            return _json(metrics.families(self))

        async def jobs(_: Request) -> Response:
            return _json(job_presences(self.hosts))

        routes = [Route("/metrics", families), Route("/jobs", jobs)]
        return Starlette(routes=[*routes, *(route for department in self.departments for route in department.routes)])

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task for the life of the process. One that fails ends it: it would not see what must be done any more."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and not self.failed.done():
            self.failed.set_exception(task.exception() or ClusterError("a watch ended"))


def job_presences(hosts: Hosts) -> list[JobPresence]:
    """All jobs as others see them."""
    found = []
    for key, job in hosts.jobs.items():
        process, state, source = hosts.process_of(key), job.state, job.desired.source
        share = len(process.jobs) if process is not None else 1
        found.append(
            JobPresence(
                kind=job.kind,
                id=job.id,
                domain=source.domain,
                app=source.app,
                stream=source.stream,
                template=job.desired.wanted.template,
                session=source.session,
                state="waiting" if state is None else state.state,
                since=job.since,
                speed=state.speed if state is not None else 0.0,
                frames=state.frames if state is not None else 0,
                dropped=state.dropped if state is not None else 0,
                cpu=round(process.cores / share, 3) if process is not None else 0.0,
                memory_bytes=process.memory_bytes // share if process is not None else 0,
                restarts=job.failures,
                error=job.desired.waits if process is None and job.desired.waits else job.error,
                detail=state.detail if state is not None else "",
                parts=state.parts if state is not None else {},
            )
        )
    return found


def for_jobs(settings: Settings) -> Settings:
    """Without what a job has no business with: a codec that is taken over by hostile bytes must find no keys."""
    domains = msgspec.structs.replace(settings.domains, shared_claims=SharedClaims())
    return msgspec.structs.replace(settings, database="", acme=Acme(), objects=Objects(), domains=domains)


def _json(answer: object) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")


class _WebServer(uvicorn.Server):
    """uvicorn within our own process: signals are our business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


@contextlib.asynccontextmanager
async def _web(app: Starlette, path: str) -> AsyncIterator[None]:
    """An app on a Unix socket, answering once this is entered."""
    config = uvicorn.Config(
        app, uds=path, lifespan="off", log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=2
    )
    server = _WebServer(config)
    task = asyncio.create_task(server.serve(), name="center web")
    try:
        while not server.started:
            if task.done():
                task.result()
                raise OSError(f"the web server did not start at {path}")
            await asyncio.sleep(0.01)  # uvicorn offers nothing to wait for
        Path(path).chmod(0o600)  # noqa: ASYNC240 (a local file, once)
        yield
    finally:
        server.should_exit = True
        await task


async def run(config: CenterConfig) -> None:
    """Work until SIGTERM or SIGINT, or until the main process is gone (end of file on standard input).

    Raises OSError, ClusterError, and what `Database.of` does.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    parent_gone = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), parent_gone.set)
    async with contextlib.AsyncExitStack() as exits:
        exits.callback(loop.remove_reader, sys.stdin.fileno())
        cluster = await RemoteCluster.connect(config.cluster_socket)
        exits.push_async_callback(cluster.close)
        database = await Database.of(config.settings)
        exits.push_async_callback(database.close)
        center = CenterServer(config, cluster, database, loop)
        exits.push_async_callback(center.stop)
        await center.start()
        heartbeat.begin(loop)
        log.info("center ready", pid=os.getpid(), spool=str(center.spool))
        waits = [loop.create_task(stopping.wait()), loop.create_task(parent_gone.wait())]
        ends: list[asyncio.Future[Any]] = [*waits, center.failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if center.failed.done():
            center.failed.result()
        log.info("center stops", reason="asked to" if stopping.is_set() else "the main process is gone")
