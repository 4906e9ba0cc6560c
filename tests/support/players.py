"""Players: PyAV and FFmpeg, which decode; and viewers of the tests' own, which keep every tag that they receive."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import av
import av.audio
import av.video
import httpx
import websockets.exceptions
import websockets.sync.client

from support import m3u8
from support.flv import VIDEO, FlvReader, FlvTag
from support.programs import program
from support.rtmp import RtmpClient
from support.wait import until


@dataclass
class Watched:
    """What a player has decoded. Times in seconds of the stream."""

    video_codec: str = ""
    audio_codec: str = ""
    width: int = 0
    height: int = 0
    video_s: list[float] = field(default_factory=list)
    audio_s: list[float] = field(default_factory=list)
    first_picture_s: float = 0.0
    """From opening the URL to the first decoded picture, by the clock."""

    def check(self, video: str = "h264", audio: str = "aac", size: tuple[int, int] = (160, 90)) -> None:
        """Raises AssertionError unless this is the test picture with its tone, with time that increases."""
        assert (self.video_codec, self.audio_codec) == (video, audio)
        if video:
            assert (self.width, self.height) == size
            assert self.video_s, "no picture"
        if audio:
            assert self.audio_s, "no sound"
        assert all(before < after < before + 1 for before, after in itertools.pairwise(self.video_s)), self.video_s
        # FFmpeg's parser may give the first two frames of a stream of sound alone the same time, so `<=`.
        assert all(before <= after < before + 1 for before, after in itertools.pairwise(self.audio_s)), self.audio_s


def watch(source: str | BytesIO, *, frames: int = 20, timeout_s: float = 15.0, **options: str) -> Watched:
    """Decode with PyAV until there are `frames` pictures and as many sounds, or the stream ends."""
    seen = Watched()
    started = time.monotonic()
    with av.open(source, "r", timeout=(timeout_s, timeout_s), options=options) as container:
        videos, audios = container.streams.video, container.streams.audio
        if videos:
            seen.video_codec = videos[0].codec_context.name
            videos[0].thread_count = 1
        if audios:
            seen.audio_codec = audios[0].codec_context.name.removesuffix("float")
        for packet in container.demux(*videos[:1], *audios[:1]):
            for frame in packet.decode():
                if isinstance(frame, av.video.frame.VideoFrame):
                    assert frame.time is not None
                    seen.first_picture_s = seen.first_picture_s or time.monotonic() - started
                    seen.width, seen.height = frame.width, frame.height
                    seen.video_s.append(frame.time)
                elif isinstance(frame, av.audio.frame.AudioFrame):
                    assert frame.time is not None
                    seen.audio_s.append(frame.time)
            if (len(seen.video_s) >= frames or not videos) and (len(seen.audio_s) >= frames or not audios):
                break
            assert time.monotonic() - started < timeout_s, f"not within {timeout_s} s: {seen}"
    return seen


def ffmpeg_play(url: str, *, seconds: float = 1.5, binary: str | None = None, timeout_s: float = 25.0) -> dict[str, int]:
    """Decode with the FFmpeg program; how many frames each stream had, by media type. Raises AssertionError on any error."""
    command = [binary or program("ffmpeg"), "-v", "error", "-nostdin", "-i", url, "-t", str(seconds)]
    command += ["-map", "0", "-f", "framecrc", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"FFmpeg cannot play it: {done.stderr}"
    assert not done.stderr.strip(), f"FFmpeg complains: {done.stderr}"
    types: dict[str, str] = {}
    counts: dict[str, int] = {}
    last: dict[str, int] = {}
    for line in done.stdout.splitlines():
        if line.startswith("#media_type"):
            number, _, kind = line.removeprefix("#media_type").partition(":")
            types[number.strip()] = kind.strip()
        elif not line.startswith("#"):
            number, dts = (part.strip() for part in line.split(",")[:2])
            counts[types[number]] = counts.get(types[number], 0) + 1
            assert int(dts) >= last.get(number, int(dts)), "time runs back"
            last[number] = int(dts)
    return counts


def ffprobe(url: str, timeout_s: float = 25.0) -> dict[str, str]:
    """Codec names by media type, as Debian's ffprobe sees them."""
    command = [program("ffprobe"), "-v", "error", "-show_entries", "stream=codec_type,codec_name", "-of", "csv=p=0", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"ffprobe cannot read it: {done.stderr}"
    pairs = (line.split(",")[:2] for line in done.stdout.splitlines() if line)
    return {kind: name for name, kind in pairs}


def rtmpdump(url: str, file: Path, *, frames: int = 30, timeout_s: float = 25.0) -> list[FlvTag]:
    """The tags that rtmpdump saves, `frames` frames of video at least."""
    command = [program("rtmpdump"), "--quiet", "--live", "-r", url, "-o", str(file)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace") as process:

        def saved() -> list[FlvTag] | None:
            assert process.poll() is None, (
                f"rtmpdump ended with {process.returncode}: {process.stderr and process.stderr.read()}"
            )
            tags = list(FlvReader().feed(file.read_bytes())) if file.exists() else []
            return tags if sum(tag.kind == VIDEO and tag.is_frame for tag in tags) >= frames else None

        try:
            return until(saved, f"rtmpdump saves {frames} frames", timeout_s)
        finally:
            process.kill()


class Viewer(threading.Thread):
    """Keeps every tag of a stream from the moment of its making, until it is closed or the server ends it."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.opened = time.monotonic()
        self.tags: list[FlvTag] = []
        self.arrived: list[float] = []
        """The monotonic time of each tag."""
        self.error: BaseException | None = None
        self.ended = threading.Event()
        """The stream is over, by whichever side."""
        self.closed = False
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self) -> None:
        try:
            for tag in self._receive():
                self.arrived.append(time.monotonic())
                self.tags.append(tag)
        except Exception as error:
            if not self.closed:
                self.error = error
        finally:
            self.ended.set()

    def close(self) -> None:
        """End the connection and the thread."""
        self.closed = True
        self._shut()
        self.join(5)

    def wait(self, condition: Callable[[list[FlvTag]], object], what: str, timeout_s: float = 15.0) -> list[FlvTag]:
        """The tags so far, as soon as they fulfil the condition."""

        def check() -> list[FlvTag] | None:
            tags = list(self.tags)
            if condition(tags):
                return tags
            if self.ended.is_set() and not condition(list(self.tags)):
                raise AssertionError(f"the stream ended before: {what}; error: {self.error!r}")
            return None

        return until(check, what, timeout_s)

    def wait_frames(self, count: int = 25, timeout_s: float = 15.0) -> list[FlvTag]:
        """The tags so far, as soon as they hold `count` frames of video."""
        return self.wait(lambda tags: sum(t.kind == 9 and t.is_frame for t in tags) >= count, f"{count} frames", timeout_s)

    def wait_time(self, timestamp_ms: int, timeout_s: float = 15.0) -> list[FlvTag]:
        """The tags so far, as soon as a frame with this time or a later one is among them."""
        return self.wait(
            lambda tags: any(t.kind == 9 and t.timestamp_ms >= timestamp_ms for t in tags), f"time {timestamp_ms}", timeout_s
        )

    def _receive(self) -> Iterator[FlvTag]:
        raise NotImplementedError

    def _shut(self) -> None:
        raise NotImplementedError


def insecure() -> ssl.SSLContext:
    """TLS that trusts any certificate: the server's own is self-signed."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class HttpViewer(Viewer):
    """HTTP-FLV."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._headers = headers or {}
        parts = urlsplit(url)
        assert parts.hostname
        if parts.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=20, context=insecure()
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
        self._connection.connect()
        self._socket: socket.socket = self._connection.sock
        self._path = f"{parts.path}?{parts.query}"
        super().__init__(url)

    def _receive(self) -> Iterator[FlvTag]:
        self._connection.request("GET", self._path, headers=self._headers)
        response = self._connection.getresponse()
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.status = response.status
        if response.status != 200:
            raise AssertionError(f"HTTP {response.status} {self.headers} {response.read()!r}")
        reader = FlvReader()
        while data := response.read1(65536):
            yield from reader.feed(data)
        reader.finish()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    @staticmethod
    def silent(url: str) -> socket.socket:
        """A viewer who asks for a stream, is given it, and then never reads."""
        parts = urlsplit(url)
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((parts.hostname, parts.port))
        connection.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.hostname}\r\n\r\n".encode())
        answer = connection.recv(12, socket.MSG_WAITALL)
        assert answer == b"HTTP/1.1 200", answer
        return connection


class WebSocketViewer(Viewer):
    """WebSocket-FLV."""

    def __init__(self, url: str) -> None:
        self._stack = contextlib.ExitStack()
        self._socket = self._stack.enter_context(
            websockets.sync.client.connect(
                url,
                ssl=insecure() if url.startswith("wss") else None,
                max_size=None,
                compression=None,
                proxy=None,
                open_timeout=10,
            )
        )
        super().__init__(url)

    def _receive(self) -> Iterator[FlvTag]:
        reader = FlvReader()
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            while True:
                data = self._socket.recv()
                assert isinstance(data, bytes), "FLV must come in binary messages"
                yield from reader.feed(data)
        reader.finish()

    def _shut(self) -> None:
        self._stack.close()


class RtmpViewer(Viewer):
    """RTMP, with the tests' own client."""

    def __init__(self, url: str) -> None:
        self.client = RtmpClient(url, timeout_s=20)
        try:
            self.client.connect()
            self.client.play()
        except BaseException:
            self.client.close()
            raise
        super().__init__(url)

    def _receive(self) -> Iterator[FlvTag]:
        with contextlib.suppress(ConnectionError):
            while True:
                yield from self.client.tags()

    def _shut(self) -> None:
        self.client.close()


class Hls:
    """An HLS client that checks each playlist against the rules and against the one before."""

    KINDS: ClassVar = {"application/vnd.apple.mpegurl", "application/x-mpegurl"}

    def __init__(self, url: str, **headers: str) -> None:
        self.url = url
        self.http = httpx.Client(verify=False, headers=headers, timeout=20, follow_redirects=True)
        self.playlist: m3u8.Playlist | None = None
        self.history: dict[int, m3u8.Segment] = {}
        """Every segment ever listed, by its media sequence number."""

    def __enter__(self) -> Hls:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def refresh(self) -> m3u8.Playlist:
        """Fetch the playlist. Raises AssertionError if it breaks a rule."""
        response = self.http.get(self.url)
        assert response.status_code == 200, f"{response.status_code} {dict(response.headers)} {response.text}"
        kind = response.headers["content-type"].partition(";")[0].lower()
        assert kind in self.KINDS, f"content type {kind}"
        playlist = m3u8.parse(response.text, str(response.url))
        if self.playlist is not None:
            m3u8.check_follows(self.playlist, playlist)
        self.playlist = playlist
        self.history.update({segment.sequence: segment for segment in playlist.segments})
        return playlist

    def wait(self, condition: Callable[[m3u8.Playlist], object], what: str, timeout_s: float = 20.0) -> m3u8.Playlist:
        """The first playlist that fulfils the condition."""

        def check() -> m3u8.Playlist | None:
            playlist = self.refresh()
            return playlist if condition(playlist) else None

        return until(check, what, timeout_s)

    def fetch(self, segment: m3u8.Segment) -> bytes:
        """The bytes of a segment."""
        response = self.http.get(segment.url)
        assert response.status_code == 200, f"{response.status_code} {dict(response.headers)} for {segment.url}"
        assert response.headers["content-type"].lower() == "video/mp2t"
        return response.content


def decode_segment(data: bytes) -> Watched:
    """Decode one MPEG-TS segment by itself, to its end."""
    assert len(data) % 188 == 0, "not whole packets"
    assert all(data[at] == 0x47 for at in range(0, len(data), 188)), "a packet does not begin with the sync byte"
    return watch(BytesIO(data), frames=1_000_000)


def get(url: str, **headers: Any) -> httpx.Response:
    """One HTTP request whose answer is read whole."""
    return httpx.get(url, headers=headers, verify=False, timeout=10)
