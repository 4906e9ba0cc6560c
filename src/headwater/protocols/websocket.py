"""The server's side of WebSocket (RFC 6455), as far as a one-way stream needs it: bytes in, events out, frames packed."""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""

MAX_FRAME_BYTES = 64 * 1024
"""A viewer has nothing long to say; players send at most small control messages."""

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_PROTOCOL_ERROR = 1002


class Opcode(enum.IntEnum):
    """RFC 6455, section 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class WebSocketError(Exception):
    """The peer broke the protocol; the connection must be closed with 1002."""


def accept_key(key: str) -> str:
    """The `Sec-WebSocket-Accept` value for a client's key. Raises WebSocketError if the key is not 16 bytes of Base64."""
    try:
        raw = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16:
        raise WebSocketError("Sec-WebSocket-Key must be 16 bytes in Base64")
    return base64.b64encode(hashlib.sha1(key.encode() + MAGIC, usedforsecurity=False).digest()).decode()


def pack_frame(opcode: Opcode, payload: bytes) -> bytes:
    """One whole, unmasked frame, as a server sends it."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
    return head + payload


def pack_binary(payload: bytes) -> bytes:
    """One binary message."""
    return pack_frame(Opcode.BINARY, payload)


def pack_close(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is cut at 123 bytes."""
    return pack_frame(Opcode.CLOSE, code.to_bytes(2, "big") + reason.encode()[:123])


class FrameReader:
    """Reads a client's frames; keeps what is incomplete until more comes."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[Opcode, bytes]]:
        """The frames completed by `data`, unmasked. Raises WebSocketError on a breach of RFC 6455, section 5."""
        buffer = self._buffer + data if self._buffer else data
        frames: list[tuple[Opcode, bytes]] = []
        at = 0
        while len(buffer) - at >= 2:
            first, second = buffer[at], buffer[at + 1]
            if first & 0x70:
                raise WebSocketError("reserved bits set without an extension")
            try:
                opcode = Opcode(first & 0x0F)
            except ValueError:
                raise WebSocketError(f"unknown opcode {first & 0x0F}") from None
            if not second & 0x80:
                raise WebSocketError("a client's frame must be masked")
            size, head = second & 0x7F, 2
            if opcode >= Opcode.CLOSE and (size > 125 or not first & 0x80):
                raise WebSocketError("a control frame must be whole and at most 125 bytes long")
            if size >= 126:
                head = 4 if size == 126 else 10
                if len(buffer) - at < head:
                    break
                size = int.from_bytes(buffer[at + 2 : at + head], "big")
            if size > MAX_FRAME_BYTES:
                raise WebSocketError(f"a frame of {size} bytes is over the limit of {MAX_FRAME_BYTES}")
            end = at + head + 4 + size
            if len(buffer) < end:
                break
            mask = buffer[at + head : at + head + 4]
            body = buffer[at + head + 4 : end]
            key = (mask * (size // 4 + 1))[:size]
            frames.append((opcode, (int.from_bytes(body, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")))
            at = end
        self._buffer = buffer[at:]
        return frames
