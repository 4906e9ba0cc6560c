"""One server doing one piece of work: starts it and its load, and measures a window."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks import clip
from benchmarks.load import Load, Program, pin
from benchmarks.measure import MIB, Window, memory_bytes
from benchmarks.servers import FLUSH_MS, Headwater, Profile, Server

Watching = Literal["flv", "rtmp", "https-flv", "hls", "joins", "push"]
"""What the many do; with push there are only publishers."""

# Beyond these, a server has not done the work, or the load could not make it; its figures are marked.
SLACK_S = 1.0  # two flushes and a key frame: by so much a window may cut off more at its end than it gained at its start
LOAD_CPU_MAX_PERCENT = 95.0

START_S = 200.0
SPARE_S = 60.0
CHECK_S = 4.0
CHECKED_STREAMS = 5
CHECKED_VIEWERS = 16
RING_S = 22.0
"""Headwater keeps 20 s of each stream: before, its memory with publishers still grows."""

REST_MS = {"standard": 40.0, "realtime": 0.0}
"""Viewers rest so long between reads: frames that come 350 ms late need not each be read by itself."""

JOIN_EVERY_S, STAY_S = 0.001, 1.0
"""`joins`: a thousand a second, who stay for a second each."""

CIPHER = "aes-256-gcm"
"""What OpenSSL's client and server agree on by themselves with TLS 1.3."""

RECORD_BYTES = 16_384


@dataclass(frozen=True)
class Options:
    """How to measure."""

    window_s: float
    warmup_s: float
    share: float
    server_cpu: int
    load_cpu: int


@dataclass(frozen=True)
class Work:
    """What one server is to do.

    program: `headwater load` watches, which takes everything apart, instead of the light viewers.
    """

    server: type[Server]
    watching: Watching
    count: int
    profile: Profile = "standard"
    streams: int = 1
    program: bool = False

    @property
    def name(self) -> str:
        """For the table."""
        streams = f", {self.streams} streams" if self.streams > 1 else ""
        return f"{self.server.name}, {self.count:,} {LABELS[self.watching]}{streams}"


LABELS = {
    "flv": "HTTP-FLV",
    "rtmp": "RTMP",
    "https-flv": "HTTPS-FLV",
    "hls": "HLS",
    "joins": "joins a second",
    "push": "publishers",
}


@dataclass(frozen=True)
class Measured:
    """One window: what the server used (measure.Usage), what the load saw, and why the figures cannot be taken as they are."""

    usage: dict[str, Any]
    viewers: dict[str, Any]
    publishers: dict[str, Any]
    memory_before_mib: float
    more: dict[str, Any]
    faults: list[str]


@dataclass
class Case:
    """A piece of work and its windows, one for each round."""

    work: Work
    windows: list[Measured] = field(default_factory=list)
    skipped: str = ""

    def median(self, value: Callable[[Measured], float]) -> float:
        """The middle one over all windows."""
        return float(statistics.median(map(value, self.windows)))

    def cpu(self) -> float:
        """The middle CPU of the workers, in percent of one CPU."""
        return self.median(cpu_of)

    def kb_each(self) -> float:
        """Memory in thousands of bytes that the workers took for each viewer or publisher."""
        grown_mib = self.median(lambda window: window.usage["worker_rss_mib"] - window.memory_before_mib)
        return grown_mib * MIB / 1000 / self.work.count

    def add_to(self, kept: dict[str, Any]) -> None:
        """Put the windows to those that are kept."""
        mine = kept.setdefault(self.work.name, {"windows": [], "skipped": ""})
        mine["windows"] += [dataclasses.asdict(window) for window in self.windows]
        mine["skipped"] = "" if mine["windows"] else self.skipped

    @classmethod
    def of(cls, work: Work, kept: dict[str, Any]) -> Case:
        """The case as it was kept."""
        return cls(work, [Measured(**window) for window in kept["windows"]], kept["skipped"])


def cpu_of(window: Measured) -> float:
    """The CPU of the workers."""
    return float(window.usage["worker_cpu_percent"])


