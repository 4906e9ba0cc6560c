"""The transcoding job as a process: reads a stream from its worker, and its renditions are live streams beside it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from headwater.access.plan import Audio, Plan, Rendition, Video
from headwater.access.presence import StreamPresence
from headwater.center.department import AskFailed, Center
from headwater.center.hosts import Hosts
from headwater.center.jobs import Setup
from headwater.center.manager import Desired
from headwater.center.source import SourceReader
from headwater.center.transcode.spec import InsertSei, SeiTaken
from headwater.center.transcoding import Transcoding, job_id
from headwater.live.stream import StreamKey
from headwater.media.tag import Tag
from headwater.settings import Settings
from support.footage import footage, frames, keys, shown_ms, watch
from support.media_worker import DOMAIN, KEY, Encoder, Worker, running
from support.wait import eventually

JOB = "transcode", job_id(*KEY)


class Camera(Encoder):
    """Writes real footage, round and round."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self._round = footage(2.0, gop=13, start_ms=1000)
        self._next = 0
        self._laps = 0
        self.written: list[Tag] = []

    def roll(self, tags: int) -> None:
        for _ in range(tags):
            tag = self._round[self._next]
            tag = msgspec.structs.replace(tag, timestamp_ms=tag.timestamp_ms + self._laps * 2000)
            self.stream.write(tag.kind, tag.timestamp_ms, tag.payload)
            self.written.append(tag)
            self._next = (self._next + 1) % len(self._round)
            self._laps += self._next == 0

    async def on_air(self) -> None:
        """Until cancelled; some times faster than life, so that the tests are."""
        while True:
            self.roll(5)
            await asyncio.sleep(0.02)


class House:
    """The department, its job processes, and the stream that they work on."""

    def __init__(self, worker: Worker, spool: Path) -> None:
        self.worker = worker
        center = SimpleNamespace(spool=spool, settings=Settings(), ask=self._ask)
        self.department = Transcoding(cast(Center, center))
        self.hosts = Hosts([self.department], Setup(Settings(), str(spool)), spool)
        self.presence = StreamPresence(*KEY, "encoder", "", "", 0.0, "", "", "node", 0)

    async def _ask(self, kind: str, job: str, question: object) -> msgspec.Raw:
        return await self.hosts.ask(kind, job, question)

    def want(self, *renditions: Rendition) -> None:
        plan = Plan(DOMAIN, "1", "cn", renditions=renditions)
        wanted = self.department.wanted(self.presence, plan, {one.template: 0.0 for one in renditions})
        desired = {("transcode", one.id): Desired("transcode", one, self.worker.source()) for one in wanted}
        self.hosts.carry_out(desired)

    async def live(self, stream: str) -> StreamPresence:
        key = StreamKey(DOMAIN, "live", stream)
        async with asyncio.timeout(15):
            while (presence := await self.worker.presence(key)) is None:
                await asyncio.sleep(0.01)
        return presence

    async def gone(self, stream: str) -> None:
        async with asyncio.timeout(15):
            while await self.worker.presence(StreamKey(DOMAIN, "live", stream)) is not None:
                await asyncio.sleep(0.01)

    async def read(self, stream: str, pictures: int) -> list[Tag]:
        reader, tags = SourceReader(self.worker.source(StreamKey(DOMAIN, "live", stream))), list[Tag]()
        async with asyncio.timeout(15):
            async for part in reader:
                tags += part.tags
                if len(frames(tags)) >= pictures:
                    break
        reader.close()
        return tags


@pytest.fixture
async def house() -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="hw-") as folder:
        spool = Path(folder, "spool")
        spool.mkdir()
        async with running(Path(folder)) as worker:
            house = House(worker, spool)
            yield house
            await house.hosts.close(10)


async def test_renditions_are_live_streams_that_come_and_go_with_the_plan(house: House) -> None:
    camera = Camera(house.worker)
    camera.roll(80)
    rolling = asyncio.create_task(camera.on_air())
    low = Rendition("live", "low", video=Video(kbps=200, height=90, low_latency=True))
    web = Rendition("live", "web", video=Video(kbps=300, height=120, low_latency=True), audio=Audio("opus"))
    house.want(low)
    presence = await house.live("cam_low")
    assert (presence.source, presence.template) == ("cam", "low")
    house.want(low, web)
    await house.live("cam_web")
    made = await house.read("cam_web", 40)
    seen = watch(made)
    assert (seen.size, seen.codec, seen.audio_codec, seen.audio_rate) == ((214, 120), "h264", "opus", 48000)
    taken = msgspec.json.decode(await house.hosts.ask(*JOB, InsertSei("hi", "frame", -1)), type=SeiTaken)
    assert sorted(taken.renditions) == ["low", "web"]
    with pytest.raises(AskFailed, match="4000"):
        await house.hosts.ask(*JOB, InsertSei("x" * 4001))
    assert (await house.live("cam_low")).session == presence.session, "it was not disturbed"
    house.want(web)
    await house.gone("cam_low")

    def told() -> bool:
        state = house.hosts.jobs[JOB].state
        return (
            state is not None
            and (state.state, list(state.parts)) == ("running", ["web"])
            and state.parts["web"].startswith("214x120, 25 frames/s, libx264")
        )

    await eventually(told, "the job tells what it does")
    house.want()
    await house.gone("cam_web")
    rolling.cancel()


async def test_a_rendition_has_the_sources_clock(house: House) -> None:
    camera = Camera(house.worker)
    camera.roll(80)
    rolling = asyncio.create_task(camera.on_air())
    house.want(Rendition("live", "low", video=Video(kbps=200, height=90)))
    await house.live("cam_low")
    made = await house.read("cam_low", 40)
    source = camera.written
    assert set(map(shown_ms, frames(made))) <= set(map(shown_ms, frames(source)))
    assert set(keys(made)) <= set(keys(source))
    rolling.cancel()


async def test_the_renditions_go_on_when_another_encoder_takes_over(house: House) -> None:
    first = Camera(house.worker)
    first.roll(100)
    house.want(Rendition("live", "low", video=Video(kbps=200, height=90, low_latency=True)))
    presence = await house.live("cam_low")
    first.end()
    second = Camera(house.worker)
    rolling = asyncio.create_task(second.on_air())
    reader = asyncio.create_task(house.read("cam_low", 100))
    tags = await reader
    times = [tag.timestamp_ms for tag in frames(tags)]
    assert times == sorted(times)
    assert (await house.live("cam_low")).session == presence.session
    rolling.cancel()
