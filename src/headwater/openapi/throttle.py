"""Counts the calls of each account and operation, and says when the documented limit is reached."""

from __future__ import annotations

import math
from collections import OrderedDict

from headwater.openapi.catalog import CallLimit, catalog

UNDOCUMENTED = CallLimit(100, 1)
"""For operations whose page names no limit: what most operations have that only read."""

WINDOWS_MAX = 100_000
"""Accounts times operations that are counted at once, some 20 MB. Beyond it the oldest windows are forgotten: a limit may then
be exceeded, but memory may not. Only signed calls are counted, so nobody fills this without an account.
"""


class Throttle:
    """A window for each account and operation: it opens with a call, and until it ends so many calls may follow.

    scale: multiplies every limit; 0 lifts all of them. Times are unix seconds, given by the caller.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale
        self._windows: OrderedDict[tuple[str, str], list[float]] = OrderedDict()  # opened at, calls

    def __len__(self) -> int:
        """How many windows are remembered."""
        return len(self._windows)

    def wait_ms(self, account: str, action: str, now_s: float) -> int:
        """0 if a call may be made now, else the milliseconds until one may."""
        limit = self._limit(action)
        window = self._windows.get((account, action))
        if limit is None or window is None or not window[0] <= now_s < window[0] + limit.period_s or window[1] < limit.calls:
            return 0
        return max(1, math.ceil((window[0] + limit.period_s - now_s) * 1000))

    def count(self, account: str, action: str, now_s: float) -> None:
        """Note a call."""
        limit = self._limit(action)
        if limit is None:
            return
        key = account, action
        window = self._windows.get(key)
        if window is not None and window[0] <= now_s < window[0] + limit.period_s:
            window[1] += 1
            return
        self._windows[key] = [now_s, 1]
        self._windows.move_to_end(key)
        self._forget(now_s)

    def _limit(self, action: str) -> CallLimit | None:
        if not self._scale:
            return None
        limit = catalog()[action].limit or UNDOCUMENTED
        return CallLimit(max(1, int(limit.calls * self._scale)), limit.period_s)

    def _forget(self, now_s: float) -> None:
        """Drop up to two of the oldest windows that have ended, so that there are never many more than are in use."""
        for _ in range(2):
            key = next(iter(self._windows))
            limit = self._limit(key[1])
            ended = limit is None or now_s >= self._windows[key][0] + limit.period_s
            if not ended and len(self._windows) <= WINDOWS_MAX:
                return
            del self._windows[key]
            if not self._windows:
                return
