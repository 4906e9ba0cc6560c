"""The commands for URLs: signed ones, and those of a stream."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.commands.common import Config, DataDir, Json, Sets, fail, print_json, settings_of, with_database

if TYPE_CHECKING:
    from headwater.store.database import Database

url_app = typer.Typer(help="Signed and ready-made URLs.", no_args_is_help=True)


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
