"""The operator's commands: callbacks, claims, filings, quotas, roots, tickets and tokens. They work while the server runs."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from headwater.command import Config, DataDir, Json, Sets, fail, print_json, settings_of, with_database

if TYPE_CHECKING:
    from headwater.domains.services import Services
    from headwater.domains.streams import Page
    from headwater.domains.tables import Imported
    from headwater.domains.tickets import Thread
    from headwater.notify.service import CallbackRecord
    from headwater.store.database import Actor, Database

T = TypeVar("T")

PAGE_SIZE = 1000
"""Rows that a command reads at once when it prints all of them."""

callback_app = typer.Typer(help="Callbacks that could not be delivered, docs/callbacks.md.", no_args_is_help=True)
claim_app = typer.Typer(help="Names that sister services hold: vod, dcdn, scdn, vs.", no_args_is_help=True)
filing_app = typer.Typer(help="ICP filings of registrable domains.", no_args_is_help=True)
quota_app = typer.Typer(help="How many domains an account may have.", no_args_is_help=True)
root_app = typer.Typer(help="Registrable domains and the accounts that have proved to own them.", no_args_is_help=True)
ticket_app = typer.Typer(help="What accounts ask the operator for.", no_args_is_help=True)
token_app = typer.Typer(help="Tokens for the operator's API, docs/domains.md.", no_args_is_help=True)

AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="An account's name or id.")]
CsvFile = Annotated[Path, typer.Argument(help="A CSV file; `-` is standard input.", allow_dash=True, dir_okay=False)]
Search = Annotated[str, typer.Option(help="Show only those that contain this.")]
TicketId = Annotated[int, typer.Argument(metavar="TICKET", help="The ticket's number.")]


# Callbacks

CallbackIds = Annotated[list[int] | None, typer.Argument(metavar="[NUMBER]...", help="Their numbers, as `list` shows them.")]
EveryCallback = Annotated[bool, typer.Option("--all", help="All dead letters, or all of --domain.")]
OfDomain = Annotated[str, typer.Option(help="Only those of this domain.")]


@callback_app.command("list")
def callback_list(
    domain: OfDomain = "",
    queued: Annotated[bool, typer.Option("--queued", help="What still waits, instead of the dead letters.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """List the dead letters, the newest first."""

    def page(services: Services, number: int) -> Coroutine[Any, Any, Page[CallbackRecord]]:
        service = services.callbacks
        return (service.queued if queued else service.dead)(domain=domain, **_page(number))

    found = _run(config, data_dir, sets, lambda services, _: _all(lambda number: page(services, number)))
    if json:
        print_json(found)
        return
    for item in found:
        name = f"{item.domain}/{item.app}/{item.stream}"
        print(
            f"{item.id:>8}  {_time(item.created_s)}  {item.type}  {name}  {item.url.partition('?')[0]}  {item.error}".rstrip()
        )


@callback_app.command("resend")
def callback_resend(
    numbers: CallbackIds = None,
    every: EveryCallback = False,
    domain: OfDomain = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Send dead letters anew: five more tries each."""
    done = _run(
        config,
        data_dir,
        sets,
        lambda services, actor: _chosen(
            services, numbers, every, domain, lambda ids: services.callbacks.resend(ids, actor=actor)
        ),
    )
    print(f"{done} queued")


