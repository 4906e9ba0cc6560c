"""The console's web application: its routes, and what happens around every page."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, cast

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from headwater.console import language, security
from headwater.console.forms import FormError, read_form
from headwater.console.pages import (
    accounts,
    add,
    audit,
    center,
    certificate,
    dead_letters,
    domain,
    domains,
    functions,
    nodes,
    player,
    registers,
    signin,
    streams,
    tickets,
    transcoding,
    uploads,
    usage,
)
from headwater.console.render import STATIC, Pages
from headwater.console.visit import ActingAccountNeededError, Console, Visit
from headwater.domains.errors import DomainError
from headwater.domains.limiter import SignInLimiter
from headwater.domains.services import Services
from headwater.settings import Settings

Page = Callable[[Visit], Awaitable[Response]]
Access = Literal["anybody", "user", "operator"]

STATIC_FOREVER = "public, max-age=31536000, immutable"
"""For addresses with a mark of the contents: a new version has a new address."""
ACCOUNTS_OFFERED = 100
"""Accounts in the top bar's list; with more, an operator chooses on the page of accounts."""
GZIP_MIN_BYTES = 1000
"""Only static files are compressed: a page that holds a secret beside what a stranger chose must not be (BREACH)."""

_log = structlog.get_logger(__name__)


def create_app(services: Services, settings: Settings, clock: Callable[[], float] = time.time) -> ASGIApp:
    """The application. clock: unix seconds."""
    console = Console(services, settings, Pages(), SignInLimiter(clock), clock)

    def page(path: str, show: Page, *, access: Access = "user", post: Page | None = None) -> list[BaseRoute]:
        routes: list[BaseRoute] = [Route(path, _endpoint(console, show, access), methods=["GET"])]
        if post is not None:
            routes.append(Route(path, _endpoint(console, post, access), methods=["POST"]))
        return routes

    def action(path: str, act: Page, *, access: Access = "user") -> list[BaseRoute]:
        return [Route(path, _endpoint(console, act, access), methods=["POST"])]

    routes = [
        Mount("/static", _Static()),
        *page("/player", player.show, access="anybody"),
        *page("/", domains.home),
        *page("/sign-in", signin.show, access="anybody", post=signin.sign_in),
        *action("/sign-out", signin.sign_out),
        *action("/preferences", signin.preferences, access="anybody"),
        *action("/act-for", signin.act_for, access="operator"),
        *page("/password", signin.password, post=signin.change_password),
        *page("/domains", domains.show),
        *action("/domains/batch", domains.batch),
        *page("/domains/add", add.show, post=add.add),
        *page("/domains/add/check", add.check),
        *page("/domains/add/proof", add.proof, post=add.verify),
        *page("/domains/add/proof/file", add.proof_file),
        *page("/domains/{name}", domain.overview),
        *action("/domains/{name}/status", domain.status),
        *page("/domains/{name}/cname", domain.cname),
        *page("/domains/{name}/cname/state", domain.cname_state),
        *page("/domains/{name}/binding", domain.binding, post=domain.bind),
        *page("/domains/{name}/urls", domain.urls),
        *page("/domains/{name}/qr", domain.qr),
        *page("/domains/{name}/access", functions.show, post=functions.change),
        *page("/domains/{name}/certificate", certificate.show, post=certificate.change),
        *page("/domains/{name}/usage", usage.show),
        *page("/domains/{name}/delay", domain.delay, post=domain.set_delay),
        *page("/domains/{name}/transcoding", transcoding.show, post=transcoding.change),
        *page("/domains/{name}/transcoding/watermarks/{id}", transcoding.picture),
        *page("/domains/{name}/recording", center.recording, post=center.change_recording),
        *page("/domains/{name}/snapshots", center.pictures, post=center.change_pictures),
        *page("/domains/{name}/shift", center.shift, post=center.change_shift),
        *page("/domains/{name}/callbacks", center.callbacks, post=center.change_callbacks),
        *page("/streams", streams.show),
        *page("/streams/{name}/{app}/{stream}", streams.detail, post=streams.act),
        *action("/streams/{name}/{app}/{stream}/picture", streams.take),
        *page("/streams/{name}/{app}/{stream}/pictures/{taken_ms}", streams.picture),
        *page("/recorded/{name}/{bucket}/{key:path}", streams.recorded),
        *page("/tickets", tickets.show),
        *page("/tickets/new", tickets.new, post=tickets.open_),
        *page("/tickets/{number}", tickets.thread, post=tickets.answer),
        *page("/filings", registers.filings, access="operator", post=registers.change_filings),
        *page("/claims", registers.claims, access="operator", post=registers.change_claims),
        *page("/callbacks", dead_letters.show, access="operator", post=dead_letters.change),
        *page("/uploads", uploads.show, access="operator", post=uploads.change),
        *page("/accounts", accounts.show, access="operator", post=accounts.create),
        *page("/accounts/{id}", accounts.account),
        *action("/accounts/{id}/keys", accounts.change_key),
        *action("/accounts/{id}/users", accounts.create_user, access="operator"),
        *page("/users", accounts.users, access="operator", post=accounts.create_operator),
        *action("/users/{user}", accounts.change_user, access="operator"),
        *page("/nodes", nodes.show, access="operator"),
        *page("/audit", audit.show),
    ]
    app: ASGIApp = Starlette(routes=routes, exception_handlers={HTTPException: _missing(console)})
    app = security.SecurityHeaders(app)
    if settings.console.proxies:
        # uvicorn and Starlette give the same thing different types
        app = cast(ASGIApp, ProxyHeadersMiddleware(cast(Any, app), trusted_hosts=list(settings.console.proxies)))
    return app


