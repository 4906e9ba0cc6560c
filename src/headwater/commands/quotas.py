"""The operator's commands for how many domains an account may have. They work while the server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.commands.common import Config, DataDir, Json, Sets, fail, print_json, with_services

if TYPE_CHECKING:
    from headwater.domains.services import Services
    from headwater.store.database import Actor

quota_app = typer.Typer(help="How many domains an account may have.", no_args_is_help=True)

AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="An account's name or id.")]


@quota_app.command("show")
def quota_show(
    account: AccountName, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """Show how many domains an account has and may have, and whether it may ask for more."""

    async def look(services: Services, _: Actor) -> Any:
        return await services.quota.state(await services.accounts.find(account))

    state = with_services(config, data_dir, sets, look)
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

    with_services(config, data_dir, sets, change)
