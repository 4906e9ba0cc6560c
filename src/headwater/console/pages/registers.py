"""The operator's two registers: ICP filings, and names that sister services hold."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from headwater.console.visit import Visit
from headwater.domains.errors import DomainError
from headwater.domains.tables import Imported

PAGE_SIZE = 50


async def filings(visit: Visit) -> Response:
    """ICP filings."""
    return await _filings(visit)


async def change_filings(visit: Visit) -> Response:
    """Note, import or remove filings, or have the domains checked now."""
    form, service = visit.form, visit.services.filings
    try:
        match form.get("what"):
            case "import":
                _imported(visit, await service.import_csv(form.secret("csv"), actor=visit.actor))
            case "remove":
                await service.remove(form.get("root"), actor=visit.actor)
                visit.done("The filing of {root} was removed.", root=form.get("root"))
            case "check":
                await service.ask_check(actor=visit.actor)
                visit.done("All domains are being checked.")
            case _:
                values = (form.get("domain"), form.get("number"), form.get("holder"), form.get("expires"))
                made = await service.put(*values, actor=visit.actor)
                visit.done("The filing of {root} was noted.", root=made.root)
    except DomainError as fault:
        return await _filings(visit, visit.explain(fault), fault.status)
    return visit.go("/filings")


async def claims(visit: Visit) -> Response:
    """Names that sister services hold."""
    return await _claims(visit)


async def change_claims(visit: Visit) -> Response:
    """Note, import or remove claims."""
    form, service = visit.form, visit.services.claims
    try:
        match form.get("what"):
            case "import":
                _imported(visit, await service.import_csv(form.secret("csv"), actor=visit.actor))
            case "remove":
                await service.remove(form.get("name"), actor=visit.actor)
                visit.done("{name} is free.", name=form.get("name"))
            case _:
                values = (form.get("name"), form.get("service"), form.get("account"))
                made = await service.add(*values, actor=visit.actor)
                visit.done("It was noted that {service} holds {name}.", service=made.service.upper(), name=made.name)
    except DomainError as fault:
        return await _claims(visit, visit.explain(fault), fault.status)
    return visit.go("/claims")


def _imported(visit: Visit, result: Imported) -> None:
    visit.done(
        "{added} rows were added, {changed} changed, and {unchanged} were there already.",
        added=result.added,
        changed=result.changed,
        unchanged=result.unchanged,
    )


async def _filings(visit: Visit, problem: str = "", status: int = 200) -> Response:
    search, number = visit.query.get("q"), max(visit.query.number("page") or 1, 1)
    page = await visit.services.filings.filings(search=search, page_number=number, page_size=PAGE_SIZE)
    return visit.render(
        "filings.html",
        status,
        **_paging("/filings", page.total, search, number),
        page=page,
        problem=problem,
        form=visit.form,
        required=visit.services.filings.required,
        endpoint=visit.console.settings.domains.icp.endpoint,
        now_s=visit.console.clock(),
    )


async def _claims(visit: Visit, problem: str = "", status: int = 200) -> Response:
    search, number = visit.query.get("q"), max(visit.query.number("page") or 1, 1)
    page = await visit.services.claims.claims(search=search, page_number=number, page_size=PAGE_SIZE)
    accounts = await visit.services.accounts.accounts()
    return visit.render(
        "claims.html",
        status,
        **_paging("/claims", page.total, search, number),
        page=page,
        problem=problem,
        form=visit.form,
        accounts={item.id: item.name for item in accounts},
    )


def _paging(path: str, total: int, search: str, number: int) -> dict[str, Any]:
    return {
        "search": search,
        "number": number,
        "pages": max(-(-total // PAGE_SIZE), 1),
        "link": lambda page: f"{path}?" + urlencode({"q": search, "page": page}),
    }
