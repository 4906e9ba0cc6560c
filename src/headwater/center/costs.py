"""What a rendition will cost: an estimate in cores, for the time before it runs and can be measured."""

from __future__ import annotations

from headwater.access.plan import Rendition
from headwater.access.presence import StreamPresence

ENCODED_PER_CORE = {"h264": 62_000_000.0, "h265": 16_000_000.0}
"""Pixels a second that one core encodes with the presets that we use: 1080p at 30 pictures a second for H.264."""

DECODED_PER_CORE = 400_000_000.0
"""Pixels a second of H.264 that one core decodes and scales: shared by a source's renditions, but the first one bears it."""

AUDIO_CORES = 0.02

USUAL_WIDTH, USUAL_HEIGHT, USUAL_FPS = 1280, 720, 25
"""A source of which nothing is known yet."""


def cores(rendition: Rendition, source: StreamPresence) -> float:
    """How many cores the rendition of a source will need."""
    video = rendition.video
    if video is None or video.codec == "copy":
        return AUDIO_CORES
    width, height = source.width or USUAL_WIDTH, source.height or USUAL_HEIGHT
    fps = min(source.frame_rate or USUAL_FPS, video.fps or video.fps_max or 60)
    wanted_height = video.height or video.fit_height
    wanted_width = video.width or video.fit_width
    shrink = min(wanted_height / height if wanted_height else 1.0, wanted_width / width if wanted_width else 1.0, 1.0)
    encoded = width * height * shrink * shrink * fps
    return AUDIO_CORES + encoded / ENCODED_PER_CORE[video.codec] + width * height * fps / DECODED_PER_CORE
