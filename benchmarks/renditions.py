"""What viewers of renditions get: the delay of a low-latency one behind its source, and real time when too much is asked for.

python -m benchmarks.renditions [--seconds 20] [--streams 10] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import imageio_ffmpeg

from benchmarks.ladder import clip
from benchmarks.servers import Headwater
from headwater.media import flv
from headwater.media.codecs import CODED_FRAMES, SEQUENCE_START, parse_video_config, split_video
from headwater.media.tag import VIDEO

DELAYED, CROWDED = "lld-ll", "lhd"
"""The template whose delay is measured, and the one that is asked of many streams."""

WANTED_MS = 500
WANTED_SPEED = 0.97

SETTLE_S = 8.0
SETTLED_S = 15.0
"""How long the crowd runs before it is looked at: renditions count by their estimate for ten seconds, then by what they use."""

CROWD_S = 20.0
"""How long frames are counted that are left out for lack of time."""

BETWEEN_S = 3.0


class Center(Headwater):
    """Headwater with its live center; viewers get each frame at once."""

    name = "Headwater with its center"
    settings: ClassVar[dict[str, str]] = {"center.enabled": "true"}

    def add(self, template: str, app: str) -> None:
        """Make this rendition of each stream of an app, from its publish on."""
        self.api.call("AddLiveStreamTranscode", Domain=self.streaming, App=app, Template=template, Lazy="no")

    def jobs(self) -> list[dict[str, Any]]:
        """The center's jobs of transcoding."""
        command = [sys.executable, "-m", "headwater", "jobs", "--data-dir", str(self.folder / "data"), "--json"]
        told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return [job for job in told if job["kind"] == "transcode"]

    @contextlib.contextmanager
    def publishing(self, app: str, stream: str, source: Path) -> Iterator[None]:
        """Push a clip in real time, round and round."""
        url = f"rtmp://127.0.0.1:{self.rtmp_port}/{app}/{stream}?vhost={self.ingest}"
        binary = imageio_ffmpeg.get_ffmpeg_exe()
        command = [binary, "-v", "error", "-re", "-stream_loop", "-1", "-i", str(source), "-c", "copy", "-f", "flv", url]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


class RefusedError(Exception):
    """The center had no cores for the rendition, so its viewer was given the source."""


def arrivals(server: Center, app: str, stream: str, seconds: float, found: dict[int, float], heights: list[int]) -> None:
    """When each picture of a stream arrives at a viewer of HTTP-FLV, by the time at which it is shown; and its height."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    connection.request("GET", f"/{app}/{stream}.flv?vhost={server.streaming}")
    answer = connection.getresponse()
    reader, end = flv.Reader(), time.monotonic() + seconds
    while (now := time.monotonic()) < end and (data := answer.read1(65536)):
        now = time.monotonic()
        for tag in reader.feed(data):
            packet = split_video(tag.payload) if tag.kind == VIDEO else None
            if packet is not None and packet.packet_type == SEQUENCE_START and (config := parse_video_config(tag.payload)):
                heights.append(config.height)
            if packet is not None and packet.packet_type == CODED_FRAMES:
                found.setdefault(tag.timestamp_ms + packet.composition_ms, now)
    connection.close()


def delay(server: Center, source: Path, seconds: float) -> list[float]:
    """By how many ms each picture of the rendition arrives after the source's. Raises RefusedError."""
    server.add(DELAYED, "delay")
    with server.publishing("delay", "cam", source):
        time.sleep(SETTLE_S)
        first: dict[int, float] = {}
        second: dict[int, float] = {}
        heights: tuple[list[int], list[int]] = ([], [])
        readers = [
            threading.Thread(target=arrivals, args=(server, "delay", stream, seconds, found, seen))
            for stream, found, seen in (("cam", first, heights[0]), (f"cam_{DELAYED}", second, heights[1]))
        ]
        begun = time.monotonic()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    if heights[0] == heights[1]:
        raise RefusedError("no cores were free for the rendition: leave the machine alone meanwhile")
    live = begun + 2.0  # before that comes what was there already
    return [(second[shown] - at) * 1000 for shown, at in first.items() if at > live and shown in second]


def crowd(server: Center, source: Path, streams: int) -> list[dict[str, Any]]:
    """The jobs that run once a rendition of each of so many streams was asked for; `late` are the frames left out meanwhile."""
    server.add(CROWDED, "crowd")
    with contextlib.ExitStack() as publishers:
        for number in range(streams):
            publishers.enter_context(server.publishing("crowd", f"cam{number}", source))
            time.sleep(BETWEEN_S)
        time.sleep(SETTLED_S)
        before = {job["stream"]: job["dropped"] for job in server.jobs() if job["app"] == "crowd"}
        time.sleep(CROWD_S)
        jobs = [job for job in server.jobs() if job["app"] == "crowd"]
        return [job | {"late": job["dropped"] - before.get(job["stream"], 0)} for job in jobs]


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="of the delay's window")
    parser.add_argument("--streams", type=int, default=10, help="of the crowd; 0 leaves it out")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    source = clip(30)
    with Center("realtime", None) as server:
        assert isinstance(server, Center)
        late = sorted(delay(server, source, args.seconds))
        print(
            f"{DELAYED} behind its source: median {statistics.median(late):.0f} ms, 95 % within "
            f"{late[len(late) * 95 // 100]:.0f} ms, {late[-1]:.0f} ms at most (wanted: below {WANTED_MS}), {len(late)} pictures"
        )
        jobs = crowd(server, source, args.streams) if args.streams else []
    if args.streams:
        slowest = min((job["speed"] for job in jobs), default=0.0)
        left_out, began = sum(job["late"] for job in jobs), sum(job["dropped"] - job["late"] for job in jobs)
        print(
            f"{CROWDED} of {args.streams} streams: {len(jobs)} run, {args.streams - len(jobs)} are refused; slowest of them "
            f"{slowest:.2f} times real time (wanted: {WANTED_SPEED}); {left_out} frames left out in {CROWD_S:.0f} s, "
            f"{began} before, as they began"
        )
    if args.json:
        args.json.write_text(json.dumps({"delays_ms": late, "jobs": jobs}))


if __name__ == "__main__":
    main()
