"""The standard transcoding templates (reference media-plane 2.1): names that anybody may use, with what they mean.

Heights and the caps of lld, lsd, lhd and lud are the service's. It has not published the other figures; those are ours: 540
lines lie between SD and HD, narrowband takes 30 % off, at most 30 frames a second, key frames where the source has them. The
table's heights are of landscape pictures, so a portrait one gets them as its width.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from headwater.access.plan import Audio, Rendition, Video

FPS_MAX = 30


class _Level(NamedTuple):
    lines: int
    kbps: int


_LEVELS = {
    "ld": _Level(360, 470),
    "sd": _Level(432, 680),
    "sd540": _Level(540, 1000),
    "hd": _Level(648, 1500),
    "ud": _Level(1080, 2500),
}

NARROWBAND_SHARE = 0.7
"""Narrowband's rate beside the standard one of the same height: about what a slower preset with more look-ahead saves."""


def _video(level: _Level, codec: Literal["h264", "h265"], low_latency: bool) -> Video:
    return Video(
        codec=codec,
        fit="short",
        fit_width=level.lines,
        kbps=level.kbps,
        fps_max=FPS_MAX,
        bframes=not low_latency,
        low_latency=low_latency,
    )


def _narrowband(level: _Level) -> Video:
    kbps = round(level.kbps * NARROWBAND_SHARE)
    return Video(fit="short", fit_width=level.lines, kbps=kbps, fps_max=FPS_MAX, narrowband=True)


def _h265_name(level: str) -> str:
    return f"l{level[:2]}265-{level[2:]}" if level[2:] else f"l{level}265"


PRESETS: dict[str, Video] = {
    **{f"l{name}": _video(level, "h264", False) for name, level in _LEVELS.items()},
    **{_h265_name(name): _video(level, "h265", False) for name, level in _LEVELS.items()},
    **{f"l{name}-ll": _video(level, "h264", True) for name, level in _LEVELS.items()},
    **{f"{_h265_name(name)}-ll": _video(level, "h265", True) for name, level in _LEVELS.items()},
    **{name: _narrowband(level) for name, level in _LEVELS.items() if len(name) == 2},
}
"""Each standard template's picture; the sound is the source's."""


def is_preset(name: str) -> bool:
    """Whether this is the name of a standard template, which no custom one may have."""
    return name in PRESETS


def preset(app: str, template: str, *, lazy: bool) -> Rendition:
    """What a standard template makes of the streams of an app. Raises KeyError for another name."""
    return Rendition(app=app, template=template, lazy=lazy, video=PRESETS[template], audio=Audio())
