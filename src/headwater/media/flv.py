"""FLV: packs tags into an endless file, and reads one as its bytes arrive (Flash Video File Format 10.1, annex E)."""

from __future__ import annotations

import struct

from headwater.media.codecs import classify
from headwater.media.errors import MediaError
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Tag

FILE_HEADER = b"FLV\x01\x05\x00\x00\x00\x09" + b"\0\0\0\0"
"""Version 1, with audio and video (E.2), then the size of the tag before the first one (E.3)."""

HAS_AUDIO, HAS_VIDEO = 4, 1
"""Bits of the header's flags (E.2)."""

PAYLOAD_BYTES_MAX = 0xFFFFFF
"""A tag's size field has 24 bits (E.4.1)."""

FILE_HEADER_BYTES_MAX = 1024
"""The header states its own length, 9 in every version there is; room for a longer one, without waiting for 4 GiB."""

_TAG_HEADER_BYTES = 11
_PREVIOUS_TAG_SIZE_BYTES = 4
_header = struct.Struct(">II3x")
_pack_header = _header.pack
_unpack_header = _header.unpack_from
_pack_size = struct.Struct(">I").pack


def file_header(tracks: int) -> bytes:
    """The header of a file with these tracks (HAS_AUDIO, HAS_VIDEO). Players wait for what it promises; 0 promises both."""
    return FILE_HEADER[:4] + bytes((tracks or HAS_AUDIO | HAS_VIDEO,)) + FILE_HEADER[5:]


def pack_tag(kind: int, timestamp_ms: int, payload: bytes) -> bytes:
    """One tag with the size field that follows it (E.4.1). The timestamp wraps at 32 bits, its top byte is the extended one.

    Raises MediaError if the payload is longer than FLV can say.
    """
    size = len(payload)
    if size > PAYLOAD_BYTES_MAX:
        raise MediaError(f"an FLV tag cannot hold {size} bytes")
    timestamp = (timestamp_ms & 0xFFFFFF) << 8 | timestamp_ms >> 24 & 0xFF
    return b"".join((_pack_header(kind << 24 | size, timestamp), payload, _pack_size(size + _TAG_HEADER_BYTES)))


class Reader:
    """Reads an FLV file from pieces of any size; timestamps of its tags are those of the file, 32 bits, not unwrapped.

    payload_bytes_max: a longer tag ends the reading; what the reader holds is never more than one tag of this size.
    """

    def __init__(self, payload_bytes_max: int = PAYLOAD_BYTES_MAX) -> None:
        self._payload_bytes_max = payload_bytes_max
        self._data = bytearray()
        self._started = False

    def feed(self, data: bytes) -> list[Tag]:
        """The tags that are complete with these bytes.

        The size field after a tag is not compared: writers exist that put 0 there. Raises MediaError, now and at every
        later call, on what is no FLV, on encrypted tags, and on tags that are too long.
        """
        held = self._data
        held += data
        tags: list[Tag] = []
        if not self._started and not self._skip_file_header():
            return tags
        position, end = 0, len(held) - _TAG_HEADER_BYTES - _PREVIOUS_TAG_SIZE_BYTES
        try:
            while position <= end:
                kind_and_size, timestamp = _unpack_header(held, position)
                kind, size = kind_and_size >> 24, kind_and_size & 0xFFFFFF
                if (kind != VIDEO and kind != AUDIO and kind != SCRIPT) or any(held[position + 8 : position + 11]):
                    raise MediaError(f"no FLV tag: {held[position : position + _TAG_HEADER_BYTES].hex()}")
                if size > self._payload_bytes_max:
                    raise MediaError(f"an FLV tag of {size} bytes is too long")
                if position + size > end:
                    break
                start = position + _TAG_HEADER_BYTES
                payload = bytes(held[start : start + size])
                tags.append(Tag(kind, timestamp >> 8 | (timestamp & 0xFF) << 24, payload, classify(kind, payload)))
                position = start + size + _PREVIOUS_TAG_SIZE_BYTES
        finally:
            del held[:position]
        return tags

    def _skip_file_header(self) -> bool:
        held = self._data
        if not held.startswith(b"FLV\x01"[: len(held)]):
            raise MediaError(f"no FLV file: it begins with {bytes(held[:4]).hex()}")
        if len(held) < 9:
            return False
        size = int.from_bytes(held[5:9], "big")
        if not 9 <= size <= FILE_HEADER_BYTES_MAX:
            raise MediaError(f"an FLV file header of {size} bytes")
        if len(held) < size + _PREVIOUS_TAG_SIZE_BYTES:
            return False
        del held[: size + _PREVIOUS_TAG_SIZE_BYTES]
        self._started = True
        return True
