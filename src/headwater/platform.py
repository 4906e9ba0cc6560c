"""Builds the parts of a node and wires them: the one module that knows everybody.

The main process holds the API, the console, the metrics, the database and the cluster's store; media runs in worker
processes under supervisors. `Platform.start` returns once every listener answers, `Platform.stop` takes it all down in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import fcntl
import functools
import math
import os
import resource
import shutil
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

import headwater.console.app
import headwater.openapi.app
import headwater.operator.app
from headwater import tls
from headwater.access import presence
from headwater.access.places import Places, PlacesError
from headwater.access.policy import POLICY_PREFIX
from headwater.access.presence import STREAM_PREFIX, WORKER_PREFIX
from headwater.center.config import CenterConfig
from headwater.cluster.centers import CENTER_PREFIX
from headwater.cluster.embedded import EmbeddedCluster
from headwater.cluster.interface import Cluster, Conflict
from headwater.cluster.metrics import store_families
from headwater.cluster.nodes import NodeAnnouncer, own_presence
from headwater.cluster.running import CLUSTER_SOCKET, socket_folder
from headwater.cluster.server import ClusterServer, serve
from headwater.dns.config import DNS_PREFIX, DnsConfig
from headwater.domains import issuance, services
from headwater.domains.accounts import NewAccount
from headwater.domains.services import Services
from headwater.domains.users import NewUser
from headwater.node.config import WorkerConfig
from headwater.observe import exposition
from headwater.observe.machine import MachineLoad
from headwater.observe.usage import Read, UsageCollector, worker_usage
from headwater.openapi.http import BoundedHttp
from headwater.settings import Acme, Listen, Objects, Settings, SharedClaims, listen_address
from headwater.store.crypto import SecretsError
from headwater.store.database import Actor, Database, DatabaseUnusableError
from headwater.supervisor import Supervisor

FIRST_ACCOUNT = "main"
"""Name of the account that is made at the first start."""
FIRST_OPERATOR = "operator"
"""Name of the console's first user."""

READY_S = 30.0
"""How long the workers may take until they listen; a busy machine needs a second or two."""

POLICIES_PER_S = 10_000
"""What a worker reads of the policies that exist, at least: it listens once it knows all of them. Usual are 100,000."""

OWN_FILES = 100
"""Files that a worker has open for itself: listeners, the store, other workers."""

CENTER_DRAIN_S = 30.0
"""How long the center may take to end its jobs in order: 22 s for what they write, and a margin."""

RESTART_PAUSE_S = 1.0
"""Pause before a background task of the main process that failed is tried again."""

log = structlog.get_logger()

T = TypeVar("T")


class PlatformError(Exception):
    """The node cannot start or go on; the message says what to do."""


