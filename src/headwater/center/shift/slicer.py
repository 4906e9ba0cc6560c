"""Cuts a stream into MPEG-TS slices, each complete in itself and beginning with a key frame."""

from __future__ import annotations

import msgspec
import structlog

from headwater.media import codecs, mpegts
from headwater.media.errors import MediaError
from headwater.media.tag import SCRIPT, VIDEO, Flags, Tag

LONGEST_MS = 15_000
"""A slice is cut here, or at two wanted lengths if that is more, even without a key frame: as live HLS does (`live.hls`)."""

FRAME_MS = 40
"""How long the last frame of a slice is taken to last where nothing follows it."""

SLIP_MS = 2000
"""Media that come so much later than the clock of the stream says have waited somewhere: from here on it is another clock."""

BACK_MS = 10_000
"""A time that lies so far before the slice that is begun is another clock's: timestamps wrap at 32 bits."""

BYTES_MAX = 64 * 1024 * 1024
"""A slice in memory; longer ones are cut: 15 s at 34 Mbit/s."""

log = structlog.get_logger()


class Cut(msgspec.Struct, frozen=True):
    """A slice. start_ms: unix milliseconds of its first frame. broken: it does not go on from the one before."""

    start_ms: int
    duration_ms: int
    broken: bool
    data: bytes


class Slicer:
    """Takes the tags of one stream as they come and gives slices of about slice_ms, cut at key frames.

    unsupported: why the stream cannot be cut into MPEG-TS, None if it can.
    """

    def __init__(self, slice_ms: int) -> None:
        self.slice_ms = slice_ms
        self.unsupported: str | None = None
        self._muxer = mpegts.TsMuxer()
        self._video: codecs.VideoConfig | None = None
        self._audio: codecs.AudioConfig | None = None
        self._parts: list[bytes | bytearray] = []
        self._bytes = 0
        self._begun_ms: int | None = None
        self._last_ms = 0
        self._start_ms = 0
        self._ended_ms = 0
        self._clock_ms: int | None = None
        self._broken = True

    def take(self, tags: list[Tag], now_ms: int, newest_ms: int) -> list[Cut]:
        """The slices that are complete with these tags. now_ms: unix time. newest_ms: time of the newest tag at this moment."""
        done: list[Cut] = []
        for tag in tags:
            if tag.kind == SCRIPT:
                continue
            if tag.flags & Flags.CONFIG:
                self._configure(tag, done)
                continue
            if self.unsupported is not None:
                continue
            if self._begun_ms is not None and tag.timestamp_ms < self._begun_ms - BACK_MS:
                done += self.breaks()
            start = bool(tag.flags & Flags.KEY) if self._video is not None else True
            if self._begun_ms is not None and self._is_over(tag, start):
                done.append(self._finish(max(tag.timestamp_ms, self._last_ms)))
                self._begin(tag, now_ms, newest_ms)
            elif self._begun_ms is None:
                if not start:
                    continue
                self._begin(tag, now_ms, newest_ms)
            self._last_ms = max(self._last_ms, tag.timestamp_ms)
            self._add(tag)
        return done

    def breaks(self) -> list[Cut]:
        """What comes does not go on from here: another publisher, or something is missing. What was begun is a slice."""
        done = [self._finish(self._last_ms + FRAME_MS)] if self._begun_ms is not None else []
        self._broken = True
        return done

    def _is_over(self, tag: Tag, start: bool) -> bool:
        assert self._begun_ms is not None
        length_ms = tag.timestamp_ms - self._begun_ms
        longest_ms = max(LONGEST_MS, 2 * self.slice_ms)
        return (start and length_ms >= self.slice_ms) or length_ms >= longest_ms or self._bytes >= BYTES_MAX

    def _begin(self, tag: Tag, now_ms: int, newest_ms: int) -> None:
        seen_ms = now_ms - max(newest_ms, tag.timestamp_ms)
        if self._clock_ms is None or not 0 <= seen_ms - self._clock_ms <= SLIP_MS:
            self._clock_ms = seen_ms
        self._start_ms = max(self._clock_ms + tag.timestamp_ms, self._ended_ms)
        self._begun_ms = self._last_ms = tag.timestamp_ms
        self._parts = [self._muxer.start_segment()]
        self._bytes = 0

    def _add(self, tag: Tag) -> None:
        try:
            packets = self._muxer.add(tag.kind, tag.timestamp_ms, tag.payload, 0, len(tag.payload))
        except MediaError as error:
            log.info("a frame was left out of a slice", error=str(error))
            return
        if packets:
            self._parts.append(packets)
            self._bytes += len(packets)

    def _finish(self, until_ms: int) -> Cut:
        assert self._begun_ms is not None
        self._parts.append(self._muxer.flush())
        duration_ms = max(until_ms - self._begun_ms, 1)
        cut = Cut(self._start_ms, duration_ms, self._broken, b"".join(self._parts))
        self._ended_ms = self._start_ms + duration_ms
        self._parts, self._begun_ms, self._broken = [], None, False
        return cut

    def _configure(self, tag: Tag, done: list[Cut]) -> None:
        """Another codec configuration ends the slice; the same one again changes nothing."""
        try:
            if tag.kind == VIDEO:
                video = codecs.parse_video_config(tag.payload)
                if video == self._video:
                    return
                done += self.breaks() if self._video is not None else []
                self._video = video
                self._muxer.set_video(video)
            else:
                audio = codecs.parse_audio_config(tag.payload)
                if audio == self._audio:
                    return
                done += self.breaks() if self._audio is not None else []
                if self._begun_ms is not None:
                    self._parts.append(self._muxer.flush())
                self._audio = audio
                self._muxer.set_audio(audio)
        except MediaError as error:
            log.info("codec configuration is broken", error=str(error))
        self.unsupported = mpegts.supported(self._video, self._audio)
