"""Dates of a stream: at which moment of the world's time each moment of its timeline was made."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

TOLERANCE_MS = 500
"""Less than this is the unevenness of networks and flushes, not a clock that has moved."""

LATE_MS = 30_000
"""What is late for so long will not catch up: the encoder's clock is slow, or its connection has got longer."""

KEPT = 64
"""Corrections that are remembered; after the first seconds there is one in hours."""


class Dates:
    """Dates for the times of one timeline. All who ask get the same answer for the same time, whenever they ask.

    Nothing arrives before it was made, and a network can only delay it: what comes early moves the dates at once, what comes
    late only if all that follows is late, too. Dates are unix times in ms.
    """

    def __init__(self) -> None:
        self._since_ms: deque[int] = deque(maxlen=KEPT)
        self._zero_ms: deque[int] = deque(maxlen=KEPT)  # the date of time 0, as it is from `_since_ms` on
        self._late_since_ms: int | None = None
        self._late_zero_ms = 0

    def begin(self, time_ms: int, arrived_ms: int) -> None:
        """A publisher's first tag has come: dates go on from here, however long nobody published before."""
        while self._since_ms and self._since_ms[-1] >= time_ms:
            self._since_ms.pop()
            self._zero_ms.pop()
        self._since_ms.append(time_ms)
        self._zero_ms.append(arrived_ms - time_ms)
        self._late_since_ms = None

    def note(self, time_ms: int, arrived_ms: int) -> None:
        """The newest tag came at this date. To be called about once a second, after `begin`."""
        zero_ms = arrived_ms - time_ms
        off_ms = zero_ms - self._zero_ms[-1]
        if off_ms < -TOLERANCE_MS:
            self.begin(time_ms, arrived_ms)
        elif off_ms <= TOLERANCE_MS:
            self._late_since_ms = None
        elif self._late_since_ms is None:
            self._late_since_ms, self._late_zero_ms = arrived_ms, zero_ms
        else:
            self._late_zero_ms = min(self._late_zero_ms, zero_ms)
            if arrived_ms - self._late_since_ms >= LATE_MS:
                self.begin(time_ms, time_ms + self._late_zero_ms)

    def at(self, time_ms: int) -> int | None:
        """The date of a time; None before anything has begun."""
        if not self._since_ms:
            return None
        return self._zero_ms[max(bisect_right(self._since_ms, time_ms) - 1, 0)] + time_ms
