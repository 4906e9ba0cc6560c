"""Domain Management: the list with its search and filters, and what is done to several domains at once."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.responses import Response

from headwater.console.visit import Visit
from headwater.domains.errors import DomainError

PAGE_SIZES = (20, 50, 100)


async def home(visit: Visit) -> Response:
    """The console begins with the domains."""
    return visit.go("/domains")


async def show(visit: Visit) -> Response:
    """One page of the list."""
    query = visit.query
    size = query.number("size")
    size = size if size in PAGE_SIZES else PAGE_SIZES[0]
    number = max(query.number("page") or 1, 1)
    filters = {name: query.get(name) for name in ("q", "type", "status", "region", "tag")}
    key, _, value = filters["tag"].partition("=")
    listed = await visit.services.domains.list_domains(
        visit.account,
        search=filters["q"],
        type_=filters["type"],
        status=filters["status"],
        region=filters["region"],
        tags=[(key, value)] if key else (),
        page_number=number,
        page_size=size,
    )
    accounts = {} if visit.account else {account.id: account.name for account in await visit.services.accounts.accounts()}
    kept = {name: value for name, value in filters.items() if value}
    return visit.render(
        "domains.html",
        listed=listed,
        filters=filters,
        filtered=bool(kept),
        number=number,
        size=size,
        sizes=PAGE_SIZES,
        pages=max(-(-listed.total // size), 1),
        link=lambda page: "/domains?" + urlencode({**kept, "page": page, "size": size}),
        regions=visit.console.settings.domains.regions,
        accounts=accounts,
        https=await visit.services.certificates.enabled_among([item.name for item in listed.items]),
        cnames=await visit.services.cnames.known([item.name for item in listed.items]),
        tags=await visit.services.tags.all_tags(visit.account) if visit.account else {},
    )


async def batch(visit: Visit) -> Response:
    """Stop, start or delete the chosen domains; each by itself, so that one that is refused does not hold up the others."""
    names, what = list(dict.fromkeys(visit.form.all("name"))), visit.form.get("what")
    services = visit.services.domains
    acts = {"start": services.start, "stop": services.stop, "delete": services.delete}
    if what not in acts or not names:
        visit.failed(visit.say("Choose some domains first."))
        return visit.back("/domains")
    changed = 0
    for name in names[: PAGE_SIZES[-1]]:
        try:
            await acts[what](await visit.account_of(name), name, actor=visit.actor)
            changed += 1
        except DomainError as fault:
            visit.failed(f"{name}: {visit.explain(fault)}")
    if changed:
        texts = {
            "start": "{count} domains were started.",
            "stop": "{count} domains were stopped.",
            "delete": "{count} domains were deleted.",
        }
        visit.done(texts[what], count=changed)
    return visit.back("/domains")
