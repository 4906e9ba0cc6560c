"""Runs the comparisons and prints them as a table with the ratios to the peers of the same run.

    python -m benchmarks.run standard       3,000 viewers, a flush each 350 ms
    python -m benchmarks.run realtime       1,000 viewers, each tag by itself
    python -m benchmarks.run publishers     100 publishers
    python -m benchmarks.run all

Every server is started afresh on one CPU, the load runs on another, and everything stays on 127.0.0.1. Servers take turns,
round by round, so that a machine which grows slower does so for all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import clip
from benchmarks.load import HOME, Load, LoadError, raise_file_limit
from benchmarks.measure import MIB, Usage, Window
from benchmarks.servers import ALL, FLUSH_MS, Profile, Server, Unavailable

COUNTS = {"standard": 3000, "realtime": 1000, "publishers": 100}
"""The scenarios, with how many viewers or publishers they are about."""

# What the project wants of Headwater.
CPU_TO_SEND_LOOP_MAX = 1.3
WORKER_MB_MAX = 60.0  # MB: a million bytes
PUSH_MS_PER_S_MAX = 1.0

# Beyond these, a server has not done the work, or the load could not make it; its figures are marked.
SLACK_S = 1.0  # two flushes and a key frame: by so much a window may cut off more at its end than it gained at its start
LOAD_CPU_MAX_PERCENT = 95.0

START_S = 120.0
SPARE_S = 60.0
CHECK_S = 4.0
CHECKED_STREAMS = 5


@dataclass(frozen=True)
class Measured:
    """One window: what the server used and what the load saw of its work."""

    usage: Usage
    viewers: dict[str, Any]
    publishers: dict[str, Any]


@dataclass
class Case:
    """One server doing one thing."""

    server: type[Server]
    profile: Profile
    protocol: str  # flv, rtmp: viewers; push: publishers
    count: int
    windows: list[Measured] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    skipped: str = ""

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.server.name} {'RTMP in' if self.protocol == 'push' else self.protocol.upper()}"

    def median(self, value: str) -> float:
        """The median over all windows of one value of `Usage`."""
        return float(statistics.median(getattr(window.usage, value) for window in self.windows))

    def load_median(self, load: str, value: str) -> float:
        """The median over all windows of one value that the viewers or publishers reported."""
        return float(statistics.median(getattr(window, load).get(value, 0.0) for window in self.windows))


def cases(scenario: str, options: argparse.Namespace) -> list[Case]:
    """What a scenario compares."""
    wanted = [server for server in ALL if not options.only or server.name.lower() in options.only]
    if scenario == "publishers":
        return [Case(server, "standard", "push", options.publishers) for server in wanted if server.takes]
    profile: Profile = "realtime" if scenario == "realtime" else "standard"
    count = options.viewers or COUNTS[scenario]
    return [
        Case(server, profile, protocol, count)
        for protocol in ("flv", "rtmp")
        for server in wanted
        if protocol in server.protocols and protocol in options.protocols
    ]


def measure_case(case: Case, options: argparse.Namespace) -> None:
    """Start the server and its load once and measure some windows. Raises Unavailable and LoadError."""
    life_s = START_S + options.warmup + options.windows * options.window + CHECK_S + SPARE_S
    limits = ["--seconds", str(life_s)]
    with case.server(case.profile, options.server_cpu) as server, contextlib.ExitStack() as loads:

        def start(module: str, url: str, count: int, *more: str) -> Load:
            load = Load(module, ["--url", url, "--count", str(count), *limits, *more], options.load_cpu, START_S)
            loads.callback(load.stop)
            return load

        publishers = viewers = None
        if server.takes:
            count = case.count if case.protocol == "push" else 1
            publishers = start("publishers", server.push_url(), count, "--tick-ms", str(options.tick_ms))
        if case.protocol != "push":
            time.sleep(1.0)  # so that there is a key frame to start from
            viewers = start("viewers", server.play_url(case.protocol), case.count)
        time.sleep(options.warmup)
        for load in (viewers, publishers):
            if load is not None:
                load.report()
        for _ in range(options.windows):
            window = Window(server.pid, server.worker, options.server_cpu)
            time.sleep(options.window)
            usage = window.end()
            seen = viewers.report() if viewers else {}
            sent = publishers.report() if publishers else {}
            case.windows.append(Measured(usage, seen, sent))
            case.faults += faults(case, seen, sent)
        if case.protocol == "push":  # outside of the windows: are the streams really there?
            protocol, streams = server.protocols[-1], min(CHECKED_STREAMS, case.count)
            viewers = start("viewers", server.play_url(protocol), streams, "--streams", str(streams), "--sample", str(streams))
            time.sleep(CHECK_S)
            case.faults += faults(case, viewers.report(), {})


def faults(case: Case, seen: dict[str, Any], sent: dict[str, Any]) -> list[str]:
    """Why the figures of a window cannot be taken as they are."""
    found = []
    if sent:
        if sent["alive"] < sent["publishers"]:
            found.append(f"{sent['publishers'] - sent['alive']} publishers were lost")
        if sent["load_cpu_percent"] > LOAD_CPU_MAX_PERCENT:
            found.append("the publishers' CPU was full")
    if seen:
        checked, share = seen["checked"], 1 - SLACK_S / seen["seconds"]
        if seen["alive"] < seen["viewers"]:
            found.append(f"{seen['viewers'] - seen['alive']} viewers were lost or refused: {seen['reasons']}")
        if checked["missing"] or checked["broken"]:
            found.append(f"checked viewers: {checked['missing']} tags missing, {checked['broken']} broken")
        if checked["tags"] < clip.load().tags_per_s * seen["seconds"] * checked["viewers"] * share:
            found.append(f"checked viewers got {checked['tags'] / checked['viewers'] / seen['seconds']:.1f} tags a second")
        if case.protocol != "push" and seen["bytes_per_viewer"]["min"] < checked["bytes_per_viewer"] * share:
            found.append(f"one viewer got {seen['bytes_per_viewer']['min'] / checked['bytes_per_viewer']:.0%} of the bytes")
        if seen["load_cpu_percent"] > LOAD_CPU_MAX_PERCENT:
            found.append("the viewers' CPU was full")
    return found


def compare(scenario: str, options: argparse.Namespace) -> list[Case]:
    """Measure every case of a scenario, round by round."""
    found = cases(scenario, options)
    for number in range(options.rounds):
        for case in found:
            if case.skipped:
                continue
            print(f"{scenario}: {case.name}, {case.count}, round {number + 1} of {options.rounds} …", file=sys.stderr)
            try:
                measure_case(case, options)
            except Unavailable as error:
                case.skipped = str(error)
            except (LoadError, subprocess.SubprocessError) as error:
                case.skipped = f"{case.name}: {error}"
            if case.skipped:
                print(f"  skipped: {case.skipped}", file=sys.stderr)
    return found


def ratio(case: Case, peers: list[Case], name: str) -> str:
    """The CPU of the case's worker over that of a peer in the same run."""
    for peer in peers:
        if peer.windows and peer.server.name == name and peer is not case:
            return f"{case.median('worker_cpu_percent') / max(0.01, peer.median('worker_cpu_percent')):.2f}"
    return "-"


