"""The operator's list of files that cannot be stored: try them again, or give them up."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.responses import Response

from headwater.console.visit import Visit
from headwater.domains.uploads import Show

PAGE_SIZE = 50

SHOWN: dict[str, Show] = {"failing": "failing", "given_up": "given_up", "waiting": "waiting"}


async def show(visit: Visit) -> Response:
    """The files, the oldest first."""
    domain, number = visit.query.get("q").lower(), max(visit.query.number("page") or 1, 1)
    state = SHOWN.get(visit.query.get("state"), "failing")
    page = await visit.services.uploads.page(state, domain=domain, page_number=number, page_size=PAGE_SIZE)
    return visit.render(
        "uploads.html",
        page=page,
        state=state,
        search=domain,
        number=number,
        pages=max(-(-page.total // PAGE_SIZE), 1),
        link=lambda page: "/uploads?" + urlencode({"q": domain, "state": state, "page": page}),
    )


async def change(visit: Visit) -> Response:
    """Try one of them again or give it up, or all that the page shows."""
    service = visit.services.uploads
    ids = [int(text) for text in visit.form.all("id") if text.isascii() and text.isdecimal() and len(text) < 11]
    if visit.form.get("what") == "give_up":
        visit.done("{count} files are not tried any more.", count=await service.give_up(ids, actor=visit.actor))
    else:
        visit.done("{count} files are tried again.", count=await service.try_again(ids, actor=visit.actor))
    return visit.go("/uploads")
