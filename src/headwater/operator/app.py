"""The operator's API as an ASGI application: tokens are checked, bodies bounded, and every answer is JSON (docs/domains.md)."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast, get_args

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from headwater.domains import rules
from headwater.domains.errors import DomainError, error
from headwater.domains.limiter import SignInLimiter
from headwater.domains.services import Services
from headwater.domains.tables import TEXT_MAX
from headwater.domains.tokens import Access
from headwater.domains.uploads import Show
from headwater.store.database import Actor
from headwater.wording import sentence

PATH = "/operator/v1"
PAGE_SIZE, PAGE_SIZE_MAX = 100, 1000
PAGE_MAX = 1_000_000
"""Keeps the offset within what databases count."""
BODY_MAX_BYTES = 4096
"""The body of one claim has a hundred bytes."""
IDS_BODY_MAX_BYTES = 65536
"""The numbers of some thousand callbacks or files."""
BODY_TIMEOUT_S = 60.0
"""How long a client may take to send its body: the longest list takes as long at 5 Mbit/s."""

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class _Put(msgspec.Struct, forbid_unknown_fields=True):
    service: str
    account: str = ""


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    service: str
    account: str = ""


class _List(msgspec.Struct, forbid_unknown_fields=True):
    claims: list[_Row]


class _Ids(msgspec.Struct, forbid_unknown_fields=True):
    ids: list[int]


class _Bucket(msgspec.Struct, forbid_unknown_fields=True):
    bucket: str
    store: str = ""


class _Grant(_Bucket, forbid_unknown_fields=True, kw_only=True):
    account: str


class _Group(msgspec.Struct, forbid_unknown_fields=True):
    children: list[str]
    align: bool = True


class _Call:
    """A request of a token's holder."""

    def __init__(self, services: Services, request: Request, actor: Actor) -> None:
        self.services = services
        self.request = request
        self.actor = actor

    @property
    def name(self) -> str:
        """The domain name in the path."""
        return str(self.request.path_params["name"])

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def number(self, name: str, default: int, maximum: int) -> int:
        """A number from 1 on in the query."""
        text = self.request.query_params.get(name, str(default))
        if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= maximum):
            raise _refusal(400, "InvalidParam", f"`{name}` is a number from 1 to {maximum}.")
        return int(text)

    def domain(self, name: str) -> str:
        """A domain, or a part of its name, in the query; "" if there is none."""
        text = self.request.query_params.get(name, "")
        if len(text) > rules.NAME_MAX or not text.isprintable():
            raise _refusal(400, "InvalidParam", f"`{name}` is a part of a domain name.")
        return text

    def page(self) -> dict[str, int]:
        """`page` and `page_size` of the query, for a service."""
        size = self.number("page_size", PAGE_SIZE, PAGE_SIZE_MAX)
        return {"page_number": self.number("page", 1, PAGE_MAX), "page_size": size}

    async def body(self, maximum_bytes: int) -> bytes:
        """The whole body, within its bounds of size and time."""
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in self.request.stream():
                    body += chunk
                    if len(body) > maximum_bytes:
                        raise _refusal(413, "RequestTooLarge", f"The body has more than {maximum_bytes} bytes.")
        except TimeoutError:
            raise _refusal(408, "RequestTimeout", "The body did not come in time.") from None
        return bytes(body)


async def _list(call: _Call) -> Any:
    asked = call.page()
    page = await call.services.claims.claims(search=call.domain("search"), **asked)
    return {"claims": page.items, "total": page.total, "page": asked["page_number"], "page_size": asked["page_size"]}


async def _get(call: _Call) -> Any:
    service = await call.services.claims.lookup(call.name)
    if service is None:
        raise error("EntityNotExist.Claim")
    return {"name": rules.domain_name(call.name, leading_dot=True), "service": service}


async def _put(call: _Call) -> Any:
    asked = _decoded(await call.body(BODY_MAX_BYTES), _Put)
    return await call.services.claims.add(call.name, asked.service, asked.account, actor=call.actor)


async def _delete(call: _Call) -> Any:
    await call.services.claims.remove(call.name, actor=call.actor)
    return {}


