"""Add Domain: the form with its rules, checked while it is filled in; the proof of ownership; the CNAME record."""

from __future__ import annotations

from collections import defaultdict
from typing import cast
from urllib.parse import urlencode

import msgspec
from starlette.responses import PlainTextResponse, Response

from headwater.console.forms import Form
from headwater.console.visit import Visit
from headwater.domains import rules
from headwater.domains.errors import DomainError
from headwater.domains.ownership import Verification

FIELD_OF = {
    "InvalidDomainName.Malformed": "name",
    "DomainAlreadyExist": "name",
    "DomainOwnerConflict": "name",
    "QuotaExceeded.Domain": "name",
    "InvalidLiveDomainType": "type",
    "InvalidRegion": "region",
    "InvalidScope": "scope",
    "Domain.BeianInvalid": "scope",
}
"""The field beside which an error is shown; every other error stands above the form."""


class Wanted(msgspec.Struct, frozen=True):
    """What the form holds; it travels from step to step."""

    name: str = ""
    type: str = ""
    region: str = ""
    scope: str = ""
    account: str = ""

    @property
    def query(self) -> str:
        """The same as the query of a step's address."""
        return urlencode(msgspec.structs.asdict(self))


def _wanted(form: Form) -> Wanted:
    return Wanted(form.get("name"), form.get("type"), form.get("region"), form.get("scope"), form.get("account"))


async def show(visit: Visit) -> Response:
    """The form; whoever leads here may have filled in some of it."""
    wanted = _wanted(visit.query)
    return await _form(
        visit, msgspec.structs.replace(wanted, type=wanted.type or "liveVideo", scope=wanted.scope or "overseas")
    )


async def add(visit: Visit) -> Response:
    """Add the domain, or go on to the proof of ownership."""
    return await _add(visit, _wanted(visit.form))


async def check(visit: Visit) -> Response:
    """What can be said of a name, and of its ICP filing, while the form is filled in."""
    wanted = _wanted(visit.query)
    account = visit.account or wanted.account
    if not wanted.name:
        return visit.render("add_check.html", lines=[])
    try:
        name = await visit.services.domains.check_new(account, wanted.name) if account else rules.domain_name(wanted.name)
        lines = [("good", visit.say("{name} can be added.", name=name))]
    except DomainError as fault:
        if fault.code != "DomainOwnerVerifyFail":
            return visit.render("add_check.html", lines=[("bad", await _reason(visit, account, wanted.name, fault))])
        name = rules.domain_name(wanted.name)
        root = (await visit.services.ownership.content(account, name)).root
        lines = [
            ("busy", visit.say("{name} can be added. The next step is to prove that you own {root}.", name=name, root=root))
        ]
    try:
        scope = rules.scope(wanted.scope)
    except DomainError:
        return visit.render("add_check.html", lines=lines)
    filing = await visit.services.filings.check(name, scope, wanted.region)
    match filing.state:
        case "valid":
            lines.append(("good", filing.text))
        case "missing" | "expired":
            lines.append(("bad", filing.text))
        case "unknown":
            lines.append(("busy", filing.text))
    return visit.render("add_check.html", lines=lines)


async def proof(visit: Visit) -> Response:
    """The step in which an account proves that it owns the root domain."""
    return await _proof(visit, _wanted(visit.query), visit.query.get("method") or "dnsCheck")


async def verify(visit: Visit) -> Response:
    """Look for the proof; with it, add the domain."""
    wanted, method = _wanted(visit.form), visit.form.get("method")
    account = visit.account or wanted.account
    result = await visit.services.ownership.verify(account, wanted.name, method, actor=visit.actor)
    if not result.passed:
        return await _proof(visit, wanted, method, result)
    return await _add(visit, wanted)


async def proof_file(visit: Visit) -> Response:
    """The file to put on the web server."""
    wanted = _wanted(visit.query)
    challenge = await visit.services.ownership.content(visit.account or wanted.account, wanted.name)
    headers = {"Content-Disposition": 'attachment; filename="verification.html"', "Cache-Control": "no-store"}
    return PlainTextResponse(challenge.content, headers=headers)


async def _add(visit: Visit, wanted: Wanted) -> Response:
    account = visit.account or wanted.account
    if not account:
        return await _form(visit, wanted, {"account": visit.say("Choose the account that will own the domain.")}, 400)
    try:
        made = await visit.services.domains.add(
            account, wanted.name, wanted.type, wanted.region, wanted.scope, actor=visit.actor
        )
    except DomainError as fault:
        if fault.code == "DomainOwnerVerifyFail":
            return visit.go(f"/domains/add/proof?{wanted.query}")
        reason = await _reason(visit, account, wanted.name, fault)
        return await _form(visit, wanted, {FIELD_OF.get(fault.code, ""): reason}, fault.status, fault.code)
    visit.done("{name} was added.", name=made.name)
    return visit.go(f"/domains/{made.name}/cname")


async def _reason(visit: Visit, account: str, name: str, fault: DomainError) -> str:
    """Why a domain is refused; who holds the name, if it is the same account."""
    text = visit.explain(fault)
    if fault.code == "DomainAlreadyExist" and account:
        holder = await visit.services.claims.holder(account, name)
        if holder == "live":
            text += " " + visit.say("You have added it already.")
        elif holder is not None:
            text += " " + visit.say("Your account uses it in {service}.", service=holder.upper())
    return text


async def _form(
    visit: Visit, wanted: Wanted, problems: dict[str, str] | None = None, status: int = 200, code: str = ""
) -> Response:
    account = visit.account
    return visit.render(
        "add.html",
        status,
        wanted=wanted,
        problems=defaultdict(str, problems or {}),
        code=code,
        regions=visit.console.settings.domains.regions,
        accounts=[] if account else await visit.services.accounts.accounts(),
        quota=await visit.services.quota.state(account) if account else None,
        filings=visit.services.filings.required,
    )


async def _proof(visit: Visit, wanted: Wanted, method: str, result: Verification | None = None) -> Response:
    account = visit.account or wanted.account
    challenge = await visit.services.ownership.content(account, wanted.name)
    return visit.render(
        "add_proof.html",
        400 if result else 200,
        wanted=wanted,
        method=method if method in ("dnsCheck", "fileCheck") else "dnsCheck",
        challenge=challenge,
        result=result,
        fields=cast("dict[str, str]", msgspec.structs.asdict(wanted)),
    )
