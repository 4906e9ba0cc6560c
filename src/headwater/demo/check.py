"""Plays a URL with an independent decoder and says whether picture and sound are alive: `headwater demo --check`."""

from __future__ import annotations

import asyncio
import base64
import io
import secrets
import ssl
import time
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import av
import msgspec

if TYPE_CHECKING:
    from av.container import InputContainer

WATCHED_S = 4.0
"""Media time that is decoded of each URL: two GOPs of the test picture."""

TIMEOUT_S = 30.0
"""A URL that has not given that much by then has failed; HLS waits for a segment of five seconds."""

SILENCE = 50
"""Mean amplitude, of 32,768, below which sound counts as silence."""

MAX_FRAME_BYTES = 1 << 24


class Outcome(msgspec.Struct):
    """What playing a URL showed. fault is None if all is well."""

    name: str
    url: str
    fault: str | None = None
    picture: str = ""
    frames: int = 0
    sound: str = ""
    seconds: float = 0.0


async def check(name: str, url: str) -> Outcome:
    """Play a URL for a few seconds and look at what comes."""
    outcome = Outcome(name, url)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            if url.startswith(("ws:", "wss:")):
                source: str | io.BytesIO = io.BytesIO(await _read_websocket(url))
            else:
                source = url
            await asyncio.to_thread(_watch, source, outcome)
    except TimeoutError:
        outcome.fault = f"nothing, or too little, came within {TIMEOUT_S:g} s"
    except (OSError, ValueError, EOFError, av.error.FFmpegError) as error:
        outcome.fault = str(error) or type(error).__name__
    return outcome


def _watch(source: str | io.BytesIO, outcome: Outcome) -> None:
    options = {} if isinstance(source, io.BytesIO) else {"rw_timeout": str(int(TIMEOUT_S * 1_000_000))}
    if isinstance(source, str) and source.startswith(("https:", "rtmps:")):
        options["tls_verify"] = "0"  # the demo's certificate is its own
    form = "flv" if isinstance(source, io.BytesIO) else None
    with av.open(source, "r", format=form, options=options, timeout=TIMEOUT_S) as container:
        _look(container, outcome)


def _look(container: InputContainer, outcome: Outcome) -> None:
    pictures: list[bytes] = []
    loudness: list[float] = []
    last: dict[str, float] = {}
    first: float | None = None
    deadline = time.monotonic() + TIMEOUT_S  # nobody waits for this thread any longer by then
    for frame in _frames(container):
        if time.monotonic() > deadline:
            return
        now = float(frame.time or 0.0)
        kind = type(frame).__name__
        if kind in last and now <= last[kind]:
            outcome.fault = f"{kind}: time goes back from {last[kind]:.3f} to {now:.3f} s"
            return
        last[kind] = now
        first = now if first is None else first
        if isinstance(frame, av.VideoFrame):
            outcome.frames += 1
            outcome.picture = f"{frame.width}x{frame.height}"
            if outcome.frames % 10 == 1:
                pictures.append(bytes(frame.planes[0])[:: frame.planes[0].line_size // 7 or 1])
        elif isinstance(frame, av.AudioFrame):
            outcome.sound = f"{frame.sample_rate} Hz"
            loudness.append(_loudness(frame))
        outcome.seconds = round(now - first, 1)
        if outcome.seconds >= WATCHED_S and pictures and loudness:
            break
    if not pictures:
        outcome.fault = "no picture"
    elif len(set(pictures)) < 2:
        outcome.fault = "the picture does not move"
    elif not loudness:
        outcome.fault = "no sound"
    elif max(loudness) < SILENCE:
        outcome.fault = "the sound is silence"
    elif outcome.seconds < WATCHED_S * 0.75:
        outcome.fault = f"only {outcome.seconds} s of media came"


def _frames(container: InputContainer) -> Iterator[Any]:
    yield from container.decode()


def _loudness(frame: av.AudioFrame) -> float:
    """Mean amplitude in steps of 16 bits."""
    resampled = av.AudioResampler(format="s16", layout="mono").resample(frame)
    samples = array("h", b"".join(bytes(part.planes[0])[: part.samples * 2] for part in resampled))
    return sum(map(abs, samples)) / len(samples) if samples else 0.0


async def _read_websocket(url: str) -> bytes:
    """The binary messages of a WebSocket, joined, until they hold enough media."""
    parts = urlsplit(url)
    tls: ssl.SSLContext | None = None
    if parts.scheme == "wss":
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # the demo's certificate is its own
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
    try:
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        writer.write(
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise ValueError(head.split(b"\r\n", 1)[0].decode("latin-1"))
        data = bytearray()
        end = asyncio.get_running_loop().time() + WATCHED_S
        while asyncio.get_running_loop().time() < end:
            first, size = await reader.readexactly(2)
            if size > 125:
                size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a message of {size} bytes")
            payload = await reader.readexactly(size)
            if first & 15 == 8:
                break
            data += payload
        return bytes(data)
    except asyncio.IncompleteReadError as error:
        raise ValueError("the connection ended") from error
    finally:
        writer.close()
