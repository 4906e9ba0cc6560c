"""Usage: what each domain received and sent, recorded in points of five minutes and told as series and as daily peaks."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import BigInteger, cast, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.policy import DomainType
from headwater.domains.errors import error
from headwater.domains.owned import owned_domain
from headwater.observe.traffic import Traffic
from headwater.settings import Usage
from headwater.store.database import Database, insert_of
from headwater.store.models import Domain, UsagePoint

POINT_S = 300
"""Length of a recorded point (reference control-plane 7.2: the finest Interval on offer)."""
DAY_S = 86400
INTERVALS_S = (POINT_S, 3600, DAY_S)
"""The intervals on offer (reference control-plane 7.2)."""
HISTORY_SPAN_S = 90 * DAY_S
"""The longest span of one question, as far back as the service's own history reaches (reference control-plane 7.2)."""
DOMAINS_PER_QUESTION = 500
"""Domains whose series one question may merge by name; without names it merges all of the account's."""
NAMES_AT_ONCE = 500
"""Names looked up by one SELECT: SQLite takes 32,766 parameters in a statement, older ones 999."""
PURGE_INTERVAL_S = 3600.0

Side = Literal["ingest", "streaming"]
_TYPES: dict[Side, DomainType] = {"ingest": "liveEdge", "streaming": "liveVideo"}


class SeriesPoint(msgspec.Struct, frozen=True):
    """One interval of a series: its traffic, and its bit rates (the average at 300 s, else the peak of the 300 s points)."""

    start_s: int
    traffic: Traffic
    in_bps: int
    out_bps: int
    out_plain_bps: int
    out_tls_bps: int


class DailyPeak(msgspec.Struct, frozen=True):
    """The highest bandwidth of one UTC day, both directions together. start_s: unix time of its first second."""

    start_s: int
    bps: int


