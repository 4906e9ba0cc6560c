"""The operator's commands for the tokens of the operator's API. They work while the server runs."""

from __future__ import annotations

from typing import Annotated

import typer

from headwater.commands.common import Config, DataDir, Json, Sets, print_json, show_time, with_services

token_app = typer.Typer(help="Tokens for the operator's API, docs/domains.md.", no_args_is_help=True)


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="Whose token it is; letters, digits and . _ -")],
    write: Annotated[bool, typer.Option("--write", help="It may change the register, not only read it.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Make a token; it is shown only once."""
    access = "write" if write else "read"
    made = with_services(config, data_dir, sets, lambda services, actor: services.tokens.create(name, access, actor=actor))
    if json:
        print_json(made)
    else:
        print(made.token)


@token_app.command("list")
def token_list(config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False) -> None:
    """List the tokens, without themselves."""
    found = with_services(config, data_dir, sets, lambda services, _: services.tokens.tokens())
    if json:
        print_json(found)
        return
    for token in found:
        print(f"{token.name:<20} {token.access:<5}  {show_time(token.created_s)}")


@token_app.command("revoke")
def token_revoke(name: str, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Take a token back; its next request is refused."""
    with_services(config, data_dir, sets, lambda services, actor: services.tokens.revoke(name, actor=actor))
