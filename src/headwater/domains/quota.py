"""How many domains an account may have (reference control-plane 3.2), and how many it has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains.errors import error, invalid
from headwater.settings import Domains
from headwater.store.database import Actor, Change, Database
from headwater.store.models import Account, DomainCount

QUOTA_MAX = 1_000_000
"""The largest quota that can be set: what the store of policies is tried with."""


class Bandwidth(Protocol):
    """Where an account's bandwidth is recorded."""

    async def average_daily_peak_mbps(self, account_id: str) -> float:
        """The average of the last days' peaks, in Mbit/s."""


class QuotaState(msgspec.Struct, frozen=True):
    """An account's quota of domains, and whether it may ask for more.

    average_mbps: its average daily peak bandwidth; it must exceed threshold_mbps.
    """

    quota: int
    used: int
    average_mbps: float
    threshold_mbps: float

    @property
    def may_ask(self) -> bool:
        """Whether the account may ask for more domains."""
        return self.average_mbps > self.threshold_mbps


class QuotaService:
    """Tells and sets quotas. Methods raise DomainError for what they refuse."""

    def __init__(
        self, database: Database, settings: Domains, bandwidth: Bandwidth, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._settings = settings
        self._bandwidth = bandwidth
        self._clock = clock

    async def state(self, account_id: str) -> QuotaState:
        """The quota of an account, what it uses of it, and whether it may ask for more."""
        average_mbps = await self._bandwidth.average_daily_peak_mbps(account_id)
        async with self._database.read() as session:
            row = await session.get(DomainCount, account_id)
        return QuotaState(
            self._quota(row), 0 if row is None else row.domains, average_mbps, self._settings.quota_bandwidth_mbps
        )

    async def set(self, account_id: str, quota: int | None, *, actor: Actor) -> None:
        """Give an account a quota of its own; None: the usual one. Raises InvalidQuota, EntityNotExist.Account."""
        async with self._database.change(account_id, actor, "SetDomainQuota", account_id, self._clock()) as change:
            await self.set_in(change, account_id, quota)

    async def set_in(self, change: Change, account_id: str, quota: int | None) -> None:
        """As `set`, within a transaction of the caller's. A quota below what is used removes nothing."""
        if quota is not None and not 0 <= quota <= QUOTA_MAX:
            raise invalid("Quota")
        if await change.session.get(Account, account_id) is None:
            raise error("EntityNotExist.Account")
        row = await _count(change.session, account_id)
        change.before = {"quota": row.quota}
        row.quota = quota
        change.after = {"quota": quota}

    async def check(self, session: AsyncSession, account_id: str) -> None:
        """Raises QuotaExceeded.Domain if the account may not add another domain."""
        row = await session.get(DomainCount, account_id)
        if (0 if row is None else row.domains) >= self._quota(row):
            raise error("QuotaExceeded.Domain")

    def _quota(self, row: DomainCount | None) -> int:
        return self._settings.quota if row is None or row.quota is None else row.quota


async def count(session: AsyncSession, account_id: str, change: int) -> None:
    """Note, in a transaction that adds or deletes domains, how many there are more."""
    row = await _count(session, account_id)
    row.domains += change


async def domains_of(session: AsyncSession, account_id: str | None) -> int:
    """How many domains an account has, or all accounts together."""
    if account_id is None:
        return int(await session.scalar(select(func.sum(DomainCount.domains))) or 0)
    row = await session.get(DomainCount, account_id)
    return 0 if row is None else row.domains


async def _count(session: AsyncSession, account_id: str) -> DomainCount:
    row = await session.get(DomainCount, account_id)
    if row is None:
        row = DomainCount(account=account_id, domains=0, quota=None)
        session.add(row)
    return row
