"""The player: plays any URL of a live stream in the browser, for everybody."""

from __future__ import annotations

from starlette.responses import Response

from headwater.console.visit import Visit


async def show(visit: Visit) -> Response:
    """The page; with `?url=` it plays at once, with `?embedded` it is a part of another page."""
    return visit.render("player.html")
