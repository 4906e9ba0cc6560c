"""Packs encoded frames into tags (Flash Video File Format 10.1, E.4.2 and E.4.3; Enhanced RTMP v2 for HEVC and Opus)."""

from __future__ import annotations

from headwater.media.codecs import CODED_FRAMES, CODED_FRAMES_X, SEQUENCE_START, SOUND_EX
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag

_AVC_KEY, _AVC_INTER = b"\x17", b"\x27"
_EX_KEY, _EX_INTER = 0x90, 0xA0
_HEVC = b"hvc1"

_AAC = b"\xaf"
"""AAC's tags always say 44.1 kHz stereo; the configuration says what is true (E.4.2.1)."""

_OPUS = b"Opus"

_MP3_RATE_BITS = {11025: 1, 22050: 2}
"""Others are said to be 44.1 kHz, for lack of a number; decoders read the frame's own header."""


def video_config(codec: str, record: bytes, timestamp_ms: int) -> Tag:
    """The configuration of `h264` or `hevc`."""
    head = _AVC_KEY + b"\0\0\0\0" if codec == "h264" else bytes((_EX_KEY | SEQUENCE_START,)) + _HEVC
    return Tag(VIDEO, timestamp_ms, head + record, Flags.CONFIG)


def video_frame(codec: str, data: bytes, *, dts_ms: int, pts_ms: int, key: bool) -> Tag:
    """A frame whose NAL units have lengths of four bytes."""
    composition_ms = pts_ms - dts_ms
    time = composition_ms.to_bytes(3, "big", signed=True)
    if codec == "h264":
        head = (_AVC_KEY if key else _AVC_INTER) + b"\x01" + time
    else:
        kind = CODED_FRAMES if composition_ms else CODED_FRAMES_X
        head = bytes(((_EX_KEY if key else _EX_INTER) | kind,)) + _HEVC + (time if composition_ms else b"")
    return Tag(VIDEO, dts_ms, head + data, Flags.KEY if key else Flags.NONE)


def audio_config(codec: str, record: bytes, timestamp_ms: int) -> Tag | None:
    """The configuration of `aac` or `opus`; MP3 has none."""
    if codec == "mp3":
        return None
    head = _AAC + b"\0" if codec == "aac" else bytes((SOUND_EX << 4 | SEQUENCE_START,)) + _OPUS
    return Tag(AUDIO, timestamp_ms, head + record, Flags.CONFIG)


def audio_frame(codec: str, data: bytes, timestamp_ms: int, *, rate: int, channels: int) -> Tag:
    """A frame of `aac`, `mp3` or `opus`."""
    if codec == "aac":
        head = _AAC + b"\x01"
    elif codec == "opus":
        head = bytes((SOUND_EX << 4 | CODED_FRAMES,)) + _OPUS
    else:
        head = bytes((0x22 | _MP3_RATE_BITS.get(rate, 3) << 2 | (channels > 1),))
    return Tag(AUDIO, timestamp_ms, head + data)
