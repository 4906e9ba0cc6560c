"""What a rendition will cost: an estimate in cores, for people, and for the time before it runs and can be measured."""

from __future__ import annotations

from headwater.access.plan import Rendition, Video

ENCODED_PER_CORE = {"h264": 62_000_000.0, "h265": 16_000_000.0}
"""Pixels a second that one core encodes with the presets that we use: 1080p at 30 pictures a second for H.264."""

NARROWBAND_FACTOR = 3.0
"""Narrowband's slower presets cost about so many times as much."""

DECODED_PER_CORE = 400_000_000.0
"""Pixels a second of H.264 that one core decodes and scales: shared by a source's renditions, but the first one bears it."""

AUDIO_CORES = 0.02

USUAL_WIDTH, USUAL_HEIGHT, USUAL_FPS = 1280, 720, 25
"""A source of which nothing is known yet."""


def cost_cores(rendition: Rendition, source_width: int, source_height: int, fps: float) -> float:
    """How many cores the rendition will need of a source with such a picture; 0 for what is not known of it."""
    video = rendition.video
    if video is None or video.codec == "copy":
        return AUDIO_CORES
    width, height = source_width or USUAL_WIDTH, source_height or USUAL_HEIGHT
    fps = fps or USUAL_FPS
    made_fps = min(fps, video.fps or video.fps_max or fps)
    encoded = width * height * _scale(video, width, height) ** 2 * made_fps
    slower = NARROWBAND_FACTOR if video.narrowband else 1.0
    return AUDIO_CORES + slower * encoded / ENCODED_PER_CORE[video.codec] + width * height * fps / DECODED_PER_CORE


def _scale(video: Video, width: int, height: int) -> float:
    """How much smaller the picture becomes, along each side; it is turned as the source is."""
    short, long = sorted((width, height))
    if video.fit == "short":
        return min(1.0, video.fit_width / short)
    if video.fit == "long":
        return min(1.0, video.fit_width / long)
    wanted_width, wanted_height = (video.fit_width, video.fit_height) if video.fit == "screen" else (video.width, video.height)
    if wanted_width and wanted_height:
        wanted_short, wanted_long = sorted((wanted_width, wanted_height))
        return min(1.0, wanted_short / short, wanted_long / long)
    return min(1.0, wanted_width / width if wanted_width else 1.0, wanted_height / height if wanted_height else 1.0)
