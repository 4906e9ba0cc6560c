"""Viewers of HLS: they reload the playlist and fetch every new segment, as players do."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from headwater.load import http, playlist, ts
from headwater.load.faults import Fault
from headwater.load.playlist import Playlist, Segment
from headwater.load.session import Run, Session
from headwater.load.target import Target

SEGMENTS_BEHIND = 3
"""Players begin three segments before the live edge (RFC 8216, 6.3.3)."""

ANSWER_TIMEOUT_S = 20.0
"""For one whole answer. A young stream's first playlist may take 10 s."""

PLAYLIST_BYTES_MAX = 1024 * 1024
SEGMENT_BYTES_MAX = 256 * 1024 * 1024
"""What a checked viewer holds at most: half a minute of 64 Mbit/s."""

LATE_TARGETS = 2.0
"""A new segment may take 1.5 target durations (RFC 8216, 6.2.1), and we learn of it up to half a one later."""

Take = Callable[[memoryview], None]


class Connection(asyncio.BufferedProtocol):
    """One connection of one viewer, which asks one thing at a time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[http.Head] | None = None
        self._reader = http.HeadReader()
        self._head: http.Head | None = None
        self._body: http.Framing = http.Sized(0)
        self._take: Take | None = None
        self.used = False
        self.open = False

    async def get(self, target: Target, headers: tuple[tuple[str, str], ...], take: Take) -> http.Head:
        """Ask, and give what the body holds to `take` as it arrives. Raises Fault; ConnectionResetError without an answer."""
        assert self._transport is not None
        self._answer = self._run.loop.create_future()
        self._head, self._take = None, take
        self._transport.write(http.pack_request(target, headers))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._answer
        except TimeoutError:
            self.close()
            raise Fault("silent", f"no whole answer within {ANSWER_TIMEOUT_S:.0f} s") from None
        finally:
            self._answer = self._take = None
            self.used = True

    def close(self) -> None:
        """Give up."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by type
        self.open = True

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer of all connections."""
        return self._run.view

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes from the server."""
        self._run.tally.received_bytes += nbytes
        if self._answer is None or self._answer.done():
            self.close()  # nothing was asked
            return
        try:
            self._read(nbytes)
        except Fault as fault:
            self.close()
            self._answer.set_exception(fault)

    def _read(self, count: int) -> None:
        assert self._take is not None
        assert self._answer is not None
        at = 0
        if self._head is None:
            found = self._reader.feed(self._run.buffer, 0, count)
            if found is None:
                return
            self._head, at = found
            self._body = http.framing_of(self._head)
        for start, end in self._body.ranges(self._run.buffer, at, count):
            self._take(self._run.view[start:end])
        if self._body.done:
            if self._head.headers.get("connection", "").lower() == "close":
                self.close()
            self._answer.set_result(self._head)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed the connection, or we have."""
        self.open = False
        answer, head = self._answer, self._head
        if answer is None or answer.done():
            return
        if head is None:
            answer.set_exception(ConnectionResetError("the server closed the connection without an answer"))
        elif isinstance(self._body, http.UntilClose):
            answer.set_result(head)
        else:
            answer.set_exception(Fault("protocol", "the server closed the connection inside an answer"))


class HlsViewer(Session):
    """A viewer of HLS."""

    def __init__(self, run: Run, number: int) -> None:
        super().__init__(run, number)
        self._target = run.plan.target(number)
        self._checked = run.plan.is_checked(number)
        run.tally.checked += self._checked
        self._connections: dict[tuple[str, int, bool], Connection] = {}
        self._check = ts.SegmentCheck(self.report)
        self._last: int | None = None  # the newest segment that was asked for
        self._checked_last: int | None = None
        self._target_s = 0

    async def _run(self) -> None:
        url = f"{'https' if self._target.tls else 'http'}://{self._target.authority}{self._target.resource}"
        before: Playlist | None = None
        master = False
        while True:
            asked_at = time.monotonic()
            listed = await self._playlist(url)
            if listed.variant is not None:
                if master:
                    raise Fault("playlist", "a master playlist where a media playlist is expected")
                master, url = True, listed.variant
                continue
            if before is not None:
                for fault in playlist.follow(before, listed):
                    self.report(fault.kind, fault.text)
            self._target_s = listed.target_s
            fresh = before is None or listed != before
            before = listed
            for segment in self._new(listed):
                await self._segment(segment, independent=listed.independent)
            if listed.ended:
                raise Fault("ended", "the playlist says that the stream is over (#EXT-X-ENDLIST)")
            # 6.3.4: a target duration after a change, half of one if there was none
            wait_s = listed.target_s if fresh else listed.target_s / 2
            await asyncio.sleep(max(asked_at + wait_s - time.monotonic(), 0.1))

    def _new(self, listed: Playlist) -> list[Segment]:
        if self._last is None:
            return list(listed.segments[-SEGMENTS_BEHIND:])
        return [segment for segment in listed.segments if segment.sequence > self._last]

    async def _playlist(self, url: str) -> Playlist:
        pieces = bytearray()

        def take(data: memoryview) -> None:
            pieces.extend(data)
            if len(pieces) > PLAYLIST_BYTES_MAX:
                raise Fault("playlist", f"a playlist of more than {PLAYLIST_BYTES_MAX} bytes")

        head = await self._get(url, (("Accept-Encoding", "gzip"),), take)
        if head.status != 200:
            raise head.refusal()
        self.tally.playlists += 1
        body = bytes(pieces)
        if head.headers.get("content-encoding") == "gzip":
            body = _unzipped(body)
        return playlist.parse(body, url)

    async def _segment(self, segment: Segment, *, independent: bool) -> None:
        goes_on = self._checked_last == segment.sequence - 1 and not segment.discontinuity
        self._last = segment.sequence
        pieces = bytearray()
        phase = ts.Phase()
        size = 0

        def take(data: memoryview) -> None:
            nonlocal size
            size += len(data)
            if size > SEGMENT_BYTES_MAX:
                raise Fault("segment", f"a segment of more than {SEGMENT_BYTES_MAX} bytes")
            phase.feed(data)
            if self._checked:
                pieces.extend(data)

        head = await self._get(segment.url, (), take)
        if head.status != 200:
            self.report("segment", head.refusal().text)
            return
        phase.end()
        now = time.monotonic()
        now_us = time.time_ns() // 1000
        self.tally.segments += 1
        self.first(now_us)
        self.media(now, self.allowed_pause_s())
        if self._checked:
            self._check.segment(bytes(pieces), goes_on=goes_on, independent=independent)
            self._checked_last = segment.sequence
            for sent_us in self._check.clocks_us:
                if sent_us >= self.begun_us:
                    self.tally.delay_ms.add((now_us - sent_us) / 1000)

    async def _get(self, url: str, headers: tuple[tuple[str, str], ...], take: Take) -> http.Head:
        """Over the connection that is there, or a new one if there is none or the server has just closed it."""
        target = _http_target(url)
        while True:
            connection = self._connections.get(target.origin)
            if connection is None or not connection.open:
                _, connection = await self.run.connect(lambda: Connection(self.run), target)
                self._connections[target.origin] = connection
            again = connection.used
            try:
                return await connection.get(target, headers, take)
            except ConnectionResetError as error:
                if not again:
                    raise Fault("ended", str(error)) from None

    def allowed_pause_s(self) -> float:
        """A segment is due every target duration, and may be late."""
        return self.run.plan.stall_s + LATE_TARGETS * self._target_s

    def _close(self) -> None:
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        for connection in self._connections.values():
            connection.close()


def _http_target(url: str) -> Target:
    """Segments may be called anything, so only the scheme counts. Raises Fault."""
    parts = urlsplit(url)
    try:
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"`{url}` is no HTTP URL")
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise Fault("playlist", str(error)) from None
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target("hls", parts.scheme == "https", parts.hostname, port, parts.netloc, resource)


def _unzipped(data: bytes) -> bytes:
    """Raises Fault on what is no gzip, or too much of it."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(data, PLAYLIST_BYTES_MAX)
    except zlib.error as error:
        raise Fault("protocol", f"a broken gzip body: {error}") from None
    if not inflater.eof:
        raise Fault("playlist", f"a playlist that is cut off, or of more than {PLAYLIST_BYTES_MAX} bytes")
    return plain
