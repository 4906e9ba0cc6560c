"""What a rendition becomes of a source: sizes, rates, key frames."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.access.plan import Audio, Video
from headwater.center.transcode.targets import Pace, SourcePicture, Target, size, sound, target
from headwater.domains.presets import PRESETS

HD, PORTRAIT = (1280, 720), (720, 1280)


@pytest.mark.parametrize(
    ("video", "source", "wanted"),
    [
        (Video(), HD, HD),
        (Video(height=360), HD, (640, 360)),
        (Video(width=640), HD, (640, 360)),
        (Video(height=1080), HD, HD),
        (Video(width=1920, height=1080), HD, HD),
        (Video(width=640, height=640), HD, (640, 360)),
        (Video(width=640, height=360), PORTRAIT, (360, 640)),
        (Video(fit="short", fit_width=360), HD, (640, 360)),
        (Video(fit="short", fit_width=360), PORTRAIT, (360, 640)),
        (Video(fit="long", fit_width=640), HD, (640, 360)),
        (Video(fit="long", fit_width=640), PORTRAIT, (360, 640)),
        (Video(fit="screen", fit_width=848, fit_height=480), HD, (848, 480)),
        (Video(fit="screen", fit_width=848, fit_height=480), PORTRAIT, (480, 848)),
        (Video(fit="short", fit_width=540, width=100, height=100), HD, (960, 540)),
        (Video(height=100), (1281, 721), (178, 100)),
        (Video(), (1281, 721), (1280, 720)),
        (PRESETS["lld"], HD, (640, 360)),
        (PRESETS["lud"], HD, HD),
    ],
)
def test_scales_in_proportion_and_never_up(video: Video, source: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert size(video, *source) == wanted


@given(
    st.integers(16, 4096),
    st.integers(16, 4096),
    st.sampled_from(["", "short", "long", "screen"]),
    st.integers(0, 2560),
    st.integers(0, 2560),
)
def test_any_size_is_even_and_within_the_source(width: int, height: int, fit: str, wanted: int, other: int) -> None:
    video = Video(width=wanted, height=other, fit=fit, fit_width=wanted or 1, fit_height=other or 1)  # type: ignore[arg-type]
    made = size(video, width, height)
    assert all(edge % 2 == 0 for edge in made)
    assert 16 <= made[0] <= width
    assert 16 <= made[1] <= height


def test_neither_frames_nor_key_frames_are_more_than_the_sources() -> None:
    source = SourcePicture(1280, 720, fps=25.0, kbps=2000, gop_ms=2000)
    assert target(Video(kbps=500, fps=60), source)[2:] == (25.0, False, 500, 0)
    assert target(Video(kbps=500, fps=15), source).fps == 15.0
    assert target(Video(kbps=500, fps_min=30, fps_max=60), source).fps == 25.0
    assert target(Video(kbps=500, align=False, gop_s=1), source).gop_ms == 1000
    assert target(Video(kbps=500, align=False, gop_s=5), source).gop_ms == 0, "as the source's"
    assert target(Video(kbps=500, align=False, gop_frames=25), source).gop_ms == 1000


def test_the_rate_follows_the_sources_within_its_bounds() -> None:
    video = Video(kbps_factor=0.5, kbps_min=200, kbps_max=800)
    rates = [target(video, SourcePicture(1280, 720, 25.0, kbps)).kbps for kbps in (100, 1000, 5000, 0)]
    assert rates == [200, 500, 800, 800]


def test_small_differences_are_no_reason_for_another_encoder() -> None:
    made = Target(640, 360, 25.0, False, 500, 0)
    assert not made._replace(kbps=540, fps=24.8).unlike(made)
    assert made._replace(kbps=900).unlike(made)
    assert made._replace(width=320).unlike(made)


def _taken(fps: float, reduces: bool, source_fps: int, seconds: int = 4) -> list[int]:
    made, pace = Target(640, 360, fps, reduces, 500, 0), Pace()
    times = [round(number * 1000 / source_fps) for number in range(seconds * source_fps)]
    return [now for now in times if pace.take(made, now, now == 0)[0]]


@pytest.mark.parametrize(("fps", "source"), [(25, 30), (30, 60), (15, 25), (15, 30), (10, 24), (24, 25)])
def test_leaves_out_frames_evenly(fps: int, source: int) -> None:
    taken = _taken(fps, True, source)
    assert abs(len(taken) - 4 * fps) <= 1
    gaps = [later - earlier for earlier, later in itertools.pairwise(taken)]
    assert max(gaps) <= 1000 / fps + 1000 / source + 1


def test_the_first_frame_of_each_piece_of_the_clock_is_a_key_frame_whoever_takes_it() -> None:
    """Renditions with other rates, and those that began later, have their key frames at the very same times."""

    def keys(made: Target, since_ms: int) -> list[int]:
        pace = Pace()
        times = [round(number * 1000 / 30) for number in range(300)]
        return [now for now in times if now >= since_ms and pace.take(made, now, False) == (True, True)]

    full = keys(Target(640, 360, 30.0, False, 500, 2000), 0)
    fewer = keys(Target(320, 180, 12.0, True, 200, 2000), 0)
    later = keys(Target(320, 180, 12.0, True, 200, 2000), 3100)
    assert full == fewer == [0, 2000, 4000, 6000, 8000]
    assert later[1:] == [4000, 6000, 8000]


def test_sound_keeps_within_the_source_and_the_codec() -> None:
    assert sound(Audio("aac", 64, 48000, 2), 44100, 1) == ("aac", 44100, 1, 64)
    assert sound(Audio("mp3", 0, 96000), 96000, 6) == ("mp3", 48000, 2, 128)
    assert sound(Audio("opus"), 44100, 1) == ("opus", 48000, 1, 64)