class UsageService:
    """Records usage and answers questions about it. Methods raise DomainError for what they refuse."""

    def __init__(self, database: Database, settings: Usage, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock

    @property
    def now_s(self) -> float:
        """What the service's clock says, in unix seconds."""
        return self._clock()

    # Questions

    async def series(
        self,
        account_id: str,
        side: Side,
        domains: Sequence[str],
        start_s: float,
        end_s: float,
        interval_s: int = POINT_S,
    ) -> list[SeriesPoint]:
        """The usage of some domains together, or of all the account's domains of one side, without gaps.

        Intervals are aligned to UTC; the first one holds start_s. Raises ValueError for an interval that is not on offer,
        InvalidEndTime.Mismatch, InvalidTimeSpan (longer than 90 days), DomainNameOverLimit, IllegalOperation for a domain of
        the other side, and as `owned_domain`.
        """
        if interval_s not in INTERVALS_S:
            raise ValueError(f"interval {interval_s} is none of {INTERVALS_S}")
        if end_s <= start_s:
            raise error("InvalidEndTime.Mismatch")
        if end_s - start_s > HISTORY_SPAN_S:
            raise error("InvalidTimeSpan")
        if len(domains) > DOMAINS_PER_QUESTION:
            raise error("DomainNameOverLimit")
        first = int(start_s) // interval_s * interval_s
        async with self._database.read() as session:
            where = await self._of(session, account_id, side, domains)
            rows = await session.execute(
                select(
                    UsagePoint.start_s,
                    func.sum(UsagePoint.bytes_in),
                    func.sum(UsagePoint.bytes_out),
                    func.sum(UsagePoint.bytes_out_tls),
                )
                .where(*where, UsagePoint.start_s >= first, UsagePoint.start_s < end_s)
                .group_by(UsagePoint.start_s)
            )
            points = {start: Traffic(int(received), int(sent), int(sent_tls)) for start, received, sent, sent_tls in rows}
        return merge(points, first, end_s, interval_s)

    async def daily_peaks(self, account_id: str, days: int) -> list[DailyPeak]:
        """The daily peaks of all of an account's domains together on the last whole UTC days, oldest first.

        days: how many; those without traffic count, with a peak of 0.
        """
        today = int(self._clock()) // DAY_S * DAY_S
        first = today - days * DAY_S
        together = (
            select(UsagePoint.start_s, func.sum(UsagePoint.bytes_in + UsagePoint.bytes_out).label("bytes"))
            .join(Domain, Domain.name == UsagePoint.domain)
            .where(Domain.account == account_id, UsagePoint.start_s >= first, UsagePoint.start_s < today)
            .group_by(UsagePoint.start_s)
            .subquery()
        )
        day = together.c.start_s - together.c.start_s % DAY_S
        async with self._database.read() as session:
            rows = await session.execute(select(day, cast(func.max(together.c.bytes), BigInteger)).group_by(day))
            peaks = {start: int(size) * 8 // POINT_S for start, size in rows}
        return [DailyPeak(start, peaks.get(start, 0)) for start in range(first, today, DAY_S)]

    async def average_daily_peak_mbps(self, account_id: str, days: int = 30) -> float:
        """The average of the last whole days' peaks in Mbit/s: what decides whether an account may ask for a higher quota.

        Reference control-plane 3.2. A day without traffic counts as 0.
        """
        peaks = await self.daily_peaks(account_id, days)
        return sum(peak.bps for peak in peaks) / len(peaks) / 1e6 if peaks else 0.0

    @staticmethod
    async def _of(session: AsyncSession, account_id: str, side: Side, domains: Sequence[str]) -> list[Any]:
        if not domains:
            mine = select(Domain.name).where(Domain.account == account_id, Domain.type == _TYPES[side])
            return [UsagePoint.domain.in_(mine)]
        names = set()
        for text in domains:
            domain = await owned_domain(session, account_id, text)
            if domain.type != _TYPES[side]:
                raise error("IllegalOperation")
            names.add(domain.name)
        return [UsagePoint.domain.in_(names)]

    # Recording

    async def record(self, start_s: float, end_s: float, growth: Mapping[str, Traffic]) -> None:
        """Add what domains received and sent between two times; those that were deleted meanwhile are left out."""
        shares = split(start_s, end_s)
        async with self._database.write() as session:
            known: set[str] = set()
            names = list(growth)
            for at in range(0, len(names), NAMES_AT_ONCE):
                some = names[at : at + NAMES_AT_ONCE]
                known.update(await session.scalars(select(Domain.name).where(Domain.name.in_(some))))
            rows = [
                {"domain": name, "start_s": start, **msgspec.structs.asdict(part)}
                for name, traffic in growth.items()
                if name in known
                for start, part in share(traffic, shares)
            ]
            if rows:
                await _add(session, rows)

    async def run_purge(self) -> None:
        """Remove what is older than the setting `usage.retention_days`, until cancelled."""
        while True:
            await self.purge()
            await asyncio.sleep(PURGE_INTERVAL_S)

    async def purge(self) -> None:
        """Remove what is too old, one time at a time, so that nobody waits long for the database."""
        oldest_kept = self._clock() - self._settings.retention_days * DAY_S
        while True:
            async with self._database.write() as session:
                oldest = await session.scalar(select(func.min(UsagePoint.start_s)))
                if oldest is None or oldest + POINT_S > oldest_kept:
                    return
                await session.execute(delete(UsagePoint).where(UsagePoint.start_s == oldest))


async def _add(session: AsyncSession, rows: list[dict[str, Any]]) -> None:
    """Insert rows, or add to those that are there: another node may have recorded the same domain and time."""
    table = UsagePoint.__table__
    connection = await session.connection()
    statement = insert_of(connection, table)
    columns = [name for name in table.columns.keys() if name.startswith("bytes_")]  # noqa: SIM118 (not a dict)
    statement = statement.on_conflict_do_update(
        index_elements=["domain", "start_s"],
        set_={name: table.columns[name] + statement.excluded[name] for name in columns},
    )
    await connection.execute(statement, rows)


def window(start_s: float | None, end_s: float | None, span_s: float, now_s: float) -> tuple[float, float]:
    """The span that is meant by a start, an end, both or neither: of `span_s` after or before what is given, else until now.

    Reference control-plane 7.2.
    """
    if end_s is None:
        end_s = now_s if start_s is None else start_s + span_s
    return (end_s - span_s if start_s is None else start_s), end_s


def split(start_s: float, end_s: float) -> list[tuple[int, float]]:
    """The points that a span of time touches, each with its share of the span; an empty span falls into one point."""
    first = int(start_s) // POINT_S * POINT_S
    if end_s <= start_s:
        return [(first, 1.0)]
    length = end_s - start_s
    points = range(first, math.ceil(end_s / POINT_S) * POINT_S, POINT_S)
    return [(point, (min(end_s, point + POINT_S) - max(start_s, point)) / length) for point in points]


def share(traffic: Traffic, shares: Sequence[tuple[int, float]]) -> list[tuple[int, Traffic]]:
    """The traffic of a span divided among points; together the parts are exactly the whole."""
    given, parts, sum_ = Traffic(), [], 0.0
    for point, part in shares:
        sum_ += part
        last = point == shares[-1][0]
        until = traffic if last else Traffic(*(int(value * sum_) for value in msgspec.structs.astuple(traffic)))
        parts.append((point, until - given))
        given = until
    return parts


def merge(points: Mapping[int, Traffic], first_s: int, end_s: float, interval_s: int) -> list[SeriesPoint]:
    """The points as a series without gaps; rates (reference control-plane 7.2) are averages at 300 s, else peaks of those."""
    series = []
    none = Traffic()
    for start in range(first_s, math.ceil(end_s), interval_s):
        held = [points.get(at, none) for at in range(start, start + interval_s, POINT_S)]
        series.append(
            SeriesPoint(
                start,
                sum(held, none),
                _bps(max(point.bytes_in for point in held)),
                _bps(max(point.bytes_out for point in held)),
                _bps(max(point.bytes_out_plain for point in held)),
                _bps(max(point.bytes_out_tls for point in held)),
            )
        )
    return series


def _bps(size: int) -> int:
    return size * 8 // POINT_S
