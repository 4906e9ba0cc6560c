"""Promises of the queue of uploads: every file gets there, its owner is told once, and none is removed here before that."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.center import uploads
from headwater.center.uploads import Uploads
from headwater.domains.uploads import UploadService
from headwater.settings import Settings
from headwater.store.database import Actor, Database
from headwater.store.models import Upload
from headwater.store.objects import ObjectError, ObjectStores, Stored
from support.clock import Clock
from support.databases import prepared

ENDPOINT, BUCKET = "oss.test", "live-files"


class Store(ObjectStores):
    """A store that fails as often as it is told to."""

    failures = 0
    given = 0

    async def put_file(self, *args: object, **kwargs: object) -> Stored:
        self.given += 1
        if self.failures:
            self.failures -= 1
            raise ObjectError("the store is away")
        return await super().put_file(*args, **kwargs)  # type: ignore[arg-type]


class World:
    """A queue with its database, store and clock."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database
        self.stores = Store(Settings(data_dir=str(folder)))
        self.clock = Clock()
        self.told: list[int] = []
        self.queue = self.another()

    def another(self) -> Uploads:
        queue = Uploads(self.database, self.stores, "n1", now_s=self.clock)
        queue.register("file", self._stored)
        return queue

    async def _stored(self, session: AsyncSession, owner: int) -> None:
        self.told.append(owner)

    async def add(self, name: str, data: bytes = b"data") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        async with self.database.write() as session:
            self.queue.enqueue(
                session,
                path,
                endpoint=ENDPOINT,
                bucket=BUCKET,
                key=f"k/{name}",
                bytes_=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                owner_kind="file",
                owner_id=len(data),
            )
        self.queue.wake()
        return path

    async def rows(self) -> list[Upload]:
        async with self.database.read() as session:
            return list(await session.scalars(select(Upload)))

    async def empty(self) -> bool:
        return not await self.rows()

    async def left(self, number: int) -> bool:
        return len(await self.rows()) == number

    async def tried(self, times: int) -> bool:
        return sum(row.tries for row in await self.rows()) == times

    async def failed(self, times: int) -> bool:
        return any(row.tries == times for row in await self.rows())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = await Database.open(prepared(tmp_path))
    world = World(tmp_path, database)
    yield world
    await world.queue.close()
    await database.close()


async def settle(world: World, condition: str, *arguments: int) -> None:
    """Wait until the queue is as wanted."""
    for _ in range(2000):
        if await getattr(world, condition)(*arguments):
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{condition}: {[(row.state, row.tries, row.error) for row in await world.rows()]}")


async def test_a_file_is_stored_its_owner_told_and_only_then_removed_here(world: World) -> None:
    path = await world.add("a.flv")
    world.queue.start()
    await settle(world, "empty")
    assert not path.exists()
    assert world.told == [4]
    assert await world.stores.get(ENDPOINT, BUCKET, "k/a.flv") == b"data"


async def test_of_two_files_under_one_name_the_later_one_is_there_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, most = 0, 0
    put_file = world.stores.put_file

    async def slow(endpoint: str, bucket: str, key: str, path: Path, *, bytes_: int, content_type: str = "") -> Stored:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        return await put_file(endpoint, bucket, key, path, bytes_=bytes_)

    monkeypatch.setattr(world.stores, "put_file", slow)
    world.queue.start()
    for data in (b"first", b"later"):
        path = world.folder / data.decode()
        path.write_bytes(data)
        async with world.database.write() as session:
            place = {"endpoint": ENDPOINT, "bucket": BUCKET, "key": "k/same"}
            world.queue.enqueue(session, path, **place, bytes_=5, sha256="", owner_kind="file", owner_id=5)
        world.queue.wake()
    await settle(world, "empty")
    assert most == 1
    assert await world.stores.get(ENDPOINT, BUCKET, "k/same") == b"later"


async def test_failures_are_tried_again_with_longer_and_longer_pauses(world: World) -> None:
    world.stores.failures = 3
    path = await world.add("a.flv")
    world.queue.start()
    pauses = []
    for tries in (1, 2, 3):
        await settle(world, "failed", tries)
        [row] = await world.rows()
        assert row.error == "the store is away"
        assert path.exists()
        pauses.append(row.next_try_s - world.clock.now_s)
        world.clock.now_s = row.next_try_s
        world.queue.wake()
    await settle(world, "empty")
    assert pauses == [5, 10, 20]
    assert world.stores.given == 4
    assert world.told == [4]


