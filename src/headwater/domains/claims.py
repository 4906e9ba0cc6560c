"""The register of names that sister services hold: VOD, DCDN, SCDN and the Video Surveillance System.

A name is unique across all of them (reference add-a-domain-name). Headwater cannot ask those services, so the operator fills
the register, and several platforms may share one by exchanging it as CSV.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, cast, get_args

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains import rules
from headwater.domains.errors import DomainError, error, invalid
from headwater.domains.streams import Page
from headwater.domains.tables import ROWS_AT_ONCE, ROWS_MAX, Imported, chunks, read_csv
from headwater.store.database import Actor, Change, Database
from headwater.store.models import Domain, NameClaim

SisterService = Literal["vod", "dcdn", "scdn", "vs"]
Service = Literal["live", "vod", "dcdn", "scdn", "vs"]
"""Who holds a name: this platform's live domains, or a sister service."""

COLUMNS = ("name", "service", "account")

ACCOUNT_MAX = 64
"""Characters of an account's id; ours have 16."""


class Claim(msgspec.Struct, frozen=True):
    """A name that a sister service holds. account: of this platform, "" if it is nobody's here."""

    name: str
    service: SisterService
    account: str = ""


class ClaimService:
    """Keeps the register. Methods raise DomainError for what they refuse."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def holder(self, account_id: str, name: str) -> Service | None:
        """Which service holds a name, if the holder is this very account; None otherwise, for others may not learn it."""
        name = rules.domain_name(name, leading_dot=True)
        async with self._database.read() as session:
            domain = await session.get(Domain, name)
            if domain is not None:
                return "live" if domain.account == account_id else None
            claim = await session.get(NameClaim, name)
            return cast(SisterService, claim.service) if claim is not None and claim.account == account_id else None

    # For the operator

    async def lookup(self, name: str) -> Service | None:
        """Which service holds a name, whoever's it is there, live domains of this platform included; None if nobody's does.

        For platforms that share the register: a live domain of one is taken for all others. Raises InvalidDomainName.Malformed.
        """
        name = rules.domain_name(name, leading_dot=True)
        async with self._database.read() as session:
            if await session.get(Domain, name) is not None:
                return "live"
            claim = await session.get(NameClaim, name)
            return None if claim is None else cast(SisterService, claim.service)

    async def claims(self, *, search: str = "", page_number: int = 1, page_size: int = 100) -> Page[Claim]:
        """The register by name; search: a part of the name."""
        chosen = select(NameClaim)
        if search:
            chosen = chosen.where(NameClaim.name.contains(search.lower(), autoescape=True))
        page = chosen.order_by(NameClaim.name).limit(page_size).offset((page_number - 1) * page_size)
        async with self._database.read() as session:
            total = await session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
            return Page([_claim(row) for row in await session.scalars(page)], total)

    async def add(self, name: str, service: str, account: str = "", *, actor: Actor) -> Claim:
        """Note that a sister service holds a name, or correct what the register says of it.

        Raises InvalidDomainName.Malformed, InvalidService, DomainAlreadyExist (it is a live domain here).
        """
        claim = _checked(name, service, account)
        await self._put([claim], "AddDomainClaim", claim.name, actor)
        return claim

    async def import_csv(self, text: str, *, actor: Actor) -> Imported:
        """Add the names of a CSV file with the columns name, service and account. Raises InvalidCsv.Malformed."""
        claims = read_csv(text, COLUMNS, lambda row: _checked(row["name"], row["service"], row["account"]))
        return await self._put(claims, "ImportDomainClaims", f"{len(claims)} names", actor)

    async def import_rows(self, rows: Sequence[tuple[str, str, str]], *, actor: Actor) -> Imported:
        """Add these names, each with its service and account, all or none. Raises InvalidParam, which tells the bad row."""
        if len(rows) > ROWS_MAX:
            raise error("InvalidParam", f"A list has at most {ROWS_MAX} names.")
        claims: list[Claim] = []
        for row in rows:
            try:
                claims.append(_checked(*row))
            except DomainError as fault:
                raise error("InvalidParam", f"Row {len(claims) + 1}: {fault.message}") from None
        return await self._put(claims, "ImportDomainClaims", f"{len(claims)} names", actor)

    async def remove(self, name: str, *, actor: Actor) -> None:
        """Forget that a sister service holds a name. Raises EntityNotExist.Claim."""
        name = rules.domain_name(name, leading_dot=True)
        async with self._database.change("", actor, "RemoveDomainClaim", name, self._clock()) as change:
            if not await remove_claim(change, name):
                raise error("EntityNotExist.Claim")

    async def _put(self, claims: list[Claim], action: str, object_: str, actor: Actor) -> Imported:
        """All or nothing. Raises DomainAlreadyExist, for a list InvalidCsv.Malformed, if some are live domains here."""
        now_s = self._clock()
        wanted = {claim.name: claim for claim in claims}
        added = changed = 0
        async with self._database.change("", actor, action, object_, now_s) as change:
            before: list[Claim] = []
            after: list[Claim] = []
            for names in chunks(wanted, ROWS_AT_ONCE):
                await _refuse_live(change.session, names, one=len(wanted) == 1)
                rows = await change.session.scalars(select(NameClaim).where(NameClaim.name.in_(names)))
                known = {row.name: row for row in rows}
                for claim in (wanted[name] for name in names):
                    row = known.get(claim.name)
                    if row is None:
                        added += 1
                        change.session.add(NameClaim(**msgspec.structs.asdict(claim), created_s=now_s))
                    elif _claim(row) != claim:
                        changed += 1
                        before.append(_claim(row))
                        row.service, row.account = claim.service, claim.account
                    else:
                        continue
                    after.append(claim)
                await change.session.flush()
            change.before, change.after = before or None, after
        return Imported(added, changed, len(wanted) - added - changed)


async def check_claims(session: AsyncSession, name: str) -> None:
    """Raises DomainAlreadyExist for a name that a sister service holds, whoever's it is there."""
    if await session.get(NameClaim, name) is not None:
        raise error("DomainAlreadyExist")


async def remove_claim(change: Change, name: str) -> bool:
    """Take a name out of the register within a transaction of the caller's; False if it was not in there."""
    row = await change.session.get(NameClaim, name)
    if row is None:
        return False
    change.before = _claim(row)
    await change.session.delete(row)
    return True


async def _refuse_live(session: AsyncSession, names: Iterable[str], *, one: bool) -> None:
    live = (
        await session.scalars(select(Domain.name).where(Domain.name.in_(list(names))).order_by(Domain.name).limit(10))
    ).all()
    if live:
        raise error("DomainAlreadyExist") if one else error("InvalidCsv.Malformed", f"Live domains here: {', '.join(live)}.")


def _checked(name: str, service: str, account: str) -> Claim:
    if service.lower() not in get_args(SisterService):
        raise invalid("Service")
    if len(account) > ACCOUNT_MAX or not account.isprintable():
        raise invalid("Account")
    return Claim(rules.domain_name(name, leading_dot=True), cast(SisterService, service.lower()), account)


def _claim(row: NameClaim) -> Claim:
    return Claim(row.name, cast(SisterService, row.service), row.account)
