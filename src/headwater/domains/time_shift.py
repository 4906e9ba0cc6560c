"""Time shift: which streams are kept for how long, so that viewers can go back in them (reference media-plane 6.4).

Slices are made of the streams of main streaming domains, from the next push on. A sub-streaming domain plays them only where
time shift is on for itself, too (reference media-plane 1.1), so it has rules of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.names import is_name
from headwater.access.plan import ANY, Shift
from headwater.domains.errors import error, invalid
from headwater.domains.owned import owned_domain
from headwater.store.database import Actor, Database
from headwater.store.models import ShiftConfig

if TYPE_CHECKING:  # it imports `plan_part`
    from headwater.domains.plans import PlanPublisher

DAYS_MAX: Final = 30
"""The longest of the times that the service's console offers."""
SLICE_MAX_S: Final = 30
"""Ours: a longer slice would keep a viewer waiting for as long before it can be played. The service documents no bound."""
RULES_MAX: Final = 100
"""Rules of a domain: they travel with its plan to every node. Ours."""


class ShiftRule(msgspec.Struct, frozen=True):
    """Time shift of some streams. app, stream: a name, or `*` for all. The rest is as in `access.plan.Shift`."""

    domain: str
    app: str
    stream: str
    days: int
    slice_s: int
    renditions: bool


class TimeShiftService:
    """The rules of time shift. Methods raise DomainError for what they refuse, IllegalOperation for ingest domains."""

    def __init__(self, database: Database, plans: PlanPublisher, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._plans = plans
        self._clock = clock

    async def open(
        self,
        account_id: str,
        name: str,
        *,
        app: str = ANY,
        stream: str = ANY,
        days: int = 7,
        slice_s: int = 5,
        renditions: bool = False,
        actor: Actor,
    ) -> None:
        """Keep streams for some days in slices of slice_s seconds (OpenLiveShift); of two equal rules the newer one holds.

        Raises InvalidAppName, InvalidStreamName, InvalidVision, InvalidDuration, QuotaExceeded.ShiftConfig.
        """
        _check_names(app, stream)
        if not 1 <= days <= DAYS_MAX:
            raise invalid("Vision")
        if not 1 <= slice_s <= SLICE_MAX_S:
            raise invalid("Duration")
        now_s = self._clock()
        object_ = f"{name.lower()}/{app}/{stream}"
        async with self._database.change(account_id, actor, "OpenLiveShift", object_, now_s) as change:
            domain = await _streaming_domain(change.session, account_id, name)
            row = await change.session.get(ShiftConfig, (domain, app, stream))
            change.before = None if row is None else _rule(row)
            if row is None:
                count = select(func.count()).select_from(ShiftConfig).where(ShiftConfig.domain == domain)
                if (await change.session.scalar(count) or 0) >= RULES_MAX:
                    raise error("QuotaExceeded.ShiftConfig")
                row = ShiftConfig(domain=domain, app=app, stream=stream, created_s=now_s)
                change.session.add(row)
            row.days, row.slice_s, row.renditions = days, slice_s, renditions
            change.after = _rule(row)
        await self._plans.publish([domain])

    async def close(self, account_id: str, name: str, *, app: str = ANY, stream: str = ANY, actor: Actor) -> None:
        """Undo `open` for exactly this app and stream (CloseLiveShift). Raises ConfigNotFound.

        What was kept cannot be played any more, and is deleted when its days are over.
        """
        _check_names(app, stream)
        object_ = f"{name.lower()}/{app}/{stream}"
        async with self._database.change(account_id, actor, "CloseLiveShift", object_, self._clock()) as change:
            domain = await _streaming_domain(change.session, account_id, name)
            row = await change.session.get(ShiftConfig, (domain, app, stream))
            if row is None:
                raise error("ConfigNotFound", "Time shift is not on for exactly this app and stream.")
            change.before = _rule(row)
            await change.session.delete(row)
        await self._plans.publish([domain])

    async def rules(self, account_id: str, name: str) -> list[ShiftRule]:
        """The rules of a domain, by app and stream (DescribeLiveShiftConfigs)."""
        async with self._database.read() as session:
            domain = await _streaming_domain(session, account_id, name)
            rows = select(ShiftConfig).where(ShiftConfig.domain == domain).order_by(ShiftConfig.app, ShiftConfig.stream)
            return [_rule(row) for row in await session.scalars(rows)]


async def plan_part(session: AsyncSession, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`shifts` of the plans of these domains."""
    found: dict[str, list[Shift]] = {}
    rows = select(ShiftConfig).where(ShiftConfig.domain.in_(names))
    for row in await session.scalars(rows.order_by(ShiftConfig.domain, ShiftConfig.app, ShiftConfig.stream)):
        found.setdefault(row.domain, []).append(Shift(row.app, row.stream, row.days, row.slice_s, row.renditions))
    return {name: {"shifts": tuple(shifts)} for name, shifts in found.items()}


async def _streaming_domain(session: AsyncSession, account_id: str, name: str) -> str:
    domain = await owned_domain(session, account_id, name)
    if domain.type != "liveVideo":
        raise error("IllegalOperation")
    return domain.name


def _check_names(app: str, stream: str) -> None:
    if app != ANY and not is_name(app):
        raise invalid("AppName")
    if stream != ANY and not is_name(stream):
        raise invalid("StreamName")


def _rule(row: ShiftConfig) -> ShiftRule:
    return ShiftRule(row.domain, row.app, row.stream, row.days, row.slice_s, row.renditions)
