"""Publishes what a job makes: a live stream of its own, given to the worker that has the source."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from urllib.parse import quote

import structlog

from headwater.center.jobs import Source
from headwater.media import flv
from headwater.media.tag import VIDEO, Flags, Tag

UNSENT_MAX_BYTES = 1024 * 1024
"""What may wait for the worker before the job must wait, too: a second of 8 Mbit/s."""

AGAIN_S = 0.5
"""Pause before a worker that could not be reached, or has refused the stream, is asked again."""

ANSWER_S = 10.0
"""How long a worker may take to answer: it may have to ask another worker for the name first."""

STUCK_S = 10.0
"""A worker that takes nothing for so long is given up, and asked anew."""

log = structlog.get_logger()


class TakenOver(Exception):
    """Another job publishes under this name now; an encoder that does is only waited for."""


class Opening:
    """What a connection made anew begins with: metadata and codec configuration, then the first tag viewers can start with."""

    def __init__(self) -> None:
        self._headers: dict[tuple[int, int], Tag] = {}
        self._has_video = False

    def note(self, tags: Sequence[Tag]) -> None:
        """Remember what later connections need of these tags."""
        for tag in tags:
            if tag.flags & (Flags.CONFIG | Flags.METADATA):
                self._headers[tag.kind, tag.flags & (Flags.CONFIG | Flags.METADATA)] = tag
            self._has_video |= tag.kind == VIDEO

    def cut(self, tags: Sequence[Tag]) -> Sequence[Tag]:
        """The tags from the first with which viewers can start."""
        for index, tag in enumerate(tags):
            if tag.flags & Flags.KEY or (not self._has_video and not tag.flags):
                return tags[index:]
        return ()

    def headers(self, at_ms: int) -> list[Tag]:
        """What comes before them."""
        return [Tag(tag.kind, at_ms, tag.payload, tag.flags) for tag in self._headers.values()]


class Publication:
    """A stream that a job publishes; the connection is made, and made again, as there are tags to write.

    stream: its name, in the domain and app of the source. template: what it is made by.
    waits: why it is not published now, "" while it is.
    """

    def __init__(self, source: Source, stream: str, template: str) -> None:
        self.source = source
        self.stream = stream
        self.waits = "nothing was written yet"
        self._template = template
        self._id = secrets.token_hex(8)
        self._published = False
        self._opening = Opening()
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._again_at = 0.0
        self._lock = asyncio.Lock()

    def follow(self, source: Source) -> None:
        """The source has another worker: used when the present connection ends."""
        self.source = source

    async def write(self, tags: Sequence[Tag]) -> None:
        """Publish these tags; waits while the worker takes no more. Raises TakenOver.

        Without a connection they are lost, but for the codec configuration; with a new one it goes on at a key frame.
        """
        async with self._lock:
            self._opening.note(tags)
            if self._writer is None:
                tags = self._opening.cut(tags)
                if not tags or not await self._connect():
                    return
                self._send(flv.FILE_HEADER + _packed(self._opening.headers(tags[0].timestamp_ms)))
            self._send(_packed(tags))
            await self._drain()

    def write_from_thread(self, tags: Sequence[Tag], loop: asyncio.AbstractEventLoop) -> None:
        """As `write`, for a thread beside the event loop."""
        asyncio.run_coroutine_threadsafe(self.write(tags), loop).result()

    async def close(self) -> None:
        """End the stream in order: what was written is delivered."""
        async with self._lock:
            writer = self._writer
            if writer is not None and not writer.transport.is_closing():
                writer.close()
                try:
                    async with asyncio.timeout(STUCK_S):
                        await writer.wait_closed()
                except (OSError, TimeoutError):
                    writer.transport.abort()
            self._forget()

    async def _connect(self) -> bool:
        """Raises TakenOver."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._again_at:
            return False
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._ask()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            self._forget()
            self._again_at = loop.time() + AGAIN_S
            if (why := str(error) or type(error).__name__) != self.waits:
                log.warning("product cannot be published", stream=self.stream, error=why)
            self.waits = why
            return False
        self.waits = ""
        return True

    async def _ask(self) -> None:
        source = self.source
        path = "/".join(quote(name, safe="") for name in (source.domain, source.app, self.stream))
        query = f"source={quote(source.stream, safe='')}&template={quote(self._template, safe='')}&by={self._id}"
        if self._published:
            query += "&again=1"
        reader, self._writer = await asyncio.open_unix_connection(source.socket)
        self._writer.transport.set_write_buffer_limits(high=UNSENT_MAX_BYTES)
        request = f"POST /publish/{path}?{query} HTTP/1.1\r\nHost: worker\r\nConnection: Upgrade\r\nUpgrade: flv\r\n\r\n"
        self._writer.write(request.encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = head[0].split(" ")[1:2]
        if status == ["410"]:
            raise TakenOver(f"another job publishes {self.stream} now")
        if status != ["101"]:
            fields = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
            raise ConnectionError(fields.get("X-Tengine-Error", f"the worker answers: {head[0][:80]}"))
        self._published = True
        self._listening = asyncio.get_running_loop().create_task(self._listen(reader, self._writer))

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the worker ends the connection; what it says by then is why."""
        try:
            why = (await reader.read(-1)).decode(errors="replace")
        except OSError as error:
            why = str(error)
        if self._writer is writer:
            log.info("product is not taken any more", stream=self.stream, reason=why)
            self.waits = "the worker closed"
            writer.transport.abort()
            self._writer = None

    def _send(self, data: bytes) -> None:
        if self._writer is not None:
            self._writer.write(data)

    async def _drain(self) -> None:
        if self._writer is None:
            return
        try:
            async with asyncio.timeout(STUCK_S):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            log.warning("worker takes nothing", stream=self.stream, error=repr(error))
            self.waits = "the worker takes nothing"
            self._forget()

    def _forget(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.transport.abort()
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None


def _packed(tags: Sequence[Tag]) -> bytes:
    return b"".join([flv.pack_tag(tag.kind, tag.timestamp_ms, tag.payload) for tag in tags])
