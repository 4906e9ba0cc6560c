"""Whether the CNAME record of each domain leads to us: looked up when somebody asks, and for all domains on a schedule.

Reference control-plane 3.8. The last look-up of each domain is kept in the database, for the lists and over restarts.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping
from typing import Literal, cast

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver
import msgspec
import structlog
from sqlalchemy import select

from headwater.access.names import cname_target
from headwater.cluster.nodes import NodeList
from headwater.domains.owned import owned_domain
from headwater.domains.proof import resolver_address
from headwater.settings import Ownership, SettingsError
from headwater.store.database import Database
from headwater.store.models import CnameCheck, Domain

CHAIN_MAX = 8
"""CNAME records that are followed, as most resolvers do."""
ROUND_S = 600.0
"""How often all domains are looked up: the service's console, too, knows of a change after some ten minutes."""
ROUND_PAUSE_S = 0.02
"""Between two look-ups of a round, on average: some 50 a second go to the resolvers, never in step with anything."""
AT_ONCE = 16
"""Look-ups that run side by side."""
FRESH_S = 4.0
"""Who asks again within this time gets the same answer: a page asks every 5 s, and gets a new one each time."""
NAMES_AT_ONCE = 200
"""Domains of a round that are read from the database, and written to it, at once."""

ADDRESSES_TOLD_MAX = 4

State = Literal["configured", "missing", "elsewhere", "unknown"]

log = structlog.get_logger()


class CnameState(msgspec.Struct, frozen=True):
    """What DNS says of a domain.

    state: `configured`; `missing`, no record at all; `elsewhere`, it leads to `found`; `unknown`, DNS gives no answer, and
    `found` says why. Where a CNAME cannot stand, at the root of a zone, DNS providers put the target's addresses in its place:
    a domain that has addresses of our nodes and no others is configured, too.
    """

    state: State
    found: str
    checked_s: float


class CnameService:
    """Looks domains up and keeps what was found."""

    def __init__(
        self,
        database: Database,
        settings: Ownership,
        zone: str,
        nodes: NodeList,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """settings: whose resolvers are asked. zone: of every domain's CNAME target. nodes: whose addresses are ours."""
        self._database = database
        self._settings = settings
        self._zone = zone
        self._nodes = nodes
        self._clock = clock
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def check(self, account_id: str, name: str) -> CnameState:
        """The state of an account's domain now. Raises InvalidDomain.NotFound."""
        async with self._database.read() as session:
            domain = (await owned_domain(session, account_id, name)).name
            row = await session.get(CnameCheck, domain)
        if row is not None and self._clock() - row.checked_s < FRESH_S:
            return _state(row)
        found = await self._look(domain)
        await self._keep({domain: found})
        return found

    async def known(self, names: Collection[str]) -> dict[str, CnameState]:
        """What was found last of some domains; those that were never looked up are missing."""
        async with self._database.read() as session:
            rows = await session.scalars(select(CnameCheck).where(CnameCheck.domain.in_(names)))
            return {row.domain: _state(row) for row in rows}

    async def run(self) -> None:
        """Look all domains up, round after round, until cancelled."""
        while True:
            after = ""
            while True:
                async with self._database.read() as session:
                    wanted = select(Domain.name).where(Domain.name > after).order_by(Domain.name).limit(NAMES_AT_ONCE)
                    names = list(await session.scalars(wanted))
                if not names:
                    break
                tasks: dict[str, asyncio.Task[CnameState]] = {}
                async with asyncio.TaskGroup() as group:
                    for name in names:
                        tasks[name] = group.create_task(self._look(name))
                        await asyncio.sleep(random.uniform(0, 2 * ROUND_PAUSE_S))
                await self._keep({name: task.result() for name, task in tasks.items()})
                after = names[-1]
            await asyncio.sleep(ROUND_S)

    async def _keep(self, found: Mapping[str, CnameState]) -> None:
        """Write what was found; domains that are gone meanwhile are left out."""
        async with self._database.write() as session:
            # Locked, so that none is deleted, and no other check of it writes, until this is done.
            there = select(Domain.name).where(Domain.name.in_(found)).order_by(Domain.name).with_for_update()
            names = (await session.scalars(there)).all()
            rows = {row.domain: row for row in await session.scalars(select(CnameCheck).where(CnameCheck.domain.in_(names)))}
            for name in names:
                now, row = found[name], rows.get(name)
                if row is None:
                    session.add(CnameCheck(domain=name, state=now.state, found=now.found, checked_s=now.checked_s))
                    continue
                if row.state != now.state:
                    log.info("cname changed", domain=name, before=row.state, state=now.state, found=now.found)
                row.state, row.found, row.checked_s = now.state, now.found, now.checked_s

    async def _look(self, name: str) -> CnameState:
        async with self._slots:
            state, found = await self._ask(name, cname_target(name, self._zone))
        return CnameState(state, found, self._clock())

    async def _ask(self, name: str, target: str) -> tuple[State, str]:
        name = name if not name.startswith(".") else f"any{name}"  # a name that stands for every subdomain
        try:
            resolver = self._resolver()
            first = ""
            for _ in range(CHAIN_MAX):
                records = await resolver.resolve(name, dns.rdatatype.CNAME, raise_on_no_answer=False, search=False)
                if not records.rrset:
                    break
                name = records.rrset[0].target.to_text(omit_final_dot=True).lower()
                first = first or name
                if name == target:
                    return "configured", target
            if first:
                return "elsewhere", first
            addresses: set[str] = set()
            for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
                records = await resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
                addresses.update(record.address for record in records.rrset or ())
            if addresses:
                ours = {text for node in self._nodes.listed() for text in (*node.addresses_v4, *node.addresses_v6)}
                state: State = "configured" if addresses <= ours else "elsewhere"
                return state, ", ".join(sorted(addresses)[:ADDRESSES_TOLD_MAX])
        except dns.resolver.NXDOMAIN:
            return ("elsewhere", first) if first else ("missing", "")
        except (dns.exception.DNSException, OSError, SettingsError) as fault:
            return "unknown", type(fault).__name__
        return "missing", ""

    def _resolver(self) -> dns.asyncresolver.Resolver:
        if not self._settings.resolvers:
            resolver = dns.asyncresolver.Resolver()
        else:
            resolver = dns.asyncresolver.Resolver(configure=False)
            servers = [resolver_address(text) for text in self._settings.resolvers]
            resolver.nameservers = [dns.nameserver.Do53Nameserver(server.address, server.port) for server in servers]
        resolver.timeout = self._settings.query_timeout_s
        resolver.lifetime = 2 * self._settings.query_timeout_s
        resolver.cache = None
        return resolver


def _state(row: CnameCheck) -> CnameState:
    return CnameState(cast(State, row.state), row.found, row.checked_s)
