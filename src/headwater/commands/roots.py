"""The operator's commands for registrable domains and who has proved to own them. They work while the server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.commands.common import PAGE_SIZE, Config, DataDir, Json, Sets, print_json, show_time, with_services

if TYPE_CHECKING:
    from headwater.domains.services import Services
    from headwater.store.database import Actor

root_app = typer.Typer(help="Registrable domains and the accounts that have proved to own them.", no_args_is_help=True)

AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="An account's name or id.")]


@root_app.command("list")
def root_list(config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False) -> None:
    """List the registrable domains that accounts have proved to own."""

    async def look(services: Services, _: Actor) -> list[Any]:
        found: list[Any] = []
        while more := await services.ownership.roots(after=found[-1].root if found else "", limit=PAGE_SIZE):
            found += more
        return found

    found = with_services(config, data_dir, sets, look)
    if json:
        print_json(found)
        return
    for root in found:
        print(f"{root.root}  {root.account}  {root.method}  {show_time(root.proved_s)}")


@root_app.command("grant")
def root_grant(account: AccountName, domain: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Note that an account owns the registrable domain of a name: you have seen proof of it."""

    async def grant(services: Services, actor: Actor) -> Any:
        return await services.ownership.grant(await services.accounts.find(account), domain, actor=actor)

    root = with_services(config, data_dir, sets, grant)
    print(f"{root.root} belongs to {root.account}")


@root_app.command("release")
def root_release(domain: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Forget who has proved to own the registrable domain of a name; its domains stay."""
    with_services(config, data_dir, sets, lambda services, actor: services.ownership.release(domain, actor=actor))
