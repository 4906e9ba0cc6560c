"""A media worker: one process with its own event loop, its listeners, its live streams and their viewers.

It learns policies and bans from the cluster's store, announces its streams there, and never touches the database.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import structlog

from headwater.access import faults
from headwater.access import policy as policies
from headwater.access.certificate import CERTIFICATE_PREFIX, HTTP_CHALLENGE_PREFIX
from headwater.access.client import Doors
from headwater.access.demand import REFUSED_PREFIX
from headwater.access.places import Places
from headwater.access.plan import PLAN_PREFIX
from headwater.access.presence import (
    FAULT_SUBJECT,
    PROMOTE_SUBJECT,
    STREAM_PREFIX,
    WORKER_PREFIX,
    Promote,
    PublishFault,
    WorkerPresence,
)
from headwater.access.remote import Asker
from headwater.access.verdict import Rules
from headwater.cluster.client import RemoteCluster
from headwater.cluster.interface import SYNCED, Change, Cluster, ClusterError, Lease
from headwater.delivery.hls_viewers import HlsViewers
from headwater.delivery.http import HttpDelivery
from headwater.delivery.play import Delivery
from headwater.delivery.renditions import Renditions
from headwater.ingest.session import Ingest, PublishSession
from headwater.live.hub import Hub
from headwater.live.stream import LiveStream, StreamKey
from headwater.node.admission import Admission, Reading
from headwater.node.announcer import Announcer
from headwater.node.center import CenterDoor
from headwater.node.certificates import Certificates
from headwater.node.config import WorkerConfig
from headwater.node.connections import Connections
from headwater.node.files import files_max, open_files
from headwater.node.http import HttpConnection
from headwater.node.internal import InternalConnection
from headwater.node.pacer import Pacer
from headwater.node.relay import Relay
from headwater.node.rtmp import RtmpConnection
from headwater.node.tls import TlsListener
from headwater.node.upstreams import Upstreams
from headwater.node.usage import Books
from headwater.node.wants import Wants
from headwater.observe import heartbeat
from headwater.observe.counters import Counters
from headwater.settings import Listen, listen_address

LEASE_S = 5.0
"""A worker that is gone for so long is forgotten, with its streams."""

SWEEP_S = 0.5
"""How often silence, stalls and deadlines are looked at: their bounds are seconds."""

BACKLOG = 4096
"""Connections that may wait to be accepted: a thousand joins a second for some seconds. The kernel caps it at somaxconn."""

log = structlog.get_logger()


class Node:
    """The parts of a worker, wired."""

    def __init__(self, config: WorkerConfig, cluster: Cluster, loop: asyncio.AbstractEventLoop) -> None:
        limits, ring = config.settings.limits, config.settings.ring
        self.config = config
        self.settings = config.settings
        self.cluster = cluster
        self.loop = loop
        self.counters = Counters()
        self.books = Books()
        self.places = Places(config.settings.places)
        self.rules = Rules(self.places.place, config.settings.node.edge_group)
        self.asker = Asker(allow_private=config.settings.access.private_auth_servers)
        self.doors = Doors(config.settings.access.trusted_proxies, config.settings.access.staging_addresses)
        self.connections = Connections(limits, loop, files_max())
        self.pacer = Pacer(loop)
        self.hub = Hub(
            loop,
            ring_seconds=ring.seconds,
            ring_bytes=ring.bytes_max,
            takeover_after_s=limits.takeover_after_s,
            silence_s=limits.publisher_silence_s,
            stalled_s=limits.viewer_stalled_s,
            on_change=self._changed,
        )
        self.admission = Admission(config.settings.overload, files_max(), config.workers)
        self.relay = Relay(
            self.hub,
            self.rules,
            loop,
            node=config.node,
            index=config.index,
            wait_s=limits.unknown_stream_wait_s,
            on_free=lambda key: self.ingest.relieve(key),
        )
        self.ingest = Ingest(
            self.hub,
            self.rules,
            self.counters,
            self.relay,
            loop,
            lambda: self.admission.full("publish"),
            self.asker,
            self._session_changed,
            self._push_faulted,
        )
        self.renditions = Renditions(
            self.hub, self.relay, loop.time, wait_s=config.settings.center.wait_s, on_demand=self._demanded
        )
        self.delivery = Delivery(
            self.hub,
            self.rules,
            self.counters,
            self.relay,
            lambda: self.admission.full("play"),
            self.asker,
            self.renditions,
        )
        self.http = HttpDelivery(
            self.delivery,
            self.doors,
            _web_ports(config.settings.listen),
            loop,
            HlsViewers(config.index, config.workers),
            fetch=self.relay.fetch,
            ask_home=self.relay.ask_home,
            ask_center=CenterDoor(cluster, config.node).ask,
        )
        self.certificates = Certificates(config.tls_certificate, config.tls_key)
        self.failed: asyncio.Future[None] = loop.create_future()
        self._announcer: Announcer | None = None
        self._upstreams: Upstreams | None = None
        self._wants: Wants | None = None
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_at = 0.0
        self._enforcing: asyncio.Handle | None = None
        self._to_enforce: set[str] = set()
        self._telling: asyncio.Task[None] | None = None
        self._telling_faults: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Learn every policy and ban, listen, and announce the worker. Raises OSError if a port cannot be had."""
        lease = await self.cluster.lease(LEASE_S)
        self._announcer = Announcer(self.cluster, lease, self.config, self.loop, self.hub.give_up)
        self._own(self._announcer.run())
        self._upstreams = Upstreams(self.cluster, lease, self.config, self._numbered)
        self._own(self._upstreams.run())
        self._wants = Wants(self.cluster, lease, self.config, self.renditions.wanted)
        self._own(self._wants.run())
        await asyncio.gather(
            self._follow(policies.POLICY_PREFIX, self._policy),
            self._follow(policies.BAN_PREFIX, self._ban),
            self._follow(policies.BLOCK_PREFIX, self._block),
            self._follow(STREAM_PREFIX, self.relay.directory.stream_changed, rules=False),
            self._follow(WORKER_PREFIX, self.relay.directory.worker_changed, rules=False),
            self._follow(CERTIFICATE_PREFIX, self.certificates.changed, rules=False),
            self._follow(HTTP_CHALLENGE_PREFIX, self.http.challenges.changed, rules=False),
            self._follow(PLAN_PREFIX, self.renditions.plan_changed, rules=False),
            self._follow(REFUSED_PREFIX, self.renditions.refused_changed, rules=False),
        )
        self._own(self._kicks(self.cluster.subscribe(policies.KICK_SUBJECT)))
        self._own(self._promotions(self.cluster.subscribe(PROMOTE_SUBJECT)))
        await self._listen()
        self._sweep_later()
        await self._announce_worker(lease)

    async def stop(self) -> None:
        """Stop in order: no new connections, end what runs, let the last bytes out, take back what was announced."""
        for server in self._servers:
            server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.hub.close("the node stops")
        self.http.hls_viewers.close("the node stops")
        await self.relay.close()
        for connection in self.connections.everyone():
            connection.drain("the node stops")
        deadline = self.loop.time() + self.settings.drain_s
        while len(self.connections) and self.loop.time() < deadline:
            await asyncio.sleep(0.02)
        if self._enforcing is not None:
            self._enforcing.cancel()
        if self._telling is not None:
            self._telling.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._telling_faults, return_exceptions=True)
        if self._announcer is not None:
            await self._announcer.close()
        await self.asker.close()
        self.places.close()

    async def _listen(self) -> None:
        listen = self.settings.listen
        kinds: tuple[tuple[str, type[RtmpConnection] | type[HttpConnection]], ...] = (
            ("rtmp", RtmpConnection),
            ("rtmps", RtmpConnection),
            ("http", HttpConnection),
            ("https", HttpConnection),
        )
        for name, kind in kinds:
            address = listen_address(getattr(listen, name))
            if address is None:
                continue
            factory = _factory(kind, self, name)
            if name.endswith("s"):
                factory = TlsListener(factory, self.certificates.context, self.loop, self.settings.limits.first_packet_s)
            self._servers.append(await self._serve(factory, *address))
        internal = await self.loop.create_unix_server(lambda: InternalConnection(self), self.config.internal_socket)
        _keep_to_us(self.config.internal_socket)
        self._servers.append(internal)

    async def _serve(self, factory: Callable[[], asyncio.Protocol], host: str, port: int) -> asyncio.Server:
        if host != "::":
            return await self.loop.create_server(factory, host, port, reuse_port=True, backlog=BACKLOG)
        # together with IPv4, as in the main process and the DNS; the event loop would make it IPv6 alone
        bound = socket.create_server((host, port), family=socket.AF_INET6, reuse_port=True, dualstack_ipv6=True)
        return await self.loop.create_server(factory, sock=bound, backlog=BACKLOG)

    async def _announce_worker(self, lease: Lease) -> None:
        key = f"{WORKER_PREFIX}{self.config.node}/{self.config.index}"
        presence = WorkerPresence(os.getpid(), self.config.internal_socket)
        await self.cluster.put(key, msgspec.json.encode(presence), lease=lease)

    # what the cluster tells

    async def _follow(self, prefix: str, apply: Callable[[str, bytes | None], None], *, rules: bool = True) -> None:
        """Start to follow a prefix; returns once everything that existed has been applied.

        rules: whether its changes are rules, by which everybody who is here must be judged anew.
        """
        changes = self.cluster.watch(prefix)
        async for change in changes:
            if change.key == SYNCED:
                break
            apply(change.key, change.value)
        self._own(self._keep_following(changes, apply, rules=rules))

    async def _keep_following(
        self, changes: AsyncIterator[Change], apply: Callable[[str, bytes | None], None], *, rules: bool
    ) -> None:
        async for change in changes:
            if change.key != SYNCED:
                apply(change.key, change.value)
                if rules:
                    self._enforce_soon(change.key.split("/")[1])

    async def _kicks(self, events: AsyncIterator[Any]) -> None:
        async for event in events:
            kick = policies.decode_kick(event.payload)
            self.ingest.kick(StreamKey(kick.domain, kick.app, kick.stream))

    async def _promotions(self, events: AsyncIterator[Any]) -> None:
        async for event in events:
            promote = msgspec.json.decode(event.payload, type=Promote)
            self.ingest.promote(StreamKey(promote.domain, promote.app, promote.stream), promote.upstream)

    def _policy(self, key: str, value: bytes | None) -> None:
        domain = key.removeprefix(policies.POLICY_PREFIX)
        if value is None:
            self.rules.remove_policy(domain)
            return
        if not self.rules.set_encoded(domain, value):
            return
        for stream in self.hub.streams.values():
            if stream.key.domain == domain and (policy := self.rules.policy(domain)) is not None:
                stream.set_options(policy.session, policy.latency.hls_delay_s, policy.latency.behind_s)

    def _block(self, key: str, value: bytes | None) -> None:
        if value is not None:
            self.rules.set_block(policies.decode_block(value))
            return
        domain, app, stream = key.removeprefix(policies.BLOCK_PREFIX).split("/")
        self.rules.remove_block(domain, app, stream)

    def _ban(self, key: str, value: bytes | None) -> None:
        if value is not None:
            self.rules.set_ban(policies.decode_ban(value))
            return
        domain, app, stream = key.removeprefix(policies.BAN_PREFIX).split("/")
        self.rules.remove_ban(domain, app, stream)

    def _enforce_soon(self, domain: str) -> None:
        """Ask again about everybody who is here by this domain: once for all changes that arrive together."""
        self._to_enforce.add(domain)
        if self._enforcing is None:
            self._enforcing = self.loop.call_soon(self._enforce)

    def _enforce(self) -> None:
        self._enforcing = None
        changed, self._to_enforce = self._to_enforce, set()
        # a name with a leading dot stands for others, by which its clients come
        domains = None if any(domain.startswith(".") for domain in changed) else changed
        self.ingest.enforce(domains)
        self.delivery.enforce(domains)

    # what the worker does by itself

    def _changed(self, stream: LiveStream) -> None:
        if self._announcer is not None:
            self._announcer.changed(stream)
        self.relay.changed(stream)
        if stream.publisher is None:
            self.loop.call_soon(self.ingest.relieve, stream.key)
        elif not stream.publisher.remote and not stream.publisher.product and self.renditions.made(stream.key) is not None:
            log.warning(
                "a publisher uses the name of a rendition, which is not made as long as it does",
                session=stream.publisher.id,
                stream=str(stream.key),
            )

    def _demanded(self) -> None:
        if self._wants is not None:
            self._wants.look()

    def _session_changed(self, session: PublishSession) -> None:
        if self._upstreams is not None:
            self._upstreams.changed(session)

    def _push_faulted(self, fault: PublishFault) -> None:
        """The customer may want to be told; the main process knows."""
        task = self.loop.create_task(self._tell_fault(fault))
        self._telling_faults.add(task)
        task.add_done_callback(self._telling_faults.discard)

    async def _tell_fault(self, fault: PublishFault) -> None:
        try:
            await asyncio.to_thread(faults.lay, self.settings.data_dir, fault)
            await self.cluster.publish(FAULT_SUBJECT, b"")
        except OSError as error:
            log.warning("a fault of a push could not be told", session=fault.session, error=str(error))
        except ClusterError as error:
            log.warning("a fault of a push will be told later", session=fault.session, error=str(error))

    def _numbered(self, session: PublishSession) -> None:
        """A publisher has got its number: its stream's announcement names it."""
        if self._announcer is not None and isinstance(session.stream, LiveStream):
            self._announcer.changed(session.stream)

    async def withdrawn(self, key: StreamKey) -> None:
        """Wait until a stream that has lost its publisher is no longer announced."""
        if self._announcer is not None:
            await self._announcer.withdrawn(key)

    def _sweep_later(self) -> None:
        self._sweep_at = self.loop.time() + SWEEP_S
        self._sweeper = self.loop.call_at(self._sweep_at, self._sweep)

    def _sweep(self) -> None:
        self._judge_load()
        self._sweep_later()
        self.connections.sweep()
        self.hub.sweep()
        self.ingest.sweep(self.settings.limits.publisher_silence_s)
        self.relay.sweep()
        self.http.sweep()
        self._demanded()
        if self._telling is None:
            guests = self.http.hls_viewers.guests()
            if guests:
                self._telling = self.loop.create_task(self.relay.tell_homes(guests))
                self._telling.add_done_callback(self._told)

    def _told(self, _: asyncio.Task[None]) -> None:
        self._telling = None

    def _judge_load(self) -> None:
        """See whether there is room for newcomers."""
        now_s = self.loop.time()
        late_s = now_s - self._sweep_at
        changed = self.admission.read(Reading(now_s, time.process_time(), late_s, open_files(), self.sent_bytes))
        for action in changed:
            shut_by = self.admission.gates[action].shut_by
            say = log.warning if shut_by else log.info
            say(
                "overloaded: newcomers are refused" if shut_by else "no longer overloaded: newcomers are taken again",
                action=action,
                short=shut_by,
                **msgspec.structs.asdict(self.admission.load),
            )

    @property
    def sent_bytes(self) -> int:
        """Media bytes sent to viewers so far."""
        return sum(traffic.bytes_out for traffic in self.hub.traffic.values()) + self.http.hls_bytes_out

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task for the life of the worker. One that fails ends the worker: it would be deaf to bans otherwise."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and not self.failed.done():
            error = task.exception() or ClusterError("a watch ended")
            self.failed.set_exception(error)


