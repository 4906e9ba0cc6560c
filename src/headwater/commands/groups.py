"""Commands for multi-bitrate groups, which the service's API does not have. They work while the server runs, and without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.commands.common import Config, DataDir, Json, Sets, print_json, with_services

if TYPE_CHECKING:
    from headwater.domains.services import Services
    from headwater.store.database import Actor

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

    found = with_services(config, data_dir, sets, look)
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

    record = with_services(config, data_dir, sets, change)
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

    with_services(config, data_dir, sets, change)
