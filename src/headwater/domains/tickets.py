"""Tickets: what an account asks the operator for, the thread of messages about it, and the answer.

For a higher quota, for a name that a sister service holds, and for an ownership that cannot be proved as usual (reference
add-a-domain-name). An approval does what was asked for in the same transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, cast, get_args

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains import rules
from headwater.domains.claims import remove_claim
from headwater.domains.errors import error, invalid
from headwater.domains.ownership import OwnershipService
from headwater.domains.quota import QUOTA_MAX, QuotaService
from headwater.domains.streams import Page
from headwater.store import models
from headwater.store.database import Actor, Change, Database
from headwater.store.models import Domain, TicketMessage

Kind = Literal["quota", "duplicate", "verification"]
Status = Literal["open", "approved", "rejected", "withdrawn"]
Author = Literal["customer", "operator"]

OPEN_MAX = 20
"""Open tickets of one account: as many as it has domains at first, and no more to read than an operator can."""
MESSAGES_MAX = 200
"""Messages of one ticket."""
TEXT_MAX = 4000
"""Characters of one message: two pages."""


class Message(msgspec.Struct, frozen=True):
    """One message of a thread. name: who of the account or the operators wrote it."""

    author: Author
    name: str
    text: str
    time_s: float


class Ticket(msgspec.Struct, frozen=True):
    """A ticket. subject: the domain that it is about, "" for a quota. wanted, granted: a number of domains."""

    id: int
    account: str
    kind: Kind
    subject: str
    status: Status
    wanted: int | None
    granted: int | None
    created_s: float
    modified_s: float


class Thread(msgspec.Struct, frozen=True):
    """A ticket with its messages, oldest first."""

    ticket: Ticket
    messages: list[Message]


class TicketService:
    """Opens and answers tickets. Methods raise DomainError for what they refuse.

    account: whose ticket it must be; None for the operator, who sees all.
    """

    def __init__(
        self,
        database: Database,
        quota: QuotaService,
        ownership: OwnershipService,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._quota = quota
        self._ownership = ownership
        self._clock = clock

    async def ask_for_quota(self, account_id: str, wanted: int, reason: str, *, actor: Actor) -> Thread:
        """Ask for a higher quota of domains.

        Raises QuotaIncrease.BandwidthTooLow, InvalidQuota (not higher than now), InvalidText, QuotaExceeded.Ticket.
        """
        state = await self._quota.state(account_id)
        if not state.may_ask:
            detail = f"It is {state.average_mbps:.1f} Mbit/s and must exceed {state.threshold_mbps:g} Mbit/s."
            raise error("QuotaIncrease.BandwidthTooLow", detail)
        if not state.quota < wanted <= QUOTA_MAX:
            raise invalid("Quota")
        return await self._open(account_id, "quota", "", wanted, reason, actor)

    async def ask_about_domain(self, account_id: str, kind: str, domain: str, reason: str, *, actor: Actor) -> Thread:
        """Ask about a name that exists already (`duplicate`) or an ownership that cannot be proved (`verification`).

        Raises InvalidKind, InvalidDomainName.Malformed, InvalidText, QuotaExceeded.Ticket.
        """
        if kind not in ("duplicate", "verification"):
            raise invalid("Kind")
        subject = rules.domain_name(domain, leading_dot=True)
        return await self._open(account_id, cast(Kind, kind), subject, None, reason, actor)

    async def tickets(
        self, account: str | None = None, *, status: str = "", page_number: int = 1, page_size: int = 50
    ) -> Page[Ticket]:
        """Tickets, the newest first. Raises InvalidStatus."""
        chosen = select(models.Ticket)
        if account is not None:
            chosen = chosen.where(models.Ticket.account == account)
        if status:
            if status not in get_args(Status):
                raise invalid("Status")
            chosen = chosen.where(models.Ticket.status == status)
        page = chosen.order_by(models.Ticket.id.desc()).limit(page_size).offset((page_number - 1) * page_size)
        async with self._database.read() as session:
            total = await session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
            return Page([_ticket(row) for row in await session.scalars(page)], total)

    async def thread(self, ticket_id: int, account: str | None = None) -> Thread:
        """A ticket and what was said. Raises EntityNotExist.Ticket."""
        async with self._database.read() as session:
            return await _thread(session, await _row(session, ticket_id, account))

    async def reply(self, ticket_id: int, text: str, account: str | None = None, *, actor: Actor) -> Thread:
        """Say something more, as the account or, without one, as the operator.

        Raises EntityNotExist.Ticket, InvalidTicket.Closed, InvalidText.
        """
        author: Author = "operator" if account is None else "customer"
        return await self._answer(ticket_id, account, "ReplyTicket", "open", author, text, actor)

    async def withdraw(self, ticket_id: int, account: str, *, actor: Actor) -> Thread:
        """Close one's own ticket, as nothing is wanted any more. Raises EntityNotExist.Ticket, InvalidTicket.Closed."""
        return await self._answer(ticket_id, account, "WithdrawTicket", "withdrawn", "customer", None, actor)

    async def approve(self, ticket_id: int, quota: int | None = None, text: str = "", *, actor: Actor) -> Thread:
        """Do what is asked for, as the operator.

        For a quota: set it to this number, by default the one that is wanted. For a duplicate: take the name out of the
        register of claims. For a verification: grant the root domain to the account. Raises EntityNotExist.Ticket,
        InvalidTicket.Closed, InvalidText, InvalidQuota, DomainAlreadyExist (an account here has it as a live domain),
        DomainOwnerConflict (another account has domains under the root).
        """
        return await self._answer(ticket_id, None, "ApproveTicket", "approved", "operator", text or None, actor, quota)

    async def reject(self, ticket_id: int, reason: str, *, actor: Actor) -> Thread:
        """Say no, and why, as the operator. Raises EntityNotExist.Ticket, InvalidTicket.Closed, InvalidText."""
        return await self._answer(ticket_id, None, "RejectTicket", "rejected", "operator", reason, actor)

    async def _open(self, account_id: str, kind: Kind, subject: str, wanted: int | None, reason: str, actor: Actor) -> Thread:
        now_s = self._clock()
        text = _text(reason)
        async with self._database.change(account_id, actor, "OpenTicket", subject or kind, now_s) as change:
            session = change.session
            mine = (models.Ticket.account == account_id) & (models.Ticket.status == "open")
            if (await session.scalar(select(func.count()).select_from(models.Ticket).where(mine)) or 0) >= OPEN_MAX:
                raise error("QuotaExceeded.Ticket")
            row = models.Ticket(
                account=account_id,
                kind=kind,
                subject=subject,
                status="open",
                wanted=wanted,
                granted=None,
                created_s=now_s,
                modified_s=now_s,
            )
            session.add(row)
            await session.flush()
            session.add(TicketMessage(ticket=row.id, author="customer", name=actor.name, text=text, time_s=now_s))
            await session.flush()
            change.after = _ticket(row)
            return await _thread(session, row)

    async def _answer(
        self,
        ticket_id: int,
        account: str | None,
        action: str,
        status: Status,
        author: Author,
        said: str | None,
        actor: Actor,
        quota: int | None = None,
    ) -> Thread:
        """Everything that happens to an open ticket: a message, a new status, and what an approval does."""
        now_s = self._clock()
        text = None if said is None else _text(said)
        async with self._database.read() as session:
            owner = (await _row(session, ticket_id, account)).account
        async with self._database.change(owner, actor, action, str(ticket_id), now_s) as change:
            row = await _row(change.session, ticket_id, account)
            if row.status != "open":
                raise error("InvalidTicket.Closed")
            before = _ticket(row)
            if status == "approved":
                row.granted = await self._do(change, row, quota)
            row.status, row.modified_s = status, now_s
            if text is not None:
                await _say(
                    change.session, TicketMessage(ticket=row.id, author=author, name=actor.name, text=text, time_s=now_s)
                )
            await change.session.flush()
            change.before, change.after = before, _ticket(row)
            return await _thread(change.session, row)

    async def _do(self, change: Change, row: models.Ticket, quota: int | None) -> int | None:
        """What an approved ticket asks for; returns the number that was granted."""
        match cast(Kind, row.kind):
            case "quota":
                granted = row.wanted if quota is None else quota
                await self._quota.set_in(change, row.account, granted)
                return granted
            case "duplicate":
                if await change.session.get(Domain, row.subject) is not None:
                    raise error("DomainAlreadyExist")
                await remove_claim(change, row.subject)
            case "verification":
                root = rules.root_domain(row.subject) or row.subject.removeprefix(".")
                await self._ownership.grant_in(change, row.account, root)
        return None


