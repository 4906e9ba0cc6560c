"""What is compared, and what the project wants of Headwater in each comparison."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.cases import Case, Work, cpu_of
from benchmarks.servers import Headwater, NginxHls, NginxRtmp, SendLoop, Srs, TwoWorkers

Figure = Callable[[list[Case]], float | None]
"""A figure out of the cases of a scenario, Headwater's first; None if a case that it needs is missing."""


@dataclass(frozen=True)
class Wanted:
    """A figure and its bound."""

    what: str
    figure: Figure
    most: float


@dataclass(frozen=True)
class Scenario:
    """A comparison: the first of `works` is Headwater's, which is compared with the others."""

    name: str
    title: str
    works: list[Work]
    wanted: list[Wanted] = field(default_factory=list)


def ratio(case: Case, peer: Case) -> float:
    """CPU over the peer's: the middle one over the rounds, in each of which both ran one after the other."""
    rounds = zip(case.windows, peer.windows, strict=False)
    return statistics.median([cpu_of(mine) / max(0.01, cpu_of(other)) for mine, other in rounds])


def _to(name: str) -> Figure:
    def figure(cases: list[Case]) -> float | None:
        peer = next((case for case in cases if case.work.server.name == name and case.windows), None)
        return ratio(cases[0], peer) if peer is not None else None

    return figure


def _delay_p99_ms(cases: list[Case]) -> float | None:
    return cases[0].median(lambda window: float(window.viewers["delay_ms"]["p99"]))


def _tls(cases: list[Case]) -> float | None:
    """HTTPS over plain FLV and the cipher."""
    if len(cases) < 2 or not cases[1].windows:
        return None
    rounds = zip(cases[0].windows, cases[1].windows, strict=False)
    costs = [cpu_of(tls) / (cpu_of(plain) + float(tls.more["cipher_percent"])) for tls, plain in rounds]
    return statistics.median(costs)


def _largest_share(cases: list[Case]) -> float | None:
    """The share of the work of the worker that has more of it."""
    return cases[0].median(lambda window: max(window.usage["each_worker_percent"]) / sum(window.usage["each_worker_percent"]))


def _largest_share_of_viewers(cases: list[Case]) -> float | None:
    return cases[0].median(lambda window: max(window.more["viewers_of_workers"]) / sum(window.more["viewers_of_workers"]))


def _first_ms(percentile: str) -> Figure:
    return lambda cases: cases[0].median(lambda window: window.viewers["first_ms"][percentile])


def _kb_each(cases: list[Case]) -> float | None:
    return cases[0].kb_each()


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "flv",
            "3,000 viewers of HTTP-FLV, `standard`",
            [Work(server, "flv", 3000) for server in (Headwater, SendLoop, Srs)],
            [
                Wanted("CPU to send_loop.c's", _to("send_loop.c"), 1.25),
                Wanted("CPU to SRS's", _to("SRS"), 0.3),
                Wanted("kB a viewer", _kb_each, 12),
            ],
        ),
        Scenario(
            "realtime",
            "1,000 viewers of HTTP-FLV, `realtime`",
            [Work(server, "flv", 1000, "realtime") for server in (Headwater, SendLoop)],
            [
                Wanted("CPU to send_loop.c's", _to("send_loop.c"), 1.3),
                Wanted("delay in ms, 99th percentile", _delay_p99_ms, 20),
            ],
        ),
        Scenario(
            "rtmp",
            "3,000 viewers of RTMP, `standard`",
            [Work(server, "rtmp", 3000) for server in (Headwater, Srs, NginxRtmp)],
            [Wanted("CPU to SRS's", _to("SRS"), 0.35), Wanted("CPU to nginx-rtmp's", _to("nginx-rtmp"), 0.2)],
        ),
        Scenario(
            "tls",
            "1,000 viewers of HTTPS-FLV, `standard`",
            [Work(Headwater, "https-flv", 1000, program=True), Work(Headwater, "flv", 1000, program=True)],
            [Wanted("CPU to that of plain FLV and the cipher", _tls, 1.5)],
        ),
        Scenario(
            "publishers",
            "500 publishers",
            [Work(server, "push", 500) for server in (Headwater, Srs)],
            [Wanted("CPU to SRS's", _to("SRS"), 0.8), Wanted("kB a publisher", _kb_each, 3500)],
        ),
        Scenario(
            "hls",
            "2,000 viewers of HLS",
            [Work(server, "hls", 2000, program=True) for server in (Headwater, NginxHls)],
            [Wanted("CPU to nginx's", _to("nginx"), 1.5)],
        ),
        Scenario(
            "workers",
            "3,000 viewers of HTTP-FLV, `standard`, on two workers",
            [Work(server, "flv", 3000) for server in (TwoWorkers, Headwater)],
            [
                Wanted("CPU of both to that of one", _to("Headwater"), 1.15),
                Wanted("share of the busier one", _largest_share, 0.6),
                Wanted("share of viewers of the one with more", _largest_share_of_viewers, 0.6),
            ],
        ),
        Scenario(
            "joins",
            "1,000 joins a second, HTTP-FLV, each stays for a second",
            [Work(Headwater, "joins", 1000, program=True)],
            [
                Wanted("ms to the first frame, median", _first_ms("p50"), 20),
                Wanted("ms to the first frame, 99th percentile", _first_ms("p99"), 100),
            ],
        ),
        Scenario(
            "scaling",
            "how the cost grows",
            [
                *(Work(Headwater, "flv", viewers) for viewers in (300, 1000, 3000)),
                *(Work(Headwater, "push", publishers) for publishers in (50, 150, 500)),
                *(Work(Headwater, "flv", 1000, streams=streams) for streams in (10, 100)),
            ],
        ),
    )
}
