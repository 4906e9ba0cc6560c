"""What the timeline promises: whatever a publisher's clock does, viewers see one that goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.media.tag import AUDIO, SCRIPT, VIDEO
from headwater.media.timeline import FRAME_MS, JUMP_BACK_MS, JUMP_FORWARD_MS, Timeline

MASK = 2**32 - 1
KINDS = (AUDIO, VIDEO, SCRIPT)

wires = st.integers(0, MASK)


def _session(timeline: Timeline | None = None) -> Timeline:
    timeline = timeline or Timeline()
    timeline.begin_session()
    return timeline


def _interleaved(start: int, count: int, audio_ms: int = 23, video_ms: int = 40, shift: int = 0) -> list[tuple[int, int]]:
    """Tags of both tracks in the order of their time; the video is `shift` ms off the audio."""
    audio = [(start + n * audio_ms, AUDIO) for n in range(count)]
    video = [(start + shift + n * video_ms, VIDEO) for n in range(count)]
    return [(kind, wire & MASK) for wire, kind in sorted(audio + video)]


@given(wires)
def test_the_first_tag_is_at_zero_and_time_goes_on_as_on_the_wire(start: int) -> None:
    timeline = _session()
    assert [timeline.map(VIDEO, (start + n * 40) & MASK) for n in range(100)] == [n * 40 for n in range(100)]
    assert timeline.corrections == 0


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 500)), max_size=60), wires)
def test_a_wrap_at_32_bits_is_invisible(steps: list[tuple[int, int]], base: int) -> None:
    plain, wrapped = _session(), _session()
    now = 0
    for kind, step in steps:
        now += step
        assert plain.map(kind, now) == wrapped.map(kind, (now + base) & MASK)
    assert wrapped.corrections == plain.corrections


@given(st.integers(-5000, 5000), wires)
def test_the_offset_between_audio_and_video_is_kept(shift: int, start: int) -> None:
    timeline = _session()
    last: dict[int, tuple[int, int]] = {}
    for kind, wire in _interleaved(start, 300, shift=shift):
        last[kind] = (wire, timeline.map(kind, wire))
    (audio_wire, audio_ms), (video_wire, video_ms) = last[AUDIO], last[VIDEO]
    assert (audio_ms - video_ms - audio_wire + video_wire) & MASK == 0
    assert timeline.corrections == 0


@given(st.lists(st.tuples(st.sampled_from((*KINDS, 0)), wires), max_size=80))
def test_no_track_ever_runs_back(tags: list[tuple[int, int]]) -> None:
    timeline = _session()
    last = dict.fromkeys(KINDS, 0)
    for kind, wire in tags:
        if not kind:
            timeline.begin_session()
            continue
        time_ms = timeline.map(kind, wire)
        assert time_ms >= last[kind]
        last[kind] = time_ms


@given(st.integers(-JUMP_BACK_MS, -1), wires)
def test_a_small_step_back_is_held_and_then_goes_on(back: int, start: int) -> None:
    timeline = _session()
    out = [timeline.map(VIDEO, (start + wire) & MASK) for wire in (0, 2000, 2000 + back, 2040)]
    assert out == [0, 2000, 2000, 2040]
    assert timeline.corrections == 0


def test_many_small_steps_back_do_not_stop_the_clock_for_long() -> None:
    timeline = _session()
    timeline.map(VIDEO, 100_000)
    out = [timeline.map(VIDEO, 100_000 - n * 300) for n in range(100)]
    assert out[-1] > 0
    assert timeline.corrections > 10


jumps = st.integers(JUMP_FORWARD_MS + 6000, 2**31 - 10_000) | st.integers(-(2**31) + 10_000, -JUMP_BACK_MS - 6000)


@given(jumps, st.integers(-400, 400), st.integers(0, 400), st.sampled_from((AUDIO, VIDEO)), wires)
def test_a_jump_of_both_tracks_moves_neither_and_keeps_them_together(
    jump: int, shift: int, late_ms: int, first: int, start: int
) -> None:
    """Whichever track crosses the jump first, and however much of the other arrives only after that."""
    tags = []
    for wire, kind in sorted([(n * 23, AUDIO) for n in range(348)] + [(shift + n * 40, VIDEO) for n in range(200)]):
        arrival = wire + (late_ms if kind != first else 0)
        tags.append((arrival, kind, wire, wire + (jump if wire >= 4000 else 0)))
    timeline = _session()
    out: dict[int, tuple[int, int]] = {}
    moved: list[int] = []
    for _, kind, wire, jumped in sorted(tags):
        time_ms = timeline.map(kind, (start + jumped) & MASK)
        if kind in out:
            last_wire, last_ms = out[kind]
            progress, real = time_ms - last_ms, wire - last_wire
            assert 0 <= progress <= real + FRAME_MS
        out[kind] = (wire, time_ms)
        if len(out) == 2 and (wire < 3500 or wire > 4500):  # away from the start and from the jump
            moved.append((out[VIDEO][1] - out[VIDEO][0]) - (out[AUDIO][1] - out[AUDIO][0]))
    assert moved[50] == moved[80]
    assert abs(moved[-1] - moved[50]) <= FRAME_MS
    assert timeline.corrections == 2


@given(jumps, wires)
def test_a_jump_costs_one_frame(jump: int, start: int) -> None:
    timeline = _session()
    for n in range(50):
        timeline.map(VIDEO, (start + n * 40) & MASK)
    out = [timeline.map(VIDEO, (start + jump + n * 40) & MASK) for n in range(50)]
    assert out == [49 * 40 + FRAME_MS + n * 40 for n in range(50)]
    assert timeline.corrections == 1


def test_a_track_that_was_silent_comes_back_where_it_belongs() -> None:
    timeline = _session()
    for n in range(1000):
        timeline.map(VIDEO, n * 40)
        if n < 10:
            timeline.map(AUDIO, n * 40)
    assert timeline.map(AUDIO, 1000 * 40) == 1000 * 40
    assert timeline.corrections == 0


def test_a_silent_track_whose_clock_jumped_with_the_other_comes_back_beside_it() -> None:
    timeline = _session()
    timeline.map(AUDIO, 0)
    for n in range(1000):
        timeline.map(VIDEO, n * 40)
    out = timeline.map(VIDEO, 5_000_000)
    assert out == 999 * 40 + FRAME_MS
    assert timeline.map(AUDIO, 5_000_010) == out + 10


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.lists(wires, min_size=6, max_size=6))
def test_sessions_continue_one_after_the_other(lengths: list[int], starts: list[int]) -> None:
    timeline, expected = Timeline(), 0
    for number, (length, start) in enumerate(zip(lengths, starts, strict=False)):
        timeline.begin_session()
        expected += FRAME_MS if number else 0
        assert timeline.map(VIDEO, start) == expected
        for n in range(1, length):
            expected += 33
            assert timeline.map(VIDEO, (start + n * 33) & MASK) == expected
    assert timeline.corrections == 0


def test_audio_keeps_its_place_beside_video_in_the_next_session() -> None:
    timeline = _session()
    timeline.map(VIDEO, 0)
    timeline.map(AUDIO, 500)
    timeline.begin_session()
    assert timeline.map(VIDEO, 70_000) == 540
    assert timeline.map(AUDIO, 70_025) == 565


@pytest.mark.parametrize("wire", [0, 7_000, 4_000_000_000])
def test_script_tags_go_along_and_set_no_clock(wire: int) -> None:
    timeline = _session()
    assert timeline.map(SCRIPT, wire) == 0
    assert timeline.map(VIDEO, 1_000_000) == 0
    assert timeline.map(VIDEO, 1_000_040) == 40
    assert timeline.map(SCRIPT, 1_000_020) == 20
    assert timeline.map(SCRIPT, wire) == 40
    assert timeline.map(AUDIO, 1_000_063) == 63
    assert timeline.corrections == 0


def test_tracks_with_clocks_of_their_own_both_go_on() -> None:
    timeline = _session()
    assert timeline.map(VIDEO, 0) == 0
    assert timeline.map(AUDIO, 900_000_000) == 0
    assert [timeline.map(VIDEO, 40), timeline.map(AUDIO, 900_000_023)] == [40, 23]
    assert timeline.corrections == 1
