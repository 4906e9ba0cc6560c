"""Sets up structured logs, the same in every process: one event a line, as JSON or as text, on standard error.

Whoever logs says `structlog.get_logger().warning("publish refused", session=..., reason=...)`: a constant event, and what
varies as fields. Values may come from the network: they cannot break or forge a line. What libraries log by `logging` ends up
in the same form (uvicorn: with `log_config=None`).
"""

from __future__ import annotations

import itertools
import json
import logging
import random
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog

from headwater.settings import SettingsError

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

VALUE_MAX_CHARS = 2048
"""A longer value is cut: a client may send a name of any length, and each of its lines would cost as much."""

FLOOD_BURST = 100
"""So many warnings (or errors) of one event pass at once: enough to see what is going on."""

FLOOD_RATE_PER_S = 10.0
"""So many pass a second after that; the rest are counted. A client can cause a warning for each connection."""

FLOOD_EVENTS_MAX = 256
"""So many events are watched for floods, the latest; the code has fewer, but a library may put values into its messages."""

QUIET = {
    "sqlalchemy": "it would log every statement with its values, secrets among them",
    "aiosqlite": "it logs every call",
    "httpx": "it logs every request, such as each scrape of a worker",
    "httpcore": "it logs every step of a request",
    "uvicorn.error": "it tells of its start and end, which our own lines do, too",
    "uvicorn.access": "it logs URLs, whose queries carry signatures; the API logs its own requests",
}
"""Loggers of libraries of which only warnings are logged, and why."""

SESSION_EPOCH_MS = 1_704_067_200_000
"""Session ids count from 2024-01-01 UTC; 40 bits of milliseconds last until 2058."""

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_session_numbers = itertools.count(random.getrandbits(20))

EventDict = MutableMapping[str, Any]


def session_id() -> str:
    """A new id for a session: 12 characters, of which the first 8 say when and sort by it. Unique, but no secret."""
    bits = ((time.time_ns() // 1_000_000 - SESSION_EPOCH_MS) & 0xFF_FFFF_FFFF) << 20 | next(_session_numbers) & 0xF_FFFF
    return "".join(_BASE32[bits >> shift & 31] for shift in range(55, -1, -5))


def configure(format: str, level: str, *, process: str) -> None:  # noqa: A002 (named as the setting is)
    """Set up all logging of this process, by the settings of `settings.Log`. Raises SettingsError.

    format: `auto` (text on a terminal, JSON otherwise), `text` or `json`. process: the name that stands in each line.
    """
    if level not in LEVELS:
        raise SettingsError(f"log.level: expected one of {', '.join(LEVELS)}, got `{level}`")
    if format not in ("auto", "text", "json"):
        raise SettingsError(f"log.format: expected auto, text or json, got `{format}`")
    as_text = format == "text" or (format == "auto" and sys.stderr.isatty())
    pipeline = Pipeline(process, render_text if as_text else render_json)
    structlog.configure(
        processors=[pipeline.process_event],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        context_class=dict,
        logger_factory=lambda *_: _Writer(),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler(pipeline))
    root.setLevel(LEVELS[level])
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, LEVELS[level]))


