"""The buffer of a delayed stream: files that are written at one end, read at the other, and removed once they are read.

A record is what came at one moment: when it is due, its length and checksum, and its tags as FLV. Each file begins with the
codec configuration in force, so that whoever finds the files after a crash can begin with any of them.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import structlog

from headwater.media import flv
from headwater.media.tag import Flags, Tag

FILE_BYTES = 8 * 1024 * 1024
FILE_MS = 60_000
"""A new file is begun after so much: what was read is removed by the file."""

SPOOL_BYTES_MAX = 8 * 1024**3
"""Of one stream: an hour of 18 Mbit/s. Beyond it what comes is left out, for the disk is everybody's."""

_HEADER = struct.Struct(">QII")
"""When it is due (unix milliseconds), bytes that follow, their CRC-32."""

log = structlog.get_logger()


class DelaySpool:
    """The buffer in a folder, which is made; what an earlier process has left there comes first. Raises OSError.

    full: whether something was left out for want of room.
    """

    def __init__(self, folder: Path, *, bytes_max: int = SPOOL_BYTES_MAX) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.full = False
        self._folder = folder
        self._bytes_max = bytes_max
        self._sizes = {int(path.stem): path.stat().st_size for path in folder.glob("*.delay") if path.stem.isdecimal()}
        self._last = max(self._sizes, default=0)
        self._writer: FileIO | None = None
        self._begun_ms = 0
        self._due_ms = 0
        self._headers: dict[tuple[int, int], Tag] = {}
        self._reader: FileIO | None = None
        self._reading = 0

    @property
    def bytes(self) -> int:
        """What the files hold now."""
        return sum(self._sizes.values())

    def write(self, tags: Sequence[Tag], due_ms: int) -> None:
        """Add tags; they are due no earlier than those before."""
        for tag in tags:
            if tag.flags & (Flags.CONFIG | Flags.METADATA):
                self._headers[tag.kind, tag.flags & (Flags.CONFIG | Flags.METADATA)] = tag
        due_ms = self._due_ms = max(self._due_ms, due_ms)
        if self.bytes >= self._bytes_max:
            self._leave_out("it may not be larger")
            return
        if self.full and not any(tag.flags & Flags.KEY for tag in tags):
            return  # what follows something that is missing cannot be shown before the next key frame
        try:
            if self._writer is None or self._sizes[self._last] >= FILE_BYTES or due_ms - self._begun_ms >= FILE_MS:
                self._begin(due_ms, tags[0].timestamp_ms)
            self._put(tags, due_ms)
        except OSError as error:  # playing out what is there makes room
            self._leave_out(str(error))
        else:
            self.full = False

    def read(self) -> tuple[int, list[Tag]] | None:
        """The next tags with the time when they are due; None if there is nothing more now."""
        while True:
            if self._reader is None and not self._open_next():
                return None
            assert self._reader is not None
            record = self._record()
            if record is not None:
                return record
            if self._reading >= self._last:
                return None  # the file that is being written
            self._close_reader()

    def clear(self) -> None:
        """Forget all that is in it."""
        self.close()
        self._reader = self._writer = None
        for number in self._sizes:
            self._path(number).unlink(missing_ok=True)
        self._sizes.clear()
        self._due_ms = 0

    def close(self) -> None:
        """Let go of the files, which stay."""
        if self._writer is not None:
            self._writer.close()
        if self._reader is not None:
            self._reader.close()

    def _leave_out(self, why: str) -> None:
        if not self.full:
            log.error("the buffer of a delayed stream is full", folder=str(self._folder), bytes=self.bytes, reason=why)
        self.full = True

    def _begin(self, due_ms: int, timestamp_ms: int) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._writer = FileIO(self._path(self._last + 1), "w")
        self._last += 1
        self._sizes[self._last] = 0
        self._begun_ms = due_ms
        if self._headers:
            headers = [Tag(tag.kind, timestamp_ms, tag.payload, tag.flags) for tag in self._headers.values()]
            self._put(headers, due_ms)

    def _put(self, tags: Sequence[Tag], due_ms: int) -> None:
        assert self._writer is not None
        payload = b"".join([flv.pack_tag(tag.kind, tag.timestamp_ms & 0xFFFFFFFF, tag.payload) for tag in tags])
        data = memoryview(_HEADER.pack(due_ms, len(payload), zlib.crc32(payload)) + payload)
        size = self._sizes[self._last]
        try:
            while data:
                data = data[self._writer.write(data) or 0 :]
        except OSError:
            self._writer.truncate(size)  # half of a record would hide what is written behind it
            self._writer.seek(size)
            raise
        self._sizes[self._last] = self._writer.tell()

    def _open_next(self) -> bool:
        number = min((number for number in self._sizes if number > self._reading), default=None)
        if number is None:
            return False
        self._reading = number
        self._reader = FileIO(self._path(number))
        return True

    def _record(self) -> tuple[int, list[Tag]] | None:
        """None at the end of what is written, or where a crash has cut it off."""
        assert self._reader is not None
        start = self._reader.tell()
        header = self._reader.read(_HEADER.size)
        if len(header) == _HEADER.size:
            due_ms, size, checksum = _HEADER.unpack(header)
            left = os.fstat(self._reader.fileno()).st_size - self._reader.tell()
            payload = self._reader.read(size) if size <= left else b""
            if len(payload) == size and zlib.crc32(payload) == checksum:
                return due_ms, flv.Reader().feed(flv.FILE_HEADER + payload)
        self._reader.seek(start)
        return None

    def _close_reader(self) -> None:
        assert self._reader is not None
        self._reader.close()
        self._reader = None
        self._path(self._reading).unlink(missing_ok=True)
        del self._sizes[self._reading]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:010}.delay"
