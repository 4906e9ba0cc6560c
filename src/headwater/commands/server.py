"""The commands that run the platform: `up` and `demo`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from headwater.commands.common import Config, DataDir, Json, Sets, fail, overrides, settings_of
from headwater.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from headwater.platform import Platform

T = TypeVar("T")


def up(
    config: Config = None,
    data_dir: DataDir = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=0, help="Media worker processes; 0 means one for each core (setting workers)."),
    ] = None,
    sets: Sets = None,
) -> None:
    """Run every role on this machine until Ctrl-C; prints `ready` when every listener answers."""
    if workers is not None:
        sets = [*(sets or ()), f"workers={workers}"]
    settings = settings_of(config, data_dir, sets, process="main")
    from headwater import platform

    async def say_ready(running: Platform) -> None:
        account = running.first_account
        if account is not None:
            print(f"account {account.name} was made ({account.account_id}); its access key is shown only this once:")
            print(f"  access_key_id     {account.access_key_id}")
            print(f"  access_key_secret {account.access_key_secret}")
        operator = running.first_operator
        if operator is not None:
            print("the console's first user was made; the password is shown only this once:")
            print(f"  user     {operator.name}")
            print(f"  password {operator.password}")
        print("ready", flush=True)
        await asyncio.Event().wait()

    try:
        _run(platform.run(settings, say_ready))
    except (platform.PlatformError, SettingsError) as error:
        fail(str(error))


def demo(
    check: Annotated[bool, typer.Option("--check", help="Play every URL, report, and end with 0 or 1.")] = False,
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", help="Where to keep data (default: a temporary folder).")
    ] = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Start everything with two domains and a test picture, and print all the URLs."""
    from headwater import demo as demonstration
    from headwater import platform

    try:
        code = _run(demonstration.run(overrides(None, sets), data_dir, check=check, json=json))
    except (platform.PlatformError, SettingsError, demonstration.DemoError) as error:
        fail(str(error))
    raise typer.Exit(code)


def _run(work: Coroutine[Any, Any, T]) -> T:
    import uvloop

    return uvloop.run(work)
