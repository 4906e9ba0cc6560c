"""HLS with MPEG-TS segments of one stream: each segment is cut and packed once, and the same bytes serve everybody.

Packaging begins with the first request, with what the ring holds, and stops when nobody asks any more. Segment addresses
carry a word that only the playlist reveals, so whoever may have the playlist may have its segments, and every viewer's
addresses are the same: any cache in front can keep them.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import secrets
from collections import deque

import msgspec
import structlog

from headwater.live.ring import Ring
from headwater.media import codecs, hls, mpegts
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Flags, Tag

KEPT_BEYOND = 4
"""Segments kept after they have left the playlist, for players that are late (RFC 8216, 6.2.2, asks for a playlist's length)."""

QUICK_START = 3
"""So many first segments of a young stream are cut at every key frame, so that a player can start at once."""

log = structlog.get_logger()


class MediaSegment(msgspec.Struct, frozen=True):
    """One packed segment. word: the part of its address that cannot be guessed."""

    info: hls.Segment
    word: str
    data: bytes
    created_s: float


class HlsOutput:
    """The playlist and segments of one stream.

    name: the stream's name, with which segment addresses begin. number: the first segment's media sequence number.
    asked_at: loop time of the last request.
    """

    def __init__(self, name: str, ring: Ring, delay_s: int, number: int) -> None:
        self.asked_at = asyncio.get_running_loop().time()
        self.unsupported: str | None = None
        self.next_number = number
        self._name = name
        self._ring = ring
        self._target_s, self._listed = hls.playlist_rule(delay_s)
        self._secret = secrets.token_bytes(16)
        self._segments: deque[MediaSegment] = deque()
        self._discontinuities_gone = 0
        self._target_duration_s = self._target_s
        self._position = ring.marks[0].seq if ring.marks else ring.next
        self._quick = ring.span_ms < QUICK_START * self._target_s * 1000
        self._muxer = mpegts.TsMuxer()
        self._segmenter = self._new_segmenter()
        self._parts: list[bytes] = []
        self._headers: tuple[Tag, ...] = ()
        self._discontinuity = False
        self._ended = False
        self._cut_sessions: deque[int] = deque()
        self._playlist: tuple[bytes, bytes] | None = None
        self._waiting: list[asyncio.Future[None]] = []
