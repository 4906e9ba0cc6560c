"""What viewers are promised: a whole beginning whenever they come, and nobody else's trouble."""

from __future__ import annotations

import contextlib
import itertools
import time

import pytest

from support.api import Pair
from support.encoders import TagPush, ffmpeg_push, trickle
from support.flv import VIDEO, FlvTag, check_start, check_times
from support.players import Hls, HttpViewer, RtmpViewer, Viewer, WebSocketViewer, decode_segment
from support.wait import until

VIEWERS = {"flv": HttpViewer, "rtmp": RtmpViewer, "ws": WebSocketViewer}


@pytest.mark.parametrize("kind", VIEWERS)
def test_late_joiners_get_metadata_configuration_and_a_whole_gop(live: Pair, kind: str) -> None:
    with contextlib.ExitStack() as stack:
        viewers: list[Viewer] = []
        for _ in range(6):  # at different moments of a GOP
            viewers.append(stack.enter_context(VIEWERS[kind](live.play_url(kind))))
            viewers[0].wait_frames(7 * len(viewers))
        for viewer in viewers:
            tags = viewer.wait_frames(30)
            check_start(tags)
            check_times(tags)


def test_all_viewers_of_an_output_get_the_same_bytes(live: Pair) -> None:
    with HttpViewer(live.play_url("flv")) as one, HttpViewer(live.play_url("flv")) as other:
        one.wait_frames(60)
        other.wait_frames(60)
        first = {(tag.kind, tag.timestamp_ms): tag.body for tag in one.tags if tag.is_frame}
        second = {(tag.kind, tag.timestamp_ms): tag.body for tag in other.tags if tag.is_frame}
        common = first.keys() & second.keys()
        assert len(common) > 100
        assert all(first[at] == second[at] for at in common)


def test_hls_keeps_the_rules(live: Pair) -> None:
    with Hls(live.play_url("hls")) as hls:
        playlist = hls.wait(lambda playlist: len(playlist.segments) >= 2, "two segments")
        assert playlist.version >= 3
        assert not playlist.ended
        assert 1 <= len(playlist.segments) <= 6
        first = playlist.sequence
        hls.wait(lambda playlist: playlist.segments[-1].sequence >= first + 2, "the playlist goes on")
        bodies = [decode_segment(hls.fetch(segment)) for segment in hls.playlist.segments] if hls.playlist else []
        for body, segment in zip(bodies, hls.playlist.segments if hls.playlist else (), strict=True):
            body.check()
            assert body.video_s[-1] - body.video_s[0] == pytest.approx(segment.duration_s, abs=0.2)
        for before, after in itertools.pairwise(bodies):
            assert 0 < after.video_s[0] - before.video_s[-1] < 0.1, "there is a gap between two segments"


def test_the_first_playlist_is_there_at_once(pair: Pair, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as push:
        push.send(clip)
        pair.wait_online()
        started = time.monotonic()
        with Hls(pair.play_url("hls")) as hls:
            playlist = hls.refresh()
        assert time.monotonic() - started < 1
        # media-plane 6.2: segments of 5 s by default, and at most 4 of them in a playlist
        assert playlist.target_s in (5, 6)
        assert 1 <= len(playlist.segments) <= 4


def test_a_viewer_who_does_not_read_slows_nobody(pair: Pair, clip: list[FlvTag]) -> None:
    pair.session(viewer_lag=2, flush="realtime")
    with TagPush(pair.push_url()) as push:
        push.send(clip[:60])
        pair.wait_online()
        padded = [FlvTag(tag.kind, tag.timestamp_ms, tag.body + bytes(100_000 * (tag.kind == VIDEO))) for tag in clip[60:]]
        with (
            RtmpViewer(pair.play_url("rtmp")) as good,
            contextlib.closing(HttpViewer.silent(pair.play_url("flv"))),
            trickle(push, padded),
        ):
            good.wait_frames(1)
            check_times(good.wait_time(good.tags[-1].timestamp_ms + 4_000))


def test_viewers_come_and_go_and_nothing_stays(pair: Pair) -> None:
    with ffmpeg_push(pair.push_url()):
        pair.wait_online()
        for _ in range(5):
            with contextlib.ExitStack() as stack:
                for kind, make in VIEWERS.items():
                    stack.enter_context(make(pair.play_url(kind))).wait_frames(1)
        with HttpViewer(pair.play_url("flv")) as viewer:
            check_start(viewer.wait_frames(25))


@pytest.mark.parametrize("kind", VIEWERS)
def test_viewers_are_told_when_the_stream_is_over(pair: Pair, clip: list[FlvTag], kind: str) -> None:
    pair.session(reconnect_window=0)
    with TagPush(pair.push_url()) as push:
        push.send(clip[:100])
        pair.wait_online()
        with VIEWERS[kind](pair.play_url(kind)) as viewer:
            viewer.wait_frames(10)
            push.stop()
            until(viewer.ended.is_set, "the viewer's end", 5)
            assert viewer.error is None


@pytest.mark.parametrize(("flush", "interval_s"), [("realtime", 0.01), ("low", 0.1), ("standard", 0.35)])
def test_the_flush_profile_says_how_often_tags_go_out(pair: Pair, clip: list[FlvTag], flush: str, interval_s: float) -> None:
    pair.session(flush=flush)
    with TagPush(pair.push_url()) as push:
        push.send(clip[:20])
        pair.wait_online()
        with HttpViewer(pair.play_url("flv")) as viewer:
            viewer.wait_frames(1)
            known = len(viewer.tags)
            with trickle(push, clip[20:]):
                viewer.wait(lambda tags: len(tags) >= known + 100, "a hundred tags")
            arrived = viewer.arrived[known:]
    batches = 1 + sum(after > before + interval_s / 2 for before, after in itertools.pairwise(arrived))
    seconds = arrived[-1] - arrived[0]
    if flush == "realtime":
        assert batches > seconds / 0.1, "tags should go out as they come"
    else:  # a late timer makes batches rarer, never more frequent
        assert batches <= seconds / interval_s + 2, "tags should go out in batches"
