"""A job reads a live stream from its worker, and what it makes of it is a live stream like any other."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headwater.access.policy import Kick, encode
from headwater.access.presence import StreamPresence
from headwater.center.publish import Publication, TakenOver
from headwater.center.source import Part, SourceReader, blocking
from headwater.live.stream import StreamKey
from headwater.media.tag import Flags
from headwater.media.timeline import FRAME_MS
from support.media_worker import DOMAIN, Encoder, Worker, running
from support.wait import eventually

PRODUCT = StreamKey(DOMAIN, "live", "cam_ld")


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    with tempfile.TemporaryDirectory(prefix="hw-") as folder:
        async with running(Path(folder)) as worker:
            yield worker


async def _first(reader: SourceReader) -> Part:
    async for part in reader:
        return part
    raise AssertionError("the reader has ended")


async def _announced(worker: Worker, key: StreamKey) -> StreamPresence:
    async with asyncio.timeout(5):
        while (presence := await worker.presence(key)) is None:
            await asyncio.sleep(0.01)
    return presence


async def test_a_reader_begins_with_the_newest_gop_and_goes_on(worker: Worker) -> None:
    encoder = Encoder(worker)
    encoder.write(60)
    reader = SourceReader(worker.source())
    parts = aiter(reader)
    first = await anext(parts)
    assert first.fresh
    assert first.newest_ms == 59 * 40
    assert first.tags[0].flags & Flags.CONFIG
    assert first.tags[1].flags & Flags.KEY
    assert first.tags[1].timestamp_ms == 2000
    encoder.write(1)
    later = await anext(parts)
    assert not later.fresh
    assert [tag.timestamp_ms for tag in later.tags] == [2400, 2400]
    reader.close()
    assert await anext(parts, None) is None


async def test_a_reader_begins_with_the_publisher_who_is_there(worker: Worker) -> None:
    """Who read the one before has had what the worker still holds of it."""
    encoder = Encoder(worker)
    encoder.write(60)
    encoder.end()
    another = Encoder(worker)
    reader = SourceReader(worker.source())
    begins = asyncio.create_task(_first(reader))
    await eventually(lambda: another.stream.relays, "the reader is there")
    another.write(3)
    first = await begins
    frames = [tag for tag in first.tags if not tag.flags & Flags.CONFIG]
    assert first.fresh
    assert first.tags[0].flags & Flags.CONFIG
    assert min(tag.timestamp_ms for tag in frames) == 59 * 40 + FRAME_MS


async def test_a_reader_waits_for_its_stream_until_it_is_closed(worker: Worker) -> None:
    reader = SourceReader(worker.source())
    waiting = asyncio.create_task(_first(reader))
    await asyncio.sleep(0)
    encoder = Encoder(worker)
    encoder.write(30)
    reader.follow(worker.source())
    assert (await waiting).fresh


async def test_a_thread_can_read_and_publish(worker: Worker) -> None:
    loop = asyncio.get_running_loop()
    encoder = Encoder(worker)
    encoder.write(60)
    reader = SourceReader(worker.source())
    publication = Publication(worker.source(), PRODUCT.stream, "ld")

    def work() -> None:
        for part in blocking(reader, loop):
            publication.write_from_thread(part.tags, loop)
            if part.tags[-1].timestamp_ms == 100 * 40:
                loop.call_soon_threadsafe(reader.close)

    working = asyncio.create_task(asyncio.to_thread(work))
    await _announced(worker, PRODUCT)
    encoder.write(41)
    await working
    await publication.close()


async def test_a_product_is_a_stream_that_names_its_source_and_keeps_its_times(worker: Worker) -> None:
    encoder = Encoder(worker)
    encoder.write(60)
    part = await _first(SourceReader(worker.source()))
    publication = Publication(worker.source(), PRODUCT.stream, "ld")
    await publication.write(part.tags)
    presence = await _announced(worker, PRODUCT)
    assert (presence.source, presence.template) == ("cam", "ld")
    stream = worker.node.hub.streams[PRODUCT]
    await eventually(lambda: stream.ring.next, "the product has tags")
    assert stream.ring.slice(0)[-1].timestamp_ms == part.tags[-1].timestamp_ms
    assert worker.node.ingest.received == {}
    await publication.close()
    await eventually(lambda: stream.publisher is None, "the product ends")


async def test_a_product_that_comes_back_is_in_step_with_its_source(worker: Worker) -> None:
    encoder = Encoder(worker)
    encoder.write(60)
    first = Publication(worker.source(), PRODUCT.stream, "ld")
    await first.write((await _first(SourceReader(worker.source()))).tags)
    await _announced(worker, PRODUCT)
    await first.close()
    stream = worker.node.hub.streams[PRODUCT]
    await eventually(lambda: stream.publisher is None, "the product ends")
    encoder.write(60)
    again = Publication(worker.source(), PRODUCT.stream, "ld")
    part = await _first(SourceReader(worker.source()))
    before = stream.ring.next
    await again.write(part.tags)
    await eventually(lambda: stream.ring.next > before, "it goes on")
    assert [tag.timestamp_ms for tag in stream.ring.slice(before)] == [
        tag.timestamp_ms for tag in part.tags if not tag.flags & 2
    ]
    await again.close()


async def test_a_second_job_takes_the_name_over_and_the_first_learns_it(worker: Worker) -> None:
    encoder = Encoder(worker)
    encoder.write(60)
    tags = (await _first(SourceReader(worker.source()))).tags
    first, second = (Publication(worker.source(), PRODUCT.stream, "ld") for _ in range(2))
    await first.write(tags)
    await second.write(tags)
    with pytest.raises(TakenOver):
        async with asyncio.timeout(5):
            while True:
                await first.write(tags)
                await asyncio.sleep(0.01)
    assert second.waits == ""
    await first.close()
    await second.close()


async def test_an_encoder_takes_the_name_from_a_product_and_the_product_waits(worker: Worker) -> None:
    source = Encoder(worker)
    source.write(60)
    tags = (await _first(SourceReader(worker.source()))).tags
    publication = Publication(worker.source(), PRODUCT.stream, "ld")
    await publication.write(tags)
    await _announced(worker, PRODUCT)
    encoder = Encoder(worker, PRODUCT)
    await eventually(lambda: publication.waits, "the product has lost its place")
    encoder.write(1)
    await publication.write(tags)
    assert publication.waits.startswith("the stream is being published")
    assert worker.node.hub.streams[PRODUCT].publisher is encoder
    assert encoder.cut_for == ""
    await publication.close()


async def test_a_product_of_an_unknown_domain_is_refused(worker: Worker) -> None:
    publication = Publication(worker.source(StreamKey("other.test", "live", "cam")), "cam_ld", "ld")
    encoder = Encoder(worker)
    encoder.write(30)
    await publication.write((await _first(SourceReader(worker.source()))).tags)
    assert publication.waits == "denied by domain: unknown domain"


async def test_a_product_can_be_cut_and_comes_back(worker: Worker) -> None:
    encoder = Encoder(worker)
    encoder.write(60)
    tags = (await _first(SourceReader(worker.source()))).tags
    publication = Publication(worker.source(), PRODUCT.stream, "ld")
    await publication.write(tags)
    await _announced(worker, PRODUCT)
    await worker.cluster.publish("kick", encode(Kick(*PRODUCT)))
    await eventually(lambda: publication.waits, "the product has lost its place")
    async with asyncio.timeout(5):
        while publication.waits:
            await publication.write(tags)
            await asyncio.sleep(0.01)
    await publication.close()


async def test_what_comes_before_the_first_key_frame_is_left_out(worker: Worker) -> None:
    encoder = Encoder(worker)
    encoder.write(60)
    tags = [tag for tag in (await _first(SourceReader(worker.source()))).tags if not tag.flags & Flags.KEY]
    publication = Publication(worker.source(), PRODUCT.stream, "ld")
    await publication.write(tags)
    assert publication.waits
    assert PRODUCT not in worker.node.hub.streams
