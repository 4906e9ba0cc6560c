"""Slices of time shift begin with key frames, hold everything once, and know when they were."""

from __future__ import annotations

import errno
import io
import itertools
import os
from pathlib import Path
from typing import Any

import av
import pytest

from headwater.center.continuity import Continuity
from headwater.center.shift.job import write
from headwater.center.shift.slicer import LONGEST_MS, Cut, Slicer
from headwater.center.source import Part
from headwater.media import flv
from headwater.media.tag import Flags, Tag
from support.media_clips import flv_clip
from support.ts import read_ts

WALL_MS = 1_700_000_000_000
CLIP_MS = 4000


def clip(video: str | None = "h264", audio: str | None = "aac", gop: int = 25, rounds: int = 3) -> list[Tag]:
    """A clip that is looped."""
    tags = flv.Reader().feed(flv_clip(video=video, audio=audio, seconds=CLIP_MS / 1000, gop=gop))
    looped = list(tags)
    for number in range(1, rounds):
        frames = [tag for tag in tags if not tag.flags & (Flags.CONFIG | Flags.METADATA)]
        looped += [Tag(tag.kind, tag.timestamp_ms + number * CLIP_MS, tag.payload, tag.flags) for tag in frames]
    return sorted(looped, key=lambda tag: tag.timestamp_ms)


def cut(slicer: Slicer, tags: list[Tag], late_ms: int = 0) -> list[Cut]:
    """The slices of tags that come one by one, each so late after its time."""
    found = []
    for tag in tags:
        found += slicer.take([tag], WALL_MS + tag.timestamp_ms + late_ms, tag.timestamp_ms)
    return found


@pytest.mark.parametrize(("video", "audio"), [("h264", "aac"), ("hevc", "aac"), ("h264", "mp3"), ("h264", None), (None, "aac")])
def test_slices_are_whole_gops_that_go_on_from_one_another(video: str | None, audio: str | None) -> None:
    slicer = Slicer(2000)
    slices = cut(slicer, clip(video, audio)) + slicer.breaks()
    assert len(slices) >= 5
    assert [one.broken for one in slices] == [True] + [False] * (len(slices) - 1)
    if video is not None:
        assert [one.duration_ms for one in slices[:-1]] == [2000] * (len(slices) - 1)
    for before, after in itertools.pairwise(slices):
        assert after.start_ms == before.start_ms + before.duration_ms
    counters: dict[int, int] = {}
    for one in slices:
        read_ts(one.data, counters)  # asserts the continuity of every packet
    with av.open(io.BytesIO(b"".join(one.data for one in slices)), "r", format="mpegts") as container:
        frames: list[Any] = list(container.decode())
    pictures = sum(isinstance(frame, av.VideoFrame) for frame in frames)
    assert pictures == (75 * CLIP_MS // 1000 if video else 0)


def test_slices_are_longer_with_longer_gops_but_not_endless() -> None:
    assert {one.duration_ms for one in cut(Slicer(2000), clip(gop=100, rounds=4))} == {4000}
    tags = [tag if not tag.flags & Flags.KEY or tag.timestamp_ms < 100 else Tag(tag.kind, tag.timestamp_ms, tag.payload)
            for tag in clip(audio=None, rounds=5)]  # fmt: skip
    (long,) = cut(Slicer(2000), tags)
    assert LONGEST_MS <= long.duration_ms < LONGEST_MS + 100


def test_a_slice_knows_when_it_was_even_if_its_publisher_was_away() -> None:
    slicer, tags = Slicer(2000), clip()
    assert [one.start_ms - WALL_MS for one in cut(slicer, [tag for tag in tags if tag.timestamp_ms < 5000])] == [0, 2000]
    away = cut(slicer, [tag for tag in tags if tag.timestamp_ms >= 5000], late_ms=60_000)
    assert away[0].start_ms - WALL_MS == 4000
    assert [one.start_ms - WALL_MS for one in away[1:]] == [66_000, 68_000]


def test_another_configuration_or_clock_breaks_the_run() -> None:
    slicer = Slicer(2000)
    first = cut(slicer, clip(rounds=1))
    other = [Tag(tag.kind, tag.timestamp_ms + CLIP_MS, tag.payload, tag.flags) for tag in clip("hevc", rounds=1)]
    slices = first + cut(slicer, other) + slicer.breaks()
    assert [one.broken for one in slices] == [True, False, True, False]
    wrapped = Slicer(2000)
    late = [Tag(tag.kind, tag.timestamp_ms + 2**32 - 4000, tag.payload, tag.flags) for tag in clip(rounds=1)]
    assert [one.broken for one in cut(wrapped, late) + cut(wrapped, clip(rounds=1)[3:])][:3] == [True, False, True]


def test_what_a_new_connection_repeats_is_taken_once() -> None:
    tags = [tag for tag in clip(rounds=2) if not tag.flags & (Flags.CONFIG | Flags.METADATA)]
    half = len(tags) // 2
    seen = Continuity()
    assert seen.take(Part(tags[:half], fresh=True, newest_ms=tags[half - 1].timestamp_ms)) == (tags[:half], True)
    new, joined = seen.take(Part(tags[half - 20 :], fresh=True, newest_ms=tags[-1].timestamp_ms))
    assert joined
    assert new == tags[half:]
    moved = [Tag(tag.kind, tag.timestamp_ms + 100_000, tag.payload, tag.flags) for tag in tags]
    assert seen.take(Part(moved, fresh=True, newest_ms=moved[-1].timestamp_ms)) == (moved, False)
    assert seen.take(Part(tags, fresh=True, newest_ms=tags[-1].timestamp_ms)) == (tags, False)


def test_a_slice_that_the_disk_does_not_take_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "1-2000-0.ts", b"media")
    assert list(tmp_path.iterdir()) == []
