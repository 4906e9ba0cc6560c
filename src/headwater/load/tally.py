"""What a run has counted and measured so far, in a form that adds up over processes."""

from __future__ import annotations

import math

import msgspec

from headwater.load.faults import Kind

TEXTS_MAX = 5
"""Different texts kept for one kind of fault; a signature in each would make as many as there are clients."""

TEXT_CHARS_MAX = 200
"""A server's words are cut after so many characters."""

OTHER_TEXTS = "(other texts)"

_STEP = math.log(1.01)
_LEAST_MS = 0.1


class Histogram(msgspec.Struct):
    """Times in ms, counted in buckets that are 1 % wide.

    counts: how many by bucket. least_ms, most_ms: exact.
    """

    counts: dict[int, int] = {}
    count: int = 0
    least_ms: float = 0.0
    most_ms: float = 0.0

    def add(self, value_ms: float) -> None:
        """Count one time. A negative one (clocks of two machines disagree) counts as the shortest, but stays in `least_ms`."""
        bucket = round(math.log(max(value_ms, _LEAST_MS)) / _STEP)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.least_ms = min(self.least_ms, value_ms) if self.count else value_ms
        self.most_ms = max(self.most_ms, value_ms) if self.count else value_ms
        self.count += 1

    def merge(self, other: Histogram) -> None:
        """Add what another has counted."""
        if not other.count:
            return
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.least_ms = min(self.least_ms, other.least_ms) if self.count else other.least_ms
        self.most_ms = max(self.most_ms, other.most_ms) if self.count else other.most_ms
        self.count += other.count

    def percentile(self, percent: float) -> float | None:
        """The time in ms that so many percent of all do not exceed; None if nothing was counted."""
        if not self.count:
            return None
        rank = math.ceil(self.count * percent / 100)
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0:
                break
        return min(max(math.exp(bucket * _STEP), self.least_ms), self.most_ms)


class Tally(msgspec.Struct):
    """The counts of one process, or of all.

    started: clients whose connection was begun. begun: of those, how many got a first frame (viewers) or were accepted
    (publishers). open: how many are connected now. checked: how many are checked in full. received_bytes, sent_bytes: without
    the TLS around them. tags: FLV tags or RTMP media messages, received or sent. stalls, stalled_s: pauses of media that were
    longer than the threshold. first_ms: from connect to the first whole key frame or segment, or to an accepted publish.
    delay_ms: from the publisher's clock to the arrival here. late_ms: how late this process itself was at its own timer.
    cpu_s, elapsed_s: of each process.
    """

    started: int = 0
    begun: int = 0
    open: int = 0
    checked: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    tags: int = 0
    playlists: int = 0
    segments: int = 0
    stalls: int = 0
    stalled_s: float = 0.0
    stalled_now: int = 0
    first_ms: Histogram = msgspec.field(default_factory=Histogram)
    delay_ms: Histogram = msgspec.field(default_factory=Histogram)
    late_ms: Histogram = msgspec.field(default_factory=Histogram)
    faults: dict[Kind, dict[str, int]] = {}
    cpu_s: list[float] = []
    elapsed_s: list[float] = []

    def fault(self, kind: Kind, text: str) -> None:
        """Count one fault."""
        texts = self.faults.setdefault(kind, {})
        text = text[:TEXT_CHARS_MAX]
        if text not in texts and len(texts) >= TEXTS_MAX:
            text = OTHER_TEXTS
        texts[text] = texts.get(text, 0) + 1

    def merge(self, other: Tally) -> None:
        """Add what another process has counted."""
        self.started += other.started
        self.begun += other.begun
        self.open += other.open
        self.checked += other.checked
        self.received_bytes += other.received_bytes
        self.sent_bytes += other.sent_bytes
        self.tags += other.tags
        self.playlists += other.playlists
        self.segments += other.segments
        self.stalls += other.stalls
        self.stalled_s += other.stalled_s
        self.stalled_now += other.stalled_now
        self.first_ms.merge(other.first_ms)
        self.delay_ms.merge(other.delay_ms)
        self.late_ms.merge(other.late_ms)
        for kind, texts in other.faults.items():
            mine = self.faults.setdefault(kind, {})
            for text, count in texts.items():
                if text not in mine and len(mine) >= TEXTS_MAX:
                    text = OTHER_TEXTS
                mine[text] = mine.get(text, 0) + count
        self.cpu_s += other.cpu_s
        self.elapsed_s += other.elapsed_s

    @property
    def fault_count(self) -> int:
        """All faults of all kinds."""
        return sum(sum(texts.values()) for texts in self.faults.values())


class Report(msgspec.Struct, frozen=True):
    """A line that a process writes. final: its clients have ended, nothing follows."""

    tally: Tally
    final: bool
