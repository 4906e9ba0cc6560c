"""The API as an ASGI application: every request gets a request id, a well-formed answer and one line in the log."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from headwater.domains.errors import DomainError
from headwater.domains.services import Services
from headwater.openapi.catalog import catalog
from headwater.openapi.envelope import (
    BODY_MAX_BYTES,
    Answer,
    Format,
    action_of,
    parameters_of,
    parse,
    render_error,
    render_success,
    response_format,
)
from headwater.openapi.errors import (
    ApiError,
    access_key_inactive,
    access_key_not_found,
    api_not_found,
    client_left,
    internal_error,
    nonce_used,
    not_implemented,
    request_timeout,
    request_too_large,
    security_token_mismatch,
    throttled,
)
from headwater.openapi.operations import OPERATIONS
from headwater.openapi.registry import Call
from headwater.openapi.schema import read_request
from headwater.openapi.signature import SignedRequest, read_claim
from headwater.openapi.throttle import Throttle
from headwater.store.database import Actor

BODY_TIMEOUT_S = 30.0
"""How long a client may take to send its body: 1 MiB takes as long at 300 kbit/s."""

_log = structlog.get_logger(__name__)


def create_app(services: Services, clock: Callable[[], float] = time.time, limits_scale: float = 1.0) -> Starlette:
    """The application; it answers any method on any path, so that no client ever meets an error that it cannot read.

    limits_scale: multiplies how often an account may call each operation; 0: as often as it likes.
    """
    throttle = Throttle(limits_scale)

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        response = await _Exchange(services, clock, throttle, Request(scope, receive)).respond()
        await response(scope, receive, send)

    async def unrouted(request: Request, _: Exception) -> Response:
        return await _Exchange(services, clock, throttle, request).respond()

    return Starlette(routes=[Mount("", app=endpoint)], exception_handlers={HTTPException: unrouted})


class _Exchange:
    """One request and its answer. What is known of it grows step by step; an error is answered with what is known by then."""

    def __init__(self, services: Services, clock: Callable[[], float], throttle: Throttle, request: Request) -> None:
        self._services = services
        self._clock = clock
        self._throttle = throttle
        self._request = request
        self._request_id = str(uuid.uuid4()).upper()
        self._format: Format = "JSON"
        self._known: dict[str, Any] = {
            "request_id": self._request_id,
            "client_ip": request.client.host if request.client else "",
        }

    async def respond(self) -> Response:
        """The answer, whatever happens."""
        started = time.monotonic()
        code = ""
        headers: dict[str, str] = {}
        try:
            answer = await self._serve()
        except (ApiError, DomainError) as error:
            code, answer = error.code, self._refuse(error)
            if isinstance(error, ApiError) and error.retry_after_ms is not None:
                headers["x-acs-retry-after"] = str(error.retry_after_ms)
        except Exception:
            _log.exception("api_failed", **self._known)
            code, answer = "InternalError", self._refuse(internal_error())
        duration_ms = round((time.monotonic() - started) * 1000, 1)
        _log.info("api_request", **self._known, status=answer.status, code=code, duration_ms=duration_ms)
        headers["content-type"] = answer.content_type
        if answer.status == 408:
            headers["connection"] = "close"  # the rest of the body may still come
        return Response(answer.body, answer.status, headers)

    async def _serve(self) -> Answer:
        signed = parse(
            self._request.method,
            self._request.scope["path"],
            self._request.scope["query_string"],
            self._request.scope["headers"],
            await self._body(),
        )
        self._format = response_format(signed)
        action = action_of(signed)
        if action not in catalog():
            raise api_not_found()
        self._known["action"] = action
        call = await self._authenticate(signed, action)
        operation = OPERATIONS.get(action)
        if operation is None:
            raise not_implemented(action)
        request = read_request(operation.request_type, parameters_of(signed))
        return render_success(action, self._request_id, await operation.run(call, request), self._format)

    async def _body(self) -> bytes:
        """The whole body, within its bounds of size and time."""
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in self._request.stream():
                    body += chunk
                    if len(body) > BODY_MAX_BYTES:
                        raise request_too_large(BODY_MAX_BYTES)
        except TimeoutError:
            raise request_timeout() from None
        except ClientDisconnect:
            raise client_left() from None
        return bytes(body)

    async def _authenticate(self, signed: SignedRequest, action: str) -> Call:
        """The nonce comes last: only whoever holds the secret can fill the table of nonces.

        A call above the limit is refused before it costs a nonce; one is counted after, so that a replay does not use it up.
        """
        claim = read_claim(signed)
        claim.check_time(self._clock())
        key = await self._services.accounts.access_key(claim.access_key_id)
        if key is None:
            raise access_key_not_found()
        self._known["access_key_id"] = key.id
        claim.verify(key.secret)
        if not key.active:
            raise access_key_inactive()
        if claim.security_token:
            raise security_token_mismatch()
        wait_ms = self._throttle.wait_ms(key.account_id, action, self._clock())
        if wait_ms:
            raise throttled(wait_ms)
        nonce = hashlib.sha256(claim.nonce.encode()).hexdigest()  # of one length, whatever the client sent
        if not await self._services.accounts.use_nonce(key.id, nonce, claim.expires_s):
            raise nonce_used()
        self._throttle.count(key.account_id, action, self._clock())
        self._known["account"] = key.account_id
        return Call(self._services, key.account_id, Actor(key.id, self._request_id))

    def _refuse(self, error: ApiError | DomainError) -> Answer:
        return render_error(error, self._request_id, self._request.headers.get("host", ""), self._format)
