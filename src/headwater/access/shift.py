"""What a viewer asks for by the parameters of a time-shift URL: `aliyunols=on` with `lhs_<what>_<format>_<unit>_<zone>=...`.

Reference media-plane 6.4. Pure functions, and the questions that media nodes ask the live center; times are unix milliseconds.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping

import msgspec

SWITCH = "aliyunols"
"""With the value `on` the other parameters mean something; without it a URL is that of the live stream."""

PREFIX = "lhs_"

IGNORED = ("lhs_start", "1")
"""The service's own player sends it beside an offset (reference media-plane 6.4)."""

VOD_SPAN_MAX_MS = 24 * 3_600_000
"""Longest range that is listed at once: a day of 5 s slices makes a playlist of some 2 MB. Ours."""

_PER_MS = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}
"""A number in each unit is milliseconds when multiplied by the first and divided by the second."""

_FRACTION_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_NAME = re.compile(r"lhs_(start|end|vodend|offset)_(unix|human)_(s|ms|us|ns)_([0-9])")
_DIGITS = re.compile(r"[0-9]{1,21}")
_HUMAN_DIGITS = 14
_LATEST_MS = 253_402_300_799_999
"""The end of the year 9999."""


class ShiftError(ValueError):
    """The parameters make no sense; the message says which one does not, and why."""


class ShiftAsked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A range of time in a stream's past.

    start_ms: where to begin. end_ms: where to stop, None for never. vod: all slices of the range at once, as a finished video.
    offset_ms: instead of start_ms, so long ago, moving on with the time.
    """

    start_ms: int | None = None
    end_ms: int | None = None
    offset_ms: int | None = None
    vod: bool = False


class Question(msgspec.Struct, frozen=True):
    """Somebody wants to play a range of a stream. domain: at which it is played; main: whose stream it is.

    name: of the stream or of a rendition. query: of the playlist's URL. tail: what each address in it must carry.
    """

    domain: str
    main: str
    app: str
    name: str
    asked: ShiftAsked
    query: str = ""
    tail: str = ""


class Span(msgspec.Struct, frozen=True):
    """Somebody wants to know what is kept of a stream in a range of time."""

    domain: str
    main: str
    app: str
    name: str
    start_ms: int
    end_ms: int


class SliceAsked(msgspec.Struct, frozen=True):
    """A slice by its address. word: the part of it that cannot be guessed."""

    main: str
    app: str
    id: int
    word: str


def parse(query: Mapping[str, str]) -> ShiftAsked | None:
    """What a playlist's query asks for; None if it is the live stream. Raises ShiftError."""
    if query.get(SWITCH) != "on":
        return None
    found = _moments(query)
    if not found:
        return None
    start, offset = found.get("start"), found.get("offset")
    if start is not None and offset is not None:
        raise ShiftError("lhs_start and lhs_offset cannot be used together")
    if start is None and offset is None:
        raise ShiftError(f"lhs_{next(iter(found))} needs lhs_start")
    if "end" in found and "vodend" in found:
        raise ShiftError("lhs_end and lhs_vodend cannot be used together")
    if "vodend" in found:
        if start is None:
            raise ShiftError("lhs_vodend needs lhs_start")
        if found["vodend"] - start > VOD_SPAN_MAX_MS:
            raise ShiftError(f"lhs_vodend can be {VOD_SPAN_MAX_MS // 3_600_000} hours after lhs_start at most")
    end = found.get("end", found.get("vodend"))
    if start is not None and end is not None and end <= start:
        raise ShiftError(f"lhs_{'vodend' if 'vodend' in found else 'end'} must be later than lhs_start")
    return ShiftAsked(start, end, offset, "vodend" in found)


def parse_span(query: Mapping[str, str]) -> tuple[int, int]:
    """Start and end of a question for the timeline. Raises ShiftError."""
    found = _moments(query)
    if set(found) != {"start", "end"}:
        raise ShiftError("the timeline needs lhs_start and lhs_end")
    if found["end"] <= found["start"]:
        raise ShiftError("lhs_end must be later than lhs_start")
    if found["end"] - found["start"] > VOD_SPAN_MAX_MS:
        raise ShiftError(f"lhs_end can be {VOD_SPAN_MAX_MS // 3_600_000} hours after lhs_start at most")
    return found["start"], found["end"]


def anchored(query: str, offset_ms: int) -> str:
    """The same query, with `lhs_start...` replaced by an offset: a place that moves on with the time."""
    kept = [field for field in query.split("&") if field and not re.match(r"lhs_(start|offset)(_|=|\Z)", field)]
    return "&".join([*kept, f"lhs_offset_unix_ms_0={offset_ms}"])


def _moments(query: Mapping[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, value in query.items():
        if not name.startswith(PREFIX) or (name, value) == IGNORED:
            continue
        match = _NAME.fullmatch(name)
        if match is None:
            raise ShiftError(f"`{_shown(name)}` is no parameter of time shift; they are lhs_<start|end|vodend|offset>_...")
        what, format_, unit, zone = match.groups()
        if what in found:
            raise ShiftError(f"lhs_{what} is there twice")
        if format_ == "unix":
            found[what] = _number(what, value, unit)
        elif what == "offset":
            raise ShiftError("lhs_offset is a number: lhs_offset_unix_<s|ms|us|ns>_0")
        else:
            found[what] = _human(what, value, unit, int(zone))
    return found


def _number(what: str, value: str, unit: str) -> int:
    if _DIGITS.fullmatch(value) is None:
        raise ShiftError(f"lhs_{what}: expected a whole number, got `{_shown(value)}`")
    times, over = _PER_MS[unit]
    milliseconds = int(value) * times // over
    if milliseconds > _LATEST_MS:
        raise ShiftError(f"lhs_{what}: `{value}` is beyond the year 9999; is the unit {unit} right?")
    return milliseconds


def _human(what: str, value: str, unit: str, zone: int) -> int:
    """`20171024160220` in UTC+zone; in smaller units a fraction of a second may follow: three, six or nine digits."""
    fraction = value[_HUMAN_DIGITS:]
    if _DIGITS.fullmatch(value) is None or len(value) < _HUMAN_DIGITS or len(fraction) not in (0, _FRACTION_DIGITS[unit]):
        raise ShiftError(f"lhs_{what}: expected a time such as 20171024160220, got `{_shown(value)}`")
    try:
        moment = datetime.datetime.strptime(value[:_HUMAN_DIGITS], "%Y%m%d%H%M%S").replace(tzinfo=datetime.UTC)
    except ValueError:
        raise ShiftError(f"lhs_{what}: there is no time `{value[:_HUMAN_DIGITS]}`") from None
    milliseconds = int(moment.timestamp()) * 1000 + int(fraction[:3] or 0) - zone * 3_600_000
    if milliseconds < 0:
        raise ShiftError(f"lhs_{what}: `{value}` is before 1970")
    return milliseconds


def _shown(text: str) -> str:
    """What a client sent, for an error message in a header: short, and of harmless characters alone."""
    return re.sub(r"[^A-Za-z0-9_.:+-]", "?", text[:64])
