"""The server's side of HTTP/1.1 for media: bytes in, requests out, responses packed. Parsing is httptools' (llhttp)."""

from __future__ import annotations

import email.utils
import functools
from collections.abc import Callable, Mapping
from http import HTTPStatus

import httptools
import msgspec

MAX_HEAD_BYTES = 16 * 1024
"""Request line and headers together; browsers with many cookies stay below, nginx allows 4 x 8 kB."""

MAX_HEADERS = 100
"""As Apache's LimitRequestFields."""

MAX_PIPELINED = 16
"""Requests that a client may send ahead of our answers."""

HEADS_KEPT = 64
"""Heads of answers that are remembered: within a second, thousands of viewers get the same playlist and the same segment."""

COPIED_BYTES_MAX = 16 * 1024
"""A larger body is not put behind its head into one piece: copying it would cost more than a second piece."""

REPEATED_BYTES_MAX = 2 * 1024
"""A longer request is not remembered for when it comes again: with cookies of a page they are rare, and viewers are many."""

OTHER_PROTOCOLS = {b"\x03": "RTMP", b"\x16": "TLS"}
"""What clients speak that were given the wrong port, by the first byte (RTMP 1.0, 5.2.2; RFC 8446, 5.1)."""

Parts = tuple[bytes, ...]
"""A whole answer as it goes to the socket, in pieces."""

Again = Callable[[], Parts | None]
"""Answers a request that has come before, byte for byte, from the same client; None if it must be looked at anew."""


class HttpError(Exception):
    """A request that cannot be served; the connection is closed after the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Request(msgspec.Struct, frozen=True):
    """One request without its body. Header names are lower-case; of a repeated header the last one counts.

    target: path and query as sent. path: percent-encoded as sent. version: "1.0" or "1.1".
    alone: the very bytes, if they came as one piece with nothing before or after them, so that the same bytes mean the same
    request; "" otherwise, and if they are many.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    version: str
    keep_alive: bool
    alone: bytes = b""


