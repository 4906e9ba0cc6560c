"""The folder in which workers lay down what they have to say of pushes that they cut, until the main process has noted it.

A file outlives both: whoever is away at that moment, killed or waiting for the database, nothing is lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from headwater.access.presence import PublishFault

FOLDER: Final = "faults"
"""Below data_dir."""

FAULTS_MAX: Final = 10_000
"""More than a main process that is away for minutes leaves behind; then something is wrong, and the disk is not for that."""


class BoxFullError(OSError):
    """So many faults wait that no more are taken."""


def lay(data_dir: str, fault: PublishFault) -> None:
    """Lay a fault down, as a whole or not at all. Raises OSError."""
    folder = Path(data_dir) / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    with os.scandir(folder) as entries:
        if sum(1 for _ in entries) >= FAULTS_MAX:
            raise BoxFullError(f"{FAULTS_MAX} faults wait in {folder}")
    draft = folder / f"{fault.session}.tmp"
    draft.write_bytes(msgspec.json.encode(fault))
    draft.replace(folder / f"{fault.session}.json")


def laid(data_dir: str) -> Iterator[tuple[Path, PublishFault | None]]:
    """All that is there, the oldest first, each with its file; None for one that cannot be read."""
    found = [(path, _read(path)) for path in (Path(data_dir) / FOLDER).glob("*.json")]
    yield from sorted(found, key=lambda item: item[1].at_s if item[1] is not None else 0.0)


def _read(path: Path) -> PublishFault | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=PublishFault)
    except (OSError, msgspec.DecodeError):
        return None
