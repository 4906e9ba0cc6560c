"""The commands. Imports are made late, so that each command loads only what it uses."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from headwater.certificate_commands import certificate_app
from headwater.command import Config, DataDir, Json, Sets, fail, overrides, print_json, settings_of, with_database
from headwater.group_commands import group_app
from headwater.load.command import load as load_command
from headwater.operator_commands import callback_app, claim_app, filing_app, quota_app, root_app, ticket_app, token_app
from headwater.settings import SettingsError
from headwater.user_commands import console_app

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from headwater.platform import Platform
    from headwater.store.database import Database

T = TypeVar("T")

app = typer.Typer(
    help="Headwater: a live-streaming platform that you run yourself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
account_app = typer.Typer(help="Accounts and their access keys.", no_args_is_help=True)
url_app = typer.Typer(help="Signed and ready-made URLs.", no_args_is_help=True)
app.add_typer(account_app, name="account")
app.add_typer(certificate_app, name="certificate")
app.add_typer(console_app, name="console")
app.add_typer(group_app, name="group")
app.add_typer(url_app, name="url")
for name, operator_app in (
    ("callbacks", callback_app),
    ("claim", claim_app),
    ("filing", filing_app),
    ("quota", quota_app),
    ("root", root_app),
    ("ticket", ticket_app),
    ("token", token_app),
):
    app.add_typer(operator_app, name=name)
app.command("load")(load_command)


def main() -> None:
    """Run the command line."""
    app()


@app.command()
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


@app.command()
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


@account_app.command("create")
def account_create(name: str, config: Config = None, data_dir: DataDir = None, json: Json = False) -> None:
    """Make an account with an access key, which is shown only once. Works while the server runs."""
    from headwater.domains.accounts import AccountService
    from headwater.store.database import Actor

    settings = settings_of(config, data_dir, None, process="cli")
    made = with_database(settings, lambda database: AccountService(database).create(name, actor=Actor("command line")))
    if json:
        print_json(made)
        return
    print(f"account           {made.name} ({made.account_id})")
    print(f"access_key_id     {made.access_key_id}")
    print(f"access_key_secret {made.access_key_secret}")


@account_app.command("list")
def account_list(config: Config = None, data_dir: DataDir = None, json: Json = False) -> None:
    """List the accounts."""
    from headwater.domains.accounts import AccountService

    settings = settings_of(config, data_dir, None, process="cli")
    accounts = with_database(settings, lambda database: AccountService(database).accounts())
    if json:
        print_json(accounts)
        return
    for account in accounts:
        print(f"{account.id}  {account.name}")


@url_app.command("sign")
def url_sign(
    url: str,
    key: Annotated[str, typer.Option("--key", help="The domain's primary or secondary key (function aliauth).")],
    timestamp: Annotated[int | None, typer.Option(help="Unix seconds from which the validity counts (default: now).")] = None,
    json: Json = False,
) -> None:
    """Sign a push or play URL (type A)."""
    from headwater.access.signing import sign_url

    try:
        signed = sign_url(url, key, int(time.time()) if timestamp is None else timestamp)
    except ValueError as error:
        fail(str(error))
    if json:
        print_json({"url": signed})
    else:
        print(signed)


@url_app.command("show")
def url_show(
    domain: Annotated[str, typer.Argument(help="An ingest or streaming domain.")],
    app_name: Annotated[str, typer.Argument(metavar="APP")],
    stream: str,
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Show where to push a stream and where to play it, ready to paste."""
    from headwater.cluster.embedded import EmbeddedCluster
    from headwater.domains import services
    from headwater.domains.urls import endpoints, resolves

    settings = settings_of(config, data_dir, sets, process="cli")

    async def look(database: Database) -> Any:
        service = services.build(database, EmbeddedCluster(), settings).domains
        account = await service.owner(domain)
        return await service.urls(
            account, domain, app_name, stream, endpoints(settings.listen, None if resolves(domain) else settings.public_host)
        )

    urls = with_database(settings, look)
    if json:
        print_json(urls)
        return
    rows = [("push", urls.push), ("OBS server", urls.obs_server), ("OBS key", urls.obs_key), *urls.play.items()]
    for name, value in rows:
        if value:
            print(f"{name:<11}{value}")


@app.command()
def snapshot(
    domain: Annotated[str, typer.Argument(help="A streaming domain.")],
    app_name: Annotated[str, typer.Argument(metavar="APP")],
    stream: Annotated[str, typer.Argument(help="A live stream, or a rendition that runs.")],
    output: Annotated[Path | None, typer.Option(help="The file to write (default: STREAM.jpg).", dir_okay=False)] = None,
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Take a picture of a live stream now, with the help of the server that runs."""
    from headwater.cluster.client import RemoteCluster
    from headwater.cluster.interface import ClusterGone
    from headwater.domains import services
    from headwater.platform import PlatformError, cluster_socket

    settings = settings_of(config, data_dir, sets, process="cli")

    async def take(database: Database) -> bytes:
        cluster = await RemoteCluster.connect(str(cluster_socket(settings)))
        try:
            return await services.build(database, cluster, settings).snapshots.take(domain, app_name, stream)
        finally:
            await cluster.close()

    file = output or Path(f"{stream}.jpg")
    try:
        file.write_bytes(with_database(settings, take))
    except PlatformError as error:
        fail(str(error))
    except ClusterGone:
        fail(f"no server is running with the data in {settings.data_dir}")
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    print(file)


@app.command()
def jobs(config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False) -> None:
    """List what the live center of the running server does: transcoding, recording, snapshots."""
    from headwater import platform
    from headwater.cluster.centers import Centers
    from headwater.cluster.client import RemoteCluster
    from headwater.cluster.interface import ClusterError

    settings = settings_of(config, data_dir, sets, process="cli")

    async def look() -> list[Any]:
        cluster = await RemoteCluster.connect(str(platform.cluster_socket(settings)))
        try:
            return await Centers(cluster).jobs()
        finally:
            await cluster.close()

    try:
        found = _run(look())
    except (OSError, ClusterError, platform.PlatformError) as error:
        fail(f"no server is running on this data: {error}")
    if json:
        print_json(found)
        return
    for job in found:
        stream = f"{job.domain}/{job.app}/{job.stream}"
        cost = f"{job.cpu:5.2f} cores {job.memory_bytes / 1e6:6.0f} MB"
        print(f"{job.kind:<10}{job.state:<10}{job.speed:5.2f}x {job.dropped:>6} dropped {cost}  {stream}  {job.error}")


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    print(installed("headwater"))


def _run(work: Coroutine[Any, Any, T]) -> T:
    import uvloop

    return uvloop.run(work)
