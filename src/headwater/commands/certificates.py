"""The commands about certificates: which domains have one and when it ends, and free ones ordered.

They work while the server runs. A customer's own certificate comes through API or console, which tell the media workers of it
at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headwater.commands.common import Config, DataDir, Json, Sets, print_json, with_services

if TYPE_CHECKING:
    from headwater.domains.certificates import HttpsRecord
    from headwater.domains.services import Services
    from headwater.store.database import Actor

YEARS_DAYS = 36_500
"""Longer than any certificate lives: `list` without --days shows all of them."""

certificate_app = typer.Typer(help="Certificates of domains.", no_args_is_help=True)

DomainName = Annotated[str, typer.Argument(metavar="DOMAIN", help="An ingest or streaming domain.")]


@certificate_app.command("list")
def certificate_list(
    days: Annotated[int, typer.Option(help="Only certificates that have ended or end within so many days.")] = YEARS_DAYS,
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """List the domains with HTTPS on, of all accounts, the certificate first that ends first."""
    found = with_services(config, data_dir, sets, lambda services, _: services.certificates.expiring(within_s=days * 86_400.0))
    if json:
        print_json(found)
        return
    for https in found:
        print(_line(https))


@certificate_app.command("show")
def certificate_show(
    domain: DomainName, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """Show HTTPS of one domain, and how far a free certificate is."""

    async def look(services: Services, _: Actor) -> HttpsRecord:
        return await services.certificates.https(await services.domains.owner(domain), domain)

    _print(with_services(config, data_dir, sets, look), json)


@certificate_app.command("issue")
def certificate_issue(
    domain: DomainName,
    challenge: Annotated[str, typer.Option(help="http-01 or dns-01 (default: acme.challenge).")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Order a free certificate, which the running server carries out within half a minute, or try again at once."""

    async def order(services: Services, actor: Actor) -> HttpsRecord:
        account = await services.domains.owner(domain)
        await services.certificates.issue(account, domain, challenge, actor=actor)
        return await services.certificates.https(account, domain)

    _print(with_services(config, data_dir, sets, order), json)


def _print(https: HttpsRecord, json: bool) -> None:
    if json:
        print_json(https)
        return
    print(_line(https))
    issuance = https.issuance
    if issuance is None:
        return
    print(f"free certificate: {issuance.status}, by {issuance.challenge}")
    if issuance.delegation is not None:
        print("needs the CNAME record {} to {}".format(*issuance.delegation))
    if issuance.error:
        print(issuance.error)


def _line(https: HttpsRecord) -> str:
    from headwater.domains.rules import format_time

    state = "on" if https.enabled else "off"
    if https.certificate is None:
        return f"{https.domain}  {state}"
    return (
        f"{https.domain}  {state}  {https.certificate.name}  {https.state}  until {format_time(https.certificate.not_after_s)}"
    )
