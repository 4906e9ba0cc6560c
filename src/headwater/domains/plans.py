"""Carries plans (`access.plan`) from the database into the cluster's store, where the center and the media nodes watch them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.plan import PLAN_PREFIX, Plan, encode, plan_key
from headwater.cluster.interface import Cluster
from headwater.domains import delays, recording, snapshots, time_shift, transcoding, watermarks
from headwater.store.database import Database
from headwater.store.models import Domain

Part = Callable[[AsyncSession, Sequence[str]], Awaitable[dict[str, dict[str, Any]]]]
"""Reads what some domains have of one family: fields of `Plan` by domain, without the domains that have none."""

PARTS: tuple[Part, ...] = (
    transcoding.plan_part,
    watermarks.plan_part,
    time_shift.plan_part,
    delays.plan_part,
    snapshots.plan_part,
    recording.plan_part,
)
"""The families, each with fields of its own."""

READ_AT_ONCE = 1000
"""Domains whose plans are compiled together."""


class PlanPublisher:
    """Puts what is true in the database when it is asked to, one caller after the other, as `Publisher` does for policies.

    renditions_max: how many a domain may have at once, 0 for what the service documents.
    """

    def __init__(self, database: Database, cluster: Cluster, renditions_max: int = 0) -> None:
        self._database = database
        self._cluster = cluster
        self._renditions_max = renditions_max
        self._lock = asyncio.Lock()

    async def publish(self, names: Iterable[str]) -> None:
        """Put the plans of these main streaming domains, or remove them if there is nothing to do any more."""
        wanted = list(names)
        async with self._lock:
            async with self._database.read() as session:
                plans = await plans_of(session, wanted, self._renditions_max)
            for name in wanted:
                await self._set(name, plans.get(name))

    async def everything(self) -> None:
        """Put all plans and remove every other key of theirs."""
        async with self._lock:
            stale = {entry.key for entry in await self._cluster.list(PLAN_PREFIX)}
            last = ""
            while True:
                async with self._database.read() as session:
                    part = select(Domain.name).where(Domain.name > last).order_by(Domain.name).limit(READ_AT_ONCE)
                    names = (await session.scalars(part)).all()
                    plans = await plans_of(session, names, self._renditions_max)
                for name, plan in plans.items():
                    await self._set(name, plan)
                    stale.discard(plan_key(name))
                if len(names) < READ_AT_ONCE:
                    break
                last = names[-1]
            for key in stale:
                await self._cluster.delete(key)

    async def _set(self, name: str, plan: Plan | None) -> None:
        if plan is None:
            await self._cluster.delete(plan_key(name))
        else:
            await self._cluster.put(plan_key(name), encode(plan))


async def plans_of(session: AsyncSession, names: Sequence[str], renditions_max: int = 0) -> dict[str, Plan]:
    """The plans of those of these domains that have one: a few queries, however many there are."""
    fields: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        for name, found in (await part(session, names)).items():
            fields.setdefault(name, {}).update(found)
    if not fields:
        return {}
    domains = await session.scalars(select(Domain).where(Domain.name.in_(fields)))
    return {
        domain.name: Plan(
            domain=domain.name,
            account=domain.account,
            region=domain.region,
            renditions_max=transcoding.renditions_max(domain.region, renditions_max),
            **fields[domain.name],
        )
        for domain in domains
    }
