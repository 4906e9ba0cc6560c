"""A job's source: the tags of a live stream, as the worker that has its publisher passes them on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import msgspec
import structlog

from headwater.center.jobs import Source
from headwater.media import flv
from headwater.media.errors import MediaError
from headwater.media.tag import Flags, Tag
from headwater.media.timeline import before

READ_BYTES = 256 * 1024

HEAD_MAX_BYTES = 4096

AGAIN_S = 0.25
"""Pause before the stream is asked for again: its publisher may be about to return, or have gone over to another worker."""

ANSWER_S = 5.0
"""How long a worker may take to begin its answer, on a busy machine."""

log = structlog.get_logger()


class Part(msgspec.Struct, frozen=True, gc=False):
    """Some tags that came together.

    fresh: the first ones of a connection. They begin with metadata and codec configuration and the newest GOP, or one further
    back, of the publisher who is there: what the worker still holds of the one before has been seen by whoever read then.
    After a lost connection they may repeat what came before it, or belong to another publisher.
    newest_ms: with `fresh`, the time of the newest tag that there was when the connection was made; -1 if there was none.
    """

    tags: list[Tag]
    fresh: bool = False
    newest_ms: int = -1


class SourceReader:
    """Reads a stream until `close`, on and on: whoever wants the job to end says so (`center.jobs.Stop`).

    `async for part in reader` gives `Part`s. behind_s: how far back in time to begin, as far as the worker still holds it.
    """

    def __init__(self, source: Source, *, behind_s: int = 0) -> None:
        self.source = source
        self._behind_s = behind_s
        self._closed = False
        self._news = asyncio.Event()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def follow(self, source: Source) -> None:
        """The stream has another worker, or another publisher: used when the present connection ends."""
        self.source = source
        self._news.set()

    def close(self) -> None:
        """End the iteration."""
        self._closed = True
        self._news.set()
        if self._writer is not None:
            self._writer.transport.abort()

    async def __aiter__(self) -> AsyncIterator[Part]:
        while not self._closed:
            try:
                async with asyncio.timeout(ANSWER_S):
                    newest_ms, session_ms = await self._connect()
                flv_reader, fresh, begun = flv.Reader(), True, list[Tag]()
                assert self._reader is not None
                while data := await self._reader.read(READ_BYTES):
                    tags = flv_reader.feed(data)
                    if fresh:
                        tags = begun = begun + _since(session_ms, tags)
                        if all(map(_is_header, tags)):
                            continue
                    if tags:
                        yield Part(tags, fresh, newest_ms if fresh else -1)
                        fresh = False
            except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError) as error:
                log.debug("source not there", stream=self.source.stream, error=repr(error))
            except MediaError as error:
                log.error("source is no FLV", stream=self.source.stream, error=str(error))
            finally:
                self._disconnect()
            if not self._closed:
                await self._pause()

    async def _connect(self) -> tuple[int, int]:
        """Ask for the stream; returns the time of its newest tag, and that since which its publisher is there. Raises OSError,
        EOFError and ValueError.
        """
        source = self.source
        path = "/".join(quote(name, safe="") for name in (source.domain, source.app, source.stream))
        self._reader, self._writer = await asyncio.open_unix_connection(source.socket, limit=READ_BYTES)
        target = f"/relay/{path}?behind_s={self._behind_s}"
        self._writer.write(f"GET {target} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n"))[:HEAD_MAX_BYTES].decode("latin-1").split("\r\n")
        if head[0].split(" ")[1:2] != ["200"]:
            raise ConnectionError(f"the worker answers: {head[0][:80]}")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        return int(fields.get("x-newest-ms", "-1")), int(fields.get("x-session-ms", "0"))

    def _disconnect(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _pause(self) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(AGAIN_S):
                await self._news.wait()
        except TimeoutError:
            pass


def _since(session_ms: int, tags: list[Tag]) -> list[Tag]:
    return [tag for tag in tags if _is_header(tag) or not before(tag.timestamp_ms, session_ms)]


def _is_header(tag: Tag) -> bool:
    return bool(tag.flags & (Flags.CONFIG | Flags.METADATA))


def blocking(reader: SourceReader, loop: asyncio.AbstractEventLoop) -> Iterator[Part]:
    """The same parts for a thread beside the event loop, on which the reading is done. Ends when the reader is closed."""
    parts = aiter(reader)

    async def following() -> Part | None:
        return await anext(parts, None)

    while (part := asyncio.run_coroutine_threadsafe(following(), loop).result()) is not None:
        yield part
