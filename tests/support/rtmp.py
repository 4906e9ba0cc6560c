"""An RTMP client of the tests' own, after Adobe's specification 1.0: small, blocking, and able to misbehave on purpose."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from support.flv import AUDIO, SCRIPT, VIDEO, FlvTag

SET_CHUNK_SIZE, ACKNOWLEDGEMENT, USER_CONTROL, WINDOW_SIZE, COMMAND = 1, 3, 4, 5, 20
HANDSHAKE_BYTES = 1536
OUR_CHUNK_BYTES = 4096


@dataclass(frozen=True)
class Message:
    """One whole message as received."""

    type: int
    timestamp_ms: int
    stream_id: int
    body: bytes


class Status(Exception):
    """An onStatus or _error answer: its level, code and description."""

    def __init__(self, info: dict[str, Any]):
        super().__init__(f"{info.get('level')} {info.get('code')}: {info.get('description')}")
        self.level = str(info.get("level"))
        self.code = str(info.get("code"))
        self.description = str(info.get("description"))


class RtmpClient:
    """One connection. Use as a context manager; every read has a time-out."""

    def __init__(self, url: str, timeout_s: float = 10.0, source: str = ""):
        parts = urlsplit(url)
        self.app, _, self.name = parts.path.lstrip("/").partition("/")
        if parts.query:
            self.name += "?" + parts.query
        assert parts.hostname
        self.tc_url = f"rtmp://{parts.hostname}:{parts.port}/{self.app}"
        address = (parts.hostname, parts.port or 1935)
        raw = socket.create_connection(address, timeout_s, (source, 0) if source else None)
        if parts.scheme == "rtmps":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            raw = context.wrap_socket(raw, server_hostname=parts.hostname)
        self.socket = raw
        self._in = bytearray()
        self._in_chunk = 128
        self._out_chunk = 128
        self._chunks: dict[int, dict[str, Any]] = {}
        self._stream_id = 1
        self._received = 0
        self._acked = 0
        self._window = 2_500_000
        self._transaction = 0

    def __enter__(self) -> RtmpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection without a word."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def abort(self) -> None:
        """Drop the connection with a reset, as a lost network does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def handshake(self) -> None:
        """The plain handshake (5.2)."""
        c1 = struct.pack(">II", 0, 0) + os.urandom(HANDSHAKE_BYTES - 8)
        self.socket.sendall(b"\x03" + c1)
        answer = self._exactly(1 + 2 * HANDSHAKE_BYTES)
        assert answer[0] == 3, f"the server speaks version {answer[0]}"
        self.socket.sendall(answer[1 : 1 + HANDSHAKE_BYTES])
        assert answer[1 + HANDSHAKE_BYTES + 8 :] == c1[8:], "S2 does not echo C1 (5.2.4)"

    def connect(self, **properties: object) -> dict[str, Any]:
        """Handshake, connect and createStream; the information object of the answer. Raises Status if refused."""
        self.handshake()
        self.send_message(SET_CHUNK_SIZE, struct.pack(">I", OUR_CHUNK_BYTES))
        self._out_chunk = OUR_CHUNK_BYTES
        info = {"app": self.app, "flashVer": "FMLE/3.0 (compatible; tests)", "tcUrl": self.tc_url, **properties}
        answer = self.call("connect", info)
        created = self.call("createStream", None)
        self._stream_id = int(created[3])
        connected: dict[str, Any] = answer[3]
        return connected

    def publish(self) -> Status:
        """Publish the URL's stream. Returns NetStream.Publish.Start, raises Status for any other answer."""
        self.command("releaseStream", None, self.name, stream_id=0)
        self.command("FCPublish", None, self.name, stream_id=0)
        self.command("publish", None, self.name, "live")
        return self._expect("NetStream.Publish.Start")

    def play(self) -> Status:
        """Play the URL's stream. Returns NetStream.Play.Start, raises Status for an error."""
        self.command("play", None, self.name, -2.0)
        return self._expect("NetStream.Play.Start")

    def _expect(self, code: str) -> Status:
        while True:
            status = Status(self.next_command("onStatus")[3])
            if status.code == code:
                return status
            if status.level == "error":
                raise status

    def call(self, name: str, *arguments: object) -> list[Any]:
        """Send a command that is answered, and return the answer. Raises Status for `_error`."""
        self._transaction += 1
        number = float(self._transaction)
        body = b"".join(encode(value) for value in (name, number, *arguments))
        self.send_message(COMMAND, body)
        while True:
            answer = self.next_command("_result", "_error")
            if answer[1] == number:
                if answer[0] == "_error":
                    raise Status(answer[3] if len(answer) > 3 and isinstance(answer[3], dict) else {})
                return answer

    def command(self, name: str, *arguments: object, stream_id: int | None = None) -> None:
        """Send a command without waiting for an answer."""
        body = b"".join(encode(value) for value in (name, 0.0, *arguments))
        self.send_message(COMMAND, body, stream_id=self._stream_id if stream_id is None else stream_id)

    def next_command(self, *names: str) -> list[Any]:
        """The next command message with one of these names; anything else that comes before is dropped."""
        while True:
            message = self.read()
            if message.type == COMMAND:
                values = decode_all(message.body)
                if values[0] in names:
                    return values

    def send_tag(self, tag: FlvTag) -> None:
        """Send one tag of the stream being published."""
        body = encode("@setDataFrame") + tag.body if tag.kind == SCRIPT else tag.body
        self.send_message(tag.kind, body, tag.timestamp_ms, self._stream_id)

    def send_message(self, kind: int, body: bytes, timestamp_ms: int = 0, stream_id: int = 0) -> None:
        """Send one message with a full header (5.3.1.2.1), the timestamp modulo 32 bits."""
        chunk_id = {AUDIO: 4, VIDEO: 6, SCRIPT: 5, COMMAND: 3}.get(kind, 2)
        timestamp = timestamp_ms & 0xFFFFFFFF
        extended = struct.pack(">I", timestamp) if timestamp >= 0xFFFFFF else b""
        out = bytearray([chunk_id])
        out += min(timestamp, 0xFFFFFF).to_bytes(3, "big") + len(body).to_bytes(3, "big")
        out += bytes([kind]) + stream_id.to_bytes(4, "little") + extended
        out += body[: self._out_chunk]
        for offset in range(self._out_chunk, len(body), self._out_chunk):
            out += bytes([0xC0 | chunk_id]) + extended + body[offset : offset + self._out_chunk]
        self.socket.sendall(out)

    def tags(self) -> list[FlvTag]:
        """Read until the next message of audio, video or script, aggregates included, and return it as tags."""
        while True:
            message = self.read()
            if message.type in (AUDIO, VIDEO, SCRIPT):
                return [FlvTag(message.type, message.timestamp_ms, message.body)] if message.body else []

    def read(self) -> Message:
        """The next whole message, protocol messages included and obeyed. Raises ConnectionError at the end, TimeoutError."""
        while True:
            message = self._chunk()
            if message is None:
                continue
            if message.type == SET_CHUNK_SIZE:
                self._in_chunk = int.from_bytes(message.body[:4], "big")
                assert 1 <= self._in_chunk <= 0x7FFFFFFF, "5.4.1: a chunk size out of range"
            elif message.type == WINDOW_SIZE:
                self._window = int.from_bytes(message.body[:4], "big")
            elif message.type == USER_CONTROL and message.body[:2] == b"\0\x06":
                self.send_message(USER_CONTROL, b"\0\x07" + message.body[2:6])
            if self._received - self._acked > self._window // 2:
                self._acked = self._received
                self.send_message(ACKNOWLEDGEMENT, struct.pack(">I", self._received & 0xFFFFFFFF))
            return message

    def _chunk(self) -> Message | None:
        first = self._exactly(1)[0]
        form, chunk_id = first >> 6, first & 0x3F
        if chunk_id < 2:
            more = self._exactly(chunk_id + 1)
            chunk_id = 64 + int.from_bytes(more, "little")
        state = self._chunks.setdefault(chunk_id, {"body": bytearray(), "absolute": 0, "delta": 0, "extended": False})
        if form < 3:
            assert not state["body"], "a new message begins within another one of the same chunk stream"
            header = self._exactly((11, 7, 3)[form])
            stamp = int.from_bytes(header[:3], "big")
            state["extended"] = stamp == 0xFFFFFF
            if form < 2:
                state["size"], state["type"] = int.from_bytes(header[3:6], "big"), header[6]
            if form == 0:
                state["stream_id"] = int.from_bytes(header[7:11], "little")
            if state["extended"]:
                stamp = int.from_bytes(self._exactly(4), "big")
            if form == 0:
                state["absolute"], state["delta"] = stamp, stamp
            else:
                state["absolute"], state["delta"] = (state["absolute"] + stamp) & 0xFFFFFFFF, stamp
        else:
            assert "size" in state, "a chunk of type 3 on a chunk stream that has had no header"
            if state["extended"]:
                self._exactly(4)
            if not state["body"]:
                state["absolute"] = (state["absolute"] + state["delta"]) & 0xFFFFFFFF
        body: bytearray = state["body"]
        body += self._exactly(min(self._in_chunk, state["size"] - len(body)))
        if len(body) < state["size"]:
            return None
        state["body"] = bytearray()
        return Message(state["type"], state["absolute"], state["stream_id"], bytes(body))

    def _exactly(self, count: int) -> bytes:
        while len(self._in) < count:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._received += len(data)
            self._in += data
        taken = bytes(self._in[:count])
        del self._in[:count]
        return taken


