"""What publishers are promised: one at a time, a way back, and clocks that may be wrong."""

from __future__ import annotations

import pytest

from support.api import Pair
from support.encoders import LAST_GOP_MS, TagPush, ffmpeg_push, trickle, wait_refused
from support.flv import VIDEO, FlvTag, check_times
from support.players import Hls, HttpViewer, RtmpViewer, decode_segment
from support.rtmp import Status
from support.wait import until, within


def test_a_second_push_is_refused(live: Pair) -> None:
    with pytest.raises(Status) as refused, TagPush(live.push_url()):
        pass
    assert refused.value.code == "NetStream.Publish.BadName"
    assert refused.value.level == "error"
    assert refused.value.description


def test_ffmpeg_sees_that_its_push_is_refused(live: Pair) -> None:
    with ffmpeg_push(live.push_url()) as second:
        assert "Server error: the stream is being published" in wait_refused(second)


def test_a_silent_publisher_is_taken_over(pair: Pair, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as first:
        first.send(clip[:100])
        pair.wait_online()
        # the newcomer's answer waits until the first one shows life or has been silent for 3 s
        with HttpViewer(pair.play_url("flv")) as viewer, TagPush(pair.push_url()) as second:
            seen = viewer.wait_frames(1)[-1].timestamp_ms
            second.send(clip)
            check_times(viewer.wait_time(seen + LAST_GOP_MS), jump_ms=4500)
            with pytest.raises((ConnectionError, TimeoutError, OSError)):  # the first one was told, and cut
                while True:
                    first.client.read()


def test_a_publisher_that_shows_life_while_another_waits_stays(pair: Pair, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as first:
        first.send(clip[:100])
        pair.wait_online()
        with trickle(first, clip[100:]), pytest.raises(Status, match="BadName"), TagPush(pair.push_url()):
            pass


def test_a_publisher_may_return_at_once(pair: Pair, clip: list[FlvTag]) -> None:
    for _ in range(5):
        with TagPush(pair.push_url()) as push:
            push.send(clip[:20])


def test_a_domain_can_let_the_newcomer_win(pair: Pair, clip: list[FlvTag]) -> None:
    pair.session(on_conflict="takeover")
    with TagPush(pair.push_url()) as first:
        first.send(clip[:100])
        pair.wait_online()
        with HttpViewer(pair.play_url("flv")) as viewer:
            seen = viewer.wait_frames(10)[-1].timestamp_ms
            with TagPush(pair.push_url()) as second:
                second.send(clip)
                check_times(viewer.wait_time(seen + LAST_GOP_MS), jump_ms=4500)
                until(lambda: _closed(first), "the first publisher is cut", 3)


def _closed(push: TagPush) -> bool:
    push.client.socket.settimeout(0.05)
    try:
        push.client.read()
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


@pytest.mark.parametrize("restart", ["ordered", "reset"])
def test_viewers_stay_when_the_publisher_restarts(pair: Pair, clip: list[FlvTag], restart: str) -> None:
    with (
        TagPush(pair.push_url()) as first,
        HttpViewer(_online(pair, first, clip)) as flv,
        RtmpViewer(pair.play_url("rtmp")) as rtmp,
        Hls(pair.play_url("hls")) as hls,
    ):
        flv.wait_frames(20)
        rtmp.wait_frames(20)
        before = hls.refresh()
        if restart == "ordered":
            first.stop()
        else:
            first.client.abort()
        pair.wait_offline()
        with TagPush(pair.push_url()) as second:
            second.send(clip, shift_ms=70_000)  # an encoder's clock begins anywhere
            for viewer in (flv, rtmp):
                last = viewer.tags[-1].timestamp_ms
                tags = viewer.wait_frames(300)
                assert not viewer.ended.is_set()
                check_times(tags, jump_ms=3_000)
                times = [tag.timestamp_ms for tag in tags if tag.kind == VIDEO]
                assert times[-1] <= last + 25_000
            after = hls.wait(
                lambda playlist: (
                    any(segment.discontinuity for segment in playlist.segments)
                    or playlist.discontinuity_sequence > before.discontinuity_sequence
                ),  # the mark has left the playlist
                "the mark",
                10,
            )
            assert after.sequence >= before.sequence
            marked = next((segment for segment in after.segments if segment.discontinuity), after.segments[-1])
            decode_segment(hls.fetch(marked)).check()


def _online(pair: Pair, push: TagPush, clip: list[FlvTag]) -> str:
    """Send twelve seconds; the stream's URL once it is online."""
    push.send([tag for tag in clip if tag.timestamp_ms < 12_000])
    pair.wait_online()
    return pair.play_url("flv")


def test_a_restart_of_ffmpeg_goes_on_within_the_window(pair: Pair) -> None:
    first = ffmpeg_push(pair.push_url())
    pair.wait_online()
    with HttpViewer(pair.play_url("flv")) as viewer:
        viewer.wait_frames(20)
        first.kill()
        with ffmpeg_push(pair.push_url()):
            count = sum(tag.kind == VIDEO for tag in viewer.tags)
            tags = viewer.wait_frames(count + 50)
        check_times(tags, jump_ms=3_000)


def test_viewers_are_let_go_when_the_window_has_passed(pair: Pair, clip: list[FlvTag]) -> None:
    pair.session(reconnect_window=1)
    with TagPush(pair.push_url()) as push:
        push.send(clip[:100])
        pair.wait_online()
        with HttpViewer(pair.play_url("flv")) as viewer:
            viewer.wait_frames(10)
            push.client.abort()
            pair.wait_offline()
            assert not viewer.ended.is_set()
            took = within(5, viewer.ended.is_set, "the viewer's end")
            assert took > 0.3


def test_ten_seconds_without_data_end_the_push(pair: Pair, clip: list[FlvTag]) -> None:
    pair.session(reconnect_window=0)
    with TagPush(pair.push_url()) as push:
        push.send(clip[:100])
        pair.wait_online()
        push.client.socket.settimeout(1)
        took = within(14, lambda: _closed(push), "the silent push is ended")
        assert took > 8
    pair.wait_offline(timeout_s=2)


@pytest.mark.parametrize(
    "name",
    ["forward", "back", "wrap", "to_zero", "audio_apart"],
)
def test_wrong_clocks_do_not_hurt_viewers(pair: Pair, clip: list[FlvTag], name: str) -> None:
    start = 0xFFFFFFFF - 4_000 if name == "wrap" else 50_000_000
    jump = {"forward": 3_600_000, "back": -3_600_000, "to_zero": -start}.get(name, 0)
    split = next(n for n, tag in enumerate(clip) if tag.is_key_frame and tag.timestamp_ms > 7_000)
    tags = [FlvTag(tag.kind, tag.timestamp_ms + start + (jump if n >= split else 0), tag.body) for n, tag in enumerate(clip)]
    if name == "audio_apart":
        tags = [
            FlvTag(t.kind, t.timestamp_ms + (900_000 if t.kind == 8 and n >= split else 0), t.body) for n, t in enumerate(tags)
        ]
    with TagPush(pair.push_url()) as push:
        push.send(tags[:20])
        pair.wait_online()
        with HttpViewer(pair.play_url("flv")) as flv, RtmpViewer(pair.play_url("rtmp")) as rtmp:
            flv.wait_frames(1)
            rtmp.wait_frames(1)
            push.send(tags[20:])
            frames = sum(tag.kind == VIDEO and tag.is_frame for tag in clip)
            for viewer in (flv, rtmp):
                seen = viewer.wait_frames(frames)
                check_times(seen)
                assert seen[-1].timestamp_ms < 30_000
        with Hls(pair.play_url("hls")) as hls:
            for segment in hls.refresh().segments:
                decode_segment(hls.fetch(segment)).check()


def test_a_long_lived_clock_beyond_24_bits_plays(pair: Pair, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as push:
        push.send(clip[:60], shift_ms=0x01000000 - 500)
        pair.wait_online()
        with RtmpViewer(pair.play_url("rtmp")) as viewer, trickle(push, clip[60:], shift_ms=0x01000000 - 500):
            check_times(viewer.wait_frames(40))
