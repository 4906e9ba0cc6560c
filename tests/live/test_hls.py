"""HLS segments are whole GOPs with numbers that go on, cut once, and reveal nothing to who has no playlist."""

from __future__ import annotations

import asyncio
import gc
import io
import re
from typing import Any

import av
import pytest

from headwater.live.hls import BREAKS_WRAP, LONGEST_SEGMENT_S, HlsOutput
from headwater.live.ring import Ring
from headwater.media import codecs, flv
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag
from support.media_clips import flv_clip
from support.ts import read_ts


class Feed:
    """A stream's ring, filled with a looped clip."""

    def __init__(self, video: str | None = "h264", audio: str | None = "aac", gop: int = 25, seconds: float = 4) -> None:
        self.ring = Ring(seconds=20, bytes_max=10_000_000)
        tags = flv.Reader().feed(flv_clip(video=video, audio=audio, seconds=seconds, gop=gop))
        self.headers = tuple(tag for tag in tags if tag.flags & (Flags.CONFIG | Flags.METADATA))
        self.frames = [tag for tag in tags if not tag.flags & (Flags.CONFIG | Flags.METADATA) and tag.kind in (AUDIO, VIDEO)]
        self.length_ms = int(seconds * 1000)
        self.round = 0
        for header in self.headers:
            self.ring.append(header, self.headers)

    def play(self, rounds: int, output: HlsOutput | None = None) -> None:
        for _ in range(rounds):
            for tag in self.frames:
                moved = Tag(tag.kind, tag.timestamp_ms + self.round * self.length_ms, tag.payload, tag.flags)
                self.ring.append(moved, self.headers)
            self.round += 1
            if output is not None:
                output.flush(self.headers)

    def output(self, delay_s: int = 15) -> HlsOutput:
        output = HlsOutput("s", self.ring, delay_s, 1000)
        output.flush(self.headers)
        return output


def listed(output: HlsOutput) -> list[tuple[int, float, str, bytes]]:
    """Number, seconds, word and bytes of each segment in the playlist."""
    text = output.playlist()[0].decode()
    found = []
    for seconds, number, word in re.findall(r"#EXTINF:([\d.]+),\ns-(\d+)-([0-9a-f]{16})\.ts", text):
        data = output.segment(int(number), word)
        assert data is not None
        found.append((int(number), float(seconds), word, data))
    assert f"#EXT-X-MEDIA-SEQUENCE:{found[0][0]}\n" in text
    return found


async def test_segments_are_whole_gops_of_at_least_the_target() -> None:
    feed = Feed(gop=50)
    feed.play(5)
    output = feed.output()
    feed.play(10, output)
    assert [seconds for _, seconds, _, _ in listed(output)] == [6.0] * 4
    assert b"#EXT-X-TARGETDURATION:6\n" in output.playlist()[0]


@pytest.mark.parametrize(("video", "audio"), [("h264", "aac"), ("hevc", "aac"), ("h264", "mp3"), ("h264", None), (None, "aac")])
async def test_segments_go_on_from_one_another_and_decode(video: str | None, audio: str | None) -> None:
    feed = Feed(video, audio)
    feed.play(4)
    output = feed.output()
    feed.play(6, output)
    counters: dict[int, int] = {}
    segments = listed(output)
    for _, _, _, data in segments:
        read_ts(data, counters)  # asserts the continuity of every packet
    assert [number for number, _, _, _ in segments] == list(range(segments[0][0], segments[0][0] + len(segments)))
    with av.open(io.BytesIO(b"".join(data for _, _, _, data in segments)), "r", format="mpegts") as container:
        frames: list[Any] = list(container.decode())
    seconds = sum(seconds for _, seconds, _, _ in segments)
    pictures = [frame for frame in frames if isinstance(frame, av.VideoFrame)]
    sounds = [frame for frame in frames if isinstance(frame, av.AudioFrame)]
    if video:
        assert abs(len(pictures) - seconds * 25) <= 3
    if audio:
        assert sum(frame.samples for frame in sounds) > 0.9 * seconds * sounds[0].sample_rate


async def test_a_young_stream_can_be_played_after_its_first_gop() -> None:
    feed = Feed(seconds=2)
    output = feed.output()
    assert not output.ready
    feed.play(1, output)
    assert [seconds for _, seconds, _, _ in listed(output)] == [1.0]
    feed.play(2, output)
    assert [seconds for _, seconds, _, _ in listed(output)][:3] == [1.0] * 3


async def test_without_video_segments_are_cut_at_sound() -> None:
    feed = Feed(video=None)
    feed.play(6)
    assert all(5 <= seconds < 6.2 for _, seconds, _, _ in listed(feed.output()))


