"""What a finished run says: a table for people, an object for programs, and whether anything was wrong."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headwater.load.faults import MEANINGS
from headwater.load.plan import Plan
from headwater.load.tally import Histogram, Tally

PERCENTILES = (50, 90, 99)

BUSY = 0.9
"""A process that computes so much of its time measures itself rather than the server."""

LATE_MS = 50.0
"""So does one whose timer is so late at the 99th percentile."""


def is_ok(tally: Tally) -> bool:
    """Whether nothing was wrong: no fault, no stall, and every client that was started got what it came for."""
    return bool(tally.started) and tally.begun == tally.started and not tally.faults and not tally.stalls


def seconds_of(tally: Tally) -> float:
    """How long the run took."""
    return max(tally.elapsed_s, default=0.0)


def as_object(plan: Plan, tally: Tally) -> dict[str, Any]:
    """The run as JSON says it; times in ms unless the name says otherwise, None where nothing was measured."""
    seconds = seconds_of(tally)
    return {
        "ok": is_ok(tally),
        "url": plan.url,
        "mode": "view" if plan.clip is None else "publish",
        "clients": plan.clients,
        "processes": plan.processes,
        "seconds": round(seconds, 3),
        "started": tally.started,
        "begun": tally.begun,
        "checked": tally.checked,
        "received_bytes": tally.received_bytes,
        "sent_bytes": tally.sent_bytes,
        "received_mbit_per_s": _mbit_per_s(tally.received_bytes, seconds),
        "sent_mbit_per_s": _mbit_per_s(tally.sent_bytes, seconds),
        "tags": tally.tags,
        "playlists": tally.playlists,
        "segments": tally.segments,
        "first_ms": _times(tally.first_ms),
        "delay_ms": _times(tally.delay_ms),
        "stalls": tally.stalls,
        "stalled_s": round(tally.stalled_s, 3),
        "faults": {
            kind: {"count": sum(texts.values()), "texts": texts}
            for kind in MEANINGS
            if (texts := tally.faults.get(kind)) is not None
        },
        "load": {"cpu_percent": _cpu_percent(tally), "late_ms": _times(tally.late_ms)},
    }


def progress(plan: Plan, tally: Tally) -> str:
    """A running run in one line of markup."""
    seconds = seconds_of(tally)
    rate = _mbit_per_s(tally.received_bytes if plan.clip is None else tally.sent_bytes, seconds)
    text = f"{tally.open} open, {tally.begun} begun, {rate:.0f} Mbit/s"
    if tally.stalled_now:
        text += f", [yellow]{tally.stalled_now} stalled[/yellow]"
    if tally.fault_count:
        text += f", [red]{tally.fault_count} faults[/red]"
    return text


def print_summary(console: Console, plan: Plan, tally: Tally) -> None:
    """The run as a table, with what was wrong below it."""
    viewers = plan.clip is None
    seconds = seconds_of(tally)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    if viewers:
        table.add_row("viewers", f"{tally.begun} of {tally.started} got media, {tally.checked} checked in full")
        table.add_row("received", f"{_amount(tally.received_bytes, seconds)}, {_items(tally)}")
    else:
        table.add_row("publishers", f"{tally.begun} of {tally.started} were accepted")
        table.add_row("sent", f"{_amount(tally.sent_bytes, seconds)}, {tally.tags} tags")
    table.add_row("time", f"{seconds:.1f} s")
    what = "first segment" if tally.segments else "first key frame"
    table.add_row(what if viewers else "accepted after", _spread(tally.first_ms))
    if viewers:
        table.add_row("delay", _spread(tally.delay_ms) if tally.delay_ms.count else "no frame with a clock came")
    table.add_row("stalls", f"{tally.stalls}, {tally.stalled_s:.1f} s in all" if tally.stalls else "none")
    table.add_row("this program", _own_cost(tally))
    console.print(table)
    for kind, meaning in MEANINGS.items():
        if (texts := tally.faults.get(kind)) is not None:
            console.print(f"[red]{kind}[/red] {sum(texts.values())}: {meaning}", highlight=False)
            for text, count in sorted(texts.items(), key=lambda item: -item[1]):
                console.print(f"  {count} x {escape(text)}", highlight=False)
    for note in _notes(tally):
        console.print(f"[yellow]note[/yellow] {note}", highlight=False)
    console.print("[green]all well[/green]" if is_ok(tally) else "[red]something was wrong[/red]")


def _notes(tally: Tally) -> list[str]:
    """What does not make a run wrong, but its figures doubtful."""
    notes = []
    late_ms = tally.late_ms.percentile(99) or 0.0
    if late_ms > LATE_MS or any(percent > 100 * BUSY for percent in _cpu_percent(tally)):
        notes.append("this program did not keep up, so its times are too long: use more --processes, or another machine")
    if tally.delay_ms.count and tally.delay_ms.least_ms < 0:
        notes.append("frames came before they were sent: the clocks of publisher and viewer disagree")
    return notes


def _mbit_per_s(amount_bytes: int, seconds: float) -> float:
    return round(amount_bytes * 8 / 1e6 / seconds, 3) if seconds else 0.0


def _amount(amount_bytes: int, seconds: float) -> str:
    return f"{amount_bytes / 1e6:.1f} MB, {_mbit_per_s(amount_bytes, seconds):.1f} Mbit/s"


def _items(tally: Tally) -> str:
    if tally.playlists:
        return f"{tally.playlists} playlists, {tally.segments} segments"
    return f"{tally.tags} tags"


def _cpu_percent(tally: Tally) -> list[float]:
    return [round(100 * cpu / elapsed, 1) for cpu, elapsed in zip(tally.cpu_s, tally.elapsed_s, strict=True) if elapsed]


def _own_cost(tally: Tally) -> str:
    busy = ", ".join(f"{percent:.0f} %" for percent in _cpu_percent(tally))
    return f"CPU {busy}; its timers were late by {tally.late_ms.percentile(99) or 0:.1f} ms at the 99th percentile"


def _times(histogram: Histogram) -> dict[str, float] | None:
    if not histogram.count:
        return None
    found: dict[str, float] = {"count": histogram.count, "min": round(histogram.least_ms, 3)}
    for percent in PERCENTILES:
        found[f"p{percent}"] = round(histogram.percentile(percent) or 0.0, 3)
    return {**found, "max": round(histogram.most_ms, 3)}


def _spread(histogram: Histogram) -> str:
    times = _times(histogram)
    if times is None:
        return "none"
    return ", ".join(f"{name} {times[name]:.1f}" for name in ("min", "p50", "p90", "p99", "max")) + " ms"
