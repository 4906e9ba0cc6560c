"""What recording costs: the CPU of a recording process with many streams of 1 Mbit/s, beside `ffmpeg -c copy` of the same.

python -m benchmarks.recording [--streams 20] [--seconds 20] [--rounds 1] [--formats m3u8 mp4] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import imageio_ffmpeg
import msgspec

from benchmarks import clip
from benchmarks.measure import cpu_s
from headwater.access.plan import RecordFormat
from headwater.center.jobs import Setup, Source, Start
from headwater.center.record.spec import RecordSpec
from headwater.media import flv
from headwater.settings import Settings

WANTED_MS = 1.5
"""CPU a second for each stream."""

TICK_S = 0.1
"""How often a stream's bytes come: a worker passes on what it has read from a publisher, ten times a second."""

WARM_UP_S = 6.0

SLICE_S, CYCLE_S = 10, 10
"""Slices, and files that are closed and finished, in the time that is measured."""


class Feeder:
    """Sends the clip to many sockets as a live source would, each stream a little later than the one before."""

    def __init__(self) -> None:
        whole = clip.load()
        self._headers = [flv.pack_tag(tag.kind, 0, tag.payload) for tag in whole.headers]
        self._frames = [(tag.timestamp_ms, tag.kind, tag.payload) for tag in whole.frames]
        self._lap_ms = whole.duration_ms
        self._sockets: list[socket.socket] = []
        self._positions: list[int] = []
        self._begun: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def add(self, connection: socket.socket, head: bytes = b"") -> None:
        """Begin a stream."""
        connection.sendall(head + flv.FILE_HEADER + b"".join(self._headers))
        self._begun.append(time.monotonic())
        self._positions.append(0)
        self._sockets.append(connection)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for connection in self._sockets:
            connection.close()

    def _run(self) -> None:
        while not self._stop.wait(TICK_S / 4):
            now = time.monotonic()
            for index, connection in enumerate(self._sockets):
                until_ms = int((now - self._begun[index]) / TICK_S) * TICK_S * 1000
                data = []
                while (tag := self._tag(self._positions[index]))[0] <= until_ms:
                    data.append(flv.pack_tag(tag[1], tag[0], tag[2]))
                    self._positions[index] += 1
                if data:
                    with contextlib.suppress(OSError):
                        connection.sendall(b"".join(data))

    def _tag(self, position: int) -> tuple[int, int, bytes]:
        lap, index = divmod(position, len(self._frames))
        time_ms, kind, payload = self._frames[index]
        return time_ms + lap * self._lap_ms, kind, payload


def measured(pids: Sequence[int], seconds: float, streams: int) -> float:
    """CPU of these processes, ms a second for each stream, over some seconds."""
    time.sleep(WARM_UP_S)
    before, began = sum(cpu_s(pid)[0] for pid in pids), time.monotonic()
    time.sleep(seconds)
    used = sum(cpu_s(pid)[0] for pid in pids) - before
    return used * 1000 / (time.monotonic() - began) / streams


@contextlib.contextmanager
def headwater(format_: str, streams: int, folder: Path) -> Iterator[list[int]]:
    """A recording process with so many jobs."""
    relay = socket.socket(socket.AF_UNIX)
    relay.bind(str(folder / "relay.sock"))
    relay.listen(streams)
    relay.settimeout(20)
    command = [sys.executable, "-m", "headwater.center.record"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None  # as asked for
    assert process.stdout is not None
    threading.Thread(target=process.stdout.read, daemon=True).start()
    process.stdin.write(msgspec.json.encode(Setup(Settings(), str(folder))) + b"\n")
    feeder = Feeder()
    try:
        for number in range(streams):
            name = f"cam{number}"
            one = RecordFormat(format_, CYCLE_S, "{Sequence}_{StartTime}_{EndTime}", "{UnixTimestamp}_{Sequence}", SLICE_S)  # type: ignore[arg-type]
            spec = RecordSpec(number, str(folder / name), "e", "b", 180, "play.test", "live", name, (one,))
            source = Source("play.test", "live", name, "s1", str(folder / "relay.sock"))
            process.stdin.write(msgspec.json.encode(Start(name, source, msgspec.Raw(msgspec.json.encode(spec)))) + b"\n")
            process.stdin.flush()
            connection, _ = relay.accept()
            connection.recv(4096)
            feeder.add(connection, b"HTTP/1.1 200 OK\r\nX-Newest-Ms: 0\r\n\r\n")
            time.sleep(1 / streams)
        yield [process.pid]
    finally:
        process.kill()
        process.wait()
        feeder.close()
        relay.close()


@contextlib.contextmanager
def ffmpeg(format_: str, streams: int, folder: Path) -> Iterator[list[int]]:
    """So many ffmpeg, which read the same bytes from a socket."""
    outputs = {
        "m3u8": ("-f", "hls", "-hls_time", str(SLICE_S), "-hls_list_size", "0", "-hls_playlist_type", "event"),
        "flv": ("-f", "segment", "-segment_time", str(CYCLE_S), "-segment_format", "flv", "-reset_timestamps", "1"),
        "mp4": ("-f", "segment", "-segment_time", str(CYCLE_S), "-segment_format", "mp4", "-reset_timestamps", "1"),
        "cmaf": ("-f", "hls", "-hls_time", str(SLICE_S), "-hls_list_size", "0", "-hls_segment_type", "fmp4"),
    }
    feeder = Feeder()
    processes = []
    try:
        for number in range(streams):
            ours, theirs = socket.socketpair()
            place = folder / f"cam{number}"
            place.mkdir()
            name = {"m3u8": "index.m3u8", "cmaf": "index.m3u8"}.get(format_, f"%03d.{format_}")
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "flv", "-i", "pipe:0", "-c", "copy"]
            processes.append(subprocess.Popen([*command, *outputs[format_], name], stdin=theirs, cwd=place))
            theirs.close()
            feeder.add(ours)
            time.sleep(1 / streams)
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
        feeder.close()


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--formats", nargs="+", default=["m3u8", "mp4"])
    parser.add_argument("--only", choices=["headwater", "ffmpeg"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    clip.load()
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(args.rounds):
        for format_ in args.formats:
            for name, begin in (("headwater", headwater), ("ffmpeg", ffmpeg)):
                if args.only in (None, name):
                    with tempfile.TemporaryDirectory(prefix="hw-") as place, begin(format_, args.streams, Path(place)) as pids:
                        cost = measured(pids, args.seconds, args.streams)
                    found.setdefault(format_, {}).setdefault(name, []).append(cost)
    print(f"{args.streams} streams of 1 Mbit/s, slices of {SLICE_S} s, files of {CYCLE_S} s; CPU in ms a second for each\n")
    print("| | Headwater | `ffmpeg -c copy` |\n|---|---|---|")
    for format_, each in found.items():
        ours, theirs = (statistics.median(each.get(name, [float("nan")])) for name in ("headwater", "ffmpeg"))
        print(f"| {format_} | **{ours:.2f}** | {theirs:.2f} |")
    print(f"\nwanted: at most {WANTED_MS}")
    if args.json:
        args.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