async def _say(session: AsyncSession, message: TicketMessage) -> None:
    said = select(func.count()).select_from(TicketMessage).where(TicketMessage.ticket == message.ticket)
    if (await session.scalar(said) or 0) >= MESSAGES_MAX and message.author == "customer":
        raise error("QuotaExceeded.Ticket", "The ticket has too many messages.")
    session.add(message)


def _text(text: str) -> str:
    """A message without what could act on a terminal. Raises InvalidText for an empty one and one that is too long."""
    plain = "".join(character for character in text.strip() if character.isprintable() or character in "\n\t")
    if not plain or len(plain) > TEXT_MAX:
        raise invalid("Text")
    return plain


async def _row(session: AsyncSession, ticket_id: int, account: str | None) -> models.Ticket:
    row = await session.get(models.Ticket, ticket_id) if 0 < ticket_id < 2**31 else None
    if row is None or account not in (None, row.account):
        raise error("EntityNotExist.Ticket")
    return row


async def _thread(session: AsyncSession, row: models.Ticket) -> Thread:
    said = select(TicketMessage).where(TicketMessage.ticket == row.id).order_by(TicketMessage.id)
    return Thread(
        _ticket(row), [msgspec.convert(message, Message, from_attributes=True) for message in await session.scalars(said)]
    )


def _ticket(row: models.Ticket) -> Ticket:
    return msgspec.convert(row, Ticket, from_attributes=True)
