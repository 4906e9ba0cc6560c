"""The operator's commands for files that cannot be stored. They work while the server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
    from headwater.domains.uploads import Show
    from headwater.store.database import Actor

upload_app = typer.Typer(help="Files that could not be stored, docs/recording.md.", no_args_is_help=True)

EveryUpload = Annotated[bool, typer.Option("--all", help="All that fail, or all of --domain.")]
OfDomain = Annotated[str, typer.Option(help="Only those of this main streaming domain.")]


@upload_app.command("list")
def upload_list(
    domain: OfDomain = "",
    waiting: Annotated[bool, typer.Option("--waiting", help="All that wait, not only those that fail.")] = False,
    given_up: Annotated[bool, typer.Option("--given-up", help="Those that were given up, instead.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """List the files that fail, the oldest first, with the reason."""
    show: Show = "given_up" if given_up else "waiting" if waiting else "failing"
    found = with_services(
        config,
        data_dir,
        sets,
        lambda services, _: all_of(lambda number: services.uploads.page(show, domain=domain, **page_of(number))),
    )
    if json:
        print_json(found)
        return
    for item in found:
        tries = f"{item.tries} tries" if item.tries != 1 else "1 try"
        print(
            f"{item.id:>8}  {show_time(item.created_s)}  {tries}  {item.bucket}/{item.key}  {item.path}  {item.error}".rstrip()
        )


@upload_app.command("retry")
def upload_retry(
    numbers: Numbers = None,
    every: EveryUpload = False,
    domain: OfDomain = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Try files now, given up or not."""

    async def try_again(services: Services, actor: Actor) -> int:
        return await services.uploads.try_again(await _chosen(services, numbers, every, domain), actor=actor)

    print(f"{with_services(config, data_dir, sets, try_again)} queued")


@upload_app.command("give-up")
def upload_give_up(
    numbers: Numbers = None,
    every: EveryUpload = False,
    domain: OfDomain = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Try files no more; they stay on this machine."""

    async def give_up(services: Services, actor: Actor) -> int:
        return await services.uploads.give_up(await _chosen(services, numbers, every, domain), actor=actor)

    print(f"{with_services(config, data_dir, sets, give_up)} given up")


async def _chosen(services: Services, numbers: list[int] | None, every: bool, domain: str) -> list[int]:
    return await chosen(numbers, every, "files", lambda number: services.uploads.page(domain=domain, **page_of(number)))
