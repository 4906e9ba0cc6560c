"""Every encoder that people use can push, and every player that people use can play what it pushed."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.api import Pair
from support.encoders import PyavPush, TagPush, ffmpeg_push, gstreamer_push, trickle
from support.flv import AUDIO, VIDEO, FlvTag, check_start, check_times
from support.players import (
    Hls,
    HttpViewer,
    RtmpViewer,
    Viewer,
    WebSocketViewer,
    decode_segment,
    ffmpeg_play,
    ffprobe,
    rtmpdump,
    watch,
)
from support.programs import new_ffmpeg

KINDS = ("rtmp", "flv", "hls")


@pytest.mark.parametrize("kind", KINDS)
def test_pyav_plays(live: Pair, kind: str) -> None:
    seen = watch(live.play_url(kind), frames=40)
    seen.check()


@pytest.mark.parametrize("kind", ["rtmp", "flv"])
def test_a_picture_comes_at_once(live: Pair, kind: str) -> None:
    with RtmpViewer(live.play_url("rtmp")) if kind == "rtmp" else HttpViewer(live.play_url("flv")) as viewer:
        opened = viewer.opened
        viewer.wait_frames(1)
        assert viewer.arrived[0] - opened < 0.5  # key frames are a second apart


@pytest.mark.parametrize("kind", KINDS)
def test_ffmpeg_plays(live: Pair, kind: str) -> None:
    counts = ffmpeg_play(live.play_url(kind))
    assert counts["video"] >= 30
    assert counts["audio"] >= 50


@pytest.mark.parametrize("kind", KINDS)
def test_ffprobe_knows_both_streams(live: Pair, kind: str) -> None:
    assert ffprobe(live.play_url(kind)) == {"video": "h264", "audio": "aac"}


def test_rtmpdump_saves_a_whole_flv(live: Pair, tmp_path: Path) -> None:
    tags = rtmpdump(live.play_url("rtmp"), tmp_path / "saved.flv")
    check_start(tags)
    check_times(tags)


@pytest.mark.parametrize(("kind", "scheme"), [("rtmp", "rtmps"), ("flv", "https"), ("hls", "https")])
def test_plays_over_tls(live: Pair, kind: str, scheme: str) -> None:
    watch(live.play_url(kind, scheme=scheme), frames=15, tls_verify="0").check()


def test_websockets_carry_flv(live: Pair) -> None:
    for scheme in ("ws", "wss"):
        with WebSocketViewer(live.play_url("ws", scheme=scheme)) as viewer:
            tags = viewer.wait_frames(30)
        check_start(tags)
        check_times(tags)
        assert {tag.kind for tag in tags} >= {AUDIO, VIDEO}


def test_a_sub_path_with_the_domain_in_the_host_header_is_the_same_stream(live: Pair) -> None:
    url = live.play_url("flv").replace(f"vhost={live.streaming}&", "")
    with HttpViewer(url, {"Host": live.streaming}) as viewer:
        viewer.wait_frames(5)


def test_ffmpeg_pushes_over_rtmps(pair: Pair) -> None:
    with ffmpeg_push(pair.push_url(scheme="rtmps")):
        pair.wait_online()
        watch(pair.play_url("flv")).check()


def test_gstreamer_pushes(pair: Pair) -> None:
    with gstreamer_push(pair.push_url()) as encoder:
        pair.wait_online()
        watch(pair.play_url("flv")).check()
        watch(pair.play_url("rtmp")).check()
        assert encoder.process.poll() is None, encoder.said()


def test_pyav_pushes(pair: Pair) -> None:
    with PyavPush(pair.push_url()) as encoder:
        pair.wait_online()
        watch(pair.play_url("rtmp")).check()
    assert encoder.error is None


def test_an_ordered_end_takes_the_stream_off_the_list(pair: Pair) -> None:
    encoder = ffmpeg_push(pair.push_url())
    pair.wait_online()
    encoder.stop()
    pair.wait_offline(timeout_s=2)


def test_hevc_over_enhanced_rtmp(pair: Pair) -> None:
    ffmpeg = new_ffmpeg()
    with ffmpeg_push(pair.push_url(), video="hevc", size=(320, 180)):
        entry = pair.wait_online()
        for kind in ("rtmp", "flv"):
            assert ffmpeg_play(pair.play_url(kind), binary=ffmpeg)["video"] >= 30
            watch(pair.play_url(kind)).check(video="hevc", size=(320, 180))
        with HttpViewer(pair.play_url("flv")) as viewer:
            config = next(tag for tag in viewer.wait_frames(5) if tag.kind == VIDEO)
            assert config.body[:5] == b"\x90hvc1"
        with Hls(pair.play_url("hls")) as hls:
            playlist = hls.wait(lambda playlist: playlist.segments, "a segment")
            segment = decode_segment(hls.fetch(playlist.segments[0]))
        segment.check(video="hevc", size=(320, 180))
        entry = pair.wait_online()
        assert (entry["Width"], entry["Height"], entry["VideoCodecId"]) == (320, 180, 12)


def test_mp3_sound(pair: Pair) -> None:
    with ffmpeg_push(pair.push_url(), audio="mp3"):
        pair.wait_online()
        watch(pair.play_url("flv")).check(audio="mp3")
        watch(pair.play_url("hls")).check(audio="mp3")


def test_a_stream_without_sound(pair: Pair) -> None:
    with ffmpeg_push(pair.push_url(), audio=None):
        pair.wait_online()
        # of a stream with one track FFmpeg reads 90 s before it begins, unless told otherwise
        watch(pair.play_url("flv", scheme="http"), analyzeduration="1000000").check(audio="")
        watch(pair.play_url("hls"), analyzeduration="1000000").check(audio="")


def test_a_stream_without_picture(pair: Pair) -> None:
    with ffmpeg_push(pair.push_url(), video=None):
        pair.wait_online()
        watch(pair.play_url("rtmp"), frames=40, analyzeduration="1000000").check(video="")
        watch(pair.play_url("hls"), frames=40, analyzeduration="1000000").check(video="")


def test_the_list_tells_what_the_stream_is(live: Pair) -> None:
    entry = live.wait_online()
    assert entry["DomainName"] == live.streaming
    assert entry["PublishDomain"] == live.ingest
    assert entry["ClientIp"] == "127.0.0.1"
    assert entry["PublishType"] == "edge"
    assert (entry["Width"], entry["Height"]) == (160, 90)
    assert (entry["VideoCodecId"], entry["AudioCodecId"]) == (7, 10)
    assert entry["Transcoded"] == "no"


def test_unknown_codecs_pass_through_without_harm(pair: Pair) -> None:
    odd = [
        FlvTag(VIDEO, 40, bytes([0x12]) + b"sorenson"),
        FlvTag(AUDIO, 40, bytes([0xB2]) + b"speex"),
        FlvTag(VIDEO, 60, b"\x91zzzz" + bytes(40)),
        FlvTag(AUDIO, 60, b"\x91zzzz" + bytes(40)),
    ]
    with TagPush(pair.push_url()) as push:
        push.send(odd)
        pair.wait_online()
        with HttpViewer(pair.play_url("flv")) as viewer, trickle(push, odd * 200, shift_ms=100):
            viewer.wait(lambda tags: {tag.body for tag in odd} <= {tag.body for tag in tags}, "every odd tag")
            assert not viewer.ended.is_set()


@pytest.mark.parametrize("make", [HttpViewer, RtmpViewer, WebSocketViewer])
def test_what_comes_out_is_what_went_in(pair: Pair, clip: list[FlvTag], make: type[Viewer]) -> None:
    sent = [tag for tag in clip if tag.timestamp_ms < 3000]
    url = pair.play_url({HttpViewer: "flv", RtmpViewer: "rtmp"}.get(make, "ws"))
    with TagPush(pair.push_url()) as push:
        push.send(sent[:3])  # a newcomer would not get what comes before the first key frame
        pair.wait_online()
        with make(url) as viewer:
            viewer.wait(lambda tags: any(tag.is_config for tag in tags), "the sequence headers")
            push.send(sent[3:])
            got = viewer.wait(lambda tags: sum(tag.is_frame for tag in tags) >= sum(tag.is_frame for tag in sent), "all frames")
    for kind in (AUDIO, VIDEO):
        expected = [tag for tag in sent if tag.kind == kind]
        assert [tag.body for tag in got if tag.kind == kind] == [tag.body for tag in expected]
        first = next(tag for tag in got if tag.kind == kind).timestamp_ms - expected[0].timestamp_ms
        assert [tag.timestamp_ms - first for tag in got if tag.kind == kind] == [tag.timestamp_ms for tag in expected]
