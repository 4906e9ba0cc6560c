"""The folder in which pictures lie until they are stored: written by jobs, taken over by the center.

pictures/<domain>/<app>/<stream>/<unix ms>.jpg             a picture that the center has not noted down yet
pictures/<domain>/<app>/<stream>/<unix ms>.<number>.jpg    the same under a name of the queue of uploads
marks/                                                     what `suspects` writes
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = "snapshots"
SUFFIX = ".jpg"
_PICTURE = re.compile(r"([0-9]{1,15})\.jpg", re.ASCII)

StreamId = tuple[str, str, str]
"""Main streaming domain, app, stream."""


def marks(spool: Path) -> Path:
    """Where the marks of streams lie that are being decoded."""
    return spool / FOLDER / "marks"


def write(spool: Path, stream: StreamId, created_ms: int, data: bytes) -> Path:
    """Write a picture; it is there as a whole or not at all. Raises OSError."""
    folder = _pictures(spool).joinpath(*stream)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{created_ms}{SUFFIX}"
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)
    return path


def again(path: Path, number: int) -> Path:
    """One more name of the same file, for an upload that removes it in the end. Raises OSError."""
    other = path.with_name(f"{path.stem}.{number}{SUFFIX}")
    other.unlink(missing_ok=True)
    os.link(path, other)
    return other


def left(spool: Path) -> Iterator[tuple[Path, StreamId, int]]:
    """What an earlier run has written and nobody has noted down: path, stream and time in unix milliseconds, oldest first."""
    root = _pictures(spool)
    found = []
    for path in root.glob(f"*/*/*/*{SUFFIX}"):
        match = _PICTURE.fullmatch(path.name)
        if match is not None:
            domain, app, stream, _ = path.relative_to(root).parts
            found.append((int(match[1]), path, (domain, app, stream)))
    for created_ms, path, key in sorted(found):
        yield path, key, created_ms


def clean(spool: Path, keep: set[Path]) -> None:
    """Remove what no job writes any more and no upload needs, and folders that are empty."""
    root = _pictures(spool)
    for path in root.glob("*/*/*/*"):
        if path not in keep:
            path.unlink(missing_ok=True)
    for depth in ("*/*/*", "*/*", "*"):
        for folder in root.glob(depth):
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def _pictures(spool: Path) -> Path:
    return spool / FOLDER / "pictures"
