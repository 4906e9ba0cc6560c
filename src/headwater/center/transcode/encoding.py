"""Encoders of pictures and sound: how each template's wishes become options of libx264, libx265, NVENC and the audio codecs."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any, NamedTuple, cast

import av
import av.error
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext

from headwater.access.plan import Video
from headwater.center.transcode.decoding import BROKEN, MILLISECONDS
from headwater.center.transcode.targets import Sound, Target
from headwater.media import nal
from headwater.media.codecs import HEVC_PPS, HEVC_SPS, HEVC_VPS

GOP_ENDLESS = 1 << 16
"""Key frames are asked for one by one, at the source's timestamps; encoders must not add any."""

VBV_S, VBV_LOW_LATENCY_S = 1.0, 0.5
"""The buffer under a template's rate: within any second or so the cap holds."""

H264_PRESET, H264_NARROWBAND_PRESET = "veryfast", "medium"
H265_PRESET, H265_NARROWBAND_PRESET = "superfast", "fast"
"""By libx264's and libx265's names. Narrowband spends some three times the work to keep the quality at less rate."""

LOOK_AHEAD_FRAMES = {"veryfast": 10, "medium": 40, "superfast": 10, "fast": 15}
"""What these presets look ahead, which is so many frames of delay."""

LOOK_AHEAD_S, NARROWBAND_LOOK_AHEAD_S = 0.5, 2.0
"""And no longer: ten frames of a presentation with one frame a second would be ten seconds."""

LOOK_AHEAD_MIN_FRAMES = 4
"""Fewer gain nothing, and encoders hold some more while they look ahead at all."""

B_FRAMES = 3
"""At most in a row, where there are any."""

PROFILES = {1: "baseline", 2: "main", 3: "high"}

GLOBAL_HEADER = 1 << 22
"""AV_CODEC_FLAG_GLOBAL_HEADER: parameter sets apart from the frames."""

FPS_DENOMINATOR_MAX = 1001

NVENC = {"h264": "h264_nvenc", "h265": "hevc_nvenc"}
SOFTWARE = {"h264": "libx264", "h265": "libx265"}
STREAM_CODECS = {"h264": "h264", "h265": "hevc"}
"""From a template's codec to the name that media/ has for it."""


class EncoderError(Exception):
    """An encoder could not be opened, or has failed."""


class Colours(NamedTuple):
    """How a picture's numbers are colours; unspecified ones are 2 (ITU-T H.273), the aspect ratio of a pixel may be unknown."""

    space: int
    range: int
    transfer: int
    primaries: int
    pixel_aspect: Fraction | None = None


class Encoded(NamedTuple):
    """A frame in its encoded form: its NAL units without parameter sets and delimiters."""

    pts_ms: int
    dts_ms: int
    key: bool
    units: list[bytes]


class VideoEncoder:
    """Encodes the picture of one rendition. Raises EncoderError, here and from its methods.

    codec: `h264` or `hevc`. record: its decoder configuration. name: of FFmpeg's encoder.
    """

    def __init__(self, video: Video, target: Target, colours: Colours, *, threads: int, nvenc: bool) -> None:
        self.target = target
        self.colours = colours
        wanted = "h265" if video.codec == "h265" else "h264"
        self.codec = STREAM_CODECS[wanted]
        self.name = NVENC[wanted] if nvenc and nvenc_works(wanted) else SOFTWARE[wanted]
        try:
            self._context = self._open(video, target, colours, threads)
            self.record = self._read_record()
        except BROKEN as error:
            raise EncoderError(f"{self.name} cannot be opened for {target.width}x{target.height}: {error}") from error

    def _open(self, video: Video, target: Target, colours: Colours, threads: int) -> VideoCodecContext:
        context = cast(VideoCodecContext, av.CodecContext.create(self.name, "w"))
        context.width, context.height, context.pix_fmt = target.width, target.height, "yuv420p"
        context.time_base = MILLISECONDS
        context.framerate = Fraction(target.fps).limit_denominator(FPS_DENOMINATOR_MAX)
        context.bit_rate = target.kbps * 1000
        context.gop_size = GOP_ENDLESS
        context.thread_count = threads
        context.flags |= GLOBAL_HEADER
        context.colorspace, context.color_range = colours.space, colours.range
        context.color_trc, context.color_primaries = colours.transfer, colours.primaries
        if colours.pixel_aspect:
            context.sample_aspect_ratio = colours.pixel_aspect
        context.options = video_options(self.name, video, target, threads)
        context.open()
        return context

    def encode(self, frame: av.VideoFrame, pts_ms: int, key: bool) -> list[Encoded]:
        """What is ready with this frame, which gets the given time and becomes a key frame if asked for."""
        frame.pts, frame.time_base, frame.pict_type = pts_ms, MILLISECONDS, int(key)
        try:
            return [self._taken(packet) for packet in self._context.encode(frame)]
        except BROKEN as error:
            raise EncoderError(f"{self.name} has failed: {error}") from error

    def flush(self) -> list[Encoded]:
        """What it still holds; it is of no use afterwards."""
        try:
            return [self._taken(packet) for packet in self._context.encode(None)]
        except BROKEN:
            return []

    def _taken(self, packet: av.Packet[Any]) -> Encoded:
        found = nal.split_annex_b(bytes(packet))
        units = [unit for unit in found if not _is_set_or_delimiter(self.codec, nal.unit_type(self.codec, unit))]
        assert packet.pts is not None
        dts_ms = packet.pts if packet.dts is None else packet.dts
        return Encoded(packet.pts, dts_ms, packet.is_keyframe, units)

    def _read_record(self) -> bytes:
        sets = {nal.unit_type(self.codec, unit): unit for unit in nal.split_annex_b(self._context.extradata or b"")}
        try:
            if self.codec == "h264":
                return nal.avc_record(sets[nal.AVC_SPS], sets[nal.AVC_PPS])
            return nal.hevc_record(sets[HEVC_VPS], sets[HEVC_SPS], sets[HEVC_PPS])
        except KeyError:
            raise ValueError("it gives no parameter sets") from None


