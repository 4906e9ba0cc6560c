"""`headwater`: the commands put together. What they do is imported late, so that each loads only what it uses."""

from __future__ import annotations

import typer

from headwater.commands.accounts import account_app
from headwater.commands.buckets import bucket_app
from headwater.commands.callbacks import callback_app
from headwater.commands.certificates import certificate_app
from headwater.commands.claims import claim_app
from headwater.commands.console import console_app
from headwater.commands.domains import domain_app
from headwater.commands.filings import filing_app
from headwater.commands.groups import group_app
from headwater.commands.live import jobs, snapshot
from headwater.commands.quotas import quota_app
from headwater.commands.roots import root_app
from headwater.commands.server import demo, up
from headwater.commands.tickets import ticket_app
from headwater.commands.tokens import token_app
from headwater.commands.uploads import upload_app
from headwater.commands.urls import url_app
from headwater.load.command import load

app = typer.Typer(
    help="Headwater: a live-streaming platform that you run yourself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (up, demo, snapshot, jobs, load):
    app.command()(command)
for name, group in (
    ("account", account_app),
    ("bucket", bucket_app),
    ("callbacks", callback_app),
    ("certificate", certificate_app),
    ("claim", claim_app),
    ("console", console_app),
    ("domain", domain_app),
    ("filing", filing_app),
    ("group", group_app),
    ("quota", quota_app),
    ("root", root_app),
    ("ticket", ticket_app),
    ("token", token_app),
    ("uploads", upload_app),
    ("url", url_app),
):
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command line."""
    app()


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    print(installed("headwater"))
