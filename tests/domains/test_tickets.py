"""Promises of quotas and tickets: who may ask for what, what an approval does, and that both sides see the thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select

from headwater.domains import tickets as ticket_service
from headwater.domains.tickets import OPEN_MAX, TEXT_MAX, Thread
from headwater.observe.traffic import Traffic
from headwater.store.database import Actor
from headwater.store.models import AuditEntry
from support.domain_world import ACTOR, PLAY, REGION, World, code, refused

OPERATOR = Actor("operator@example")
DAY_S = 86400.0
FEW = 8
"""So many instead of a limit that is reached only after many calls."""


async def busy(world: World, mbps: float) -> None:
    """Give the account a domain whose peak was so high on each of the last thirty days."""
    await world.add("busy.example.com")
    today = world.now_s // DAY_S * DAY_S
    peak = Traffic(bytes_out=int(mbps * 1e6 / 8 * 300))
    for day in range(1, 31):
        at_s = today - day * DAY_S + 3600
        await world.usage.record(at_s, at_s + 300, {"busy.example.com": peak})


async def ask(world: World, wanted: int = 40) -> Thread:
    return await world.services.tickets.ask_for_quota(world.account, wanted, "We grow.", actor=ACTOR)


async def about(world: World, kind: str, name: str, account: str = "") -> Thread:
    return await world.services.tickets.ask_about_domain(account or world.account, kind, name, "It is ours.", actor=ACTOR)


# Quota


async def test_an_account_may_have_twenty_domains(world: World) -> None:
    assert (await world.services.quota.state(world.account)).quota == 20
    for number in range(20):
        await world.add(f"d{number}.example.com", "liveEdge" if number % 2 else "liveVideo")
    fault = await refused(world.add("more.example.com"))
    assert (fault.code, fault.status) == ("QuotaExceeded.Domain", 400)
    await world.domains.add(world.stranger, "own.example.com", "liveVideo", REGION, actor=ACTOR)
    await world.domains.delete(world.account, "d0.example.com", actor=ACTOR)
    assert (await world.services.quota.state(world.account)).used == 19
    await world.add("more.example.com")


async def test_a_refused_or_failed_add_uses_no_quota(world: World) -> None:
    await world.add(PLAY)
    await code(world.add(PLAY))
    await code(world.add("*.example.com"))
    assert (await world.services.quota.state(world.account)).used == 1


async def test_the_operator_sets_a_quota_and_takes_it_back(world: World) -> None:
    quota = world.services.quota
    await quota.set(world.account, 1, actor=OPERATOR)
    await world.add(PLAY)
    assert await code(world.add("b.example.com")) == "QuotaExceeded.Domain"
    await quota.set(world.account, 0, actor=OPERATOR)
    assert await code(world.add("b.example.com")) == "QuotaExceeded.Domain"
    assert (await world.domains.list_domains(world.account)).total == 1
    await quota.set(world.account, None, actor=OPERATOR)
    await world.add("b.example.com")
    for number in (-1, 1_000_001):
        assert await code(quota.set(world.account, number, actor=OPERATOR)) == "InvalidQuota"
    assert await code(quota.set("1", 1, actor=OPERATOR)) == "EntityNotExist.Account"


@pytest.mark.parametrize(("mbps", "may"), [(49.0, False), (50.0, False), (51.0, True)])
async def test_more_is_for_accounts_whose_average_daily_peak_exceeds_50_mbit_s(world: World, mbps: float, may: bool) -> None:
    await busy(world, mbps)
    state = await world.services.quota.state(world.account)
    assert (state.may_ask, round(state.average_mbps), state.threshold_mbps) == (may, mbps, 50)
    if may:
        assert (await ask(world)).ticket.status == "open"
    else:
        fault = await refused(ask(world))
        assert (fault.code, fault.status) == ("QuotaIncrease.BandwidthTooLow", 400)
        assert fault.message.endswith(f"It is {mbps:.1f} Mbit/s and must exceed 50 Mbit/s.")


async def test_one_asks_for_more_and_not_for_less(world: World) -> None:
    await busy(world, 60)
    for wanted in (-5, 0, 20, 1_000_001):
        assert await code(ask(world, wanted)) == "InvalidQuota"


async def test_an_approved_quota_holds_at_once(world: World) -> None:
    await busy(world, 60)
    asked = await ask(world, 40)
    answered = await world.services.tickets.approve(asked.ticket.id, text="With pleasure.", actor=OPERATOR)
    assert (answered.ticket.status, answered.ticket.granted) == ("approved", 40)
    assert (await world.services.quota.state(world.account)).quota == 40
    second = await ask(world, 100)
    answered = await world.services.tickets.approve(second.ticket.id, 50, actor=OPERATOR)
    assert (answered.ticket.wanted, answered.ticket.granted) == (100, 50)
    assert (await world.services.quota.state(world.account)).quota == 50


async def test_a_rejection_has_a_reason_and_changes_nothing(world: World) -> None:
    await busy(world, 60)
    ticket = (await ask(world)).ticket
    assert await code(world.services.tickets.reject(ticket.id, " ", actor=OPERATOR)) == "InvalidText"
    answered = await world.services.tickets.reject(ticket.id, "Too much at once.", actor=OPERATOR)
    assert (answered.ticket.status, answered.messages[-1].text) == ("rejected", "Too much at once.")
    assert (await world.services.quota.state(world.account)).quota == 20


# Duplicates and ownership


async def test_an_approved_duplicate_frees_the_name(world: World) -> None:
    await world.services.claims.add(PLAY, "dcdn", actor=OPERATOR)
    ticket = (await about(world, "duplicate", PLAY.upper())).ticket
    assert ticket.subject == PLAY
    assert await code(world.add(PLAY)) == "DomainAlreadyExist"
    await world.services.tickets.approve(ticket.id, actor=OPERATOR)
    await world.add(PLAY)


async def test_a_name_that_is_somebodys_live_domain_cannot_be_freed_by_a_ticket(world: World) -> None:
    await world.domains.add(world.stranger, PLAY, "liveVideo", REGION, actor=ACTOR)
    ticket = (await about(world, "duplicate", PLAY)).ticket
    assert await code(world.services.tickets.approve(ticket.id, actor=OPERATOR)) == "DomainAlreadyExist"
    assert (await world.services.tickets.thread(ticket.id)).ticket.status == "open"


async def test_an_approved_verification_grants_the_root(world: World) -> None:
    assert await code(world.add("live.example.net")) == "DomainOwnerVerifyFail"
    ticket = (await about(world, "verification", "live.example.net")).ticket
    await world.services.tickets.approve(ticket.id, actor=OPERATOR)
    await world.add("live.example.net")
    second = (await about(world, "verification", "www.example.net", world.stranger)).ticket
    assert await code(world.services.tickets.approve(second.id, actor=OPERATOR)) == "DomainOwnerConflict"


async def test_only_what_concerns_a_domain_names_one(world: World) -> None:
    for kind in ("quota", "other", ""):
        assert await code(about(world, kind, PLAY)) == "InvalidKind"
    assert await code(about(world, "duplicate", "*.example.com")) == "InvalidDomainName.Malformed"


# The thread


async def test_both_sides_see_and_write_the_thread(world: World) -> None:
    tickets = world.services.tickets
    ticket = (await about(world, "duplicate", PLAY)).ticket
    world.now_s += 60
    await tickets.reply(ticket.id, "Whose is it?", actor=OPERATOR)
    await tickets.reply(ticket.id, "Ours,\nsince 2019.", world.account, actor=ACTOR)
    mine = await tickets.thread(ticket.id, world.account)
    assert mine == await tickets.thread(ticket.id)
    assert [(message.author, message.name, message.text) for message in mine.messages] == [
        ("customer", "tester", "It is ours."),
        ("operator", "operator@example", "Whose is it?"),
        ("customer", "tester", "Ours,\nsince 2019."),
    ]
    assert (mine.ticket.modified_s - mine.ticket.created_s, mine.messages[-1].time_s) == (60, world.now_s)


async def test_nobody_sees_or_answers_anothers_ticket(world: World) -> None:
    tickets = world.services.tickets
    ticket = (await about(world, "duplicate", PLAY)).ticket
    for call in (
        tickets.thread(ticket.id, world.stranger),
        tickets.reply(ticket.id, "x", world.stranger, actor=ACTOR),
        tickets.withdraw(ticket.id, world.stranger, actor=ACTOR),
        tickets.thread(999),
        tickets.thread(2**70),
        tickets.thread(-1),
    ):
        fault = await refused(call)
        assert (fault.code, fault.status) == ("EntityNotExist.Ticket", 404)
    assert (await tickets.tickets(world.stranger)).total == 0


@pytest.mark.parametrize("end", ["approve", "reject", "withdraw"])
async def test_a_ticket_that_is_answered_stays_so(world: World, end: str) -> None:
    tickets = world.services.tickets
    ticket = (await about(world, "duplicate", PLAY)).ticket
    ends: dict[str, Callable[[], Awaitable[Thread]]] = {
        "approve": lambda: tickets.approve(ticket.id, actor=OPERATOR),
        "reject": lambda: tickets.reject(ticket.id, "No.", actor=OPERATOR),
        "withdraw": lambda: tickets.withdraw(ticket.id, world.account, actor=ACTOR),
    }
    status = {"approve": "approved", "reject": "rejected", "withdraw": "withdrawn"}[end]
    assert (await ends[end]()).ticket.status == status
    for again in ends.values():
        assert await code(again()) == "InvalidTicket.Closed"
    assert await code(tickets.reply(ticket.id, "But...", world.account, actor=ACTOR)) == "InvalidTicket.Closed"
    assert (await tickets.tickets(status=status)).total == 1
    assert (await tickets.tickets(status="open")).total == 0


async def test_tickets_are_listed_newest_first(world: World) -> None:
    tickets = world.services.tickets
    ids = [(await about(world, "duplicate", f"d{number}.example.com")).ticket.id for number in range(3)]
    theirs = (await about(world, "verification", PLAY, world.stranger)).ticket.id
    assert [ticket.id for ticket in (await tickets.tickets()).items] == [theirs, *reversed(ids)]
    page = await tickets.tickets(world.account, page_number=2, page_size=2)
    assert ([ticket.id for ticket in page.items], page.total) == (ids[:1], 3)
    assert await code(tickets.tickets(status="done")) == "InvalidStatus"


async def test_tickets_and_messages_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ticket_service.MESSAGES_MAX == 200
    monkeypatch.setattr(ticket_service, "MESSAGES_MAX", FEW)
    tickets = world.services.tickets
    for number in range(OPEN_MAX):
        last = await about(world, "duplicate", f"d{number}.example.com")
    assert await code(about(world, "duplicate", PLAY)) == "QuotaExceeded.Ticket"
    await about(world, "duplicate", PLAY, world.stranger)
    for text in ("", " \n", "x" * (TEXT_MAX + 1), "\x00\x1b"):
        assert await code(tickets.reply(last.ticket.id, text, world.account, actor=ACTOR)) == "InvalidText"
    for _ in range(FEW - 1):
        await tickets.reply(last.ticket.id, "And?", world.account, actor=ACTOR)
    assert await code(tickets.reply(last.ticket.id, "And?", world.account, actor=ACTOR)) == "QuotaExceeded.Ticket"
    await tickets.reject(last.ticket.id, "Enough.", actor=OPERATOR)


async def test_messages_cannot_act_on_a_terminal(world: World) -> None:
    ticket = (await about(world, "duplicate", PLAY)).ticket
    thread = await world.services.tickets.reply(ticket.id, "a\x1b[2Jb\x00\u202ec\n\td", world.account, actor=ACTOR)
    assert thread.messages[-1].text == "a[2Jbc\n\td"


async def test_every_answer_is_in_the_audit_log_of_the_account(world: World) -> None:
    ticket = (await about(world, "duplicate", PLAY)).ticket
    await world.services.tickets.reply(ticket.id, "Hm.", actor=OPERATOR)
    await world.services.tickets.reject(ticket.id, "No.", actor=OPERATOR)
    async with world.database.read() as session:
        mine = select(AuditEntry).where(AuditEntry.account == world.account).order_by(AuditEntry.id)
        entries = [(entry.action, entry.actor) for entry in await session.scalars(mine)]
    assert entries[-3:] == [("OpenTicket", "tester"), ("ReplyTicket", OPERATOR.name), ("RejectTicket", OPERATOR.name)]
