"""An HTTP or HTTPS connection: reads requests, writes answers, and becomes a viewer when the answer is a live stream."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable
from typing import TYPE_CHECKING, cast

import structlog

from headwater.delivery.hls_again import Shared
from headwater.delivery.http import Join, error_response
from headwater.live.viewer import Viewer
from headwater.node.transports import peer_of, prepare
from headwater.observe.log import session_id
from headwater.protocols import websocket
from headwater.protocols.http import (
    MAX_PIPELINED,
    Again,
    HttpError,
    Request,
    RequestReader,
    Response,
    pack_head,
    pack_response,
    response_parts,
)

if TYPE_CHECKING:
    from headwater.node.worker import Node

KEEP_ALIVE_S = 60.0
"""How long a connection may wait for its next request; longer than the reload interval of the slowest playlist."""

log = structlog.get_logger()


class HttpConnection(asyncio.Protocol):
    """One connection. Requests are answered one after the other; a live stream is the last answer."""

    __slots__ = (
        "_frames",
        "_id",
        "_known",
        "_listener",
        "_node",
        "_peer",
        "_queue",
        "_reader",
        "_shared",
        "_task",
        "_transport",
        "_viewer",
    )

    def __init__(self, node: Node, listener: str) -> None:
        self._node = node
        self._listener = listener
        self._id = session_id()
        self._reader: RequestReader | None = RequestReader()
        self._queue: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._viewer: Viewer | None = None
        self._frames: websocket.FrameReader | None = None
        self._known: tuple[bytes, Again] | None = None
        self._shared: Shared
        self._transport: asyncio.Transport

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by type
        self._peer = peer_of(self._transport)
        prepare(self._transport)
        self._shared = self._node.http.shared(self._peer)
        self._node.counters.connections[self._listener] += 1
        bound = self._node.connections.opened(self, self._peer.ip)
        if bound is not None:
            self._fault("refused", bound)
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._node.counters.bytes_in[self._listener] += len(data)
        if self._frames is not None:
            self._read_frames(data)
        if self._reader is None:
            return  # an HTTP-FLV viewer has nothing to say
        if self._reader.idle and self._answered_again(data):
            return
        try:
            self._queue.extend(self._reader.feed(data))
            if len(self._queue) > MAX_PIPELINED:
                raise HttpError(400, f"more than {MAX_PIPELINED} requests sent ahead")
        except HttpError as error:
            self._refuse(error)
            return
        self._answer_next()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._node.connections.closed(self)
        if self._task is not None:
            self._task.cancel()
        self._leave("connection lost" if exc is not None else "connection closed")

    def pause_writing(self) -> None:
        """The socket is full: a viewer keeps its place; a client that does not read its answers gets no further ones."""
        if self._viewer is not None:
            self._viewer.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        if self._viewer is not None:
            self._viewer.resume_writing()
        else:
            self._answer_next()

    # requests

    def _answered_again(self, data: bytes) -> bool:
        """Answer a request that has come before, byte for byte; False if it must be read and judged."""
        again = self._known[1] if self._known is not None and self._known[0] == data else self._shared.get(data)
        if again is None or self._queue or self._task is not None:
            return False
        if self._transport.get_write_buffer_size() or self._transport.is_closing():
            return False
        parts = again()
        if parts is None:
            return False
        self._transport.writelines(parts)
        self._node.connections.rests(self, KEEP_ALIVE_S)
        return True

    def _answer_next(self) -> None:
        while self._queue and self._task is None and self._reader is not None and not self._transport.is_closing():
            if self._transport.get_write_buffer_size():
                return
            request = self._queue.popleft()
            try:
                answer = self._node.http.answer(self._id, request, self._peer)
            except HttpError as error:
                self._refuse(error, request)
                return
            if isinstance(answer, (Response, Join)):
                self._give(request, answer)
            else:
                self._task = self._node.loop.create_task(self._give_later(request, answer))

    async def _give_later(self, request: Request, coming: Awaitable[Response | Join]) -> None:
        answer = await coming
        self._task = None
        self._give(request, answer)
        self._answer_next()

    def _give(self, request: Request, answer: Response | Join) -> None:
        if self._transport.is_closing():
            return
        if isinstance(answer, Join):
            self._join(answer)
        else:
            self._respond(request, answer)

    def _respond(self, request: Request, response: Response) -> None:
        keep_alive = request.keep_alive and response.status != 503  # what is short may be sockets
        self._transport.writelines(response_parts(response, request, time.time(), keep_alive=keep_alive))
        if keep_alive:
            self._node.connections.rests(self, KEEP_ALIVE_S)
            if response.again is not None and response.shared:
                self._shared.keep(request.alone, response.again)
            elif response.again is not None:
                self._known = request.alone, response.again
        else:
            self._transport.close()

    def _join(self, join: Join) -> None:
        self._reader = None
        self._queue.clear()
        if join.status == 101:
            self._frames = websocket.FrameReader()
        self._node.connections.settled(self)
        self._transport.write(pack_head(join.status, join.head, time.time()))
        self._viewer = self._node.delivery.join(self._id, join.request, join.grant, join.stream, self._transport, self)

    def _refuse(self, error: HttpError, request: Request | None = None) -> None:
        self._fault("protocol", str(error))
        self._reader = None
        self._transport.write(pack_response(error_response(error), request, time.time(), keep_alive=False))
        self._transport.close()

    def _read_frames(self, data: bytes) -> None:
        assert self._frames is not None
        try:
            frames = self._frames.feed(data)
        except websocket.WebSocketError as error:
            self._fault("protocol", str(error))
            self._say_good_bye(websocket.CLOSE_PROTOCOL_ERROR, str(error))
            return
        for opcode, payload in frames:
            if opcode is websocket.Opcode.CLOSE:
                self._leave("the player closed")
                self._transport.write(websocket.pack_frame(websocket.Opcode.CLOSE, payload[:2]))
                self._transport.close()
                return
            if (
                opcode is websocket.Opcode.PING and not self._transport.get_write_buffer_size()
            ):  # who does not read gets no answer
                self._transport.write(websocket.pack_frame(websocket.Opcode.PONG, payload))

    # the end

    def expire(self) -> None:
        """Too slow, or idle for too long."""
        if self._transport.get_write_buffer_size():
            self._fault("slow", "the answer was not read in time")
            self._transport.abort()
        else:
            self._transport.close()

    def end_viewer(self, reason: str) -> None:
        """The stream is over for this viewer."""
        self._leave(reason)
        if self._frames is not None:
            self._say_good_bye(websocket.CLOSE_NORMAL, reason)
        else:
            self._transport.close()

    def abort_viewer(self, reason: str) -> None:
        """The viewer takes no bytes any more."""
        self._leave(reason)
        self._transport.abort()

    def drain(self, reason: str) -> None:
        """The node stops."""
        self._leave(reason)
        if self._frames is not None:
            self._say_good_bye(websocket.CLOSE_GOING_AWAY, reason)
        else:
            self._transport.close()

    def _say_good_bye(self, code: int, reason: str) -> None:
        self._leave(reason)
        self._frames = None
        self._transport.write(websocket.pack_close(code, reason))
        self._transport.close()

    def _leave(self, reason: str) -> None:
        viewer, self._viewer = self._viewer, None
        if viewer is not None:
            self._node.delivery.leave(viewer, reason)

    def _fault(self, kind: str, detail: str) -> None:
        self._node.counters.faults[self._listener, kind] += 1
        log.warning(
            "connection ended", session=self._id, listener=self._listener, kind=kind, detail=detail, client=self._peer.ip
        )
