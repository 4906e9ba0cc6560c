"""What the commands share: their options, settings and database, and the one line that they say when they cannot."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import msgspec
import typer

from headwater.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from headwater.store.database import Database

T = TypeVar("T")

Config = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings.", dir_okay=False)]
DataDir = Annotated[str | None, typer.Option("--data-dir", help="Folder of database, keys and sockets (setting data_dir).")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One setting; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def overrides(data_dir: str | None, sets: list[str] | None) -> list[tuple[str, str]]:
    """The settings on the command line. Ends the command if one of them has no value."""
    found = []
    for item in sets or ():
        name, equals, value = item.partition("=")
        if not equals:
            fail(f"--set takes NAME=VALUE, got `{item}`", code=2)
        found.append((name, value))
    if data_dir is not None:
        found.append(("data_dir", data_dir))
    return found


def settings_of(config: Path | None, data_dir: str | None, sets: list[str] | None, *, process: str) -> Settings:
    """The settings, with the log set up as they say. Ends the command if they cannot be used."""
    from headwater.observe import log

    try:
        settings = load(config, overrides=overrides(data_dir, sets))
        log.configure(settings.log.format, settings.log.level if process == "main" else "warning", process=process)
    except SettingsError as error:
        fail(str(error), code=2)
    return settings


def with_database(settings: Settings, use: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """Run something on the database, which may be in use by a running server."""
    from headwater.domains.errors import DomainError
    from headwater.store.crypto import SecretsError
    from headwater.store.database import Database, DatabaseUnusableError

    async def work() -> T:
        database = await Database.of(settings)
        try:
            return await use(database)
        finally:
            await database.close()

    try:
        Path(settings.data_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
        return asyncio.run(work())
    except DomainError as error:
        fail(f"{error.code}: {error.message}")
    except (SecretsError, DatabaseUnusableError, SettingsError, OSError) as error:
        fail(str(error))


def print_json(value: Any) -> None:
    """Print anything that msgspec can encode."""
    print(msgspec.json.encode(value).decode())


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with one line on standard error."""
    print(f"headwater: {message}", file=sys.stderr)
    raise typer.Exit(code)
