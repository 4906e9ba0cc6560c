"""Decoders that follow a live stream: made from its codec configuration, and never more than a packet lost to broken bytes."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import av
import av.error
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext

MILLISECONDS = Fraction(1, 1000)
"""The stream's own clock, in which all frames and packets of a job are counted."""

PIXELS_MAX = 4096 * 4096
"""A larger picture is refused: 4K has half of it, and a damaged header may claim gigabytes."""

VIDEO_DECODERS = {"h264": "h264", "hevc": "hevc", "av1": "libdav1d", "vp9": "vp9", "vp8": "vp8"}
AUDIO_DECODERS = {"aac": "aac", "mp3": "mp3float", "opus": "libopus", "ac3": "ac3", "eac3": "eac3"}


class Undecodable(Exception):
    """No decoder for this codec, or the configuration is broken; the message says which."""


BROKEN = (av.error.FFmpegError, ValueError, MemoryError)
"""What PyAV raises for bytes that make no sense. A picture that fits into no memory is one of them."""


class VideoDecoder:
    """Decodes the video of one codec configuration. Raises Undecodable if it cannot.

    low_delay: a frame is given as soon as its packet is there, so several threads share a frame instead of taking one each.
    """

    def __init__(self, codec: str, record: bytes, *, threads: int, low_delay: bool) -> None:
        self.codec = codec
        self.record = record
        if codec not in VIDEO_DECODERS:
            raise Undecodable(f"video in {codec} cannot be decoded")
        try:
            context = cast(VideoCodecContext, av.CodecContext.create(VIDEO_DECODERS[codec], "r"))
            context.extradata = record or None
            context.thread_count = threads
            context.thread_type = "SLICE" if low_delay else "AUTO"
            context.options = {"max_pixels": str(PIXELS_MAX)}
            context.open()
        except BROKEN as error:
            raise Undecodable(f"the configuration of the {codec} video is broken: {error}") from error
        self._context = context

    @property
    def sample_aspect_ratio(self) -> Fraction | None:
        """Of the frames that came last."""
        return self._context.sample_aspect_ratio

    @property
    def fps(self) -> float:
        """What the bitstream says; 0 if it says nothing."""
        return float(self._context.framerate or 0)

    def decode(self, data: bytes, pts_ms: int, dts_ms: int) -> list[av.VideoFrame]:
        """The frames that are ready with this packet. Raises what is in BROKEN; the next packet may be better."""
        packet = av.Packet(data)
        packet.pts, packet.dts, packet.time_base = pts_ms, dts_ms, MILLISECONDS
        return self._context.decode(packet)

    def flush(self) -> list[av.VideoFrame]:
        """The frames that it still holds; it is of no use afterwards."""
        try:
            return self._context.decode(None)
        except BROKEN:
            return []


class AudioDecoder:
    """Decodes the sound of one codec configuration. Raises Undecodable if it cannot."""

    def __init__(self, codec: str, record: bytes) -> None:
        self.codec = codec
        self.record = record
        if codec not in AUDIO_DECODERS:
            raise Undecodable(f"sound in {codec} cannot be decoded")
        try:
            context = cast(AudioCodecContext, av.CodecContext.create(AUDIO_DECODERS[codec], "r"))
            context.extradata = record or None
            context.thread_count = 1
            context.open()
        except BROKEN as error:
            raise Undecodable(f"the configuration of the {codec} sound is broken: {error}") from error
        self._context = context

    def decode(self, data: bytes) -> list[av.AudioFrame]:
        """The frames of this packet. Raises what is in BROKEN; the next packet may be better."""
        return self._context.decode(av.Packet(data))
