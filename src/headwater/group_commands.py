"""Commands for multi-bitrate groups, which the service's API does not have. They work while the server runs, and without it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from headwater.command import Config, DataDir, Json, Sets, print_json, settings_of, with_database

if TYPE_CHECKING:
    from headwater.cluster.interface import Cluster
    from headwater.domains.services import Services
    from headwater.store.database import Actor, Database

T = TypeVar("T")

SOURCE = "source"
"""Stands for the source stream among the children: templates have other names for what they make of it."""

group_app = typer.Typer(help="Multi-bitrate groups of renditions, docs/templates.md.", no_args_is_help=True)

DomainName = Annotated[str, typer.Argument(metavar="DOMAIN", help="A main streaming domain.")]
AppName = Annotated[str, typer.Argument(metavar="APP", help="An app, or `*` for all.")]
GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="1 to 10 letters, digits and hyphens.")]


@group_app.command("list")
def group_list(
    domain: DomainName, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """List the groups of a domain with their templates."""

    async def look(services: Services, _: Actor) -> Any:
        return await services.transcoding.groups(await services.transcoding.owner(domain), domain)

    found = _run(config, data_dir, sets, look)
    if json:
        print_json(found)
        return
    for group in found:
        print(f"{group.app}/{group.name}  {' '.join(child or SOURCE for child in group.children)}")


@group_app.command("set")
def group_set(
    domain: DomainName,
    app: AppName,
    group: GroupName,
    children: Annotated[list[str], typer.Argument(metavar="TEMPLATE...", help="Templates of the app, and `source`.")],
    align: Annotated[bool, typer.Option(help="Key frames of all templates stand where the source has them.")] = True,
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Offer STREAM_GROUP.m3u8, from which players choose among these templates; an existing group is replaced."""

    async def change(services: Services, actor: Actor) -> Any:
        account = await services.transcoding.owner(domain)
        names = ["" if child == SOURCE else child for child in children]
        return await services.transcoding.set_group(account, domain, app, group, names, align=align, actor=actor)

    record = _run(config, data_dir, sets, change)
    if json:
        print_json(record)
    else:
        print(f"players of HLS may choose among {len(record.children)} by STREAM_{group}.m3u8")


@group_app.command("remove")
def group_remove(
    domain: DomainName,
    app: AppName,
    group: GroupName,
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Remove a group; its templates stay."""

    async def change(services: Services, actor: Actor) -> None:
        account = await services.transcoding.owner(domain)
        await services.transcoding.remove_group(account, domain, app, group, actor=actor)

    _run(config, data_dir, sets, change)


def _run(
    config: Path | None,
    data_dir: str | None,
    sets: list[str] | None,
    use: Callable[[Services, Actor], Coroutine[Any, Any, T]],
) -> T:
    """Run something with the services. A server that runs is told of changes; one that starts later reads them."""
    settings = settings_of(config, data_dir, sets, process="cli")

    async def work(database: Database) -> T:
        from headwater.cluster.client import RemoteCluster
        from headwater.cluster.embedded import EmbeddedCluster
        from headwater.cluster.interface import ClusterError
        from headwater.domains import services
        from headwater.platform import PlatformError, cluster_socket
        from headwater.store.database import Actor

        cluster: Cluster
        try:
            cluster = await RemoteCluster.connect(str(cluster_socket(settings)))
        except (OSError, ClusterError, PlatformError):
            cluster = EmbeddedCluster()
        try:
            return await use(services.build(database, cluster, settings), Actor("command line"))
        finally:
            await cluster.close()

    return with_database(settings, work)
