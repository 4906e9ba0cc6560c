"""Short clips of real encoders for every test that needs media: made once for each set of arguments, small, always alike."""

from __future__ import annotations

import functools
import io
import math
from array import array
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

FRAME_RATE = 25
SAMPLE_RATE = 44_100

_VIDEO_ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9"}
_AUDIO_ENCODERS = {"aac": "aac", "mp3": "libmp3lame", "opus": "libopus"}
_VIDEO_OPTIONS = {
    "h264": {"preset": "veryfast", "x264-params": "scenecut=0"},
    "hevc": {"preset": "ultrafast", "x265-params": "scenecut=0:log-level=none:bframes=3:pools=none:frame-threads=1"},
    "av1": {"preset": "12", "svtav1-params": "lp=1"},
    "vp9": {"deadline": "realtime", "cpu-used": "8"},
}


@functools.cache
def flv_clip(
    video: str | None = "h264",
    audio: str | None = "aac",
    seconds: float = 4,
    gop: int = 25,
    size: tuple[int, int] = (128, 72),
    bframes: int = 2,
) -> bytes:
    """An FLV file of so many seconds; None for `video` or `audio` leaves that out.

    video: `h264`, `hevc`, `av1` or `vp9`, 25 frames a second with a key frame every `gop` frames. audio: `aac`, `mp3`
    (44.1 kHz) or `opus` (48 kHz), mono. FFmpeg's muxer writes HEVC, AV1, VP9 and Opus as Enhanced RTMP with FourCC.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="flv", options={"flvflags": "no_duration_filesize"}) as output:
        tracks: list[Iterator[Packet[Any]]] = []
        if video is not None:
            tracks.append(_video_packets(_video_stream(output, video, gop, size, bframes), round(seconds * FRAME_RATE)))
        if audio is not None:
            tracks.append(_audio_packets(_audio_stream(output, audio), seconds))
        packets = [packet for track in tracks for packet in track]
        for packet in sorted(packets, key=_decode_time):
            output.mux(packet)
    return file.getvalue()


def _decode_time(packet: Packet[Any]) -> Fraction:
    assert packet.dts is not None
    return Fraction(packet.dts) * Fraction(packet.time_base)


def _video_stream(output: OutputContainer, codec: str, gop: int, size: tuple[int, int], bframes: int) -> VideoStream:
    options = dict(_VIDEO_OPTIONS[codec])
    stream = cast(VideoStream, output.add_stream(_VIDEO_ENCODERS[codec], rate=FRAME_RATE, options=options))
    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
    stream.codec_context.gop_size = gop
    stream.codec_context.max_b_frames = bframes if codec in ("h264", "hevc") else 0
    stream.codec_context.thread_count = 1
    stream.codec_context.time_base = Fraction(1, FRAME_RATE)
    return stream


def _video_packets(stream: VideoStream, frames: int) -> Iterator[Packet[Any]]:
    for number in range(frames):
        frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
        for index, plane in enumerate(frame.planes):
            shade = (number * 7) % 200 + 16 if index == 0 else 96 + 32 * index
            plane.update(bytes([shade]) * (plane.buffer_size // 2) + bytes([255 - shade]) * ((plane.buffer_size + 1) // 2))
        frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _audio_stream(output: OutputContainer, codec: str) -> AudioStream:
    rate = 48_000 if codec == "opus" else SAMPLE_RATE
    stream = cast(AudioStream, output.add_stream(_AUDIO_ENCODERS[codec], rate=rate, layout="mono"))
    stream.codec_context.bit_rate = 48_000
    return stream


def _audio_packets(stream: AudioStream, seconds: float) -> Iterator[Packet[Any]]:
    rate = stream.codec_context.sample_rate
    stream.codec_context.open(strict=False)
    samples_per_frame = stream.codec_context.frame_size or 1024
    for first in range(0, round(seconds * rate), samples_per_frame):
        tone = array("f", (0.2 * math.sin(2 * math.pi * 440 * (first + n) / rate) for n in range(samples_per_frame)))
        frame = av.AudioFrame(format="fltp", layout="mono", samples=samples_per_frame)
        frame.planes[0].update(tone.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)
