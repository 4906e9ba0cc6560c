"""Says when a connection that has failed may be tried again: with pauses that grow, as for jobs (`center.hosts`)."""

from __future__ import annotations

import time
from collections.abc import Callable

from headwater.center.hosts import BACKOFF_FACTOR, BACKOFF_FIRST_S, BACKOFF_MAX_S, HEALTHY_S


class Backoff:
    """Of one connection. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pause_s = BACKOFF_FIRST_S
        self._since: float | None = None
        self._again_at = 0.0

    def due(self) -> bool:
        """Whether it may be tried now."""
        return self._clock() >= self._again_at

    def connected(self) -> None:
        """It is there. If it stays long enough, its next failure counts as a first one."""
        self._since = self._clock()

    def failed(self) -> float:
        """It is not, or not any more. Returns the pause in seconds."""
        now = self._clock()
        if self._since is not None and now - self._since >= HEALTHY_S:
            self._pause_s = BACKOFF_FIRST_S
        self._since = None
        pause_s = self._pause_s
        self._again_at = now + pause_s
        self._pause_s = min(pause_s * BACKOFF_FACTOR, BACKOFF_MAX_S)
        return pause_s