def table(scenario: str, found: list[Case]) -> str:
    """The scenario as a table in Markdown."""
    ran = [case for case in found if case.windows]
    push = scenario == "publishers"
    peers = ["nginx-rtmp", "SRS"] if push else ["send_loop.c", "send_loop.py", "nginx-rtmp", "SRS"]
    peers = [name for name in peers if any(case.server.name == name for case in ran)]
    head = [
        "server",
        "count",
        "worker CPU %",
        "in the kernel %",
        "all CPU %",
        "worker RSS MiB",
        "worker PSS MiB",
        "all PSS MiB",
    ]
    head += ["ms per stream-second"] if push else ["Mbit/s a viewer"]
    head += [f"CPU / {name}" for name in peers] + ["load CPU %", "others %"]
    rows = []
    for case in ran:
        cpu = case.median("worker_cpu_percent")
        rate = statistics.median(
            window.viewers["bytes_per_viewer"]["median"] * 8e-6 / window.viewers["seconds"] if window.viewers else 0.0
            for window in case.windows
        )
        load_cpu = case.load_median("viewers", "load_cpu_percent") + case.load_median("publishers", "load_cpu_percent")
        rows.append(
            [
                case.name + (" (!)" if case.faults else ""),
                f"{case.count:,}",
                f"{cpu:.1f}",
                f"{case.median('worker_system_percent'):.1f}",
                f"{case.median('tree_cpu_percent'):.1f}",
                f"{case.median('worker_rss_mib'):.1f}",
                f"{case.median('worker_pss_mib'):.1f}",
                f"{case.median('tree_pss_mib'):.1f}",
                f"{cpu * 10 / case.count:.3f}" if push else f"{rate:.3f}",
                *(ratio(case, ran, name) for name in peers),
                f"{load_cpu:.0f}",
                f"{case.median('others_percent'):.0f}",
            ]
        )
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def targets(scenario: str, found: list[Case]) -> list[str]:
    """What was wanted of Headwater and what was found; with fewer viewers or publishers than it is about, nothing."""

    def verdict(what: str, value: float, most: float) -> str:
        return f"{'met' if value <= most else 'MISSED'}: {what} {value:.2f}, at most {most:g}"

    by_name = {case.name: case for case in found if case.windows and case.count >= COUNTS[scenario]}
    lines = []
    if scenario == "standard" and "Headwater FLV" in by_name:
        own = by_name["Headwater FLV"]
        if "send_loop.c FLV" in by_name:
            limit = by_name["send_loop.c FLV"].median("worker_cpu_percent")
            lines.append(
                verdict("CPU of the worker to send_loop.c's", own.median("worker_cpu_percent") / limit, CPU_TO_SEND_LOOP_MAX)
            )
        if "send_loop.py FLV" in by_name:
            limit = by_name["send_loop.py FLV"].median("worker_cpu_percent")
            lines.append(
                verdict("CPU of the worker to send_loop.py's", own.median("worker_cpu_percent") / limit, CPU_TO_SEND_LOOP_MAX)
            )
        lines.append(verdict("MB (RSS) of the worker", own.median("worker_rss_mib") * MIB / 1e6, WORKER_MB_MAX))
    if scenario == "publishers" and "Headwater RTMP in" in by_name:
        own = by_name["Headwater RTMP in"]
        lines.append(verdict("ms a second and stream", own.median("worker_cpu_percent") * 10 / own.count, PUSH_MS_PER_S_MAX))
    return lines


