"""CPU and memory of a server's processes over a window of time, from /proc.

python -m benchmarks.measure PID --seconds 10
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold anything; empty if the process is gone (proc(5))."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def tree(pid: int) -> list[int]:
    """The process and all that descend from it, parents first."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found.extend(children.get(each, ()))
    return found


def title(pid: int) -> str:
    """The command line of a process, empty if it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def cpu_s(pid: int) -> tuple[float, float]:
    """CPU time that the process has used, all threads: (in user and kernel mode together, in kernel mode)."""
    stat = _stat(pid)
    return ((int(stat[11]) + int(stat[12])) * TICK_S, int(stat[12]) * TICK_S) if stat else (0.0, 0.0)


def memory_bytes(pid: int) -> tuple[int, int]:
    """(RSS, PSS) of a process: PSS counts a page that n processes share as 1/n."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0
    found = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return found.get("Rss", 0), found.get("Pss", 0)


def busy_s(cpu: int) -> tuple[float, float]:
    """(time that this CPU has worked for anybody, time that the hypervisor took from it)."""
    for line in (PROC / "stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{cpu}":
            user, nice, system, _, _, irq, softirq, steal = (int(field) * TICK_S for field in fields[:8])
            return user + nice + system + irq + softirq, steal
    return 0.0, 0.0


@dataclass(frozen=True)
class Usage:
    """What the processes used in one window.

    worker: the processes that do the media work, together (system: their part in the kernel); each_worker_percent: the CPU of
    each. tree: all processes of the server together (memory as PSS).
    others_percent: work of anybody else on the server's CPU, interrupts included; steal_percent: what the hypervisor took.
    """

    seconds: float
    worker_cpu_percent: float
    worker_system_percent: float
    tree_cpu_percent: float
    worker_rss_mib: float
    worker_pss_mib: float
    tree_pss_mib: float
    others_percent: float
    steal_percent: float
    each_worker_percent: list[float]


class Window:
    """A window of time that begins when it is made."""

    def __init__(self, pid: int, workers: Sequence[int], cpu: int) -> None:
        self._pids, self._workers, self._cpu = tree(pid), workers, cpu
        self._at = time.monotonic()
        self._cpu_s = {each: cpu_s(each) for each in self._pids}
        self._busy = busy_s(cpu)

    def end(self) -> Usage:
        """What was used since the beginning. A process that came or went meanwhile does not count."""
        now = {each: cpu_s(each) for each in self._pids}
        busy, steal = (after - before for after, before in zip(busy_s(self._cpu), self._busy, strict=True))
        seconds = time.monotonic() - self._at
        used = {each: after[0] - self._cpu_s[each][0] for each, after in now.items() if after[0]}
        whole = sum(used.values())
        each = [used.get(worker, 0.0) * 100 / seconds for worker in self._workers]
        system = sum(now[worker][1] - self._cpu_s[worker][1] for worker in self._workers)
        rss, pss = (sum(sizes) for sizes in zip(*map(memory_bytes, self._workers), strict=True))
        return Usage(
            seconds=seconds,
            worker_cpu_percent=sum(each),
            worker_system_percent=system * 100 / seconds,
            tree_cpu_percent=whole * 100 / seconds,
            worker_rss_mib=rss / MIB,
            worker_pss_mib=pss / MIB,
            tree_pss_mib=sum(memory_bytes(each)[1] for each in self._pids) / MIB,
            others_percent=max(0.0, busy - whole) * 100 / seconds,
            steal_percent=steal * 100 / seconds,
            each_worker_percent=each,
        )


def main() -> None:
    """Measure one process tree once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pid", type=int)
    parser.add_argument("--worker", type=int, nargs="+", help="the processes that do the media work (default: PID)")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--cpu", type=int, default=0, help="the CPU on which the server is pinned")
    args = parser.parse_args()
    window = Window(args.pid, args.worker or [args.pid], args.cpu)
    time.sleep(args.seconds)
    for name, value in vars(window.end()).items():
        print(name, value)


if __name__ == "__main__":
    main()
