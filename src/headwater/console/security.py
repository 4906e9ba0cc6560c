"""What keeps the console's pages safe in a browser: headers, cookies, and tokens against forged requests."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SAME = "default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'; form-action 'self'; "
PAGE_POLICY = _SAME + "img-src 'self' data:; connect-src 'self'; media-src 'self'; frame-src 'self'; frame-ancestors 'none'"
PLAYER_POLICY = _SAME + "img-src 'self' data:; media-src * blob:; connect-src *; worker-src blob:; frame-ancestors 'self'"
"""Media may come from any of the operator's domains; scripts only from here. hls.js and mpegts.js work in blob: workers."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # a page's address can hold a signed URL
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",  # for browsers that do not know frame-ancestors
}
HSTS = "max-age=31536000"

SESSION, GUEST, LANGUAGE, THEME, NOTICE = (f"headwater_{name}" for name in ("session", "guest", "language", "theme", "notice"))
"""Names of the cookies: the session, a visitor who has not signed in, two preferences, and what the next page says once."""

PREFERENCE_S = 365 * 86400
"""How long a preference is kept."""
NOTICE_S = 60
"""A notice is for the page that follows at once."""


class SecurityHeaders:
    """Adds the headers to every response of an application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        policy = PLAYER_POLICY if scope["path"] == "/player" else PAGE_POLICY

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add = {**HEADERS, "Content-Security-Policy": policy}
                if scope["scheme"] == "https":
                    add["Strict-Transport-Security"] = HSTS
                message["headers"] = [*message["headers"], *((k.lower().encode(), v.encode()) for k, v in add.items())]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def cookie_name(request: Request, name: str) -> str:
    """Over HTTPS a prefix makes browsers refuse the cookie from a sister domain (RFC 6265bis section 4.1.3.2)."""
    return f"__Host-{name}" if request.url.scheme == "https" else name


def get_cookie(request: Request, name: str) -> str:
    """A cookie's value, "" without one."""
    return request.cookies.get(cookie_name(request, name), "")


def set_cookie(
    request: Request,
    response: Response,
    name: str,
    value: str,
    *,
    max_age_s: int | None = None,
    samesite: Literal["lax", "strict"] = "lax",
) -> None:
    """Set a cookie that scripts cannot read; without a maximum age it goes with the browser's session."""
    response.set_cookie(
        cookie_name(request, name),
        value,
        max_age=max_age_s,
        httponly=True,
        samesite=samesite,
        secure=request.url.scheme == "https",
    )


def clear_cookie(request: Request, response: Response, name: str) -> None:
    """Remove a cookie."""
    response.delete_cookie(cookie_name(request, name), httponly=True, samesite="lax", secure=request.url.scheme == "https")


def new_guest() -> str:
    """The cookie of a visitor who has not signed in; it only carries the token of the sign-in form."""
    return secrets.token_urlsafe(32)


def csrf_token(cookie: str) -> str:
    """The token that a page of the holder of this cookie puts into its forms: nobody else can compute it."""
    return hmac.new(cookie.encode(errors="replace"), b"headwater console form", hashlib.sha256).hexdigest()


def csrf_matches(cookie: str, token: str) -> bool:
    """Whether a form carries the token of the cookie that came with it."""
    return bool(cookie) and hmac.compare_digest(csrf_token(cookie).encode(), token.encode(errors="replace"))


def local_path(text: str, default: str = "/") -> str:
    """A path on this site to which we may send a browser on; the default for anything else, which might lead away."""
    safe = (
        text.startswith("/")
        and not text.startswith(("//", "/\\"))
        and text.isascii()
        and text.isprintable()
        and " " not in text
    )
    return text if safe and len(text) <= 2000 else default
