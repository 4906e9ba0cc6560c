"""The worker's own door, a Unix socket: for the main process, for the other workers of the machine, and for the center's jobs.

| request | answer |
|---|---|
| GET /metrics | JSON, a list of observe.families.Family |
| GET /usage | JSON, observe.traffic.WorkerUsage |
| GET /census | JSON, node.census.Census: for whoever looks for what has not gone |
| GET /relay/<domain>/<app>/<stream>?behind_s= | the stream as endless FLV, from at least so far back; 404 if it is not here |
| GET /keyframe/<domain>/<app>/<stream>?but_ms= | FLV with its configuration and newest key frame alone; as /relay if that frame
has this time (of 32 bits, as in FLV), or if there is none |
| GET /playlist/<domain>/<app>/<stream>?query | its HLS playlist, whose segments carry the query |
| GET /segment/<domain>/<app>/<stream>?number-word | one of its segments |
| POST /publish/<domain>/<app>/<stream>?source=&template=&by= | 101, then endless FLV from the client; why it ends comes last.
With `again=1`, if it was published by this client before: 410 if another one has taken its place |
| POST /hand-over/<domain>/<app>/<stream>?by=&takeover=&product=&asked_ms_ago= | 204: it is free; 409: kept; 202: ask again |
| GET /hls-viewer?id | 200 if this HLS viewer is known here, else 404 |
| POST /hls-viewers?id,stream,client;... | 204: noted that these HLS viewers were at another worker |
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

import msgspec

from headwater.access.client import Client
from headwater.access.names import split_query
from headwater.access.verdict import Refusal
from headwater.delivery.hls_viewers import Play
from headwater.ingest.session import PublishSession, PushRequest
from headwater.live.hub import Busy, Undecided
from headwater.live.stream import LiveStream, StreamKey
from headwater.live.viewer import Viewer
from headwater.media import flv
from headwater.media.errors import MediaError
from headwater.media.tag import VIDEO
from headwater.node import census, metrics
from headwater.observe.log import session_id
from headwater.protocols.http import HttpError, Request, RequestReader, Response, pack_head, pack_response

if TYPE_CHECKING:
    from headwater.node.worker import Node

ASK_AGAIN_S = 0.05
"""A name that another publisher holds is asked for again so often, until it is decided who has it."""

SWITCH = (("Connection", "Upgrade"), ("Upgrade", "flv"))
"""A published stream is no HTTP body, which would have an end: the connection carries nothing but FLV from here on."""


class InternalConnection(asyncio.Protocol):
    """One connection of the main process or of another worker; a relayed stream is its last answer."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._reader = RequestReader()
        self._viewer: Viewer | None = None
        self._push: PublishSession | None = None
        self._flv = flv.Reader()
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody of this machine has connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by type
        self._transport.set_write_buffer_limits(high=0, low=0)  # so that a relay is a cursor, as every viewer is

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, or of a published stream."""
        if self._push is not None:
            self._take(self._push, data)
            return
        try:
            requests = self._reader.feed(data)
        except HttpError as error:
            self._transport.write(pack_response(Response(error.status), None, time.time(), keep_alive=False))
            self._transport.close()
            return
        for request in requests:
            answer = self._answer(request)
            if isinstance(answer, Response):
                self._respond(request, answer)
            elif answer is not None:
                task = self._node.loop.create_task(self._respond_later(request, answer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        for task in self._tasks:
            task.cancel()
        self._leave()
        if self._push is not None:
            self._push.end("the job closed")

    def pause_writing(self) -> None:
        """The socket is full."""
        if self._viewer is not None:
            self._viewer.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        if self._viewer is not None:
            self._viewer.resume_writing()

    # requests

    def _answer(self, request: Request) -> Response | Awaitable[Response | None] | None:
        """The answer; None if a stream was begun."""
        kind, *names = (unquote(part) for part in request.path.removeprefix("/").split("/"))
        if names:
            return self._answer_about(kind, StreamKey(*names), request.query) if len(names) == 3 else Response(404)
        viewers = self._node.http.hls_viewers
        match kind:
            case "metrics":
                return _json(metrics.families(self._node))
            case "usage":
                return _json(self._node.books.report(self._node))
            case "census":
                return _json(census.take())
            case "hls-viewer":
                return Response(200 if viewers.known(int(request.query, 16)) else 404)
            case "hls-viewers":
                for told in request.query.split(";"):
                    viewer, stream, client = told.split(",")
                    viewers.heard(int(viewer, 16), Play(unquote(stream), unquote(client)), self._node.loop.time())
                return Response(204)
        return Response(404)

    def _answer_about(self, kind: str, key: StreamKey, query: str) -> Response | Awaitable[Response | None] | None:
        match kind:
            case "relay":
                stream = self._node.hub.streams.get(key)
                if stream is None or stream.replica:
                    return Response(404)
                self._relay(stream, int(split_query("?" + query)[1].get("behind_s", "0")))
                return None
            case "keyframe":
                stream = self._node.hub.streams.get(key)
                if stream is None or stream.replica:
                    return Response(404)
                mark = stream.ring.marks[-1] if stream.ring.marks else None
                if mark is not None and str(mark.timestamp_ms & 0xFFFFFFFF) != split_query("?" + query)[1].get("but_ms"):
                    (tag,) = stream.ring.slice(mark.seq, mark.seq + 1)
                    if tag.kind == VIDEO:
                        parts = [flv.pack_tag(each.kind, tag.timestamp_ms, each.payload) for each in (*mark.headers, tag)]
                        return Response(200, _relay_fields(stream), flv.FILE_HEADER + b"".join(parts))
                self._relay(stream, 0)
                return None
            case "playlist":
                return self._node.http.playlist_for_worker(key, query)
            case "segment":
                return self._node.http.segment_for_worker(key, query)
            case "publish":
                return self._publish(key, split_query("?" + query)[1])
            case "hand-over":
                return self._hand_over(key, split_query("?" + query)[1])
        return Response(404)

    async def _hand_over(self, key: StreamKey, query: dict[str, str]) -> Response:
        asked_at = self._node.loop.time() - int(query["asked_ms_ago"]) / 1000
        try:
            self._node.hub.hand_over(
                key, query["by"], takeover=query["takeover"] == "1", asked_at=asked_at, product=query["product"] == "1"
            )
        except Busy:
            return Response(409)
        except Undecided:
            return Response(202)
        await self._node.withdrawn(key)
        return Response(204)

    async def _publish(self, key: StreamKey, query: dict[str, str]) -> Response | None:
        """Make a job of the center the publisher of a stream."""
        stream = self._node.hub.streams.get(key)
        holder = stream.publisher if stream is not None else None
        job = holder.request.args["by"] if isinstance(holder, PublishSession) and holder.product else ""
        if job and job != query["by"] and "again" in query:
            return Response(410)  # two that took the name from each other would never end
        request = PushRequest(
            *key,
            token=None,
            url=f"rtmp://{'/'.join(key)}",
            client=Client("127.0.0.1", "relay"),
            server="127.0.0.1",
            args={"by": query["by"]},
            source=query["source"],
            template=query["template"],
        )
        asked_at = self._node.loop.time()
        session = session_id()
        while True:
            try:
                outcome = self._node.ingest.publish(session, request, self._cut, asked_at)
                break
            except Undecided:
                try:
                    await asyncio.sleep(ASK_AGAIN_S)
                except asyncio.CancelledError:
                    self._node.relay.unclaim(session)
                    raise
        if isinstance(outcome, Refusal):
            return Response(outcome.http_status, (("X-Tengine-Error", outcome.text),))
        self._push = outcome
        self._transport.write(pack_head(101, SWITCH, time.time()))
        return None

    def _take(self, push: PublishSession, data: bytes) -> None:
        push.last_data_at = self._node.loop.time()
        push.bytes_in += len(data)
        try:
            for tag in self._flv.feed(data):
                push.stream.write(tag.kind, tag.timestamp_ms, tag.payload)
        except MediaError as error:
            push.cut(f"the job sends no FLV: {error}")

    def _cut(self, reason: str) -> None:
        """The published stream is ended from our side: say why, and close."""
        self._push = None
        self._transport.write(reason.encode())
        self._transport.close()

    async def _respond_later(self, request: Request, coming: Awaitable[Response | None]) -> None:
        answer = await coming
        if answer is not None:
            self._respond(request, answer)

    def _respond(self, request: Request, response: Response) -> None:
        self._transport.write(pack_response(response, request, time.time(), keep_alive=request.keep_alive))
        if not request.keep_alive:
            self._transport.close()

    def _relay(self, stream: LiveStream, behind_s: int) -> None:
        self._transport.write(pack_head(200, _relay_fields(stream), time.time()))
        self._viewer = Viewer(session_id(), self._transport, self, None, ("", False))  # nobody pays for a relay
        stream.join_relay(self._viewer, behind_s)

    # the end of a relay

    def end_viewer(self, reason: str) -> None:
        """The stream is over."""
        self._leave()
        self._transport.close()

    def abort_viewer(self, reason: str) -> None:
        """The other worker takes no bytes any more."""
        self._leave()
        self._transport.abort()

    def _leave(self) -> None:
        viewer, self._viewer = self._viewer, None
        if viewer is not None and viewer.output is not None:
            viewer.output.stream.leave(viewer)


def _relay_fields(stream: LiveStream) -> tuple[tuple[str, str], ...]:
    newest = stream.ring.slice(stream.ring.next - 1)
    return (
        ("Content-Type", "video/x-flv"),
        ("X-Newest-Ms", str(newest[-1].timestamp_ms if newest else -1)),
        ("X-Session-Ms", str(stream.attached_ms())),
        ("X-Clock", stream.id),
    )


def _json(answer: object) -> Response:
    return Response(200, (("Content-Type", "application/json"),), msgspec.json.encode(answer))
