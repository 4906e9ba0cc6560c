"""Snapshots of live streams: a center with its snapshot jobs over a media worker, and the object store in a folder."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select

from headwater.access.plan import Plan, Snapshots, encode, plan_key
from headwater.access.presence import StreamPresence, stream_key
from headwater.access.presence import encode as encode_presence
from headwater.center.config import CenterConfig
from headwater.center.server import CenterServer
from headwater.center.snapshot import spool
from headwater.center.snapshot.suspects import Guard
from headwater.center.snapshots import SnapshotDepartment
from headwater.cluster.centers import CenterRefusal, Centers
from headwater.live.stream import StreamKey
from headwater.media import flv
from headwater.media.tag import VIDEO, Flags, Tag
from headwater.settings import Settings
from headwater.store.database import Actor, Database
from headwater.store.models import Account, Domain, Snapshot, SnapshotTemplate, Upload
from support.databases import prepared
from support.media_clips import flv_clip
from support.media_worker import DOMAIN, KEY, Encoder, Worker, running
from support.wait import eventually

ACTOR = Actor("test")
OTHER = StreamKey(DOMAIN, "live", "other")
PLACE = {"endpoint": "oss-test", "bucket": "pictures"}
TEMPLATE = Snapshots("*", 1, **PLACE, overwrite="{AppName}/{StreamName}.jpg", sequence="all/{StreamName}/{Sequence}.jpg")
CLIP = flv.Reader().feed(flv_clip("h264", None, seconds=2, gop=5))


class Camera:
    """Pushes a real clip over and over, a key frame each 0.2 s of its clock."""

    def __init__(self, worker: Worker, key: StreamKey = KEY, tags: list[Tag] | None = None) -> None:
        self.stream = Encoder(worker, key).stream
        self._tags = CLIP if tags is None else tags
        self._at_ms = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            for tag in self._tags:
                self.stream.write(tag.kind, self._at_ms + tag.timestamp_ms, tag.payload)
                await asyncio.sleep(0.01)
            self._at_ms += 2000

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class World:
    """A worker, a center with the snapshot department alone, and what both leave behind."""

    def __init__(self, folder: Path, worker: Worker, database: Database) -> None:
        self.folder = folder
        self.objects = folder / "objects" / "pictures"
        self.worker = worker
        self.database = database
        self.cameras: list[Camera] = []
        settings = Settings(data_dir=str(folder))
        config = CenterConfig("node", settings, "", str(folder / "center.sock"))
        self.center = CenterServer(config, worker.cluster, database, asyncio.get_running_loop(), (SnapshotDepartment,))
        self.centers = Centers(worker.cluster)

    async def plan(self, *templates: Snapshots) -> None:
        await self.worker.cluster.put(plan_key(DOMAIN), encode(Plan(DOMAIN, "1", "cn", snapshots=templates)))

    async def publish(self, key: StreamKey = KEY, tags: list[Tag] | None = None) -> Camera:
        camera = Camera(self.worker, key, tags)
        self.cameras.append(camera)
        presence = StreamPresence(*key, "encoder", "push.test", "rtmp://", 1.0, "::1", "::1", "node", 0)
        await self.worker.cluster.put(stream_key(*key), encode_presence(presence))
        return camera

    async def now(self, key: StreamKey = KEY) -> bytes:
        question = dict(zip(("domain", "app", "stream"), key, strict=True))
        return await self.centers.fetch("POST", "/snapshot/now", question)

    async def rows(self) -> list[Snapshot]:
        async with self.database.read() as session:
            return list(await session.scalars(select(Snapshot).order_by(Snapshot.id)))

    async def stored(self, count: int, timeout_s: float = 15.0) -> list[Snapshot]:
        """The pictures, once so many are stored."""
        async with asyncio.timeout(timeout_s):
            while len(rows := [row for row in await self.rows() if row.state == "stored"]) < count:
                await asyncio.sleep(0.02)
        return rows

    def detail(self, key: StreamKey = KEY) -> str:
        job = self.center.hosts.jobs.get(("snapshot", "/".join(key)))
        return "" if job is None or job.state is None else job.state.detail


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(prefix="hw-") as name:
        folder = Path(name)
        database = await Database.open(prepared(folder))
        fields = {"type": "liveVideo", "region": "cn", "scope": "domestic", "status": "online", "cname": "", "description": ""}
        async with database.write() as session:
            session.add(Account(id="1", name="owner", created_s=1))
            await session.flush()
            session.add(Domain(name=DOMAIN, account="1", created_s=1, modified_s=1, resource_group_id="", **fields))
        async with contextlib.AsyncExitStack() as exits:
            exits.push_async_callback(database.close)
            worker = await exits.enter_async_context(running(folder))
            world = World(folder, worker, database)
            exits.push_async_callback(world.center.stop)
            yield world
            for camera in world.cameras:
                await camera.end()


def size(data: bytes) -> tuple[int, int]:
    image = Image.open(BytesIO(data))
    image.load()
    assert image.format == "JPEG"
    return image.size


async def test_pictures_are_taken_at_the_interval_named_and_stored(world: World) -> None:
    await world.center.start()
    await world.plan(TEMPLATE)
    await world.publish()
    rows = await world.stored(4)
    assert {row.object for row in rows} >= {"live/cam.jpg", "all/cam/1.jpg", "all/cam/2.jpg", "all/cam/3.jpg"}
    numbered = [row for row in rows if not row.is_overlay]
    created_ms = [row.created_ms for row in numbered]
    assert created_ms == sorted(set(created_ms))
    for row in rows:
        data = (world.objects / row.object).read_bytes()
        assert size(data) == (128, 72)
    await world.worker.cluster.delete(stream_key(*KEY))
    await eventually(lambda: not world.center.hosts.jobs, "the job has ended")
    await eventually(lambda: not any(world.folder.glob("spool/snapshots/pictures/*/*/*/*")), "nothing is left in the spool")


async def test_an_apps_own_template_beats_the_one_for_all_and_other_apps_have_none(world: World) -> None:
    await world.center.start()
    await world.plan(Snapshots("live", 1, **PLACE, overwrite="own.jpg"), Snapshots("*", 1, **PLACE, overwrite="all.jpg"))
    await world.publish()
    (row,) = await world.stored(1)
    assert (row.object, row.is_overlay) == ("own.jpg", True)
    await world.plan(Snapshots("another", 1, **PLACE, overwrite="none.jpg"))
    await world.publish(OTHER)
    assert await world.now(OTHER)
    assert ("snapshot", "/".join(OTHER)) not in world.center.hosts.jobs


async def test_broken_key_frames_are_left_out_and_told_of_and_others_notice_nothing(world: World) -> None:
    def broken(tag: Tag, number: int) -> Tag:
        spoilt = tag.flags & Flags.KEY and number % 10  # one key frame in two seconds is good
        return Tag(tag.kind, tag.timestamp_ms, tag.payload[:40] if spoilt else tag.payload, tag.flags)

    keys = 0
    tags = []
    for tag in CLIP:
        tags.append(broken(tag, keys))
        keys += bool(tag.flags & Flags.KEY)
    await world.center.start()
    await world.plan(TEMPLATE)
    await world.publish(KEY, tags)
    await world.publish(
        OTHER, [Tag(tag.kind, tag.timestamp_ms, tag.payload[:40] if tag.flags & Flags.KEY else tag.payload) for tag in CLIP]
    )
    await eventually(lambda: "decoded" in world.detail(OTHER), "it is told that nothing can be decoded", 20)
    rows = await world.stored(2)
    assert {row.stream for row in rows} == {"cam"}
    assert size((world.objects / "live/cam.jpg").read_bytes()) == (128, 72)


async def test_while_the_store_is_away_numbered_pictures_wait_and_the_newest_one_is_the_one_to_overwrite(world: World) -> None:
    world.objects.parent.mkdir()
    world.objects.write_text("no folder")
    await world.center.start()
    await world.plan(TEMPLATE)
    camera = await world.publish()
    async with asyncio.timeout(15):
        while len(await world.rows()) < 4:
            await asyncio.sleep(0.02)
    await world.worker.cluster.delete(stream_key(*KEY))
    await eventually(lambda: not world.center.hosts.jobs, "the job has ended")
    await camera.end()
    await eventually(lambda: not any(spool.left(world.folder / "spool")), "each picture is noted down")
    rows = await world.rows()
    assert {row.state for row in rows} == {"waiting"}
    async with world.database.write() as session:
        uploads = list(await session.scalars(select(Upload)))
        assert len(uploads) == len(rows), "only the newest picture waits for a name that is overwritten"
        for upload in uploads:
            upload.next_try_s = 0
    world.objects.unlink()
    world.center.uploads.wake()
    rows = await world.stored(len(rows))
    newest = max(row.created_ms for row in rows if not row.is_overlay)
    assert next(row.created_ms for row in rows if row.is_overlay) == newest


async def test_what_a_dead_run_has_written_is_taken_up_and_what_nobody_needs_is_removed(world: World) -> None:
    async with world.database.write() as session:
        template = SnapshotTemplate(domain=DOMAIN, app="*", interval_s=5, **PLACE, overwrite="", callback="", created_s=1)
        template.sequence = "{StreamName}/{UnixTimestamp}.jpg"
        session.add(template)
    folder = world.folder / "spool"
    spool.write(folder, KEY, 1_700_000_000_000, b"first")
    left = spool.again(spool.write(folder, KEY, 1_700_000_005_000, b"second"), 77)
    spool.write(folder, ("other.test", "live", "cam"), 1_700_000_000_000, b"of a domain that is gone")
    await world.center.start()
    await world.stored(2)
    assert sorted(path.name for path in (world.objects / "cam").iterdir()) == ["1700000000.jpg", "1700000005.jpg"]
    assert (world.objects / "cam/1700000005.jpg").read_bytes() == b"second"
    assert not left.exists()
    await eventually(lambda: not any(path.is_file() for path in folder.glob("snapshots/pictures/**/*")), "the spool is empty")


async def test_a_stream_that_has_killed_its_process_waits_and_the_others_go_on(world: World) -> None:
    crash = Guard(spool.marks(world.folder / "spool"), "/".join(OTHER)).decoding()
    crash.__enter__()
    await world.center.start()
    await world.plan(TEMPLATE)
    await world.publish(OTHER)
    await world.publish()
    assert {row.stream for row in await world.stored(2)} == {"cam"}
    await eventually(lambda: "suspect" in world.detail(OTHER), "it is told why")


async def test_a_picture_at_once_needs_no_template_and_is_stored_where_there_is_one(world: World) -> None:
    await world.center.start()
    with pytest.raises(CenterRefusal) as refused:
        await world.now()
    assert (refused.value.status, refused.value.code) == (404, "InvalidStream.NotFound")
    await world.publish()
    pictures = await asyncio.gather(*(world.now() for _ in range(5)))
    assert size(pictures[0]) == (128, 72)
    assert len(set(pictures)) == 1, "whoever asks at the same time gets the same picture"
    assert await world.rows() == []
    async with world.database.write() as session:
        session.add(
            SnapshotTemplate(
                domain=DOMAIN, app="live", interval_s=3600, **PLACE, overwrite="now.jpg", sequence="", callback="", created_s=1
            )
        )
    rendition = StreamKey(DOMAIN, "live", "cam_ld")
    await world.publish(rendition)
    made = await world.now(rendition)
    (row,) = await world.stored(1)
    assert (row.stream, (world.objects / "now.jpg").read_bytes()) == ("cam_ld", made)


async def test_a_picture_at_once_of_a_stream_without_any_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.center.snapshots.KEY_FRAME_S", 0.3)
    await world.center.start()
    await world.publish(KEY, [tag for tag in CLIP if not tag.flags & Flags.KEY and tag.kind == VIDEO])
    with pytest.raises(CenterRefusal) as refused:
        await world.now()
    assert (refused.value.status, refused.value.code) == (503, "Snapshot.NotTaken")
