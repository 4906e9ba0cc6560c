"""The standard templates: names, heights and caps of the service."""

from __future__ import annotations

import pytest

from headwater.domains.presets import PRESETS, is_preset, preset

NAMES = [
    "lld",
    "lld265",
    "lld-ll",
    "lld265-ll",
    "lsd",
    "lsd265",
    "lsd-ll",
    "lsd265-ll",
    "lhd",
    "lhd265",
    "lhd-ll",
    "lhd265-ll",
    "lud",
    "lud265",
    "lud-ll",
    "lud265-ll",
    "lsd540",
    "lsd265-540",
    "lsd540-ll",
    "lsd265-540-ll",
    "ld",
    "sd",
    "hd",
    "ud",
]


def test_has_exactly_the_services_names() -> None:
    assert sorted(PRESETS) == sorted(NAMES)
    assert is_preset("lld")
    assert not is_preset("mine")


@pytest.mark.parametrize(("suffix", "codec"), [("", "h264"), ("265", "h265"), ("-ll", "h264"), ("265-ll", "h265")])
@pytest.mark.parametrize(
    ("level", "lines", "kbps"), [("lld", 360, 470), ("lsd", 432, 680), ("lhd", 648, 1500), ("lud", 1080, 2500)]
)
def test_has_the_services_heights_and_caps(level: str, lines: int, kbps: int, suffix: str, codec: str) -> None:
    rendition = preset("live", level + suffix, lazy=True)
    video = rendition.video
    assert video is not None
    assert (video.fit, video.fit_width, video.kbps, video.codec) == ("short", lines, kbps, codec)
    assert video.low_latency == (not video.bframes) == suffix.endswith("-ll")


@pytest.mark.parametrize("name", ["ld", "sd", "hd", "ud"])
def test_narrowband_takes_less_for_the_same_height(name: str) -> None:
    narrow, standard = PRESETS[name], PRESETS["l" + name]
    assert narrow.narrowband
    assert narrow.fit_width == standard.fit_width
    assert narrow.kbps < standard.kbps
