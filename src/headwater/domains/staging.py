"""Staging: functions that are tried by those who come by a staging address, before everybody gets them.

What is staged stands in for the production functions of the same names; everything else of the domain is as in production.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sqlalchemy import delete, select

from headwater.domains import bindings, function_store, functions
from headwater.domains.errors import error
from headwater.domains.function_store import FunctionRecord
from headwater.domains.owned import owned_domain
from headwater.domains.publisher import Publisher
from headwater.store.database import Actor, Database
from headwater.store.models import DomainFunction, StagedFunction


class StagingService:
    """The staged functions of domains. Methods raise DomainError for what they refuse, ConfigNotFound for what is not there.

    publisher: the DomainService's, so that policies are put one after the other.
    """

    def __init__(self, database: Database, publisher: Publisher, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock

    async def set(self, account_id: str, name: str, settings: str, *, actor: Actor) -> None:
        """Stage functions, given as the JSON of the parameter Functions (SetLiveDomainStagingConfig).

        Raises as DomainService.set_functions does.
        """
        wanted = functions.parse(settings)
        now_s = self._clock()
        async with self._database.change(account_id, actor, "SetLiveDomainStagingConfig", name.lower(), now_s) as change:
            domain = await owned_domain(change.session, account_id, name)
            await bindings.check_main(change.session, domain.name, [setting.name for setting in wanted])
            change.before = await function_store.put(change.session, StagedFunction, domain, wanted, now_s)
            change.after = wanted
        await self._publisher.policies([domain.name])

    async def functions(self, account_id: str, name: str, names: Sequence[str] = ()) -> list[FunctionRecord]:
        """The staged functions, oldest first; all of them or those named (DescribeLiveDomainStagingConfig)."""
        async with self._database.read() as session:
            domain = await owned_domain(session, account_id, name)
            return await function_store.read(session, StagedFunction, domain.name, names)

    async def publish(self, account_id: str, name: str, function: str, *, actor: Actor) -> None:
        """Make a staged function the production one (PublishLiveStagingConfigToProduction); it is staged no longer.

        Every production record of the function is replaced. Raises ConfigNotFound, and ConfigConflict if production has a
        function that excludes it.
        """
        now_s = self._clock()
        action, subject = "PublishLiveStagingConfigToProduction", f"{name.lower()}/{function}"
        async with self._database.change(account_id, actor, action, subject, now_s) as change:
            session = change.session
            domain = await owned_domain(session, account_id, name)
            staged = await function_store.remove(session, StagedFunction, domain.name, [function])
            if not staged:
                raise error("ConfigNotFound")
            change.before = await function_store.remove(session, DomainFunction, domain.name, [function])
            wanted = [functions.FunctionSetting(record.name, record.args) for record in staged]
            await bindings.check_main(session, domain.name, [function])
            await function_store.put(session, DomainFunction, domain, wanted, now_s)
            domain.modified_s = now_s
            change.after = wanted
        await self._publisher.policies([domain.name])

    async def rollback(self, account_id: str, name: str, function: str, *, actor: Actor) -> None:
        """Stage a function no longer, so that staging has it as production does (RollbackLiveStagingConfig)."""
        action, subject = "RollbackLiveStagingConfig", f"{name.lower()}/{function}"
        async with self._database.change(account_id, actor, action, subject, self._clock()) as change:
            domain = await owned_domain(change.session, account_id, name)
            removed = await function_store.remove(change.session, StagedFunction, domain.name, [function])
            if not removed:
                raise error("ConfigNotFound")
            change.before = removed
        await self._publisher.policies([domain.name])

    async def delete(self, account_id: str, name: str, config_ids: Sequence[int], *, actor: Actor) -> None:
        """Stage some records no longer, all or none (DeleteLiveSpecificStagingConfig)."""
        action = "DeleteLiveSpecificStagingConfig"
        async with self._database.change(account_id, actor, action, name.lower(), self._clock()) as change:
            domain = await owned_domain(change.session, account_id, name)
            chosen = (StagedFunction.domain == domain.name) & StagedFunction.id.in_(config_ids)
            rows = (await change.session.scalars(select(StagedFunction).where(chosen))).all()
            if len(rows) != len(set(config_ids)):
                raise error("ConfigNotFound")
            change.before = [function_store.record(row) for row in rows]
            await change.session.execute(delete(StagedFunction).where(chosen))
        await self._publisher.policies([domain.name])
