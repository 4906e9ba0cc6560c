"""Runs the comparisons and prints them as tables with the ratios to the peers of the same run.

    python -m benchmarks.run flv            3,000 viewers of HTTP-FLV, a flush each 350 ms
    python -m benchmarks.run flv rtmp hls   several; --help lists all

Every server is started afresh on one CPU, the load runs on another, and everything stays on 127.0.0.1. Servers take turns,
round by round, so that a machine which grows slower does so for all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import clip
from benchmarks.cases import Case, Measured, Options, measure
from benchmarks.load import HOME, LoadError, raise_file_limit
from benchmarks.report import report
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.servers import ALL, Unavailable


def compare(scenario: Scenario, options: Options, rounds: int, only: list[str] | None) -> list[Case]:
    """Measure every case of a scenario, round by round."""
    found = [Case(work) for work in scenario.works if not only or work.server.name.lower() in only]
    for number in range(rounds):
        for case in found:
            if case.skipped:
                continue
            began = time.monotonic()
            try:
                case.windows += measure(case.work, options)
            except (Unavailable, LoadError, subprocess.SubprocessError) as error:
                case.skipped = str(error)
            said = f"skipped: {case.skipped}" if case.skipped else _said(case.windows[-1])
            took_s = time.monotonic() - began
            print(
                f"{scenario.name} {number + 1}/{rounds}: {case.work.name}: {said} ({took_s:.0f} s)", file=sys.stderr, flush=True
            )
    return found


def _said(window: Measured) -> str:
    faults = f"; (!) {'; '.join(window.faults)}" if window.faults else ""
    return f"CPU {window.usage['worker_cpu_percent']:.1f} %, others {window.usage['others_percent']:.1f} %{faults}"


def machine() -> dict[str, Any]:
    """Where this ran."""
    model = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HOME, check=False)
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit.stdout.strip(),
        "cpu": model[0] if model else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "scenarios", nargs="+", choices=(*SCENARIOS, "all"), metavar="scenario", help=", ".join((*SCENARIOS, "all"))
    )
    parser.add_argument("--only", nargs="+", type=str.lower, help=f"of {', '.join(server.name for server in ALL)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each server is started")
    parser.add_argument("--window", type=float, default=10, help="seconds of a window")
    parser.add_argument("--warmup", type=float, default=6, help="seconds between the last connection and the window")
    parser.add_argument("--share", type=float, default=1, help="so much of the viewers and publishers: whether it works")
    parser.add_argument("--server-cpu", type=int, default=0)
    parser.add_argument("--load-cpu", type=int, default=1)
    parser.add_argument("--json", type=Path, help="add everything to what this file holds, and show both together")
    args = parser.parse_args()
    if len(os.sched_getaffinity(0) & {args.server_cpu, args.load_cpu}) < 2:
        parser.error("--server-cpu and --load-cpu must be two CPUs of this machine")
    options = Options(args.window, args.warmup, args.share, args.server_cpu, args.load_cpu)
    raise_file_limit()
    clip.path()
    kept: dict[str, Any] = {"machine": machine(), "scenarios": {}}
    if args.json and args.json.exists():
        kept = json.loads(args.json.read_text()) | {"machine": kept["machine"]}
    where = kept["machine"]
    print(f"{where['cpu']}, {where['cpus']} CPUs, Linux {where['kernel']}, Python {where['python']}, commit {where['commit']}")
    for name in SCENARIOS if "all" in args.scenarios else args.scenarios:
        scenario = SCENARIOS[name]
        found = compare(scenario, options, args.rounds, args.only)
        before = kept["scenarios"].setdefault(name, {})
        for case in found:
            case.add_to(before)
        if args.json:
            args.json.parent.mkdir(exist_ok=True)
            args.json.write_text(json.dumps(kept, indent=1) + "\n")
        known = [Case.of(work, before[work.name]) for work in scenario.works if work.name in before]
        print(report(scenario, known, whole=args.share >= 1))


if __name__ == "__main__":
    main()
