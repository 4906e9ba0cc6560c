"""HLS: where a stream is cut into segments, and the playlist that lists them (RFC 8216)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import msgspec

from headwater.media.tag import AUDIO, VIDEO, Flags, Tag

SHORT_SEGMENT_S = 3
"""Shorter segments than this make longer playlists (reference media-plane 6.2)."""

LISTED_MAX, LISTED_SHORT_MAX = 4, 6
"""Segments in a playlist, of ordinary and of short segments (reference media-plane 6.2)."""

SEGMENT_MS_MAX = 30_000
"""A publisher that sends no key frame is cut here all the same, or a segment would grow until memory ends; the longest GOP
that encoders are commonly set to is 10 s."""


def playlist_rule(hls_delay_s: int) -> tuple[int, int]:
    """Target length of a segment in seconds, and most segments in a playlist (reference media-plane 6.2)."""
    segment_s = max(1, hls_delay_s // 3)
    return segment_s, LISTED_MAX if segment_s >= SHORT_SEGMENT_S else LISTED_SHORT_MAX


class Segment(msgspec.Struct, frozen=True):
    """One segment as its playlist tells of it.

    sequence: its media sequence number. uri: its address, absolute or relative to the playlist's.
    discontinuity: timestamps or codecs do not go on from the segment before.
    program_time_ms: unix time of its first frame, if known.
    """

    sequence: int
    duration_ms: int
    uri: str
    discontinuity: bool = False
    program_time_ms: int | None = None


def rounded_s(duration_ms: int) -> int:
    """A duration rounded to the nearest second, which EXT-X-TARGETDURATION must not be below (RFC 8216, 4.3.3.1)."""
    return (duration_ms + 500) // 1000


def media_playlist(
    segments: Sequence[Segment],
    *,
    target_duration_s: int,
    discontinuity_sequence: int,
    independent: bool,
    ended: bool = False,
    version: int = 3,
) -> bytes:
    """A media playlist (RFC 8216, 4.3.3).

    target_duration_s: must never change in a stream's life (6.2.1); if a segment is longer all the same, the playlist says so.
    discontinuity_sequence: how many segments with a discontinuity have left the playlist (4.3.3.3).
    independent: every segment begins with a key frame (4.3.5.1).
    """
    target_s = max([target_duration_s, *(rounded_s(segment.duration_ms) for segment in segments)])
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{version}",
        f"#EXT-X-TARGETDURATION:{target_s}",
        f"#EXT-X-MEDIA-SEQUENCE:{segments[0].sequence if segments else 0}",
    ]
    if discontinuity_sequence:
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity_sequence}")
    if independent:
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    for segment in segments:
        if segment.discontinuity:
            lines.append("#EXT-X-DISCONTINUITY")
        if segment.program_time_ms is not None:
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{_iso_8601(segment.program_time_ms)}")
        lines.append(f"#EXTINF:{segment.duration_ms // 1000}.{segment.duration_ms % 1000:03},")
        lines.append(segment.uri)
    if ended:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join([*lines, ""]).encode()


def _iso_8601(unix_ms: int) -> str:
    moment = datetime.datetime.fromtimestamp(unix_ms // 1000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{unix_ms % 1000:03}Z"


class Segmenter:
    """Decides before which tags a stream is cut: whole GOPs, or audio frames if there is no video.

    target_ms: a segment is cut at the first possible tag from here on. has_video: cut at key frames only; may be changed.
    """

    __slots__ = ("_begun_ms", "has_video", "target_ms")

    def __init__(self, target_ms: int, *, has_video: bool) -> None:
        self.target_ms = target_ms
        self.has_video = has_video
        self._begun_ms: int | None = None

    def cut(self, tag: Tag) -> int | None:
        """The length in ms of the segment that ends before this tag, which then begins the next; None if it goes on.

        The first tag that can begin a segment does so, with a length of 0 before it.
        """
        can_begin = bool(tag.flags & Flags.KEY) if self.has_video else tag.kind == AUDIO and not tag.flags
        if self._begun_ms is None:
            if not can_begin:
                return None
            self._begun_ms = tag.timestamp_ms
            return 0
        length_ms = tag.timestamp_ms - self._begun_ms
        if not (can_begin and length_ms >= self.target_ms) and not (
            length_ms >= SEGMENT_MS_MAX and tag.kind in (AUDIO, VIDEO) and not tag.flags & Flags.CONFIG
        ):
            return None
        self._begun_ms = tag.timestamp_ms
        return length_ms

    def finish(self, end_ms: int) -> int:
        """End the segment here whatever comes next (a discontinuity, the stream's end); its length in ms, 0 if none began."""
        length_ms = max(end_ms - self._begun_ms, 0) if self._begun_ms is not None else 0
        self._begun_ms = None
        return length_ms
