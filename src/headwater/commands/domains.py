"""The commands for domains, from the first name to a stream: added, proved, bound, stopped. They work while the server runs.

Each does what the operation of the API does for the account that holds the domain, and what is refused there is refused here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headwater.commands.common import Config, DataDir, Json, Sets, fail, page_of, print_json, with_services

if TYPE_CHECKING:
    from headwater.domains.bindings import Relation
    from headwater.domains.cnames import CnameState
    from headwater.domains.ownership import Challenge, Verification
    from headwater.domains.service import DomainRecord
    from headwater.domains.services import Services
    from headwater.store.database import Actor

domain_app = typer.Typer(help="Ingest and streaming domains of all accounts, docs/domains.md.", no_args_is_help=True)

AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="An account's name or id.")]
DomainName = Annotated[str, typer.Argument(metavar="DOMAIN", help="An ingest or streaming domain.")]
Kind = Literal["ingest", "streaming"]
EdgeGroup = Literal["domestic", "global", "overseas"]

TYPES = {"ingest": "liveEdge", "streaming": "liveVideo"}
KINDS = {type_: kind for kind, type_ in TYPES.items()}
RELATIONS = {"vhost": "main streaming domain", "publish": "ingest domain", "play": "sub-streaming domain"}


@domain_app.command("list")
def domain_list(
    search: Annotated[str, typer.Option(help="Only names that contain this.")] = "",
    account: Annotated[str, typer.Option(help="Only those of this account, by its name or id.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """List domains by name."""

    async def look(services: Services, _: Actor) -> list[DomainRecord]:
        whose = await services.accounts.find(account) if account else None
        found: list[DomainRecord] = []
        number = 1
        while more := (await services.domains.list_domains(whose, search=search, **page_of(number))).items:
            found += more
            number += 1
        return found

    found = with_services(config, data_dir, sets, look)
    if json:
        print_json(found)
        return
    for domain in found:
        print(f"{domain.name}  {KINDS[domain.type]}  {domain.status}  {domain.region}  {domain.scope}  {domain.account}")


@domain_app.command("show")
def domain_show(
    domain: DomainName, config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False
) -> None:
    """Show a domain, what is bound to it, and whether its CNAME record leads here: that is looked up now."""

    async def look(services: Services, _: Actor) -> tuple[DomainRecord, CnameState, list[tuple[str, Relation]]]:
        account = await services.domains.owner(domain)
        found = await services.domains.detail(account, domain)
        return found, await services.cnames.check(account, domain), await services.bindings.mappings(account, domain)

    found, cname, bound = with_services(config, data_dir, sets, look)
    if json:
        bindings = [{"domain": name, "type": relation} for name, relation in bound]
        print_json({"domain": found, "cname": cname, "bound": bindings})
        return
    print(f"{found.name}  {KINDS[found.type]} domain of {found.account}")
    print(f"{found.status}  {found.description}".rstrip())
    print(f"live center {found.region}, edge group {found.scope}")
    said = {"missing": "not found", "elsewhere": f"points to {cname.found}", "unknown": f"unknown: {cname.found}"}
    print(f"CNAME {found.cname}: {said.get(cname.state, cname.state)}")
    for name, relation in bound:
        print(f"{RELATIONS[relation]} {name}")


@domain_app.command("add")
def domain_add(
    account: AccountName,
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="Such as demo.example.com; no wildcard.")],
    kind: Annotated[Kind, typer.Argument(metavar="ingest|streaming", help="It cannot be changed later.")],
    center: Annotated[str, typer.Option(help="The live center, alike for domains that are to be bound.")] = "cn-shanghai",
    edge_group: Annotated[EdgeGroup, typer.Option(help="Where it is delivered.")] = "domestic",
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Add a domain and say which CNAME record it needs; or what proves that the account owns its root."""
    from headwater.domains.errors import DomainError

    async def add(services: Services, actor: Actor) -> tuple[DomainRecord | None, str]:
        whose = await services.accounts.find(account)
        try:
            return await services.domains.add(whose, domain, TYPES[kind], center, edge_group, actor=actor), ""
        except DomainError as error:
            if error.code != "DomainOwnerVerifyFail":
                raise
            return None, _needed(await services.ownership.content(whose, domain))

    done, needed = with_services(config, data_dir, sets, add)
    if done is None:
        fail(needed)
    if json:
        print_json(done)
    else:
        print(f"{done.name} is {done.status}. Now make the record: {done.name} CNAME {done.cname}")


