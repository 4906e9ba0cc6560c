"""Makes a JPEG of one key frame: decodes it, and nothing else, with PyAV."""

from __future__ import annotations

from fractions import Fraction

import av
import msgspec
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter

from headwater.media.codecs import CODED_FRAMES, SEQUENCE_START, split_video
from headwater.media.errors import MediaError

DECODERS = {"h264": "h264", "hevc": "hevc", "av1": "libdav1d", "vp9": "vp9", "vp8": "vp8", "vvc": "vvc"}
"""FFmpeg's decoder for each codec that `media.codecs` names; its own `av1` needs hardware."""

PIXELS_MAX = 8192 * 4320
"""Larger pictures are refused before memory is taken for them: 8K is the largest that encoders make, some 50 MB decoded."""

QUALITY = 4
"""The quantizer of the JPEG, 1 (best) to 31. At 4 a live stream's own artefacts are larger than those of the JPEG, and 720p
takes some 100 kB; 2 doubles the size without a difference that one sees, from 8 on flat surfaces show blocks.
"""

_reformatter = VideoReformatter()  # keeps its scaler as long as pictures are of one kind


class PictureError(Exception):
    """No picture can be made of a key frame; the message says why, for a person."""


class Picture(msgspec.Struct, frozen=True):
    """A JPEG with its size in pixels."""

    data: bytes
    width: int
    height: int


def take(config: bytes, key_frame: bytes) -> Picture:
    """The picture of a key frame. config, key_frame: payloads of the video tags; config is b"" for codecs that need none.

    What comes is hostile: damage is an error, not a picture with holes. Raises PictureError.
    """
    try:
        frame = split_video(key_frame)
        record = split_video(config) if config else None
    except MediaError as error:
        raise PictureError(f"The key frame cannot be read: {error}.") from None
    if frame is None or frame.packet_type != CODED_FRAMES or not frame.data:
        raise PictureError("The key frame holds no picture.")
    decoder = DECODERS.get(frame.codec or "")
    if decoder is None:
        raise PictureError("The stream's video codec is not known, so no snapshot can be taken.")
    extradata = record.data if record and record.packet_type == SEQUENCE_START and record.codec == frame.codec else b""
    try:
        return _encoded(_decoded(decoder, extradata, frame.data))
    except (av.error.FFmpegError, ValueError) as error:  # PyAV raises ValueError for formats that it does not know
        reason = error.strerror if isinstance(error, av.error.FFmpegError) else error
        raise PictureError(f"The key frame ({frame.codec}) cannot be decoded: {reason}.") from None


def _decoded(decoder: str, extradata: bytes, data: bytes) -> VideoFrame:
    context = av.CodecContext.create(decoder, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1  # a frame alone gains nothing from threads, and many streams share the machine
    context.options = {"err_detect": "explode", "max_pixels": str(PIXELS_MAX)}
    if extradata:
        context.extradata = extradata
    frames = [*context.decode(Packet(data)), *context.decode(None)]
    if not frames:
        raise PictureError("The key frame holds no picture.")
    if frames[0].is_corrupt:
        raise PictureError("The key frame is damaged.")
    return frames[0]


def _encoded(frame: VideoFrame) -> Picture:
    """As JPEG, in full range as JFIF wants it, whatever the depth and sampling of the source.

    The stream's colour matrix is kept, as FFmpeg does with its own JPEGs: another one would cost as much as half the decoding.
    """
    picture = _reformatter.reformat(frame, format="yuvj420p", dst_color_range=ColorRange.JPEG)
    context = av.CodecContext.create("mjpeg", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = picture.width, picture.height, picture.format.name
    context.time_base = Fraction(1, 25)  # the encoder wants one; a picture has no time
    context.qmin = context.qmax = QUALITY
    context.thread_count = 1
    context.options = {"huffman": "default"}  # tables made to measure save 6 % of the size and cost 20 % of the time
    picture.pts = 0
    data = b"".join(bytes(packet) for packet in (*context.encode(picture), *context.encode(None)))
    return Picture(data, picture.width, picture.height)