async def test_what_a_dead_run_has_left_is_taken_up(world: World) -> None:
    waiting, told = await world.add("waiting.flv"), await world.add("told.flv", b"12345")
    async with world.database.write() as session:
        row = await session.scalar(select(Upload).where(Upload.path == str(told)))
        assert row is not None
        row.state = "stored"  # it died before the local file was removed
    world.queue = world.another()
    world.queue.start()
    await settle(world, "empty")
    assert world.told == [4]  # and not twice
    assert not waiting.exists()
    assert not told.exists()


async def test_a_lost_file_that_the_store_has_is_stored_and_one_that_it_has_not_is_said_to_be_missing(world: World) -> None:
    there, lost = await world.add("there.flv"), await world.add("lost.flv", b"12345")
    await world.stores.put_bytes(ENDPOINT, BUCKET, "k/there.flv", b"data")
    there.unlink()
    lost.unlink()
    world.queue.start()
    await settle(world, "failed", 1)
    await settle(world, "left", 1)
    [row] = await world.rows()
    assert (row.key, row.error) == ("k/lost.flv", uploads.MISSING)
    assert world.told == [4]


async def test_an_operator_gives_up_and_may_try_again(world: World) -> None:
    service = UploadService(world.database, world.clock)
    actor = Actor("tester", "")
    world.stores.failures = 1
    path = await world.add("a.flv")
    world.queue.start()
    await settle(world, "failed", 1)
    [failing] = (await service.page()).items
    assert (failing.kind, failing.key, failing.tries, failing.error) == ("file", "k/a.flv", 1, "the store is away")
    assert await service.give_up([failing.id, 4711], actor=actor) == 1
    assert await service.give_up([failing.id], actor=actor) == 0
    assert [item.id for item in (await service.page("given_up")).items] == [failing.id]
    assert (await service.page()).total == 0
    world.clock.now_s += 3600
    world.queue.wake()
    assert await world.queue.waiting() == 0
    assert path.exists()
    assert await service.try_again([failing.id], actor=actor) == 1
    world.queue.wake()
    await settle(world, "empty")


async def test_thousands_of_files_for_a_store_that_is_away_do_not_stand_in_the_way_of_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_file, tried = world.stores.put_file, 0

    async def away(endpoint: str, bucket: str, *args: object, **kwargs: object) -> Stored:
        nonlocal tried
        if bucket == "away":
            tried += 1
            raise ObjectError("the store is away")
        return await put_file(endpoint, bucket, *args, **kwargs)

    monkeypatch.setattr(world.stores, "put_file", away)
    async with world.database.write() as session:
        for number in range(50):
            path = world.folder / str(number)
            path.write_bytes(b"data")
            place = {"endpoint": ENDPOINT, "bucket": "away", "key": f"k/{number}"}
            world.queue.enqueue(session, path, **place, bytes_=4, sha256="", owner_kind="file", owner_id=1)
    await world.add("good.flv")
    world.queue.start()
    await settle(world, "left", 50)
    assert tried == 4  # as many as run at once
    world.clock.now_s += 5
    world.queue.wake()
    await settle(world, "tried", 5)
    assert tried == 5  # one that looks whether the store is back
    world.clock.now_s -= 86_400  # the clock goes back
    monkeypatch.setattr(world.stores, "put_file", put_file)
    world.queue.wake()
    await settle(world, "empty")


async def test_a_database_that_takes_no_note_makes_no_file_travel_again_and_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.add("a.flv")
    write, refused = world.database.write, 0

    def full() -> object:
        nonlocal refused
        refused += 1
        raise OSError("no space left on device")

    monkeypatch.setattr(world.database, "write", full)
    world.queue.start()
    for _ in range(200):
        await asyncio.sleep(0.005)
        world.queue.wake()
    assert (world.stores.given, refused) == (1, 2)
    monkeypatch.setattr(world.database, "write", write)


async def test_files_of_other_nodes_are_left_to_them(world: World) -> None:
    await world.add("mine.flv")
    async with world.database.write() as session:
        (await session.scalars(select(Upload))).one().node = "n2"
    await world.add("new.flv")
    world.queue.start()
    await settle(world, "left", 1)
    assert [row.node for row in await world.rows()] == ["n2"]
