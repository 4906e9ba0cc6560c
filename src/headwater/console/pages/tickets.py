"""Quotas and tickets: what an account may have, what it asks for, and the operator's answer."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.responses import Response

from headwater.console.visit import Visit
from headwater.domains.errors import DomainError, error
from headwater.domains.tickets import Thread

PAGE_SIZE = 50
KINDS = ("quota", "duplicate", "verification")


async def show(visit: Visit) -> Response:
    """The account's quota and its tickets; for an operator the tickets of all."""
    status = visit.query.get("status")
    number = max(visit.query.number("page") or 1, 1)
    services, account = visit.services, visit.account
    page = await services.tickets.tickets(account, status=status, page_number=number, page_size=PAGE_SIZE)
    return visit.render(
        "tickets.html",
        quota=await services.quota.state(account) if account else None,
        page=page,
        chosen=status,
        number=number,
        pages=max(-(-page.total // PAGE_SIZE), 1),
        link=lambda page: "/tickets?" + urlencode({"status": status, "page": page}),
        accounts={} if account else {item.id: item.name for item in await services.accounts.accounts()},
    )


async def new(visit: Visit) -> Response:
    """The form of a new ticket."""
    kind = visit.query.get("kind")
    return await _form(visit, kind if kind in KINDS else "verification", visit.query.get("domain"))


async def open_(visit: Visit) -> Response:
    """Submit a new ticket, as the account."""
    form, tickets = visit.form, visit.services.tickets
    account, kind, text = visit.one_account(), form.get("kind"), form.get("text")
    try:
        if kind == "quota":
            thread = await tickets.ask_for_quota(account, form.number("wanted") or 0, text, actor=visit.actor)
        else:
            thread = await tickets.ask_about_domain(account, kind, form.get("domain"), text, actor=visit.actor)
    except DomainError as fault:
        kind = kind if kind in KINDS else "verification"
        return await _form(visit, kind, form.get("domain"), text, visit.explain(fault), fault.status)
    visit.done("The ticket was submitted. You will find the answer here.")
    return visit.go(f"/tickets/{thread.ticket.id}")


async def thread(visit: Visit) -> Response:
    """One ticket with what was said."""
    found = await _thread(visit)
    return visit.render("ticket.html", thread=found, owner=await visit.services.accounts.account(found.ticket.account))


async def answer(visit: Visit) -> Response:
    """Say something, withdraw one's ticket, or, as an operator, approve or reject it."""
    found, form, tickets = await _thread(visit), visit.form, visit.services.tickets
    number, text, what = found.ticket.id, form.get("text"), form.get("what")
    if visit.operator:
        match what:
            case "approve":
                await tickets.approve(number, form.number("quota"), text, actor=visit.actor)
                visit.done("The ticket was approved, and what it asks for was done.")
            case "reject":
                await tickets.reject(number, text, actor=visit.actor)
                visit.done("The ticket was rejected.")
            case _:
                await tickets.reply(number, text, actor=visit.actor)
    elif what == "withdraw":
        await tickets.withdraw(number, found.ticket.account, actor=visit.actor)
        visit.done("The ticket was withdrawn.")
    else:
        await tickets.reply(number, text, found.ticket.account, actor=visit.actor)
    return visit.go(f"/tickets/{number}")


async def _thread(visit: Visit) -> Thread:
    text = visit.path("number")
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise error("EntityNotExist.Ticket")
    return await visit.services.tickets.thread(int(text), visit.account)


async def _form(visit: Visit, kind: str, domain: str, text: str = "", problem: str = "", status: int = 200) -> Response:
    quota = await visit.services.quota.state(visit.one_account())
    return visit.render("ticket_new.html", status, kind=kind, domain=domain, text=text, problem=problem, quota=quota)
