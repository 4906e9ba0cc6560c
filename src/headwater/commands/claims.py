"""The operator's commands for the register of names that sister services hold. They work while the server runs."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.commands.common import (
    Config,
    DataDir,
    Json,
    Sets,
    all_of,
    page_of,
    print_import,
    print_json,
    read_text,
    with_services,
)

if TYPE_CHECKING:
    from headwater.domains.services import Services
    from headwater.store.database import Actor

claim_app = typer.Typer(help="Names that sister services hold: vod, dcdn, scdn, vs.", no_args_is_help=True)

CsvFile = Annotated[Path, typer.Argument(help="A CSV file; `-` is standard input.", allow_dash=True, dir_okay=False)]
Search = Annotated[str, typer.Option(help="Show only those that contain this.")]


@claim_app.command("list")
def claim_list(
    search: Search = "", config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """List the names that sister services hold."""
    found = with_services(
        config,
        data_dir,
        sets,
        lambda services, _: all_of(lambda number: services.claims.claims(search=search, **page_of(number))),
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

    found = with_services(
        config, data_dir, sets, lambda services, _: all_of(lambda number: services.claims.claims(**page_of(number)))
    )
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

    claim = with_services(config, data_dir, sets, add)
    if json:
        print_json(claim)
    else:
        print(f"{claim.name} is held by {claim.service}")


@claim_app.command("import")
def claim_import(file: CsvFile, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False) -> None:
    """Fill the register from CSV with the columns name, service, account (an id, or empty); all of it or nothing."""
    text = read_text(file)
    print_import(
        with_services(config, data_dir, sets, lambda services, actor: services.claims.import_csv(text, actor=actor)), json
    )


@claim_app.command("remove")
def claim_remove(name: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Forget that a sister service holds a name."""
    with_services(config, data_dir, sets, lambda services, actor: services.claims.remove(name, actor=actor))
