"""N viewers of a live stream over HTTP-FLV or RTMP in one process, light enough that one core of it loads one of the server.

    python -m benchmarks.viewers --url 'http://127.0.0.1:8080/live/bench.flv?vhost=play.bench.test' --count 3000

Every viewer counts its bytes. A sample of them takes everything apart: each tag must be whole, and the frames must be the
clip's own, one after the other, so that a server which drops data is not called fast; they also measure how old frames are
when they arrive. The others throw the bytes away inside the kernel (MSG_TRUNC), which costs the least. `{n}` in the URL
becomes the number of the viewer modulo --streams.
"""

from __future__ import annotations

import argparse
import select
import socket
import statistics
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any
from urllib.parse import urlsplit

from benchmarks import clip, rtmp
from benchmarks.load import Orders, cpu_s, raise_file_limit, say
from headwater.load import clock

COUNT_MAX = 10_000
BUFFER_BYTES = 1 << 20
DRAIN_EVERY_S = 0.02
"""While viewers still connect, those who are there read so often: none may look slow to the server."""

CONNECTS_PER_DRAIN = 20
"""At most so many connections between two drains: 1,000 a second, far below any server's queue of connections."""

CONNECTS_AT_ONCE = 32
"""RTMP takes five round trips to a play: so many viewers are under way side by side, or a busy server would take minutes."""

ANSWER_TIMEOUT_S = 20.0
ACKNOWLEDGE_EVERY_BYTES = 2_500_000
"""RTMP: acknowledge so often (the usual window), with a pong, so that nobody is taken for dead."""

HEAD_BYTES_MAX = 16_384
POLL_S = 0.1
NO_CLOCK = b"0" * clock.DIGITS


Frames = dict[int, dict[bytes, int]]
"""The clip's frames by kind: their bytes, and where in the clip they stand."""


class Torn(Exception):
    """What came is not what a live stream must look like."""