async def _import(call: _Call) -> Any:
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "text/csv"):
        raise _refusal(415, "InvalidContentType", "A list is application/json or text/csv.")
    body = await call.body(TEXT_MAX)
    if kind == "text/csv":
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise error("InvalidCsv.Malformed", "It is not UTF-8.") from None
        return await call.services.claims.import_csv(text, actor=call.actor)
    rows = [(row.name, row.service, row.account) for row in _decoded(body, _List).claims]
    return await call.services.claims.import_rows(rows, actor=call.actor)


async def _callbacks(call: _Call) -> Any:
    asked = call.page()
    state = call.request.query_params.get("state", "dead")
    if state not in ("dead", "queued"):
        raise _refusal(400, "InvalidParam", "`state` is dead or queued.")
    service = call.services.callbacks
    page = await (service.dead if state == "dead" else service.queued)(domain=call.domain("domain"), **asked)
    return {"callbacks": page.items, "total": page.total, "page": asked["page_number"], "page_size": asked["page_size"]}


async def _resend(call: _Call) -> Any:
    asked = _decoded(await call.body(IDS_BODY_MAX_BYTES), _Ids)
    return {"queued": await call.services.callbacks.resend(asked.ids, actor=call.actor)}


async def _drop(call: _Call) -> Any:
    asked = _decoded(await call.body(IDS_BODY_MAX_BYTES), _Ids)
    return {"dropped": await call.services.callbacks.drop(asked.ids, actor=call.actor)}


async def _uploads(call: _Call) -> Any:
    asked = call.page()
    state = call.request.query_params.get("state", "failing")
    if state not in get_args(Show):
        raise _refusal(400, "InvalidParam", "`state` is failing, waiting or given_up.")
    page = await call.services.uploads.page(cast(Show, state), domain=call.domain("domain"), **asked)
    return {"uploads": page.items, "total": page.total, "page": asked["page_number"], "page_size": asked["page_size"]}


async def _retry(call: _Call) -> Any:
    asked = _decoded(await call.body(IDS_BODY_MAX_BYTES), _Ids)
    return {"queued": await call.services.uploads.try_again(asked.ids, actor=call.actor)}


async def _give_up(call: _Call) -> Any:
    asked = _decoded(await call.body(IDS_BODY_MAX_BYTES), _Ids)
    return {"given_up": await call.services.uploads.give_up(asked.ids, actor=call.actor)}


async def _buckets(call: _Call) -> Any:
    asked = call.page()
    page = await call.services.buckets.page(account=call.request.query_params.get("account", ""), **asked)
    return {"buckets": page.items, "total": page.total, "page": asked["page_number"], "page_size": asked["page_size"]}


async def _grant(call: _Call) -> Any:
    asked = _decoded(await call.body(BODY_MAX_BYTES), _Grant)
    account = await call.services.accounts.find(asked.account)
    return await call.services.buckets.grant(asked.bucket, account, asked.store, actor=call.actor)


async def _release(call: _Call) -> Any:
    asked = _decoded(await call.body(BODY_MAX_BYTES), _Bucket)
    return await call.services.buckets.release(asked.bucket, asked.store, actor=call.actor)


async def _groups(call: _Call) -> Any:
    service = call.services.transcoding
    return {"groups": await service.groups(await service.owner(call.path("domain")), call.path("domain"))}


async def _put_group(call: _Call) -> Any:
    asked = _decoded(await call.body(BODY_MAX_BYTES), _Group)
    service, domain = call.services.transcoding, call.path("domain")
    owner, app, group = await service.owner(domain), call.path("app"), call.path("group")
    return await service.set_group(owner, domain, app, group, asked.children, align=asked.align, actor=call.actor)


async def _delete_group(call: _Call) -> Any:
    service, domain = call.services.transcoding, call.path("domain")
    owner, app, group = await service.owner(domain), call.path("app"), call.path("group")
    await service.remove_group(owner, domain, app, group, actor=call.actor)
    return {}


async def _snapshot(call: _Call) -> Response:
    query = call.request.query_params
    names = [query.get(name, "") for name in ("domain", "app", "stream")]
    return Response(await call.services.snapshots.take(*names), media_type="image/jpeg")


