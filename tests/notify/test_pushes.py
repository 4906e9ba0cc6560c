"""Each push that is told is told to have ended, once, whoever died in between; changes of the master are told, too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from sqlalchemy import select

from headwater.access import faults, presence
from headwater.access.presence import PublishFault, StreamPresence
from headwater.domains import streams
from headwater.domains.streams import StreamService
from headwater.store.models import Callback
from support.domain_world import ACTOR, PLAY, PUSH, SETTINGS, World, world_with

URL = "https://cb.example.com/hook"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_with(tmp_path / "world", SETTINGS.domains) as world:
        await world.pair()
        await world.services.notify.set_stream(
            world.account, PUSH, notify_url=URL, exception_url=f"{URL}/fault", switch_url=f"{URL}/switch", actor=ACTOR
        )
        yield world


@contextlib.asynccontextmanager
async def watched(service: StreamService) -> AsyncIterator[None]:
    """The main process, until it dies."""
    task = asyncio.create_task(service.run_history())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def push(world: World, session: str, **more: object) -> StreamPresence:
    item = StreamPresence(
        domain=PLAY,
        app="live",
        stream="show",
        session=session,
        publish_domain=PUSH,
        publish_url=f"rtmp://{PUSH}/live/show?auth_key=1-0-0-ab",
        published_at=world.now_s,
        client_ip="192.0.2.7",
        server_ip="192.0.2.1",
        node="node-1",
        worker=0,
    )
    return msgspec.structs.replace(item, **more)


async def live(world: World, item: StreamPresence) -> None:
    await world.cluster.put(presence.stream_key(item.domain, item.app, item.stream), presence.encode(item))


async def gone(world: World) -> None:
    await world.cluster.delete(presence.stream_key(PLAY, "live", "show"))


async def told(world: World) -> list[tuple[str, str]]:
    """What is queued: the action and the session of each."""
    async with world.database.read() as session:
        return [(row.type, row.session) for row in await session.scalars(select(Callback).order_by(Callback.id))]


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await check():
            await asyncio.sleep(0)


async def until_told(world: World, *wanted: tuple[str, str]) -> None:
    async def same() -> bool:
        return await told(world) == list(wanted)

    await until(same)


async def test_a_push_shorter_than_two_seconds_is_taken_back(world: World) -> None:
    async with watched(world.streams):
        await live(world, push(world, "one"))
        await until_told(world, ("publish", "one"))
        world.now_s += 1.9
        await gone(world)
        await until_told(world)


async def test_a_restart_closes_what_ended_meanwhile_and_tells_nothing_twice_of_what_did_not(world: World) -> None:
    async with watched(world.streams):
        await live(world, push(world, "one"))
        await until_told(world, ("publish", "one"))
    world.now_s += 60
    async with watched(world.streams):  # it is still there
        await live(world, push(world, "one", width=1280, height=720))
        await live(world, push(world, "other", stream="other"))
        await until_told(world, ("publish", "one"), ("publish", "other"))
    await gone(world)
    world.now_s += 60
    before = [("publish", "one"), ("publish", "other"), ("publish_done", "one")]
    async with watched(world.streams):
        await until_told(world, *before)
    async with watched(world.streams):
        await live(world, push(world, "two"))
        await until_told(world, *before, ("publish", "two"))


async def test_a_fault_of_a_push_is_told_though_nobody_listened_or_the_database_was_away(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = str(tmp_path)

    def fault(session: str, at_s: float) -> PublishFault:
        return PublishFault(PUSH, "live", "show", session, "192.0.2.7", 501, "the worker has cut it", at_s)

    faults.lay(data_dir, fault("two", 2.0))
    faults.lay(data_dir, fault("one", 1.0))
    (tmp_path / faults.FOLDER / "half.tmp").write_bytes(b"{")
    (tmp_path / faults.FOLDER / "bad.json").write_bytes(b"{")
    with monkeypatch.context() as patch:
        patch.setattr(streams, "enqueue", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await world.streams.note_faults(data_dir)
    listening = asyncio.create_task(world.streams.run_faults(data_dir))
    before = [("publish_exception", "one"), ("publish_exception", "two")]
    await until_told(world, *before)
    faults.lay(data_dir, fault("three", 3.0))
    await world.cluster.publish(presence.FAULT_SUBJECT, b"")
    await until_told(world, *before, ("publish_exception", "three"))
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    monkeypatch.setattr(faults, "FAULTS_MAX", 1)
    with pytest.raises(faults.BoxFullError):
        faults.lay(data_dir, fault("four", 4.0))
        faults.lay(data_dir, fault("five", 5.0))


async def test_another_push_of_the_name_ends_the_one_before(world: World) -> None:
    async with watched(world.streams):
        await live(world, push(world, "one"))
        await until_told(world, ("publish", "one"))
        world.now_s += 5
        await live(world, push(world, "two"))
        await until_told(world, ("publish", "one"), ("publish_done", "one"), ("publish", "two"))


async def test_the_size_is_told_as_soon_as_it_is_known_and_what_the_center_makes_is_not(world: World) -> None:
    async def sized() -> bool:
        async with world.database.read() as session:
            (row,) = await session.scalars(select(Callback))
            query = parse_qs(urlsplit(row.url).query)
            return (query.get("width"), query.get("height"), query["time"]) == (["1280"], ["720"], ["1700000000"])

    async with watched(world.streams):
        await live(world, push(world, "made", stream="show_ld", source="show", template="ld"))
        await live(world, push(world, "one"))
        await until_told(world, ("publish", "one"))
        assert not await sized()
        world.now_s += 1
        await live(world, push(world, "one", width=1280, height=720))
        await until(sized)


async def test_a_change_of_the_master_is_told(world: World) -> None:
    async with watched(world.streams):
        await live(world, push(world, "one", upstream=1))
        await until_told(world, ("publish", "one"))
        world.now_s += 5
        await live(world, push(world, "two", upstream=2, reason="silent"))
        await until_told(world, ("publish", "one"), ("publish_done", "one"), ("publish", "two"), ("stream_switch", "two"))
    async with world.database.read() as session:
        switch = await session.scalar(select(Callback).where(Callback.family == "switch"))
    assert switch is not None
    assert (switch.url, msgspec.json.decode(switch.body)["reason"]) == (f"{URL}/switch", "master stream no data")
