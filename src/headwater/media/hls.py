"""HLS: how long segments are, and the playlist that lists them (RFC 8216)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import msgspec

SHORT_SEGMENT_S = 3
"""Shorter segments than this make longer playlists (reference media-plane 6.2)."""

LISTED_MAX, LISTED_SHORT_MAX = 4, 6
"""Segments in a playlist, of ordinary and of short segments (reference media-plane 6.2)."""


def playlist_rule(hls_delay_s: int) -> tuple[int, int]:
    """Target length of a segment in seconds, and most segments in a playlist (reference media-plane 6.2)."""
    segment_s = max(1, hls_delay_s // 3)
    return segment_s, LISTED_MAX if segment_s >= SHORT_SEGMENT_S else LISTED_SHORT_MAX


class Segment(msgspec.Struct, frozen=True):
    """One segment as its playlist tells of it.

    sequence: its media sequence number. uri: its address, absolute or relative to the playlist's.
    discontinuity: timestamps or codecs do not go on from the segment before.
    program_time_ms: unix time of its first frame, if known. map_uri: of what a player needs before it, for fragmented MP4.
    """

    sequence: int
    duration_ms: int
    uri: str
    discontinuity: bool = False
    program_time_ms: int | None = None
    map_uri: str = ""


class Variant(msgspec.Struct, frozen=True):
    """One of the streams of a master playlist. width, height, frame_rate: 0 if not known, or without a picture.

    codecs: as RFC 6381 has them, "" if not known.
    """

    uri: str
    bandwidth_bps: int
    width: int = 0
    height: int = 0
    frame_rate: float = 0.0
    codecs: str = ""


def rounded_s(duration_ms: int) -> int:
    """A duration rounded to the nearest second, which EXT-X-TARGETDURATION must not be below (RFC 8216, 4.3.3.1)."""
    return (duration_ms + 500) // 1000


def master_playlist(variants: Sequence[Variant], version: int = 3) -> bytes:
    """A master playlist (RFC 8216, 4.3.4); players begin with the first variant."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{version}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for variant in variants:
        attributes = [f"BANDWIDTH={variant.bandwidth_bps}"]
        if variant.width and variant.height:
            attributes.append(f"RESOLUTION={variant.width}x{variant.height}")
        if variant.frame_rate:
            attributes.append(f"FRAME-RATE={variant.frame_rate:.3f}")
        if variant.codecs:
            attributes.append(f'CODECS="{variant.codecs}"')
        lines += [f"#EXT-X-STREAM-INF:{','.join(attributes)}", variant.uri]
    return "\n".join([*lines, ""]).encode()


def media_playlist(
    segments: Sequence[Segment],
    *,
    target_duration_s: int,
    discontinuity_sequence: int,
    independent: bool,
    ended: bool = False,
    vod: bool = False,
    version: int = 3,
) -> bytes:
    """A media playlist (RFC 8216, 4.3.3).

    target_duration_s: must never change in a stream's life (6.2.1); if a segment is longer all the same, the playlist says so.
    discontinuity_sequence: how many segments with a discontinuity have left the playlist (4.3.3.3).
    independent: every segment begins with a key frame (4.3.5.1). ended: no segment follows; vod: nor will any be taken away.
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
    if vod:
        lines.append("#EXT-X-PLAYLIST-TYPE:VOD")
    if independent:
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    map_uri = ""
    for segment in segments:
        if segment.discontinuity:
            lines.append("#EXT-X-DISCONTINUITY")
        if segment.map_uri != map_uri:
            map_uri = segment.map_uri
            lines.append(f'#EXT-X-MAP:URI="{map_uri}"')
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
