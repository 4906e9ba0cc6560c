"""Playlists and the timeline of what was kept of a stream; pure functions over its slices.

A viewer who goes back in time without asking for a finished video gets the playlist that a viewer of the live stream would
have got then: a window of a few slices, which moves on with the time. Players begin three target durations before its end, so
the window ends by so much later than the place that was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from headwater.media import hls

LISTED = 4
"""Slices in a moving window; RFC 8216, 6.2.2 wants three target durations."""

LEAD_SLICES = 3
"""So many target durations before the end of a live playlist players begin (RFC 8216, 6.3.3)."""

JOINED_MS = 2500
"""Slices with no more between them are told as one range: a stream's clock is set anew when it is off by 2 s (`slicer`)."""


class KeptSlice(msgspec.Struct, frozen=True):
    """A slice as playlists need it. number: grows by 1 from each slice of a stream to the next, for ever.

    run: how many slices up to this one, itself included, do not go on from the one before; broken: this one does not.
    name: what stands in its address after the stream's name.
    """

    number: int
    run: int
    broken: bool
    start_ms: int
    duration_ms: int
    bytes: int
    name: str

    @property
    def end_ms(self) -> int:
        """Unix milliseconds at which it ends."""
        return self.start_ms + self.duration_ms


def target_s(longest_ms: int) -> int:
    """The target duration of a stream's playlists."""
    return max(hls.rounded_s(longest_ms), 1)


def window_end_ms(place_ms: int, longest_ms: int) -> int:
    """Until when slices are in the window of a viewer who is at a place in time."""
    return place_ms + LEAD_SLICES * target_s(longest_ms) * 1000


def media(slices: Sequence[KeptSlice], stream: str, tail: str, *, longest_ms: int, ended: bool, vod: bool) -> bytes:
    """The media playlist of these slices. stream: its name, with which addresses begin. tail: what follows each of them."""
    first = slices[0]
    return hls.media_playlist(
        [
            hls.Segment(
                sequence=kept.number,
                duration_ms=kept.duration_ms,
                uri=f"{stream}-{kept.name}.ts{tail}",
                discontinuity=kept.broken,
                program_time_ms=kept.start_ms,
            )
            for kept in slices
        ],
        target_duration_s=target_s(longest_ms),
        discontinuity_sequence=first.run - first.broken,
        independent=False,  # a slice that was cut for its length begins with any frame
        ended=ended,
        vod=vod,
    )


def entry(slices: Sequence[KeptSlice], uri: str) -> bytes:
    """A master playlist with one entry: players load it once, so what it leads to can depend on when that was."""
    rates = [kept.bytes * 8000 // max(kept.duration_ms, 1) for kept in slices]
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-STREAM-INF:BANDWIDTH={max(rates, default=1_000_000)}", uri, ""]
    return "\n".join(lines).encode()


def ranges(slices: Iterable[tuple[int, int]], start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """The parts of a span in which there are slices, given as (start, end), in the order of their starts."""
    found: list[tuple[int, int]] = []
    for begin, end in slices:
        begin, end = max(begin, start_ms), min(end, end_ms)
        if begin >= end:
            continue
        if found and begin - found[-1][1] <= JOINED_MS:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found
