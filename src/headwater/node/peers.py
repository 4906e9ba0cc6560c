"""Asks another worker of this machine over its internal socket."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import msgspec

from headwater.live.stream import StreamKey

ANSWER_S = 15.0
"""How long an answer may take; the longest is a playlist that waits for a young stream's first segment (9 s)."""

ANSWER_MAX_BYTES = 256 * 1024 * 1024
"""A worker sends segments of at most a few ring sizes; more is a fault."""

HEAD_MAX_BYTES = 16 * 1024


class PeerError(Exception):
    """The other worker did not answer."""


class Answer(msgspec.Struct, frozen=True):
    """What another worker said. Header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


def stream_path(kind: str, key: StreamKey) -> str:
    """The path that means a stream in a question of this kind."""
    return f"/{kind}/" + "/".join(quote(part, safe="") for part in key)


def request(target: str, method: str = "GET") -> bytes:
    """A request whose answer ends the connection."""
    return f"{method} {target} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n".encode()


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer. Raises PeerError."""
    lines = head.decode("latin-1").split("\r\n")
    try:
        status = int(lines[0].split(" ")[1])
    except (IndexError, ValueError) as error:
        raise PeerError(f"no answer: {lines[0][:80]}") from error
    fields = (line.partition(":") for line in lines[1:] if line)
    return status, {name.strip().lower(): value.strip() for name, _, value in fields}


async def ask(socket: str, target: str, method: str = "GET") -> Answer:
    """Ask, and wait for the whole answer. Raises PeerError."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(socket, limit=HEAD_MAX_BYTES)
            try:
                writer.write(request(target, method))
                head = await reader.readuntil(b"\r\n\r\n")
                status, headers = parse_head(head[:-4])
                size = int(headers.get("content-length", "0"))
                if size > ANSWER_MAX_BYTES:
                    raise PeerError(f"an answer of {size} bytes")
                return Answer(status, headers, await reader.readexactly(size))
            finally:
                writer.close()
    except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError) as error:
        raise PeerError(f"{type(error).__name__}: {error}") from error
