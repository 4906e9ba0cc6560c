"""Whether the CNAME record of each domain leads to us: looked up when somebody asks, and for all domains on a schedule.

Reference control-plane 3.8. What was found is kept in memory: it is cheap to find again, and never older than a round.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Literal

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver
import msgspec
import structlog
from sqlalchemy import select

from headwater.domains import rules
from headwater.domains.owned import owned_domain
from headwater.domains.proof import resolver_address
from headwater.settings import Ownership, SettingsError
from headwater.store.database import Database
from headwater.store.models import Domain

CHAIN_MAX = 8
"""CNAME records that are followed, as most resolvers do."""
ROUND_S = 600.0
"""How often all domains are looked up: the service's console, too, knows of a change after some ten minutes."""
ROUND_PAUSE_S = 0.02
"""Between two look-ups of a round: at most 50 a second go to the resolvers."""
AT_ONCE = 16
"""Look-ups that run side by side."""
FRESH_S = 10.0
"""Who asks again within this time gets the same answer: pages ask every few seconds."""
KEPT_MAX = 100_000
"""Domains whose state is kept, some 30 MB; beyond it the one that was looked up longest ago is forgotten."""
NAMES_AT_ONCE = 500
"""Domains of a round that are read from the database at once."""

log = structlog.get_logger()


class CnameState(msgspec.Struct, frozen=True):
    """What DNS says of a domain.

    state: `configured`; `missing`, no record at all; `elsewhere`, it leads to `found`; `unknown`, DNS gives no answer, and
    `found` says why.
    """

    state: Literal["configured", "missing", "elsewhere", "unknown"]
    found: str
    checked_s: float


class CnameService:
    """Looks domains up and remembers what was found."""

    def __init__(
        self,
        database: Database,
        settings: Ownership,
        zone: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """settings: whose resolvers are asked. zone: in which every domain has its CNAME target."""
        self._database = database
        self._settings = settings
        self._zone = zone
        self._clock = clock
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._known: OrderedDict[str, CnameState] = OrderedDict()

    async def check(self, account_id: str, name: str) -> CnameState:
        """The state of an account's domain now. Raises InvalidDomain.NotFound."""
        async with self._database.read() as session:
            domain = (await owned_domain(session, account_id, name)).name
        known = self._known.get(domain)
        return known if known and self._clock() - known.checked_s < FRESH_S else await self._check(domain)

    def known(self, names: Iterable[str]) -> dict[str, CnameState]:
        """What was found last of some domains; those that were never looked up are missing."""
        return {name: self._known[name] for name in names if name in self._known}

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
                async with asyncio.TaskGroup() as tasks:
                    for name in names:
                        tasks.create_task(self._check(name))
                        await asyncio.sleep(ROUND_PAUSE_S)
                after = names[-1]
            await asyncio.sleep(ROUND_S)

    async def _check(self, name: str) -> CnameState:
        async with self._slots:
            state, found = await self._look(name, rules.cname(name, self._zone))
        before = self._known.get(name)
        self._known[name] = made = CnameState(state, found, self._clock())
        self._known.move_to_end(name)
        while len(self._known) > KEPT_MAX:
            self._known.popitem(last=False)
        if before is not None and before.state != state:
            log.info("cname changed", domain=name, before=before.state, state=state, found=found)
        return made

    async def _look(self, name: str, target: str) -> tuple[Literal["configured", "missing", "elsewhere", "unknown"], str]:
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
            for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
                records = await resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
                if records.rrset:
                    return "elsewhere", ", ".join(sorted(record.address for record in records.rrset)[:4])
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