class Response(msgspec.Struct, frozen=True):
    """One whole response. Content-Length, Date and Connection are added when it is packed.

    again: what may be asked for the answer when the request comes again on this connection, None if nothing may. shared: it
    may be asked whoever sends these bytes to the same side (delivery.http.HttpDelivery.side).
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    again: Again | None = None
    shared: bool = False


class RequestReader:
    """Reads requests from a connection. Raises HttpError on what is not HTTP, too large, or carries a body.

    Nothing that plays media sends a body, so one is refused rather than read.

    idle: nothing has come since the last whole request, so that the next byte begins a new one.
    """

    def __init__(self) -> None:
        self.idle = True
        self._parser = httptools.HttpRequestParser(self)
        self._requests: list[Request] = []
        self._error: HttpError | None = None
        self._reset()

    def feed(self, data: bytes) -> list[Request]:
        """The requests completed by `data`."""
        was_idle = self.idle
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request stands in the list; whatever follows is not HTTP
        except httptools.HttpParserError as error:
            other = OTHER_PROTOCOLS.get(data[:1]) if was_idle else None
            why = f"this looks like {other}, which has a port of its own" if other else str(error)
            raise self._error or HttpError(400, f"not a valid HTTP request: {why}") from None
        if self._error is not None:
            raise self._error
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HttpError(431, f"request line and headers are over {MAX_HEAD_BYTES} bytes")
        requests, self._requests = self._requests, []
        if len(requests) > MAX_PIPELINED:
            raise HttpError(400, f"more than {MAX_PIPELINED} requests sent ahead")
        if was_idle and self.idle and len(requests) == 1 and len(data) <= REPEATED_BYTES_MAX:
            return [msgspec.structs.replace(requests[0], alone=data)]
        return requests

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._count = 0
        self._head_bytes = 0

    # httptools' callbacks; what they raise would be wrapped, so faults are kept in _error

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.idle = False

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._url += url
        if len(self._url) > MAX_HEAD_BYTES:
            self._fail(414, "the request target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._count += 1
        if self._count > MAX_HEADERS:
            self._fail(431, f"more than {MAX_HEADERS} headers")
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        length = self._headers.get("content-length", "0").strip()
        if "transfer-encoding" in self._headers or length.strip("0"):
            self._fail(413, "a request body is not accepted here")

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self._error is not None:
            return
        target = self._url.decode("latin-1")
        if not target.startswith("/"):
            scheme, _, rest = target.partition("://")
            if scheme.lower() not in ("http", "https"):
                self._fail(400, "the request target must be a path")
            target = "/" + rest.partition("/")[2]
        path, _, query = target.partition("#")[0].partition("?")
        self._requests.append(
            Request(
                self._parser.get_method().decode("latin-1"),
                path,
                query,
                self._headers,
                self._parser.get_http_version(),
                self._parser.should_keep_alive(),
            )
        )
        self.idle = True
        self._reset()

    def _fail(self, status: int, text: str) -> None:
        if self._error is None:
            self._error = HttpError(status, text)
        raise self._error


def pack_head(status: int, headers: tuple[tuple[str, str], ...], now_s: float, version: str = "1.1") -> bytes:
    """Status line and headers, with a Date. Values must not come from a client unchecked."""
    return _packed_head(status, headers, int(now_s), version)


@functools.lru_cache(maxsize=HEADS_KEPT)
def _packed_head(status: int, headers: tuple[tuple[str, str], ...], unix_s: int, version: str) -> bytes:
    lines = [
        f"HTTP/{version} {status} {_phrase(status)}",
        f"Date: {email.utils.formatdate(unix_s, usegmt=True)}",
        "Server: Headwater",
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def pack_response(response: Response, request: Request | None, now_s: float, *, keep_alive: bool) -> bytes:
    """A whole response; without its body for HEAD."""
    return b"".join(response_parts(response, request, now_s, keep_alive=keep_alive))


def response_parts(
    response: Response, request: Request | None, now_s: float, *, keep_alive: bool
) -> tuple[bytes] | tuple[bytes, bytes]:
    """A whole response in pieces: a large body is itself one, so that no viewer of a segment costs a copy of it."""
    headers = response.headers
    if response.status != 204 and response.status != 304:
        headers += (("Content-Length", str(len(response.body))),)
    headers += (("Connection", "keep-alive" if keep_alive else "close"),)
    head = pack_head(response.status, headers, now_s)
    if request is not None and request.method == "HEAD":
        return (head,)
    return (head, response.body) if len(response.body) > COPIED_BYTES_MAX else (head + response.body,)


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """The first and last byte that a Range header with one range asks for, None if it is to be ignored (RFC 9110, 14.2).

    Raises HttpError 416 if it cannot be satisfied.
    """
    unit, _, text = header.partition("=")
    first, dash, last = text.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or not (first + last).isdecimal() or len(first + last) > 20:
        return None
    if not first:
        start, end = max(size - int(last), 0), size - 1
        if int(last) == 0:
            raise HttpError(416, "the range is empty")
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    if start >= size:
        raise HttpError(416, "the range begins after the end")
    return (start, end) if start <= end else None


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Whether the client takes gzip (RFC 9110, 12.5.3); what is said of it by name counts before `*`."""
    return _gzip_is_in(headers.get("accept-encoding", ""))


@functools.lru_cache(maxsize=HEADS_KEPT)
def _gzip_is_in(accept_encoding: str) -> bool:
    wanted: dict[str, bool] = {}
    for item in accept_encoding.lower().split(","):
        coding, _, parameters = item.partition(";")
        wanted[coding.strip()] = parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return wanted.get("gzip", wanted.get("x-gzip", wanted.get("*", False)))


def etag_matches(if_none_match: str, etag: str) -> bool:
    """Whether an If-None-Match header names this entity tag, by the weak comparison (RFC 9110, 13.1.2 and 8.8.3.2)."""
    if not if_none_match:
        return False
    if if_none_match.strip() == "*":
        return True
    return etag in (item.strip().removeprefix("W/") for item in if_none_match.split(","))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"
