"""What the commands share: options, settings, the database with its services, and how they fail."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Protocol, TypeVar

import msgspec
import typer

from headwater.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from headwater.cluster.interface import Cluster
    from headwater.domains.services import Services
    from headwater.domains.streams import Page
    from headwater.domains.tables import Imported
    from headwater.store.database import Actor, Database

T = TypeVar("T")


class Numbered(Protocol):
    """A row that a command names by its number."""

    @property
    def id(self) -> int: ...


N = TypeVar("N", bound=Numbered)

Config = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings.", dir_okay=False)]
DataDir = Annotated[str | None, typer.Option("--data-dir", help="Folder of database, keys and sockets (setting data_dir).")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One setting; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Numbers = Annotated[list[int] | None, typer.Argument(metavar="[NUMBER]...", help="Their numbers, as `list` shows them.")]

PAGE_SIZE = 1000
"""Rows that a command reads at once when it prints all of them."""


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
    from headwater.store.database import DATABASE_FILE, Database, DatabaseUnusableError

    folder = Path(settings.data_dir)
    new = not settings.database and not (folder / DATABASE_FILE).exists()

    async def work() -> T:
        database = await Database.of(settings)
        if new:  # whoever meant another folder would wonder where everything is
            print(f"headwater: a new database was made in {folder}", file=sys.stderr)
        try:
            return await use(database)
        finally:
            await database.close()

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return asyncio.run(work())
    except DomainError as error:
        fail(f"{error.code}: {error.message}")
    except (SecretsError, DatabaseUnusableError, SettingsError, OSError) as error:
        fail(str(error))


def with_services(
    config: Path | None,
    data_dir: str | None,
    sets: list[str] | None,
    use: Callable[[Services, Actor], Coroutine[Any, Any, T]],
) -> T:
    """Run something with the services. A server that runs is told of changes; one that starts later reads them."""
    settings = settings_of(config, data_dir, sets, process="cli")

    async def work(database: Database) -> T:
        from headwater.cluster.embedded import EmbeddedCluster
        from headwater.cluster.interface import ClusterError
        from headwater.cluster.running import running
        from headwater.domains import services
        from headwater.store.database import Actor

        cluster: Cluster
        try:
            cluster = await running(Path(settings.data_dir))
        except ClusterError:
            cluster = EmbeddedCluster()
        try:
            return await use(services.build(database, cluster, settings), Actor("command line"))
        finally:
            await cluster.close()

    return with_database(settings, work)


async def all_of(page: Callable[[int], Coroutine[Any, Any, Page[T]]]) -> list[T]:
    """The items of all pages, numbered from 1."""
    return [item async for item in _items(page)]


async def _items(page: Callable[[int], Coroutine[Any, Any, Page[T]]]) -> AsyncIterator[T]:
    number = 1
    while items := (await page(number)).items:
        for item in items:
            yield item
        number += 1


async def chosen(
    numbers: list[int] | None, every: bool, what: str, page: Callable[[int], Coroutine[Any, Any, Page[N]]]
) -> list[int]:
    """The numbers that were given, or with --all those of the rows of all pages. Ends the command if both or none were said."""
    if bool(numbers) == every:
        fail(f"name the {what} by their numbers, or say --all")
    return numbers or [item.id for item in await all_of(page)]


def page_of(number: int) -> dict[str, Any]:
    """The arguments of a service that ask for one page."""
    return {"page_number": number, "page_size": PAGE_SIZE}


def read_text(file: Path) -> str:
    """A text file in UTF-8, with or without byte order mark; `-` is standard input. Ends the command if it cannot be read."""
    try:
        return (sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()).decode("utf-8-sig")
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}")
    except UnicodeDecodeError:
        fail(f"{file} is not UTF-8")


def show_time(time_s: float) -> str:
    """A moment, in Unix seconds, for people: UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(time_s))


def print_json(value: Any) -> None:
    """Print anything that msgspec can encode."""
    print(msgspec.json.encode(value).decode())


def print_import(done: Imported, json: bool) -> None:
    """Say what an import did."""
    if json:
        print_json(done)
    else:
        print(f"{done.added} added, {done.changed} changed, {done.unchanged} as before")


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with one line on standard error."""
    print(f"headwater: {message}", file=sys.stderr)
    raise typer.Exit(code)