async def test_a_publisher_without_further_key_frames_is_served_all_the_same() -> None:
    feed = Feed(seconds=40, gop=2000)
    output = feed.output(delay_s=3)
    feed.play(1, output)
    assert [round(seconds) for _, seconds, _, _ in listed(output)] == [LONGEST_SEGMENT_S] * 2
    assert b"#EXT-X-INDEPENDENT-SEGMENTS" not in output.playlist()[0]


async def test_another_publisher_is_marked_and_the_mark_is_counted_when_it_leaves() -> None:
    feed = Feed()
    feed.play(3)
    output = feed.output()
    output.discontinuity()
    feed.play(3, output)
    text = output.playlist()[0].decode()
    assert text.count("#EXT-X-DISCONTINUITY\n") == 1
    first = int(text.split("#EXT-X-DISCONTINUITY-SEQUENCE:")[1].split("\n")[0])
    assert first == 1000  # the first segment's number: grown since any earlier packaging
    feed.play(8, output)
    text = output.playlist()[0].decode()
    assert "#EXT-X-DISCONTINUITY\n" not in text
    assert f"#EXT-X-DISCONTINUITY-SEQUENCE:{first + 1}\n" in text


async def test_a_changed_picture_begins_a_new_segment_with_a_mark() -> None:
    feed = Feed()
    feed.play(3)
    output = feed.output()
    other = flv.Reader().feed(flv_clip(seconds=4, size=(256, 144)))
    config = next(tag for tag in other if tag.flags & Flags.CONFIG and tag.kind == VIDEO)
    feed.ring.append(Tag(VIDEO, feed.round * feed.length_ms, config.payload, Flags.CONFIG), feed.headers)
    feed.frames = [tag for tag in other if not tag.flags & (Flags.CONFIG | Flags.METADATA) and tag.kind in (AUDIO, VIDEO)]
    feed.play(3, output)
    assert output.playlist()[0].decode().count("#EXT-X-DISCONTINUITY\n") == 1
    data = listed(output)[-1][3]
    with av.open(io.BytesIO(data), "r", format="mpegts") as container:
        assert next(container.decode(video=0)).width == 256


async def test_only_the_word_from_the_playlist_opens_a_segment_and_only_while_it_is_kept() -> None:
    feed = Feed()
    feed.play(4)
    output = feed.output()
    number, _, word, data = listed(output)[0]
    assert output.segment(number, word) == data
    assert output.segment(number, "0" * 16) is None
    assert output.segment(number - 1, word) is None
    assert output.segment(number + 1000, word) is None
    feed.play(40, output)
    assert output.segment(number, word) is None


async def test_a_codec_that_mpeg_ts_cannot_carry_is_said() -> None:
    feed = Feed(video="av1")
    feed.play(2)
    assert "av1" in (feed.output().unsupported or "")


async def test_the_end_is_marked_and_the_rest_is_given() -> None:
    feed = Feed()
    feed.play(3)
    output = feed.output()
    before = listed(output)[-1][0]
    output.end()
    assert output.playlist()[0].endswith(b"#EXT-X-ENDLIST\n")
    assert listed(output)[-1][0] == before + 1


async def test_a_request_that_waits_is_answered_when_the_stream_ends() -> None:
    output = Feed().output()
    output.close()
    await output.wait(60)
    assert not output.ready


async def test_nothing_stays_of_requests_that_have_waited_in_vain() -> None:
    output = Feed().output()
    before = sum(isinstance(each, asyncio.Future) for each in gc.get_objects())
    waits = [asyncio.ensure_future(output.wait(0.01)) for _ in range(20)]
    await asyncio.sleep(0)
    waits[0].cancel()
    await asyncio.wait(waits)
    assert not output.ready
    del waits
    gc.collect()
    left = sum(isinstance(each, asyncio.Future) for each in gc.get_objects()) - before
    assert left < 5, "the loop may hold one of its own, not one for each request"


async def test_a_broken_frame_is_left_out() -> None:
    feed = Feed()
    broken = codecs.classify(VIDEO, b"\x27\x01\x00\x00\x00\xff\xff\xff\xff\x00")
    feed.play(1)
    feed.ring.append(Tag(VIDEO, feed.length_ms, b"\x27\x01\x00\x00\x00\xff\xff\xff\xff\x00", broken), feed.headers)
    feed.play(3)
    assert len(listed(feed.output())) >= 2


async def test_the_first_count_of_marks_is_small_for_hls_js_counts_up_to_it() -> None:
    feed = Feed()
    feed.play(3)
    output = HlsOutput("cam", feed.ring, 3, 1_795_378_987)
    output.flush(feed.headers)
    first = int(output.playlist()[0].decode().split("#EXT-X-DISCONTINUITY-SEQUENCE:")[1].split("\n")[0])
    assert first == 1_795_378_987 % BREAKS_WRAP