def encode(value: object) -> bytes:
    """AMF0 for what commands need: number, boolean, string, object, null (AMF0 specification, section 2)."""
    if value is None:
        return b"\x05"
    if isinstance(value, bool):
        return bytes([1, value])
    if isinstance(value, int | float):
        return b"\x00" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        return b"\x02" + struct.pack(">H", len(data)) + data
    if isinstance(value, dict):
        members = b"".join(encode(str(name))[1:] + encode(member) for name, member in value.items())
        return b"\x03" + members + b"\0\0\x09"
    if isinstance(value, list):
        return b"\x0a" + struct.pack(">I", len(value)) + b"".join(encode(item) for item in value)
    raise TypeError(f"no AMF0 for {value!r}")


def decode_all(data: bytes) -> list[Any]:
    """All AMF0 values in these bytes."""
    values, offset = [], 0
    while offset < len(data):
        value, offset = _decode(data, offset)
        values.append(value)
    return values


def _decode(data: bytes, at: int) -> tuple[Any, int]:
    marker, at = data[at], at + 1
    if marker == 0:
        return struct.unpack_from(">d", data, at)[0], at + 8
    if marker == 1:
        return bool(data[at]), at + 1
    if marker in (2, 12):
        width = 2 if marker == 2 else 4
        size = int.from_bytes(data[at : at + width], "big")
        return data[at + width : at + width + size].decode(), at + width + size
    if marker in (3, 8):
        at += 4 if marker == 8 else 0
        members: dict[str, Any] = {}
        while data[at : at + 3] != b"\0\0\x09":
            size = int.from_bytes(data[at : at + 2], "big")
            name = data[at + 2 : at + 2 + size].decode()
            members[name], at = _decode(data, at + 2 + size)
        return members, at + 3
    if marker in (5, 6):
        return None, at
    if marker == 10:
        count, at = int.from_bytes(data[at : at + 4], "big"), at + 4
        items = []
        for _ in range(count):
            item, at = _decode(data, at)
            items.append(item)
        return items, at
    if marker == 11:
        return struct.unpack_from(">d", data, at)[0], at + 10
    raise AssertionError(f"AMF0 marker {marker} in {data!r}")
