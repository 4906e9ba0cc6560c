"""What HLS promises: segments of whole GOPs, and playlists within RFC 8216."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.media import flv
from headwater.media.hls import SEGMENT_MS_MAX, Segment, Segmenter, media_playlist, playlist_rule, rounded_s
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Flags, Tag
from support.media_clips import flv_clip


@pytest.mark.parametrize(
    ("delay_s", "rule"),
    [(0, (1, 6)), (2, (1, 6)), (3, (1, 6)), (6, (2, 6)), (8, (2, 6)), (9, (3, 4)), (15, (5, 4)), (60, (20, 4))],
)
def test_segment_length_and_count_follow_the_delay(delay_s: int, rule: tuple[int, int]) -> None:
    assert playlist_rule(delay_s) == rule


def test_a_playlist_reads_as_the_standard_says() -> None:
    segments = [
        Segment(7, 5000, "a.ts", program_time_ms=1_700_000_000_123),
        Segment(8, 4960, "b.ts", discontinuity=True),
        Segment(9, 40, "c.ts"),
    ]
    text = media_playlist(segments, target_duration_s=5, discontinuity_sequence=2, independent=True, ended=True)
    assert text.decode() == (
        "#EXTM3U\n"
        "#EXT-X-VERSION:3\n"
        "#EXT-X-TARGETDURATION:5\n"
        "#EXT-X-MEDIA-SEQUENCE:7\n"
        "#EXT-X-DISCONTINUITY-SEQUENCE:2\n"
        "#EXT-X-INDEPENDENT-SEGMENTS\n"
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.123Z\n"
        "#EXTINF:5.000,\n"
        "a.ts\n"
        "#EXT-X-DISCONTINUITY\n"
        "#EXTINF:4.960,\n"
        "b.ts\n"
        "#EXTINF:0.040,\n"
        "c.ts\n"
        "#EXT-X-ENDLIST\n"
    )


def test_a_plain_playlist_has_nothing_more_than_it_needs() -> None:
    text = media_playlist([], target_duration_s=5, discontinuity_sequence=0, independent=False)
    assert text == b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXT-X-MEDIA-SEQUENCE:0\n"


@given(st.lists(st.integers(1, 40_000), max_size=6), st.integers(1, 20))
def test_no_segment_is_longer_than_the_target_duration_says(durations: list[int], target_s: int) -> None:
    segments = [Segment(number, duration, "x.ts") for number, duration in enumerate(durations)]
    text = media_playlist(segments, target_duration_s=target_s, discontinuity_sequence=0, independent=True).decode()
    stated = int(text.partition("#EXT-X-TARGETDURATION:")[2].partition("\n")[0])
    assert stated >= target_s
    assert all(int(duration / 1000 + 0.5) <= stated and rounded_s(duration) <= stated for duration in durations)


def _lengths(segmenter: Segmenter, tags: list[Tag]) -> list[tuple[int, Tag]]:
    return [(length, tag) for tag in tags if (length := segmenter.cut(tag)) is not None]


def _video(times: range, gop: int) -> list[Tag]:
    return [Tag(VIDEO, time, b"", Flags.KEY if n % gop == 0 else Flags.NONE) for n, time in enumerate(times)]


@pytest.mark.parametrize(
    ("target_ms", "gop", "expected"), [(1000, 25, 1000), (5000, 50, 6000), (2000, 75, 3000), (1000, 250, 10_000)]
)
def test_segments_are_whole_gops_of_at_least_the_target(target_ms: int, gop: int, expected: int) -> None:
    cuts = _lengths(Segmenter(target_ms, has_video=True), _video(range(0, 60_000, 40), gop))
    assert [length for length, _ in cuts] == [0] + [expected] * (len(cuts) - 1)
    assert len(cuts) >= 6
    assert all(tag.flags & Flags.KEY for _, tag in cuts)


def test_nothing_begins_before_a_key_frame() -> None:
    tags = [Tag(SCRIPT, 0, b"", Flags.METADATA), Tag(VIDEO, 0, b"", Flags.CONFIG), Tag(AUDIO, 0, b""), Tag(VIDEO, 0, b"")]
    assert _lengths(Segmenter(1000, has_video=True), tags) == []


def test_without_video_any_audio_frame_can_begin() -> None:
    tags = [Tag(AUDIO, 0, b"", Flags.CONFIG)] + [Tag(AUDIO, time, b"") for time in range(0, 10_000, 23)]
    cuts = _lengths(Segmenter(2000, has_video=False), tags)
    assert [length for length, _ in cuts] == [0, 2001, 2001, 2001, 2001]


def test_a_stream_without_further_key_frames_is_cut_all_the_same() -> None:
    tags = _video(range(0, 100_000, 40), 10**9)
    assert [length for length, _ in _lengths(Segmenter(1000, has_video=True), tags)] == [0] + [SEGMENT_MS_MAX] * 3


def test_an_end_from_outside_gives_the_rest() -> None:
    segmenter = Segmenter(1000, has_video=True)
    assert segmenter.finish(500) == 0
    segmenter.cut(Tag(VIDEO, 100, b"", Flags.KEY))
    assert segmenter.finish(740) == 640
    assert segmenter.cut(Tag(VIDEO, 900, b"")) is None
    assert segmenter.cut(Tag(VIDEO, 940, b"", Flags.KEY)) == 0


def test_a_real_stream_is_cut_into_its_gops() -> None:
    tags = flv.Reader().feed(flv_clip(seconds=4, gop=25))
    assert [length for length, _ in _lengths(Segmenter(1000, has_video=True), tags)] == [0, 1000, 1000, 1000]
