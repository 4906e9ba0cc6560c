"""The client's side of HTTP/1.1 for media, without I/O: heads, and where in the received bytes the body lies.

Bodies are not copied: a framing says which ranges of a buffer belong to the body.
"""

from __future__ import annotations

import re
from typing import Protocol

import msgspec

from headwater.load.faults import Fault
from headwater.load.target import Target

HEAD_BYTES_MAX = 32 * 1024
"""A response's status line and headers; nginx sends at most 8 kB by default, with long cookies of an application more."""

CHUNK_LINE_BYTES_MAX = 1024
"""The line in front of a chunk, or a trailer: a number, and extensions that nobody uses."""

USER_AGENT = "headwater-load"

_STATUS_LINE = re.compile(r"HTTP/1\.[01] (\d{3})(?: (.*))?")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,12}")

Buffer = bytes | bytearray
Ranges = list[tuple[int, int]]


class Head(msgspec.Struct, frozen=True):
    """A response's head. headers: names in lower case; of a repeated one the last counts."""

    status: int
    reason: str
    headers: dict[str, str]

    def refusal(self) -> Fault:
        """The answer as a fault, in the server's words: `X-Tengine-Error` says why a play is refused."""
        words = self.headers.get("x-tengine-error") or self.headers.get("location") or self.reason
        return Fault("refused", f"HTTP {self.status}: {words}")


class HeadReader:
    """Reads one head from pieces of any size."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: Buffer, at: int, end: int) -> tuple[Head, int] | None:
        """The head and where the body begins in `data`, once it is whole. Raises Fault on what is no HTTP."""
        before = len(self._held)
        held = self._held + data[at:end]
        stop = held.find(b"\r\n\r\n")
        if stop < 0:
            if len(held) > HEAD_BYTES_MAX or not held.startswith(b"HTTP/1."[: len(held)]):
                raise Fault("protocol", f"no HTTP response: {bytes(held[:40])!r}")
            self._held = bytes(held)
            return None
        self._held = b""
        return parse_head(bytes(held[:stop])), at + stop + 4 - before


def parse_head(data: bytes) -> Head:
    """Status line and headers. Raises Fault."""
    first, *lines = data.decode("latin-1").split("\r\n")
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise Fault("protocol", f"no HTTP response: {first[:40]!r}")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise Fault("protocol", f"no HTTP header: {line[:40]!r}")
        headers[name.strip().lower()] = value.strip()
    return Head(int(match[1]), match[2] or "", headers)


def pack_request(target: Target, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A GET request."""
    lines = [f"GET {target.resource} HTTP/1.1", f"Host: {target.authority}", f"User-Agent: {USER_AGENT}", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Framing(Protocol):
    """Says which of the received bytes are the body. done: the body is whole."""

    done: bool

    def ranges(self, data: Buffer, at: int, end: int) -> Ranges:
        """The parts of `data[at:end]` that belong to the body. Raises Fault."""


class UntilClose:
    """A body that ends with the connection."""

    done = False

    def ranges(self, data: Buffer, at: int, end: int) -> Ranges:
        """All of it."""
        return [(at, end)] if at < end else []


class Sized:
    """A body whose length was announced."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.done = not size

    def ranges(self, data: Buffer, at: int, end: int) -> Ranges:
        """All, if it is not longer than announced."""
        self.left -= end - at
        if self.left < 0:
            raise Fault("protocol", "the server sent more than Content-Length said")
        self.done = not self.left
        return [(at, end)] if at < end else []


class Chunked:
    """A chunked body (RFC 9112, section 7.1)."""

    def __init__(self) -> None:
        self.done = False
        self._left = 0
        self._line = b""
        self._last = False

    def ranges(self, data: Buffer, at: int, end: int) -> Ranges:
        """What stands inside the chunks."""
        found: Ranges = []
        while at < end:
            if self.done:
                raise Fault("protocol", "bytes after the last chunk")
            if self._left:
                stop = min(at + self._left, end)
                found.append((at, stop))
                self._left -= stop - at
                at = stop
                continue
            newline = data.find(b"\n", at, end)
            stop = end if newline < 0 else newline + 1
            self._line += data[at:stop]
            at = stop
            if len(self._line) > CHUNK_LINE_BYTES_MAX:
                raise Fault("protocol", "the line in front of a chunk is too long")
            if newline >= 0:
                line, self._line = self._line.strip(), b""
                self._take(line)
        return found

    def _take(self, line: bytes) -> None:
        if self._last:
            self.done = not line  # trailers end with an empty line
        elif line:  # an empty one ends the chunk before
            size = line.partition(b";")[0].strip()
            if _CHUNK_SIZE.fullmatch(size) is None:
                raise Fault("protocol", f"no chunk size: {line[:40]!r}")
            self._left = int(size, 16)
            self._last = not self._left


def framing_of(head: Head) -> Framing:
    """How the body after this head is delimited (RFC 9112, section 6.3). Raises Fault."""
    if head.status in (204, 304):
        return Sized(0)
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        return Chunked()
    length = head.headers.get("content-length")
    if length is None:
        return UntilClose()
    if not (length.isascii() and length.isdigit()):
        raise Fault("protocol", f"Content-Length: {length[:40]!r}")
    return Sized(int(length))
