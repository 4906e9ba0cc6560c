"""The domain product over a real database and a store in memory, with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headwater.access import policy as policies
from headwater.access.policy import BAN_PREFIX, POLICY_PREFIX, Ban, Policy
from headwater.cluster.embedded import EmbeddedCluster
from headwater.domains import services
from headwater.domains.errors import DomainError
from headwater.domains.service import DomainRecord
from headwater.settings import Domains, Ownership, Settings
from headwater.store.database import Actor, Database
from support.databases import prepared

ACTOR = Actor("tester", "request-1")
REGION = "eu-central-1"
PUSH = "push.example.com"
PLAY = "play.example.com"
EXEMPT = ("localhost", "test", "internal", "example.com", "example.org", "example")
SETTINGS = Settings(domains=Domains(ownership=Ownership(exempt_suffixes=EXEMPT)))


async def refused(call: Awaitable[object]) -> DomainError:
    """The error with which a call ends."""
    with pytest.raises(DomainError) as fault:
        await call
    return fault.value


async def code(call: Awaitable[object]) -> str:
    """The code of the error with which a call ends."""
    return (await refused(call)).code


class World:
    """Everything that the tests of the domain product need; `now_s` is what the clock says."""

    def __init__(self, database: Database, settings: Settings | None = None) -> None:
        self.now_s = 1_700_000_000.0
        self.database = database
        self.cluster = EmbeddedCluster()
        self.services = services.build(database, self.cluster, settings or SETTINGS, self._clock)
        self.accounts = self.services.accounts
        self.domains = self.services.domains
        self.streams = self.services.streams
        self.usage = self.services.usage
        self.certificates = self.services.certificates
        self.actor = ACTOR
        self.account = ""
        self.stranger = ""

    async def add(self, name: str, type_: str = "liveVideo", region: str = REGION, scope: str = "domestic") -> DomainRecord:
        """A domain of the account."""
        return await self.domains.add(self.account, name, type_, region, scope, actor=ACTOR)

    def _clock(self) -> float:
        return self.now_s

    async def pair(self) -> None:
        """An ingest and a streaming domain, bound."""
        await self.domains.add(self.account, PUSH, "liveEdge", REGION, actor=ACTOR)
        await self.domains.add(self.account, PLAY, "liveVideo", REGION, actor=ACTOR)
        await self.services.bindings.map(self.account, PUSH, PLAY, actor=ACTOR)

    async def policy(self, domain: str) -> Policy | None:
        entry = await self.cluster.get(POLICY_PREFIX + domain)
        return None if entry is None else policies.decode_policy(entry.value)

    async def bans(self) -> list[Ban]:
        return [policies.decode_ban(entry.value) for entry in await self.cluster.list(BAN_PREFIX)]


@asynccontextmanager
async def world_with(folder: Path, domains: Domains) -> AsyncIterator[World]:
    """A world with settings of its own, on SQLite, with the accounts `owner` and `stranger`."""
    folder.mkdir(exist_ok=True)
    database = await Database.open(prepared(folder))
    world = World(database, Settings(domains=domains))
    world.account = (await world.accounts.create("owner", actor=ACTOR)).account_id
    world.stranger = (await world.accounts.create("stranger", actor=ACTOR)).account_id
    try:
        yield world
    finally:
        await world.cluster.close()
        await database.close()
