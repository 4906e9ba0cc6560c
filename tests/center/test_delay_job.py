"""A delayed stream is what its source was, and what its buffer holds survives the process."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from headwater.center.delay.job import DelayJob
from headwater.center.delay.spec import NOTE_FILE, DelaySpec, Note
from headwater.center.jobs import Start
from headwater.center.process import Desk
from headwater.live.stream import StreamKey
from headwater.media.tag import Flags
from support.media_worker import DOMAIN, KEY, Encoder, Worker, running
from support.wait import eventually

COPY = StreamKey(DOMAIN, "live", "cam-alidelay")


class World:
    """A worker with a source, and jobs that delay it."""

    def __init__(self, folder: Path, worker: Worker) -> None:
        self.folder = folder
        self.worker = worker

    @contextlib.asynccontextmanager
    async def job(self, delay_s: int) -> AsyncIterator[DelayJob]:
        spec = msgspec.Raw(msgspec.json.encode(DelaySpec(delay_s, COPY.stream, "delay/cam")))
        start = Start("job", self.worker.source(), spec)
        job = DelayJob(cast(Desk, SimpleNamespace(start=start, setup=SimpleNamespace(spool=str(self.folder)))))
        running = asyncio.create_task(job.run())
        try:
            yield job
        finally:
            await job.stop("the test is over")
            await running

    def times(self) -> list[int]:
        """Times of the frames that the copy has."""
        stream = self.worker.node.hub.streams.get(COPY)
        if stream is None:
            return []
        ring = stream.ring
        frames = [tag for tag in ring.slice(ring.first) if not tag.flags & (Flags.CONFIG | Flags.METADATA)]
        return sorted({tag.timestamp_ms for tag in frames})

    def buffered(self) -> bool:
        return any(path.stat().st_size > 1000 for path in (self.folder / "delay/cam").glob("*.delay"))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(prefix="hw-") as name:
        async with running(Path(name)) as worker:
            yield World(Path(name), worker)


async def test_the_copy_has_every_frame_at_its_time(world: World) -> None:
    encoder = Encoder(world.worker)
    encoder.write(50)
    async with world.job(1):
        await eventually(world.buffered, "the source is in the buffer", 10)
        encoder.write(100)
        source = world.worker.node.hub.streams[KEY].ring
        newest_ms = source.slice(source.next - 1)[0].timestamp_ms
        await eventually(lambda: world.times()[-1:] == [newest_ms], "the copy has the last frame", 20)
        times = world.times()
        assert times == list(range(times[0], newest_ms + 1, 40))
        presence = await world.worker.presence(COPY)
        assert presence is not None
        assert (presence.source, presence.template) == ("cam", "alidelay")
        note = (world.folder / "delay/cam" / NOTE_FILE).read_bytes()
        assert msgspec.json.decode(note, type=Note) == Note(DOMAIN, "live", "cam", 1)


async def test_another_process_goes_on_with_the_buffer_of_the_first(world: World) -> None:
    encoder = Encoder(world.worker)
    encoder.write(75)
    async with world.job(4):
        await eventually(world.buffered, "the source is in the buffer", 10)
        assert world.times() == []
    encoder.end()
    async with world.job(4):
        await eventually(lambda: len(world.times()) >= 20, "what was buffered is published", 20)
        times = world.times()
        assert times == list(range(times[0], times[-1] + 1, 40))


async def test_a_shorter_delay_holds_at_once_and_what_waited_is_left_out(world: World) -> None:
    encoder = Encoder(world.worker)
    encoder.write(50)
    async with world.job(3600) as job:
        await eventually(world.buffered, "the source is in the buffer", 10)
        await eventually(lambda: job.state().detail.startswith("the first media are due in 3"), "it waits", 5)
        await job.change(world.worker.source(), msgspec.Raw(msgspec.json.encode(DelaySpec(1, COPY.stream, "delay/cam"))))
        encoder.write(50)
        await eventually(lambda: len(world.times()) >= 25, "what came since is published", 20)
        assert world.times()[0] >= 2000
