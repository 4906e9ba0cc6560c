"""How busy this machine is, read from Linux's /proc."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


class MachineLoad:
    """The part of the machine that is used, from 0 to 1: of its processors or of its network, whichever is more.

    capacity_mbps: what the network can send. The loopback interface does not count.
    """

    def __init__(self, capacity_mbps: int, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity_bytes = capacity_mbps * 1_000_000 / 8
        self._proc = proc
        self._clock = clock
        self._last = (clock(), *self._read())

    def look(self) -> float:
        """The load since the last look."""
        before = self._last
        now = self._last = (self._clock(), *self._read())
        seconds, busy, ticks, sent = (new - old for new, old in zip(now, before, strict=True))
        if seconds <= 0 or ticks <= 0:
            return 0.0
        return min(1.0, max(busy / ticks, sent / seconds / self._capacity_bytes, 0.0))

    def _read(self) -> tuple[int, int, int]:
        """Ticks of all processors that were busy, all ticks, bytes sent (proc(5))."""
        ticks = [int(field) for field in (self._proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
        idle = ticks[3] + ticks[4]  # waiting for a disk is idle, too
        sent = 0
        for line in (self._proc / "net" / "dev").read_text().splitlines()[2:]:
            name, _, numbers = line.partition(":")
            if name.strip() != "lo":
                sent += int(numbers.split()[8])
        return sum(ticks) - idle, sum(ticks), sent
