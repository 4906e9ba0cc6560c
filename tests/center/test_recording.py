"""Promises of recording as a whole: what a template says is recorded, goes on over breaks and crashes, and is stored."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.plan import Plan, Record, encode, plan_key
from headwater.access.policy import Session
from headwater.access.presence import StreamPresence, stream_key
from headwater.access.presence import encode as encode_presence
from headwater.center import recording
from headwater.center.config import CenterConfig
from headwater.center.record import orders
from headwater.center.record.orders import NO, Answer
from headwater.center.record.spec import RecordSpec
from headwater.center.recording import RecordingDepartment
from headwater.center.server import CenterServer
from headwater.cluster.centers import CenterRefusal, Centers
from headwater.live.stream import LiveStream
from headwater.media import codecs
from headwater.media.tag import VIDEO, Tag
from headwater.notify.events import RecordEvent
from headwater.settings import Settings
from headwater.store.database import Database
from headwater.store.models import RecordedFile, Recording, Upload
from support.clock import Clock
from support.databases import prepared
from support.media_clips import flv_clip
from support.media_worker import DOMAIN, KEY, Worker, running
from support.recordings import Contents, a_format, frames_of, tags_of

ENDPOINT, BUCKET = "oss.test", "live-files"


class Notices:
    """A customer's server: what it is told, and what it says when it is asked."""

    def __init__(self) -> None:
        self.answer = NO
        self.asked: list[str] = []
        self.told: list[str] = []
        self.files: list[tuple[str, str]] = []

    async def ask(self, stream: StreamPresence) -> Answer:
        self.asked.append(stream.session)
        return self.answer

    async def status(self, session: AsyncSession, spec: RecordSpec, event: RecordEvent) -> None:
        self.told.append(event)

    async def file(self, session: AsyncSession, recording: Recording, file: RecordedFile) -> None:
        self.files.append((file.key, recording.push_args))

    async def close(self) -> None:
        pass


class Camera:
    """Publishes a clip to the hub of the worker, and announces it."""

    remote = False
    product = False
    made_of = None

    def __init__(self, world: World, session: str) -> None:
        self.id = session
        self.world = world
        loop = world.worker.node.loop
        self.last_data_at = loop.time()
        self.stream: LiveStream = world.worker.node.hub.publish(KEY, self, Session(), 15, self.last_data_at)

    def write(self, tags: list[Tag]) -> None:
        for tag in tags:
            self.stream.write(tag.kind, tag.timestamp_ms, tag.payload)

    async def announce(self, arguments: str = "") -> None:
        url = f"rtmp://push.test/live/cam{arguments}"
        presence = StreamPresence(*KEY, self.id, "push.test", url, 1.0, "::1", "::1", "node", 0)
        await self.world.worker.cluster.put(stream_key(*KEY), encode_presence(presence))

    async def end(self) -> None:
        """The publisher has gone, and nobody waits for it."""
        self.world.worker.node.hub.end(self.stream, "test")
        await self.world.worker.cluster.delete(stream_key(*KEY))

    def cut(self, reason: str) -> None:
        pass

    def replaced(self, reason: str) -> None:
        pass


class World:
    """A media worker, a center that does nothing but record, and its clock."""

    def __init__(self, folder: Path, worker: Worker, database: Database) -> None:
        self.folder = folder
        self.worker = worker
        self.database = database
        self.notices = Notices()
        self.clock = Clock(time.time())
        self.centers = Centers(worker.cluster)
        self.center = self.new_center()

    def new_center(self) -> CenterServer:
        settings = Settings(data_dir=str(self.folder))
        return CenterServer(
            CenterConfig("node", settings, "", str(self.folder / "center.sock")),
            self.worker.cluster,
            self.database,
            asyncio.get_running_loop(),
            (lambda center: RecordingDepartment(center, self.notices, self.clock),),
        )

    async def plan(self, *formats: str, cycle_s: int = 3600, slice_s: int = 1, **fields: Any) -> None:
        record = Record(
            "live", "*", ENDPOINT, BUCKET, formats=tuple(a_format(name, cycle_s, slice_s) for name in formats), **fields
        )
        plan = Plan(DOMAIN, "1", "cn", records=(record,))
        await self.worker.cluster.put(plan_key(DOMAIN), encode(plan))
        await wait(lambda: self.center.plan(DOMAIN) == plan, "the center knows the plan")

    async def command(self, command: str) -> None:
        body = {"domain": DOMAIN, "app": "live", "stream": "cam", "command": command}
        await self.centers.ask("POST", "/record/command", body)

    async def files(self) -> list[RecordedFile]:
        async with self.database.read() as session:
            return list(await session.scalars(select(RecordedFile).order_by(RecordedFile.id)))

    async def recordings(self) -> list[Recording]:
        async with self.database.read() as session:
            return list(await session.scalars(select(Recording).order_by(Recording.id)))

    async def state(self) -> list[str]:
        return [each.state for each in await self.recordings()]

    async def in_state(self, state: str) -> bool:
        return await self.state() == [state]

    async def stored(self, count: int) -> bool:
        if len(await self.files()) != count or await self.state() != ["closed"]:
            return False
        async with self.database.read() as session:  # last: nothing is added to the queue any more
            return not (await session.scalars(select(Upload))).all()

    def written_ms(self) -> int:
        """How far the one recording is."""
        [job] = self.center.hosts.jobs.values()
        return round(float(job.state.parts["written_s"]) * 1000) if job.state is not None and job.state.parts else -1

    def path(self, file: RecordedFile) -> str:
        path = self.center.objects.local_path(file.endpoint, file.bucket, file.key)
        assert path is not None
        return str(path)


