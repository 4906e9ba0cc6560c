"""HLS with MPEG-TS segments of one stream: each segment is cut and packed once, and the same bytes serve everybody.

Packaging begins with the first request, with what the ring holds, and stops when nobody asks any more. Segment addresses
carry a word that only the playlist reveals, so whoever may have the playlist may have its segments, and every viewer's
addresses are the same: any cache in front can keep them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import hmac
import math
import secrets
from collections import deque
from collections.abc import Callable

import msgspec
import structlog

from headwater.live.ring import Ring
from headwater.media import codecs, hls, mpegts
from headwater.media.errors import MediaError
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Flags, Tag

KEPT_BEYOND = 4
"""Segments kept after they have left the playlist, for players that are late (RFC 8216, 6.2.2)."""

QUICK_START = 3
"""So many first segments of a young stream are cut at every key frame, so that a player can start at once."""

LONGEST_SEGMENT_S = 15
"""A segment is cut here, or at two target lengths if that is more, even without a key frame: a publisher with endless GOPs is
served too. Encoders are commonly set to GOPs of 10 s at most."""

log = structlog.get_logger()

BREAKS_WRAP = 65_536
"""Bound on the first discontinuity sequence number. hls.js counts up to it in loops: a unix time would freeze its page."""


class MediaSegment(msgspec.Struct, frozen=True):
    """One packed segment. word: the part of its address that cannot be guessed."""

    info: hls.Segment
    word: str
    data: bytes


class HlsOutput:
    """The playlist and segments of one stream. To be made and used on the event loop.

    name: the stream's name, with which segment addresses begin. number: the first segment's media sequence number; the low
    part of it is the discontinuity sequence number, too: it has grown since any earlier packaging of this stream (but for once
    in 18 hours), so players notice the break.
    since: where in the ring to begin. marked: whether the first segment bears a discontinuity mark.
    date: the unix time in ms of a time of the stream, None if it is not known.
    asked_at: loop time of the last request. unsupported: why this stream cannot be had as HLS, None if it can.
    """

    def __init__(
        self,
        name: str,
        ring: Ring,
        delay_s: int,
        number: int,
        *,
        since: int = 0,
        marked: bool = False,
        date: Callable[[int], int | None] = lambda time_ms: None,
    ) -> None:
        self.asked_at = asyncio.get_running_loop().time()
        self.unsupported: str | None = None
        self.next_number = number
        self._name = name
        self._ring = ring
        self._date = date
        self._target_s, self._listed = hls.playlist_rule(delay_s)
        self._target_duration_s = self._target_s
        self._longest_ms = max(LONGEST_SEGMENT_S, 2 * self._target_s) * 1000
        self._secret = secrets.token_bytes(16)
        self._segments: deque[MediaSegment] = deque()
        self._breaks_gone = number % BREAKS_WRAP
        self._breaks: deque[int] = deque()
        self._quick = QUICK_START if ring.span_ms < QUICK_START * self._target_s * 1000 else 0
        self._muxer = mpegts.TsMuxer()
        self._video_config: codecs.VideoConfig | None = None
        self._audio_config: codecs.AudioConfig | None = None
        self._parts: list[bytes | bytearray] = []
        self._begun_ms: int | None = None
        self._begun_date_ms: int | None = None
        self._last_ms = 0
        self._discontinuity = marked
        self._independent = True
        self._ended = False
        self._packed: dict[str, tuple[bytes, bytes]] = {}
        self._news = asyncio.Event()
        marks = [mark for mark in ring.marks if mark.seq >= since]
        self._next = marks[0].seq if marks else ring.next
        if len(marks) > 1:
            gop_s = (marks[1].timestamp_ms - marks[0].timestamp_ms) / 1000
            self._target_duration_s = max(self._target_s, math.ceil(gop_s * math.ceil(self._target_s / max(gop_s, 0.001))))
        self._configure(marks[0].headers if marks else ())

    # What is asked

    @property
    def ready(self) -> bool:
        """Whether there is a playlist."""
        return bool(self._segments)

    async def wait(self, seconds: float) -> None:
        """Wait for the first segment, at most so long."""
        if self.ready or self._ended:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    def playlist(self, query: str = "") -> tuple[bytes, bytes]:
        """The playlist as it is now, plain and gzipped; made once for everybody.

        query: what segment addresses must carry for a player that came by an IP address, `vhost=` and the domain; never
        anything of one viewer's own.
        """
        if query not in self._packed:
            cut = max(len(self._segments) - self._listed, 0)
            tail = "?" + query if query else ""
            segments = [msgspec.structs.replace(segment.info, uri=segment.info.uri + tail) for segment in self._segments]
            plain = hls.media_playlist(
                segments[cut:],
                target_duration_s=self._target_duration_s,
                discontinuity_sequence=self._breaks_gone + sum(segment.discontinuity for segment in segments[:cut]),
                independent=self._independent,
                ended=self._ended,
            )
            self._packed[query] = plain, gzip.compress(plain, compresslevel=6, mtime=0)
        return self._packed[query]

    def segment(self, number: int, word: str) -> bytes | None:
        """A segment's bytes; None if there is no such segment or the word is wrong."""
        index = number - self._segments[0].info.sequence if self._segments else -1
        if not 0 <= index < len(self._segments):
            return None
        segment = self._segments[index]
        return segment.data if hmac.compare_digest(segment.word, word) else None

    # What the stream tells

    def flush(self, headers: tuple[Tag, ...]) -> None:
        """Pack what came since the last flush. headers: the configuration in force now."""
        ring = self._ring
        if self._next < ring.first:
            self._next = ring.first  # more came between two flushes than the ring holds
            self._discontinuity = True
        starts = {mark.seq for mark in ring.marks if mark.seq >= self._next}
        for seq, tag in enumerate(ring.slice(self._next), self._next):
            self._take(tag, start=seq in starts, broken=bool(self._breaks) and seq >= self._breaks[0])
        self._next = ring.next
        if self._begun_ms is None:
            self._configure(headers)

    def discontinuity(self) -> None:
        """Another publisher goes on from here."""
        self._breaks.append(self._ring.next)

    def end(self) -> None:
        """The stream has ended: what is left becomes the last segment, and the playlist says that it is the last."""
        if self._begun_ms is not None:
            self._finish(self._last_ms + 40)
        self._ended = True
        self._packed.clear()
        self._wake()

    def close(self) -> None:
        """Nobody will ask any more."""
        self._ended = True
        self._segments.clear()
        self._wake()

    def _take(self, tag: Tag, *, start: bool, broken: bool) -> None:
        if broken:
            self._breaks.popleft()
            if self._begun_ms is not None:
                self._finish(max(self._last_ms + 40, tag.timestamp_ms))
            self._discontinuity = True
        if tag.flags & Flags.CONFIG:
            known = self._video_config if tag.kind == VIDEO else self._audio_config
            if known is not None and self._begun_ms is not None:
                self._finish(max(self._last_ms + 40, tag.timestamp_ms))
                self._discontinuity = True
            self._configure((tag,))
            return
        if tag.kind == SCRIPT or self.unsupported is not None:
            return
        if self._begun_ms is not None:
            length_ms = tag.timestamp_ms - self._begun_ms
            wanted_ms = 1000 if self._quick else self._target_s * 1000
            if (start and length_ms >= wanted_ms) or length_ms >= self._longest_ms:
                self._finish(tag.timestamp_ms)
                self._begin(tag)
                self._independent &= start
        elif start:
            self._begin(tag)
        else:
            return
        self._last_ms = max(self._last_ms, tag.timestamp_ms)
        try:
            if packets := self._muxer.add(tag.kind, tag.timestamp_ms, tag.payload, 0, len(tag.payload)):
                self._parts.append(packets)
        except MediaError as error:
            log.info("a frame was left out of HLS", stream=self._name, error=str(error))

    def _begin(self, tag: Tag) -> None:
        self._begun_ms = tag.timestamp_ms
        self._last_ms = tag.timestamp_ms
        self._begun_date_ms = self._date(tag.timestamp_ms)
        self._parts = [self._muxer.start_segment()]

    def _finish(self, until_ms: int) -> None:
        assert self._begun_ms is not None
        self._parts.append(self._muxer.flush())
        number = self.next_number
        word = hmac.digest(self._secret, b"%d" % number, hashlib.sha256).hex()[:16]
        info = hls.Segment(
            sequence=number,
            duration_ms=until_ms - self._begun_ms,
            uri=f"{self._name}-{number}-{word}.ts",
            discontinuity=self._discontinuity,
            program_time_ms=self._begun_date_ms,
        )
        self._segments.append(MediaSegment(info, word, b"".join(self._parts)))
        self._target_duration_s = max(self._target_duration_s, hls.rounded_s(info.duration_ms))
        self._parts, self._begun_ms = [], None
        self._packed.clear()
        self._discontinuity = False
        self._quick = max(self._quick - 1, 0)
        self.next_number = number + 1
        while len(self._segments) > self._listed + KEPT_BEYOND:
            self._breaks_gone += self._segments.popleft().info.discontinuity
        self._wake()

    def _configure(self, tags: tuple[Tag, ...]) -> None:
        for tag in tags:
            if not tag.flags & Flags.CONFIG:
                continue
            try:
                if tag.kind == VIDEO:
                    self._video_config = codecs.parse_video_config(tag.payload)
                    self._muxer.set_video(self._video_config)
                elif tag.kind == AUDIO:
                    self._parts.append(self._muxer.flush())
                    self._audio_config = codecs.parse_audio_config(tag.payload)
                    self._muxer.set_audio(self._audio_config)
            except MediaError as error:
                log.info("codec configuration is broken", stream=self._name, error=str(error))
        self.unsupported = mpegts.supported(self._video_config, self._audio_config)
        if self.unsupported is not None:
            self._wake()

    def _wake(self) -> None:
        """Let go on who waits now; who comes later waits for the next news."""
        self._news.set()
        self._news.clear()