def measure(work: Work, options: Options) -> list[Measured]:
    """Start the server and its load once and measure a window. Raises Unavailable and LoadError."""
    count = max(1, round(work.count * options.share))
    with work.server(work.profile, options.server_cpu, options.load_cpu) as server, contextlib.ExitStack() as loads:
        life = ["--seconds", str(START_S + RING_S + options.warmup_s + options.window_s + SPARE_S)]

        def start(module: str, url: str, number: int, *more: str) -> Load:
            load = Load(module, ["--url", url, "--count", str(number), *life, *more], options.load_cpu, START_S)
            loads.callback(load.stop)
            return load

        before_mib = _rss_mib(server.workers)
        publishers = start("publishers", server.push_url(), count if work.watching == "push" else work.streams)
        if work.watching == "push":
            time.sleep(RING_S)
            viewers: Load | Program | None = None
        else:
            time.sleep(1.0)  # so that there is a key frame to start from
            server.prepare()
            before_mib = _rss_mib(server.workers)
            url = server.play_url("flv" if work.watching == "joins" else work.watching)
            if work.program:
                viewers = _program(work, url, count, options)
                loads.callback(viewers.close)
            else:
                rest = ("--rest-ms", str(REST_MS[work.profile]))
                sample = ("--streams", str(work.streams), "--sample", str(CHECKED_VIEWERS))
                viewers = start("viewers", url, count, *sample, *rest)
        time.sleep(options.warmup_s if work.watching != "joins" else STAY_S)
        for load in (viewers, publishers):
            if isinstance(load, Load):
                load.report()
        window = Window(server.pid, server.workers, options.server_cpu)
        time.sleep(options.window_s)
        usage = dataclasses.asdict(window.end())
        seen = viewers.report() if isinstance(viewers, Load) else {}
        sent = publishers.report()
        found = faults(work, seen, sent)
        more: dict[str, Any] = {}
        if isinstance(server, Headwater) and server.worker_count > 1:
            more["viewers_of_workers"] = server.viewers_of_workers()
        if work.watching == "https-flv":
            flush_s = FLUSH_MS[work.profile] / 1000
            more["cipher_percent"] = cipher_percent(clip.load().bytes_per_s * flush_s, count / flush_s, options.server_cpu)
        if isinstance(viewers, Program):
            seen = viewers.result()
            found += [f"{kind}: {fault['count']} times, {next(iter(fault['texts']))}" for kind, fault in seen["faults"].items()]
        if work.watching == "push":  # outside of the window: are the streams really there?
            protocol, streams = server.protocols[0], min(CHECKED_STREAMS, count)
            checked = start("viewers", server.play_url(protocol), streams, "--streams", str(streams), "--sample", str(streams))
            time.sleep(CHECK_S)
            found += faults(work, checked.report(), {})
        return [Measured(usage, seen, sent, before_mib, more, found)]


def _program(work: Work, url: str, count: int, options: Options) -> Program:
    if work.watching == "joins":
        joins = ["-s", str(JOIN_EVERY_S / options.share), "--stay", str(STAY_S), "-t", "0"]
        number = round((options.window_s + 3 * STAY_S) * count)
        return Program(url.replace("{n}", "0"), number, *joins, cpu=options.load_cpu)
    program = Program(url.replace("{n}", "0"), count, "-t", "0", "-s", "0.002", cpu=options.load_cpu)
    time.sleep(2.0 + count * 0.002)
    return program


def _rss_mib(pids: Sequence[int]) -> float:
    return sum(memory_bytes(pid)[0] for pid in pids) / MIB


def faults(work: Work, seen: dict[str, Any], sent: dict[str, Any]) -> list[str]:
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
        if work.watching != "push" and seen["bytes_per_viewer"]["min"] < checked["bytes_per_viewer"] * share:
            found.append(f"one viewer got {seen['bytes_per_viewer']['min'] / checked['bytes_per_viewer']:.0%} of the bytes")
        if seen["load_cpu_percent"] > LOAD_CPU_MAX_PERCENT:
            found.append("the viewers' CPU was full")
    return found


def cipher_percent(batch_bytes: float, batches_per_s: float, cpu: int) -> float:
    """What `openssl speed` says that so many batches cost to encrypt as TLS records, in percent of one CPU."""
    full, rest = divmod(round(batch_bytes), RECORD_BYTES)
    return sum(
        number * size * batches_per_s / _encrypted_bytes_per_s(size, cpu) * 100
        for number, size in ((full, RECORD_BYTES), (1, rest))
        if number and size
    )


def _encrypted_bytes_per_s(record_bytes: int, cpu: int) -> float:
    said = subprocess.run(
        ["openssl", "speed", "-mr", "-aead", "-seconds", "2", "-bytes", str(record_bytes), "-evp", CIPHER],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=pin(cpu),
    ).stdout
    found = re.search(r"^\+F:\d+:[^:]+:([\d.]+)", said, re.MULTILINE)
    if found is None:
        raise subprocess.SubprocessError(f"openssl speed said nothing of {CIPHER}: {said}")
    return float(found[1])
