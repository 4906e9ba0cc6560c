"""The live center in the real program: renditions for viewers, and what dies comes back without anybody's notice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from headwater.access.plan import Audio, Group, Plan, Rendition, Video, encode, plan_key
from headwater.cluster.client import RemoteCluster
from headwater.media.mpegts import VIDEO_PID
from support.api import Api, Pair, make_pair
from support.encoders import ffmpeg_push
from support.flv import check_times
from support.m3u8 import Segment
from support.metrics import total
from support.players import Hls, HttpViewer, RtmpViewer, decode_segment
from support.server import Server, running
from support.ts import read_ts
from support.wait import until

pytestmark = pytest.mark.xdist_group("renditions")

RENDITIONS = (
    Rendition("*", "ld", video=Video(height=60, kbps=60), audio=Audio()),
    Rendition("*", "sd", lazy=False, video=Video(height=80, kbps=80), audio=Audio()),
)


@pytest.fixture(scope="module")
def center() -> Iterator[Server]:
    """A server with two workers and a live center, which may use more cores than there are."""
    with running({"workers": "2", "center.enabled": "true", "center.transcode_cores": "50", "center.idle_s": "2"}) as server:
        yield server


@contextlib.contextmanager
def on_air(server: Server) -> Iterator[Pair]:
    """Domains with two renditions and a group, whose stream `cam` is on air."""
    pair = make_pair(server, Api(server, server.account()))
    plan = Plan(pair.streaming, "1", "cn-beijing", renditions=RENDITIONS, groups=(Group("*", "multi", ("sd", "ld", "")),))

    async def put() -> None:
        cluster = await RemoteCluster.connect(str(server.data_dir / "run" / "cluster.sock"))
        await cluster.put(plan_key(pair.streaming), encode(plan))
        await cluster.close()

    asyncio.run(put())
    with ffmpeg_push(pair.push_url()):
        pair.wait_online()
        yield pair


@pytest.fixture
def pair(center: Server) -> Iterator[Pair]:
    with on_air(center) as pair:
        yield pair


def _jobs(server: Server, kind: str = "transcode") -> list[dict[str, Any]]:
    """What the command says of the jobs of a kind."""
    return [job for job in json.loads(server.run("jobs", "--json")) if job["kind"] == kind]


def _job_process(server: Server) -> int:
    """The process that transcodes."""
    (started, *_) = reversed(server.events("job process started", kind="transcode"))
    return int(started["pid"])


def test_renditions_are_played_in_every_protocol_and_chosen_by_a_master_playlist(center: Server, pair: Pair) -> None:
    with HttpViewer(pair.play_url("flv", "cam_ld")) as flv, RtmpViewer(pair.play_url("rtmp", "cam_ld")) as rtmp:
        flv.wait_frames(10)
        rtmp.wait_frames(10)
        assert pair.online("cam_ld")["Transcoded"] == "yes"  # type: ignore[index]
        (job,) = until(lambda: [job for job in _jobs(center) if job["frames"]], "the job is listed")
        assert (job["stream"], job["state"]) == ("cam", "running")
        assert total(center, "headwater_jobs", kind="transcode", state="running") == 1
        answer = httpx.get(pair.play_url("hls", "cam_multi"))
        children = [urljoin(str(answer.url), line) for line in answer.text.splitlines() if not line.startswith("#")]
        assert len(children) == 3
        assert "RESOLUTION=106x60" in answer.text
        zeros = []
        for child in children:
            with Hls(child) as hls:
                segment = hls.wait(lambda playlist: playlist.segments, "a segment").segments[0]
                data = hls.fetch(segment)
                decode_segment(data)
                zeros.append(_date_of_zero(segment, data))
        assert max(zeros) - min(zeros) < timedelta(milliseconds=2), "RFC 8216, 6.2.4: one date for one timestamp"


def test_viewers_notice_nothing_of_the_death_of_a_job_or_of_the_center() -> None:
    with running({"center.enabled": "true", "center.transcode_cores": "50"}) as server, on_air(server) as pair:
        with HttpViewer(pair.play_url("flv")) as source, HttpViewer(pair.play_url("flv", "cam_ld")) as rendition:
            rendition.wait_frames(10)
            os.kill(_job_process(server), signal.SIGKILL)
            rendition.wait_time(rendition.tags[-1].timestamp_ms + 2000)
            until(lambda: _jobs(server)[0]["restarts"] == 1, "the job has been started again")
            job = _job_process(server)
            os.kill(server.events("worker started", worker="center")[-1]["pid"], signal.SIGKILL)
            until(lambda: len(server.events("center ready")) == 2, "the center is back", 20)
            rendition.wait_time(rendition.tags[-1].timestamp_ms + 2000)
            assert not Path(f"/proc/{job}").exists()
            check_times(source.tags, jump_ms=500)
            check_times(rendition.tags, jump_ms=6000)
            assert not source.ended.is_set()
            assert not rendition.ended.is_set()
        assert len(server.events("publish started", stream=f"{pair.streaming}/live/cam")) == 1
        server.kill()  # its log holds deaths, which an end in order does not forgive


def _date_of_zero(segment: Segment, data: bytes) -> datetime:
    """The date that a segment says for timestamp 0."""
    assert segment.date is not None
    return segment.date - timedelta(seconds=read_ts(data).of(VIDEO_PID)[0].dts / 90_000)