class Platform:
    """One node with all of its roles.

    first_account: the account made because the database had none; its secret is not stored anywhere in clear.
    first_operator: the same for the console's first user.
    services: what API and commands work with, once started.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.first_account: NewAccount | None = None
        self.first_operator: NewUser | None = None
        self.services: Services
        self.supervisors: list[Supervisor] = []
        self._node = settings.node.id or socket.gethostname()
        self._data_dir = Path(settings.data_dir).absolute()
        self._exits = contextlib.AsyncExitStack()
        self._sources: list[exposition.Source] = []

    async def start(self) -> None:
        """Start every part. Raises PlatformError and SettingsError; what was started by then is stopped again."""
        try:
            await self._start()
        except OSError as error:  # data that cannot be written, say
            await self.stop()
            raise PlatformError(f"the node cannot start: {error}") from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop in order: the API takes no more, the workers drain, history is written, store and database are closed."""
        await self._exits.aclose()

    def hurry(self) -> None:
        """Do not wait for connections any longer."""
        for supervisor in self.supervisors:
            supervisor.hurry()

    async def _start(self) -> None:
        settings, exits = self.settings, self._exits
        _prepare_folder(self._data_dir)
        exits.enter_context(_lock(self._data_dir))
        _check_free(settings.listen)
        tls_files = tls.certificate(settings.tls, self._data_dir / "tls", datetime.datetime.now(datetime.UTC))
        trust = issuance.trust(settings.acme)
        run_dir = exits.enter_context(_run_folder(self._data_dir))
        try:
            places = Places(settings.places)
        except PlacesError as error:
            raise PlatformError(str(error)) from error
        exits.callback(places.close)
        try:
            database = await Database.of(settings)
        except (SecretsError, DatabaseUnusableError) as error:
            raise PlatformError(str(error)) from error
        exits.push_async_callback(database.close)
        cluster = EmbeddedCluster()
        exits.push_async_callback(cluster.close)
        self.services = services.build(database, cluster, settings)
        await self.services.domains.publish_all()
        await self.services.plans.everything()
        server: ClusterServer = await serve(cluster, str(run_dir / CLUSTER_SOCKET))
        exits.push_async_callback(server.close)
        await self._look_after(database, cluster, trust)

        self._sources = [
            exposition.Source(lambda: store_families(cluster)),
            exposition.Source(self.services.certificates.families),
            exposition.Source(self.services.callbacks.families),
            exposition.Source(self.services.uploads.families),
        ]
        await self._start_workers(cluster, run_dir, tls_files)
        presence_here = own_presence(self._node, settings, places)
        load = MachineLoad(settings.node.capacity_mbps).look
        await self._keep_running(NodeAnnouncer(cluster, presence_here, f"{WORKER_PREFIX}{self._node}/", load).run)
        if settings.listen.dns:
            await self._start_dns(cluster, run_dir, (*presence_here.addresses_v4, *presence_here.addresses_v6))
        if settings.center.enabled:
            await self._start_center(cluster, run_dir)
        await self._serve_pages()
        # the last step: a start that fails must not keep a secret that nobody has seen
        if not await self.services.accounts.accounts(at_most=1):
            self.first_account = await self.services.accounts.create(FIRST_ACCOUNT, actor=Actor("first start"))
        if settings.listen.console and not await self.services.users.users():
            self.first_operator = await self.services.users.create(FIRST_OPERATOR, None, actor=Actor("first start"))

    async def _look_after(self, database: Database, cluster: EmbeddedCluster, trust: ssl.SSLContext) -> None:
        """Begin the background work of the services."""
        all_, streams, data_dir = self.services, self.services.streams, self.settings.data_dir
        self._exits.push_async_callback(streams.close_history)
        await self._keep_running(streams.run_history)
        self._exits.push_async_callback(streams.note_faults, data_dir)  # of the last pushes that the workers cut

        async def tell_faults() -> None:
            await streams.run_faults(data_dir)

        for work in (
            tell_faults,
            streams.run_purge,
            all_.callbacks.run,
            all_.callbacks.run_purge,
            all_.domains.run_settling,
            all_.nodes.run,
            all_.certificates.run_warnings,
            all_.cnames.run,
            all_.usage.run_purge,
            all_.snapshots.run_purge,
        ):
            await self._keep_running(work)
        if all_.filings.required:
            await self._keep_running(all_.filing_watch.run)
        if all_.certificates.free_available:
            await self._keep_running(issuance.Issuer(database, cluster, all_.certificates, self.settings.acme, trust).run)

    async def _start_workers(self, cluster: EmbeddedCluster, run_dir: Path, tls_files: tuple[Path, Path]) -> None:
        """Start the media workers, and collect what they count."""
        settings = self.settings
        readers: list[Read] = []
        workers = settings.workers or len(os.sched_getaffinity(0))
        for index in range(workers):
            internal_socket = str(run_dir / f"worker-{index}.sock")
            config = WorkerConfig(
                node=self._node,
                index=index,
                workers=workers,
                settings=_for_processes(settings),
                cluster_socket=str(run_dir / CLUSTER_SOCKET),
                internal_socket=internal_socket,
                tls_certificate=str(tls_files[0]),
                tls_key=str(tls_files[1]),
            )
            self._sources.append(exposition.worker_source(index, internal_socket))
            readers.append(worker_usage(internal_socket))
            gone = functools.partial(forget_worker, cluster, self._node, index)
            self._supervise(f"worker-{index}", "headwater.node", config, settings.drain_s, on_exit=gone)
        self._exits.push_async_callback(self._stop_supervised)
        await self._ready(cluster, WORKER_PREFIX, self.supervisors)
        collector = UsageCollector(readers, self.services.usage.record)
        self._exits.push_async_callback(collector.collect)  # what came since the last time, while the workers still answer
        await self._keep_running(collector.run)

    async def _start_dns(self, cluster: EmbeddedCluster, run_dir: Path, addresses: tuple[str, ...]) -> None:
        dns_socket = str(run_dir / "dns.sock")
        config = DnsConfig(self._node, addresses, _for_processes(self.settings), str(run_dir / CLUSTER_SOCKET), dns_socket)
        dns = self._supervise("dns", "headwater.dns", config, self.settings.drain_s)
        self._sources.append(exposition.Source(lambda: exposition.worker_families(dns_socket)))
        await self._ready(cluster, DNS_PREFIX, [dns])

    async def _start_center(self, cluster: EmbeddedCluster, run_dir: Path) -> None:
        center_socket = str(run_dir / "center.sock")
        config = CenterConfig(self._node, self.settings, str(run_dir / CLUSTER_SOCKET), center_socket)
        center = self._supervise("center", "headwater.center", config, CENTER_DRAIN_S)
        # it ends before the workers: recordings are finished while their streams still run
        self._exits.push_async_callback(center.stop)
        self._sources.append(exposition.Source(lambda: exposition.worker_families(center_socket)))
        await self._ready(cluster, CENTER_PREFIX, [center])

    async def _serve_pages(self) -> None:
        """Answer at the listeners of the main process."""
        for name, app in (
            ("metrics", exposition.create_app(self._sources)),
            ("console", headwater.console.app.create_app(self.services, self.settings)),
            ("api", _api(self.services, self.settings)),
        ):
            address = listen_address(getattr(self.settings.listen, name))
            if address is not None:
                await self._exits.enter_async_context(_web(name, app, address))

    def _supervise(
        self,
        name: str,
        module: str,
        config: WorkerConfig | DnsConfig | CenterConfig,
        drain_s: float,
        on_exit: Callable[[], Awaitable[None]] | None = None,
    ) -> Supervisor:
        command = (sys.executable, "-m", module)
        supervisor = Supervisor(name, command, msgspec.json.encode(config) + b"\n", drain_s, on_exit=on_exit)
        self.supervisors.append(supervisor)
        return supervisor

    async def _keep_running(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await self._exits.enter_async_context(_background(work))

    async def _ready(self, cluster: EmbeddedCluster, prefix: str, supervisors: Sequence[Supervisor]) -> None:
        """Wait until each process has put its key below a prefix."""
        ready_s = READY_S + len(await cluster.list(POLICY_PREFIX)) / POLICIES_PER_S
        ready = asyncio.create_task(_count(cluster, prefix, len(supervisors)))
        ends: list[asyncio.Future[Any]] = [ready, *(supervisor.first_exit for supervisor in supervisors)]
        await asyncio.wait(ends, timeout=ready_s, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            return ready.result()
        ready.cancel()
        ended = next((supervisor for supervisor in supervisors if supervisor.first_exit.done()), None)
        if ended is None:
            names = ", ".join(supervisor.name for supervisor in supervisors)
            raise PlatformError(f"not ready within {ready_s:.0f} s: {names}")
        raise PlatformError(f"{ended.name} ended at its start; its own message stands above")

    async def _stop_supervised(self) -> None:
        await asyncio.gather(*(supervisor.stop() for supervisor in self.supervisors))


async def run(settings: Settings, session: Callable[[Platform], Coroutine[Any, Any, T]]) -> T | None:
    """Run a node with `session` on it, until that returns or SIGTERM or SIGINT comes (then None).

    A second signal does not wait for connections. Raises as `Platform.start` and `session` do.
    """
    stopping = asyncio.Event()
    platform = Platform(settings)

    def asked_to_stop() -> None:
        if stopping.is_set():
            platform.hurry()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop)
    raise_file_limit(settings)

    async def live() -> T:
        await platform.start()
        log.info("node ready", data_dir=settings.data_dir, processes=len(platform.supervisors))
        return await session(platform)

    living = asyncio.create_task(live())
    asked = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([living, asked], return_when=asyncio.FIRST_COMPLETED)
        if living.done():
            return living.result()
        living.cancel()
        await asyncio.wait([living])
        return None
    finally:
        asked.cancel()
        log.info("node stops")
        await platform.stop()
        log.info("node stopped")


def raise_file_limit(settings: Settings) -> None:
    """Allow as many open files, hence connections, as the system lets us; workers inherit it. Says so if that is too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    log.info("open files allowed", files=hard, before=soft)
    connections = settings.limits.connections_per_address
    wanted = math.ceil(connections / (settings.overload.viewers.files or 1)) + OWN_FILES
    if hard < wanted:
        log.warning(
            "too few open files allowed for the settings",
            files=hard,
            wanted=wanted,
            reason=f"one address may hold {connections} connections to a worker (limits.connections_per_address)",
            advice=f"raise `ulimit -Hn` (systemd: LimitNOFILE=) to {wanted} or more, or lower the setting",
        )


async def forget_worker(cluster: Cluster, node: str, index: int) -> None:
    """A worker has ended: take back what it had announced at once, without waiting for its lease to lapse.

    So its publishers can come back to any other worker, and viewers are not sent to it in vain.
    """
    await cluster.delete(f"{WORKER_PREFIX}{node}/{index}")
    for entry in await cluster.list(STREAM_PREFIX):
        stream = presence.decode(entry.value)
        if (stream.node, stream.worker) == (node, index):
            with contextlib.suppress(Conflict):
                await cluster.delete(entry.key, expect_revision=entry.revision)


async def _count(cluster: EmbeddedCluster, prefix: str, wanted: int) -> None:
    present: set[str] = set()
    async for change in cluster.watch(prefix):
        if change.key and change.value is not None:
            present.add(change.key)
        if len(present) >= wanted:
            return


def _prepare_folder(data_dir: Path) -> None:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(f"data_dir: cannot make {data_dir}: {error.strerror}") from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise PlatformError(f"data_dir: {data_dir} cannot be written to")


@contextlib.contextmanager
def _lock(data_dir: Path) -> Iterator[None]:
    """Keep a second server away from the same data; the kernel lifts the lock when we die."""
    with (data_dir / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlatformError(f"data_dir: {data_dir} is used by another running server") from None
        yield


@contextlib.contextmanager
def _run_folder(data_dir: Path) -> Iterator[Path]:
    """A private folder for Unix sockets: below the data, or a temporary one if that path is too long for sockets."""
    folder = socket_folder(data_dir)
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="headwater-"))
    else:
        shutil.rmtree(folder, ignore_errors=True)  # sockets of a server that was killed
        folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bind(name: str, address: tuple[str, int], kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A bound socket. Raises PlatformError that names the setting."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    bound = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        if kind == socket.SOCK_STREAM:
            bound.listen()
    except OSError as error:
        bound.close()
        host, port = address
        raise PlatformError(f"listen.{name}: cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from error
    return bound


def _check_free(listen: Listen) -> None:
    """Raises PlatformError that names the setting if something else, or another setting, listens at an address.

    Workers share their ports with SO_REUSEPORT, so the kernel would let two servers share one, too: look first.
    """
    with contextlib.ExitStack() as held:
        for name in Listen.__struct_fields__:
            address = listen_address(getattr(listen, name))
            if address is not None:
                held.enter_context(_bind(name, address))
                if name == "dns":
                    held.enter_context(_bind(name, address, socket.SOCK_DGRAM))


def _for_processes(settings: Settings) -> Settings:
    """Without what workers and the DNS have no business with."""
    domains = msgspec.structs.replace(settings.domains, shared_claims=SharedClaims())
    return msgspec.structs.replace(settings, database="", acme=Acme(), objects=Objects(), domains=domains)


def _api(services: Services, settings: Settings) -> ASGIApp:
    """Both APIs on one port: the operator's below a path of its own, the customers' everywhere else."""
    customers = headwater.openapi.app.create_app(services, limits_scale=settings.api.limits_scale)
    operators = headwater.operator.app.create_app(services)

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["path"].startswith(headwater.operator.app.PATH + "/")
        await (operators if ours else customers)(scope, receive, send)

    return choose


class _WebServer(uvicorn.Server):
    """uvicorn within our own process: signals are the platform's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


@contextlib.asynccontextmanager
async def _web(name: str, app: ASGIApp, address: tuple[str, int]) -> AsyncIterator[None]:
    """An app on its port, answering once this is entered; at the end it takes no more and finishes what it has."""
    config = uvicorn.Config(
        app,
        http=BoundedHttp,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )
    server = _WebServer(config)
    bound = _bind(name, address)
    task = asyncio.create_task(server.serve(sockets=[bound]), name=f"web {name}")
    try:
        while not server.started:
            if task.done():
                raise PlatformError(f"listen.{name}: the web server did not start")
            await asyncio.sleep(0.01)  # uvicorn offers nothing to wait for
        yield
    finally:
        server.should_exit = True
        await task
        bound.close()


@contextlib.asynccontextmanager
async def _background(work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Keep a piece of background work running: a failure is logged and tried again."""

    async def keep_running() -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("background work failed", work=work.__name__)
            await asyncio.sleep(RESTART_PAUSE_S)

    task = asyncio.create_task(keep_running(), name=work.__name__)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
