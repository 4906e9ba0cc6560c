"""NAL units of H.264 and HEVC: apart and together, as decoder configuration records, and SEI messages in them.

Sources: ITU-T H.264 and H.265 (7.3.1, 7.3.2.3, 7.4.1, annexes B and D), ISO/IEC 14496-15 (5.3.3, 8.3.3).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from headwater.media.codecs import HEVC_PPS, HEVC_SPS, HEVC_VPS
from headwater.media.errors import MediaError

UNITS_MAX = 4096
"""NAL units in one frame. The highest levels allow 600 slices; one for each network packet of a 4 MiB frame are 3000."""

AVC_SLICE_MAX, AVC_SEI, AVC_SPS, AVC_PPS, AVC_AUD = 5, 6, 7, 8, 9
HEVC_SLICE_MAX, HEVC_AUD, HEVC_SEI = 31, 35, 39
"""NAL unit types (H.264, table 7-1; H.265, table 7-1). SEI is HEVC's in front of the picture (prefix)."""

SEI_REGISTERED, SEI_UNREGISTERED = 4, 5
"""Payload types of user data (D.1.6 and D.1.7 in H.264, D.2.6 and D.2.7 in H.265)."""

SEI_MESSAGES_MAX = 64
"""Messages that are looked at in one unit; encoders write a handful."""

_unpack_32 = struct.Struct(">I").unpack_from
_pack_32 = struct.Struct(">I").pack

_START_CODES = re.compile(rb"\x00{2,}\x01")
_UNSAFE = re.compile(rb"\x00\x00(?=[\x00-\x03])")


class SeiMessage(NamedTuple):
    """One SEI message: its payload type and its bytes."""

    type: int
    payload: bytes


def units(data: bytes, length_bytes: int) -> Iterable[bytes]:
    """The units of a frame in which each has its length in front; raises MediaError if lengths and bytes do not agree."""
    position, end = 0, len(data)
    count = 0
    while position < end:
        start = position + length_bytes
        if length_bytes == 4 and start <= end:
            size = _unpack_32(data, position)[0]
        else:
            size = int.from_bytes(data[position:start], "big")
        position = start + size
        if position > end:
            raise MediaError("a NAL unit is longer than its frame")
        count += 1
        if count > UNITS_MAX:
            raise MediaError("a frame of too many NAL units")
        if size:
            yield data[start:position]


def split_annex_b(data: bytes) -> list[bytes]:
    """The units of a byte stream, in which start codes stand between them."""
    return [unit for unit in _START_CODES.split(data) if unit]


def join(parts: Iterable[bytes]) -> bytes:
    """A frame of these units, each with its length in four bytes in front."""
    return b"".join([piece for unit in parts for piece in (_pack_32(len(unit)), unit)])


def unit_type(codec: str, unit: bytes) -> int:
    """The type of a unit of `h264` or `hevc`."""
    return unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F


def is_slice(codec: str, kind: int) -> bool:
    """Whether units of this type carry the picture itself."""
    return 0 < kind <= AVC_SLICE_MAX if codec == "h264" else kind <= HEVC_SLICE_MAX


def avc_record(sps: bytes, pps: bytes) -> bytes:
    """AVCDecoderConfigurationRecord of a 4:2:0 stream with 8 bits and lengths of four bytes (ISO/IEC 14496-15, 5.3.3.1.2)."""
    record = b"\x01" + sps[1:4] + b"\xff\xe1" + len(sps).to_bytes(2, "big") + sps + b"\x01" + len(pps).to_bytes(2, "big") + pps
    return record + b"\xfd\xf8\xf8\x00" if sps[1] in (100, 110, 122, 144) else record


def hevc_record(vps: bytes, sps: bytes, pps: bytes) -> bytes:
    """HEVCDecoderConfigurationRecord of a 4:2:0 stream with 8 bits and lengths of four bytes (ISO/IEC 14496-15, 8.3.3.1.2)."""
    head = unescape(sps[2:32])
    layers, nested = (head[0] >> 1 & 7) + 1, head[0] & 1
    record = b"\x01" + head[1:13] + b"\xf0\x00\xfc\xfd\xf8\xf8\x00\x00" + bytes((layers << 3 | nested << 2 | 3, 3))
    for kind, unit in ((HEVC_VPS, vps), (HEVC_SPS, sps), (HEVC_PPS, pps)):
        record += bytes((0x80 | kind,)) + b"\x00\x01" + len(unit).to_bytes(2, "big") + unit
    return record


def sei_unit(codec: str, messages: Sequence[SeiMessage]) -> bytes:
    """An SEI unit with these messages, to stand in front of the picture."""
    body = bytearray()
    for message in messages:
        for number in (message.type, len(message.payload)):
            body += b"\xff" * (number // 255) + bytes((number % 255,))
        body += message.payload
    body += b"\x80"
    return (b"\x06" if codec == "h264" else b"\x4e\x01") + escape(bytes(body))


def sei_messages(codec: str, unit: bytes) -> Iterator[SeiMessage]:
    """The messages of an SEI unit, as far as they are whole."""
    body = unescape(unit[1 if codec == "h264" else 2 :])
    position = 0
    for _ in range(SEI_MESSAGES_MAX):
        numbers = []
        for _ in range(2):
            number = 0
            while position < len(body) and body[position] == 0xFF:
                number, position = number + 255, position + 1
            if position >= len(body):
                return
            numbers.append(number + body[position])
            position += 1
        end = position + numbers[1]
        if end >= len(body):  # the trailing bit has a byte of its own
            return
        yield SeiMessage(numbers[0], body[position:end])
        position = end


def with_sei(codec: str, frame: bytes, length_bytes: int, messages: Sequence[SeiMessage]) -> bytes:
    """A frame with further SEI messages, right in front of its picture. Raises MediaError for a broken frame."""
    parts = list(units(frame, length_bytes))
    at = next((index for index, unit in enumerate(parts) if is_slice(codec, unit_type(codec, unit))), len(parts))
    parts.insert(at, sei_unit(codec, messages))
    if length_bytes == 4:
        return join(parts)
    return b"".join([piece for unit in parts for piece in (len(unit).to_bytes(length_bytes, "big"), unit)])


def escape(payload: bytes) -> bytes:
    """With the bytes that keep start codes out (7.4.1)."""
    return _UNSAFE.sub(b"\x00\x00\x03", payload)


def unescape(payload: bytes) -> bytes:
    """Without the bytes that keep start codes out (7.4.1)."""
    return payload.replace(b"\x00\x00\x03", b"\x00\x00")
