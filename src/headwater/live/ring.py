"""The ring: the last seconds of a stream's tags, with the points marked at which a newcomer can start.

Everything that reads a stream reads it from here by sequence number, so a late or slow reader costs no copy of its own.
"""

from __future__ import annotations

from collections import deque

import msgspec

from headwater.media.tag import AUDIO, VIDEO, Flags, Tag

TRIM_EVERY = 64
"""Old tags are looked for once in so many appends, so that trimming costs next to nothing per tag."""

LONGEST_GOP = 3
"""A GOP longer than the ring is kept whole up to so many times the ring's seconds; a viewer could not start otherwise."""

AUDIO_MARK_MS = 1000
"""Without video every audio frame can start a viewer; one mark a second is enough."""

GOP_MS = 10_000
"""A viewer who begins with a delay begins with a whole GOP; encoders are commonly set to 10 s at most."""

VIDEO_GONE_MS = 5000
"""Once no video has come for so long, audio frames are marked as starting points."""


class Mark(msgspec.Struct, frozen=True, gc=False):
    """A point at which a newcomer can start: a key frame, or an audio frame of a stream without video.

    seq: sequence number of its tag. headers: metadata and codec configuration in force there, to be sent first.
    """

    seq: int
    timestamp_ms: int
    headers: tuple[Tag, ...]


class Ring:
    """The last `seconds` of a stream, within `bytes_max`; tags have growing sequence numbers from 0.

    first, next: the tags held are those with first <= seq < next. marks: starting points, oldest first.
    """

    __slots__ = (
        "_bytes",
        "_keep_ms",
        "_last_video_ms",
        "_least_ms",
        "_max_bytes",
        "_tags",
        "_trim_at",
        "first",
        "marks",
        "next",
    )

    def __init__(self, seconds: float, bytes_max: int) -> None:
        self._least_ms = self._keep_ms = int(seconds * 1000)
        self._max_bytes = bytes_max
        self._tags: list[Tag] = []
        self._bytes = 0
        self._last_video_ms: int | None = None
        self._trim_at = TRIM_EVERY
        self.first = 0
        self.next = 0
        self.marks: deque[Mark] = deque()

    def reach_back(self, seconds: int) -> None:
        """Keep enough for viewers who begin so far behind, if the bytes allow it."""
        self._keep_ms = max(self._least_ms, seconds * 1000 + GOP_MS if seconds else 0)

    def append(self, tag: Tag, headers: tuple[Tag, ...]) -> None:
        """Add the newest tag; `headers` are those in force at this tag."""
        if tag.flags & Flags.KEY:
            self.marks.append(Mark(self.next, tag.timestamp_ms, headers))
            self._last_video_ms = tag.timestamp_ms
        elif tag.kind == VIDEO:
            self._last_video_ms = tag.timestamp_ms
        elif tag.kind == AUDIO and not tag.flags and self._audio_may_start(tag.timestamp_ms):
            self.marks.append(Mark(self.next, tag.timestamp_ms, headers))
        self._tags.append(tag)
        self._bytes += len(tag.payload)
        self.next += 1
        if self.next >= self._trim_at or self._bytes > self._max_bytes:
            self._trim(tag.timestamp_ms)

    def slice(self, start: int, end: int | None = None) -> list[Tag]:
        """The tags with start <= seq < end that are still held; by default all from `start` on."""
        low = max(start - self.first, 0)
        return self._tags[low:] if end is None else self._tags[low : max(end - self.first, 0)]

    @property
    def span_ms(self) -> int:
        """The time between the oldest and the newest tag held."""
        return self._tags[-1].timestamp_ms - self._tags[0].timestamp_ms if self._tags else 0

    @property
    def held_bytes(self) -> int:
        """The payload bytes held."""
        return self._bytes

    def _audio_may_start(self, now_ms: int) -> bool:
        if self._last_video_ms is not None and now_ms - self._last_video_ms <= VIDEO_GONE_MS:
            return False
        return not self.marks or now_ms - self.marks[-1].timestamp_ms >= AUDIO_MARK_MS

    def _trim(self, now_ms: int) -> None:
        """Drop what is too old, but not the newest GOP; drop what is too much in any case."""
        self._trim_at = self.next + TRIM_EVERY
        oldest_ms = now_ms - self._keep_ms
        keep_from = self.next - 1
        if self.marks and self.marks[-1].timestamp_ms >= now_ms - LONGEST_GOP * self._keep_ms:
            keep_from = self.marks[-1].seq
        drop, held, seq = 0, self._bytes, self.first
        for tag in self._tags:
            if held <= self._max_bytes and (tag.timestamp_ms >= oldest_ms or seq >= keep_from):
                break
            held -= len(tag.payload)
            drop += 1
            seq += 1
        del self._tags[:drop]
        self._bytes = held
        self.first += drop
        while self.marks and self.marks[0].seq < self.first:
            self.marks.popleft()
