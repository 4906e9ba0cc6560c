"""Viewers of endless streams: FLV over HTTP or WebSocket, and RTMP."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from headwater.load import http, websocket
from headwater.load.checks import TagCheck
from headwater.load.faults import Fault
from headwater.load.session import Run, Session
from headwater.load.walk import FlvWalker, RtmpWalker
from headwater.media import flv
from headwater.media.codecs import classify
from headwater.media.errors import MediaError
from headwater.protocols import rtmp
from headwater.protocols.rtmp.chunks import Message
from headwater.protocols.rtmp.limits import DEFAULT_LIMITS
from headwater.protocols.rtmp.messages import TypeId, UserControl, amf_values, pack_control, pack_user_control

ACKNOWLEDGE_BYTES = 1_000_000
"""A player acknowledges at half the server's window, which is 2.5 MB nearly everywhere."""

PIECE_BYTES = 16 * 1024
"""Whole tags are looked for in pieces of this size: a viewer who only wants to see the beginning need not read a whole GOP."""

ENDING_CODES = frozenset({"NetStream.Play.UnpublishNotify", "NetStream.Play.Stop", "NetStream.Play.Complete"})
"""With these a server says that the stream is over."""


class StreamViewer(Session, asyncio.BufferedProtocol):
    """What FLV and RTMP viewers do alike: read into the common buffer, and judge what has come."""

    def __init__(self, run: Run, number: int) -> None:
        super().__init__(run, number)
        self.target = run.plan.target(number)
        self._transport: asyncio.Transport | None = None
        self._checked = run.plan.is_checked(number)
        self._stall_s = run.plan.stall_s
        run.tally.checked += self._checked

    async def _run(self) -> None:
        self._tags = TagCheck(self.report, self.begun_us)
        await self.run.connect(lambda: self, self.target)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: ask for the stream."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by type
        if self.ended:
            self._close()
            return
        self._ask()

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer of all connections: nothing else runs between this and `buffer_updated`."""
        return self.run.view

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes from the server: the hot path."""
        if self.ended:
            return
        self.tally.received_bytes += nbytes
        try:
            self._read(nbytes)
        except Fault as fault:
            self.fail(fault)
        except rtmp.RemoteProtocolError as error:
            self.fail(Fault("protocol", str(error)))
        except MediaError as error:
            self.fail(Fault("torn", str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed the connection, or we have."""
        self.fail(Fault("ended", "the server closed the connection" + (f": {exc}" if exc is not None else "")))

    def _ask(self) -> None:
        raise NotImplementedError

    def _read(self, count: int) -> None:
        raise NotImplementedError

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _judge(self, tags: list[tuple[int, int, bytes, int]]) -> bool:
        """Look into whole tags; whether this viewer may stop doing so from now on."""
        check, now_us = self._tags, time.time_ns() // 1000
        for kind, timestamp_ms, payload, flags in tags:
            check.tag(kind, timestamp_ms, payload, flags, now_us)
            if check.first_us is not None and not self._checked:
                break
        if check.delays_ms:
            for delay_ms in check.delays_ms:
                self.tally.delay_ms.add(delay_ms)
            check.delays_ms.clear()
        if check.first_us is None:
            return False
        self.first(check.first_us)
        return not self._checked


class FlvViewer(StreamViewer):
    """A viewer of FLV over HTTP or WebSocket."""

    def __init__(self, run: Run, number: int) -> None:
        super().__init__(run, number)
        self._head: http.HeadReader | None = http.HeadReader()
        self._body: http.Framing = http.UntilClose()
        self._frames: websocket.Frames | None = None
        self._key = ""
        self._walker = FlvWalker(self.report, run.memo(number))
        self._reader: flv.Reader | None = flv.Reader()

    def _ask(self) -> None:
        headers: tuple[tuple[str, str], ...] = ()
        if self.target.protocol == "ws-flv":
            self._key, headers = websocket.handshake()
        self._write(http.pack_request(self.target, headers))

    def _read(self, count: int) -> None:
        data, at = self.run.buffer, 0
        if self._head is not None:
            found = self._head.feed(data, 0, count)
            if found is None:
                return
            self._head = None
            head, at = found
            if self.target.protocol == "ws-flv":
                websocket.check_answer(head, self._key)
                self._body = self._frames = websocket.Frames()
            elif head.status != 200:
                raise head.refusal()
            else:
                self._body = http.framing_of(head)
        for start, end in self._body.ranges(data, at, count):
            self._media(start, end)
        if self._frames is not None and self._frames.replies:
            self._write(b"".join(self._frames.replies))
            self._frames.replies.clear()
        if self._body.done:
            raise Fault("ended", "the server ended the stream")

    def _media(self, start: int, end: int) -> None:
        self.tally.tags += self._walker.feed(self.run.buffer, start, end)
        for at in range(start, end, PIECE_BYTES):
            if self._reader is None:
                break
            tags = self._reader.feed(bytes(self.run.view[at : min(at + PIECE_BYTES, end)]))
            if self._judge([(tag.kind, tag.timestamp_ms, tag.payload, tag.flags) for tag in tags]):
                self._reader = None
        self.media(time.monotonic(), self._stall_s)


class RtmpViewer(StreamViewer):
    """A viewer of RTMP: the whole engine until the stream has begun, then only the walker unless everything is checked."""

    def __init__(self, run: Run, number: int) -> None:
        super().__init__(run, number)
        self._walker = RtmpWalker(self.report, run.memo(number))
        self._engine: rtmp.ClientConnection | None = rtmp.ClientConnection(
            self.target.rtmp_app, self.target.tc_url, fourcc_list=("hvc1", "av01", "vp09")
        )
        self._received = 0
        self._acknowledged = 0

    def _ask(self) -> None:
        if self._engine is not None:
            self._write(self._engine.data_to_send())

    def _read(self, count: int) -> None:
        self._received += count
        messages = self._walker.feed(self.run.buffer, 0, count)
        for at in range(0, count, PIECE_BYTES):
            if self._engine is None:
                break
            self._engage(self._engine, bytes(self.run.view[at : min(at + PIECE_BYTES, count)]))
        # after the engine's last piece too: it has not seen the rest, and answering twice does no harm
        if self._engine is None and (self._walker.others or self._received - self._acknowledged >= ACKNOWLEDGE_BYTES):
            self._answer()
        self._walker.others.clear()
        self.tally.tags += messages
        if messages:
            self.media(time.monotonic(), self._stall_s)

    def _engage(self, engine: rtmp.ClientConnection, data: bytes) -> None:
        tags = []
        for event in engine.receive_data(data):
            match event:
                case rtmp.MediaMessage(kind, timestamp, payload):
                    tags.append((kind, timestamp, payload, classify(kind, payload)))
                case rtmp.ConnectAccepted():
                    engine.play(self.target.rtmp_name)
                case rtmp.ConnectRejected(code, description):
                    raise Fault("refused", f"{code}: {description}")
                case rtmp.StatusReceived(code, level, description):
                    self._status(code, level, description)
                case _:
                    pass
        self._write(engine.data_to_send())
        if self._judge(tags):
            self._acknowledged = self._received
            self._engine = None

    def _status(self, code: str, level: str, description: str) -> None:
        if level == "error":
            raise Fault("refused", f"{code}: {description}")
        if code in ENDING_CODES:
            raise Fault("ended", f"{code}: {description}")

    def _answer(self) -> None:
        """Do what the engine did, as far as a running play needs it."""
        replies = []
        for kind, body in self._walker.others:
            if kind == TypeId.USER_CONTROL and body[:2] == UserControl.PING_REQUEST.to_bytes(2) and len(body) >= 6:
                replies.append(pack_user_control(UserControl.PING_RESPONSE, int.from_bytes(body[2:6])))
            elif kind in (TypeId.COMMAND_AMF0, TypeId.COMMAND_AMF3):
                values = amf_values(Message(kind, 0, 0, body), DEFAULT_LIMITS)
                if values and values[0] == "onStatus" and isinstance(values[-1], dict):
                    info = {name: str(value) for name, value in values[-1].items()}
                    self._status(info.get("code", ""), info.get("level", ""), info.get("description", ""))
        if self._received - self._acknowledged >= ACKNOWLEDGE_BYTES:
            self._acknowledged = self._received
            replies.append(pack_control(TypeId.ACKNOWLEDGEMENT, self._received))
        self._write(b"".join(replies))
