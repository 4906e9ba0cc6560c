"""Delayed streams: copies of live streams, published so much later under names of their own (reference media-plane 6.3).

Not to be confused with the delay at which players start (SetLiveStreamDelayConfig, `domains.service`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.names import is_name
from headwater.access.plan import ANY, DELAY_MAX_S, DELAY_MIN_S, Delay
from headwater.domains import bindings
from headwater.domains.errors import error
from headwater.domains.owned import owned_domain
from headwater.store.database import Actor, Database
from headwater.store.models import DelayConfig

if TYPE_CHECKING:  # it imports `plan_part`
    from headwater.domains.plans import PlanPublisher

Trigger = Literal["PUBLISH_ONLY", "CONFIG_ONLY", "PUBLISH_CONFIG"]
"""Whose delay holds: only that of the push (`alDelayTime`), only that of the rule, or the push's before the rule's."""

RULES_MAX: Final = 100
"""Rules of a domain: they travel with its plan to every node. Ours."""


class DelayRule(msgspec.Struct, frozen=True):
    """A delayed copy of some streams. app, stream: a name, or `*` for all."""

    domain: str
    app: str
    stream: str
    delay_s: int
    trigger: Trigger


class DelayPage(msgspec.Struct, frozen=True):
    """One page of rules; `total` counts all pages."""

    items: list[DelayRule]
    total: int


class DelayService:
    """The rules of delayed streams. Methods raise DomainError for what they refuse.

    That is InvalidParameters for what is out of range or no name, IllegalOperation for all but main streaming domains.
    """

    def __init__(self, database: Database, plans: PlanPublisher, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._plans = plans
        self._clock = clock

    async def create(
        self, account_id: str, name: str, app: str, stream: str, delay_s: int, trigger: str, *, actor: Actor
    ) -> None:
        """Delay streams from their next push on (CreateLiveDelayConfig).

        Raises ConfigAlreadyExists if exactly this app and stream have a rule, QuotaExceeded.DelayConfig.
        """
        _check(app, stream, delay_s, trigger)
        now_s = self._clock()
        object_ = f"{name.lower()}/{app}/{stream}"
        async with self._database.change(account_id, actor, "CreateLiveDelayConfig", object_, now_s) as change:
            domain = await _main_domain(change.session, account_id, name)
            if await change.session.get(DelayConfig, (domain, app, stream)) is not None:
                raise error("ConfigAlreadyExists")
            count = select(func.count()).select_from(DelayConfig).where(DelayConfig.domain == domain)
            if (await change.session.scalar(count) or 0) >= RULES_MAX:
                raise error("QuotaExceeded.DelayConfig")
            row = DelayConfig(domain=domain, app=app, stream=stream, delay_s=delay_s, trigger=trigger, created_s=now_s)
            change.session.add(row)
            change.after = _rule(row)
        await self._plans.publish([domain])

    async def update(
        self, account_id: str, name: str, app: str, stream: str, delay_s: int, trigger: str | None, *, actor: Actor
    ) -> None:
        """Change a rule (UpdateLiveDelayConfig). trigger: None leaves it as it is. Raises ConfigNotFound."""
        _check(app, stream, delay_s, trigger)
        object_ = f"{name.lower()}/{app}/{stream}"
        async with self._database.change(account_id, actor, "UpdateLiveDelayConfig", object_, self._clock()) as change:
            domain = await _main_domain(change.session, account_id, name)
            row = await _row(change.session, domain, app, stream)
            change.before = _rule(row)
            row.delay_s = delay_s
            if trigger is not None:
                row.trigger = trigger
            change.after = _rule(row)
        await self._plans.publish([domain])

    async def delete(self, account_id: str, name: str, app: str, stream: str, *, actor: Actor) -> None:
        """Forget a rule (DeleteLiveDelayConfig). Raises ConfigNotFound."""
        _check_names(app, stream)
        object_ = f"{name.lower()}/{app}/{stream}"
        async with self._database.change(account_id, actor, "DeleteLiveDelayConfig", object_, self._clock()) as change:
            domain = await _main_domain(change.session, account_id, name)
            row = await _row(change.session, domain, app, stream)
            change.before = _rule(row)
            await change.session.delete(row)
        await self._plans.publish([domain])

    async def rule(self, account_id: str, name: str, app: str, stream: str) -> DelayRule:
        """The rule of exactly this app and stream (DescribeLiveDelayConfig). Raises ConfigNotFound."""
        _check_names(app, stream)
        async with self._database.read() as session:
            domain = await _main_domain(session, account_id, name)
            return _rule(await _row(session, domain, app, stream))

    async def rules(self, account_id: str, name: str, *, page_number: int = 1, page_size: int = 10) -> DelayPage:
        """The rules of a domain, by app and stream (ListLiveDelayConfig)."""
        async with self._database.read() as session:
            domain = await _main_domain(session, account_id, name)
            of_domain = DelayConfig.domain == domain
            total = await session.scalar(select(func.count()).select_from(DelayConfig).where(of_domain)) or 0
            rows = select(DelayConfig).where(of_domain).order_by(DelayConfig.app, DelayConfig.stream)
            page = rows.limit(page_size).offset((page_number - 1) * page_size)
            return DelayPage([_rule(row) for row in await session.scalars(page)], total)


async def plan_part(session: AsyncSession, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`delays` of the plans of these domains."""
    found: dict[str, list[Delay]] = {}
    rows = select(DelayConfig).where(DelayConfig.domain.in_(names))
    for row in await session.scalars(rows.order_by(DelayConfig.domain, DelayConfig.app, DelayConfig.stream)):
        found.setdefault(row.domain, []).append(Delay(row.app, row.stream, row.delay_s, cast(Trigger, row.trigger)))
    return {name: {"delays": tuple(delays)} for name, delays in found.items()}


async def _main_domain(session: AsyncSession, account_id: str, name: str) -> str:
    domain = await owned_domain(session, account_id, name)
    if domain.type != "liveVideo":
        raise error("IllegalOperation")
    await bindings.check_main(session, domain.name)
    return domain.name


async def _row(session: AsyncSession, domain: str, app: str, stream: str) -> DelayConfig:
    row = await session.get(DelayConfig, (domain, app, stream))
    if row is None:
        raise error("ConfigNotFound", "Exactly this app and stream have no rule.")
    return row


def _check(app: str, stream: str, delay_s: int, trigger: str | None) -> None:
    _check_names(app, stream)
    if not DELAY_MIN_S <= delay_s <= DELAY_MAX_S:
        raise error("InvalidParameters", f"DelayTime is {DELAY_MIN_S} to {DELAY_MAX_S} seconds.")
    if trigger is not None and trigger not in get_args(Trigger):
        raise error("InvalidParameters", f"TaskTriggerMode is {', '.join(get_args(Trigger))}.")


def _check_names(app: str, stream: str) -> None:
    for parameter, name in (("App", app), ("Stream", stream)):
        if name != ANY and not is_name(name):
            raise error("InvalidParameters", f"{parameter} is a name of letters, digits, hyphens and underscores, or `{ANY}`.")


def _rule(row: DelayConfig) -> DelayRule:
    return DelayRule(row.domain, row.app, row.stream, row.delay_s, cast(Trigger, row.trigger))
