"""A domain's usage: bandwidth over time and traffic, as a chart and as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from starlette.responses import Response

from headwater.console.pages.domain import page, shown_domain
from headwater.console.visit import Visit

SPANS: Final = {"1d": (86400, 300), "7d": (7 * 86400, 3600), "30d": (30 * 86400, 3600), "90d": (90 * 86400, 86400)}
"""Seconds of each span on offer, and of its points."""

WIDTH, HEIGHT = 960, 240
"""The chart's own coordinates; the style sheet scales it."""


@dataclass(frozen=True)
class Chart:
    """A curve. line, area: paths of SVG. levels: y and value of the lines behind it. ticks: x and time below it."""

    line: str
    area: str
    levels: list[tuple[float, float]]
    ticks: list[tuple[float, float]]


async def show(visit: Visit) -> Response:
    """The usage of the last day, week, month or quarter."""
    account, domain = await shown_domain(visit)
    span = visit.query.get("span")
    span = span if span in SPANS else "1d"
    length_s, interval_s = SPANS[span]
    side: Literal["ingest", "streaming"] = "ingest" if domain.type == "liveEdge" else "streaming"
    usage = visit.services.usage
    end_s = usage.now_s
    points = await usage.series(account, side, [domain.name], end_s - length_s, end_s, interval_s)
    rates = [(point.start_s, float(point.in_bps if side == "ingest" else point.out_bps)) for point in points]
    sizes = [point.traffic.bytes_in if side == "ingest" else point.traffic.bytes_out for point in points]
    return await page(
        visit,
        "usage.html",
        account,
        domain,
        span=span,
        spans=SPANS,
        chart=chart(rates) if any(sizes) else None,
        size=(WIDTH, HEIGHT),
        total=sum(sizes),
        peak=max(rates, key=lambda rate: rate[1], default=(0, 0.0)),
        rows=[(start, bps, size) for (start, bps), size in zip(rates, sizes, strict=True) if size][::-1],
    )


def chart(points: list[tuple[int, float]]) -> Chart:
    """The curve of some values over time."""
    top = nice(max(value for _, value in points))
    step = WIDTH / max(len(points) - 1, 1)
    places = [(index * step, HEIGHT - value / top * HEIGHT) for index, (_, value) in enumerate(points)]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    ticks = range(0, len(points), max(len(points) // 6, 1))
    return Chart(
        line=line,
        area=f"{line}L{places[-1][0]:.1f} {HEIGHT}L0 {HEIGHT}Z",
        levels=[(HEIGHT - part / 4 * HEIGHT, top * part / 4) for part in range(1, 5)],
        ticks=[(index * step, points[index][0]) for index in ticks],
    )


def nice(value: float) -> float:
    """The next round number, for the top of a chart."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(factor * unit for factor in (1, 2, 4, 8, 10) if value <= factor * unit * (1 + 1e-9))
