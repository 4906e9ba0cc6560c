"""Carries policies, bans and certificates from the database into the cluster's store, where media nodes watch them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.certificate import CERTIFICATE_PREFIX, DomainCertificate, certificate_key, encode_certificate
from headwater.access.policy import (
    BAN_PREFIX,
    BLOCK_PREFIX,
    POLICY_PREFIX,
    Ban,
    Block,
    Policy,
    RegionRule,
    ban_key,
    block_key,
    encode,
    policy_key,
)
from headwater.cluster.interface import Cluster
from headwater.domains.function_store import Row
from headwater.domains.functions import FunctionSetting, decode_args
from headwater.domains.policy import compile_policy
from headwater.domains.rules import Protocol
from headwater.store.database import Database
from headwater.store.models import (
    Certificate,
    Domain,
    DomainDelay,
    DomainFunction,
    DomainHttps,
    DomainMapping,
    ManualStream,
    MultiStreamDomain,
    PlayMapping,
    StagedFunction,
    StreamBan,
    StreamBlock,
)

StreamId = tuple[str, str, str]
"""Streaming domain, app and stream."""


READ_AT_ONCE = 1000
"""Domains that are read and compiled together: few round trips, and the event loop is held up for tens of milliseconds."""


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
        wanted = list(names)
        async with self._lock:
            async with self._database.read() as session:
                domains = (await session.scalars(select(Domain).where(Domain.name.in_(wanted)))).all()
                found = {policy.domain: encode(policy) for policy in await policies_of(session, domains)}
            for name in wanted:
                await self._set(policy_key(name), found.get(name))

    async def bans(self, streams: Iterable[StreamId]) -> None:
        """Put the bans of these streams, or remove them if they are gone."""
        async with self._lock:
            async with self._database.read() as session:
                now = {stream: await session.get(StreamBan, stream) for stream in streams}
            for stream, ban in now.items():
                await self._set(ban_key(*stream), None if ban is None else encode(_ban(ban)))

    async def blocks(self, streams: Iterable[StreamId]) -> None:
        """Put the blocked regions of these streams, or remove them if they are gone."""
        async with self._lock:
            async with self._database.read() as session:
                now = {stream: await session.get(StreamBlock, stream) for stream in streams}
            for stream, block in now.items():
                await self._set(block_key(*stream), None if block is None else encode(_block(block)))

    async def certificates(self, names: Iterable[str]) -> None:
        """Put the certificates of these domains, or remove them if there are none."""
        async with self._lock:
            async with self._database.read() as session:
                now = {name: await _find_certificate(session, name) for name in names}
            for name, certificate in now.items():
                await self._set(certificate_key(name), None if certificate is None else encode_certificate(certificate))

    async def everything(self, now_s: float) -> None:
        """Put all policies, certificates and bans that still hold, and remove every other key of theirs."""
        async with self._lock:
            stale = {
                entry.key: entry.value
                for prefix in (POLICY_PREFIX, BAN_PREFIX, BLOCK_PREFIX, CERTIFICATE_PREFIX)
                for entry in await self._cluster.list(prefix)
            }
            async for key, value in self._truth(now_s):
                if stale.pop(key, None) != value:
                    await self._cluster.put(key, value)
            for key in stale:
                await self._cluster.delete(key)

    async def _truth(self, now_s: float) -> AsyncIterator[tuple[str, bytes]]:
        """Every key that must exist, by name, read a part at a time: there may be a million domains."""
        last = ""
        while True:
            async with self._database.read() as session:
                part = select(Domain).where(Domain.name > last).order_by(Domain.name).limit(READ_AT_ONCE)
                domains = (await session.scalars(part)).all()
                policies = await policies_of(session, domains)
            for policy in policies:
                yield policy_key(policy.domain), encode(policy)
            if len(domains) < READ_AT_ONCE:
                break
            last = domains[-1].name
        async with self._database.read() as session:
            bans = (await session.scalars(select(StreamBan).where(StreamBan.until_s > now_s))).all()
            blocks = (await session.scalars(select(StreamBlock).where(StreamBlock.release_s > now_s))).all()
        for ban in bans:
            yield ban_key(ban.domain, ban.app, ban.stream), encode(_ban(ban))
        for block in blocks:
            yield block_key(block.domain, block.app, block.stream), encode(_block(block))
        last = ""
        while True:
            async with self._database.read() as session:
                found = _CERTIFICATES.where(DomainHttps.domain > last).order_by(DomainHttps.domain).limit(READ_AT_ONCE)
                rows = (await session.execute(found)).all()
            for https, kept in rows:
                if (certificate := _certificate(https, kept)) is not None:
                    yield certificate_key(https.domain), encode_certificate(certificate)
            if len(rows) < READ_AT_ONCE:
                break
            last = rows[-1][0].domain

    async def _set(self, key: str, value: bytes | None) -> None:
        if value is None:
            await self._cluster.delete(key)
        else:
            await self._cluster.put(key, value)


async def policy_of(session: AsyncSession, domain: Domain) -> Policy:
    """The policy of a domain as the database has it."""
    (policy,) = await policies_of(session, [domain])
    return policy


async def policies_of(session: AsyncSession, domains: Sequence[Domain]) -> list[Policy]:
    """The policies of some domains, in their order: a few queries, however many there are."""
    names = [domain.name for domain in domains]
    settings = await _functions(session, DomainFunction, names)
    staged = await _functions(session, StagedFunction, names)
    mappings = {
        mapping.push_domain: mapping.pull_domain
        for mapping in await session.scalars(select(DomainMapping).where(DomainMapping.push_domain.in_(names)))
    }
    for play in await session.scalars(select(PlayMapping).where(PlayMapping.play_domain.in_(names))):
        mappings[play.play_domain] = play.pull_domain
    delays: dict[str, dict[Protocol, int]] = {name: {} for name in names}
    for delay in await session.scalars(select(DomainDelay).where(DomainDelay.domain.in_(names))):
        delays[delay.domain][cast(Protocol, delay.protocol)] = delay.delay_s
    manual = await _manual_streams(session, names)
    return [
        compile_policy(
            domain,
            settings[domain.name],
            staged[domain.name],
            mappings.get(domain.name),
            delays[domain.name],
            domain.name in manual,
            tuple(manual.get(domain.name, ())),
        )
        for domain in domains
    ]


async def _manual_streams(session: AsyncSession, names: list[str]) -> dict[str, list[str]]:
    """For those domains on which several publishers may push one stream: `app/stream` of those whose optimal mode is off."""
    on = select(MultiStreamDomain.domain).where(MultiStreamDomain.domain.in_(names))
    found: dict[str, list[str]] = {domain: [] for domain in await session.scalars(on)}
    if found:
        rows = select(ManualStream).where(ManualStream.domain.in_(found)).order_by(ManualStream.app, ManualStream.stream)
        for row in await session.scalars(rows):
            found[row.domain].append(f"{row.app}/{row.stream}")
    return found


async def _functions(session: AsyncSession, table: type[Row], names: list[str]) -> dict[str, list[FunctionSetting]]:
    found: dict[str, list[FunctionSetting]] = {name: [] for name in names}
    for row in await session.scalars(select(table).where(table.domain.in_(names)).order_by(table.id)):
        found[row.domain].append(FunctionSetting(row.function, decode_args(row.args), row.id))
    return found


_CERTIFICATES = select(DomainHttps, Certificate).outerjoin(Certificate, Certificate.id == DomainHttps.certificate)


async def _find_certificate(session: AsyncSession, name: str) -> DomainCertificate | None:
    row = (await session.execute(_CERTIFICATES.where(DomainHttps.domain == name))).first()
    return None if row is None else _certificate(*row)


def _certificate(https: DomainHttps, kept: Certificate | None) -> DomainCertificate | None:
    """None: the domain has none of its own, and the operator's is used."""
    if not https.enabled:
        return DomainCertificate(enabled=False)
    return None if kept is None else DomainCertificate(chain=kept.chain, key=kept.key)


def _block(row: StreamBlock) -> Block:
    rule = RegionRule(tuple(row.locations.split(",")), row.type == "whitelist")
    return Block(row.domain, row.app, row.stream, rule, row.release_s)


def _ban(row: StreamBan) -> Ban:
    return Ban(row.domain, row.app, row.stream, row.until_s)
