"""Carries policies and bans from the database into the cluster's store, where media nodes watch them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.policy import BAN_PREFIX, POLICY_PREFIX, Ban, Policy, ban_key, encode, policy_key
from headwater.cluster.interface import Cluster
from headwater.domains.functions import FunctionSetting, decode_args
from headwater.domains.policy import compile_policy
from headwater.domains.rules import Protocol
from headwater.store.database import Database
from headwater.store.models import Domain, DomainDelay, DomainFunction, DomainMapping, StreamBan

StreamId = tuple[str, str, str]
"""Streaming domain, app and stream."""


class Publisher:
    """Puts what is true in the database when it is asked to, one caller after the other.

    So of two changes of one object the store ends with the later one, whichever caller comes first.
    """

    def __init__(self, database: Database, cluster: Cluster) -> None:
        self._database = database
        self._cluster = cluster
        self._lock = asyncio.Lock()

    async def policies(self, names: Iterable[str]) -> None:
        """Put the policies of these domains, or remove them if the domains are gone."""
        async with self._lock:
            async with self._database.read() as session:
                now = {name: await _find_policy(session, name) for name in names}
            for name, policy in now.items():
                await self._set(policy_key(name), None if policy is None else encode(policy))

    async def bans(self, streams: Iterable[StreamId]) -> None:
        """Put the bans of these streams, or remove them if they are gone."""
        async with self._lock:
            async with self._database.read() as session:
                now = {stream: await session.get(StreamBan, stream) for stream in streams}
            for stream, ban in now.items():
                await self._set(ban_key(*stream), None if ban is None else encode(_ban(ban)))

    async def everything(self, now_s: float) -> None:
        """Put all policies and all bans that still hold, and remove every other key of theirs."""
        async with self._lock:
            async with self._database.read() as session:
                wanted = {
                    policy_key(domain.name): encode(await policy_of(session, domain))
                    for domain in (await session.scalars(select(Domain))).all()
                }
                for ban in await session.scalars(select(StreamBan).where(StreamBan.until_s > now_s)):
                    wanted[ban_key(ban.domain, ban.app, ban.stream)] = encode(_ban(ban))
            present = {
                entry.key: entry.value for prefix in (POLICY_PREFIX, BAN_PREFIX) for entry in await self._cluster.list(prefix)
            }
            for key in present.keys() - wanted.keys():
                await self._cluster.delete(key)
            for key, value in wanted.items():
                if present.get(key) != value:
                    await self._cluster.put(key, value)

    async def _set(self, key: str, value: bytes | None) -> None:
        if value is None:
            await self._cluster.delete(key)
        else:
            await self._cluster.put(key, value)


async def policy_of(session: AsyncSession, domain: Domain) -> Policy:
    """The policy of a domain as the database has it."""
    functions = await session.scalars(
        select(DomainFunction).where(DomainFunction.domain == domain.name).order_by(DomainFunction.id)
    )
    mapping = await session.get(DomainMapping, domain.name)
    delays = await session.scalars(select(DomainDelay).where(DomainDelay.domain == domain.name))
    return compile_policy(
        domain,
        [FunctionSetting(row.function, decode_args(row.args), row.id) for row in functions],
        None if mapping is None else mapping.pull_domain,
        {cast(Protocol, row.protocol): row.delay_s for row in delays},
    )


async def _find_policy(session: AsyncSession, name: str) -> Policy | None:
    domain = await session.get(Domain, name)
    return None if domain is None else await policy_of(session, domain)


def _ban(row: StreamBan) -> Ban:
    return Ban(row.domain, row.app, row.stream, row.until_s)
