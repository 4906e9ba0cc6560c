"""Judges domains anew when filings change, and once a day, for filings end by themselves.

Filings are changed by the console and by commands, which are processes of their own. What all of them leave behind is a row of
the audit log, in the same transaction, so that is what is followed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sqlalchemy import func, select

from headwater.domains.filings import CHECK, IMPORT, REMOVE, SET
from headwater.domains.service import DomainService
from headwater.store.database import Database
from headwater.store.models import AuditEntry

LOOK_INTERVAL_S = 1.0
"""How often the audit log is looked at: one read of the newest rows by their key."""
CHECK_INTERVAL_S = 86400.0
"""Filings end at the end of a day, so once a day is enough."""


class FilingWatch:
    """Follows the changes of filings. clock: unix seconds."""

    def __init__(self, database: Database, domains: DomainService, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._domains = domains
        self._clock = clock
        self._seen = 0
        self._check_at_s = 0.0

    async def run(self) -> None:
        """Look at what changes, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def look(self) -> None:
        """Judge the domains whose filings have changed since the last look; all of them the first time, and once a day."""
        changed = select(AuditEntry.id, AuditEntry.action, AuditEntry.object).where(
            AuditEntry.id > self._seen, AuditEntry.action.in_((SET, REMOVE, IMPORT, CHECK))
        )
        now_s = self._clock()
        async with self._database.read() as session:
            newest = await session.scalar(select(func.max(AuditEntry.id))) or 0
            entries = (await session.execute(changed)).all() if now_s < self._check_at_s else ()
        if now_s >= self._check_at_s or any(entry.action in (IMPORT, CHECK) for entry in entries):
            await self._domains.check_filings()
        else:
            for root in sorted({entry.object for entry in entries}):
                await self._domains.check_filings(root)
        if now_s >= self._check_at_s:
            self._check_at_s = now_s + CHECK_INTERVAL_S
        self._seen = newest  # last: what failed is looked at again
