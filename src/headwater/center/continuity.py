"""Joins what a source gives over several connections into one stream, without what comes twice."""

from __future__ import annotations

from headwater.center.source import Part
from headwater.media.tag import Flags, Tag


class Continuity:
    """Knows up to when each track of a stream was there already. To be given every part of one `SourceReader`."""

    def __init__(self) -> None:
        self._last_ms: dict[int, int] = {}

    def take(self, part: Part) -> tuple[list[Tag], bool]:
        """The tags that are new, and whether they go on where the last ones ended."""
        tags, joined, last_ms = part.tags, True, self._last_ms
        if part.fresh and last_ms:
            if part.newest_ms < max(last_ms.values()):  # the stream has begun anew
                joined = False
                last_ms.clear()
            else:
                tags = [tag for tag in tags if _is_header(tag) or tag.timestamp_ms > last_ms.get(tag.kind, -1)]
                joined = len(tags) < len(part.tags)  # it began before the end of what there was
        for tag in tags:
            if not _is_header(tag):
                last_ms[tag.kind] = max(tag.timestamp_ms, last_ms.get(tag.kind, -1))
        return tags, joined


def _is_header(tag: Tag) -> bool:
    return bool(tag.flags & (Flags.CONFIG | Flags.METADATA))
