"""Pushes and plays many names briefly, asks for many that nobody publishes, and checks that nothing of them stays.

    python -m benchmarks.churn                                   20,000 names and 100,000 requests
    python -m benchmarks.churn --names 2000 --requests 10000

What is compared is what the media worker holds before and after: its objects by kind, the blocks of Python's heap, its
resident memory, and that of the main process. A first small round, which fills caches, comes before. Exit code 1 if
anything has grown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from benchmarks import clip, measure, rtmp
from benchmarks.load import raise_file_limit
from benchmarks.servers import Headwater

WARM, WARM_NAMES_MIN, WARM_REQUESTS_MIN = 0.05, 200, 1000
"""The share of the work that is done before the first count, and how much it is at least."""

AT_ONCE = 8
ASKING = 200
FRAMES, HLS_FRAMES = 60, 160
"""How much of the clip each name gets: more than the first key frame and some sound; for HLS, more than a GOP."""

CLIP_S = 4
"""Nobody sees more of the clip; a whole one takes longer to make than two thousand names to come and go."""

RTMP_EVERY, HLS_EVERY = 5, 20
"""One name of so many is played over RTMP too, one of so many over HLS; all are played over FLV."""

WAIT_S, POLL_S = 90.0, 0.5
"""What is kept for a while on purpose (the last HLS segments, which worker had a stream) is gone after 30 s."""

TIMEOUT_S = 20.0
KIND_SLACK = 2
"""Objects of one kind that may be there for another reason: a timer, a request of ours."""

BLOCKS_FOR_EACH_NAME, BLOCKS_FOR_EACH_REQUEST = 0.25, 0.05
"""Blocks of Python's heap, far below one for each: a single small object that stayed would show."""

RSS_MAX_MB = 10.0
"""What the heap's own order may cost; 20,000 names of which 1 kB stays each would be twice as much."""


class Churned(Headwater):
    """Headwater with streams that end at once, and requests for unknown ones that do not wait long, so that this ends today."""

    session: ClassVar[dict[str, str]] = {"reconnect_window": "0"}
    settings: ClassVar[dict[str, str]] = {
        "limits.unknown_stream_wait_s": "0.01",
        "overload.viewers.cpu": "0",
        "overload.publishers.cpu": "0",
        "log.level": "error",
    }


@dataclass(frozen=True)
class Count:
    """What is held at one moment."""

    objects: dict[str, int]
    blocks: int
    worker_mb: float
    main_mb: float


class Churn:
    """The work, against one server."""

    def __init__(self, server: Churned, hls_every: int) -> None:
        self._server = server
        self._hls_every = hls_every
        self._socket = str(next((server.folder / "data").rglob("worker-0.sock")))
        self._packed = rtmp.pack(clip.load(), 1)
        self._numbers = iter(range(sys.maxsize))

    def names(self, count: int) -> None:
        """Push and play so many new names, a few at a time. Raises OSError or RtmpError if one cannot be had."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self._name, [next(self._numbers) for _ in range(count)]):
                pass

    def _name(self, number: int) -> None:
        publisher = rtmp.Connection(self._url("push", number))
        with publisher.socket:
            publisher.publish()
            hls = bool(self._hls_every) and number % self._hls_every == 0
            frames = b"".join(frame.now(0) for frame in self._packed.frames[: HLS_FRAMES if hls else FRAMES])
            publisher.socket.sendall(self._packed.headers + frames)
            self._get(self._url("flv", number), until=b"\x17\x01")  # a key frame (FLV 10.1, E.4.3.1)
            if number % RTMP_EVERY == 0:
                player = rtmp.Connection(self._url("rtmp", number))
                with player.socket:
                    player.play()
            if hls:
                self._get(self._url("hls", number), until=b"#EXTINF")

    def _url(self, what: str, number: int) -> str:
        return (self._server.push_url() if what == "push" else self._server.play_url(what)).format(n=f"{number}x")

    def _get(self, url: str, until: bytes) -> None:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=TIMEOUT_S) as sock:
            sock.sendall(_request(parts.path, parts.query, parts.netloc))
            said = b""
            while until not in said:
                data = sock.recv(65_536)
                if not data:
                    raise OSError(f"{url} ended: {said[:200]!r}")
                said += data

    def requests(self, count: int) -> None:
        """Ask for so many names that nobody publishes, many side by side. Raises OSError if one is not refused with 404."""
        parts = urlsplit(self._url("flv", 0))
        with contextlib.ExitStack() as stack:
            address = (parts.hostname or "", parts.port or 80)
            socks = [stack.enter_context(socket.create_connection(address, TIMEOUT_S)) for _ in range(min(ASKING, count))]
            left = count
            while left > 0:
                asked = socks[:left]
                left -= len(asked)
                for sock in asked:
                    url = urlsplit(self._url(("flv", "hls")[left % 2], next(self._numbers)))
                    sock.sendall(_request(url.path, url.query, url.netloc))
                for sock in asked:
                    answer = sock.recv(65_536)
                    if not answer.startswith(b"HTTP/1.1 404"):
                        raise OSError(f"a name that nobody publishes got {answer[:100]!r}")

    def count(self) -> Count:
        """What the server holds now."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TIMEOUT_S)
            sock.connect(self._socket)
            sock.sendall(b"GET /census HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n")
            said = b""
            while data := sock.recv(65_536):
                said += data
        census = json.loads(said.partition(b"\r\n\r\n")[2])
        main_mb = measure.memory_bytes(self._server.pid)[0] / 1e6
        return Count(census["objects"], census["blocks"], census["resident_bytes"] / 1e6, main_mb)


