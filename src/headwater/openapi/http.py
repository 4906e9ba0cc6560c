"""What a client meets before its request has a head: bounds on size and time, and errors that the SDKs can read.

The SDKs fail on an error that is no JSON (reference control-plane 1.6), and the application sees a request only once its head
is complete. So this stands where uvicorn would answer by itself.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from headwater.openapi.envelope import render_error
from headwater.openapi.errors import ApiError, invalid_request, request_timeout, request_too_large

HEAD_TIMEOUT_S = 10.0
"""How long a client may take from its connection, or from the first byte of a later request, to the end of the head."""

HEAD_MAX_BYTES = 128 * 1024
"""Request line and headers: the longest query that is read has 64 KiB, and the SDKs send 1 KiB of headers."""

URL_MAX_BYTES = 65_535
"""What the parser's fields of 16 bits can say of a URL."""

LINGER_S = 2.0
"""How long what a refused client still sends is read and dropped: closed at once, its system would drop our answer unread."""

_log = structlog.get_logger(__name__)


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol for HTTP/1.1 with a head that must come soon and be small."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url = b""
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; its first head must come."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._have_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request; a head that is not complete after so much never will be."""
        if self._refused:
            return
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > HEAD_MAX_BYTES:
            self._refuse(request_too_large(HEAD_MAX_BYTES))

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        self._have_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser gave up."""
        self._refuse(request_too_large(URL_MAX_BYTES) if len(self.url) > URL_MAX_BYTES else invalid_request())

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, lambda: self._refuse(request_timeout()))

    def _have_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: ApiError) -> None:
        self._have_head()
        request_id = str(uuid.uuid4()).upper()
        client_ip = self.client[0] if self.client else ""
        _log.info("api_request", request_id=request_id, client_ip=client_ip, status=error.status, code=error.code)
        answer = render_error(error, request_id, "", "JSON")
        head = f"content-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\nconnection: close\r\n\r\n"
        self._refused = True
        self.transport.write(STATUS_LINE[answer.status] + head.encode() + answer.body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)
