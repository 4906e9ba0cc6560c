"""Add Domain: the form with its rules, checked while it is filled in, and the steps that follow it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from starlette.responses import Response

from headwater.console.visit import Visit
from headwater.domains import rules
from headwater.domains.errors import DomainError

FIELD_OF = {
    "InvalidDomainName.Malformed": "name",
    "DomainAlreadyExist": "name",
    "QuotaExceeded.Domain": "name",
    "InvalidLiveDomainType": "type",
    "InvalidRegion": "region",
    "InvalidScope": "scope",
}
"""The field beside which an error is shown; every other error stands above the form."""


@dataclass(frozen=True)
class Wanted:
    """What the form holds."""

    name: str = ""
    type: str = "liveVideo"
    region: str = ""
    scope: str = "overseas"
    account: str = ""


async def show(visit: Visit) -> Response:
    """The form; a type can be chosen by whoever leads here."""
    query = visit.query
    kind = query.get("type")
    return await _form(visit, Wanted(name=query.get("name"), type=kind if kind in ("liveEdge", "liveVideo") else "liveVideo"))


async def add(visit: Visit) -> Response:
    """Add the domain."""
    form = visit.form
    wanted = Wanted(form.get("name"), form.get("type"), form.get("region"), form.get("scope"), form.get("account"))
    account = visit.account or wanted.account
    if not account:
        return await _form(visit, wanted, {"account": visit.say("Choose the account that will own the domain.")}, 400)
    try:
        made = await visit.services.domains.add(
            account, wanted.name, wanted.type, wanted.region, wanted.scope, actor=visit.actor
        )
    except DomainError as fault:
        return await _form(visit, wanted, {FIELD_OF.get(fault.code, ""): visit.explain(fault)}, fault.status)
    visit.done("{name} was added.", name=made.name)
    return visit.go(f"/domains/{made.name}")


async def check(visit: Visit) -> Response:
    """What can be said of a name while it is typed."""
    text = visit.query.get("name")
    if not text:
        return visit.render("add_check.html", verdict="", text="")
    try:
        name = rules.domain_name(text)
    except DomainError as fault:
        return visit.render("add_check.html", verdict="bad", text=visit.explain(fault))
    return visit.render("add_check.html", verdict="good", text=visit.say("{name} can be used.", name=name))


async def _form(visit: Visit, wanted: Wanted, problems: dict[str, str] | None = None, status: int = 200) -> Response:
    accounts = [] if visit.account else await visit.services.accounts.accounts()
    return visit.render(
        "add.html",
        status,
        wanted=wanted,
        problems=defaultdict(str, problems or {}),
        regions=visit.console.settings.domains.regions,
        accounts=accounts,
        quota=visit.console.settings.domains.quota,
    )
