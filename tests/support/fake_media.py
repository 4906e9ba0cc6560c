"""A small server that says over FLV, WebSocket, RTMP and HLS exactly what a test tells it to, right or wrong."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from headwater.media import flv
from headwater.media.tag import Tag
from headwater.protocols import rtmp, websocket

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Then = Callable[[rtmp.ServerConnection], None]


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """`host:port` of a server whose connections are all handled so, and are closed when the handler returns."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client, or the test, has had enough
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """The target and the headers of the next request, names in lower case."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = [line.partition(": ") for line in lines[1:] if line]
    return lines[0].split(" ")[1], {name.lower(): value for name, _, value in fields}


def flv_file(tags: Sequence[Tag]) -> bytes:
    """An FLV file of these tags."""
    return flv.FILE_HEADER + b"".join(flv.pack_tag(tag.kind, tag.timestamp_ms, tag.payload) for tag in tags)


def http_flv(body: bytes, *, stay: bool = False, chunk_bytes: int = 0) -> Handler:
    """Answers with an FLV stream. stay: the connection stays open after it. chunk_bytes: of a chunked body, if it is one."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        coding = b"Transfer-Encoding: chunked\r\n" if chunk_bytes else b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\n" + coding + b"\r\n")
        for at in range(0, len(body), chunk_bytes or len(body)):
            piece = body[at : at + (chunk_bytes or len(body))]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunk_bytes else piece)
        if chunk_bytes and not stay:
            writer.write(b"0\r\n\r\n")
        await _linger(reader, writer, stay=stay)

    return handle


def http_answer(answer: bytes) -> Handler:
    """Answers a request with these bytes, and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    return handle


def blurt(words: bytes) -> Handler:
    """Says these bytes before anybody asks, and stays."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await _linger(reader, writer, stay=True)

    return handle


def ws_flv(body: bytes, *, stay: bool = False, then: bytes = b"", heard: bytearray | None = None) -> Handler:
    """Upgrades, and sends an FLV stream in messages of 1000 bytes, then `then`. heard: takes what the client says."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, headers = await read_request(reader)
        accept = websocket.accept_key(headers["sec-websocket-key"])
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )
        for at in range(0, len(body), 1000):
            writer.write(websocket.pack_binary(body[at : at + 1000]))
        writer.write(then)
        await _linger(reader, writer, stay=stay, heard=heard)

    return handle


def rtmp_play(
    tags: Sequence[Tag], *, refuse: str = "", stay: bool = False, then: Then | None = None, heard: bytearray | None = None
) -> Handler:
    """Plays these tags to whoever asks, or refuses in these words. then: what the server's engine does after them."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine = rtmp.ServerConnection(chunk_size_out=1000)
        while data := await reader.read(65536):
            for event in engine.receive_data(data):
                if isinstance(event, rtmp.Connected):
                    engine.accept_connect()
                elif isinstance(event, rtmp.PlayRequested) and refuse:
                    engine.reject_play(refuse)
                    writer.write(engine.data_to_send())
                    return
                elif isinstance(event, rtmp.PlayRequested):
                    engine.accept_play()
                    writer.write(engine.data_to_send())
                    for tag in tags:
                        writer.write(rtmp.pack_tag(tag.kind, tag.timestamp_ms, tag.payload, chunk_size=1000))
                    if then is not None:
                        then(engine)
                        writer.write(engine.data_to_send())
                    await _linger(reader, writer, stay=stay, heard=heard)
                    return
            writer.write(engine.data_to_send())

    return handle


def rtmp_ingest(took: list[rtmp.MediaMessage], *, refuse: str = "", close_after: int | None = None) -> Handler:
    """Takes what is published, or refuses in these words. close_after: so many messages are enough."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine = rtmp.ServerConnection()
        while data := await reader.read(65536):
            for event in engine.receive_data(data):
                if isinstance(event, rtmp.Connected):
                    engine.accept_connect()
                elif isinstance(event, rtmp.PublishRequested) and refuse:
                    engine.reject_publish(refuse)
                    writer.write(engine.data_to_send())
                    return
                elif isinstance(event, rtmp.PublishRequested):
                    engine.accept_publish()
                elif isinstance(event, rtmp.MediaMessage):
                    took.append(event)
            if close_after is not None and len(took) >= close_after:
                return
            writer.write(engine.data_to_send())

    return handle


def hls(playlists: Sequence[bytes], files: Mapping[str, bytes], *, zipped: bool = False, close: bool = False) -> Handler:
    """Serves these versions of a playlist one after the other (the last one again and again), and these files by their path.

    zipped: playlists are sent with gzip to those who take it. close: each answer ends its connection, without saying so.
    """
    asked = iter(range(1_000_000))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            target, headers = await read_request(reader)
            path = target.partition("?")[0]
            if path.endswith(".m3u8") and path not in files:
                body: bytes | None = playlists[min(next(asked), len(playlists) - 1)]
            else:
                body = files.get(path)
            coding = b""
            if zipped and body is not None and "gzip" in headers.get("accept-encoding", ""):
                body, coding = gzip.compress(body), b"Content-Encoding: gzip\r\n"
            status = b"404 Not Found" if body is None else b"200 OK"
            size = len(body or b"")
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, size, coding, body or b""))
            await writer.drain()
            if close:
                return

    return handle


async def _linger(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, stay: bool, heard: bytearray | None = None
) -> None:
    """Everything is sent; until the client goes if the connection is to stay."""
    await writer.drain()
    while stay and (data := await reader.read(65536)):
        if heard is not None:
            heard += data
