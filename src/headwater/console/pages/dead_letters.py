"""The operator's list of callbacks that could not be delivered: resend or drop them."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.responses import Response

from headwater.console.visit import Visit

PAGE_SIZE = 50


async def show(visit: Visit) -> Response:
    """The dead letters, the newest first."""
    domain, number = visit.query.get("q").lower(), max(visit.query.number("page") or 1, 1)
    service = visit.services.callbacks
    page = await service.dead(domain=domain, page_number=number, page_size=PAGE_SIZE)
    return visit.render(
        "dead_letters.html",
        page=page,
        queued=(await service.queued(domain=domain, page_size=1)).total,
        search=domain,
        number=number,
        pages=max(-(-page.total // PAGE_SIZE), 1),
        link=lambda page: "/callbacks?" + urlencode({"q": domain, "page": page}),
    )


async def change(visit: Visit) -> Response:
    """Resend or drop one of them, or all that the page shows."""
    service = visit.services.callbacks
    ids = [int(text) for text in visit.form.all("id") if text.isascii() and text.isdecimal() and len(text) < 11]
    if visit.form.get("what") == "drop":
        visit.done("{count} callbacks were dropped.", count=await service.drop(ids, actor=visit.actor))
    else:
        visit.done("{count} callbacks are sent anew.", count=await service.resend(ids, actor=visit.actor))
    return visit.go("/callbacks")
