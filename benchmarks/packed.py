"""The clip as the bytes that a publisher writes, and a publisher's connection to the bare loop, which takes FLV as it is."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks import clip
from headwater.load import clock

STAMP_AT = 4  # where an FLV tag's timestamp begins (FLV 10.1, E.4.1)
CONNECT_TIMEOUT_S = 10.0


@dataclass
class PackedFrame:
    """One frame, `at_ms` after the lap's start, in bytes that are changed in place each time it is sent.

    stamp_at: where its timestamp stands if that counts on from lap to lap, otherwise 0.
    """

    at_ms: int
    data: bytearray
    stamp_at: int = 0
    clock_at: int = field(init=False)

    def __post_init__(self) -> None:
        self.clock_at = clip.clock_at(self.data)
        assert not self.clock_at or self.data[self.clock_at :][: clock.DIGITS] == b"0" * clock.DIGITS, "a chunk parts the clock"

    def now(self, lap_ms: int) -> bytearray:
        """The bytes to be sent now, in a lap that began so late."""
        if self.clock_at:
            self.data[self.clock_at : self.clock_at + clock.DIGITS] = b"%016d" % (time.time_ns() // 1000)
        if self.stamp_at:
            stamp = struct.pack(">I", lap_ms + self.at_ms & 0xFFFFFFFF)
            self.data[self.stamp_at : self.stamp_at + 4] = stamp[1:] + stamp[:1]
        return self.data


@dataclass(frozen=True)
class Packed:
    """The clip for every publisher of one kind. headers: what goes first."""

    headers: bytes
    frames: list[PackedFrame]
    duration_ms: int


def pack_flv(material: clip.Clip) -> Packed:
    """The clip as an FLV file that never ends."""
    head = b"FLV\x01\x05\x00\x00\x00\x09" + bytes(4)
    frames = [PackedFrame(tag.timestamp_ms, bytearray(clip.flv_tag(tag)), STAMP_AT) for tag in material.frames]
    return Packed(head + b"".join(clip.flv_tag(tag, 0) for tag in material.headers), frames, material.duration_ms)


class FlvConnection:
    """A connection to `flv://host:port`, into which an FLV file is written; nothing comes back."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=CONNECT_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
