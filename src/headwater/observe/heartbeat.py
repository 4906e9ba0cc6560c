"""A process's sign of life towards its supervisor: a byte each second, written by the very event loop that does the work."""

from __future__ import annotations

import asyncio
import contextlib
import os

VARIABLE = "HEADWATER_HEARTBEAT"
"""The environment variable that names the descriptor of the pipe."""

BEAT_S = 1.0


def begin(loop: asyncio.AbstractEventLoop) -> None:
    """Write from now on, if a supervisor listens. To be called once the process is ready: a start may take its time."""
    number = os.environ.pop(VARIABLE, "")  # what this process starts has nothing to do with it
    if number:
        pipe = int(number)
        os.set_inheritable(pipe, False)
        os.set_blocking(pipe, False)
        _beat(loop, pipe)


def _beat(loop: asyncio.AbstractEventLoop, pipe: int) -> None:
    try:
        with contextlib.suppress(BlockingIOError):  # nobody has read for hours: the main process itself is stopped
            os.write(pipe, b".")
    except BrokenPipeError:
        return  # the main process is gone; so will this one be
    loop.call_later(BEAT_S, _beat, loop, pipe)
