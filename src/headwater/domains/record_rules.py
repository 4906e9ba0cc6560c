"""The rules of recording templates, as pure functions (reference media-plane 3.1; what is marked as ours is not documented)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, cast, get_args

import msgspec

from headwater.access.names import is_name
from headwater.access.plan import ANY, RecordFormat
from headwater.domains.errors import Code, error, invalid, missing
from headwater.domains.object_names import problem
from headwater.domains.rules import parse_time

Format = Literal["m3u8", "flv", "mp4", "cmaf"]
OnDemand = Literal[0, 1, 2, 7]

SLICED: Final = frozenset({"m3u8", "cmaf"})
"""Formats whose files are playlists of slices."""
CYCLE_DEFAULT_S: Final[dict[Format, int]] = {"m3u8": 21_600, "cmaf": 21_600, "flv": 3600, "mp4": 3600}
CYCLE_S: Final = range(5, 21_601)
"""Longest part of a stream in one file. The least is what an on-demand question may be answered (reference media-plane 3.3)."""
SLICE_S: Final = range(5, 31)
SLICE_DEFAULT_S: Final = 30
DELAY_S: Final = range(15, 21_601)
DELAY_DEFAULT_S: Final = 180
SPAN_MAX_S: Final = 7 * 86_400
"""The longest time from StartTime to EndTime, and how far ahead a start may lie."""
RENDITIONS_MAX: Final = 50
"""Transcoding templates that one recording template names. Ours."""

FILE_VARIABLES: Final = (
    "AppName",
    "StreamName",
    "Sequence",
    "StartTime",
    "EndTime",
    "EscapedStartTime",
    "EscapedEndTime",
)
SLICE_VARIABLES: Final = ("AppName", "StreamName", "UnixTimestamp", "Sequence")

_STARTS, _ENDS = ("StartTime", "EscapedStartTime"), ("EndTime", "EscapedEndTime")
_EXTENSIONS: Final[dict[Format, str]] = {"m3u8": ".m3u8", "cmaf": ".m3u8", "flv": ".flv", "mp4": ".mp4"}
_TEMPLATE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)


class GivenFormat(msgspec.Struct, frozen=True):
    """A format as a customer gives it; what is None or "" takes its default, or what it was before."""

    format: str
    cycle_s: int | None = None
    object_prefix: str = ""
    slice_object_prefix: str = ""
    slice_s: int | None = None


def names(app: str, stream: str) -> tuple[str, str]:
    """App and stream of a template; no stream is all streams. Raises InvalidAppName, InvalidStreamName."""
    stream = stream or ANY
    if app != ANY and not is_name(app):
        raise invalid("AppName")
    if stream != ANY and not is_name(stream):
        raise invalid("StreamName")
    return app, stream


def on_demand(value: int) -> OnDemand:
    """Raises InvalidOnDemand."""
    if value not in get_args(OnDemand):
        raise invalid("OnDemand", "It is 0 (always), 1 (asks OnDemandUrl), 2 (ingest parameter) or 7 (by command).")
    return cast(OnDemand, value)


def delay_s(value: int) -> int:
    """Raises InvalidDelayTime."""
    if value not in DELAY_S:
        raise invalid("DelayTime", f"It is {DELAY_S[0]} to {DELAY_S[-1]} seconds.")
    return value


def formats(given: Sequence[GivenFormat], before: Sequence[RecordFormat] = ()) -> tuple[RecordFormat, ...]:
    """The formats of a template, each once.

    before: those that the template has, when it is changed. A format that says no names keeps its own; a new one takes those
    of the others, for UpdateLiveAppRecordConfig of the SDK cannot say any. Raises InvalidFormat.Malformed,
    InvalidCycleDuration.Malformed, InvalidSliceDuration, MissingOssObjectPrefix, InvalidOssObjectPrefix.Malformed,
    MissingSliceOssObjectPrefix, InvalidSliceOssObjectPrefix.Malformed.
    """
    found = tuple(_format(item, before) for item in given)
    if len({item.format for item in found}) != len(found):
        raise error("InvalidFormat.Malformed", "Each format can be given once.")
    files = [item.object_prefix + _EXTENSIONS[item.format] for item in found]
    if len(set(files)) != len(files):
        raise error(
            "InvalidOssObjectPrefix.Malformed", "Files of m3u8 and cmaf have the same ending, so they need other names."
        )
    return found


def renditions(
    templates: Sequence[str], of_source: Sequence[RecordFormat], of_renditions: Sequence[RecordFormat]
) -> tuple[str, ...]:
    """The transcoding templates that are recorded, beside the formats of the source and of the renditions.

    Raises InvalidTranscodeTemplates, MissingRecordFormat (neither kind is given), MissingTranscodeTemplates,
    MissingTranscodeRecordFormat (ours: the one is nothing without the other), InvalidOssObjectPrefix.Malformed and
    InvalidSliceOssObjectPrefix.Malformed for names that several streams would share (ours).
    """
    wanted = template_names(templates)
    if not of_source and not of_renditions:
        raise missing("RecordFormat", "Give at least one of RecordFormat and TranscodeRecordFormat.")
    if of_renditions and not wanted:
        raise missing("TranscodeTemplates", "It says of which renditions TranscodeRecordFormat is.")
    if wanted and not of_renditions:
        raise missing("TranscodeRecordFormat", "It says how the renditions of TranscodeTemplates are recorded.")
    shared = "Files of several streams would have the same names: use {StreamName}."
    for item in of_renditions:
        if _is_shared(item.object_prefix, [other.object_prefix for other in of_source], wanted):
            raise error("InvalidOssObjectPrefix.Malformed", shared)
        if item.slice_object_prefix and _is_shared(
            item.slice_object_prefix, [other.slice_object_prefix for other in of_source], wanted
        ):
            raise error("InvalidSliceOssObjectPrefix.Malformed", shared)
    return wanted


def template_names(templates: Sequence[str]) -> tuple[str, ...]:
    """Names of transcoding templates, each once. Raises InvalidTranscodeTemplates."""
    wanted = tuple(dict.fromkeys(templates))
    if len(wanted) > RENDITIONS_MAX or not all(map(_TEMPLATE.fullmatch, wanted)):
        raise invalid("TranscodeTemplates", f"It is a list of up to {RENDITIONS_MAX} names of transcoding templates.")
    return wanted


def period(start_time: str, end_time: str, stream: str, now_s: float) -> tuple[float, float]:
    """From when to when streams are recorded: unix seconds, 0 for no bound; an end too far from its start comes nearer.

    Raises InvalidStartTime.Malformed, InvalidEndTime.Malformed, InvalidEndTime.Mismatch.
    """
    start_s = _time(start_time, "InvalidStartTime.Malformed", stream)
    end_s = _time(end_time, "InvalidEndTime.Malformed", stream)
    if start_s > now_s + SPAN_MAX_S:
        raise error("InvalidStartTime.Malformed", "It can be up to 7 days ahead.")
    if end_s:
        if end_s <= start_s:
            raise error("InvalidEndTime.Mismatch")
        if end_s <= now_s:
            raise error("InvalidEndTime.Malformed", "It is over.")
        end_s = min(end_s, (start_s or now_s) + SPAN_MAX_S)
    return start_s, end_s


def _format(given: GivenFormat, before: Sequence[RecordFormat]) -> RecordFormat:
    if given.format not in get_args(Format):
        raise error("InvalidFormat.Malformed", f"It is one of {', '.join(get_args(Format))}.")
    kind = cast(Format, given.format)
    sliced = kind in SLICED
    own = next((item for item in before if item.format == kind), None)
    cycle_s = CYCLE_DEFAULT_S[kind] if given.cycle_s is None else given.cycle_s
    if cycle_s not in CYCLE_S:
        raise error("InvalidCycleDuration.Malformed", f"It is {CYCLE_S[0]} to {CYCLE_S[-1]} seconds.")
    slice_s = (SLICE_DEFAULT_S if given.slice_s is None else given.slice_s) if sliced else 0
    if sliced and slice_s not in SLICE_S:
        raise invalid("SliceDuration", f"It is {SLICE_S[0]} to {SLICE_S[-1]} seconds.")
    if cycle_s < slice_s:
        raise error("InvalidCycleDuration.Malformed", "It cannot be shorter than SliceDuration.")
    known = [own] if own is not None else before
    prefix = given.object_prefix or next((item.object_prefix for item in known), "")
    if not prefix:
        raise missing("OssObjectPrefix")
    _check_prefix(prefix)
    slice_prefix = ""
    if sliced:
        slice_prefix = given.slice_object_prefix or next(
            (item.slice_object_prefix for item in known if item.slice_object_prefix), ""
        )
        if not slice_prefix:
            raise missing("SliceOssObjectPrefix", f"The slices of {kind} need names, too.")
        _check_slice_prefix(slice_prefix)
    return RecordFormat(kind, cycle_s, prefix, slice_prefix, slice_s)


def _check_prefix(prefix: str) -> None:
    fault = problem(prefix, FILE_VARIABLES)
    if not fault and not (_has(prefix, _STARTS) and _has(prefix, _ENDS)):
        fault = "It needs {StartTime} or {EscapedStartTime}, and {EndTime} or {EscapedEndTime}."
    if fault:
        raise error("InvalidOssObjectPrefix.Malformed", fault)


def _check_slice_prefix(prefix: str) -> None:
    fault = problem(prefix, SLICE_VARIABLES)
    if not fault and not (_has(prefix, ("UnixTimestamp",)) and _has(prefix, ("Sequence",))):
        fault = "It needs {UnixTimestamp} and {Sequence}."
    if fault:
        raise error("InvalidSliceOssObjectPrefix.Malformed", fault)


def _has(prefix: str, variables: Sequence[str]) -> bool:
    return any(f"{{{name}}}" in prefix for name in variables)


def _is_shared(prefix: str, of_source: Sequence[str], templates: Sequence[str]) -> bool:
    return not _has(prefix, ("StreamName",)) and (len(templates) > 1 or prefix in of_source)


def _time(text: str, malformed: Code, stream: str) -> float:
    if not text:
        return 0.0
    if stream == ANY:
        raise error(malformed, "Only a template of one stream can have a time: give a StreamName.")
    try:
        return parse_time(text)
    except ValueError as fault:
        raise error(malformed, f"{fault}.") from None
