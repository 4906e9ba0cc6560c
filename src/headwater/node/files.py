"""How many files, and so sockets, this process has open and may have open."""

from __future__ import annotations

import resource
from pathlib import Path

DESCRIPTORS = Path("/proc/self/fd")


def open_files() -> int:
    """Open file descriptors of this process."""
    size = DESCRIPTORS.stat().st_size  # Linux 6.2 and later tells their number here, for next to nothing
    return size or sum(1 for _ in DESCRIPTORS.iterdir())


def files_max() -> int:
    """How many it may have open (RLIMIT_NOFILE)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
