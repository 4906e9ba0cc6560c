"""Who owns which domain: proved once for each registrable domain and account, by DNS or by a file.

Reference control-plane 3.6. One account alone can hold a root; the operator can release it, or grant it after a ticket.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Literal

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains import rules
from headwater.domains.cnames import CnameService
from headwater.domains.errors import DomainError, error, invalid
from headwater.domains.proof import FILE_NAME, RECORD_LABEL, Finding, ProofFinder
from headwater.settings import Ownership
from headwater.store.database import Actor, Change, Database
from headwater.store.models import Account, AuditEntry, Domain, DomainRoot

CHECKS_AT_ONCE = 16
"""Checks that run side by side; each waits for servers of strangers, so that more would only hold sockets."""
SERVED_MAX = 3
"""Domains of an account whose CNAME is looked up to see whether one of them serves already."""
RELEASE = "ReleaseRootDomain"
"""The action in the audit log: an account that lost a root so proves it anew, whatever old records still say."""

Method = Literal["dnsCheck", "fileCheck"]
"""VerifyLiveDomainOwner, VerifyType."""


class Challenge(msgspec.Struct, frozen=True):
    """What an account has to do to prove that it owns a domain.

    content: the text that must be found, as the TXT record `record` or as the file at `url`. state: `exempt` (a name that
    needs no proof), `proved`, `needed`, or `foreign`: another account has proved to own this root.
    """

    root: str
    content: str
    record: str
    url: str
    state: Literal["exempt", "proved", "needed", "foreign"]


class Verification(msgspec.Struct, frozen=True):
    """The result of a check. findings: what each server said; empty if there was no need to ask."""

    challenge: Challenge
    passed: bool
    findings: list[Finding]

    @property
    def text(self) -> str:
        """What was found instead of the proof, in sentences."""
        return " ".join(f"{finding.source}: {finding.text}" for finding in self.findings if finding.outcome != "match")


class RootRecord(msgspec.Struct, frozen=True):
    """A root that an account holds. method: a Method, `operator`, or `cname` (see `prove_by_cname`)."""

    root: str
    account: str
    method: str
    proved_s: float


class OwnershipService:
    """Hands out what proves ownership, and looks for it. Methods raise DomainError for what they refuse."""

    def __init__(
        self, database: Database, settings: Ownership, cnames: CnameService, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._cnames = cnames
        self._settings = settings
        self._clock = clock
        self._finder = ProofFinder(settings)
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)

    async def content(self, account_id: str, name: str) -> Challenge:
        """What proves that the account owns a domain (DescribeLiveVerifyContent). Raises InvalidDomainName.Malformed."""
        async with self._database.read() as session:
            return await self._challenge(session, account_id, name)

    async def verify(self, account_id: str, name: str, method: str, *, actor: Actor) -> Verification:
        """Look for the proof, unless it is there already or none is needed (VerifyLiveDomainOwner).

        A check that finds nothing is a result, not an error. Raises InvalidDomainName.Malformed, InvalidVerifyType,
        DomainOwnerConflict.
        """
        if method not in ("dnsCheck", "fileCheck"):
            raise invalid("VerifyType")
        await self.prove_by_cname(account_id, name, actor=actor)
        challenge = await self.content(account_id, name)
        if challenge.state == "foreign":
            raise error("DomainOwnerConflict")
        if challenge.state != "needed":
            return Verification(challenge, True, [])
        async with self._checks:
            look = self._finder.in_dns if method == "dnsCheck" else self._finder.in_file
            findings = await look(challenge.root, challenge.content)
        passed = any(finding.outcome == "match" for finding in findings)
        if passed:
            await self._prove(account_id, challenge.root, method, "VerifyLiveDomainOwner", actor)
            challenge = msgspec.structs.replace(challenge, state="proved")
        return Verification(challenge, passed, findings)

    async def prove_by_cname(self, account_id: str, name: str, *, actor: Actor) -> None:
        """Note that the account owns the root of a name if a domain of its own there serves with a CNAME that leads to us.

        Reference control-plane 3.6. A CNAME does not say whose it is, so it proves something only where all of this holds:
        nobody holds the root, the account has the domain already and it is online, no other account has a domain under the
        root, and the operator has not taken the root from this account. Raises InvalidDomainName.Malformed.
        """
        challenge = await self.content(account_id, name)
        if challenge.state != "needed":
            return
        under = Domain.root == challenge.root
        own = select(Domain.name, Domain.cname).where(under, Domain.account == account_id, Domain.status == "online")
        released = select(AuditEntry.id).where(
            AuditEntry.account == account_id, AuditEntry.action == RELEASE, AuditEntry.object == challenge.root
        )
        async with self._database.read() as session:
            domains = (await session.execute(own.order_by(Domain.name).limit(SERVED_MAX))).all()
            if not domains or await session.scalar(select(Domain.name).where(under, Domain.account != account_id).limit(1)):
                return
            if await session.scalar(released.limit(1)):
                return
        for domain, target in domains:
            checked = await self._cnames.check(account_id, domain)
            # Addresses of ours in place of the record prove nothing: some names resolve to any address that one likes.
            if checked.state == "configured" and checked.found == target:
                await self._prove(account_id, challenge.root, "cname", "ProveRootByCname", actor)
                return

    async def check(self, session: AsyncSession, account_id: str, name: str) -> None:
        """Raises DomainOwnerVerifyFail or DomainOwnerConflict unless the account may add this name, which is a valid one."""
        challenge = await self._challenge(session, account_id, name)
        if challenge.state == "needed":
            raise error("DomainOwnerVerifyFail")
        if challenge.state == "foreign":
            raise error("DomainOwnerConflict")

    # For the operator

    async def roots(self, account_id: str | None = None, *, after: str = "", limit: int = 1000) -> list[RootRecord]:
        """The roots that were proved, of one account or of all, by name from `after` on."""
        rows = select(DomainRoot).where(DomainRoot.root > after).order_by(DomainRoot.root).limit(limit)
        if account_id is not None:
            rows = rows.where(DomainRoot.account == account_id)
        async with self._database.read() as session:
            return [_record(row) for row in await session.scalars(rows)]

    async def grant(self, account_id: str, name: str, *, actor: Actor) -> RootRecord:
        """Note that an account owns the root of a name, whoever held it before: the operator has looked into it.

        Raises InvalidDomainName.Malformed, EntityNotExist.Account, DomainOwnerConflict (another account has domains there).
        """
        root = self._root(rules.domain_name(name, leading_dot=True))
        async with self._database.change(account_id, actor, "GrantRootDomain", root, self._clock()) as change:
            return await self.grant_in(change, account_id, root)

    async def grant_in(self, change: Change, account_id: str, root: str) -> RootRecord:
        """As `grant`, within a transaction of the caller's."""
        session = change.session
        if await session.get(Account, account_id) is None:
            raise error("EntityNotExist.Account")
        others = select(Domain.name).where(Domain.root == root, Domain.account != account_id).limit(1)
        if await session.scalar(others) is not None:
            raise error("DomainOwnerConflict", "It has domains under it.")
        before = await session.get(DomainRoot, root)
        change.before = None if before is None else _record(before)
        row = await session.merge(DomainRoot(root=root, account=account_id, method="operator", proved_s=self._clock()))
        change.after = _record(row)
        return _record(row)

    async def release(self, name: str, *, actor: Actor) -> None:
        """Forget who has proved to own the root of a name; its domains stay. Raises EntityNotExist.RootDomain."""
        root = self._root(rules.domain_name(name, leading_dot=True))
        async with self._database.read() as session:
            row = await session.get(DomainRoot, root)
        if row is None:
            raise error("EntityNotExist.RootDomain")
        async with self._database.change(row.account, actor, RELEASE, root, self._clock()) as change:
            held = await change.session.get(DomainRoot, root)
            if held is None:
                raise error("EntityNotExist.RootDomain")
            change.before = _record(held)
            await change.session.delete(held)

    async def _challenge(self, session: AsyncSession, account_id: str, name: str) -> Challenge:
        name = rules.domain_name(name, leading_dot=True)
        root = self._root(name)
        state: Literal["exempt", "proved", "needed", "foreign"] = "exempt"
        if not rules.is_under(name, self._settings.exempt_suffixes):
            holder = await session.scalar(select(DomainRoot.account).where(DomainRoot.root == root))
            state = "needed" if holder is None else "proved" if holder == account_id else "foreign"
        return Challenge(root, _content(account_id, root), f"{RECORD_LABEL}.{root}", f"http://{root}/{FILE_NAME}", state)

    def _root(self, name: str) -> str:
        """The root of a valid name; of an exempt one that is a public suffix, itself."""
        root = rules.root_domain(name)
        if root is None:
            if not rules.is_under(name, self._settings.exempt_suffixes):
                raise error("InvalidDomainName.Malformed", "Everybody may register names under it.")
            root = name.removeprefix(".")
        return root

    async def _prove(self, account_id: str, root: str, method: str, action: str, actor: Actor) -> None:
        now_s = self._clock()
        async with self._database.change(account_id, actor, action, root, now_s) as change:
            held = await change.session.get(DomainRoot, root)
            if held is not None and held.account != account_id:
                raise error("DomainOwnerConflict")
            row = await change.session.merge(DomainRoot(root=root, account=account_id, method=method, proved_s=now_s))
            change.after = _record(row)


def refusal(verification: Verification) -> DomainError:
    """The API's error for a check that has not found the proof; it says what was found."""
    return error("DomainOwnerVerifyFail", verification.text)


def _content(account_id: str, root: str) -> str:
    """The same for an account and a root at any time. It need not be secret: who puts it into the zone controls the zone."""
    return "verify_" + hashlib.sha256(f"{account_id} owns {root}".encode()).hexdigest()[:32]


def _record(row: DomainRoot) -> RootRecord:
    return msgspec.convert(row, RootRecord, from_attributes=True)
