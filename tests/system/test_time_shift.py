"""Viewers go back in a stream that is kept, and watch the copy of one that is published again later."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urljoin

import pytest

from support import m3u8
from support.api import Api, Pair, make_pair
from support.encoders import TagPush, trickle
from support.flv import FlvTag
from support.m3u8 import Playlist
from support.players import Hls, HttpViewer, ffprobe, get, watch
from support.server import Server, running
from support.signing import auth_key
from support.wait import until

pytestmark = pytest.mark.xdist_group("time shift")

SECONDS = 6
DELAY_S = 2


def shifted(pair: Pair, **lhs: object) -> str:
    """The URL of a stream's past."""
    return f"{pair.play_url('hls')}&{urlencode({'aliyunols': 'on', **{f'lhs_{name}': value for name, value in lhs.items()}})}"


def timeline(
    pair: Pair, start_s: int, end_s: int, *, signed: bool = True, stream: str = "cam"
) -> tuple[int, dict[str, object]]:
    """What the timeline says."""
    path = "/openapi/timeline/query"
    query = {"vhost": pair.streaming, "app": "live", "stream": stream, "format": "ts"}
    query |= {"lhs_start_unix_s_0": str(start_s), "lhs_end_unix_s_0": str(end_s)}
    if signed:
        query["auth_key"] = auth_key(path, pair.streaming_key, None)
    answer = get(f"http://127.0.0.1:{pair.server.ports['http']}{path}?{urlencode(query)}")
    return answer.status_code, answer.json() if answer.status_code == 200 else {"text": answer.text}


def playlist(url: str) -> Playlist:
    answer = get(url)
    assert answer.status_code == 200, answer.text
    return m3u8.parse(answer.text, url)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The real program with a live center, as the other tests' has none."""
    with running({"center.enabled": "true"}) as server:
        yield server


@pytest.fixture(scope="module")
def api(server: Server) -> Api:
    """The account of this server."""
    return Api(server, server.account())


@pytest.fixture
def pair(server: Server, api: Api) -> Pair:
    """Two domains of this server."""
    return make_pair(server, api)


@pytest.fixture
def kept(pair: Pair, clip: list[FlvTag]) -> Iterator[int]:
    """A stream that was live for SECONDS, in slices of a second; the time at which it began."""
    pair.api.call("OpenLiveShift", domain_name=pair.streaming, duration=1, vision=1)
    began_s = int(time.time())
    with TagPush(pair.push_url()) as push, trickle(push, clip):

        def enough() -> bool:
            status, told = timeline(pair, began_s - 60, began_s + 60)
            ranges = told["content"]["timeline"] if status == 200 else []  # type: ignore[index]
            return bool(ranges) and ranges[-1]["end"] - ranges[0]["start"] >= SECONDS - 2

        until(enough, "enough is kept", 30)
        yield began_s


def test_a_kept_stream_is_played_as_a_video_and_as_it_was(pair: Pair, kept: int) -> None:
    url = shifted(pair, start_unix_s_0=kept - 60, vodend_unix_s_0=kept + 60)
    whole = playlist(url)
    assert whole.ended
    assert len(whole.segments) >= SECONDS - 3
    assert ffprobe(url) == {"video": "h264", "audio": "aac"}
    watch(url, frames=60).check()

    entry = get(shifted(pair, start_unix_s_0=kept - 60))
    assert entry.text.startswith("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-STREAM-INF:BANDWIDTH=")
    moved = urljoin(str(entry.url), entry.text.splitlines()[-1])
    assert "lhs_offset_unix_ms_0=" in moved
    with Hls(moved) as viewer:
        first = viewer.refresh()
        assert first.segments[0].sequence <= whole.segments[1].sequence
        viewer.wait(lambda listed: listed.sequence > first.sequence + 1, "the window moves on")
        assert viewer.fetch(viewer.refresh().segments[0])[0] == 0x47
    assert get(shifted(pair, offset_unix_s_0=kept)).status_code == 404
    assert playlist(shifted(pair, offset_unix_s_0=3, start=1)).segments

    refused = get(shifted(pair, start_human_s_8="yesterday"))
    assert (refused.status_code, refused.text) == (400, "lhs_start: expected a time such as 20171024160220, got `yesterday`\n")
    unsigned = get(pair.play_url("hls", signed=False) + "&aliyunols=on&lhs_offset_unix_s_0=3")
    assert unsigned.headers["X-Tengine-Error"] == "denied by req auth: missing auth_key"

    status, told = timeline(pair, kept - 60, kept + 60)
    assert (status, told["retCode"], told["description"]) == (200, 0, "success")
    assert told["content"] == {"current": told["current"], "timeline": told["timeline"]}
    assert timeline(pair, kept, kept + 60, signed=False)[0] == 403
    assert timeline(pair, kept + 60, kept)[0] == 400
    assert timeline(pair, kept, kept + 60, stream="other")[0] == 404

    pair.api.call("CloseLiveShift", domain_name=pair.streaming)
    until(lambda: get(url).status_code == 404, "it cannot be played any more")


def test_a_delayed_copy_is_published_later_and_outlives_its_source(pair: Pair, clip: list[FlvTag]) -> None:
    rule = {"domain": pair.streaming, "app": "live", "stream": "*"}
    pair.api.call("CreateLiveDelayConfig", **rule, delay_time=16, task_trigger_mode="CONFIG_ONLY")
    # The API offers no delay that a test could await.
    with contextlib.closing(sqlite3.connect(Path(pair.server.data_dir) / "headwater.db", isolation_level=None)) as database:
        database.execute("UPDATE delay_configs SET delay_s = ? WHERE domain = ?", (DELAY_S, pair.streaming))
    pair.api.call("OpenLiveShift", domain_name=pair.streaming, stream_name="nobody")  # compiles the plan anew
    with TagPush(pair.push_url()) as push:
        started = time.monotonic()
        with trickle(push, clip):
            pair.wait_online("cam-alidelay", 20)
            assert time.monotonic() - started >= DELAY_S
            with (
                HttpViewer(pair.play_url("flv", "cam-alidelay")) as late,
                HttpViewer(pair.play_url("flv")) as live,
            ):
                late.wait_frames(25)
                live.wait_frames(25)
                newest = [max(tag.timestamp_ms for tag in viewer.tags if tag.is_frame) for viewer in (live, late)]
                assert newest[0] - newest[1] >= (DELAY_S - 1) * 1000
                watch(pair.play_url("rtmp", "cam-alidelay"), frames=10).check()
                push.stop()
                until(lambda: pair.online() is None or live.ended.is_set(), "the source ends", 20)
                seen = len(late.tags)
                late.wait(lambda got: len(got) > seen, "the copy goes on")
    pair.wait_offline("cam-alidelay", 40)
