"""Names of recorded files and slices: prefixes with variables (reference media-plane 3.1)."""

from __future__ import annotations

import datetime
import re

ZONE = datetime.timezone(datetime.timedelta(hours=8))
"""Times in names are China's, as the service's are: its sample 2017-03-08-23:09:46 is unix time 1488985786."""

_VARIABLE = re.compile(r"\{([A-Za-z]+)\}")


def file_key(prefix: str, *, app: str, stream: str, number: int, start_ms: int, end_ms: int, extension: str) -> str:
    """The name of a file: {AppName} {StreamName} {Sequence} {StartTime} {EndTime} {EscapedStartTime} {EscapedEndTime}."""
    values = {
        "AppName": app,
        "StreamName": stream,
        "Sequence": str(number),
        "StartTime": _time(start_ms, ":"),
        "EndTime": _time(end_ms, ":"),
        "EscapedStartTime": _time(start_ms, "-"),
        "EscapedEndTime": _time(end_ms, "-"),
    }
    return _filled(prefix, values) + extension


def slice_key(prefix: str, *, app: str, stream: str, number: int, start_ms: int, extension: str) -> str:
    """The name of a slice: {AppName} {StreamName} {UnixTimestamp} {Sequence}."""
    values = {"AppName": app, "StreamName": stream, "Sequence": str(number), "UnixTimestamp": str(start_ms // 1000)}
    return _filled(prefix, values) + extension


def _filled(prefix: str, values: dict[str, str]) -> str:
    return _VARIABLE.sub(lambda found: values.get(found[1], found[0]), prefix).lstrip("/")


def _time(unix_ms: int, separator: str) -> str:
    """`2017-03-08-23:09:46`; the service's own escaped form is not known, ours has hyphens, which need no escaping anywhere."""
    return datetime.datetime.fromtimestamp(unix_ms // 1000, ZONE).strftime(f"%Y-%m-%d-%H{separator}%M{separator}%S")
