"""What a media worker counts over its life, beyond what its live streams know by themselves."""

from __future__ import annotations

from collections import Counter


class Counters:
    """Sums that only grow. Keys are from fixed vocabularies, never from the network, so that they stay few.

    refused: (publish or play, reason). overload: (publish or play, the resource that was short). connections: listener.
    faults: (listener, kind). bytes_in: listener.
    """

    def __init__(self) -> None:
        self.refused: Counter[tuple[str, str]] = Counter()
        self.overload: Counter[tuple[str, str]] = Counter()
        self.connections: Counter[str] = Counter()
        self.faults: Counter[tuple[str, str]] = Counter()
        self.bytes_in: Counter[str] = Counter()
        self.bytes_out: Counter[str] = Counter()
        self.publishes = 0