def _endpoint(console: Console, page: Page, access: Access) -> Callable[[Request], Awaitable[Response]]:
    """Serves one page: knows the visitor, refuses who may not, checks a change's token, and tells every error."""

    async def endpoint(request: Request) -> Response:
        visit = await _visit(console, request)
        started = time.monotonic()
        try:
            response = await _answer(visit, page, access)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            _log.exception("console_failed", path=request.url.path, request_id=visit.request_id)
            response = visit.render(
                "error.html", 500, title=visit.say("Something went wrong here"), text=visit.say(_FAILED), code="InternalError"
            )
        _log.info(
            "console_request",
            method=request.method,
            path=request.url.path,
            status=response.status_code,
            user=visit.session.user.name if visit.session else "",
            client_ip=visit.address,
            request_id=visit.request_id,
            duration_ms=round((time.monotonic() - started) * 1000, 1),
        )
        return response

    return endpoint


_FAILED = "The mistake is ours and stands in the server's log under the number below. Nothing was changed."


async def _visit(console: Console, request: Request) -> Visit:
    chosen = language.negotiate(security.get_cookie(request, security.LANGUAGE), request.headers.get("accept-language", ""))
    theme = security.get_cookie(request, security.THEME)
    visit = Visit(console, request, chosen, theme if theme in ("light", "dark") else "")
    visit.cookie = security.get_cookie(request, security.SESSION)
    if visit.cookie:
        visit.session = await console.services.users.session(visit.cookie)
    if visit.session is None:
        visit.cookie = security.get_cookie(request, security.GUEST)
    return visit


async def _answer(visit: Visit, page: Page, access: Access) -> Response:
    request = visit.request
    if access != "anybody":
        if visit.session is None:
            here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return visit.go("/sign-in", **({"next": here} if request.method == "GET" and here != "/" else {}))
        if visit.session.user.must_change and request.url.path not in ("/password", "/sign-out"):
            return visit.go("/password")
        if access == "operator" and not visit.operator:
            return _error(visit, 404)
    if visit.operator and not visit.partial:
        visit.all_accounts = await visit.services.accounts.accounts(at_most=ACCOUNTS_OFFERED)
    try:
        if request.method == "POST":
            visit.form = await read_form(request)
            token = request.headers.get("x-csrf-token") or visit.form.get("csrf")
            if not security.csrf_matches(visit.cookie, token):
                return _error(visit, 403)
        return await page(visit)
    except FormError as fault:
        return _error(visit, fault.status)
    except ActingAccountNeededError:
        return visit.render("choose_account.html", accounts=await visit.services.accounts.accounts())
    except DomainError as fault:
        if request.method == "POST":
            visit.failed(visit.explain(fault))
            return visit.back("/")
        if fault.status == 404:
            return _error(visit, 404)
        return visit.render(
            "error.html", fault.status, title=visit.say("This cannot be done"), text=visit.explain(fault), code=fault.code
        )


def _error(visit: Visit, status: int) -> Response:
    titles = {
        400: "The request cannot be read",
        403: "This page has been open for too long",
        404: "There is no such page",
        405: "There is no such page",
        413: "That is too much at once",
        415: "The request cannot be read",
    }
    texts = {
        403: "For your safety, forms are good for one sign-in only. Nothing was changed. Load the page again and repeat.",
        404: "It may have been deleted, or it belongs to another account.",
    }
    title = titles.get(status, "This cannot be done")
    return visit.render(
        "error.html",
        status,
        title=visit.say(title),
        text=visit.say(texts.get(status, "Nothing was changed.")),
        code=str(status),
    )


def _missing(console: Console) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def missing(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, HTTPException)
        visit = await _visit(console, request)
        return _error(visit, fault.status_code)

    return missing


class _Static:
    """The static files, compressed, and kept by browsers where the address carries a mark of the contents."""

    def __init__(self) -> None:
        self._files = GZipMiddleware(StaticFiles(directory=STATIC), minimum_size=GZIP_MIN_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one file."""
        marked = b"v=" in scope["query_string"]

        async def send_with_age(message: Message) -> None:
            if message["type"] == "http.response.start":
                cache = STATIC_FOREVER if marked and message["status"] == 200 else "no-cache"
                message["headers"] = [*message["headers"], (b"cache-control", cache.encode())]
            await send(message)

        await self._files(scope, receive, send_with_age)
