"""The operator's commands for what accounts ask for. They work while the server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headwater.commands.common import Config, DataDir, Json, Sets, all_of, page_of, print_json, show_time, with_services

if TYPE_CHECKING:
    from headwater.domains.tickets import Thread

ticket_app = typer.Typer(help="What accounts ask the operator for.", no_args_is_help=True)

TicketId = Annotated[int, typer.Argument(metavar="TICKET", help="The ticket's number.")]


@ticket_app.command("list")
def ticket_list(
    status: Annotated[str, typer.Option(help="open, approved, rejected or withdrawn; empty: all.")] = "open",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """List tickets, the newest first."""
    found = with_services(
        config,
        data_dir,
        sets,
        lambda services, _: all_of(lambda number: services.tickets.tickets(status=status, **page_of(number))),
    )
    if json:
        print_json(found)
        return
    for ticket in found:
        about = ticket.subject or f"{ticket.wanted} domains"
        print(f"{ticket.id:>5}  {ticket.status:<9}  {ticket.account}  {ticket.kind}: {about}  {show_time(ticket.created_s)}")


@ticket_app.command("show")
def ticket_show(
    ticket: TicketId, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """Show a ticket and what was said."""
    _print_thread(with_services(config, data_dir, sets, lambda services, _: services.tickets.thread(ticket)), json)


@ticket_app.command("reply")
def ticket_reply(
    ticket: TicketId, text: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """Say something to the account, and leave the ticket open."""
    thread = with_services(config, data_dir, sets, lambda services, actor: services.tickets.reply(ticket, text, actor=actor))
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
    thread = with_services(
        config, data_dir, sets, lambda services, actor: services.tickets.approve(ticket, quota, text, actor=actor)
    )
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
    thread = with_services(config, data_dir, sets, lambda services, actor: services.tickets.reject(ticket, reason, actor=actor))
    _print_thread(thread, json)


def _print_thread(thread: Thread, json: bool) -> None:
    if json:
        print_json(thread)
        return
    ticket = thread.ticket
    about = ticket.subject or f"{ticket.wanted} domains"
    granted = "" if ticket.granted is None else f", {ticket.granted} granted"
    print(f"ticket {ticket.id} of account {ticket.account}, {ticket.kind}: {about}; {ticket.status}{granted}")
    for message in thread.messages:
        print(f"\n{show_time(message.time_s)}  {message.author} ({message.name})\n{message.text}")
