"""Log lines are one event each, in one form, whoever logs and whatever the network put into them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from headwater.observe import log
from headwater.observe.log import FLOOD_BURST, FLOOD_EVENTS_MAX, FLOOD_RATE_PER_S, VALUE_MAX_CHARS, FloodGate, Pipeline
from headwater.settings import SettingsError
from support.clock import Clock

HOSTILE = 'x"\n2026-01-01T00:00:00.000Z info    forged process=main\r\x1b[2J\x00\x7f\x85\x9b\u2028\u202e\ud800 session=evil'

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), children, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture(autouse=True)
def _leave_no_configuration() -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in ("", *log.QUIET)}
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, log._LibraryHandler)]:
        root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def pipeline(render: Any = log.render_json, clock: Clock | None = None) -> Pipeline:
    return Pipeline("main", render, gate=FloodGate(clock or Clock()), wall_clock=lambda: 1_700_000_000.25)


def line_of(render: Any, event: str, **fields: Any) -> str:
    line = pipeline(render).line("info", event, fields, flood_key=event)
    assert line is not None
    return line


def test_a_json_line_holds_time_level_event_process_and_the_fields() -> None:
    assert json.loads(line_of(log.render_json, "play started", session="abc", viewers=3)) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "event": "play started",
        "process": "main",
        "session": "abc",
        "viewers": 3,
    }


def test_a_text_line_reads_like_a_sentence() -> None:
    line = line_of(
        log.render_text, "play started", session="abc", stream="play.example/live/a", reason="no such stream", size=None
    )
    assert line == (
        "2023-11-14T22:13:20.250Z info    play started "
        'process=main session=abc stream=play.example/live/a reason="no such stream" size=None'
    )


@pytest.mark.parametrize("render", [log.render_json, log.render_text])
def test_untrusted_values_neither_break_nor_forge_a_line(render: Any) -> None:
    line = line_of(render, HOSTILE, stream=HOSTILE, nested=[HOSTILE], raw=HOSTILE.encode(errors="replace"))
    assert line.isprintable()
    assert "process=main session=evil" not in line


@pytest.mark.parametrize("render", [log.render_json, log.render_text])
@given(event=st.text(), fields=st.dictionaries(st.text(), anything, max_size=4))
def test_any_event_is_one_printable_line(render: Any, event: str, fields: dict[str, Any]) -> None:
    fields.pop("exc_info", None)
    fields.pop("exception", None)
    line = pipeline(render).line("info", event, fields, flood_key=event)
    assert line is not None
    assert line.isprintable()
    if render is log.render_json:
        read = json.loads(line)
        assert read["process"] == "main"
        assert read["event"] == event or len(event) > VALUE_MAX_CHARS
        assert line.isascii()


@given(value=st.text())
def test_a_text_value_can_be_told_from_what_follows(value: str) -> None:
    line = line_of(log.render_text, "event", value=value, last="end")
    _, _, rest = line.partition("value=")
    if rest.startswith('"'):
        end = next(i for i in range(1, len(rest)) if rest[i] == '"' and (len(rest[1:i]) - len(rest[1:i].rstrip("\\"))) % 2 == 0)
        assert rest[end + 1 :] == " last=end"
    else:
        assert rest == f"{value} last=end"


def test_a_value_without_end_is_cut() -> None:
    line = line_of(log.render_json, "e" * 10_000, name="n" * 10_000_000, raw=[b"x" * 100_000])
    assert len(line) < 4 * VALUE_MAX_CHARS
    assert "(10000000 characters)" in line


@pytest.mark.parametrize("render", [log.render_json, log.render_text])
def test_a_traceback_cannot_forge_a_line(render: Any) -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        line = line_of(render, "job failed", exc_info=error)
    head, *trace = line.split("\n")
    assert head.isprintable()
    assert all(part.isprintable() and part.startswith("    | ") for part in trace)
    assert "ValueError" in line


def test_fields_bound_to_the_context_stand_in_each_line() -> None:
    structlog.contextvars.bind_contextvars(session="abc")
    assert json.loads(line_of(log.render_json, "x"))["session"] == "abc"
    assert json.loads(line_of(log.render_json, "x", session="nearer"))["session"] == "nearer"


def test_our_logs_and_those_of_libraries_come_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info", process="worker-0")
    structlog.get_logger().info("play started", session="abc")
    logging.getLogger("alembic.runtime.migration").info("Running upgrade %s -> %s", "a", "b")
    logging.getLogger("uvicorn.error").error("failed\nforged")
    first, second, third = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["event"], first["process"], first["session"]) == ("play started", "worker-0", "abc")
    assert (second["event"], second["level"], second["process"]) == ("Running upgrade a -> b", "info", "worker-0")
    assert second["logger"] == "alembic.runtime.migration"
    assert (third["event"], third["level"]) == ("failed\nforged", "error")


def test_exceptions_come_with_their_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info", process="main")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger().exception("session failed", session="abc")
        logging.getLogger("asyncio").exception("task failed")
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    for line in (ours, theirs):
        assert line["level"] == "error"
        assert "RuntimeError: broken" in line["exception"]


def test_levels_below_the_setting_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "warning", process="main")
    structlog.get_logger().info("x")
    structlog.get_logger().debug("x")
    logging.getLogger("uvicorn.error").info("x")
    assert capsys.readouterr().err == ""
    structlog.get_logger().warning("x")
    assert capsys.readouterr().err != ""


@pytest.mark.parametrize("name", ["sqlalchemy.engine.Engine", "uvicorn.access", "uvicorn.error", "httpx", "aiosqlite"])
def test_libraries_that_log_secrets_or_what_we_say_are_quiet(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "debug", process="main")
    logging.getLogger(name).propagate = True  # a server that another test ran here may have switched it off
    logging.getLogger(name).info("SELECT secret")
    assert capsys.readouterr().err == ""
    logging.getLogger(name).warning("trouble")
    assert "trouble" in capsys.readouterr().err


def test_configuring_again_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info", process="one")
    log.configure("text", "info", process="two")
    logging.getLogger("alembic").info("x")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "process=two" in lines[0]


def test_auto_is_text_on_a_terminal_and_json_otherwise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log.configure("auto", "info", process="main")
    structlog.get_logger().info("x")
    assert capsys.readouterr().err.startswith("{")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    log.configure("auto", "info", process="main")
    structlog.get_logger().info("x")
    assert capsys.readouterr().err.endswith(" info    x process=main\n")


def test_a_log_that_cannot_be_written_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    log.configure("json", "info", process="main")

    def broken(_: str) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(sys.stderr, "write", broken)
    structlog.get_logger().info("x")
    logging.getLogger("uvicorn.error").info("x")


@pytest.mark.parametrize(("format", "level"), [("xml", "info"), ("json", "loud"), ("json", "INFO")])
def test_unknown_settings_are_named(format: str, level: str) -> None:  # noqa: A002
    with pytest.raises(SettingsError, match=r"log\."):
        log.configure(format, level, process="main")


def test_a_flood_of_one_event_is_counted_instead_of_logged() -> None:
    clock = Clock()
    flooded = pipeline(clock=clock)

    def warn(event: str) -> dict[str, Any] | None:
        line = flooded.line("warning", event, {}, flood_key=event)
        return json.loads(line) if line is not None else None

    passed = [warn("publish refused") for _ in range(1000)]
    assert sum(line is not None for line in passed) == FLOOD_BURST
    other = warn("another event")
    assert other is not None
    assert "suppressed" not in other
    clock.now_s += 1 / FLOOD_RATE_PER_S
    after = warn("publish refused")
    assert after is not None
    assert after["suppressed"] == 1000 - FLOOD_BURST
    assert warn("publish refused") is None
    clock.now_s += 3600
    assert sum(warn("publish refused") is not None for _ in range(1000)) == FLOOD_BURST


def test_info_is_never_taken_for_a_flood() -> None:
    one = pipeline()
    assert all(one.line("info", "play started", {}, flood_key="play started") for _ in range(5 * FLOOD_BURST))


def test_a_flood_of_different_events_takes_bounded_memory() -> None:
    gate = FloodGate(Clock())
    for number in range(10 * FLOOD_EVENTS_MAX):
        assert gate.admit(f"event {number}") == 0
    assert len(gate._buckets) == FLOOD_EVENTS_MAX


def test_a_flood_from_a_library_is_recognized_by_its_template(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info", process="main")
    for number in range(5 * FLOOD_BURST):
        logging.getLogger("uvicorn.error").warning("Invalid request from %s", number)
    assert len(capsys.readouterr().err.splitlines()) < 2 * FLOOD_BURST


def test_session_ids_are_short_unique_and_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [log.session_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 12 and one.isalnum() and one.isascii() and one == one.lower() for one in ids)
    assert [one[:8] for one in ids] == sorted(one[:8] for one in ids)
    monkeypatch.setattr("time.time_ns", lambda: 2_000_000_000 * 10**9)
    earlier = log.session_id()
    monkeypatch.setattr("time.time_ns", lambda: 2_000_000_000 * 10**9 + 1_000_000)
    assert log.session_id() > earlier


def test_the_log_brings_little_into_a_worker() -> None:
    code = "import sys, headwater.observe.log; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    for heavy in ("sqlalchemy", "starlette", "prometheus_client", "httpx", "uvicorn"):
        assert heavy not in modules
