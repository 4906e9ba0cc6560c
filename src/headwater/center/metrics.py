"""The center's metrics: what its jobs do, and what they cost."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from headwater.observe.families import Family, Sample

if TYPE_CHECKING:
    from headwater.center.server import CenterServer


def families(center: CenterServer) -> list[Family]:
    """All metrics of the center, labelled by kind of work; for single jobs there is the list of jobs."""
    hosts = center.hosts
    kinds = [department.kind for department in center.departments]
    states: Counter[tuple[str, str]] = Counter()
    frames: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    slowest: dict[str, float] = {}
    for job in hosts.jobs.values():
        state = job.state
        states[job.kind, "waiting" if state is None else state.state] += 1
        if state is not None:
            frames[job.kind] += state.frames
            dropped[job.kind] += state.dropped
            if state.state == "running":
                slowest[job.kind] = min(slowest.get(job.kind, state.speed), state.speed)
    cores: dict[str, float] = dict.fromkeys(kinds, 0.0)
    memory: dict[str, float] = dict.fromkeys(kinds, 0.0)
    processes: Counter[str] = Counter()
    for process in hosts.processes():
        kind = process.department.kind
        cores[kind] += process.cores
        memory[kind] += process.memory_bytes
        processes[kind] += 1
    refused = Counter(refused.reason for refused in center.refused.values())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return [
        Family(
            "headwater_jobs",
            "gauge",
            "Jobs of the center, by kind and state.",
            [
                Sample({"kind": kind, "state": state}, states[kind, state])
                for kind in kinds
                for state in ("waiting", "starting", "running")
            ],
        ),
        _by("headwater_job_processes", "gauge", "Processes that run jobs.", "kind", {kind: processes[kind] for kind in kinds}),
        _by("headwater_job_cores", "gauge", "Cores that jobs use.", "kind", cores),
        _by("headwater_job_resident_bytes", "gauge", "Resident memory of job processes.", "kind", memory),
        _by(
            "headwater_job_frames", "gauge", "Frames made by the jobs that run.", "kind", {kind: frames[kind] for kind in kinds}
        ),
        _by(
            "headwater_job_dropped_frames",
            "gauge",
            "Frames left out by the jobs that run, for lack of time.",
            "kind",
            {kind: dropped[kind] for kind in kinds},
        ),
        _by(
            "headwater_job_slowest_speed",
            "gauge",
            "Speed of the slowest running job, times real time.",
            "kind",
            slowest,
        ),
        _by(
            "headwater_job_restarts",
            "counter",
            "Jobs that failed and were started again.",
            "kind",
            {kind: hosts.restarts.get(kind, 0) for kind in kinds},
        ),
        _by(
            "headwater_job_process_deaths",
            "counter",
            "Job processes that died or were killed with jobs in them.",
            "kind",
            {kind: hosts.deaths.get(kind, 0) for kind in kinds},
        ),
        _by(
            "headwater_renditions_refused",
            "gauge",
            "Renditions that are refused now, by what is short.",
            "reason",
            {reason: refused[reason] for reason in ("quota", "cores")},
        ),
        _by(
            "headwater_rendition_refusals",
            "counter",
            "Refusals of renditions, by what was short.",
            "reason",
            {reason: center.refusals[reason] for reason in ("quota", "cores")},
        ),
        Family(
            "headwater_center_cpu_seconds",
            "counter",
            "CPU time used by the center's own process.",
            [Sample({}, usage.ru_utime + usage.ru_stime)],
        ),
    ]


def _by(name: str, kind: Literal["counter", "gauge"], text: str, label: str, values: Mapping[str, float]) -> Family:
    return Family(name, kind, text, [Sample({label: key}, value) for key, value in values.items()])
