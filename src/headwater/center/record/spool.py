"""The spool of a recording: pieces of the stream as it came, and the journal that says what they are.

A piece is a run of FLV tags without a file header, on the recording's own timeline, with the codec configuration in front. It
is written as it comes; a tag that is cut off at its end is not read. A process that takes up a recording begins a new piece.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

from headwater.center.record.spec import SLICED, Event, Failed, File, Line, PieceLine, Slice

JOURNAL, LOCK = "journal", "lock"

TAG_HEADER_BYTES, TAG_TAIL_BYTES = 11, 4
_header = struct.Struct(">II3x").unpack_from

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


class SpoolBusy(Exception):
    """Another process has the recording's folder."""


class Span(msgspec.Struct, frozen=True):
    """A file or slice by its pieces, those from `first` to `last`. number: of the file or slice. file: of the file it is in."""

    format: str
    slice: bool
    number: int
    file: int
    first: int
    last: int


class Ledger:
    """What the journal's lines add up to.

    pieces: by number. made: slices and files that are complete. last: number of the newest piece, 0 before the first.
    """

    def __init__(self) -> None:
        self.pieces: dict[int, PieceLine] = {}
        self.made: list[Slice | File] = []
        self.last = 0
        self._slices: dict[tuple[str, int], list[Slice]] = {}
        self._open: dict[tuple[str, bool], tuple[int, int]] = {}
        self._counts: dict[tuple[str, bool], int] = {}
        self._done: set[tuple[str, bool, int]] = set()
        self._due: list[Span] = []

    def add(self, line: Line) -> list[Span]:
        """Take a line; returns the slices and files that end before it, in the order in which they are to be made."""
        if not isinstance(line, PieceLine):
            if isinstance(line, Failed):
                self._done.add((line.what, line.slice, line.number))
            else:
                self._done.add((line.format, isinstance(line, Slice), line.number))
                self.made.append(line)
                if isinstance(line, Slice):
                    self._slices.setdefault((line.format, line.file), []).append(line)
            self._due = [span for span in self._due if self._undone(span)]
            return []
        ended: list[Span] = []
        for format_, what in line.begins.items():
            ended += self._end(format_, what == "file")
        for format_, what in line.begins.items():
            self._begin(format_, line.number, new_file=what == "file")
        self.pieces[line.number] = line
        self.last = line.number
        return ended

    def end(self) -> list[Span]:
        """Nothing follows any more: what is still open ends."""
        return [span for format_ in self.formats() for span in self._end(format_, new_file=True)]

    def due(self) -> list[Span]:
        """What has ended, and is not made yet."""
        return list(self._due)

    def needed_from(self) -> int:
        """The first piece that something will still be made of."""
        open_ = [first for (format_, is_slice), (_, first) in self._open.items() if is_slice or format_ not in SLICED]
        return min([*open_, *(span.first for span in self._due if span.slice or span.format not in SLICED), self.last + 1])

    def formats(self) -> list[str]:
        """What is being recorded."""
        return [format_ for format_, is_slice in self._open if not is_slice]

    def began_ms(self, format_: str, *, is_slice: bool) -> int:
        """When the open slice or file began, on the recording's timeline."""
        return self.pieces[self._open[format_, is_slice][1]].start_ms

    def slices(self, format_: str, file: int) -> list[Slice]:
        """The slices of a file, as far as they are made."""
        return sorted(self._slices.get((format_, file), ()), key=lambda made: made.number)

    def _begin(self, format_: str, piece: int, *, new_file: bool) -> None:
        kinds = (False, True) if new_file else (True,)
        for is_slice in kinds:
            if not is_slice or format_ in SLICED:
                number = self._counts.get((format_, is_slice), 0)
                self._counts[format_, is_slice] = number + 1
                self._open[format_, is_slice] = number, piece

    def _end(self, format_: str, new_file: bool) -> list[Span]:
        ended = []
        file = self._open.get((format_, False), (0, 0))[0]
        for is_slice in (True, False) if new_file else (True,):
            open_ = self._open.pop((format_, is_slice), None)
            if open_ is not None:
                ended.append(Span(format_, is_slice, open_[0], file, open_[1], self.last))
        ended = [span for span in ended if self._undone(span)]
        self._due += ended
        return ended

    def _undone(self, span: Span) -> bool:
        return (span.format, span.slice, span.number) not in self._done


