"""The operator's commands for ICP filings. They work while the server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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

filing_app = typer.Typer(help="ICP filings of registrable domains.", no_args_is_help=True)

CsvFile = Annotated[Path, typer.Argument(help="A CSV file; `-` is standard input.", allow_dash=True, dir_okay=False)]
Search = Annotated[str, typer.Option(help="Show only those that contain this.")]


@filing_app.command("list")
def filing_list(
    search: Search = "", config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """List the filings."""
    found = with_services(
        config,
        data_dir,
        sets,
        lambda services, _: all_of(lambda number: services.filings.filings(search=search, **page_of(number))),
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
    filing = with_services(
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
    text = read_text(file)
    print_import(
        with_services(config, data_dir, sets, lambda services, actor: services.filings.import_csv(text, actor=actor)), json
    )


@filing_app.command("remove")
def filing_remove(domain: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Forget a filing; its domains go offline at once."""
    with_services(config, data_dir, sets, lambda services, actor: services.filings.remove(domain, actor=actor))


@filing_app.command("check")
def filing_check(config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Have all domains checked now: the running server does it within seconds, one that is not running at its start."""
    with_services(config, data_dir, sets, lambda services, actor: services.filings.ask_check(actor=actor))
