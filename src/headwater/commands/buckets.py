"""The operator's commands for the buckets that accounts have claimed. They work while the server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headwater.commands.common import Config, DataDir, Json, Sets, all_of, page_of, print_json, show_time, with_services

if TYPE_CHECKING:
    from headwater.domains.bucket_register import ClaimedBucket
    from headwater.domains.services import Services
    from headwater.store.database import Actor

bucket_app = typer.Typer(help="Buckets and the accounts whose they are, docs/recording.md.", no_args_is_help=True)


@bucket_app.command("list")
def bucket_list(
    account: Annotated[str, typer.Option(help="Only those of this account, by its number.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """List the buckets that accounts have named."""
    found = with_services(
        config,
        data_dir,
        sets,
        lambda services, _: all_of(lambda number: services.buckets.page(account=account, **page_of(number))),
    )
    if json:
        print_json(found)
        return
    for item in found:
        print(f"{item.bucket:<40} {item.account}  {show_time(item.since_s)}  {item.store or 'a folder of this machine'}")


@bucket_app.command("grant")
def bucket_grant(
    bucket: Annotated[str, typer.Argument(help="The bucket's name.")],
    account: Annotated[str, typer.Argument(help="An account's name or id.")],
    store: Annotated[str, typer.Option(help="The URL of its object store, as in the settings; none for a folder.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Give an account a bucket that holds files already; it may then write over them."""

    async def grant(services: Services, actor: Actor) -> ClaimedBucket:
        return await services.buckets.grant(bucket, await services.accounts.find(account), store, actor=actor)

    granted = with_services(config, data_dir, sets, grant)
    print(f"{granted.bucket} is the account's {granted.account}")


@bucket_app.command("release")
def bucket_release(
    bucket: Annotated[str, typer.Argument(help="The bucket's name.")],
    store: Annotated[str, typer.Option(help="The URL of its object store, as `list` shows it; none for a folder.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Make a bucket nobody's; what lies in it stays."""
    released = with_services(
        config, data_dir, sets, lambda services, actor: services.buckets.release(bucket, store, actor=actor)
    )
    print(f"{released.bucket} was the account's {released.account}")
