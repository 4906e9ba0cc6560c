"""The commands for the users of the web console. They work while the server runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from headwater.commands.common import Config, DataDir, Json, Sets, print_json, settings_of, with_database

if TYPE_CHECKING:
    from headwater.domains.accounts import AccountService
    from headwater.domains.users import NewUser, UserService
    from headwater.store.database import Actor, Database

T = TypeVar("T")

console_app = typer.Typer(help="The web console.", no_args_is_help=True)
user_app = typer.Typer(help="Users of the web console.", no_args_is_help=True)
console_app.add_typer(user_app, name="user")

Account = Annotated[str, typer.Option(help="Name or id of the account that the user sees (default: all, as an operator).")]


@user_app.command("create")
def create(
    name: str, account: Account = "", config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """Make a user; the password is shown only once and must be changed at the first sign-in."""

    async def make(users: UserService, accounts: AccountService, actor: Actor) -> NewUser:
        return await users.create(name, await accounts.find(account) if account else None, actor=actor)

    _print(_run(config, data_dir, sets, make), json)


@user_app.command("reset")
def reset(name: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False) -> None:
    """Give a user a new password, which is shown only once; all sessions of the user end."""
    _print(_run(config, data_dir, sets, lambda users, _, actor: users.reset_password(name, actor=actor)), json)


@user_app.command("list")
def list_(config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False) -> None:
    """List the users."""
    found = _run(config, data_dir, sets, lambda users, _, __: users.users())
    if json:
        print_json(found)
        return
    for user in found:
        state = "  disabled" if user.disabled else ""
        print(f"{user.name:<20} {user.account or 'operator'}{state}")


@user_app.command("disable")
def disable(name: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Lock a user out; all sessions of the user end."""
    _run(config, data_dir, sets, lambda users, _, actor: users.set_disabled(name, True, actor=actor))


@user_app.command("enable")
def enable(name: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Let a user sign in again."""
    _run(config, data_dir, sets, lambda users, _, actor: users.set_disabled(name, False, actor=actor))


@user_app.command("delete")
def delete(name: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Forget a user; all sessions of the user end."""
    _run(config, data_dir, sets, lambda users, _, actor: users.delete(name, actor=actor))


def _run(
    config: Path | None,
    data_dir: str | None,
    sets: list[str] | None,
    use: Callable[[UserService, AccountService, Actor], Coroutine[None, None, T]],
) -> T:
    from headwater.domains.accounts import AccountService
    from headwater.domains.users import UserService
    from headwater.store.database import Actor

    def work(database: Database) -> Coroutine[None, None, T]:
        return use(UserService(database), AccountService(database), Actor("command line"))

    return with_database(settings_of(config, data_dir, sets, process="cli"), work)


def _print(made: NewUser, json: bool) -> None:
    if json:
        print_json(made)
        return
    print(f"user     {made.name} ({made.account_id or 'operator'})")
    print(f"password {made.password}")