async def restarted(world: World) -> None:
    """Restart what was stopped, trying again as the center asks for as long as it is being stopped."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await world.command("restart")
            except CenterRefusal as refusal:
                assert refusal.code == "ServiceUnavailable"


async def wait(condition: Callable[[], object], what: str) -> None:
    """Until it is true; it may be a coroutine function."""
    async with asyncio.timeout(20):
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.02)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(recording, "LOOK_S", 0.05)
    with tempfile.TemporaryDirectory(prefix="hw-") as name:
        folder = Path(name)
        database = await Database.open(prepared(folder))
        async with contextlib.AsyncExitStack() as exits:
            exits.push_async_callback(database.close)
            worker = await exits.enter_async_context(running(folder))
            world = World(folder, worker, database)
            await world.center.start()
            yield world
            await world.center.stop()


CLIP = [tag for tag in tags_of(flv_clip(seconds=4)) if tag.kind != VIDEO or tag.payload[1] != codecs.SEQUENCE_END]
LAST_MS = max(tag.timestamp_ms for tag in CLIP) - CLIP[0].timestamp_ms


def later(tags: list[Tag], ms: int) -> list[Tag]:
    return [Tag(tag.kind, tag.timestamp_ms + ms, tag.payload, tag.flags) for tag in tags]


async def test_a_stream_is_recorded_stored_and_its_customer_told(world: World) -> None:
    await world.plan("m3u8", "flv", "mp4", "cmaf")
    camera = Camera(world, "s1")
    camera.write(CLIP)
    await camera.announce("?callback_id=7&callback_id=8&other=1")
    await wait(lambda: world.notices.told == ["record_started"], "recording has begun")
    await wait(lambda: world.written_ms() >= LAST_MS, "all is written")
    await camera.end()
    await wait(lambda: world.notices.told == ["record_started", "record_paused"], "recording waits for its publisher")
    assert await world.files() == []
    world.clock.now_s += 181
    await wait(lambda: world.stored(4), "all files are stored")
    for file in await world.files():
        assert Contents(world.path(file)).decoded["video"] == 100, file.format
    assert {key.partition("/")[0] for key, _ in world.notices.files} == {"m3u8", "flv", "mp4", "cmaf"}
    assert {arguments for _, arguments in world.notices.files} == {'{"callback_id":"7"}'}
    left = world.center.spool / "record" / "1"
    await wait(lambda: {path.name for path in left.iterdir()} == {"journal", "lock"}, "nothing is left here")


async def test_a_publisher_who_is_back_in_time_goes_on_with_the_same_file(world: World) -> None:
    await world.plan("mp4")
    first = Camera(world, "s1")
    first.write(CLIP)
    await first.announce()
    await wait(lambda: "record_started" in world.notices.told and world.written_ms() >= LAST_MS, "all is written")
    await first.end()
    await wait(lambda: "record_paused" in world.notices.told, "the publisher is missed")
    world.clock.now_s += 170
    second = Camera(world, "s2")
    second.write(CLIP[:50])  # a stream that is two seconds old has two seconds of media
    await second.announce()
    await wait(lambda: "record_resumed" in world.notices.told, "recording goes on")
    second.write(CLIP[50:])
    await wait(lambda: world.written_ms() >= 2 * LAST_MS, "all is written")
    await second.end()
    await wait(lambda: world.notices.told[3:] == ["record_paused"], "recording waits again")
    world.clock.now_s += 181
    await wait(lambda: world.stored(1), "the file is stored")
    [file] = await world.files()
    assert Contents(world.path(file)).data("video") == frames_of(CLIP, VIDEO) * 2


async def test_nothing_is_lost_when_job_and_center_die(world: World) -> None:
    """The ring still has what the dead have not written; nothing is written twice, and no file is made twice."""
    await world.plan("mp4", "m3u8")
    camera = Camera(world, "s1")
    camera.write(CLIP)
    await camera.announce()
    await wait(lambda: "record_started" in world.notices.told and world.written_ms() >= LAST_MS, "all is written")
    process = world.center.hosts.process_of(("record", "1"))
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    camera.write(later(CLIP[2:], LAST_MS + 50))
    await wait(lambda: bool(world.center.hosts.jobs) and world.written_ms() >= 2 * LAST_MS, "another process goes on")
    await world.center.stop()
    camera.write(later(CLIP[2:], 2 * (LAST_MS + 50)))
    world.center = world.new_center()
    await world.center.start()
    await wait(lambda: bool(world.center.hosts.jobs) and world.written_ms() >= 3 * LAST_MS, "another center goes on")
    await camera.end()
    await wait(lambda: world.center.hosts.jobs == {}, "the stream has ended")
    await wait(lambda: world.notices.told[-1] == "record_paused", "recording waits")
    assert world.notices.told == ["record_started", "record_paused"]  # no customer has noticed anything
    world.clock.now_s += 181
    await wait(lambda: world.stored(2), "the files are stored")
    for file in await world.files():
        assert Contents(world.path(file)).decoded["video"] == 300, file.format
    playlist = next(file for file in await world.files() if file.format == "m3u8")
    assert "DISCONTINUITY" not in Path(world.path(playlist)).read_text()


async def test_a_recording_by_hand_is_started_cut_stopped_and_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.plan("flv", on_demand=7)
    noted = RecordingDepartment._file_made

    async def forgetful(department: RecordingDepartment, recording: Any, made: Any) -> None:
        """The first file is not noted when it is told: it must be when the recording closes."""
        monkeypatch.setattr(RecordingDepartment, "_file_made", noted)
        raise RuntimeError("the database has thrown this away")

    monkeypatch.setattr(RecordingDepartment, "_file_made", forgetful)
    with pytest.raises(CenterRefusal) as missing:
        await world.command("start")
    assert missing.value.code == "InvalidStream.NotFound"
    camera = Camera(world, "s1")
    camera.write(CLIP)
    await camera.announce()
    await wait(lambda: world.center.stream((DOMAIN, "live", "cam")) is not None, "the stream is live")
    assert await world.recordings() == []
    with pytest.raises(CenterRefusal) as not_started:
        await world.command("stop")
    assert not_started.value.code == "TaskNotFound"
    await world.command("start")
    await wait(lambda: "record_started" in world.notices.told and world.written_ms() >= LAST_MS, "all is written")
    with pytest.raises(CenterRefusal) as twice:
        await world.command("start")
    assert (twice.value.status, twice.value.code) == (409, "TaskAlreadyStarted")
    with pytest.raises(CenterRefusal) as running:
        await world.command("cancel_delay")
    assert running.value.code == "TaskNotStopped"
    await world.command("restart")
    camera.write(later(CLIP[2:], LAST_MS + 50))
    await wait(lambda: world.written_ms() >= 2 * LAST_MS, "the second file is written")
    await world.command("stop")
    await wait(lambda: "record_paused" in world.notices.told, "it is stopped")
    await world.command("cancel_delay")
    await wait(lambda: world.stored(2), "both files are stored")
    files = sorted(await world.files(), key=lambda file: file.number)
    before, after = [Contents(world.path(file)).data("video") for file in files]
    assert frames_of(CLIP, VIDEO)[-len(before) :] == before  # from the moment of the command on
    assert frames_of(CLIP, VIDEO) == after
    assert len(await world.recordings()) == 1  # the stream is still live, and is not recorded again
    with pytest.raises(CenterRefusal, match="`start` begins a recording") as none:
        await world.command("restart")
    assert none.value.code == "TaskNotFound"
    world.notices.told.clear()
    await world.command("start")
    await wait(lambda: "record_started" in world.notices.told, "it is recorded again")
    await world.command("stop")
    await wait(lambda: "record_paused" in world.notices.told, "it is stopped again")
    world.notices.told.clear()
    await restarted(world)  # one that was stopped: its file closes, and another recording begins
    await wait(lambda: "record_started" in world.notices.told, "another one begins")
    assert len(await world.recordings()) == 3


async def test_a_customers_server_decides_once_for_a_push(world: World) -> None:
    await world.plan("flv", "mp4", on_demand=1)
    refused = Camera(world, "s1")
    refused.write(CLIP)
    await refused.announce()
    await wait(lambda: world.notices.asked == ["s1"], "the server is asked")
    await wait(lambda: world.state(), "the answer is noted")
    await refused.announce("?again")
    await refused.end()
    world.notices.answer = Answer(True, ("mp4", "m3u8"), {"mp4": 5})
    taken = Camera(world, "s2")
    taken.write(CLIP)
    await taken.announce()
    await wait(lambda: "record_started" in world.notices.told, "recording has begun")
    assert world.notices.asked == ["s1", "s2"]
    declined, recorded = await world.recordings()
    assert declined.state == "declined"
    spec = msgspec.json.decode(recorded.spec, type=RecordSpec)
    assert [(format_.format, format_.cycle_s) for format_ in spec.formats] == [("mp4", 5)]


async def test_what_was_decided_of_a_push_is_forgotten_when_it_is_long_over(world: World) -> None:
    [department] = world.center.departments
    assert isinstance(department, RecordingDepartment)
    await world.plan("flv", on_demand=1)
    camera = Camera(world, "s1")
    camera.write(CLIP)
    await camera.announce()
    await wait(lambda: world.in_state("declined"), "the answer is noted")
    await camera.end()
    world.clock.now_s += recording.STOPPED_KEPT_S

    async def forgotten() -> bool:
        world.clock.now_s += recording.PURGE_S
        return not department._answers and not department._stopped and not await world.recordings()

    await wait(forgotten, "nothing is left of it, in memory and in the database")


async def test_a_push_says_itself_whether_it_is_recorded(world: World) -> None:
    await world.plan("flv", on_demand=2)
    silent = Camera(world, "s1")
    silent.write(CLIP)
    await silent.announce("?record_config=" + quote('{"NeedRecord":false}'))
    await wait(lambda: world.center.stream((DOMAIN, "live", "cam")) is not None, "the stream is live")
    await silent.end()
    loud = Camera(world, "s2")
    loud.write(CLIP)
    await loud.announce("?record_config=" + quote('{"NeedRecord":true}'))
    await wait(lambda: "record_started" in world.notices.told, "recording has begun")
    assert [each.session for each in await world.recordings()] == ["s2"]


async def test_a_stream_that_cannot_be_recorded_is_told_and_let_be(world: World) -> None:
    await world.plan("flv")
    camera = Camera(world, "s1")
    camera.write(tags_of(flv_clip("h264", "opus")))
    await camera.announce()
    await wait(lambda: world.notices.told == ["record_error"], "the customer is told")
    await wait(lambda: world.center.hosts.jobs == {}, "no job is left")
    await wait(lambda: world.in_state("failed"), "the recording is over")
    [row] = await world.recordings()
    assert "this audio is opus" in row.error


async def test_a_template_with_a_time_records_within_it(world: World) -> None:
    start_s = int(world.clock.now_s) + 100
    await world.plan("flv", start_s=start_s, end_s=start_s + 100)
    camera = Camera(world, "s1")
    camera.write(CLIP)
    await camera.announce()
    await wait(lambda: world.center.stream((DOMAIN, "live", "cam")) is not None, "the stream is live")
    assert await world.recordings() == []
    world.clock.now_s += 101
    await wait(lambda: "record_started" in world.notices.told, "recording has begun")
    world.clock.now_s += 100
    await wait(lambda: "record_paused" in world.notices.told, "recording has ended")


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", False),
        ("?record_config=%7B%22NeedRecord%22%3Atrue%7D", True),
        ("?record_config=%7B%22NeedRecord%22%3A1%7D", False),
        ("?record_config=nonsense", False),
        ("?record_config=%7B%22NeedRecord%22%3Afalse%7D&record_config=%7B%22NeedRecord%22%3Atrue%7D", False),
    ],
)
def test_the_argument_of_a_push_is_read_strictly(query: str, wanted: bool) -> None:
    assert orders.argument("rtmp://push.test/live/cam" + query) is wanted
