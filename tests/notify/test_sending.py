"""The queue of callbacks: order, tries, dead letters, restarts, and servers that mean no good."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.notify import client as calls
from headwater.notify import queue, service
from headwater.notify.client import ANSWER_MAX_BYTES, CallFailed, Client
from headwater.notify.events import RecordStatus, StreamState
from headwater.notify.queue import enqueue
from headwater.notify.service import AT_ONCE_PER_DOMAIN, KEPT_S, PAUSE_S, TRIES_MAX, CallbackRecord, CallbackService
from headwater.settings import Notify
from headwater.store.database import Database
from headwater.store.models import Callback, RecordNotify, SnapshotAuth, SnapshotNotify
from support.callback_server import CallbackServer, Handler
from support.databases import prepared
from support.domain_world import ACTOR, PLAY, PUSH, SETTINGS, World, code

KEY = "abcdef0123456789"


@pytest.fixture
def customer() -> Iterator[CallbackServer]:
    with CallbackServer() as server:
        yield server


BOTH = pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if getattr(request, "param", "sqlite") == "sqlite":
        database = await Database.open(prepared(tmp_path))
    else:
        url = request.getfixturevalue("postgres").emptied()
        database = await Database.open(url, key_file=tmp_path / "secret.key")
    settings = msgspec.structs.replace(SETTINGS, data_dir=str(tmp_path), notify=Notify(private_addresses=True))
    world = World(database, settings)
    world.account = (await world.accounts.create("owner", actor=ACTOR)).account_id
    world.stranger = (await world.accounts.create("stranger", actor=ACTOR)).account_id
    await world.pair()
    yield world
    await world.services.callbacks.close()
    await world.cluster.close()
    await database.close()


def state(world: World, stream: str, kind: str = "publish_done", domain: str = PUSH) -> StreamState:
    return StreamState(
        type="publish" if kind == "publish" else "publish_done",
        domain=domain,
        app="live",
        stream=stream,
        session=f"session-{stream}",
        ip="192.0.2.7",
        node="node-1",
        time_s=world.now_s,
    )


async def tell(world: World, *streams: str, domain: str = PUSH) -> None:
    """Queue the ends of pushes, each with a number of its own in the order of their causes."""
    for stream in streams:
        async with world.database.write() as session:
            assert await enqueue(session, state(world, stream, domain=domain), world.now_s)


async def deliver(world: World, callbacks: CallbackService | None = None) -> None:
    """Send what is due now."""
    sender = callbacks or world.services.callbacks
    while await sender.send_due():
        await sender.settled()


async def rows(world: World, wanted: str = "") -> list[Callback]:
    async with world.database.read() as session:
        chosen = select(Callback).order_by(Callback.id)
        return list(await session.scalars(chosen.where(Callback.state == wanted) if wanted else chosen))


async def set_urls(world: World, url: str, domain: str = PUSH, **more: object) -> None:
    await world.services.notify.set_stream(world.account, domain, notify_url=url, actor=ACTOR, **more)  # type: ignore[arg-type]


async def test_nothing_is_queued_for_who_wants_to_know_nothing(world: World) -> None:
    async with world.database.write() as session:
        assert not await enqueue(session, state(world, "show"), world.now_s)
        assert not await enqueue(session, RecordStatus(type="record_started", domain=PLAY, app="a", stream="b"), world.now_s)
    assert await rows(world) == []


async def test_an_event_is_queued_with_its_cause_or_not_at_all(world: World, customer: CallbackServer) -> None:
    await set_urls(world, customer.url("/s"))
    with pytest.raises(ZeroDivisionError):
        async with world.database.write() as session:
            await enqueue(session, state(world, "show"), world.now_s)
            raise ZeroDivisionError
    assert await rows(world) == []


async def test_callbacks_are_signed_and_noted_with_what_was_answered(world: World, customer: CallbackServer) -> None:
    await set_urls(world, customer.url("/s"), signed=True, key=KEY)
    await tell(world, "show")
    await deliver(world)
    (call,) = customer.called
    assert "content-length" not in call.headers
    assert (call.method, call.path, call.query["id"], call.query["action"]) == ("GET", "/s", "show", "publish_done")
    assert call.headers["ali-live-timestamp"] == "1700000000"
    assert call.headers["ali-live-signature"] == calls_signature(PUSH, "1700000000")
    page = await world.services.callbacks.records(
        world.account, PUSH, ["stream"], world.now_s - 1, world.now_s + 1, status="success"
    )
    (record,) = page.items
    assert (record.state, record.tries, record.response, record.error) == ("sent", 1, "ok", "")
    assert json.loads(record.header)["ALI-LIVE-SIGNATURE"] == call.headers["ali-live-signature"]


def calls_signature(signer: str, stamp: str) -> str:
    from hashlib import md5

    return md5(f"{signer}|{stamp}|{KEY}".encode()).hexdigest()


async def test_a_begun_push_is_told_after_two_seconds(world: World, customer: CallbackServer) -> None:
    await set_urls(world, customer.url("/s"))
    async with world.database.write() as session:
        await enqueue(session, state(world, "show", "publish"), world.now_s)
    await tell(world, "show")
    world.now_s += 1.9
    await deliver(world)
    assert customer.called == [], "what comes after it waits, too"
    world.now_s += 0.1
    await deliver(world)
    assert [call.query["action"] for call in customer.called] == ["publish", "publish_done"]


async def test_a_clock_that_goes_back_holds_up_no_callback(world: World, customer: CallbackServer) -> None:
    await set_urls(world, customer.url("/s"))
    await tell(world, "show")
    world.now_s -= 3600
    await deliver(world)
    assert len(customer.called) == 1


async def test_what_is_refused_is_tried_five_times_a_second_apart_and_then_given_up(
    world: World, customer: CallbackServer
) -> None:
    await set_urls(world, customer.url("/s"))
    customer.answers["/s"] = [500]
    await tell(world, "show", "show")
    for number in range(1, TRIES_MAX + 1):
        if number == TRIES_MAX:
            customer.answers["/s"] = [500, 200]
        await deliver(world)
        tries = [row.tries for row in await rows(world)]
        assert tries == [number, number == TRIES_MAX], "the next one of the stream has its turn after the last try"
        world.now_s += PAUSE_S - 0.01
        await deliver(world)
        assert [row.tries for row in await rows(world)] == tries, "not before its time"
        world.now_s += 0.01
    (dead,) = (await world.services.callbacks.dead()).items
    assert (dead.tries, dead.error) == (TRIES_MAX, "status 500")
    assert len(await rows(world, "sent")) == 1
    failed = await world.services.callbacks.records(
        world.account, PUSH, ["stream"], world.now_s - 60, world.now_s, status="failed"
    )
    assert [item.id for item in failed.items] == [dead.id]


@BOTH
async def test_a_stream_waits_for_its_own_callbacks_and_for_nobody_elses(world: World, customer: CallbackServer) -> None:
    await set_urls(world, customer.url("/s"))
    customer.answers["/s"] = [503, 200]
    await tell(world, "a", "a", "b")
    await deliver(world)
    assert next(call.query["id"] for call in customer.called) in ("a", "b")
    assert sorted(row.stream for row in await rows(world, "queued")) in (["a", "a"], ["b"])
    world.now_s += PAUSE_S
    await deliver(world)
    assert [row.stream for row in await rows(world, "sent")] == ["a", "a", "b"]
    stamps = [row.done_s for row in await rows(world, "sent") if row.stream == "a"]
    assert stamps == sorted(stamps, key=float)  # type: ignore[arg-type]


async def test_a_restart_sends_what_was_left_and_what_was_under_way_again(world: World, customer: CallbackServer) -> None:
    await set_urls(world, customer.url("/s"))
    await tell(world, "a", "a", "b")
    reached = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()

    def hold(handler: Handler) -> None:
        loop.call_soon_threadsafe(reached.release)
        customer.ended.wait(5)

    customer.behaves["/s"] = hold
    sender = asyncio.create_task(world.services.callbacks.run())
    for _ in ("a", "b"):  # one call of each stream is under way
        await reached.acquire()
    sender.cancel()
    await asyncio.gather(sender, return_exceptions=True)
    assert len(await rows(world, "queued")) == 3
    del customer.behaves["/s"]
    customer.called.clear()
    again = CallbackService(world.database, Notify(private_addresses=True), lambda: world.now_s)
    await deliver(world, again)
    await again.close()
    assert sorted(call.query["id"] for call in customer.called) == ["a", "a", "b"]


@BOTH
async def test_what_is_taken_while_the_queue_is_looked_at_is_not_sent_again(
    world: World, customer: CallbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_urls(world, customer.url("/s"))
    await tell(world, "show")
    sender, look, go_on = world.services.callbacks, AsyncSession.scalars, threading.Event()

    def hold(handler: Handler) -> None:
        go_on.wait(5)
        handler.send_response(200)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    async def late(self: AsyncSession, *arguments: Any) -> Any:
        found = await look(self, *arguments)
        go_on.set()
        await sender.settled()  # the rows are on their way, and meanwhile the server takes what was under way
        return found

    customer.behaves["/s"] = hold
    assert await sender.send_due()
    monkeypatch.setattr(AsyncSession, "scalars", late)
    await sender.send_due()
    monkeypatch.undo()
    await sender.settled()
    assert [row.state for row in await rows(world)] == ["sent"]
    assert len(customer.at("/s")) == 1


@BOTH
async def test_a_domain_whose_server_is_dead_holds_up_nobody_else(
    world: World, customer: CallbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "AT_ONCE", AT_ONCE_PER_DOMAIN + 1)
    await world.add("other.example.com", "liveEdge")
    await set_urls(world, customer.url("/dead"))
    await set_urls(world, customer.url("/well"), "other.example.com")
    customer.behaves["/dead"] = lambda handler: bool(customer.ended.wait(5)) or None
    await tell(world, *(f"s{number}" for number in range(40)))
    await tell(world, "show", "show", domain="other.example.com")
    callbacks = world.services.callbacks
    sender = asyncio.create_task(callbacks.run())
    async with asyncio.timeout(4):
        while len(await rows(world, "sent")) < 2:
            await asyncio.sleep(0.01)
    assert len(customer.at("/dead")) <= AT_ONCE_PER_DOMAIN
    sender.cancel()
    await asyncio.gather(sender, return_exceptions=True)


async def test_what_waits_in_a_lane_is_bounded_and_the_rest_is_a_dead_letter(
    world: World, customer: CallbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "WAITING_MAX", 2)
    await set_urls(world, customer.url("/s"))
    await tell(world, "a", "a", "a", "b")
    assert [(row.stream, row.state) for row in await rows(world)] == [
        ("a", "queued"), ("a", "queued"), ("a", "dead"), ("b", "queued"),
    ]  # fmt: skip


@BOTH
async def test_dead_letters_are_listed_resent_and_dropped(
    world: World, customer: CallbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "WAITING_MAX", 0)
    await set_urls(world, customer.url("/s"))
    await tell(world, "a", "b", "c")
    callbacks = world.services.callbacks
    page = await callbacks.dead(domain=PUSH.upper(), page_size=2)
    assert ([item.stream for item in page.items], page.total) == (["c", "b"], 3)
    assert (await callbacks.dead(domain="other.example.com")).total == 0
    by_stream = {item.stream: item.id for item in (await callbacks.dead()).items}
    assert await callbacks.resend([by_stream["a"], 10_000], actor=ACTOR) == 1
    assert await callbacks.drop([by_stream["b"], by_stream["a"]], actor=ACTOR) == 1, "what is queued is no dead letter"
    await deliver(world)
    assert [call.query["id"] for call in customer.called] == ["a"]
    assert [item.stream for item in (await callbacks.dead()).items] == ["c"]
    actions = [entry.action for entry in await world.services.audit.entries()]
    assert {"ResendCallbacks", "DropCallbacks"} <= set(actions)


@BOTH
async def test_records_go_after_a_week_and_dead_letters_when_there_are_too_many(
    world: World, customer: CallbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_urls(world, customer.url("/s"))
    await tell(world, "old")
    await deliver(world)
    world.now_s += KEPT_S + 1
    monkeypatch.setattr(queue, "WAITING_MAX", 0)
    monkeypatch.setattr(service, "DEAD_MAX", 2)
    await tell(world, "a", "b", "c")
    assert await world.services.callbacks.purge() == 2
    assert [row.stream for row in await rows(world)] == ["b", "c"]


async def test_metrics_tell_what_waits_what_is_dead_and_how_old_it_is(world: World, customer: CallbackServer) -> None:
    await set_urls(world, customer.url("/s"))
    await tell(world, "a", "b")
    await world.services.callbacks.send_due()
    await world.services.callbacks.settled()
    await tell(world, "c")
    world.now_s += 7
    told = {
        (family.name, *sample.labels.values()): sample.value
        for family in await world.services.callbacks.families()
        for sample in family.samples
    }
    assert told[("headwater_callbacks", "queued")] == 1
    assert told[("headwater_callbacks", "dead")] == 0
    assert told[("headwater_callbacks_done", "stream", "sent")] == 2
    assert told[("headwater_callbacks_oldest_seconds",)] == 7


async def test_records_are_of_ones_own_domains_and_of_spans_that_make_sense(world: World) -> None:
    callbacks = world.services.callbacks
    assert await code(callbacks.records(world.stranger, PUSH, ["stream"], 0, 1)) == "InvalidDomain.NotFound"
    assert await code(callbacks.records(world.account, PUSH, ["stream"], 2, 2)) == "InvalidEndTime.Mismatch"


# servers that mean no good


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client(allow_private=True)
    yield client
    await client.close()


async def test_private_addresses_are_not_called_whatever_they_are_written_as(customer: CallbackServer) -> None:
    port = customer.url("").rpartition(":")[2]
    closed = Client(allow_private=False)
    for host in (
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.0.0.1",
    ):
        with pytest.raises(CallFailed, match=r"no public address|resolution|known"):
            await closed.call("GET", f"http://{host}:{port}/s")
    assert customer.called == []
    await closed.close()


async def test_redirects_are_not_followed(customer: CallbackServer, client: Client) -> None:
    def redirect(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", customer.url("/inside"))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    customer.behaves["/s"] = redirect
    answer = await client.call("GET", customer.url("/s"))
    assert (answer.status, answer.good) == (302, False)
    assert customer.at("/inside") == []


async def test_of_a_huge_answer_only_the_beginning_is_read(customer: CallbackServer, client: Client) -> None:
    def flood(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not customer.ended.is_set():
            handler.wfile.write(b"x" * 65536)

    customer.behaves["/s"] = flood
    answer = await client.call("POST", customer.url("/s"), body=b"{}")
    assert answer.body == b"x" * ANSWER_MAX_BYTES
    assert answer.good


@pytest.mark.parametrize(
    "said", [b"garbage\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nA: " + b"b" * 300_000, b"HTTP/1.1 999999 x\r\n\r\n"]
)
async def test_garbage_is_no_answer(customer: CallbackServer, client: Client, said: bytes) -> None:
    customer.behaves["/s"] = lambda handler: handler.wfile.write(said) and None
    with pytest.raises(CallFailed):
        await client.call("GET", customer.url("/s"))


async def test_a_server_that_trickles_is_given_up_in_time(
    customer: CallbackServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "TIMEOUT_S", 0.2)

    def trickle(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not customer.ended.wait(0.02):
            handler.wfile.write(b"x")

    customer.behaves["/s"] = trickle
    started = time.monotonic()
    with pytest.raises(CallFailed, match="no answer within"):
        await client.call("GET", customer.url("/s"))
    assert time.monotonic() - started < calls.TIMEOUT_S + 5


@BOTH
async def test_an_answer_that_no_database_can_keep_is_kept_as_far_as_it_can_be(world: World, customer: CallbackServer) -> None:
    def odd(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "4")
        handler.end_headers()
        handler.wfile.write(b"\0\xff\xd8a")

    customer.behaves["/s"] = odd
    await set_urls(world, customer.url("/s"))
    await tell(world, "show")
    await deliver(world)
    (row,) = await rows(world, "sent")
    assert row.response == "\N{REPLACEMENT CHARACTER}" * 3 + "a"
    assert msgspec.convert(row, CallbackRecord, from_attributes=True).state == "sent"
    async with world.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Callback)) == 1


async def test_a_domain_that_becomes_a_sub_streaming_domain_tells_nothing_of_its_own_any_more(world: World) -> None:
    await world.add("sub.example.com")
    notify = world.services.notify
    url = "https://cb.example.com/"
    await notify.set_record(world.account, "sub.example.com", url, new=True, actor=ACTOR)
    await notify.set_snapshot(world.account, "sub.example.com", url, new=True, actor=ACTOR)
    await notify.set_snapshot_signing(world.account, "sub.example.com", signed=True, key=KEY, actor=ACTOR)
    await world.services.bindings.map_play(world.account, "sub.example.com", PLAY, actor=ACTOR)
    async with world.database.write() as session:
        assert not await enqueue(session, RecordStatus(type="record_error", domain="sub.example.com", app="a", stream="b"), 0)
        for table in (RecordNotify, SnapshotNotify, SnapshotAuth):
            assert await session.get(table, "sub.example.com") is None
