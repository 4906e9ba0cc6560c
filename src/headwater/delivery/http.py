"""What a streaming node answers over HTTP: FLV, FLV over WebSocket, HLS, and what browsers ask for beside them."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import unquote

import msgspec

from headwater.access.client import Client, Doors, Peer
from headwater.access.names import request_domain, split_query
from headwater.access.policy import Answers
from headwater.access.shift import Question as ShiftQuestion
from headwater.access.shift import ShiftAsked, ShiftError, SliceAsked, Span, anchored, parse, parse_span
from headwater.access.verdict import Grant, Refusal, refuse
from headwater.delivery.challenges import Challenges
from headwater.delivery.hls_again import Ready, Reload, SegmentAgain, Shared
from headwater.delivery.hls_cache import Fetch, HlsCache, Playlist
from headwater.delivery.hls_viewers import HlsViewers, Play, ViewerId, viewer_id
from headwater.delivery.masters import master, viewer_names
from headwater.delivery.play import Delivery, Found, PlayRequest
from headwater.delivery.renditions import GroupOf
from headwater.delivery.shift import AskCenter, ShiftCache
from headwater.live.hls import HlsOutput
from headwater.live.stream import LiveStream, StreamKey
from headwater.live.viewer import Payer
from headwater.protocols import websocket
from headwater.protocols.http import (
    HEADS_KEPT,
    Again,
    HttpError,
    Parts,
    Request,
    Response,
    accepts_gzip,
    byte_range,
    etag_matches,
)

CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "Content-Length, Content-Range, Date, ETag, Retry-After, X-Tengine-Error"),
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

CONDITIONS = frozenset({"range", "if-range", "if-none-match"})
"""Headers by which the answer for a segment is another than the whole of it."""

TIMELINE = "/openapi/timeline/query"
"""Where players ask what time shift can be asked for (reference media-plane 6.4)."""

_SLICE = re.compile(r"/(?P<app>[^/]+)/(?P<stream>[^/]+)-t(?P<number>\d{1,12})-(?P<word>[0-9a-f]{16})\.ts")
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


Answer = Response | Join | Awaitable[Response | Join]

AskHome = Callable[[int, ViewerId], Awaitable[bool]]
"""Asks another worker, by its index, whether it knows an HLS viewer."""

Headers = tuple[tuple[str, str], ...]

_USUAL_PORTS = {"http": 80, "https": 443}


class HttpDelivery:
    """Answers requests; one for all connections of a worker.

    ports: those of `http` and `https`, as far as we listen there; redirects between the two name them.
    fetch, ask_home: what other workers of the machine are asked for. ask_center: asks the live center.
    """

    def __init__(
        self,
        delivery: Delivery,
        doors: Doors,
        ports: Mapping[str, int],
        loop: asyncio.AbstractEventLoop,
        hls_viewers: HlsViewers,
        *,
        fetch: Fetch,
        ask_home: AskHome,
        ask_center: AskCenter,
    ) -> None:
        self.challenges = Challenges()
        self.hls_viewers = hls_viewers
        self.hls_cache = HlsCache(fetch, loop.time)
        self.shift_cache = ShiftCache(ask_center, loop.time)
        self.hls_bytes_out = 0
        self.hls_sent: Counter[Payer] = Counter()
        self._delivery = delivery
        self._doors = doors
        self._ports = ports
        self._loop = loop
        self._ask_home = ask_home
        self._ready = Ready()
        self._shared: dict[tuple[bool, bool, bool], Shared] = {}

    def shared(self, peer: Peer) -> Shared:
        """The answers that a connection may take because another one of the same side got them."""
        return self._shared.setdefault(self._doors.side(peer), Shared())

    def answer(self, session_id: str, request: Request, peer: Peer) -> Answer:
        """What a request gets. Raises HttpError on a request that is wrong in itself."""
        if request.method == "OPTIONS":
            return Response(204, PREFLIGHT)
        if request.method not in ("GET", "HEAD"):
            return Response(405, (*CORS, ("Allow", "GET, HEAD, OPTIONS")))
        if (challenge := self.challenges.answer(request)) is not None:
            return challenge
        if request.path == "/crossdomain.xml":
            return Response(200, (*CORS, ("Content-Type", "text/xml"), ("Cache-Control", "max-age=86400")), CROSSDOMAIN)
        path = unquote(request.path)
        segment = _SEGMENT.fullmatch(path)
        if segment is not None:
            return self._segment(session_id, request, segment, self._doors.http(peer, "hls", request.headers))
        kept = _SLICE.fullmatch(path)
        if kept is not None:
            return self._slice(session_id, request, kept, self._doors.http(peer, "hls", request.headers))
        if path == TIMELINE:
            return self._timeline(session_id, request, self._doors.http(peer, "hls", request.headers))
        play = _PLAY.fullmatch(path)
        if play is None:
            return _error(refuse("not_found", "nothing here; streams are at /App/Stream.flv and /App/Stream.m3u8"))
        query = split_query("?" + request.query)[1]
        upgrade = "websocket" in request.headers.get("upgrade", "").lower()
        flv = play["format"] == "flv"
        client = self._doors.http(peer, "hls" if not flv else "ws-flv" if upgrade else "flv", request.headers)
        domain = request_domain(request.headers.get("host"), query)
        ask = PlayRequest(
            domain=domain,
            app=play["app"],
            stream=play["stream"],
            uri=request.path,
            token=query.get("auth_key"),
            client=client,
            args=query,
            headers=request.headers if self._delivery.remote(domain, client) is not None else {},
        )
        if flv:
            return self._flv(session_id, request, ask)
        try:
            parse(query)
        except ShiftError as error:
            raise HttpError(400, str(error)) from None
        return self._hls(session_id, request, ask)

    def sweep(self) -> None:
        """Forget HLS viewers who have gone. To be called about once a second."""
        self.hls_viewers.sweep(self._loop.time())
        self.hls_cache.sweep()
        self._ready.clear(time.time())

    def _flv(self, session_id: str, request: Request, ask: PlayRequest) -> Answer:
        if ask.client.protocol == "ws-flv":
            if request.headers.get("sec-websocket-version") != "13":
                return Response(426, (*CORS, ("Sec-WebSocket-Version", "13")))
            try:
                websocket.accept_key(request.headers.get("sec-websocket-key", ""))
            except websocket.WebSocketError as error:  # found before anybody waits: who waits can only be answered
                raise HttpError(400, str(error)) from None
        question = self._delivery.question(session_id, ask)
        return self._find(session_id, request, ask) if question is None else self._flv_asked(session_id, request, ask, question)

    async def _flv_asked(
        self, session_id: str, request: Request, ask: PlayRequest, question: Awaitable[PlayRequest | Refusal]
    ) -> Response | Join:
        """The answer once the customer's own server has agreed."""
        asked = await question
        if isinstance(asked, Refusal):
            return self._refused(request, ask, asked)
        answer = self._find(session_id, request, asked)
        return answer if isinstance(answer, (Response, Join)) else await answer

    def _find(self, session_id: str, request: Request, ask: PlayRequest) -> Answer:
        found = self._delivery.find(session_id, ask)
        if isinstance(found, (Refusal, tuple)):
            return self._join(request, ask, found)
        return self._join_later(request, ask, found)

    async def _join_later(self, request: Request, ask: PlayRequest, coming: Awaitable[Found]) -> Response | Join:
        return self._join(request, ask, await coming)

    def _join(self, request: Request, ask: PlayRequest, found: Found) -> Response | Join:
        if isinstance(found, Refusal):
            return self._refused(request, ask, found)
        if ask.client.protocol == "ws-flv":
            accept = websocket.accept_key(request.headers["sec-websocket-key"])
            head = (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept))
            return Join(head, 101, ask, *found)
        answers = found[0].policy.answers
        headers: Headers = (*CORS, ("Content-Type", "video/x-flv"), ("Cache-Control", "no-store"))
        headers = _dressed(headers, answers, secure=ask.client.secure)
        if request.method == "HEAD":
            return Response(200, headers)
        return Join((*headers, ("Connection", "close")), 200, ask, *found)

    def _hls(self, session_id: str, request: Request, ask: PlayRequest) -> Answer:
        meant = self._delivery.stream_key(ask.domain, ask.app, ask.stream)
        names = viewer_names(ask, self._delivery.renditions, meant) or (ask.uri, ask.token or "")
        who = viewer_id(ask.domain, *names, ask.client.origin, ask.client.user_agent[:256])
        known = self.hls_viewers.known(who)
        if known:
            ask = msgspec.structs.replace(ask, answered=self.hls_viewers.answered(who))
        if not known and not self.hls_viewers.at_home(who) and (self._expired(ask) or self._delivery.full() is not None):
            return self._hls_if_known(session_id, request, ask, who)
        return self._hls_admitted(session_id, request, ask, who, ignore_expiry=known)

    def _expired(self, ask: PlayRequest) -> bool:
        verdict = self._delivery.judge(ask, ignore_expiry=False)
        return isinstance(verdict, Refusal) and verdict.reason == "signature_expired"

    async def _hls_if_known(self, session_id: str, request: Request, ask: PlayRequest, who: ViewerId) -> Response | Join:
        """A newcomer would be refused, but this may be a viewer who has been watching through another worker."""
        known = await self._ask_home(self.hls_viewers.home(who), who)
        answer = self._hls_admitted(session_id, request, ask, who, ignore_expiry=known)
        return answer if isinstance(answer, (Response, Join)) else await answer

    def _hls_admitted(
        self, session_id: str, request: Request, ask: PlayRequest, who: ViewerId, *, ignore_expiry: bool
    ) -> Answer:
        question = self._delivery.question(session_id, ask, ignore_expiry=ignore_expiry)
        if question is not None:
            return self._hls_asked(session_id, request, ask, who, question, ignore_expiry=ignore_expiry)
        admitted = self._delivery.admit(session_id, ask, ignore_expiry=ignore_expiry)
        if isinstance(admitted, Refusal):
            self.hls_viewers.refused(who, admitted.text)
            return self._refused(request, ask, admitted)
        grant, key = admitted
        renditions = self._delivery.renditions
        group = None if renditions.live(key) else renditions.group(key)
        if group is not None:
            return self._master(session_id, request, ask, who, key, grant, group)
        query = f"vhost={ask.domain}" if "vhost=" in request.query else ""
        asked = parse(ask.args)
        if asked is not None:
            return self._shifted(session_id, request, ask, who, key, asked, f"?{query}" if query else "")
        served = renditions.at_once(key)
        if self.hls_viewers.instead(who) and (made := renditions.made(key)) is not None:
            served = made.source
        packed = self._packed(served, query) if served is not None else None
        if served is None or packed is None:
            return self._hls_later(session_id, request, ask, who, key, served, query)
        if served != key or isinstance(packed, Refusal):
            return self._playlist(session_id, request, ask, who, key, packed, instead=served != key)
        again = self._reload_of(request, ask, who, key, query, grant.policy.answers)
        return self._playlist(session_id, request, ask, who, key, packed, instead=False, again=again)

    def _reload_of(
        self, request: Request, ask: PlayRequest, who: ViewerId, key: StreamKey, query: str, answers: Answers
    ) -> Again | None:
        """How this request may be answered when it comes again."""
        if not request.alone or request.method != "GET" or "if-none-match" in request.headers:
            return None
        if self._delivery.renditions.group(key) is not None:
            return None  # it may be answered with a master playlist next time
        zips = answers.gzip and accepts_gzip(request.headers)
        play, payer = Play(str(key), ask.client.origin), (ask.domain, ask.client.secure)
        reload = Reload(who, key, play, query, zips, ask.answered, answers, payer, self._delivery.revision)
        return functools.partial(self._reload, reload)

    def _reload(self, asked: Reload) -> Parts | None:
        """A playlist for a viewer who asks for it again."""
        if asked.revision != self._delivery.revision or not self.hls_viewers.goes_on(asked.who, asked.answered):
            return None
        if self._delivery.renditions.at_once(asked.key) != asked.key:
            return None
        packed = self._packed(asked.key, asked.query)
        if packed is None or isinstance(packed, Refusal):
            return None
        plain, zipped = packed
        self.hls_viewers.saw(asked.who, asked.play, self._loop.time(), asked.answered)
        self._sent(asked.payer, len(zipped) if asked.zips else len(plain))
        name = plain, asked.zips, asked.payer[1], asked.answers
        return self._ready.parts(
            name, lambda: _playlist_of(plain, zipped, asked.answers, zips=asked.zips, secure=asked.payer[1]), time.time()
        )

    async def _master(
        self, session_id: str, request: Request, ask: PlayRequest, who: ViewerId, key: StreamKey, grant: Grant, group: GroupOf
    ) -> Response:
        """The master playlist of a group, once its source is live."""
        sources, renditions = self._delivery.sources, self._delivery.renditions
        deadline = sources.deadline
        while not renditions.live(group.source):
            if not sources.may_wait() or not await sources.appears(group.source, deadline):
                return self._refused(request, ask, self._delivery.refuse(session_id, ask, refuse("not_found")))
        query, asked = request.query, parse(ask.args)
        if asked is not None and asked.start_ms is not None and not asked.vod:  # a master cannot lead to masters
            query = anchored(query, max(int(time.time() * 1000) - asked.start_ms, 0))
        body = master(group, ask, query, grant, renditions)
        headers = (*CORS, ("Content-Type", "application/vnd.apple.mpegurl"), ("Cache-Control", "no-store"))
        if request.method == "GET":
            self.hls_viewers.saw(who, Play(str(key), ask.client.origin), self._loop.time(), ask.answered)
            self._sent((ask.domain, ask.client.secure), len(body))
        return Response(200, _dressed(headers, grant.policy.answers, secure=ask.client.secure), body)

    async def _shifted(
        self, session_id: str, request: Request, ask: PlayRequest, who: ViewerId, key: StreamKey, asked: ShiftAsked, tail: str
    ) -> Response:
        """A playlist of the stream's past."""
        entry = asked.start_ms is not None and not asked.vod  # it leads on to the same URL, a little changed
        question = ShiftQuestion(ask.domain, *key, asked, request.query if entry else "", tail)
        return self._playlist(session_id, request, ask, who, key, await self.shift_cache.playlist(question), instead=False)

    async def _hls_asked(
        self,
        session_id: str,
        request: Request,
        ask: PlayRequest,
        who: ViewerId,
        question: Awaitable[PlayRequest | Refusal],
        *,
        ignore_expiry: bool,
    ) -> Response | Join:
        """The answer once the customer's own server has agreed."""
        asked = await question
        if isinstance(asked, Refusal):
            self.hls_viewers.refused(who, asked.text)
            return self._refused(request, ask, asked)
        answer = self._hls_admitted(session_id, request, asked, who, ignore_expiry=ignore_expiry)
        return answer if isinstance(answer, (Response, Join)) else await answer

    def _packed(self, key: StreamKey, query: str) -> Packed | None:
        """A playlist that can be had at once, or why there is none; None if one must wait."""
        if self._delivery.sources.elsewhere(key):
            held = self.hls_cache.playlist_at_hand(key, query)
            return None if held is None else _of(held)
        output = self._delivery.hub.hls(key)
        if output is None:
            return None
        output.asked_at = self._loop.time()
        if output.unsupported is not None:
            return refuse("unsupported", output.unsupported)
        return output.playlist(query) if output.ready else None

    async def _packed_later(self, key: StreamKey, query: str) -> Packed:
        """A playlist, once there is one: from its publisher's worker, or here when the first segment is ready."""
        sources = self._delivery.sources
        deadline = sources.deadline
        while True:
            packed = self._packed(key, query)
            if packed is not None:
                return packed
            output = None if sources.elsewhere(key) else self._delivery.hub.hls(key)
            if output is not None:
                return await self._first(output, query)
            held = await self.hls_cache.playlist(key, query) if sources.known_elsewhere(key) else None
            if held is not None and (held.answer.status != 404 or sources.elsewhere(key)):
                return _of(held)
            if not sources.may_wait() or not await sources.appears(key, deadline):
                return refuse("not_found")

    async def _first(self, output: HlsOutput, query: str) -> Packed:
        await output.wait(FIRST_SEGMENT_S)
        if output.unsupported is not None:
            return refuse("unsupported", output.unsupported)
        return output.playlist(query) if output.ready else refuse("not_found", "no segment is ready yet")

    async def _hls_later(
        self,
        session_id: str,
        request: Request,
        ask: PlayRequest,
        who: ViewerId,
        key: StreamKey,
        served: StreamKey | None,
        query: str,
    ) -> Response:
        if served is None:
            served = await self._delivery.renditions.later(key)
        packed = await self._packed_later(served, query)
        return self._playlist(session_id, request, ask, who, key, packed, instead=served != key)

    def _playlist(
        self,
        session_id: str,
        request: Request,
        ask: PlayRequest,
        who: ViewerId,
        key: StreamKey,
        packed: Packed,
        *,
        instead: bool,
        again: Again | None = None,
    ) -> Response:
        if isinstance(packed, Refusal):
            return self._refused(request, ask, self._delivery.refuse(session_id, ask, packed))
        if request.method == "GET":
            play = Play(str(key), ask.client.origin)
            self.hls_viewers.saw(who, play, self._loop.time(), ask.answered, instead=instead)
        plain, zipped = packed
        answers = self._delivery.answers(ask.domain, ask.client)
        zips = answers.gzip and accepts_gzip(request.headers)
        response = _playlist_of(plain, zipped, answers, zips=zips, secure=ask.client.secure, again=again)
        if etag_matches(request.headers.get("if-none-match", ""), dict(response.headers)["ETag"]):
            return Response(304, response.headers)
        if request.method == "GET":
            self._sent((ask.domain, ask.client.secure), len(response.body))
        return response

    def _part(self, session_id: str, request: Request, match: re.Match[str], client: Client) -> tuple[str, Grant] | Response:
        """The domain that is asked for a part of a play, and that it may give it; or the answer to a refusal."""
        domain = request_domain(request.headers.get("host"), split_query("?" + request.query)[1])
        ask = PlayRequest(domain, match["app"], match["stream"], request.path, None, client)
        verdict = self._delivery.admit_part(session_id, ask)
        return self._refused(request, ask, verdict) if isinstance(verdict, Refusal) else (domain, verdict)

    def _segment(self, session_id: str, request: Request, match: re.Match[str], client: Client) -> Answer:
        part = self._part(session_id, request, match, client)
        if isinstance(part, Response):
            return part
        domain, grant = part
        key = StreamKey(grant.domain, grant.app, grant.stream)
        name = f"{match['number']}-{match['word']}"
        data = self._segment_here(key, int(match["number"]), match["word"]) or self.hls_cache.segment_at_hand(key, name)
        if data is None and self._delivery.sources.known_elsewhere(key):
            return self._segment_later(request, domain, client, key, name)
        again = self._segment_again_of(request, match, domain, client, key) if self._delivery.alike(grant) else None
        return self._give_segment(request, domain, client, name, data, again)

    def _segment_again_of(
        self, request: Request, match: re.Match[str], domain: str, client: Client, key: StreamKey
    ) -> Again | None:
        """How this request may be answered when it comes again, from whomever."""
        if not request.alone or request.method != "GET" or not request.headers.keys().isdisjoint(CONDITIONS):
            return None
        answers, payer = self._delivery.answers(domain, client), (domain, client.secure)
        segment = SegmentAgain(key, int(match["number"]), match["word"], answers, payer, self._delivery.revision)
        return functools.partial(self._segment_again, segment)

    def _segment_again(self, asked: SegmentAgain) -> Parts | None:
        """A segment that is asked for again, by the same viewer or another one."""
        if asked.revision != self._delivery.revision:
            return None
        data = self._segment_here(asked.key, asked.number, asked.word)
        if data is None and (data := self.hls_cache.segment_at_hand(asked.key, asked.name)) is None:
            return None
        self._sent(asked.payer, len(data))
        name, secure = asked.name, asked.payer[1]
        return self._ready.parts(
            (asked.key, name, secure, asked.answers),
            lambda: Response(200, _segment_headers(name, asked.answers, secure=secure), data),
            time.time(),
        )

    async def _slice(self, session_id: str, request: Request, match: re.Match[str], client: Client) -> Response:
        """A slice of a stream's past."""
        part = self._part(session_id, request, match, client)
        if isinstance(part, Response):
            return part
        domain, grant = part
        data = await self.shift_cache.slice(SliceAsked(grant.domain, grant.app, int(match["number"]), match["word"]))
        return self._give_segment(request, domain, client, f"{match['number']}-{match['word']}", data)

    def _timeline(self, session_id: str, request: Request, client: Client) -> Awaitable[Response]:
        """When there are slices; for whoever may play the stream, with a signature over this very path. Raises HttpError."""
        query = split_query("?" + request.query)[1]
        try:
            span = parse_span(query)
        except ShiftError as error:
            raise HttpError(400, str(error)) from None
        if query.get("format", "ts") not in ("ts", "flv"):
            raise HttpError(400, "format is ts or flv")
        domain = request_domain(request.headers.get("host"), query)
        ask = PlayRequest(
            domain=domain,
            app=query.get("app", ""),
            stream=query.get("stream", ""),
            uri=request.path,
            token=query.get("auth_key"),
            client=client,
            args=query,
            headers=request.headers if self._delivery.remote(domain, client) is not None else {},
        )
        return self._told_timeline(session_id, request, ask, *span)

    async def _told_timeline(self, session_id: str, request: Request, ask: PlayRequest, start_ms: int, end_ms: int) -> Response:
        question = self._delivery.question(session_id, ask)
        asked = ask if question is None else await question
        if isinstance(asked, Refusal):
            return self._refused(request, ask, asked)
        admitted = self._delivery.admit(session_id, asked)
        if isinstance(admitted, Refusal):
            return self._refused(request, ask, admitted)
        found = await self.shift_cache.timeline(Span(ask.domain, *admitted[1], start_ms, end_ms))
        if isinstance(found, Refusal):
            return self._refused(request, ask, self._delivery.refuse(session_id, ask, found))
        content = {
            "current": int(time.time()),
            "timeline": [{"start": begin // 1000, "end": -(-end // 1000)} for begin, end in found],
        }
        body = msgspec.json.encode({"retCode": 0, "description": "success", "content": content, **content})
        if request.method == "GET":
            self._sent((ask.domain, ask.client.secure), len(body))
        headers = (*CORS, ("Content-Type", "application/json"), ("Cache-Control", "no-store"))
        return Response(200, _dressed(headers, self._delivery.answers(ask.domain, ask.client), secure=ask.client.secure), body)

    async def _segment_later(self, request: Request, domain: str, client: Client, key: StreamKey, name: str) -> Response:
        return self._give_segment(request, domain, client, name, await self.hls_cache.segment(key, name))

    def _segment_here(self, key: StreamKey, number: int, word: str) -> bytes | None:
        output = self._delivery.hub.hls_if_active(key)
        data = output.segment(number, word) if output is not None else None
        if output is not None and data is not None:
            output.asked_at = self._loop.time()
        return data

    def _give_segment(
        self, request: Request, domain: str, client: Client, name: str, data: bytes | None, again: Again | None = None
    ) -> Response:
        if data is None:
            return _no_segment()
        etag = f'"{name}"'
        headers = _segment_headers(name, self._delivery.answers(domain, client), secure=client.secure)
        if etag_matches(request.headers.get("if-none-match", ""), etag):
            return Response(304, headers)
        part = None
        if request.method == "GET" and "range" in request.headers and request.headers.get("if-range", etag) == etag:
            try:
                part = byte_range(request.headers["range"], len(data))
            except HttpError as error:
                return Response(error.status, (*CORS, ("Content-Range", f"bytes */{len(data)}")))
        if part is not None:
            first, last = part
            self._sent((domain, client.secure), last + 1 - first)
            return Response(206, (*headers, ("Content-Range", f"bytes {first}-{last}/{len(data)}")), data[first : last + 1])
        if request.method == "GET":
            self._sent((domain, client.secure), len(data))
        return Response(200, headers, data, again, shared=True)

    def _sent(self, payer: Payer, size: int) -> None:
        self.hls_bytes_out += size
        self.hls_sent[payer] += size

    # what other workers ask for

    async def playlist_for_worker(self, key: StreamKey, query: str) -> Response:
        """The playlist of a stream that is packed here."""
        output = self._delivery.hub.hls(key)
        if output is None:
            return _error(refuse("not_found"))
        output.asked_at = self._loop.time()
        packed = await self._first(output, query)
        return _error(packed) if isinstance(packed, Refusal) else Response(200, (), packed[0])

    def segment_for_worker(self, key: StreamKey, name: str) -> Response:
        """A segment that was packed here. name: `<number>-<word>`."""
        number, _, word = name.partition("-")
        data = self._segment_here(key, int(number), word) if number.isdecimal() and word.isascii() else None
        return _no_segment() if data is None else Response(200, (), data)

    # refusals

    def _refused(self, request: Request, ask: PlayRequest, refusal: Refusal) -> Response:
        """The answer to a refusal: the page that the domain has for it, the same URL over the wanted scheme, or the error."""
        answers = self._delivery.answers(ask.domain, ask.client)
        location = next((url for status, url in answers.error_pages if status == refusal.http_status), "")
        if refusal.reason in ("https_required", "http_required"):
            location = self._elsewhere("https" if refusal.reason == "https_required" else "http", request)
        response = _error(refusal)
        headers = _dressed(response.headers, answers, secure=ask.client.secure)
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


def _playlist_of(
    plain: bytes, zipped: bytes, answers: Answers, *, zips: bool, secure: bool, again: Again | None = None
) -> Response:
    headers: Headers = (
        *CORS,
        ("Content-Type", "application/vnd.apple.mpegurl"),
        ("Cache-Control", PLAYLIST_CACHE),
        ("Vary", "Accept-Encoding"),
    )
    headers, etag, body = _dressed(headers, answers, secure=secure), _etag(plain), plain
    if zips:
        headers, etag, body = (*headers, ("Content-Encoding", "gzip")), f"{etag}-gzip", zipped
    return Response(200, (*headers, ("ETag", f'"{etag}"')), body, again)


@functools.lru_cache(maxsize=HEADS_KEPT)
def _etag(playlist: bytes) -> str:
    return hashlib.blake2b(playlist, digest_size=8).hexdigest()


def _segment_headers(name: str, answers: Answers, *, secure: bool) -> Headers:
    headers: Headers = (
        *CORS,
        ("Content-Type", "video/mp2t"),
        ("Cache-Control", SEGMENT_CACHE),
        ("Accept-Ranges", "bytes"),
        ("ETag", f'"{name}"'),
    )
    return _dressed(headers, answers, secure=secure)


def _dressed(headers: Headers, answers: Answers, *, secure: bool) -> Headers:
    """The headers as the domain wants them (set_resp_header, HSTS)."""
    if answers.hsts and secure:
        headers = (*headers, ("Strict-Transport-Security", answers.hsts))
    for name, value in answers.headers:
        headers = tuple(header for header in headers if header[0].lower() != name.lower())
        if value is not None:
            headers = (*headers, (name, value))
    return headers


Packed = tuple[bytes, bytes] | Refusal
"""A playlist, plain and gzipped, or why there is none."""


def _of(held: Playlist) -> Packed:
    if held.answer.status == 200:
        return held.answer.body, held.zipped
    return refuse("unsupported" if held.answer.status == 415 else "not_found", held.answer.text)


def _no_segment() -> Response:
    return _error(refuse("not_found", "no such segment, or no longer"))


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
