"""A strict reader of HLS media playlists (RFC 8216): it raises on whatever hls.js, ffplay or Safari could stumble over."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urljoin

_ATTRIBUTES = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(?:,|$)')
_INTEGER = re.compile(r"\d{1,20}")
_FLOAT = re.compile(r"\d+(\.\d+)?")

KNOWN = {
    "EXTM3U",
    "EXT-X-VERSION",
    "EXT-X-TARGETDURATION",
    "EXT-X-MEDIA-SEQUENCE",
    "EXT-X-DISCONTINUITY-SEQUENCE",
    "EXT-X-INDEPENDENT-SEGMENTS",
    "EXT-X-PROGRAM-DATE-TIME",
    "EXT-X-DISCONTINUITY",
    "EXT-X-START",
    "EXT-X-ALLOW-CACHE",
    "EXTINF",
    "EXT-X-PLAYLIST-TYPE",
    "EXT-X-ENDLIST",
}


@dataclass(frozen=True)
class Segment:
    """One segment. `url` is absolute; `discontinuity` says that the mark stands before it; `date`: of its first frame."""

    sequence: int
    url: str
    duration_s: float
    discontinuity: bool
    date: datetime | None = None


@dataclass(frozen=True)
class Playlist:
    """One media playlist."""

    version: int
    target_s: int
    sequence: int
    discontinuity_sequence: int
    segments: tuple[Segment, ...]
    ended: bool


def parse(text: str, url: str) -> Playlist:
    """Read a media playlist that was fetched from `url`. Raises AssertionError, naming the rule's section."""
    assert "\ufeff" not in text, "4.1: no byte order mark"
    assert text.endswith("\n"), "the last line must end, or players wait for the rest of it"
    lines = text.splitlines()
    assert lines, "empty"
    assert lines[0] == "#EXTM3U", "4.3.1.1: #EXTM3U must be the first line"
    once: dict[str, str] = {}
    segments: list[Segment] = []
    duration: float | None = None
    date: datetime | None = None
    discontinuity = ended = False
    for line in lines[1:]:
        assert line == line.strip(), f"4.1: white space around {line!r}"
        if not line or (line.startswith("#") and not line.startswith("#EXT")):
            continue
        if not line.startswith("#"):
            assert duration is not None, "4.3.2.1: a segment without EXTINF"
            sequence = int(once.get("EXT-X-MEDIA-SEQUENCE", "0")) + len(segments)
            segments.append(Segment(sequence, urljoin(url, line), duration, discontinuity, date))
            duration, discontinuity, date = None, False, None
            continue
        name, _, value = line[1:].partition(":")
        assert name in KNOWN, f"unknown tag {name}"
        assert not ended, "nothing may follow EXT-X-ENDLIST here"
        if name == "EXTINF":
            number, comma, _title = value.partition(",")
            assert comma, "4.3.2.1: EXTINF needs a comma"
            assert _FLOAT.fullmatch(number), f"4.2: {number} is no decimal-floating-point"
            assert duration is None, "two EXTINF for one segment"
            duration = float(number)
        elif name == "EXT-X-DISCONTINUITY":
            assert not discontinuity, "two marks for one segment"
            discontinuity = True
        elif name == "EXT-X-ENDLIST":
            ended = True
        elif name == "EXT-X-PROGRAM-DATE-TIME":
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)", value), f"4.3.2.6: {value}"
            date = datetime.fromisoformat(value)
        else:
            assert name not in once, f"4.3.3: {name} stands twice"
            assert not segments or name == "EXT-X-START", f"4.3.3: {name} stands after a segment"
            if name == "EXT-X-START":
                assert dict(_ATTRIBUTES.findall(value)).get("TIME-OFFSET"), "4.3.5.2"
            once[name] = value
    assert duration is None, "an EXTINF without a segment"
    for name in ("EXT-X-VERSION", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE"):
        assert name not in once or _INTEGER.fullmatch(once[name]), f"4.2: {name} is no decimal-integer"
    assert "EXT-X-TARGETDURATION" in once, "4.3.3.1: EXT-X-TARGETDURATION is required"
    playlist = Playlist(
        int(once.get("EXT-X-VERSION", "1")),
        int(once["EXT-X-TARGETDURATION"]),
        int(once.get("EXT-X-MEDIA-SEQUENCE", "0")),
        int(once.get("EXT-X-DISCONTINUITY-SEQUENCE", "0")),
        tuple(segments),
        ended,
    )
    assert playlist.version >= 3 or all(segment.duration_s.is_integer() for segment in segments), "7: fractions need version 3"
    for segment in segments:
        assert segment.duration_s > 0, "a segment without duration"
        assert round(segment.duration_s) <= playlist.target_s, (
            f"4.3.3.1: a segment of {segment.duration_s} s exceeds the target duration of {playlist.target_s}"
        )
    assert len({segment.url for segment in segments}) == len(segments), "one segment stands twice"
    return playlist


def check_follows(before: Playlist, after: Playlist) -> None:
    """Raises AssertionError if `after` cannot be a later version of the live playlist `before` (section 6.2.1)."""
    assert after.target_s == before.target_s, "6.2.1: the target duration must not change"
    assert after.sequence >= before.sequence, f"6.2.2: the media sequence fell from {before.sequence} to {after.sequence}"
    known = {segment.sequence: segment for segment in before.segments}
    for segment in after.segments:
        if segment.sequence in known:
            old = known[segment.sequence]
            assert _name(segment) == _name(old), f"6.2.1: segment {segment.sequence} is another one now"
            assert segment.duration_s == old.duration_s, f"6.2.1: segment {segment.sequence} has another duration now"
            assert segment.discontinuity == old.discontinuity, f"6.2.1: the mark of segment {segment.sequence} changed"
    if before.segments and after.segments:
        assert after.segments[-1].sequence >= before.segments[-1].sequence, "6.2.1: segments vanished from the end"
    gone = sum(segment.discontinuity for segment in before.segments if segment.sequence < after.sequence)
    if after.sequence <= before.sequence + len(before.segments):
        assert after.discontinuity_sequence == before.discontinuity_sequence + gone, (
            f"6.2.2: {gone} marks left the playlist, its discontinuity sequence went from "
            f"{before.discontinuity_sequence} to {after.discontinuity_sequence}"
        )


def _name(segment: Segment) -> str:
    """Who the viewer is may stand in the query and change; the segment's own name may not."""
    return segment.url.partition("?")[0]
