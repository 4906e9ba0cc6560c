"""Lets publishers' sockets rest between reads, so that a worker reads many small messages at once.

An encoder writes each frame by itself: some 70 wake-ups a second for one stream. Where the fan-out flushes every 350 ms anyway,
reading a little later costs no viewer anything worth noticing, and saves most of what a push costs.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

REST_S = {"realtime": 0.0, "low": 0.02, "standard": 0.15}
"""How long a publisher's socket rests after a read, by the domain's latency profile: a fraction of its flush interval."""

FULL_READ_BYTES = 64 * 1024
"""After a read of at least this size more is probably waiting: such a publisher does not rest."""


class Resting(Protocol):
    """A connection that does not read for the moment."""

    def go_on(self) -> None:
        """Read again."""


class Pacer:
    """Wakes all resting connections of one interval together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._resting: dict[float, list[Resting]] = {}

    def rest(self, connection: Resting, seconds: float) -> None:
        """Call `go_on` of a connection that has stopped reading within so many seconds."""
        resting = self._resting.get(seconds)
        if resting is None:
            self._resting[seconds] = [connection]
            self._loop.call_later(seconds, self._wake, seconds)
        else:
            resting.append(connection)

    def _wake(self, seconds: float) -> None:
        for connection in self._resting.pop(seconds):
            connection.go_on()