class Sequence:
    """Whether the frames that a viewer gets are the clip's, in order and without a gap."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._next: dict[int, int] = {}
        self._last_ms: dict[int, int] = {}
        self.tags = self.missing = self.broken = 0
        self.delays_ms: list[float] = []

    def see(self, kind: int, timestamp_ms: int, payload: bytes) -> None:
        """Take note of one tag."""
        self.tags += 1
        sent_us = clock.find(payload) if kind == clip.VIDEO else None
        if sent_us is not None:
            self.delays_ms.append(time.time_ns() / 1e6 - sent_us / 1e3)
            payload = payload.replace(b"%016d" % sent_us, NO_CLOCK, 1)
        if kind not in self._frames or clip.is_config(kind, payload):
            return
        if timestamp_ms < self._last_ms.get(kind, 0):
            self.broken += 1
        self._last_ms[kind] = timestamp_ms
        frames = self._frames[kind]
        index = frames.get(payload)
        if index is None:
            self.broken += 1
            return
        self.missing += (index - self._next.get(kind, index)) % len(frames)
        self._next[kind] = (index + 1) % len(frames)


class FlvReader:
    """Takes an HTTP-FLV answer apart, chunked or not."""

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence
        self._raw = bytearray()
        self._body = bytearray()
        self._chunked: bool | None = None
        self._chunk_left = 0
        self._begun = False

    def feed(self, data: memoryview) -> None:
        """Read on. Raises Torn."""
        self._raw += data
        if self._chunked is None:
            end = self._raw.find(b"\r\n\r\n")
            if end < 0:
                return
            self._chunked = b"transfer-encoding: chunked" in bytes(self._raw[:end]).lower()
            del self._raw[: end + 4]
        if self._chunked:
            self._dechunk()
        else:
            self._body += self._raw
            self._raw.clear()
        if not self._begun and len(self._body) >= clip.FILE_HEADER_BYTES:
            if self._body[:4] != b"FLV\x01" or self._body[9:13] != bytes(4):
                raise Torn(f"no FLV header: {bytes(self._body[:13]).hex()}")
            del self._body[: clip.FILE_HEADER_BYTES]
            self._begun = True
        if self._begun:
            self._tags()

    def _tags(self) -> None:
        body, at = self._body, 0
        while len(body) - at >= clip.TAG_HEADER_BYTES:
            size = int.from_bytes(body[at + 1 : at + 4], "big")
            end = at + clip.TAG_HEADER_BYTES + size
            if len(body) < end + 4:
                break
            kind = body[at]
            if kind not in (clip.AUDIO, clip.VIDEO, clip.SCRIPT) or body[at + 8 : at + 11] != bytes(3):
                raise Torn(f"no FLV tag: {bytes(body[at : at + 11]).hex()}")
            if int.from_bytes(body[end : end + 4], "big") != clip.TAG_HEADER_BYTES + size:
                raise Torn(f"wrong PreviousTagSize after a tag of {size} bytes")
            timestamp_ms = body[at + 7] << 24 | int.from_bytes(body[at + 4 : at + 7], "big")
            self._sequence.see(kind, timestamp_ms, bytes(body[at + clip.TAG_HEADER_BYTES : end]))
            at = end + 4
        del body[:at]

    def _dechunk(self) -> None:
        raw = self._raw
        while raw:
            if not self._chunk_left:
                if raw[:2] == b"\r\n":
                    del raw[:2]
                end = raw.find(b"\r\n")
                if end < 0:
                    return
                self._chunk_left = int(raw[:end].split(b";")[0], 16)
                del raw[: end + 2]
            take = min(self._chunk_left, len(raw))
            self._body += raw[:take]
            self._chunk_left -= take
            del raw[:take]


class Viewers:
    """All viewers of this process."""

    def __init__(self, url: str, count: int, streams: int, sample: int, rest_s: float) -> None:
        material = clip.load()
        frames = {
            kind: {tag.payload: index for index, tag in enumerate(tag for tag in material.frames if tag.kind == kind)}
            for kind in (clip.AUDIO, clip.VIDEO)
        }
        self.count = count
        self._rest_s = rest_s
        self.refused: list[str] = []
        self.lost = self.begun = 0
        self._received: dict[int, int] = {}  # by socket, since the last report
        self._total: dict[int, int] = {}  # RTMP: by socket, since the last acknowledgement, and all in all
        self._acknowledged: dict[int, int] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._take: dict[int, Callable[..., int]] = {}
        self._fresh: set[int] = set()  # HTTP: whose answer has not begun yet
        self._readers: dict[int, Callable[[memoryview], None]] = {}
        self._sequences: dict[int, Sequence] = {}
        self._poll = select.epoll()
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self.receives = 0
        self._connect_all(url, count, streams, sample, frames)
        self._marked_at, self._marked_cpu_s = time.monotonic(), cpu_s()
        self._clear()

    def _connect_all(self, url: str, count: int, streams: int, sample: int, frames: Frames) -> None:
        connect, add = (self._connect_rtmp, self._add_rtmp) if url.startswith("rtmp:") else (self._connect_http, self._add_http)
        step = max(1, count // max(1, sample))
        checked = set(range(0, count, step)[:sample])
        waiting = deque(range(count))
        under_way: dict[Future[Any], int] = {}
        with ThreadPoolExecutor(CONNECTS_AT_ONCE) as pool:
            while waiting or under_way:
                tick_at = time.monotonic() + DRAIN_EVERY_S
                for _ in range(min(CONNECTS_PER_DRAIN, len(waiting), CONNECTS_AT_ONCE - len(under_way))):
                    number = waiting.popleft()
                    under_way[pool.submit(connect, url.replace("{n}", str(number % streams)))] = number
                done, _ = wait(under_way, max(0.0, tick_at - time.monotonic()), ALL_COMPLETED)
                for future in done:
                    sequence = Sequence(frames) if under_way.pop(future) in checked else None
                    try:
                        add(future.result(), sequence)
                    except (OSError, rtmp.RtmpError) as error:
                        self.refused.append(f"{type(error).__name__}: {error}")
                time.sleep(max(0.0, tick_at - time.monotonic()))
                self.drain(0)

    def _connect_http(self, url: str) -> socket.socket:
        parts = urlsplit(url)
        sock = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=ANSWER_TIMEOUT_S)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: headwater-benchmarks\r\n\r\n".encode())
        return sock

    def _add_http(self, sock: socket.socket, sequence: Sequence | None) -> None:
        self._fresh.add(sock.fileno())
        if sequence is not None:
            self._readers[sock.fileno()] = FlvReader(sequence).feed
        self._add(sock, sequence)

    def _connect_rtmp(self, url: str) -> rtmp.Connection:
        connection = rtmp.Connection(url)
        try:
            connection.play()
        except BaseException:
            connection.socket.close()
            raise
        return connection

    def _add_rtmp(self, connection: rtmp.Connection, sequence: Sequence | None) -> None:
        fd = connection.socket.fileno()
        self._total[fd] = self._acknowledged[fd] = 0
        if sequence is not None:

            def read(data: memoryview) -> None:
                for message in (*connection.waiting(), *connection.demuxer.feed(data)):
                    if message.type in (clip.AUDIO, clip.VIDEO, clip.SCRIPT):
                        sequence.see(message.type, message.timestamp_ms, message.payload)

            self._readers[fd] = read
        self._add(connection.socket, sequence)

    def _add(self, sock: socket.socket, sequence: Sequence | None) -> None:
        sock.setblocking(False)
        fd = sock.fileno()
        self._sockets[fd] = sock
        self._take[fd] = sock.recv_into
        self._received[fd] = 0
        if sequence is not None:
            self._sequences[fd] = sequence
        self._poll.register(fd, select.EPOLLIN)

    def drain(self, timeout_s: float) -> None:
        """Take what has come for everybody."""
        take, received, view = self._take, self._received, self._view
        fresh, readers, total = self._fresh, self._readers, self._total
        buffer, size, discard = self._buffer, BUFFER_BYTES, socket.MSG_TRUNC
        ready = self._poll.poll(timeout_s)
        self.receives += len(ready)
        for fd, _ in ready:
            keep = fd in readers or fd in fresh
            try:
                count = take[fd](buffer, size, 0 if keep else discard)
            except BlockingIOError:
                continue
            except OSError:
                count = 0
            if not count:
                self._lose(fd)
                continue
            received[fd] += count
            if keep:
                self._read(fd, view[:count])
            if total:
                self._acknowledge(fd, count)

    def _read(self, fd: int, data: memoryview) -> None:
        if fd in self._fresh:
            self._fresh.discard(fd)
            line = bytes(data[:HEAD_BYTES_MAX]).split(b"\r\n", 1)[0]
            if b" 200" not in line:
                self.refused.append(line.decode(errors="replace"))
                self._lose(fd, refused=True)
                return
        reader = self._readers.get(fd)
        if reader is not None:
            try:
                reader(data)
            except (Torn, rtmp.RtmpError, ValueError) as error:
                self._sequences[fd].broken += 1
                self.refused.append(f"{type(error).__name__}: {error}")
                self._lose(fd)

    def _acknowledge(self, fd: int, count: int) -> None:
        total = self._total[fd] = self._total[fd] + count
        if total - self._acknowledged[fd] >= ACKNOWLEDGE_EVERY_BYTES:
            self._acknowledged[fd] = total
            try:
                self._sockets[fd].send(rtmp.acknowledgement(total) + rtmp.pong())
            except OSError:
                self._lose(fd)

    def _lose(self, fd: int, *, refused: bool = False) -> None:
        self.lost += not refused
        self._poll.unregister(fd)
        self._fresh.discard(fd)
        self._readers.pop(fd, None)
        self._received.pop(fd)
        self._take.pop(fd)
        self._sockets.pop(fd).close()

    def run(self, orders: Orders) -> None:
        """Watch until the orders say that it is enough."""
        while True:
            self.drain(POLL_S)
            if self._rest_s:
                time.sleep(self._rest_s)
            report, stop = orders.due()
            if report:
                say(self.report())
            if stop:
                return

    def report(self) -> dict[str, Any]:
        """What happened since the last report."""
        now, cpu = time.monotonic(), cpu_s()
        seconds = now - self._marked_at
        each = sorted(self._received.values()) or [0]
        sequences = self._sequences.values()
        checked = [self._received[fd] for fd in self._sequences if fd in self._received] or [0]
        found = {
            "viewers": self.count,
            "alive": len(self._received),
            "lost": self.lost,
            "refused": len(self.refused),
            "reasons": sorted(set(self.refused))[:3],
            "seconds": seconds,
            "bytes": sum(each),
            "bytes_per_viewer": {"min": each[0], "median": statistics.median(each), "max": each[-1]},
            "checked": {
                "viewers": len(self._sequences),
                "bytes_per_viewer": statistics.median(checked),
                "tags": sum(sequence.tags for sequence in sequences),
                "missing": sum(sequence.missing for sequence in sequences),
                "broken": sum(sequence.broken for sequence in sequences),
            },
            "receives_per_viewer": self.receives / max(1, len(self._received)) / seconds,
            "delay_ms": spread([delay_ms for sequence in sequences for delay_ms in sequence.delays_ms]),
            "load_cpu_percent": (cpu - self._marked_cpu_s) * 100 / seconds,
        }
        self._marked_at, self._marked_cpu_s = now, cpu
        self._clear()
        return found

    def _clear(self) -> None:
        for fd in self._received:
            self._received[fd] = 0
        for sequence in self._sequences.values():
            sequence.tags = sequence.missing = sequence.broken = 0
            sequence.delays_ms.clear()
        self.receives = 0


def spread(values: list[float]) -> dict[str, float]:
    """How many, the middle, the 99th percentile and the largest; empty if there are none."""
    if not values:
        return {}
    values = sorted(values)
    return {"count": len(values), "p50": values[len(values) // 2], "p99": values[len(values) * 99 // 100], "max": values[-1]}


def main() -> None:
    """Read the command line and watch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--url", required=True, help="http://host:port/app/stream.flv[?...] or rtmp://host:port/app/stream[?...]"
    )
    parser.add_argument("--count", type=int, default=1, help=f"viewers, 1 to {COUNT_MAX}")
    parser.add_argument("--streams", type=int, default=1, help="spread the viewers over so many streams ({n} in the URL)")
    parser.add_argument("--sample", type=int, default=8, help="how many viewers check every tag")
    parser.add_argument("--rest-ms", type=float, default=0, help="pause so long between two rounds of reading")
    parser.add_argument("--seconds", type=float, default=60, help="end after so long")
    parser.add_argument("--every", type=float, default=5, help="seconds between reports")
    parser.add_argument("--follow", action="store_true", help="report at each line on standard input, end with it")
    args = parser.parse_args()
    if not 1 <= args.count <= COUNT_MAX:
        parser.error(f"--count: 1 to {COUNT_MAX}")
    if raise_file_limit() < args.count + 64:
        parser.error("the system does not allow so many open files (ulimit -Hn)")
    viewers = Viewers(args.url, args.count, args.streams, args.sample, args.rest_ms / 1000)
    if not viewers.report()["alive"]:
        say({"error": f"no viewer got in: {viewers.refused[:1]}"})
        raise SystemExit(1)
    say({"watching": args.count - len(viewers.refused), "refused": len(viewers.refused)})
    viewers.run(Orders(follow=args.follow, every_s=args.every, seconds=args.seconds))


if __name__ == "__main__":
    main()
