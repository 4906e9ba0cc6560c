"""What a streaming node answers over HTTP: FLV, FLV over WebSocket, HLS, and what browsers ask for beside them."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Awaitable, Mapping
from urllib.parse import unquote

import msgspec

from headwater.access.client import Client, Doors, Peer
from headwater.access.names import request_domain, split_query
from headwater.access.policy import Answers
from headwater.access.verdict import Grant, Refusal, refuse
from headwater.delivery.hls_viewers import HlsViewers, ViewerId
from headwater.delivery.play import Delivery, PlayRequest
from headwater.live.hls import HlsOutput
from headwater.live.stream import LiveStream
from headwater.live.viewer import Payer
from headwater.protocols import websocket
from headwater.protocols.http import HttpError, Request, Response, accepts_gzip, byte_range

CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "Content-Length, Content-Range, Date, X-Tengine-Error"),
)
"""Players run on any page; who may play is decided by signature, not by origin."""

PREFLIGHT = (
    *CORS,
    ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
    ("Access-Control-Allow-Headers", "*"),
    ("Access-Control-Max-Age", "86400"),
)

CROSSDOMAIN = b"""<?xml version="1.0"?>
<!DOCTYPE cross-domain-policy SYSTEM "http://www.adobe.com/xml/dtds/cross-domain-policy.dtd">
<cross-domain-policy><allow-access-from domain="*"/></cross-domain-policy>
"""
"""Reference media-plane 1.4: the root of a streaming domain serves it."""

PLAYLIST_CACHE = "public, max-age=1"
"""A cache in front may collapse the reloads of one second; the shortest segment lasts one."""

SEGMENT_CACHE = "public, max-age=3600, immutable"
"""A segment's address never means other bytes."""

FIRST_SEGMENT_S = 9.0
"""How long a playlist request may wait for a young stream's first segment; players give up after 10 s."""

RETRY_AFTER_S = (5, 15)
"""When a viewer for whom there was no room may ask again: each at a moment of its own, or they would all come back together."""

_SEGMENT = re.compile(r"/(?P<app>[^/]+)/(?P<stream>[^/]+)-(?P<number>\d{1,12})-(?P<word>[0-9a-f]{16})\.ts")
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?", re.ASCII)
_PLAY = re.compile(r"/(?P<app>[^/]+)/(?P<stream>[^/]+)\.(?P<format>flv|m3u8)")


class Join(msgspec.Struct, frozen=True):
    """The answer is the live stream: send `head`, then let the viewer join."""

    head: tuple[tuple[str, str], ...]
    status: int
    request: PlayRequest
    grant: Grant
    stream: LiveStream


Answer = Response | Join | Awaitable[Response]

Headers = tuple[tuple[str, str], ...]

_USUAL_PORTS = {"http": 80, "https": 443}


