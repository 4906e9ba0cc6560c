"""Shows what was measured: a table in Markdown, what was wanted and what was found, and the faults."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.cases import Case, Measured
from benchmarks.scenarios import Scenario, ratio


def report(scenario: Scenario, cases: list[Case], *, whole: bool) -> str:
    """A scenario's results. whole: all viewers and publishers were there, so what was wanted can be judged."""
    ran = [case for case in cases if case.windows]
    lines = [f"\n### {scenario.name}: {scenario.title}\n"]
    if ran:
        lines += [_table(ran), ""]
    if ran and whole and ran[0].work == scenario.works[0]:
        for wanted in scenario.wanted:
            figure = wanted.figure(ran)
            if figure is not None:
                verdict = "met" if figure <= wanted.most else "MISSED"
                lines.append(f"- {verdict}: {wanted.what} {figure:.3g}, at most {wanted.most:g}")
    for case in ran:
        lines += [f"- (!) {case.work.name}: {fault}" for fault in dict.fromkeys(_faults(case))]
    lines += [f"- not run: {case.work.name}: {case.skipped.splitlines()[0]}" for case in cases if case.skipped]
    return "\n".join(lines)


def _faults(case: Case) -> list[str]:
    return [fault for window in case.windows for fault in window.faults]


def _table(cases: list[Case]) -> str:
    heads = ["", "rounds", "CPU %", "in the kernel %", "all processes %", "MiB", "kB each", "delay ms p50 / p99", "load CPU %"]
    heads += ["others %", *(f"CPU to {case.work.server.name}" for case in cases[1:])]
    rows = [heads, ["---"] * len(heads)]
    for case in cases:
        peers = [f"{ratio(case, peer):.2f}" if peer is not case else "" for peer in cases[1:]]
        rows.append(
            [
                case.work.name + (" (!)" if _faults(case) else ""),
                str(len(case.windows)),
                f"{case.cpu():.1f}",
                *(
                    f"{case.median(_usage(name)):.1f}"
                    for name in ("worker_system_percent", "tree_cpu_percent", "worker_rss_mib")
                ),
                f"{case.kb_each():.1f}",
                _delays(case),
                f"{case.median(_load_percent):.0f}",
                f"{case.median(_usage('others_percent')):.1f}",
                *peers,
            ]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _usage(name: str) -> Callable[[Measured], float]:
    return lambda window: float(window.usage[name])


def _delays(case: Case) -> str:
    found = [window.viewers["delay_ms"] for window in case.windows if window.viewers.get("delay_ms")]
    if not found:
        return ""
    return " / ".join(f"{sorted(delays[name] for delays in found)[len(found) // 2]:.1f}" for name in ("p50", "p99"))


def _load_percent(window: Measured) -> float:
    """The CPU of what watched and published."""
    own = window.viewers.get("load", {}).get("cpu_percent", [])
    return float(sum(own) + window.viewers.get("load_cpu_percent", 0.0) + window.publishers.get("load_cpu_percent", 0.0))