class Folder:
    """A recording's folder, held by this process until `close`. Raises SpoolBusy if another one has it.

    written: lines that this process has added to the journal.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise SpoolBusy(f"another process records into {path}") from None
        self.ledger = Ledger()
        self.written = 0
        whole_bytes = 0
        for line, size in read_journal(path):
            self.ledger.add(line)
            whole_bytes += size
        self._journal = os.open(path / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._journal, whole_bytes)
        os.lseek(self._journal, 0, os.SEEK_END)

    def write(self, line: Line) -> list[Span]:
        """Add a line to the journal: it is on disk, whatever dies, when this returns (`sync` for power cuts)."""
        write_all(self._journal, _encode(line) + b"\n")
        self.written += 1
        return self.ledger.add(line)

    def sync(self) -> None:
        """Make the journal and the folder's list of files safe from a power cut."""
        os.fdatasync(self._journal)
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def sync_piece(self, number: int) -> None:
        """Make a piece safe; opened anew, for whoever writes it may close it meanwhile."""
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(self.piece_path(number), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def piece_path(self, number: int) -> str:
        """Where a piece lies."""
        return f"{self.path}/{number:08}.piece"

    def pieces(self, first: int, last: int) -> Iterator[tuple[PieceLine, bytes]]:
        """The pieces from one to another, with what is in them; one that was never written is empty."""
        for number in range(first, last + 1):
            line = self.ledger.pieces.get(number)
            if line is not None:
                try:
                    with open(self.piece_path(number), "rb", buffering=0) as file:
                        yield line, file.read()
                except FileNotFoundError:
                    yield line, b""

    def forget_pieces(self, first: int, until: int) -> None:
        """Remove the pieces from `first` on to the one before `until`."""
        for number in range(first, until):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.piece_path(number))  # noqa: PTH108 (a Path costs more than the rest)

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._journal)
        os.close(self._lock)


def read_journal(path: Path) -> Iterator[tuple[Line, int]]:
    """The whole lines of a folder's journal, with their sizes; what a crash has cut off is left out."""
    try:
        data = (path / JOURNAL).read_bytes()
    except FileNotFoundError:
        return
    for raw in data.splitlines(keepends=True):
        try:
            line = _decode(raw)
        except msgspec.DecodeError:
            return  # only the last line can be so
        if raw.endswith(b"\n"):
            yield line, len(raw)


def told(path: Path) -> Iterator[Event]:
    """What a recording has made, or failed to, as its journal says it."""
    for line, _ in read_journal(path):
        if not isinstance(line, PieceLine):
            yield line


def frames(line: PieceLine, data: bytes) -> list[tuple[int, int, int, int]]:
    """The tags of a piece: (kind, time on the recording's timeline, start and end of the payload in `data`)."""
    found = []
    position, end = 0, len(data) - TAG_HEADER_BYTES - TAG_TAIL_BYTES
    earliest_ms = line.start_ms - 0x80000000  # what the 32 bits of a time say is at most half a round away
    while position <= end:
        kind_size, stamp = _header(data, position)
        size = kind_size & 0xFFFFFF
        if position + size > end:
            break
        start = position + TAG_HEADER_BYTES
        time_ms = earliest_ms + ((stamp >> 8 | (stamp & 0xFF) << 24) - earliest_ms & 0xFFFFFFFF)
        following = start + size
        found.append((kind_size >> 24, time_ms, start, following))
        position = following + TAG_TAIL_BYTES
    return found


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of it. Raises OSError, for a full disk, say."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
