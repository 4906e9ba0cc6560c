"""The commands for accounts and their access keys. They work while the server runs."""

from __future__ import annotations

import typer

from headwater.commands.common import Config, DataDir, Json, print_json, settings_of, with_database

account_app = typer.Typer(help="Accounts and their access keys.", no_args_is_help=True)


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
