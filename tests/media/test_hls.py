"""What HLS promises: segments of whole GOPs, and playlists within RFC 8216."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.media.hls import Segment, Variant, master_playlist, media_playlist, playlist_rule, rounded_s


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


def test_a_master_playlist_says_of_each_stream_what_is_known() -> None:
    playlist = master_playlist(
        [
            Variant("a.m3u8?k=1", 900_000, 640, 360, 25.0, "avc1.64001e,mp4a.40.2"),
            Variant("b.m3u8", 64_000),
        ]
    )
    assert playlist.decode().splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360,FRAME-RATE=25.000,CODECS="avc1.64001e,mp4a.40.2"',
        "a.m3u8?k=1",
        "#EXT-X-STREAM-INF:BANDWIDTH=64000",
        "b.m3u8",
    ]
