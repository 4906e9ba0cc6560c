"""Reads the audit log: who changed what, and how it looked before and after."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, select

from headwater.store.database import Database
from headwater.store.models import AuditEntry


class AuditRecord(msgspec.Struct, frozen=True):
    """One change. before, after: the object as JSON values; None if there was none."""

    id: int
    time_s: float
    account: str
    actor: str
    action: str
    object: str
    before: Any
    after: Any
    request_id: str


class AuditService:
    """The audit log's reader; its entries are written by `Database.change`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(
        self,
        account_id: str | None = None,
        *,
        actor: str = "",
        action: str = "",
        object_: str = "",
        from_s: float | None = None,
        to_s: float | None = None,
        before_id: int | None = None,
        limit: int = 50,
    ) -> list[AuditRecord]:
        """The newest entries, of one account or of all; the texts are looked for anywhere in their fields.

        before_id: only entries older than this one, for the next page.
        """
        where: list[ColumnElement[bool]] = []
        if account_id is not None:
            where.append(AuditEntry.account == account_id)
        for column, text in ((AuditEntry.actor, actor), (AuditEntry.action, action), (AuditEntry.object, object_)):
            if text:
                where.append(column.contains(text, autoescape=True))
        if from_s is not None:
            where.append(AuditEntry.time_s >= from_s)
        if to_s is not None:
            where.append(AuditEntry.time_s < to_s)
        if before_id is not None:
            where.append(AuditEntry.id < before_id)
        wanted = select(AuditEntry).where(*where).order_by(AuditEntry.id.desc()).limit(limit)
        async with self._database.read() as session:
            return [_record(row) for row in await session.scalars(wanted)]

    async def actions(self, account_id: str | None = None) -> list[str]:
        """The actions that stand in the log, for choosing one."""
        wanted = select(AuditEntry.action).distinct().order_by(AuditEntry.action)
        if account_id is not None:
            wanted = wanted.where(AuditEntry.account == account_id)
        async with self._database.read() as session:
            return list(await session.scalars(wanted))


def _record(row: AuditEntry) -> AuditRecord:
    return AuditRecord(
        row.id,
        row.time_s,
        row.account,
        row.actor,
        row.action,
        row.object,
        _value(row.before),
        _value(row.after),
        row.request_id,
    )


def _value(text: str) -> Any:
    return msgspec.json.decode(text) if text else None
