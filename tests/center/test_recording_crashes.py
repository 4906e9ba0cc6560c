"""The promise of recording: `kill -9` at any moment costs what was read last, at most, and even that only if nobody goes on.

A recording process is killed a hundred times, each time somewhere else. Its stream comes many times as fast as in life, in
small pieces, each of which is sent when the one before has been read; so the test knows at each moment what must be on disk:
all but the piece that was sent last.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from headwater.center.jobs import Setup, Source, Start
from headwater.center.record.spec import RecordSpec
from headwater.center.record.spool import Folder, SpoolBusy
from headwater.media import codecs, flv
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag
from headwater.settings import Settings
from support.media_clips import flv_clip
from support.recordings import Contents, a_format, a_spec, files, finished, frames_of, slices, stored, tags_of

RECORDINGS, KILLS = 10, 10
"""So many recordings, each of which is killed so often before it is finished."""

PIECE_BYTES_MAX = 8000

CLIP = [tag for tag in tags_of(flv_clip(seconds=4)) if tag.kind != VIDEO or tag.payload[1] != codecs.SEQUENCE_END]
CLIP_MS = 4080
HEADERS = [tag for tag in CLIP if tag.flags & Flags.CONFIG]


def stream() -> Iterator[Tag]:
    """The clip on and on, on one timeline."""
    for round_ in itertools.count():
        for tag in CLIP:
            if not tag.flags & Flags.CONFIG:
                yield Tag(tag.kind, tag.timestamp_ms + round_ * CLIP_MS, tag.payload, tag.flags)


TAGS = list(itertools.islice(stream(), 40 * len(CLIP)))


class Relay:
    """A worker's end of the relay: it gives the stream to one process after the other, from a little before where it was."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "relay.sock")
        self.sure = 0
        self.at = self.newest = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen()
        self._socket.settimeout(20)

    def feed(self, pid: int, kill_after_bytes: int, again: int) -> None:
        """Take the process's connection, give it so much, and kill it. again: tags that are told once more."""
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(20)
            connection.recv(4096)
            self.newest = max(self.newest, self.at)
            newest_ms = TAGS[self.newest].timestamp_ms
            self.at = max(min(self.at - again, self.sure), 0)
            while not TAGS[self.at].flags & Flags.KEY and self.at:
                self.at -= 1
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Newest-Ms: %d\r\nX-Clock: c\r\n\r\n" % newest_ms + flv.FILE_HEADER)
            connection.sendall(b"".join(flv.pack_tag(tag.kind, newest_ms, tag.payload) for tag in HEADERS))
            sent = 0
            while sent < kill_after_bytes:
                self._wait_read(connection)
                self.sure = max(self.sure, self.at)  # what was read before the last read is written
                piece, limit = b"", random.randint(1, PIECE_BYTES_MAX)
                while len(piece) < limit:
                    tag = TAGS[self.at]
                    piece += flv.pack_tag(tag.kind, tag.timestamp_ms, tag.payload)
                    self.at += 1
                half = random.randint(0, len(piece))
                connection.sendall(piece[:half])
                self._wait_read(connection)
                connection.sendall(piece[half:])
                sent += len(piece)
            time.sleep(random.random() / 200)
            os.kill(pid, signal.SIGKILL)

    def _wait_read(self, connection: socket.socket) -> None:
        """Until the process has taken everything."""
        while struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0]:
            time.sleep(0.0002)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "support.record_forks"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def killed_once(forks: subprocess.Popen[str], spec: RecordSpec, relay: Relay, dice: random.Random) -> None:
    """Start a process for the recording, and kill it somewhere."""
    assert forks.stdin is not None
    assert forks.stdout is not None
    while True:
        try:
            Folder(Path(spec.folder)).close()  # the one before is really gone
        except SpoolBusy:
            time.sleep(0.001)
        else:
            break
    fifo = Path(spec.folder).parent / "orders"
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo)
    forks.stdin.write(f"{fifo}\n")
    forks.stdin.flush()
    pid = int(forks.stdout.readline())
    source = Source(spec.domain, spec.app, spec.stream, "s1", relay.path)
    start = Start("1", source, msgspec.Raw(msgspec.json.encode(spec)))
    with fifo.open("wb") as orders:
        orders.write(msgspec.json.encode(Setup(Settings(), "")) + b"\n" + msgspec.json.encode(start) + b"\n")
        orders.flush()
        relay.feed(pid, dice.randint(0, 60_000), dice.randint(0, 60))


@pytest.mark.parametrize("recording", range(RECORDINGS))
def test_a_kill_at_any_moment_costs_no_more_than_was_read_last(
    recording: int, forks: subprocess.Popen[str], tmp_path: Path
) -> None:
    dice = random.Random(recording)
    random.seed(recording)
    formats = [a_format("m3u8", 3600, 2), a_format("flv", 20), a_format("mp4", 3600), a_format("cmaf", 30, 3)]
    spec = a_spec(tmp_path / "recording", *formats)
    with contextlib.closing(Relay(tmp_path)) as relay:
        for _ in range(KILLS):
            killed_once(forks, spec, relay, dice)
    while True:
        try:
            events = finished(spec)
        except SpoolBusy:  # a process that is killed takes its time
            time.sleep(0.001)
        else:
            break
    stored(spec, events, tmp_path / "bucket")
    sure = TAGS[: relay.sure]
    for format_ in ("flv", "mp4", "cmaf", "m3u8"):
        contents = [Contents(str(tmp_path / "bucket" / file.key)) for file in files(events, format_)]
        for kind, name in ((VIDEO, "video"), (AUDIO, "audio")):
            kept = [data for each in contents for data in each.data(name)]
            there = frames_of(TAGS, kind)
            if format_ != "m3u8":  # transport streams change the bytes around a frame
                assert kept == there[: len(kept)], f"{format_}: frames are missing, or there twice"
            assert len(kept) >= len(frames_of(sure, kind)), format_
            assert sum(each.decoded[name] for each in contents) == len(kept), format_
    made = slices(events, "m3u8")
    assert [each.number for each in made] == list(range(len(made)))
    assert not any(each.broken for each in made)
