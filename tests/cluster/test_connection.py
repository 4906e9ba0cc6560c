"""What the store promises to a process whose connection, or whose store, goes away."""

from __future__ import annotations

import asyncio
import os
import stat
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.cluster import wire
from headwater.cluster.client import RemoteCluster
from headwater.cluster.embedded import EmbeddedCluster, EmbeddedLease
from headwater.cluster.interface import Cluster, ClusterError, ClusterGone
from headwater.cluster.server import OPEN_MAX, ClusterServer, serve
from support.changes import take_change, until_synced
from support.clock import Clock


def drop_connections(server: ClusterServer) -> None:
    """Cut every connection, as if the sockets had failed."""
    for connection in [*server.connections]:
        connection.drop()


async def lost(remote: RemoteCluster) -> None:
    """Wait until a client has noticed that its connection is gone."""
    while remote.connected:
        await asyncio.sleep(0)


async def back(remote: RemoteCluster) -> None:
    """Wait until a client is connected again."""
    async with asyncio.timeout(10):
        await remote.wait_connected()


async def loss_and_return(remote: RemoteCluster) -> None:
    await lost(remote)
    await back(remote)


def lease_of(store: EmbeddedCluster, lease_id: str) -> EmbeddedLease:
    """A lease as another process holds it."""
    return EmbeddedLease(store, lease_id)