@domain_app.command("verify")
def domain_verify(
    account: AccountName,
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="Any name under the root.")],
    by_file: Annotated[bool, typer.Option("--file", help="Look for the file, not for the TXT record.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Look for the proof that an account owns the root of a name; once it is found, the proof may go."""

    async def verify(services: Services, actor: Actor) -> Verification:
        whose = await services.accounts.find(account)
        return await services.ownership.verify(whose, domain, "fileCheck" if by_file else "dnsCheck", actor=actor)

    found = with_services(config, data_dir, sets, verify)
    if not found.passed:
        fail(f"{_needed(found.challenge)} {found.text}")
    print(f"{found.challenge.root} is proved")


@domain_app.command("start")
def domain_start(domain: DomainName, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Put a domain online."""

    async def start(services: Services, actor: Actor) -> None:
        await services.domains.start(await services.domains.owner(domain), domain, actor=actor)

    with_services(config, data_dir, sets, start)


@domain_app.command("stop")
def domain_stop(domain: DomainName, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Put a domain offline: pushes and plays end, and all settings stay."""

    async def stop(services: Services, actor: Actor) -> None:
        await services.domains.stop(await services.domains.owner(domain), domain, actor=actor)

    with_services(config, data_dir, sets, stop)


@domain_app.command("delete")
def domain_delete(domain: DomainName, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Delete a domain with all that belongs to it."""

    async def delete(services: Services, actor: Actor) -> None:
        await services.domains.delete(await services.domains.owner(domain), domain, actor=actor)

    with_services(config, data_dir, sets, delete)


@domain_app.command("edge-group")
def domain_edge_group(
    domain: DomainName,
    edge_group: Annotated[EdgeGroup, typer.Argument(metavar="domestic|global|overseas")],
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Deliver a domain somewhere else."""

    async def change(services: Services, actor: Actor) -> None:
        await services.domains.set_scope(await services.domains.owner(domain), domain, edge_group, actor=actor)

    with_services(config, data_dir, sets, change)


@domain_app.command("bind")
def domain_bind(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="An ingest domain, or a future sub-streaming domain.")],
    main: Annotated[str, typer.Argument(metavar="STREAMING", help="The main streaming domain.")],
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Bind an ingest domain to its streaming domain, or make a streaming domain play the streams of another one."""

    async def bind(services: Services, actor: Actor) -> None:
        account = await services.domains.owner(domain)
        found = await services.domains.detail(account, domain)
        one = services.bindings.map if found.type == "liveEdge" else services.bindings.map_play
        await one(account, domain, main, actor=actor)

    with_services(config, data_dir, sets, bind)


@domain_app.command("unbind")
def domain_unbind(domain: DomainName, config: Config = None, data_dir: DataDir = None, sets: Sets = None) -> None:
    """Take an ingest or a sub-streaming domain from its main streaming domain; what depended on that ends."""

    async def unbind(services: Services, actor: Actor) -> bool:
        account = await services.domains.owner(domain)
        found = await services.domains.detail(account, domain)
        one = services.bindings.unmap if found.type == "liveEdge" else services.bindings.unmap_play
        mains = [name for name, relation in await services.bindings.mappings(account, domain) if relation == "vhost"]
        for main in mains:
            await one(account, domain, main, actor=actor)
        return bool(mains)

    if not with_services(config, data_dir, sets, unbind):
        fail(f"{domain} is not bound to a streaming domain")


def _needed(challenge: Challenge) -> str:
    return (
        f"DomainOwnerVerifyFail: {challenge.root} is not proved yet. Make the TXT record {challenge.record} with the value"
        f" {challenge.content}, or put that text at {challenge.url}; then run `headwater domain verify`."
    )