def _is_set_or_delimiter(codec: str, kind: int) -> bool:
    if codec == "h264":
        return nal.AVC_SPS <= kind <= nal.AVC_AUD
    return HEVC_VPS <= kind <= nal.HEVC_AUD


def video_options(name: str, video: Video, target: Target, threads: int) -> dict[str, str]:
    """The encoder's own options. Rate control: the template's rate on average, and capped to it by the buffer (VBV)."""
    kbps = target.kbps
    buffer_kbits = max(1, round(kbps * (VBV_LOW_LATENCY_S if video.low_latency else VBV_S)))
    without_b = not video.bframes or video.low_latency
    options = {"forced-idr": "1"}
    if name == "libx265":
        options["preset"] = preset = H265_NARROWBAND_PRESET if video.narrowband else H265_PRESET
        options["profile"] = "main"
        if video.low_latency:
            options["tune"] = "zerolatency"
        pool = (
            "pools=none:frame-threads=1" if threads == 1 else f"pools={threads}:frame-threads={1 if video.low_latency else 2}"
        )
        ahead = 0 if video.low_latency else _look_ahead(preset, video, target)
        b_frames = 0 if without_b or not ahead else B_FRAMES
        options["x265-params"] = (
            f"log-level=error:info=0:repeat-headers=0:open-gop=0:scenecut=0:keyint={GOP_ENDLESS}:min-keyint=1:"
            f"vbv-maxrate={kbps}:vbv-bufsize={buffer_kbits}:{pool}:rc-lookahead={ahead}:bframes={b_frames}"
        )
        return options
    options |= {"maxrate": f"{kbps}k", "bufsize": f"{buffer_kbits}k"}
    if without_b or video.profile == 1:
        options["bf"] = "0"
    if name == "libx264":
        options["preset"] = preset = H264_NARROWBAND_PRESET if video.narrowband else H264_PRESET
        options["profile"] = PROFILES[video.profile]
        options["sc_threshold"] = "0"
        ahead = 0 if video.low_latency else _look_ahead(preset, video, target)
        if ahead:
            options["rc-lookahead"] = str(ahead)
            options.setdefault("bf", str(B_FRAMES))
        else:
            options["tune"] = "zerolatency"
    else:
        options |= {"preset": "p6" if video.narrowband else "p4", "rc": "vbr", "no-scenecut": "1"}
        options["profile"] = "main" if name == NVENC["h265"] else PROFILES[video.profile]
        if video.low_latency:
            options |= {"tune": "ull", "zerolatency": "1", "delay": "0"}
    return options


def _look_ahead(preset: str, video: Video, target: Target) -> int:
    """How many frames an encoder looks ahead."""
    frames = int(target.fps * (NARROWBAND_LOOK_AHEAD_S if video.narrowband else LOOK_AHEAD_S))
    return min(LOOK_AHEAD_FRAMES[preset], frames) if frames >= LOOK_AHEAD_MIN_FRAMES else 0


@functools.cache
def nvenc_works(codec: str) -> bool:
    """Whether the graphics card's encoder can be opened: that it is compiled in says nothing."""
    try:
        context = cast(VideoCodecContext, av.CodecContext.create(NVENC[codec], "w"))
        context.width, context.height, context.pix_fmt, context.time_base = 640, 360, "yuv420p", MILLISECONDS
        context.open()
    except BROKEN:
        return False
    return True


AUDIO_ENCODERS = {"aac": ("aac", "fltp"), "mp3": ("libmp3lame", "fltp"), "opus": ("libopus", "flt")}
"""FFmpeg's encoder for each codec, and the samples that it takes."""

LAYOUTS = {1: "mono", 2: "stereo"}


class AudioEncoder:
    """Encodes sound that it first brings to the wanted rate and channels. Raises EncoderError, here and from its methods."""

    def __init__(self, sound: Sound) -> None:
        self.sound = sound
        name, samples = AUDIO_ENCODERS[sound.codec]
        try:
            context = cast(AudioCodecContext, av.CodecContext.create(name, "w"))
            context.rate, context.layout, context.format = sound.rate, LAYOUTS[sound.channels], samples
            context.bit_rate = sound.kbps * 1000
            context.time_base = Fraction(1, sound.rate)
            context.flags |= GLOBAL_HEADER
            context.open()
        except BROKEN as error:
            raise EncoderError(f"{name} cannot be opened for {sound.rate} Hz, {sound.kbps} kbit/s: {error}") from error
        self._context = context
        self._resampler = av.AudioResampler(samples, LAYOUTS[sound.channels], sound.rate, context.frame_size)
        self._samples = 0
        self.record = context.extradata or b""

    def encode(self, frame: av.AudioFrame) -> list[tuple[int, bytes]]:
        """What is ready with these samples: each piece with its first sample's number, counted at the encoder's rate."""
        ready: list[tuple[int, bytes]] = []
        try:
            for part in self._resampler.resample(frame):
                part.pts, part.time_base = self._samples, Fraction(1, self.sound.rate)
                self._samples += part.samples
                ready += [(packet.pts or 0, bytes(packet)) for packet in self._context.encode(part)]
        except BROKEN as error:
            raise EncoderError(f"the {self.sound.codec} encoder has failed: {error}") from error
        return ready
