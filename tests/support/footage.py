"""Synthetic footage as tags, for what the center makes of streams; and decoders that say what came out."""

from __future__ import annotations

import io
import math
from array import array
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, cast

import av
import msgspec
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from headwater.media import flv
from headwater.media.codecs import CODED_FRAMES, split_video
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag

RATE_HZ = 44_100
SAMPLES = 1024


def footage(
    seconds: float = 2.0,
    *,
    size: tuple[int, int] = (320, 180),
    fps: int = 25,
    gop: int = 25,
    video: str | None = "libx264",
    audio: str | None = "aac",
    rate_hz: int = RATE_HZ,
    channels: int = 1,
    bframes: int = 0,
    start_ms: int = 0,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> list[Tag]:
    """A moving picture with a tone, as an encoder would push it. Deterministic: one thread, no clock."""
    file = io.BytesIO()
    with av.open(file, "w", format="flv", options={"flvflags": "no_duration_filesize"}) as output:
        pictures = sounds = None
        if video:
            chosen = {"preset": "ultrafast", "sc_threshold": "0", "bf": str(bframes), "x265-params": "log-level=error"}
            pictures = cast(VideoStream, output.add_stream(video, rate=fps, options=chosen | (options or {})))
            pictures.width, pictures.height = size
            pictures.pix_fmt = pix_fmt
            pictures.codec_context.gop_size = gop
            pictures.codec_context.thread_count = 1
            pictures.codec_context.time_base = Fraction(1, fps)
        if audio:
            layout = "mono" if channels == 1 else "stereo"
            sounds = cast(AudioStream, output.add_stream(audio, rate=rate_hz, layout=layout))
        sample = 0
        for number in range(round(seconds * fps)):
            if pictures is not None:
                output.mux(pictures.encode(picture(number, size, fps)))
            while sounds is not None and sample * fps < (number + 1) * rate_hz:
                output.mux(sounds.encode(_tone(sample, rate_hz, channels)))
                sample += SAMPLES
        for stream in (pictures, sounds):
            if stream is not None:
                output.mux(stream.encode(None))
    tags = flv.Reader().feed(file.getvalue())
    return [
        msgspec.structs.replace(tag, timestamp_ms=tag.timestamp_ms + start_ms) for tag in tags if tag.kind in (AUDIO, VIDEO)
    ]


def picture(number: int, size: tuple[int, int], fps: int) -> av.VideoFrame:
    """Frame number so-and-so: grey that grows brighter, with a bright bar that wanders."""
    width, height = size
    frame = av.VideoFrame(width, height, "yuv420p")
    for index, plane in enumerate(frame.planes):
        wide = plane.line_size
        line = bytearray(bytes((60 + number % 100,)) * wide if index == 0 else b"\x80" * wide)
        if index == 0:
            left = number * 7 % max(1, width - 16)
            line[left : left + 16] = b"\xe0" * 16
        plane.update(bytes(line) * (plane.buffer_size // wide))
    frame.pts, frame.time_base = number, Fraction(1, fps)
    return frame


def _tone(first: int, rate_hz: int, channels: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="mono" if channels == 1 else "stereo", samples=SAMPLES)
    step = 2 * math.pi * 440 / rate_hz
    samples = array("h")
    for at in range(first, first + SAMPLES):
        samples.extend([round(8000 * math.sin(step * at))] * channels)
    frame.planes[0].update(samples.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate, frame.pts, frame.time_base = rate_hz, first, Fraction(1, rate_hz)
    return frame


def frames(tags: Iterable[Tag]) -> list[Tag]:
    """The tags of pictures."""
    return [
        tag for tag in tags if tag.kind == VIDEO and (packet := split_video(tag.payload)) and packet.packet_type == CODED_FRAMES
    ]


def shown_ms(tag: Tag) -> int:
    """When a picture is shown."""
    packet = split_video(tag.payload)
    assert packet is not None
    return tag.timestamp_ms + packet.composition_ms


def keys(tags: Iterable[Tag]) -> list[int]:
    """When the key frames are shown."""
    return [shown_ms(tag) for tag in frames(tags) if tag.flags & Flags.KEY]


class Seen(msgspec.Struct):
    """What a decoder of its own makes of a stream. times are in milliseconds."""

    size: tuple[int, int] = (0, 0)
    sizes: list[tuple[int, int]] = []
    codec: str = ""
    video_times: list[int] = []
    keys: list[int] = []
    pictures: list[av.VideoFrame] = []
    audio_codec: str = ""
    audio_rate: int = 0
    audio_channels: int = 0
    audio_times: list[int] = []
    samples: int = 0
    loudest: int = 0


def watch(tags: Iterable[Tag], *, keep: bool = False) -> Seen:
    """Decode a stream with FFmpeg's own FLV reader. keep: the pictures, too."""
    listed = list(tags)
    kinds = {tag.kind for tag in listed}
    header = flv.file_header((flv.HAS_VIDEO if VIDEO in kinds else 0) | (flv.HAS_AUDIO if AUDIO in kinds else 0))
    data = header + b"".join(flv.pack_tag(tag.kind, tag.timestamp_ms, tag.payload) for tag in listed)
    seen = Seen()
    with av.open(io.BytesIO(data), "r", format="flv") as container:
        for packet in container.demux():
            for frame in cast(Any, packet).decode():
                _look(seen, frame, keep)
        for stream in container.streams.video:
            seen.codec = stream.codec_context.name
        for sound in container.streams.audio:
            seen.audio_codec = sound.codec_context.name
    return seen


def _look(seen: Seen, frame: Any, keep: bool) -> None:
    now_ms = round(frame.time * 1000)
    if isinstance(frame, av.VideoFrame):
        seen.size = frame.width, frame.height
        if seen.size not in seen.sizes:
            seen.sizes.append(seen.size)
        seen.video_times.append(now_ms)
        if frame.key_frame:
            seen.keys.append(now_ms)
        if keep:
            seen.pictures.append(frame)
    else:
        seen.audio_rate, seen.audio_channels = frame.sample_rate, frame.layout.nb_channels
        seen.audio_times.append(now_ms)
        seen.samples += frame.samples
        resampled = av.AudioResampler(format="s16", layout="mono").resample(frame)
        values = array("h", b"".join(bytes(part.planes[0])[: part.samples * 2] for part in resampled))
        seen.loudest = max(seen.loudest, max(map(abs, values), default=0))


def brightness(frame: av.VideoFrame, left: int, top: int, wide: int = 4, tall: int = 4) -> float:
    """Mean luma of a part of a picture."""
    plane = frame.planes[0]
    data, stride = bytes(plane), plane.line_size
    values = [data[row * stride + column] for row in range(top, top + tall) for column in range(left, left + wide)]
    return sum(values) / len(values)