class RawClient:
    """A process that speaks the bytes of the socket itself, and can vanish without a word."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, path: str) -> RawClient:
        return cls(*await asyncio.open_unix_connection(path))

    async def ask(self, message: wire.Message) -> wire.Reply:
        self.send(wire.frame(message))
        return await wire.read_reply(self._reader)

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def rest(self) -> bytes:
        """All that still comes, until the other side ends the connection."""
        async with asyncio.timeout(10):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""

    def vanish(self) -> None:
        self._writer.transport.abort()


async def test_both_implementations_are_the_interface(store: EmbeddedCluster, remote: RemoteCluster) -> None:
    both: list[Cluster] = [store, remote]
    assert len(both) == 2


async def test_the_socket_is_for_its_user_alone(server: ClusterServer, socket_path: str) -> None:
    assert stat.S_IMODE(Path(socket_path).stat().st_mode) == 0o600


async def test_a_socket_that_nobody_serves_any_more_is_replaced_and_one_in_use_is_not(
    store: EmbeddedCluster, socket_path: str
) -> None:
    first = await serve(store, socket_path)
    with pytest.raises(ClusterError, match="another process"):
        await serve(store, socket_path)
    left_behind = socket_path + ".left"
    os.link(socket_path, left_behind)
    await first.close()
    assert not Path(socket_path).exists()
    second = await serve(store, left_behind)
    remote = await RemoteCluster.connect(left_behind)
    await remote.put("k", b"x")
    await remote.close()
    await second.close()


async def test_a_path_that_cannot_be_served_is_a_cluster_error(store: EmbeddedCluster, socket_path: str) -> None:
    with pytest.raises(ClusterError):
        await serve(store, socket_path + "x" * 200)
    with pytest.raises(ClusterError):
        await serve(store, str(Path(socket_path).parent / "none" / "cluster.sock"))
    Path(socket_path).write_text("an ordinary file")
    with pytest.raises(ClusterError):
        await serve(store, socket_path)
    assert Path(socket_path).read_text() == "an ordinary file"


async def test_connecting_to_nobody_is_cluster_gone(socket_path: str) -> None:
    with pytest.raises(ClusterGone):
        await RemoteCluster.connect(socket_path)


async def test_calls_fail_while_the_store_is_away_and_work_when_it_is_back(
    store: EmbeddedCluster, server: ClusterServer, remote: RemoteCluster, socket_path: str
) -> None:
    await server.close()
    await lost(remote)
    with pytest.raises(ClusterGone):
        await remote.put("k", b"x")
    again = await serve(store, socket_path)
    await back(remote)
    await remote.put("k", b"x")
    assert (await store.list("")) != []
    await again.close()


async def test_a_call_in_flight_fails_when_the_connection_is_lost(server: ClusterServer, remote: RemoteCluster) -> None:
    call = asyncio.ensure_future(remote.get("k"))
    await asyncio.sleep(0)
    drop_connections(server)
    with pytest.raises(ClusterGone):
        await call


async def test_a_watch_starts_over_and_tells_what_has_gone_meanwhile(
    store: EmbeddedCluster, server: ClusterServer, remote: RemoteCluster
) -> None:
    await store.put("w/gone", b"1")
    await store.put("w/stays", b"1")
    watch = remote.watch("w/")
    await until_synced(watch)
    drop_connections(server)
    await lost(remote)
    await store.delete("w/gone")
    await store.put("w/new", b"1")
    assert await until_synced(watch) == [("w/new", b"1"), ("w/stays", b"1"), ("w/gone", None)]
    await store.put("w/new", b"2")
    assert await take_change(watch) == ("w/new", b"2")


async def test_a_watch_goes_on_with_a_store_that_was_started_anew(
    server: ClusterServer, remote: RemoteCluster, socket_path: str
) -> None:
    await remote.put("w/1", b"x")
    watch = remote.watch("w/")
    before = await anext(watch)
    await until_synced(watch)
    await server.close()
    fresh = EmbeddedCluster()
    again = await serve(fresh, socket_path)
    assert await until_synced(watch) == [("w/1", None)]
    revision = await fresh.put("w/1", b"y")
    assert revision > before.revision
    assert await take_change(watch) == ("w/1", b"y")
    await again.close()


async def test_a_watch_begun_while_the_store_is_away_begins_when_it_is_back(
    store: EmbeddedCluster, server: ClusterServer, remote: RemoteCluster, socket_path: str
) -> None:
    await store.put("w/1", b"x")
    await server.close()
    await lost(remote)
    watch = remote.watch("w/")
    again = await serve(store, socket_path)
    assert await until_synced(watch) == [("w/1", b"x")]
    await again.close()


async def test_a_subscription_goes_on_when_the_connection_is_back(
    store: EmbeddedCluster, server: ClusterServer, remote: RemoteCluster
) -> None:
    subscription = remote.subscribe("s.>")
    drop_connections(server)
    await lost(remote)
    await store.publish("s.1", b"lost")
    await back(remote)
    await remote.publish("s.1", b"delivered")
    assert (await anext(subscription)).payload == b"delivered"


async def test_a_lease_survives_a_short_loss_of_the_connection(
    store: EmbeddedCluster, server: ClusterServer, remote: RemoteCluster
) -> None:
    lease = await remote.lease(30)
    revision = await remote.put("l/1", b"x", lease=lease)
    drop_connections(server)
    await lost(remote)
    store.expire()
    await back(remote)
    entry = await store.get("l/1")
    assert entry is not None
    assert entry.revision == revision


async def test_a_lease_lapses_when_its_process_is_gone_for_longer_than_its_time_to_live(
    store: EmbeddedCluster, server: ClusterServer, socket_path: str, clock: Clock
) -> None:
    vanishing = await RawClient.connect(socket_path)
    assert await vanishing.ask(wire.KeepLease(1, "mine", 30)) == wire.Done(1, 0)
    await vanishing.ask(wire.Put(2, "l/1", b"x", "mine", None))
    watch = store.watch("l/")
    assert await until_synced(watch) == [("l/1", b"x")]
    vanishing.vanish()
    clock.now_s += 29
    store.expire()
    assert await store.get("l/1") is not None
    clock.now_s += 1
    store.expire()
    assert await take_change(watch) == ("l/1", None)
    assert store.sizes()["leases"] == 0


async def test_a_lease_lapses_by_the_timer_of_the_store_itself(socket_path: str) -> None:
    store = EmbeddedCluster()
    store.keep_lease("somebody", 0.01)
    await store.put("l/1", b"x", lease=lease_of(store, "somebody"))
    watch = store.watch("l/")
    await until_synced(watch)
    async with asyncio.timeout(10):
        assert await take_change(watch) == ("l/1", None)
    await store.close()


async def test_a_lease_is_kept_alive_by_its_client(socket_path: str) -> None:
    store = EmbeddedCluster()
    server = await serve(store, socket_path)
    remote = await RemoteCluster.connect(socket_path)
    kept = await remote.lease(0.15)
    await remote.put("l/kept", b"x", lease=kept)
    # Another lease that begins later and is not kept: when it has lapsed twice over, the kept one has been renewed.
    watch = store.watch("l/other")
    await until_synced(watch)
    async with asyncio.timeout(10):
        for _ in range(2):
            store.keep_lease("other", 0.15)
            await store.put("l/other", b"x", lease=lease_of(store, "other"))
            assert await take_change(watch) == ("l/other", b"x")
            assert await take_change(watch) == ("l/other", None)
    assert await store.get("l/kept") is not None
    await remote.close()
    await server.close()
    await store.close()


async def test_a_lease_that_was_lost_is_made_anew_with_its_latest_keys(
    store: EmbeddedCluster, server: ClusterServer, remote: RemoteCluster, clock: Clock, socket_path: str
) -> None:
    lease = await remote.lease(30)
    await remote.put("l/1", b"old", lease=lease)
    await remote.put("l/1", b"new", lease=lease)
    await remote.put("l/deleted", b"x", lease=lease)
    await remote.delete("l/deleted")
    await remote.put("l/freed", b"x", lease=lease)
    await remote.put("l/freed", b"y")
    await remote.put("l/taken over", b"mine", lease=lease)
    await server.close()
    await lost(remote)
    clock.now_s += 30
    store.expire()
    assert [entry.key for entry in await store.list("l/")] == ["l/freed"]
    await store.put("l/taken over", b"theirs")

    again = await serve(store, socket_path)
    await back(remote)
    assert [(entry.key, entry.value) for entry in await store.list("l/")] == [
        ("l/1", b"new"),
        ("l/freed", b"y"),
        ("l/taken over", b"theirs"),
    ]
    await lease.revoke()
    assert [entry.key for entry in await store.list("l/")] == ["l/freed", "l/taken over"]
    await again.close()


async def test_leased_keys_come_back_to_a_store_that_was_started_anew(
    server: ClusterServer, remote: RemoteCluster, socket_path: str
) -> None:
    await remote.put("worker/0", b"here", lease=await remote.lease(30))
    await server.close()
    fresh = EmbeddedCluster()
    again = await serve(fresh, socket_path)
    watch = fresh.watch("worker/")
    await until_synced(watch)
    assert await take_change(watch) == ("worker/0", b"here")
    await again.close()
    await fresh.close()


async def test_a_put_under_a_lease_that_lapsed_unnoticed_makes_the_lease_anew(
    store: EmbeddedCluster, remote: RemoteCluster, clock: Clock
) -> None:
    lease = await remote.lease(30)
    await remote.put("l/1", b"x", lease=lease)
    clock.now_s += 31
    store.expire()
    await remote.put("l/2", b"y", lease=lease)
    assert [entry.key for entry in await store.list("l/")] == ["l/1", "l/2"]


async def test_close_ends_the_leases_at_once(store: EmbeddedCluster, server: ClusterServer, socket_path: str) -> None:
    remote = await RemoteCluster.connect(socket_path)
    await remote.put("l/1", b"x", lease=await remote.lease(30))
    await remote.close()
    assert await store.get("l/1") is None


async def test_a_job_returns_at_once_when_its_taker_is_gone(
    store: EmbeddedCluster, server: ClusterServer, socket_path: str
) -> None:
    await store.offer("q", "1", b"x")
    vanishing = await RawClient.connect(socket_path)
    assert await vanishing.ask(wire.Take(1, "q")) == wire.Taken(1, "1", b"x", 1)
    taking = asyncio.ensure_future(store.take("q"))
    vanishing.vanish()
    async with asyncio.timeout(10):
        assert (await taking).attempt == 2


async def test_a_taker_learns_that_its_job_went_back_while_the_connection_was_lost(
    store: EmbeddedCluster, server: ClusterServer, remote: RemoteCluster
) -> None:
    await store.offer("q", "1", b"x")
    job = await remote.take("q")
    drop_connections(server)
    await loss_and_return(remote)
    with pytest.raises(ClusterError):
        await job.keep_alive()
    assert (await remote.take("q")).attempt == 2


async def test_a_taker_waits_across_a_lost_connection(
    store: EmbeddedCluster, server: ClusterServer, remote: RemoteCluster, socket_path: str
) -> None:
    taking = asyncio.ensure_future(remote.take("q"))
    await remote.get("a round trip, so that it waits")
    await server.close()
    await lost(remote)
    again = await serve(store, socket_path)
    await store.offer("q", "1", b"x")
    async with asyncio.timeout(10):
        assert (await taking).id == "1"
    await again.close()


async def test_a_job_given_to_a_taker_that_has_just_given_up_is_released(store: EmbeddedCluster, remote: RemoteCluster) -> None:
    taking = asyncio.ensure_future(remote.take("q"))
    await remote.get("a round trip, so that it waits")
    await store.offer("q", "1", b"x")
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    async with asyncio.timeout(10):
        assert (await store.take("q")).id == "1"


# Bytes

REQUESTS: list[wire.Message] = [
    wire.Get(1, "k"),
    wire.List(2, "k/"),
    wire.Put(3, "k/1", b"value", "", None),
    wire.Delete(4, "k/2", None),
    wire.Watch(5, "k/"),
    wire.Next(5),
    wire.KeepLease(6, "lease", 30.0),
    wire.Put(7, "k/3", b"value", "lease", 0),
    wire.EndLease(8, "lease"),
    wire.Subscribe(9, "s.>"),
    wire.Publish(10, "s.1", b"payload"),
    wire.Offer(11, "q", "job", b"payload"),
    wire.Take(12, "q"),
    wire.KeepJob(13, 12),
    wire.FinishJob(14, 12, again=True),
    wire.Withdraw(15, "q", "job"),
    wire.Cancel(5),
]


async def test_requests_that_arrive_byte_by_byte_are_carried_out(server: ClusterServer, socket_path: str) -> None:
    client = await RawClient.connect(socket_path)
    for byte in wire.frame(wire.Put(1, "k", b"x", "", None)):
        client.send(bytes([byte]))
        await asyncio.sleep(0)
    reply = await client.ask(wire.Get(2, "k"))
    assert isinstance(reply, wire.Done)
    client.vanish()


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", wire.FRAME_MAX_BYTES + 1),
        b"\xff" * 64,
        struct.pack(">I", 0),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        struct.pack(">I", 4) + b"\xc1\xc1\xc1\xc1",
        struct.pack(">I", 7) + msgspec.msgpack.encode(["Get"]) + b"\0\0",
        struct.pack(">I", 8) + msgspec.msgpack.encode(["Gut", 1, "k"]),
        struct.pack(">I", 11) + b"\x93\xa3Get\x01\xa4\xff\xff\xff\xff",
    ],
    ids=["too long", "far too long", "empty", "HTTP", "no msgpack", "no id", "no such request", "no UTF-8"],
)
async def test_garbage_ends_that_one_connection(
    store: EmbeddedCluster, server: ClusterServer, remote: RemoteCluster, socket_path: str, data: bytes
) -> None:
    client = await RawClient.connect(socket_path)
    client.send(data)
    assert await client.rest() == b""
    client.vanish()
    await remote.put("still", b"here")


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_mutated_requests_neither_crash_the_server_nor_leave_anything_behind(data: st.DataObject) -> None:
    stream = bytearray(b"".join(wire.frame(request) for request in REQUESTS))
    for _ in range(data.draw(st.integers(0, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(stream)))

    async def attack() -> None:
        store = EmbeddedCluster()
        with tempfile.TemporaryDirectory(prefix="hw-") as folder:
            path = str(Path(folder) / "s")
            server = await serve(store, path)
            client = await RawClient.connect(path)
            client.send(bytes(stream[:cut]))
            good = await RemoteCluster.connect(path)
            await good.put("still", b"here")
            client.vanish()
            await good.close()
            await server.close()
            sizes = store.sizes()
            assert (sizes["watches"], sizes["subscriptions"]) == (0, 0)
            assert not server.connections
            await store.close()

    asyncio.run(attack())


async def test_one_connection_cannot_open_feeds_without_end(server: ClusterServer, socket_path: str) -> None:
    client = await RawClient.connect(socket_path)
    client.send(b"".join(wire.frame(wire.Take(number, "q")) for number in range(OPEN_MAX)))
    reply = await client.ask(wire.Take(OPEN_MAX, "q"))
    assert isinstance(reply, wire.Failed)
    client.vanish()


async def test_an_id_that_is_in_use_is_refused(server: ClusterServer, socket_path: str) -> None:
    client = await RawClient.connect(socket_path)
    client.send(wire.frame(wire.Take(1, "q")))
    assert isinstance(await client.ask(wire.Watch(1, "k/")), wire.Failed)
    client.vanish()


def test_the_client_brings_little_into_a_worker() -> None:
    """A worker must not pay for the database, the web framework or the exposition of metrics."""
    code = "import sys, headwater.cluster.client; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    for heavy in ("sqlalchemy", "starlette", "prometheus_client", "httpx", "structlog", "headwater.cluster.embedded"):
        assert heavy not in modules
