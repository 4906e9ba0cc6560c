"""The publisher's clock inside H.264: an SEI message with the time of sending, which any server passes on with the frame.

The message is user_data_unregistered (ITU-T H.264, D.1.7): a UUID, then unix time in microseconds as 16 decimal digits. Digits
rather than a binary number, so that no emulation prevention (7.4.1) can ever be needed.
"""

from __future__ import annotations

import uuid

UUID = uuid.UUID("7d1c59a2-8f46-4b3e-9e57-c86a14f2d06b").bytes
"""Ours; it holds no zero byte."""

DIGITS = 16
"""Enough for microseconds until the year 2286."""

SEARCHED_BYTES = 4096
"""The clock stands in front of the first slice; parameter sets and an encoder's own messages before it are shorter."""

_NAL_SEI, _USER_DATA_UNREGISTERED, _TRAILING_BITS = 6, 5, 0x80
_HEAD = bytes((_NAL_SEI, _USER_DATA_UNREGISTERED, len(UUID) + DIGITS)) + UUID
_SLICES = range(1, 6)
"""NAL unit types that hold the picture (table 7-1)."""


def pack(unix_us: int) -> bytes:
    """The NAL unit, without start code or length."""
    return _HEAD + b"%016d" % unix_us + bytes((_TRAILING_BITS,))


def find(data: bytes, start: int = 0) -> int | None:
    """The unix time in microseconds in a frame, of whatever form (lengths or start codes); None if there is none."""
    at = data.find(UUID, start, start + SEARCHED_BYTES)
    if at < 0:
        return None
    digits = data[at + len(UUID) : at + len(UUID) + DIGITS]
    return int(digits) if len(digits) == DIGITS and digits.isdigit() else None


def place(frame: bytes, length_bytes: int) -> int:
    """Where in a frame of NAL units with lengths the clock belongs: in front of the first slice, behind all else.

    The frame's end if it has no slice.
    """
    at = 0
    while at + length_bytes < len(frame):
        if frame[at + length_bytes] & 0x1F in _SLICES:
            return at
        at += length_bytes + int.from_bytes(frame[at : at + length_bytes], "big")
    return len(frame)