class HttpDelivery:
    """Answers requests; one for all connections of a worker.

    ports: those of `http` and `https`, as far as we listen there; redirects between the two name them.
    """

    def __init__(self, delivery: Delivery, doors: Doors, ports: Mapping[str, int], loop: asyncio.AbstractEventLoop) -> None:
        self.hls_viewers = HlsViewers()
        self.hls_bytes_out = 0
        self.hls_sent: Counter[Payer] = Counter()
        self._delivery = delivery
        self._doors = doors
        self._ports = ports
        self._loop = loop

    def answer(self, session_id: str, request: Request, peer: Peer) -> Answer:
        """What a request gets. Raises HttpError on a request that is wrong in itself."""
        if request.method == "OPTIONS":
            return Response(204, PREFLIGHT)
        if request.method not in ("GET", "HEAD"):
            return Response(405, (*CORS, ("Allow", "GET, HEAD, OPTIONS")))
        if request.path == "/crossdomain.xml":
            return Response(200, (*CORS, ("Content-Type", "text/xml"), ("Cache-Control", "max-age=86400")), CROSSDOMAIN)
        path = unquote(request.path)
        segment = _SEGMENT.fullmatch(path)
        if segment is not None:
            return self._segment(request, segment, self._doors.http(peer, "hls", request.headers))
        play = _PLAY.fullmatch(path)
        if play is None:
            return _error(refuse("not_found", "nothing here; streams are at /App/Stream.flv and /App/Stream.m3u8"))
        query = split_query("?" + request.query)[1]
        upgrade = "websocket" in request.headers.get("upgrade", "").lower()
        flv = play["format"] == "flv"
        ask = PlayRequest(
            domain=request_domain(request.headers.get("host"), query),
            app=play["app"],
            stream=play["stream"],
            uri=request.path,
            token=query.get("auth_key"),
            client=self._doors.http(peer, "hls" if not flv else "ws-flv" if upgrade else "flv", request.headers),
        )
        return self._flv(session_id, request, ask) if flv else self._hls(session_id, request, ask)

    def sweep(self) -> None:
        """Forget HLS viewers who have gone. To be called about once a second."""
        self.hls_viewers.sweep(self._loop.time())

    def _flv(self, session_id: str, request: Request, ask: PlayRequest) -> Answer:
        found = self._delivery.find(session_id, ask)
        if isinstance(found, Refusal):
            return self._refused(request, ask, found)
        if ask.client.protocol == "ws-flv":
            if request.headers.get("sec-websocket-version") != "13":
                return Response(426, (*CORS, ("Sec-WebSocket-Version", "13")))
            try:
                accept = websocket.accept_key(request.headers.get("sec-websocket-key", ""))
            except websocket.WebSocketError as error:
                raise HttpError(400, str(error)) from None
            head = (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept))
            return Join(head, 101, ask, *found)
        answers = found[0].policy.answers
        headers = _dressed((*CORS, ("Content-Type", "video/x-flv"), ("Cache-Control", "no-store")), answers, ask.client)
        if request.method == "HEAD":
            return Response(200, headers)
        return Join((*headers, ("Connection", "close")), 200, ask, *found)

    def _hls(self, session_id: str, request: Request, ask: PlayRequest) -> Answer:
        who = (ask.domain, ask.uri, ask.token or "", ask.client.origin, ask.client.user_agent[:256])
        admitted = self._delivery.admit(session_id, ask, ignore_expiry=self.hls_viewers.known(who))
        if isinstance(admitted, Refusal):
            return self._refused(request, ask, admitted)
        output = self._delivery.hub.hls(admitted[1])
        if output is None:
            return self._refused(request, ask, self._delivery.refuse(session_id, ask, refuse("not_found")))
        if output.unsupported is not None:
            refusal = self._delivery.refuse(session_id, ask, refuse("unsupported", output.unsupported))
            return self._refused(request, ask, refusal)
        output.asked_at = self._loop.time()
        if output.ready:
            return self._playlist(request, ask, output, who)
        return self._wait(session_id, request, ask, output, who)

    async def _wait(self, session_id: str, request: Request, ask: PlayRequest, output: HlsOutput, who: ViewerId) -> Response:
        await output.wait(FIRST_SEGMENT_S)
        if output.unsupported is not None:
            refusal = self._delivery.refuse(session_id, ask, refuse("unsupported", output.unsupported))
            return self._refused(request, ask, refusal)
        if not output.ready:
            refusal = self._delivery.refuse(session_id, ask, refuse("not_found", "no segment is ready yet"))
            return self._refused(request, ask, refusal)
        return self._playlist(request, ask, output, who)

    def _playlist(self, request: Request, ask: PlayRequest, output: HlsOutput, who: ViewerId) -> Response:
        self.hls_viewers.saw(who, self._loop.time())
        plain, zipped = output.playlist(f"vhost={ask.domain}" if "vhost=" in request.query else "")
        answers = self._delivery.answers(ask.domain, ask.client)
        headers: Headers = (
            *CORS,
            ("Content-Type", "application/vnd.apple.mpegurl"),
            ("Cache-Control", PLAYLIST_CACHE),
            ("Vary", "Accept-Encoding"),
        )
        headers = _dressed(headers, answers, ask.client)
        if answers.gzip and accepts_gzip(request.headers):
            headers, plain = (*headers, ("Content-Encoding", "gzip")), zipped
        if request.method == "GET":
            self._sent((ask.domain, ask.client.secure), len(plain))
        return Response(200, headers, plain)

    def _segment(self, request: Request, match: re.Match[str], client: Client) -> Response:
        query = split_query("?" + request.query)[1]
        domain = request_domain(request.headers.get("host"), query)
        key = self._delivery.stream_key(domain, match["app"], match["stream"])
        output = self._delivery.hub.hls_if_active(key) if key is not None else None
        data = output.segment(int(match["number"]), match["word"]) if output is not None else None
        if output is None or data is None:
            return _error(refuse("not_found", "no such segment, or no longer"))
        output.asked_at = self._loop.time()
        etag = f'"{match["number"]}-{match["word"]}"'
        headers: Headers = (
            *CORS,
            ("Content-Type", "video/mp2t"),
            ("Cache-Control", SEGMENT_CACHE),
            ("Accept-Ranges", "bytes"),
            ("ETag", etag),
        )
        headers = _dressed(headers, self._delivery.answers(domain, client), client)
        if etag in request.headers.get("if-none-match", ""):
            return Response(304, headers)
        part = None
        if "range" in request.headers and request.headers.get("if-range", etag) == etag:
            try:
                part = byte_range(request.headers["range"], len(data))
            except HttpError as error:
                return Response(error.status, (*CORS, ("Content-Range", f"bytes */{len(data)}")))
        if part is not None:
            first, last = part
            if request.method == "GET":
                self._sent((domain, client.secure), last + 1 - first)
            return Response(206, (*headers, ("Content-Range", f"bytes {first}-{last}/{len(data)}")), data[first : last + 1])
        if request.method == "GET":
            self._sent((domain, client.secure), len(data))
        return Response(200, headers, data)

    def _sent(self, payer: Payer, size: int) -> None:
        self.hls_bytes_out += size
        self.hls_sent[payer] += size

    def _refused(self, request: Request, ask: PlayRequest, refusal: Refusal) -> Response:
        """The answer to a refusal: the page that the domain has for it, the same URL over the wanted scheme, or the error."""
        answers = self._delivery.answers(ask.domain, ask.client)
        location = next((url for status, url in answers.error_pages if status == refusal.http_status), "")
        if refusal.reason in ("https_required", "http_required"):
            location = self._elsewhere("https" if refusal.reason == "https_required" else "http", request)
        response = _error(refusal)
        headers = _dressed(response.headers, answers, ask.client)
        return (
            Response(302, (*headers, ("Location", location))) if location else Response(response.status, headers, response.body)
        )

    def _elsewhere(self, scheme: str, request: Request) -> str:
        """The same URL over the other scheme; "" if we do not serve that or the request names no host."""
        port, host = self._ports.get(scheme), _host(request.headers.get("host", ""))
        if port is None or not host:
            return ""
        target = request.path + (f"?{request.query}" if request.query else "")
        return f"{scheme}://{host}{'' if port == _USUAL_PORTS[scheme] else f':{port}'}{target}"


def _host(header: str) -> str:
    """The host of a Host header without its port; "" if it is none that may stand in a URL."""
    match = _HOST.fullmatch(header)
    return match[1] if match is not None else ""


def _dressed(headers: Headers, answers: Answers, client: Client) -> Headers:
    """The headers as the domain wants them (set_resp_header, HSTS)."""
    if answers.hsts and client.secure:
        headers = (*headers, ("Strict-Transport-Security", answers.hsts))
    for name, value in answers.headers:
        headers = tuple(header for header in headers if header[0].lower() != name.lower())
        if value is not None:
            headers = (*headers, (name, value))
    return headers


def _error(refusal: Refusal) -> Response:
    headers: tuple[tuple[str, str], ...] = (
        *CORS,
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("X-Tengine-Error", refusal.text),
    )
    if refusal.reason == "overload":
        headers += (("Retry-After", str(random.randint(*RETRY_AFTER_S))),)
    return Response(refusal.http_status, headers, (refusal.text + "\n").encode())


def error_response(error: HttpError) -> Response:
    """The answer to a request that is wrong in itself."""
    headers = (*CORS, ("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"))
    return Response(error.status, headers, f"{error}\n".encode())