def as_json(case: Case) -> dict[str, Any]:
    """A case with all of its windows."""
    return {
        "server": case.server.name,
        "protocol": case.protocol,
        "flush_ms": FLUSH_MS[case.profile],
        "count": case.count,
        "skipped": case.skipped,
        "faults": case.faults,
        "medians": {each.name: case.median(each.name) for each in dataclasses.fields(Usage)} if case.windows else {},
        "windows": [dataclasses.asdict(window) for window in case.windows],
    }


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
    parser.add_argument("scenario", choices=(*COUNTS, "all"))
    parser.add_argument("--viewers", type=int, help="default: 3000 at standard, 1000 at realtime")
    parser.add_argument("--publishers", type=int, default=COUNTS["publishers"])
    parser.add_argument("--protocols", nargs="+", choices=("flv", "rtmp"), default=["flv", "rtmp"], help="of the viewers")
    parser.add_argument("--only", nargs="+", type=str.lower, help=f"of {', '.join(server.name for server in ALL)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each server is started")
    parser.add_argument("--windows", type=int, default=2, help="windows measured in each round")
    parser.add_argument("--window", type=float, default=10, help="seconds of a window")
    parser.add_argument("--warmup", type=float, default=8, help="seconds between the last connection and the first window")
    parser.add_argument(
        "--tick-ms", type=float, default=0, help="publishers write at common ticks (default: each tag at its own time)"
    )
    parser.add_argument("--server-cpu", type=int, default=0)
    parser.add_argument("--load-cpu", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write everything into this file")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0) & {options.server_cpu, options.load_cpu}) < 2:
        parser.error("--server-cpu and --load-cpu must be two CPUs of this machine")
    raise_file_limit()
    clip.path()
    where = machine()
    print(f"{where['cpu']}, {where['cpus']} CPUs, Linux {where['kernel']}, Python {where['python']}, commit {where['commit']}")
    result: dict[str, Any] = {"machine": where, "scenarios": {}}
    for scenario in COUNTS if options.scenario == "all" else (options.scenario,):
        found = compare(scenario, options)
        result["scenarios"][scenario] = [as_json(case) for case in found]
        print(f"\n### {scenario}\n\n{table(scenario, found)}\n")
        for line in targets(scenario, found):
            print(f"- {line}")
        for case in found:
            for fault in dict.fromkeys(case.faults):
                print(f"- (!) {case.name}: {fault}")
        for reason in dict.fromkeys(case.skipped.splitlines()[0] for case in found if case.skipped):
            print(f"- not run: {reason}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