def _request(path: str, query: str, host: str) -> bytes:
    return f"GET {path}{'?' if query else ''}{query} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def grown(before: Count, after: Count, names: int, requests: int) -> list[str]:
    """What is more than it was, in words."""
    found = [
        f"{kind}: {count} objects, {before.objects.get(kind, 0)} before"
        for kind, count in after.objects.items()
        if count > before.objects.get(kind, 0) + KIND_SLACK
    ]
    blocks = after.blocks - before.blocks
    if blocks > names * BLOCKS_FOR_EACH_NAME + requests * BLOCKS_FOR_EACH_REQUEST:
        found.append(f"{blocks} more blocks in Python's heap, which has {after.blocks}")
    for process in ("worker", "main"):
        was, now = getattr(before, f"{process}_mb"), getattr(after, f"{process}_mb")
        if now - was > RSS_MAX_MB:
            found.append(f"the {process} process has {now:.1f} MB, {was:.1f} before")
    return found


def run(names: int, requests: int, hls_every: int) -> dict[str, Any]:
    """Do it all; what was found. Raises Unavailable if the server does not start, OSError or RtmpError if it does not serve."""
    clip.SECONDS = CLIP_S
    with Churned("realtime", None) as server:
        assert isinstance(server, Churned)
        churn = Churn(server, hls_every)
        churn.names(max(WARM_NAMES_MIN, round(names * WARM)))
        churn.requests(max(WARM_REQUESTS_MIN, round(requests * WARM)))
        time.sleep(1.0)
        before, began = churn.count(), time.monotonic()
        churn.names(names)
        names_s, began = time.monotonic() - began, time.monotonic()
        churn.requests(requests)
        requests_s, began = time.monotonic() - began, time.monotonic()
        while (found := grown(before, after := churn.count(), names, requests)) and time.monotonic() < began + WAIT_S:
            time.sleep(POLL_S)
    return {
        "grown": found,
        "names": names,
        "requests": requests,
        "names_s": round(names_s, 1),
        "requests_s": round(requests_s, 1),
        "settled_s": round(time.monotonic() - began, 1),
        "before": vars(before),
        "after": vars(after),
    }


def main() -> None:
    """Read the command line, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--hls-every", type=int, default=HLS_EVERY, help="play one name of so many over HLS, too; 0: none")
    parser.add_argument("--json", type=Path, help="write everything into this file, too")
    args = parser.parse_args()
    raise_file_limit()
    said = run(args.names, args.requests, args.hls_every)
    if args.json:
        args.json.write_text(json.dumps(said, indent=1) + "\n")
    before, after = said["before"], said["after"]
    print(f"{args.names} names in {said['names_s']} s, {args.requests} requests in {said['requests_s']} s")
    for name in ("blocks", "worker_mb", "main_mb"):
        print(f"{name:10} {before[name]:12,.1f} before {after[name]:12,.1f} after")
    print("\n".join(said["grown"]) or f"nothing has stayed ({said['settled_s']} s later)")
    raise SystemExit(1 if said["grown"] else 0)


if __name__ == "__main__":
    main()
