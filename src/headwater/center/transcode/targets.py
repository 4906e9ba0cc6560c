"""What a rendition's picture and sound become of a given source: sizes, rates, and which frames it takes. No I/O, no codecs.

The rule above all: nothing is enlarged, neither the picture nor its rates (reference media-plane 2.4).
"""

from __future__ import annotations

from typing import NamedTuple

from headwater.access.plan import Audio, Video

EDGE_MIN = 16
"""Encoders work in blocks of 16 pixels."""

SNAP = 0.01
"""848x480 is what people call 16:9 of 480 lines, though it is 477.

So close to the wanted box, the picture gets the box's own size.
"""

BITS_PER_PIXEL = 0.07
"""The rate of a rendition that asks for none, while the source's is not known yet: 1.6 Mbit/s for 720p with 25 frames."""

FPS_TOLERANCE = 1.03
"""A source of 25.1 frames a second is one of 25: no frame is left out for that."""

FPS_ASSUMED = 25.0

COPIED_KBPS_MAX = 30_000


class SourcePicture(NamedTuple):
    """What is known of the source's picture; fps, kbps and gop_ms are 0 while they are not known."""

    width: int
    height: int
    fps: float = 0.0
    kbps: int = 0
    gop_ms: int = 0


class Target(NamedTuple):
    """What a rendition's encoder is made for. fps: what it gets; reduces: frames of the source are left out for that.

    gop_ms: distance of key frames on the stream's clock, 0: where the source has them.
    """

    width: int
    height: int
    fps: float
    reduces: bool
    kbps: int
    gop_ms: int

    def unlike(self, other: Target) -> bool:
        """Whether an encoder that was made for the one will not do for the other; measured rates always differ a little."""
        return (
            (self.width, self.height, self.reduces, self.gop_ms) != (other.width, other.height, other.reduces, other.gop_ms)
            or abs(self.kbps - other.kbps) > 0.25 * other.kbps
            or abs(self.fps - other.fps) > 0.25 * other.fps
        )


def target(video: Video, source: SourcePicture) -> Target:
    """What a rendition's picture becomes of this source."""
    width, height = size(video, source.width, source.height)
    fps_source = source.fps or FPS_ASSUMED
    wanted = min([bound for bound in (video.fps, video.fps_max) if bound], default=0)
    reduces = bool(wanted) and fps_source > wanted * FPS_TOLERANCE
    fps = float(wanted) if reduces else fps_source
    return Target(width, height, fps, reduces, _kbps(video, source, width * height * fps), _gop_ms(video, source, fps))


def size(video: Video, width: int, height: int) -> tuple[int, int]:
    """Width and height of a rendition: in proportion to the source's, even, and never larger."""
    wanted_width, wanted_height, fit = video.width, video.height, video.fit
    portrait = height > width
    if fit in ("short", "long"):
        sets_width = portrait == (fit == "short")
        wanted_width, wanted_height = (video.fit_width, 0) if sets_width else (0, video.fit_width)
    else:
        if fit == "screen":
            wanted_width, wanted_height = video.fit_width, video.fit_height
        if wanted_width and wanted_height and (wanted_height > wanted_width) != portrait and width != height:
            wanted_width, wanted_height = wanted_height, wanted_width
    scale = min(
        1.0,
        wanted_width / width if wanted_width else 1.0,
        wanted_height / height if wanted_height else 1.0,
    )
    made_width, made_height = width * scale, height * scale
    if wanted_width and wanted_height and max(made_width, made_height) < max(width, height):
        made_width, made_height = _snapped(made_width, wanted_width), _snapped(made_height, wanted_height)
    return _even(made_width, width), _even(made_height, height)


def _snapped(edge: float, wanted: int) -> float:
    return wanted if abs(edge - wanted) <= SNAP * wanted else edge


def _even(edge: float, source: int) -> int:
    return min(max(EDGE_MIN, 2 * round(edge / 2)), source - source % 2 or 2)


def _kbps(video: Video, source: SourcePicture, pixels_per_s: float) -> int:
    if video.kbps_factor:
        kbps = source.kbps * video.kbps_factor or video.kbps or video.kbps_max
        kbps = max(kbps, video.kbps_min)
        kbps = min(kbps, video.kbps_max or kbps)
    else:
        kbps = video.kbps or min(source.kbps, COPIED_KBPS_MAX)
    return round(kbps) or max(100, round(pixels_per_s * BITS_PER_PIXEL / 1000))


def _gop_ms(video: Video, source: SourcePicture, fps: float) -> int:
    if video.align:
        return 0
    gop_ms = video.gop_s * 1000 or round(video.gop_frames * 1000 / fps)
    return 0 if source.gop_ms and gop_ms >= source.gop_ms else gop_ms


class Pace:
    """Says which frames of the source a rendition takes, and which of them become key frames.

    It knows nothing but a frame's time, so all renditions of a stream with the same rule do the same, whenever they began.
    """

    def __init__(self) -> None:
        self._last_slot = -1
        self._last_index = -1

    def take(self, target: Target, pts_ms: int, source_key: bool) -> tuple[bool, bool]:
        """Whether the frame is taken, and whether it is to be a key frame. pts_ms: its time; frames come in their order."""
        if target.gop_ms:
            slot = pts_ms // target.gop_ms
            key, self._last_slot = slot != self._last_slot, slot
        else:
            key = source_key
        if not target.reduces:
            return True, key
        step_ms = 1000 / target.fps
        index = int((pts_ms + step_ms / 4) / step_ms)  # a quarter: timestamps of whole milliseconds jitter
        taken = key or index != self._last_index
        if taken:
            self._last_index = index
        return taken, key


class Sound(NamedTuple):
    """What a rendition's sound is encoded as."""

    codec: str
    rate: int
    channels: int
    kbps: int


SOUND_RATES = {
    "aac": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "opus": (48000,),
}

CHANNELS_MAX = 2

KBPS_PER_CHANNEL = 64


def sound(audio: Audio, rate: int, channels: int) -> Sound:
    """What sound of this rate and so many channels becomes; Opus always has 48 kHz."""
    wanted = min(audio.rate or rate, rate)
    rates = SOUND_RATES[audio.codec]
    chosen = max((one for one in rates if one <= wanted), default=rates[0])
    count = min(audio.channels or channels, channels, CHANNELS_MAX)
    return Sound(audio.codec, chosen, max(count, 1), audio.kbps or KBPS_PER_CHANNEL * max(count, 1))
