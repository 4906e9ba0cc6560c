"""The operator's commands for callbacks that could not be delivered. They work while the server runs."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.commands.common import (
    Config,
    DataDir,
    Json,
    Numbers,
    Sets,
    all_of,
    chosen,
    page_of,
    print_json,
    show_time,
    with_services,
)

if TYPE_CHECKING:
    from headwater.domains.services import Services
    from headwater.domains.streams import Page
    from headwater.notify.service import CallbackRecord
    from headwater.store.database import Actor

callback_app = typer.Typer(help="Callbacks that could not be delivered, docs/callbacks.md.", no_args_is_help=True)

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
        return (service.queued if queued else service.dead)(domain=domain, **page_of(number))

    found = with_services(config, data_dir, sets, lambda services, _: all_of(lambda number: page(services, number)))
    if json:
        print_json(found)
        return
    for item in found:
        what = f"{item.type}  {item.domain}/{item.app}/{item.stream}  {item.url.partition('?')[0]}  {item.error}".rstrip()
        print(f"{item.id:>8}  {show_time(item.created_s)}  {what}")


@callback_app.command("resend")
def callback_resend(
    numbers: Numbers = None,
    every: EveryCallback = False,
    domain: OfDomain = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Send dead letters anew: five more tries each."""

    async def resend(services: Services, actor: Actor) -> int:
        return await services.callbacks.resend(await _chosen(services, numbers, every, domain), actor=actor)

    print(f"{with_services(config, data_dir, sets, resend)} queued")


@callback_app.command("drop")
def callback_drop(
    numbers: Numbers = None,
    every: EveryCallback = False,
    domain: OfDomain = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Forget dead letters."""

    async def drop(services: Services, actor: Actor) -> int:
        return await services.callbacks.drop(await _chosen(services, numbers, every, domain), actor=actor)

    print(f"{with_services(config, data_dir, sets, drop)} dropped")


async def _chosen(services: Services, numbers: list[int] | None, every: bool, domain: str) -> list[int]:
    return await chosen(numbers, every, "callbacks", lambda number: services.callbacks.dead(domain=domain, **page_of(number)))
