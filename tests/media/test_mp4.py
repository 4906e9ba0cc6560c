"""Promises of MP4 files: sizes and places of any length, sound without gaps, and times that players understand."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.media import mp4
from headwater.media.codecs import AudioConfig, VideoConfig
from headwater.media.errors import MediaError
from headwater.media.mp4 import AudioClock, Track

AAC = AudioConfig("aac", 10, 44_100, 1, 2, 4, 1, b"\x12\x08")


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The boxes side by side in some bytes."""
    position = 0
    while position < len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        assert 8 <= size <= len(data) - position
        yield kind, data[position + 8 : position + size]
        position += size


def inside(data: bytes, *path: bytes) -> bytes:
    for kind in path:
        data = dict(boxes(data))[kind]
    return data


def sound(frames: int, *, first: int = 0, bytes_each: int = 100) -> Track:
    track = Track(False, 44_100)
    track.entry(mp4.audio_entry(AAC))
    for index in range(frames):
        track.samples.add(first + index * 1024, bytes_each)
    track.chunks.append((0, 0, 0))
    return track


def test_places_beyond_four_gigabytes_are_kept() -> None:
    track = sound(3)
    track.chunks = [(0, 0, 0), (1, 0, 5_000_000_000), (2, 0, 1 << 40)]
    head = mp4.file_head([track], duration_ms=70, payload_bytes=(1 << 40) + 100)
    *movie, (size, kind, large) = head[:-16], struct.unpack(">I4sQ", head[-16:])
    assert (size, kind, large) == (1, b"mdat", (1 << 40) + 116)
    places = inside(movie[0], b"moov", b"trak", b"mdia", b"minf", b"stbl", b"co64")
    assert struct.unpack(">4xI3Q", places) == (3, len(head), len(head) + 5_000_000_000, len(head) + (1 << 40))


@given(
    st.lists(st.integers(-30, 30), min_size=1, max_size=60), st.sampled_from([(44_100, 1024), (48_000, 1152), (22_050, 576)])
)
def test_sound_is_laid_end_to_end_though_its_timestamps_wander(wander_ms: list[int], kind: tuple[int, int]) -> None:
    rate_hz, samples = kind
    clock = AudioClock(rate_hz, samples)
    times = [clock.ticks(max(index * samples * 1000 // rate_hz + ms, 0)) for index, ms in enumerate(wander_ms)]
    assert times == [times[0] + index * samples for index in range(len(times))]


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=50))
def test_the_time_of_sound_never_runs_back_and_stays_near_its_timestamps(told_ms: list[int]) -> None:
    clock = AudioClock(48_000, 1024)
    latest, before = 0, -1
    for time_ms in told_ms:
        ticks = clock.ticks(time_ms)
        assert ticks > before
        latest, before = max(latest, time_ms * 48), ticks
        assert ticks <= latest + mp4.AUDIO_SLACK_MS * 48 + 1024 * len(told_ms)


def test_a_hole_in_the_sound_stays_a_hole() -> None:
    clock = AudioClock(48_000, 1024)
    assert [clock.ticks(ms) for ms in (0, 21, 1000, 1021)] == [0, 1024, 48_000, 49_024]


def test_a_track_that_begins_later_is_shown_later() -> None:
    track = sound(10, first=44_100)
    data = mp4.file_head([track], duration_ms=1300, payload_bytes=1000) + b"\0" * 1000
    with av.open(io.BytesIO(data), "r") as opened:
        [packet, *_] = opened.demux(opened.streams.audio[0])
    assert packet.pts is not None
    assert float(packet.pts * packet.time_base) == pytest.approx(1.0, abs=0.03)


def test_a_fragment_says_where_its_frames_are() -> None:
    track = sound(5, first=1 << 34)
    head = mp4.fragment_head(7, [track], end_ms=((1 << 34) + 5 * 1024) * 1000 // 44_100 + 1)
    fragment = head[:-16]
    assert struct.unpack(">4xI", inside(fragment, b"moof", b"mfhd")) == (7,)
    assert struct.unpack(">4xQ", inside(fragment, b"moof", b"traf", b"tfdt")) == (1 << 34,)
    run = inside(fragment, b"moof", b"traf", b"trun")
    count, offset = struct.unpack_from(">4xIi", run)
    assert (count, offset) == (5, len(head))
    assert [struct.unpack_from(">I", run, 12 + 16 * index + 4)[0] for index in range(5)] == [100] * 5


def test_other_codecs_are_refused() -> None:
    with pytest.raises(MediaError, match="opus"):
        mp4.audio_entry(AudioConfig("opus", 0, 48_000, 2))
    with pytest.raises(MediaError, match="av1"):
        mp4.video_entry(VideoConfig("av1", 13), b"")