def _factory(kind: type[RtmpConnection] | type[HttpConnection], node: Node, listener: str) -> Callable[[], asyncio.Protocol]:
    return lambda: kind(node, listener)


def _web_ports(listen: Listen) -> dict[str, int]:
    """The ports by which viewers come over HTTP and HTTPS, for redirects between them."""
    addresses = {scheme: listen_address(getattr(listen, scheme)) for scheme in ("http", "https")}
    return {scheme: address[1] for scheme, address in addresses.items() if address is not None}


def _keep_to_us(path: str) -> None:
    Path(path).chmod(0o600)


async def run(config: WorkerConfig) -> None:
    """Run a worker until SIGTERM or SIGINT, or until the main process is gone (end of file on standard input)."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    parent_gone = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), parent_gone.set)
    cluster = await RemoteCluster.connect(config.cluster_socket)
    node = Node(config, cluster, loop)
    try:
        await node.start()
        heartbeat.begin(loop)
        log.info("worker ready", pid=os.getpid())
        waits = [loop.create_task(stopping.wait()), loop.create_task(parent_gone.wait())]
        ends: list[asyncio.Future[Any]] = [*waits, node.failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if node.failed.done():
            node.failed.result()
        log.info("worker stops", reason="asked to" if stopping.is_set() else "the main process is gone")
    finally:
        loop.remove_reader(sys.stdin.fileno())
        await node.stop()
        await cluster.close()