class FloodGate:
    """Lets a burst of each event pass, then a few a second: a token bucket for each event, the latest of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def admit(self, event: str) -> int | None:
        """None to suppress the event; otherwise how many of it were suppressed since the last that passed."""
        now_s = self._clock()
        bucket = self._buckets.get(event)
        if bucket is None:
            bucket = self._buckets[event] = _Bucket(now_s)
            if len(self._buckets) > FLOOD_EVENTS_MAX:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(event)
        bucket.tokens = min(FLOOD_BURST, bucket.tokens + (now_s - bucket.filled_at) * FLOOD_RATE_PER_S)
        bucket.filled_at = now_s
        if bucket.tokens < 1:
            bucket.suppressed += 1
            return None
        bucket.tokens -= 1
        suppressed, bucket.suppressed = bucket.suppressed, 0
        return suppressed


class _Bucket:
    __slots__ = ("filled_at", "suppressed", "tokens")

    def __init__(self, now_s: float) -> None:
        self.tokens = float(FLOOD_BURST)
        self.filled_at = now_s
        self.suppressed = 0


class Pipeline:
    """What happens to an event between the call that logs it and the line: flood gate, common fields, rendering."""

    def __init__(
        self,
        process: str,
        render: Callable[[Mapping[str, Any]], str],
        *,
        gate: FloodGate | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._process = process
        self._render = render
        self._gate = gate or FloodGate()
        self._wall_clock = wall_clock

    def process_event(self, logger: object, level: str, fields: EventDict) -> str:
        """The line of an event (a structlog processor). Raises DropEvent when it is one of a flood."""
        event = str(fields.pop("event", ""))
        line = self.line(level, event, fields, flood_key=event)
        if line is None:
            raise structlog.DropEvent
        return line

    def line(self, level: str, event: str, fields: Mapping[str, Any], *, flood_key: str) -> str | None:
        """The line of an event, None when it is one of a flood. Only warnings and errors come in floods that nobody wants."""
        suppressed = self._gate.admit(flood_key) if level in ("warning", "error", "exception") else 0
        if suppressed is None:
            return None
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        line: dict[str, Any] = {
            "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": "error" if level == "exception" else level,
            "event": _cut(event),
            "process": self._process,
        }
        for name, value in {**structlog.contextvars.get_contextvars(), **fields}.items():
            if name not in line and name != "exc_info":
                line[name] = _cut(value)
        if suppressed:
            line["suppressed"] = suppressed
        if trace := _traceback(fields.get("exc_info")):
            line["exception"] = trace
        return self._render(line)


def render_json(line: Mapping[str, Any]) -> str:
    """One JSON object in ASCII: nothing in it can end the line or speak to a terminal."""
    try:
        text = json.dumps(line, default=_text_of, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # keys that are no strings, NaN, cycles
        text = json.dumps({name: value if isinstance(value, str | int) else _text_of(value) for name, value in line.items()})
    return text.replace("\x7f", "\\u007f")


def render_text(line: Mapping[str, Any]) -> str:
    """`time level event name=value ...` for people. A traceback follows on lines of its own, each of them indented."""
    fields = [
        f"{escape(name)}={_quote(value)}" for name, value in line.items() if name not in ("time", "level", "event", "exception")
    ]
    head = f"{line['time']} {line['level']:<7} {escape(line['event'])}"
    trace = [f"    | {escape(part)}" for part in str(line.get("exception", "")).splitlines()]
    return "\n".join((" ".join((head, *fields)), *trace))


def escape(text: str) -> str:
    """Text in which everything that is not printable (controls, line ends, direction marks) is written as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _quote(value: object) -> str:
    text = value if isinstance(value, str) else _text_of(value)
    if text and text.isprintable() and not any(char in ' "=\\' for char in text):
        return text
    return '"' + escape(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > VALUE_MAX_CHARS:
        return f"{value[:VALUE_MAX_CHARS]}... ({len(value)} characters)"
    return value


def _text_of(value: object) -> str:
    """What stands for a value that JSON does not know: an exception by its message, anything else by its repr."""
    text: str = _cut(str(value) if isinstance(value, BaseException) else repr(value))
    return text


def _traceback(exc_info: object) -> str:
    if isinstance(exc_info, BaseException):
        return "".join(traceback.format_exception(exc_info))
    if isinstance(exc_info, tuple):
        return "".join(traceback.format_exception(*exc_info)) if exc_info[0] is not None else ""
    return traceback.format_exc() if exc_info and sys.exc_info()[0] is not None else ""


class _Writer:
    """Writes lines to standard error (structlog's idea of a logger). A log that cannot be written ends no session."""

    def msg(self, line: str) -> None:
        try:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass

    debug = info = warning = error = critical = exception = msg


class _LibraryHandler(logging.Handler):
    """Turns what libraries log by `logging` into lines of ours."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self._pipeline = pipeline
        self._writer = _Writer()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit the message
            message = str(record.msg)
        fields = {"logger": record.name, "exc_info": record.exc_info}
        level = record.levelname.lower()
        line = self._pipeline.line(level, message, fields, flood_key=f"{record.name}:{record.msg}"[:VALUE_MAX_CHARS])
        if line is not None:
            self._writer.msg(line)
