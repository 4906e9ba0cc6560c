"""A small RTMP client, independent of the server under test: connect, publish or play, and chunks both ways."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.clip import AUDIO, SCRIPT, VIDEO, Clip, Tag
from benchmarks.packed import Packed, PackedFrame

CHUNK_BYTES = 4096
HANDSHAKE_BYTES = 1536
CONNECT_TIMEOUT_S = 10.0
RECV_BYTES = 65_536

# Message types (RTMP 1.0, 5.4 and 7.1) and user control events (7.1.7).
SET_CHUNK_SIZE, ACKNOWLEDGEMENT, USER_CONTROL, COMMAND = 1, 3, 4, 20
PING_REQUEST, PING_RESPONSE = 6, 7

CONTROL_CSID, COMMAND_CSID = 2, 3
MEDIA_CSID = {AUDIO: 4, SCRIPT: 5, VIDEO: 6}

Amf = float | str | bool | dict[str, "Amf"] | None


class RtmpError(Exception):
    """The server refused, or sent what is no RTMP; the message says what."""


@dataclass(frozen=True)
class Message:
    """One RTMP message."""

    type: int
    timestamp_ms: int
    payload: bytes


@dataclass(frozen=True)
class Address:
    """An rtmp URL taken apart as FFmpeg does it: the last part of the path with the query is the stream."""

    host: str
    port: int
    app: str
    stream: str
    tc_url: str


def address(url: str) -> Address:
    """Take `rtmp://host[:port]/app/stream[?query]` apart. Raises ValueError if it is nothing like it."""
    parts = urlsplit(url)
    app, _, stream = parts.path.strip("/").rpartition("/")
    if parts.scheme != "rtmp" or not parts.hostname or not app or not stream:
        raise ValueError(f"not rtmp://host/app/stream: {url}")
    port = parts.port or 1935
    query = f"?{parts.query}" if parts.query else ""
    return Address(parts.hostname, port, app, stream + query, f"rtmp://{parts.hostname}:{port}/{app}")


def amf0(*values: Amf) -> bytes:
    """Values as AMF0 (2.2 to 2.7), strings below 64 KiB."""
    out = b""
    for value in values:
        if value is None:
            out += b"\x05"
        elif isinstance(value, bool):
            out += bytes([1, value])
        elif isinstance(value, (int, float)):
            out += b"\x00" + struct.pack(">d", value)
        elif isinstance(value, str):
            out += b"\x02" + _text(value)
        else:
            out += b"\x03" + b"".join(_text(name) + amf0(item) for name, item in value.items()) + b"\0\0\x09"
    return out


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack(">H", len(raw)) + raw


def read_amf0(data: bytes) -> list[Amf]:
    """The AMF0 values of a command. Raises RtmpError at a type that commands do not use."""
    values: list[Amf] = []
    at = 0
    while at < len(data):
        value, at = _read_amf0(data, at)
        values.append(value)
    return values


def _read_amf0(data: bytes, at: int) -> tuple[Amf, int]:
    marker, at = data[at], at + 1
    if marker == 0:
        return struct.unpack_from(">d", data, at)[0], at + 8
    if marker == 1:
        return bool(data[at]), at + 1
    if marker == 2:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        return data[at + 2 : end].decode(), end
    if marker in (5, 6):
        return None, at
    if marker in (3, 8):
        at += 4 if marker == 8 else 0
        found: dict[str, Amf] = {}
        while data[at : at + 3] != b"\0\0\x09":
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            if end >= len(data):
                raise RtmpError("AMF0: an object without an end")
            found[data[at + 2 : end].decode()], at = _read_amf0(data, end)
        return found, at + 3
    raise RtmpError(f"AMF0: unexpected type {marker}")


def chunks(csid: int, message_type: int, payload: bytes, timestamp_ms: int, *, stream: int | None = 0) -> bytes:
    """A message as chunks of `CHUNK_BYTES`. stream None: a header of type 1, in which the time is the step since the last."""
    head = struct.pack(">I", timestamp_ms)[1:] + struct.pack(">I", len(payload))[1:] + bytes([message_type])
    out = [bytes([csid]) + head + struct.pack("<I", stream) if stream is not None else bytes([0x40 | csid]) + head]
    for at in range(0, len(payload), CHUNK_BYTES):
        if at:
            out.append(bytes([0xC0 | csid]))
        out.append(payload[at : at + CHUNK_BYTES])
    return b"".join(out)


class Demuxer:
    """Puts messages together from the chunks that a server sends (RTMP 1.0, 5.3)."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._chunk_bytes = 128
        self._streams: dict[int, _ChunkStream] = {}

    def feed(self, data: bytes | memoryview) -> Iterator[Message]:
        """The messages that these bytes complete. Raises RtmpError at a chunk that cannot be."""
        self._buffer += data
        at = 0
        while True:
            step, message = self._chunk(at)
            if not step:
                break
            at += step
            if message is not None:
                if message.type == SET_CHUNK_SIZE:
                    self._chunk_bytes = int.from_bytes(message.payload[:4], "big")
                yield message
        del self._buffer[:at]

    def _chunk(self, start: int) -> tuple[int, Message | None]:
        """Read one chunk: how many bytes it has (0: not all there yet), and the message that it ends."""
        data, at = self._buffer, start
        if len(data) - at < 1:
            return 0, None
        form, csid, at = data[at] >> 6, data[at] & 63, at + 1
        head_bytes = (11, 7, 3, 0)[form]
        more = csid + 1 if csid < 2 else 0  # basic headers of two and three bytes (5.3.1.1)
        if len(data) - at < more + head_bytes:
            return 0, None
        if more:
            csid = 64 + int.from_bytes(data[at : at + more], "little")
            at += more
        line = self._streams.get(csid)
        if line is None:
            if form != 0:
                raise RtmpError(f"chunk stream {csid} starts with a header of type {form}")
            line = self._streams[csid] = _ChunkStream()
        head, at = data[at : at + head_bytes], at + head_bytes
        time_ms = int.from_bytes(head[:3], "big") if form < 3 else line.step_ms
        extended = time_ms >= 0xFFFFFF if form < 3 else line.extended
        if extended:
            if len(data) - at < 4:
                return 0, None
            extended_ms = int.from_bytes(data[at : at + 4], "big")
            time_ms, at = extended_ms if form < 3 else time_ms, at + 4
        size = int.from_bytes(head[3:6], "big") if form < 2 else line.size
        take = min(self._chunk_bytes, size - len(line.parts))
        if len(data) - at < take:
            return 0, None
        if not line.parts:
            line.size, line.extended = size, extended
            line.type = head[6] if form < 2 else line.type
            line.timestamp_ms = time_ms if form == 0 else line.timestamp_ms + time_ms
            # A header of type 3 that starts a message repeats the step; after type 0, the time itself counts as the step.
            line.step_ms = time_ms
        line.parts += data[at : at + take]
        at += take
        if len(line.parts) < size:
            return at - start, None
        message = Message(line.type, line.timestamp_ms & 0xFFFFFFFF, bytes(line.parts))
        line.parts.clear()
        return at - start, message


