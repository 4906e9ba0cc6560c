"""The ring keeps the last seconds of a stream and knows where a newcomer can start."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headwater.live.ring import LONGEST_GOP, TRIM_EVERY, Ring
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag


def video(ms: int, *, key: bool = False, size: int = 100) -> Tag:
    return Tag(VIDEO, ms, bytes(size), Flags.KEY if key else 0)


def audio(ms: int) -> Tag:
    return Tag(AUDIO, ms, b"\xaf\x01", 0)


def test_old_gops_leave_and_the_newest_stays() -> None:
    ring = Ring(seconds=4, bytes_max=10_000_000)
    for ms in range(0, 60_000, 40):
        ring.append(video(ms, key=ms % 2000 == 0), ())
    assert 4000 <= ring.span_ms <= 4000 + 40 * (TRIM_EVERY + 1)
    assert ring.marks[0].seq >= ring.first
    assert ring.marks[-1].timestamp_ms == 58_000


def test_a_gop_longer_than_the_ring_is_kept_whole_up_to_a_bound() -> None:
    ring = Ring(seconds=2, bytes_max=10_000_000)
    ring.append(video(0, key=True), ())
    for ms in range(40, 5000, 40):
        ring.append(video(ms), ())
    assert [mark.timestamp_ms for mark in ring.marks] == [0]
    for ms in range(5000, 2000 * LONGEST_GOP + 8000, 40):
        ring.append(video(ms), ())
    assert not ring.marks
    assert ring.span_ms < 2000 + 40 * (TRIM_EVERY + 1)


def test_too_many_bytes_leave_even_from_the_newest_gop() -> None:
    ring = Ring(seconds=20, bytes_max=10_000)
    ring.append(video(0, key=True), ())
    for ms in range(40, 4000, 40):
        ring.append(video(ms, size=1000), ())
    assert ring.held_bytes <= 10_000


def test_without_video_one_audio_frame_a_second_is_a_start() -> None:
    ring = Ring(seconds=20, bytes_max=10_000_000)
    for ms in range(0, 5000, 20):
        ring.append(audio(ms), ())
    assert [mark.timestamp_ms for mark in ring.marks] == [0, 1000, 2000, 3000, 4000]


def test_with_video_only_key_frames_are_starts() -> None:
    ring = Ring(seconds=20, bytes_max=10_000_000)
    ring.append(video(0, key=True), ())
    for ms in range(0, 4000, 20):
        ring.append(audio(ms), ())
        ring.append(video(ms + 1), ())
    assert [mark.timestamp_ms for mark in ring.marks] == [0]


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans(), st.integers(0, 3000)), max_size=400))
def test_what_is_held_is_a_run_of_what_was_added(steps: list[tuple[int, bool, int]]) -> None:
    ring = Ring(seconds=3, bytes_max=100_000)
    added, now = [], 0
    for delta, key, size in steps:
        now += delta
        tag = video(now, key=key, size=size)
        added.append(tag)
        ring.append(tag, ())
        assert ring.next == len(added)
        assert ring.slice(ring.first) == added[ring.first :]
        assert ring.held_bytes == sum(len(held.payload) for held in added[ring.first :])
        assert ring.held_bytes <= 100_000
        assert all(added[mark.seq].flags & Flags.KEY and mark.seq >= ring.first for mark in ring.marks)


def test_a_long_delay_makes_the_ring_reach_back_so_far_and_a_gop_more() -> None:
    ring = Ring(seconds=2, bytes_max=10_000_000)
    ring.reach_back(30)
    for now_ms in range(0, 100_000, 40):
        ring.append(Tag(VIDEO, now_ms, b"x", Flags.KEY if now_ms % 2000 == 0 else 0), ())
    assert 40_000 <= ring.span_ms <= 46_000
    ring.reach_back(0)
    for now_ms in range(100_000, 110_000, 40):
        ring.append(Tag(VIDEO, now_ms, b"x", Flags.KEY if now_ms % 2000 == 0 else 0), ())
    assert ring.span_ms < 10_000