@callback_app.command("drop")
def callback_drop(
    numbers: CallbackIds = None,
    every: EveryCallback = False,
    domain: OfDomain = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Forget dead letters."""
    done = _run(
        config,
        data_dir,
        sets,
        lambda services, actor: _chosen(
            services, numbers, every, domain, lambda ids: services.callbacks.drop(ids, actor=actor)
        ),
    )
    print(f"{done} dropped")


async def _chosen(
    services: Services,
    numbers: list[int] | None,
    every: bool,
    domain: str,
    do: Callable[[list[int]], Coroutine[Any, Any, int]],
) -> int:
    if bool(numbers) == every:
        fail("name the callbacks by their numbers, or say --all")
    if every:
        numbers = [item.id for item in await _all(lambda number: services.callbacks.dead(domain=domain, **_page(number)))]
    return await do(numbers or [])


# Claims


@claim_app.command("list")
def claim_list(
    search: Search = "", config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """List the names that sister services hold."""
    found = _run(
        config, data_dir, sets, lambda services, _: _all(lambda number: services.claims.claims(search=search, **_page(number)))
    )
    if json:
        print_json(found)
        return
    for claim in found:
        print(f"{claim.service:<5} {claim.name}  {claim.account}".rstrip())


@claim_app.command("export")
def claim_export(config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Print the register as CSV, as `claim import` reads it: for another platform that shares it."""
    from headwater.domains.claims import COLUMNS

    found = _run(config, data_dir, sets, lambda services, _: _all(lambda number: services.claims.claims(**_page(number))))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((claim.name, claim.service, claim.account) for claim in found)


@claim_app.command("add")
def claim_add(
    name: str,
    service: Annotated[str, typer.Argument(help="vod, dcdn, scdn or vs.")],
    account: Annotated[str, typer.Option(help="The account's name or id, if it is one of this platform.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Note that a sister service holds a name."""

    async def add(services: Services, actor: Actor) -> Any:
        owner = await services.accounts.find(account) if account else ""
        return await services.claims.add(name, service, owner, actor=actor)

    claim = _run(config, data_dir, sets, add)
    if json:
        print_json(claim)
    else:
        print(f"{claim.name} is held by {claim.service}")


@claim_app.command("import")
def claim_import(file: CsvFile, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False) -> None:
    """Fill the register from CSV with the columns name, service, account (an id, or empty); all of it or nothing."""
    text = _read(file)
    _print_import(_run(config, data_dir, sets, lambda services, actor: services.claims.import_csv(text, actor=actor)), json)


@claim_app.command("remove")
def claim_remove(name: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Forget that a sister service holds a name."""
    _run(config, data_dir, sets, lambda services, actor: services.claims.remove(name, actor=actor))


# Filings


@filing_app.command("list")
def filing_list(
    search: Search = "", config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """List the filings."""
    found = _run(
        config,
        data_dir,
        sets,
        lambda services, _: _all(lambda number: services.filings.filings(search=search, **_page(number))),
    )
    if json:
        print_json(found)
        return
    for filing in found:
        print(f"{filing.root}  {filing.number}  {filing.holder}  until {filing.last_day or 'further notice'}")


@filing_app.command("set")
def filing_set(
    domain: str,
    number: str,
    holder: Annotated[str, typer.Option(help="Whom the filing names.")] = "",
    expires: Annotated[str, typer.Option(help="Its last day, as 2027-12-31; without it, it does not end.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Note the filing of a registrable domain."""
    filing = _run(
        config, data_dir, sets, lambda services, actor: services.filings.put(domain, number, holder, expires, actor=actor)
    )
    if json:
        print_json(filing)
    else:
        print(f"{filing.root} is filed as {filing.number}")


@filing_app.command("import")
def filing_import(
    file: CsvFile, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """Note the filings of a CSV file with the columns domain, number, holder, expires; all of them or none."""
    text = _read(file)
    _print_import(_run(config, data_dir, sets, lambda services, actor: services.filings.import_csv(text, actor=actor)), json)


@filing_app.command("remove")
def filing_remove(domain: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Forget a filing; its domains go offline at once."""
    _run(config, data_dir, sets, lambda services, actor: services.filings.remove(domain, actor=actor))


@filing_app.command("check")
def filing_check(config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Have all domains checked now: the running server does it within seconds, one that is not running at its start."""
    _run(config, data_dir, sets, lambda services, actor: services.filings.ask_check(actor=actor))


# Quotas


@quota_app.command("show")
def quota_show(
    account: AccountName, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """Show how many domains an account has and may have, and whether it may ask for more."""

    async def look(services: Services, _: Actor) -> Any:
        return await services.quota.state(await services.accounts.find(account))

    state = _run(config, data_dir, sets, look)
    if json:
        print_json(state)
        return
    print(f"{state.used} of {state.quota} domains")
    print(f"average daily peak {state.average_mbps:.1f} Mbit/s; may ask for more above {state.threshold_mbps:g} Mbit/s")


@quota_app.command("set")
def quota_set(
    account: AccountName,
    quota: Annotated[str, typer.Argument(help="A number, or `default` for what the settings say.")],
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Give an account a quota of its own."""
    if quota != "default" and not (quota.isascii() and quota.isdecimal()):
        fail(f"a quota is a number or `default`, got `{quota}`", code=2)

    async def change(services: Services, actor: Actor) -> None:
        number = None if quota == "default" else int(quota)
        await services.quota.set(await services.accounts.find(account), number, actor=actor)

    _run(config, data_dir, sets, change)


# Roots


@root_app.command("list")
def root_list(config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False) -> None:
    """List the registrable domains that accounts have proved to own."""

    async def look(services: Services, _: Actor) -> list[Any]:
        found: list[Any] = []
        while more := await services.ownership.roots(after=found[-1].root if found else "", limit=PAGE_SIZE):
            found += more
        return found

    found = _run(config, data_dir, sets, look)
    if json:
        print_json(found)
        return
    for root in found:
        print(f"{root.root}  {root.account}  {root.method}  {_time(root.proved_s)}")


@root_app.command("grant")
def root_grant(account: AccountName, domain: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Note that an account owns the registrable domain of a name: you have seen proof of it."""

    async def grant(services: Services, actor: Actor) -> Any:
        return await services.ownership.grant(await services.accounts.find(account), domain, actor=actor)

    root = _run(config, data_dir, sets, grant)
    print(f"{root.root} belongs to {root.account}")


@root_app.command("release")
def root_release(domain: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Forget who has proved to own the registrable domain of a name; its domains stay."""
    _run(config, data_dir, sets, lambda services, actor: services.ownership.release(domain, actor=actor))


# Tickets


@ticket_app.command("list")
def ticket_list(
    status: Annotated[str, typer.Option(help="open, approved, rejected or withdrawn; empty: all.")] = "open",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """List tickets, the newest first."""
    found = _run(
        config,
        data_dir,
        sets,
        lambda services, _: _all(lambda number: services.tickets.tickets(status=status, **_page(number))),
    )
    if json:
        print_json(found)
        return
    for ticket in found:
        about = ticket.subject or f"{ticket.wanted} domains"
        print(f"{ticket.id:>5}  {ticket.status:<9}  {ticket.account}  {ticket.kind}: {about}  {_time(ticket.created_s)}")


@ticket_app.command("show")
def ticket_show(
    ticket: TicketId, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """Show a ticket and what was said."""
    _print_thread(_run(config, data_dir, sets, lambda services, _: services.tickets.thread(ticket)), json)


@ticket_app.command("reply")
def ticket_reply(
    ticket: TicketId, text: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """Say something to the account, and leave the ticket open."""
    thread = _run(config, data_dir, sets, lambda services, actor: services.tickets.reply(ticket, text, actor=actor))
    _print_thread(thread, json)


@ticket_app.command("approve")
def ticket_approve(
    ticket: TicketId,
    quota: Annotated[int | None, typer.Option(help="For a quota: the number to grant, if not the one that is wanted.")] = None,
    text: Annotated[str, typer.Option(help="A word to the account.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Do what the ticket asks for."""
    thread = _run(config, data_dir, sets, lambda services, actor: services.tickets.approve(ticket, quota, text, actor=actor))
    _print_thread(thread, json)


@ticket_app.command("reject")
def ticket_reject(
    ticket: TicketId,
    reason: Annotated[str, typer.Argument(help="Why; the account reads it.")],
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Refuse what the ticket asks for."""
    thread = _run(config, data_dir, sets, lambda services, actor: services.tickets.reject(ticket, reason, actor=actor))
    _print_thread(thread, json)


# Tokens


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="Whose token it is; letters, digits and . _ -")],
    write: Annotated[bool, typer.Option("--write", help="It may change the register, not only read it.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Make a token; it is shown only once."""
    access = "write" if write else "read"
    made = _run(config, data_dir, sets, lambda services, actor: services.tokens.create(name, access, actor=actor))
    if json:
        print_json(made)
    else:
        print(made.token)


@token_app.command("list")
def token_list(config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False) -> None:
    """List the tokens, without themselves."""
    found = _run(config, data_dir, sets, lambda services, _: services.tokens.tokens())
    if json:
        print_json(found)
        return
    for token in found:
        print(f"{token.name:<20} {token.access:<5}  {_time(token.created_s)}")


@token_app.command("revoke")
def token_revoke(name: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Take a token back; its next request is refused."""
    _run(config, data_dir, sets, lambda services, actor: services.tokens.revoke(name, actor=actor))


def _run(
    config: Path | None,
    data_dir: str | None,
    sets: list[str] | None,
    use: Callable[[Services, Actor], Coroutine[Any, Any, T]],
) -> T:
    """Run something with the services on the database. None of these commands changes what media nodes must know at once."""
    settings = settings_of(config, data_dir, sets, process="cli")

    async def work(database: Database) -> T:
        from headwater.cluster.embedded import EmbeddedCluster
        from headwater.domains import services
        from headwater.store.database import Actor

        return await use(services.build(database, EmbeddedCluster(), settings), Actor("command line"))

    return with_database(settings, work)


async def _all(page: Callable[[int], Coroutine[Any, Any, Page[T]]]) -> list[T]:
    return [item async for item in _items(page)]


async def _items(page: Callable[[int], Coroutine[Any, Any, Page[T]]]) -> AsyncIterator[T]:
    number = 1
    while items := (await page(number)).items:
        for item in items:
            yield item
        number += 1


def _page(number: int) -> dict[str, Any]:
    return {"page_number": number, "page_size": PAGE_SIZE}


def _read(file: Path) -> str:
    try:
        return (sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()).decode("utf-8-sig")
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}")
    except UnicodeDecodeError:
        fail(f"{file} is not UTF-8")


def _time(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(time_s))


def _print_import(done: Imported, json: bool) -> None:
    if json:
        print_json(done)
    else:
        print(f"{done.added} added, {done.changed} changed, {done.unchanged} as before")


def _print_thread(thread: Thread, json: bool) -> None:
    if json:
        print_json(thread)
        return
    ticket = thread.ticket
    about = ticket.subject or f"{ticket.wanted} domains"
    granted = "" if ticket.granted is None else f", {ticket.granted} granted"
    print(f"ticket {ticket.id} of account {ticket.account}, {ticket.kind}: {about}; {ticket.status}{granted}")
    for message in thread.messages:
        print(f"\n{_time(message.time_s)}  {message.author} ({message.name})\n{message.text}")
