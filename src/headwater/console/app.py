"""The console's web application: the player page and its files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"

SECURITY_HEADERS = {
    # Media may come from any of the operator's domains; scripts only from here. hls.js and mpegts.js work in blob: workers.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src * blob:; connect-src *; worker-src blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # a page's address can hold a signed URL
}


async def _player(_: Request) -> Response:
    return FileResponse(STATIC / "player.html")


async def _home(_: Request) -> Response:
    return RedirectResponse("/player")


async def _secure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(SECURITY_HEADERS)
    return response


def create_app() -> Starlette:
    """The application; it keeps no state."""
    return Starlette(
        routes=[Route("/", _home), Route("/player", _player), Mount("/static", StaticFiles(directory=STATIC))],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_secure)],
    )
