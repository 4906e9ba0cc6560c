"""The center as a whole: it sees what is live and planned, runs jobs of departments, and says what it does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import msgspec
import pytest

from headwater.access.demand import WANT_PREFIX, Refused, refused_key, want_key
from headwater.access.plan import Rendition, Video
from headwater.access.presence import stream_key
from headwater.center import server
from headwater.center.manager import KeptPlan
from headwater.cluster.centers import CenterError, CenterRefusal
from support import center_world
from support.center_world import PRODUCT, World
from support.media_worker import KEY, Encoder
from support.wait import eventually


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with center_world.world() as world:
        yield world


def _rendition(lazy: bool) -> Rendition:
    return Rendition("*", "ld", lazy=lazy, video=Video(height=90))


async def test_a_live_stream_gets_its_jobs_and_they_are_seen_by_all(world: World) -> None:
    await world.plan(_rendition(lazy=False))
    encoder = Encoder(world.worker)
    encoder.write(60)
    await world.announce()
    await eventually(lambda: world.state("transcode") == world.state("record") == "running", "both jobs run", 20)
    await eventually(lambda: PRODUCT in world.worker.node.hub.streams, "the rendition is live")
    told = await world.centers.ask("GET", "/jobs")
    assert [(job["kind"], job["stream"], job["state"]) for job in told] == [
        ("transcode", "cam", "running"),
        ("record", "cam", "running"),
    ]
    async with asyncio.timeout(10):
        while len(jobs := await world.centers.jobs()) < 2 or not all(job.frames for job in jobs):
            await asyncio.sleep(0.05)
    families = {family["name"]: family for family in await world.centers.ask("GET", "/metrics")}
    samples = families["headwater_jobs"]["samples"]
    assert {"labels": {"kind": "transcode", "state": "running"}, "value": 1} in samples
    with pytest.raises(CenterRefusal) as refused:
        await world.centers.ask("POST", "/nothing")
    assert refused.value.status == 404
    [kept] = await world.worker.cluster.list("kept-plan/")
    assert kept.key == f"kept-plan/node/{'/'.join(KEY)}"
    assert msgspec.json.decode(kept.value, type=KeptPlan).session == "encoder"
    await world.worker.cluster.delete(stream_key(*KEY))
    await eventually(lambda: not world.center.hosts.jobs, "all jobs have ended")
    async with asyncio.timeout(10):
        while await world.centers.jobs() or await world.worker.cluster.list("kept-plan/"):
            await asyncio.sleep(0.05)


async def test_a_rendition_that_is_wanted_appears_and_goes(world: World) -> None:
    await world.plan(_rendition(lazy=True))
    encoder = Encoder(world.worker)
    encoder.write(60)
    await world.announce()
    await eventually(lambda: world.state("record") == "running", "the recording runs", 20)
    assert world.state("transcode") == ""
    key = want_key(*KEY, "ld", "node", 0)
    assert key.startswith(WANT_PREFIX)
    await world.worker.cluster.put(key, b"")
    await eventually(lambda: PRODUCT in world.worker.node.hub.streams, "the rendition is live", 20)
    await world.worker.cluster.delete(key)
    await eventually(lambda: world.state("transcode") == "", "the rendition's job has ended")


async def test_a_rendition_over_the_quota_is_refused_for_all_to_see_and_logged_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[dict[str, object]] = []
    monkeypatch.setattr(server.log, "warning", lambda event, **fields: logged.append({"event": event, **fields}), raising=False)
    await world.plan(_rendition(lazy=False), Rendition("*", "hd", lazy=False, video=Video(height=90)), most=1)
    encoder = Encoder(world.worker)
    encoder.write(60)
    await world.announce()
    async with asyncio.timeout(10):
        while (entry := await world.worker.cluster.get(refused_key(*KEY, "ld"))) is None:
            await asyncio.sleep(0.01)
    assert msgspec.json.decode(entry.value, type=Refused).reason == "quota"
    world.center.again(KEY)
    await eventually(lambda: not world.center._news.is_set(), "it has decided again")
    [refusal] = [line for line in logged if line["event"] == "rendition refused"]
    assert (refusal["stream"], refusal["template"], refusal["reason"]) == ("/".join(KEY), "ld", "quota")
    assert world.center.refusals == {"quota": 1}


async def test_a_killed_job_comes_back_and_its_source_notices_nothing(world: World) -> None:
    await world.plan(_rendition(lazy=False))
    encoder = Encoder(world.worker)
    encoder.write(60)
    await world.announce()
    product = await world.product()
    process = world.center.hosts.process_of(("transcode", "cam"))
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    await eventually(lambda: product.publisher is None, "the rendition has lost its publisher")
    encoder.write(30)
    await eventually(lambda: product.publisher is not None, "the rendition is back", 20)
    assert world.worker.node.hub.streams[PRODUCT] is product
    assert encoder.cut_for == ""
    encoder.write(30)
    last = world.worker.node.hub.streams[KEY].ring.slice(0)[-1].timestamp_ms
    await eventually(
        lambda: [tag.timestamp_ms for tag in product.ring.slice(0)[-1:]] == [last], "the rendition is in step with its source"
    )


async def test_without_a_center_whoever_asks_is_told_so(world: World) -> None:
    await world.worker.cluster.delete("center/node")
    with pytest.raises(CenterError, match="no live center is running"):
        await world.centers.ask("GET", "/jobs")
