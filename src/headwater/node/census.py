"""What lives in a worker's memory, counted by kind: by it one finds what should have gone and has not."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections import Counter

import msgspec

ROOMS = ("headwater", "asyncio", "uvloop", "httptools")
"""Packages whose objects are counted one kind by one: ours, and what holds our connections, tasks and timers."""


class Census(msgspec.Struct, frozen=True):
    """One count.

    objects: living objects by class, of those that Python's collector knows (tags and other leaves are not among them).
    blocks: everything that Python has allocated in its own heap, so it shows the leaves too.
    """

    objects: dict[str, int]
    blocks: int
    resident_bytes: int


def take() -> Census:
    """Collect what is garbage and count what is left. With thousands of viewers the loop stops for tens of milliseconds."""
    gc.collect()
    _trim()
    counts = Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for each in gc.get_objects()
        if (kind := type(each)).__module__.startswith(ROOMS)
    )
    return Census(dict(sorted(counts.items())), sys.getallocatedblocks(), resident_bytes())


def _trim() -> None:
    """Give memory that is free already back to the system, where the C library can (malloc_trim(3)): what stays is in use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident_bytes() -> int:
    """Resident memory of this process (proc(5), statm)."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
