"""Reads HLS playlists as players do, and checks that each version of a live one may follow the one before (RFC 8216)."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import msgspec

from headwater.load.faults import Fault

SEGMENTS_MAX = 10_000
"""A playlist with a day of ten-second segments is shorter."""

_DECIMAL_INTEGER = re.compile(r"\d{1,20}", re.ASCII)
_DURATION = re.compile(r"\d{1,10}(\.\d{1,20})?", re.ASCII)


class Segment(msgspec.Struct, frozen=True):
    """One segment. url: absolute. discontinuity: the mark stands in front of it."""

    sequence: int
    url: str
    duration_s: float
    discontinuity: bool


class Playlist(msgspec.Struct, frozen=True):
    """A media playlist, or a master playlist, of which only the first variant's URL is read."""

    variant: str | None = None
    target_s: int = 0
    sequence: int = 0
    discontinuity_sequence: int = 0
    segments: tuple[Segment, ...] = ()
    independent: bool = False
    ended: bool = False


def parse(data: bytes, url: str) -> Playlist:
    """What was fetched from `url`. Unknown tags are passed over, as they must be (6.3.1). Raises Fault."""
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise Fault("playlist", "the playlist is no UTF-8") from None
    if not lines or lines[0].rstrip() != "#EXTM3U":
        raise Fault("playlist", f"the playlist begins with {(lines or [''])[0][:40]!r}, not with #EXTM3U")
    numbers: dict[str, int] = {}
    segments: list[Segment] = []
    duration_s: float | None = None
    discontinuity = independent = ended = variant = False
    for line in map(str.strip, lines[1:]):
        if not line:
            continue
        if not line.startswith("#"):
            if variant:
                return Playlist(variant=urljoin(url, line))
            if duration_s is None:
                raise Fault("playlist", "a segment without #EXTINF")
            sequence = numbers.get("#EXT-X-MEDIA-SEQUENCE", 0) + len(segments)
            segments.append(Segment(sequence, urljoin(url, line), duration_s, discontinuity))
            if len(segments) > SEGMENTS_MAX:
                raise Fault("playlist", f"more than {SEGMENTS_MAX} segments")
            duration_s, discontinuity = None, False
            continue
        name, _, value = line.partition(":")
        if name in ("#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-DISCONTINUITY-SEQUENCE"):
            if not _DECIMAL_INTEGER.fullmatch(value) or segments:
                raise Fault("playlist", f"{line[:60]}: no number, or behind a segment")
            numbers[name] = int(value)
        elif name == "#EXTINF":
            number = value.partition(",")[0]
            if not _DURATION.fullmatch(number):
                raise Fault("playlist", f"{line[:60]}: no duration")
            duration_s = float(number)
        elif name == "#EXT-X-DISCONTINUITY":
            discontinuity = True
        elif name == "#EXT-X-STREAM-INF":
            variant = True
        independent |= name == "#EXT-X-INDEPENDENT-SEGMENTS"
        ended |= name == "#EXT-X-ENDLIST"
    return _checked(numbers, segments, independent=independent, ended=ended)


def _checked(numbers: dict[str, int], segments: list[Segment], *, independent: bool, ended: bool) -> Playlist:
    target_s = numbers.get("#EXT-X-TARGETDURATION")
    if target_s is None:
        raise Fault("playlist", "no #EXT-X-TARGETDURATION (4.3.3.1)")
    for segment in segments:
        if int(segment.duration_s + 0.5) > target_s:
            raise Fault("playlist", f"a segment of {segment.duration_s} s exceeds the target duration of {target_s} (4.3.3.1)")
    return Playlist(
        target_s=target_s,
        sequence=numbers.get("#EXT-X-MEDIA-SEQUENCE", 0),
        discontinuity_sequence=numbers.get("#EXT-X-DISCONTINUITY-SEQUENCE", 0),
        segments=tuple(segments),
        independent=independent,
        ended=ended,
    )


def follow(before: Playlist, after: Playlist) -> list[Fault]:
    """What is wrong with `after` as a later version of `before` (6.2.1, 6.2.2)."""
    faults = []
    if after.sequence < before.sequence:
        return [Fault("sequence", f"the media sequence number ran back from {before.sequence} to {after.sequence}")]
    newest_before = before.sequence + len(before.segments) - 1
    newest_after = after.sequence + len(after.segments) - 1
    if newest_after < newest_before:
        faults.append(Fault("sequence", f"the newest segment was {newest_before} and is {newest_after}"))
    if before.segments and after.sequence > newest_before + 1:
        faults.append(Fault("sequence", f"segments {newest_before + 1} to {after.sequence - 1} were never listed"))
        return faults
    known = {segment.sequence: segment for segment in before.segments}
    for segment in after.segments:
        old = known.get(segment.sequence)
        if old is not None and _essence(old) != _essence(segment):
            faults.append(Fault("playlist", f"segment {segment.sequence} is another one than before (6.2.1)"))
    gone = sum(segment.discontinuity for segment in before.segments if segment.sequence < after.sequence)
    if after.discontinuity_sequence != before.discontinuity_sequence + gone:
        text = f"the discontinuity sequence went from {before.discontinuity_sequence} to {after.discontinuity_sequence}"
        faults.append(Fault("discontinuity", f"{text} while {gone} marks left the playlist (6.2.2)"))
    return faults


def _essence(segment: Segment) -> tuple[str, float, bool]:
    """What may not change; the viewer's signature, in the query, may."""
    return segment.url.partition("?")[0], segment.duration_s, segment.discontinuity