def create_app(services: Services, clock: Callable[[], float] = time.time) -> Starlette:
    """The application, for paths below PATH. clock: unix seconds."""
    limiter = SignInLimiter(clock)

    def route(path: str, method: str, access: Access, serve: Callable[[_Call], Awaitable[Any]]) -> Route:
        async def endpoint(request: Request) -> Response:
            return await _respond(services, limiter, request, access, serve)

        return Route(PATH + path, endpoint, methods=[method])

    async def unrouted(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, HTTPException)
        return _answer(_refusal(fault.status_code, "NotFound", "There is no such method or path."), str(uuid.uuid4()))

    routes = [
        route("/claims", "GET", "read", _list),
        route("/claims/import", "POST", "write", _import),
        route("/claims/{name}", "GET", "read", _get),
        route("/claims/{name}", "PUT", "write", _put),
        route("/claims/{name}", "DELETE", "write", _delete),
        route("/callbacks", "GET", "read", _callbacks),
        route("/callbacks/resend", "POST", "write", _resend),
        route("/callbacks/drop", "POST", "write", _drop),
        route("/uploads", "GET", "read", _uploads),
        route("/uploads/retry", "POST", "write", _retry),
        route("/uploads/give-up", "POST", "write", _give_up),
        route("/buckets", "GET", "read", _buckets),
        route("/buckets/grant", "POST", "write", _grant),
        route("/buckets/release", "POST", "write", _release),
        route("/bitrate-groups/{domain}", "GET", "read", _groups),
        route("/bitrate-groups/{domain}/{app}/{group}", "PUT", "write", _put_group),
        route("/bitrate-groups/{domain}/{app}/{group}", "DELETE", "write", _delete_group),
        route("/snapshot", "GET", "read", _snapshot),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: unrouted})


async def _respond(
    services: Services,
    limiter: SignInLimiter,
    request: Request,
    access: Access,
    serve: Callable[[_Call], Awaitable[Any]],
) -> Response:
    request_id, started = str(uuid.uuid4()).upper(), time.monotonic()
    address = request.client.host if request.client else ""
    known: dict[str, Any] = {"request_id": request_id, "client_ip": address, "method": request.method}
    try:
        name = await _authenticated(services, limiter, request, address, access)
        known["token"] = name
        result = await serve(_Call(services, request, Actor(f"token {name}", request_id)))
        response = (
            result if isinstance(result, Response) else Response(msgspec.json.encode(result), media_type="application/json")
        )
    except DomainError as fault:
        known["code"], response = fault.code, _answer(fault, request_id)
        if fault.status == 429:
            response.headers["retry-after"] = str(limiter.wait_s(address))
    except ClientDisconnect:
        response = Response(status_code=400)
    except Exception:
        _log.exception("operator_api_failed", **known)
        response = _answer(_refusal(500, "InternalError", "The mistake is ours and stands in the server's log."), request_id)
    duration_ms = round((time.monotonic() - started) * 1000, 1)
    _log.info("operator_request", path=request.url.path, status=response.status_code, duration_ms=duration_ms, **known)
    return response


async def _authenticated(services: Services, limiter: SignInLimiter, request: Request, address: str, access: Access) -> str:
    """The name of the token. Only failures use up an address's tries, so a busy platform never meets the limit."""
    if limiter.wait_s(address):
        raise _refusal(429, "Throttling", "Too many requests with a wrong token came from this address.")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    found = await services.tokens.find(token.strip()) if scheme.lower() == "bearer" else None
    if found is None:
        limiter.begin(address)
        raise _refusal(401, "InvalidToken", "Send `Authorization: Bearer TOKEN` with a token of `headwater token create`.")
    if access == "write" and found.access != "write":
        raise _refusal(403, "Forbidden", "This token may only read; `headwater token create --write` makes one that may write.")
    return found.name


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise _refusal(400, "InvalidBody", f"The body is not as expected. {sentence(fault)}") from None


def _refusal(status: int, code: str, message: str) -> DomainError:
    return DomainError(code, status, message)


def _answer(fault: DomainError, request_id: str) -> Response:
    body = {"code": fault.code, "message": fault.message, "request_id": request_id}
    headers = {"www-authenticate": "Bearer"} if fault.status == 401 else {}
    if fault.status in (408, 413):
        headers["connection"] = "close"  # the rest of the body may still come
    return Response(msgspec.json.encode(body), fault.status, headers, "application/json")
