"""Response-rate limiting: keeps a server that answers anybody from being used against those whose address is forged."""

from __future__ import annotations

from collections.abc import Hashable
from enum import IntEnum

SLIP = 2
"""Of the answers over the limit every second one is sent cut short, not dropped: whoever really asked comes by TCP."""


class Verdict(IntEnum):
    """What becomes of an answer."""

    SEND = 0
    CUT = 1
    DROP = 2


class Limiter:
    """Counts answers by the network they go to, within windows of a second.

    same_per_s: how often one network gets the same answer. total_per_s: how many answers it gets at all. 0 means no bound.
    """

    def __init__(self, same_per_s: int, total_per_s: int) -> None:
        self.cut = self.dropped = 0
        self._same = same_per_s or 1 << 62
        self._total = total_per_s or 1 << 62
        self._counts: dict[Hashable, int] = {}
        self._over = 0

    def judge(self, network: Hashable, account: Hashable) -> Verdict:
        """Count one answer to a network. account: what is the same in the same answers."""
        counts = self._counts
        same = (network, account)
        counts[same] = count = counts.get(same, 0) + 1
        counts[network] = total = counts.get(network, 0) + 1
        if count <= self._same and total <= self._total:
            return Verdict.SEND
        self._over += 1
        if self._over % SLIP:
            self.dropped += 1
            return Verdict.DROP
        self.cut += 1
        return Verdict.CUT

    def next_window(self) -> None:
        """A second has passed."""
        self._counts = {}
