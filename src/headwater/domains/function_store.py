"""Reads and writes the functions of a domain, those of production and those of staging alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar, cast

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.policy import DomainType
from headwater.domains import functions
from headwater.domains.errors import error
from headwater.domains.function_table import MULTIPLE
from headwater.domains.functions import Args, FunctionSetting
from headwater.store.models import Domain, DomainFunction, StagedFunction

Row = TypeVar("Row", DomainFunction, StagedFunction)

_STATUS: Final[dict[type, str]] = {DomainFunction: "success", StagedFunction: "testing"}
"""What the API says of a function that is in force in each place (reference control-plane 2.2)."""


class FunctionRecord(msgspec.Struct, frozen=True):
    """One stored configuration of a function. args: (name, value) in the order in which they came."""

    config_id: int
    name: str
    args: functions.Args
    status: str


async def put(
    session: AsyncSession,
    table: type[Row],
    domain: Domain,
    wanted: Sequence[FunctionSetting],
    now_s: float,
    *,
    dry_run: bool = False,
) -> list[FunctionRecord]:
    """Set functions of a domain, one after the other; returns what they replace. dry_run: only say whether that would go well.

    Raises InvalidArgValue.Malformed, IllegalOperation, ConfigNotFound, ConfigConflict.
    """
    rows = list(await session.scalars(select(table).where(table.domain == domain.name).order_by(table.id)))
    args: dict[str, Args] = {row.function: functions.decode_args(row.args) for row in rows}
    replaced: list[FunctionRecord] = []
    for setting in wanted:
        functions.check(setting, cast(DomainType, domain.type))
        functions.check_exclusion(setting, args)
        args[setting.name] = setting.args
        row = _existing(rows, setting)
        if dry_run:
            continue
        if row is None:
            row = new_row(table, domain.name, setting, now_s)
            rows.append(row)
            session.add(row)
        else:
            replaced.append(record(row))
            row.args = functions.encode_args(setting.args)
    if not dry_run:
        await session.flush()
    return replaced


async def read(session: AsyncSession, table: type[Row], domain: str, names: Sequence[str] = ()) -> list[FunctionRecord]:
    """The functions of a domain, oldest first; all of them or those named."""
    rows = select(table).where(table.domain == domain).order_by(table.id)
    if names:
        rows = rows.where(table.function.in_(names))
    return [record(row) for row in await session.scalars(rows)]


async def remove(session: AsyncSession, table: type[Row], domain: str, names: Sequence[str]) -> list[FunctionRecord]:
    """Remove functions by name; returns what they were."""
    removed = await read(session, table, domain, names) if names else []
    await session.execute(delete(table).where(table.domain == domain, table.function.in_(names)))
    return removed


def new_row(table: type[Row], domain: str, setting: FunctionSetting, now_s: float) -> Row:
    """A function as it is stored."""
    args = functions.encode_args(setting.args)
    return table(domain=domain, function=setting.name, args=args, status=_STATUS[table], created_s=now_s)


def record(row: DomainFunction | StagedFunction) -> FunctionRecord:
    """A stored function as its owner sees it."""
    return FunctionRecord(row.id, row.function, functions.decode_args(row.args), row.status)


def _existing(rows: Sequence[Row], setting: FunctionSetting) -> Row | None:
    """The stored function that a setting replaces; None if it makes a new one. Raises ConfigNotFound."""
    if setting.config_id is not None:
        for row in rows:
            if row.id == setting.config_id and row.function == setting.name:
                return row
        raise error("ConfigNotFound")
    if setting.name in MULTIPLE:
        return None
    return next((row for row in rows if row.function == setting.name), None)