class _ChunkStream:
    """What a chunk stream remembers from chunk to chunk."""

    def __init__(self) -> None:
        self.timestamp_ms = self.step_ms = self.size = self.type = 0
        self.extended = False
        self.parts = bytearray()


class Connection:
    """A client's connection. It blocks until it publishes or plays; then `socket` is the caller's."""

    def __init__(self, url: str) -> None:
        self.address = address(url)
        self.socket = socket.create_connection((self.address.host, self.address.port), timeout=CONNECT_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.demuxer = Demuxer()
        self.stream = 0
        self._waiting: list[Message] = []
        try:
            self._handshake()
            self._connect()
        except BaseException:
            self.socket.close()
            raise

    def publish(self) -> None:
        """Start to publish the URL's stream. Raises RtmpError if the server does not want it."""
        name = self.address.stream
        self._command("releaseStream", 2, None, name)
        self._command("FCPublish", 3, None, name)
        self._create_stream()
        self._command("publish", 5, None, name, "live", stream=self.stream)
        self._status("NetStream.Publish.Start")

    def play(self) -> None:
        """Start to play the URL's stream. Raises RtmpError if the server does not have it."""
        self._create_stream()
        self._command("play", 5, None, self.address.stream, -1, stream=self.stream)
        self._status("NetStream.Play.Start")

    def waiting(self) -> list[Message]:
        """The messages that came right behind the server's last answer."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def _handshake(self) -> None:
        """The plain handshake (5.2)."""
        self.socket.sendall(b"\x03" + bytes(8) + os.urandom(HANDSHAKE_BYTES - 8))
        answer = b""
        while len(answer) < 1 + 2 * HANDSHAKE_BYTES:
            answer += self._recv(1 + 2 * HANDSHAKE_BYTES - len(answer))
        if answer[0] != 3:
            raise RtmpError(f"handshake: version {answer[0]}")
        self.socket.sendall(answer[1 : 1 + HANDSHAKE_BYTES])

    def _connect(self) -> None:
        self.socket.sendall(chunks(CONTROL_CSID, SET_CHUNK_SIZE, struct.pack(">I", CHUNK_BYTES), 0))
        where: Amf = {
            "app": self.address.app,
            "type": "nonprivate",
            "flashVer": "FMLE/3.0 (compatible; headwater-benchmarks)",
            "tcUrl": self.address.tc_url,
        }
        self._command("connect", 1, where)
        self._result(1)

    def _create_stream(self) -> None:
        self._command("createStream", 4, None)
        answer = self._result(4)
        if len(answer) < 4 or not isinstance(answer[3], float):
            raise RtmpError(f"createStream: {answer}")
        self.stream = int(answer[3])

    def _command(self, *values: Amf, stream: int = 0) -> None:
        self.socket.sendall(chunks(COMMAND_CSID, COMMAND, amf0(*values), 0, stream=stream))

    def _result(self, transaction: int) -> list[Amf]:
        while True:
            values = self._next_command()
            if values[:2] == ["_result", transaction]:
                return values
            if values[:2] == ["_error", transaction]:
                raise RtmpError(str(values[2:]))

    def _status(self, wanted: str) -> None:
        while True:
            values = self._next_command()
            if values[0] == "onStatus" and isinstance(values[-1], dict):
                code = values[-1].get("code")
                if code == wanted:
                    return
                if values[-1].get("level") == "error":
                    raise RtmpError(f"{code}: {values[-1].get('description')}")

    def _next_command(self) -> list[Amf]:
        until = time.monotonic() + CONNECT_TIMEOUT_S
        kept: list[Message] = []
        while time.monotonic() < until:
            while self._waiting:
                message = self._waiting.pop(0)
                if message.type == COMMAND:
                    self._waiting = kept + self._waiting
                    return read_amf0(message.payload)
                kept.append(message)
            self._waiting.extend(self.demuxer.feed(self._recv(RECV_BYTES)))
        raise RtmpError("the server does not answer")

    def _recv(self, count: int) -> bytes:
        data = self.socket.recv(count)
        if not data:
            raise RtmpError("the server closed the connection")
        return data


def answer(message: Message) -> bytes:
    """What a message of the server wants in return at once: a ping its pong; otherwise nothing."""
    if message.type == USER_CONTROL and int.from_bytes(message.payload[:2], "big") == PING_REQUEST:
        return pong(message.payload[2:6])
    return b""


def pong(stamp: bytes = bytes(4)) -> bytes:
    """A ping response (7.1.7)."""
    return chunks(CONTROL_CSID, USER_CONTROL, struct.pack(">H", PING_RESPONSE) + stamp, 0)


def acknowledgement(received_bytes: int) -> bytes:
    """Tell the server how much has come (5.4.3)."""
    return chunks(CONTROL_CSID, ACKNOWLEDGEMENT, struct.pack(">I", received_bytes & 0xFFFFFFFF), 0)


def pack(material: Clip, stream: int) -> Packed:
    """Pack the clip for one message stream id.

    Frames have a header of type 1, whose time is the step since the tag before it of its kind; so no lap differs from another.
    """
    headers = b"".join(_media(tag, 0, stream) for tag in material.headers)
    # The step of a lap's first tag comes from the last one of the lap before.
    last = {tag.kind: tag.timestamp_ms - material.duration_ms for tag in material.frames}
    frames = []
    for tag in material.frames:
        frames.append(PackedFrame(tag.timestamp_ms, bytearray(_media(tag, tag.timestamp_ms - last[tag.kind], None))))
        last[tag.kind] = tag.timestamp_ms
    return Packed(headers, frames, material.duration_ms)


def _media(tag: Tag, timestamp_ms: int, stream: int | None) -> bytes:
    return chunks(MEDIA_CSID[tag.kind], tag.kind, tag.payload, timestamp_ms, stream=stream)
