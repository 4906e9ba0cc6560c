"""The client's side of WebSocket (RFC 6455), as far as a one-way stream needs it: where in the received bytes messages lie."""

from __future__ import annotations

import base64
import os

from headwater.load.faults import Fault
from headwater.load.http import Buffer, Head, Ranges
from headwater.protocols.websocket import Opcode, WebSocketError, accept_key

_MASKED = 0x80
_CONTROL_BYTES_MAX = 125
_OPCODES = frozenset(Opcode)


def handshake() -> tuple[str, tuple[tuple[str, str], ...]]:
    """A new key, and the headers that ask for an upgrade with it."""
    key = base64.b64encode(os.urandom(16)).decode()
    return key, (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
    )


def check_answer(head: Head, key: str) -> None:
    """Raises Fault unless the server has upgraded the connection (RFC 6455, section 4.1)."""
    if head.status != 101:
        raise head.refusal()
    if head.headers.get("sec-websocket-accept") != accept_key(key):
        raise Fault("protocol", "Sec-WebSocket-Accept does not belong to our key")


class Frames:
    """Says which of the received bytes are binary messages. replies: what is to be sent back."""

    def __init__(self) -> None:
        self.done = False
        self.replies: list[bytes] = []
        self._head = b""
        self._left = 0  # of a data frame
        self._wanted = 2  # bytes of a head, or of a control frame as a whole

    def ranges(self, data: Buffer, at: int, end: int) -> Ranges:
        """The parts of `data[at:end]` that are payload of data frames. Raises Fault on a breach, and at a close frame."""
        found: Ranges = []
        while at < end:
            if self._left:
                stop = min(at + self._left, end)
                found.append((at, stop))
                self._left -= stop - at
                at = stop
                continue
            stop = min(at + self._wanted - len(self._head), end)
            self._head += data[at:stop]
            at = stop
            if len(self._head) == self._wanted:
                self._take(self._head)
        return found

    def _take(self, head: bytes) -> None:
        first, second = head[0], head[1]
        size = second & 0x7F
        if len(head) == 2:
            self._check(first, second)
            more = size if first & 0x08 else {126: 2, 127: 8}.get(size, 0)
            if more:
                self._wanted = 2 + more
                return
        if first & 0x08:
            self._control(first & 0x0F, head[2:])
        else:
            self._left = int.from_bytes(head[2:], "big") if len(head) > 2 else size
        self._head, self._wanted = b"", 2

    def _check(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & 0x70 or opcode not in _OPCODES:
            raise Fault("protocol", f"a WebSocket frame begins with {first:#x}")
        if opcode == Opcode.TEXT:
            raise Fault("protocol", "a WebSocket message of text")
        if second & _MASKED:
            raise Fault("protocol", "a server's WebSocket frame is masked")
        if opcode >= Opcode.CLOSE and (second & 0x7F > _CONTROL_BYTES_MAX or not first & 0x80):
            raise Fault("protocol", "a WebSocket control frame is too long, or in pieces")

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == Opcode.PING:
            self.replies.append(pack_masked(Opcode.PONG, payload))
        elif opcode == Opcode.CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) > 1 else 0
            reason = payload[2:].decode(errors="replace")
            raise Fault("ended", f"WebSocket close {code}: {reason}".rstrip(": "))


def pack_masked(opcode: Opcode, payload: bytes) -> bytes:
    """One short frame, masked as a client's must be (RFC 6455, section 5.3)."""
    if len(payload) > _CONTROL_BYTES_MAX:
        raise WebSocketError("a control frame has at most 125 bytes")
    mask = os.urandom(4)
    body = bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))
    return bytes((0x80 | opcode, _MASKED | len(payload))) + mask + body
