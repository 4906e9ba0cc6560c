"""An RTMP or RTMPS connection: drives the protocol engine, and becomes a push or a play when the client says which."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

import structlog

from headwater.access.client import Client
from headwater.access.names import request_domain, split_query
from headwater.access.verdict import Refusal
from headwater.delivery.play import Found, PlayRequest
from headwater.ingest.session import PublishSession, PushRequest
from headwater.live.hub import Undecided
from headwater.live.viewer import Viewer
from headwater.node.pacer import FULL_READ_BYTES, REST_S
from headwater.node.transports import peer_of, prepare
from headwater.observe.log import session_id
from headwater.protocols import rtmp

if TYPE_CHECKING:
    from headwater.node.worker import Node

ASK_AGAIN_S = 0.05
"""A name that another publisher holds is asked for again so often, until that one shows life, ends, or is silent too long."""

MAX_UNREAD_BYTES = 4 * 1024 * 1024
"""A client that makes us answer but does not read is dropped here; a viewer's own backlog is one batch and stays far below."""

R = TypeVar("R", PushRequest, PlayRequest)

log = structlog.get_logger()


class RtmpConnection(asyncio.Protocol):
    """One connection. It pushes at most one stream and plays at most one, as encoders and players do."""

    __slots__ = (
        "_app",
        "_asking",
        "_client",
        "_engine",
        "_finding",
        "_held",
        "_id",
        "_listener",
        "_node",
        "_peer",
        "_push",
        "_query",
        "_tc_url",
        "_transport",
        "_viewer",
    )

    def __init__(self, node: Node, listener: str) -> None:
        self._node = node
        self._listener = listener
        self._id = session_id()
        self._engine = rtmp.ServerConnection()
        self._app = ""
        self._tc_url = ""
        self._query: dict[str, str] = {}
        self._push: PublishSession | None = None
        self._viewer: Viewer | None = None
        self._asking: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._finding: asyncio.Task[None] | None = None
        self._held: list[rtmp.ServerEvent] = []
        self._transport: asyncio.Transport
        self._client: Client

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by type
        self._peer = peer_of(self._transport)
        prepare(self._transport)
        self._node.counters.connections[self._listener] += 1
        bound = self._node.connections.opened(self, self._peer.ip)
        if bound is not None:
            self._fault("refused", bound)
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client: the hot path of every push."""
        push = self._push
        if push is not None:
            push.last_data_at = self._node.loop.time()
            push.bytes_in += len(data)
        self._node.counters.bytes_in[self._listener] += len(data)
        try:
            self._take(self._engine.receive_data(data))
            answer = self._engine.data_to_send()
        except rtmp.RemoteProtocolError as error:
            self._fault("protocol", str(error))
            self._close(f"protocol error: {error}")
            return
        if self._transport.is_closing():
            return
        if self._push is not None and len(data) < FULL_READ_BYTES:
            rest_s = REST_S[self._push.stream.options.flush]
            if rest_s:
                self._transport.pause_reading()
                self._node.pacer.rest(self, rest_s)
        if answer:
            self._transport.write(answer)
            if self._transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
                self._fault("slow", "does not read our answers")
                self._leave("does not read our answers")
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._node.connections.closed(self)
        self._leave("connection lost" if exc is not None else "connection closed")

    def pause_writing(self) -> None:
        """The socket is full."""
        if self._viewer is not None:
            self._viewer.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        if self._viewer is not None:
            self._viewer.resume_writing()

    def go_on(self) -> None:
        """Read again after a rest."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # what the client wants

    def _take(self, events: list[rtmp.ServerEvent]) -> None:
        write = self._push.stream.write if self._push is not None else None
        for index, event in enumerate(events):
            if type(event) is rtmp.MediaMessage:
                if write is not None:
                    write(event.kind, event.timestamp, event.payload)
                continue
            self._handle(event)
            write = self._push.stream.write if self._push is not None else None
            if self._asking is not None or self._finding is not None:
                self._held = events[index + 1 :]
                return

    def _handle(self, event: rtmp.Event) -> None:
        if self._transport.is_closing():
            return  # refused or ended while earlier events of the same read were handled
        match event:
            case rtmp.Connected():
                self._connect(event)
            case rtmp.PublishRequested():
                self._publish(event.name)
            case rtmp.PlayRequested():
                self._play(event.name)
            case rtmp.PublishEnded():
                if self._push is not None:
                    self._push.end("the encoder ended the stream")
                    self._push = None
                    self._node.connections.expect(self, self._node.settings.limits.first_packet_s)
            case rtmp.PlayEnded():
                self._leave("the player stopped")
                self._node.connections.expect(self, self._node.settings.limits.first_packet_s)
            case _:
                pass  # pause, seek and the like mean nothing to a live stream; the engine has answered them

    def _connect(self, event: rtmp.Connected) -> None:
        app, app_query = split_query(event.app)
        self._tc_url, url_query = split_query(event.tc_url)
        self._query = {**url_query, **app_query}
        self._app = app.strip("/")
        self._client = self._node.doors.rtmp(self._peer, page_url=event.page_url, flash_ver=event.flash_ver)
        self._engine.accept_connect()

    def _target(self, name: str) -> tuple[str, str, dict[str, str]]:
        """Domain, stream name and query of a publish or play command."""
        stream, query = split_query(name)
        query = {**self._query, **query}
        return request_domain(_host(self._tc_url), query), stream, query

    def _publish(self, name: str) -> None:
        domain, stream, query = self._target(name)
        request = PushRequest(
            domain=domain,
            app=self._app,
            stream=stream,
            token=query.get("auth_key"),
            url=f"rtmp://{domain}/{self._app}/{name}",
            client=self._client,
            server=self._peer.server,
            args=query,
        )
        if self._push is not None or self._viewer is not None or self._asking is not None:
            self._engine.reject_publish("this connection has a stream already")
            return
        question = self._node.ingest.question(self._id, request)
        if question is None:
            self._ask(request, self._node.loop.time())
        else:
            self._wait(question, self._start_push, lambda agreed: self._ask(agreed, self._node.loop.time()))

    def _ask(self, request: PushRequest, asked_at: float) -> None:
        """Ask for the name; while that is undecided, read nothing more and ask again."""
        asking, self._asking = self._asking, None
        try:
            outcome = self._node.ingest.publish(self._id, request, self._cut, asked_at)
        except Undecided:
            self._transport.pause_reading()
            self._asking = self._node.loop.call_later(ASK_AGAIN_S, self._ask, request, asked_at)
            return
        self._start_push(outcome)
        if asking is not None:
            self._read_on()

    def _wait(self, question: Awaitable[R | Refusal], refused: Callable[[Refusal], None], agreed: Callable[[R], None]) -> None:
        """Read nothing more until the customer's own server has answered."""

        async def wait() -> None:
            answer = await question
            self._asking = None
            if isinstance(answer, Refusal):
                refused(answer)
            else:
                agreed(answer)
            self._read_on()

        self._transport.pause_reading()
        self._asking = self._node.loop.create_task(wait())

    def _read_on(self) -> None:
        """Go on with what came while something was decided, unless something else is by now."""
        if self._asking is None and self._finding is None and not self._transport.is_closing():
            held, self._held = self._held, []
            self._transport.resume_reading()
            self._take(held)
            self._transport.write(self._engine.data_to_send())

    def _start_push(self, outcome: PublishSession | Refusal) -> None:
        if isinstance(outcome, Refusal):
            self._engine.reject_publish(outcome.text, f"NetStream.Publish.{_code(outcome, 'BadName')}")
            self._send_and_close()
            return
        self._push = outcome
        self._node.connections.settled(self)
        self._engine.accept_publish()

    def _play(self, name: str) -> None:
        domain, stream, query = self._target(name)
        request = PlayRequest(
            domain=domain,
            app=self._app,
            stream=stream,
            uri=f"/{self._app}/{stream}",
            token=query.get("auth_key"),
            client=self._client,
            args=query,
            headers={"referer": self._client.referer, "user-agent": self._client.user_agent},
        )
        if self._push is not None or self._viewer is not None or self._asking is not None:
            self._engine.reject_play("this connection has a stream already")
            return
        question = self._node.delivery.question(self._id, request)
        if question is None:
            self._find(request)
        else:
            self._wait(question, self._refuse_play, self._find)

    def _find(self, request: PlayRequest) -> None:
        found = self._node.delivery.find(self._id, request)
        if isinstance(found, (Refusal, tuple)):
            self._start_play(request, found)
        else:
            self._transport.pause_reading()
            self._finding = self._node.loop.create_task(self._play_later(request, found))

    async def _play_later(self, request: PlayRequest, coming: Awaitable[Found]) -> None:
        found = await coming
        self._finding = None
        self._start_play(request, found)
        self._read_on()

    def _start_play(self, request: PlayRequest, found: Found) -> None:
        if isinstance(found, Refusal):
            self._refuse_play(found)
            return
        self._node.connections.settled(self)
        self._engine.accept_play()
        self._transport.write(self._engine.data_to_send())
        self._viewer = self._node.delivery.join(self._id, request, *found, self._transport, self)

    def _refuse_play(self, refusal: Refusal) -> None:
        self._engine.reject_play(refusal.text, f"NetStream.Play.{_code(refusal, 'StreamNotFound')}")
        self._send_and_close()

    # the end

    def expire(self) -> None:
        """It took too long to say what it wants."""
        self._fault("slow", "no publish or play in time")
        self._close("said nothing in time")

    def end_viewer(self, reason: str) -> None:
        """The stream is over for this player."""
        self._leave(reason)
        self._engine.end_play(reason)
        self._send_and_close()

    def abort_viewer(self, reason: str) -> None:
        """The player takes no bytes any more."""
        self._leave(reason)
        self._transport.abort()

    def drain(self, reason: str) -> None:
        """The node stops."""
        self._close(reason)

    def _cut(self, reason: str) -> None:
        """The push is ended from our side."""
        self._push = None
        self._engine.end_publish(reason)
        self._send_and_close()

    def _close(self, reason: str) -> None:
        self._leave(reason)
        self._transport.close()

    def _send_and_close(self) -> None:
        answer = self._engine.data_to_send()
        if answer:
            self._transport.write(answer)
        self._transport.close()

    def _leave(self, reason: str) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._node.relay.unclaim(self._id)
        if self._finding is not None:
            self._finding.cancel()
        push, self._push = self._push, None
        if push is not None:
            push.end(reason)
        viewer, self._viewer = self._viewer, None
        if viewer is not None:
            self._node.delivery.leave(viewer, reason)

    def _fault(self, kind: str, detail: str) -> None:
        self._node.counters.faults[self._listener, kind] += 1
        log.warning(
            "connection ended", session=self._id, listener=self._listener, kind=kind, detail=detail, client=self._peer.ip
        )


def _code(refusal: Refusal, usual: str) -> str:
    """The last word of the status code for a refusal: players and encoders may try `Failed` again later."""
    return "Failed" if refusal.reason == "overload" else usual


def _host(url: str) -> str:
    """The host of a tcUrl; empty if it is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
