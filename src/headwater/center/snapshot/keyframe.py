"""Reads the newest key frame of a live stream from the worker that has its publisher, and leaves again.

The worker answers with that frame alone. If it has none yet, or only one that was taken before, it relays the stream instead,
and reading ends with the next key frame. Reading all of the stream would cost more than decoding the picture does.
"""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import msgspec

from headwater.center.jobs import Source
from headwater.media.codecs import classify
from headwater.media.flv import FILE_HEADER
from headwater.media.tag import VIDEO, Flags

READ_BYTES = 256 * 1024
"""What is read ahead: more than most key frames have, so that each is there after one or two wake-ups."""

_TAG_HEADER_BYTES, _TAG_END_BYTES = 11, 4


class NoStreamError(Exception):
    """The stream is not there, or not any more; the message says what was found instead."""


class KeyFrame(msgspec.Struct, frozen=True):
    """A key frame with its codec's configuration (b"" if it has none), as payloads of video tags.

    timestamp_ms: on the stream's clock. behind_ms: how far the stream had gone on when it was read.
    """

    config: bytes
    payload: bytes
    timestamp_ms: int
    behind_ms: int


async def newest(source: Source, *, but_ms: int | None = None) -> KeyFrame:
    """The newest key frame, or the next one to come if there is none, or if the newest has this timestamp.

    Waits as long as it takes: put a time-out around it. Raises NoStreamError, and OSError if the worker cannot be reached.
    """
    reader, writer = await asyncio.open_unix_connection(source.socket, limit=READ_BYTES)
    try:
        names = "/".join(quote(name, safe="") for name in (source.domain, source.app, source.stream))
        query = "" if but_ms is None else f"?but_ms={but_ms}"
        writer.write(f"GET /keyframe/{names}{query} HTTP/1.1\r\nHost: center\r\n\r\n".encode())
        newest_ms = await _begin(reader)
        return await _read(reader, newest_ms, but_ms)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise NoStreamError("The stream has ended.") from None
    finally:
        writer.transport.abort()  # the rest of the GOP is on its way, and nobody wants it


async def _begin(reader: asyncio.StreamReader) -> int:
    """Read the answer's head; returns the timestamp of the stream's newest tag, -1 if it has none."""
    status, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    if status.split(" ")[1:2] != ["200"]:
        raise NoStreamError("The stream is not live.")
    await reader.readexactly(len(FILE_HEADER))
    for field in fields:
        name, _, value = field.partition(":")
        if name.lower() == "x-newest-ms":
            return int(value)
    return -1


async def _read(reader: asyncio.StreamReader, newest_ms: int, but_ms: int | None) -> KeyFrame:
    config = b""
    while True:
        header = await reader.readexactly(_TAG_HEADER_BYTES)
        kind, size = header[0], int.from_bytes(header[1:4], "big")
        timestamp_ms = header[7] << 24 | int.from_bytes(header[4:7], "big")
        payload = await reader.readexactly(size + _TAG_END_BYTES)
        if kind != VIDEO:
            continue
        flags = classify(kind, payload)
        if flags & Flags.CONFIG:
            config = payload[:-_TAG_END_BYTES]
        elif flags & Flags.KEY and timestamp_ms != but_ms:
            return KeyFrame(config, payload[:-_TAG_END_BYTES], timestamp_ms, max(0, newest_ms - timestamp_ms))
