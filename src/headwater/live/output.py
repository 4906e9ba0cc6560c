"""An output: one stream packed for one protocol, the same bytes for all of its viewers.

Tags are packed once into batches at each flush. A viewer whose socket takes everything is among the `ready` and gets each
new batch as it comes; one whose socket is full is among the `behind` with a cursor, and costs nothing until its socket
takes bytes again. No batch is ever written in part to a viewer and then left out, so nobody sees a torn tag.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import msgspec

from headwater.live.viewer import Payer, Viewer
from headwater.media.tag import Tag

if TYPE_CHECKING:
    from headwater.live.stream import LiveStream

LAG_BYTES = 16 * 1024 * 1024
"""How far a viewer may fall behind unless the domain says otherwise: ten seconds of 12 Mbit/s. At usual bit rates the bound in
time comes first; this one is for a burst, or for a stream that has far more bits than anybody planned for."""

BURST_BYTES = 1024 * 1024
"""A viewer that catches up is given at most so many bytes at once, so that it cannot hold the loop or much memory."""


class Packing(Protocol):
    """How tags become a protocol's bytes; pure, and alike for all viewers."""

    name: str

    def start(self, headers: Sequence[Tag], timestamp_ms: int, tracks: int) -> bytes:
        """What a viewer gets first: file header, metadata and codec configuration as of `timestamp_ms`.

        tracks: `flv.HAS_AUDIO` and `flv.HAS_VIDEO` as far as known.
        """

    def pack(self, tags: Sequence[Tag]) -> bytes: ...


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Consecutive tags, packed. A batch that can start a viewer (`headers` is not None) begins with a key frame.

    end: sequence number in the ring of the tag after its last. offset: bytes of all batches before it.
    """

    data: bytes
    offset: int
    timestamp_ms: int
    end: int
    headers: tuple[Tag, ...] | None


class Traffic:
    """Counters of one protocol, summed over all of its outputs: they outlive the streams that they count.

    jumped: viewers who jumped at least once. sent: bytes by payer, which whoever keeps the books takes away from here.
    """

    __slots__ = ("bytes_out", "joins", "jumped", "jumps", "sent", "skipped_bytes")

    def __init__(self) -> None:
        self.bytes_out = 0
        self.joins = 0
        self.jumps = 0
        self.jumped = 0
        self.skipped_bytes = 0
        self.sent: Counter[Payer] = Counter()


class Output:
    """One packing of one stream and the viewers who get it.

    stream: whose tags these are. lag_ms, lag_bytes: how far a viewer may fall behind, beyond the delay with which it began.
    clock: the loop's time in seconds. on_jump: told of each jump with its milliseconds and bytes (for the log).

    What a flush sends to all who are ready is added once, to `_flushed`; a viewer's own sum is settled from it when it leaves
    the ready, or when somebody asks. So counting costs the fan-out nothing per viewer.
    """

    __slots__ = (
        "_base",
        "_batches",
        "_burst",
        "_clock",
        "_delay_ms",
        "_flushed",
        "_on_jump",
        "_packed",
        "_packed_bytes",
        "_ring",
        "behind",
        "lag_bytes",
        "lag_ms",
        "packing",
        "ready",
        "stream",
        "traffic",
    )

    def __init__(
        self,
        stream: LiveStream,
        packing: Packing,
        traffic: Traffic,
        *,
        lag_ms: int,
        lag_bytes: int = LAG_BYTES,
        clock: Callable[[], float],
        on_jump: Callable[[Viewer, int, int], None],
    ) -> None:
        self.packing = packing
        self.traffic = traffic
        self.lag_ms = lag_ms
        self.lag_bytes = lag_bytes
        self.ready: set[Viewer] = set()
        self.behind: set[Viewer] = set()
        self.stream = stream
        self._ring = ring = stream.ring
        self._clock = clock
        self._on_jump = on_jump
        self._batches: deque[Batch] = deque()
        self._base = 0  # index of the oldest batch held
        self._packed_bytes = 0
        self._flushed = 0
        self._delay_ms = 0  # the longest with which a viewer was to begin
        self._packed = ring.marks[0].seq if ring.marks else ring.next
        self._burst: tuple[int, int, bytes] = (0, 0, b"")  # the last joined run of batches: (from, to, bytes)
        self._pack()

    @property
    def head(self) -> int:
        """The index that the next batch will have."""
        return self._base + len(self._batches)

    @property
    def viewers(self) -> int:
        """How many viewers this output has."""
        return len(self.ready) + len(self.behind)

    def join(self, viewer: Viewer, headers: tuple[Tag, ...], behind_ms: int = 0) -> None:
        """Give a viewer the stream's beginning and then a whole GOP at once: the newest, or one `behind_ms` back.

        What has not been flushed yet comes with the next flush: a thousand joins a second must not make a thousand flushes.
        headers: those in force now, for a stream in which nobody can start yet.
        """
        tracks = self.stream.tracks
        viewer.output = self
        self.traffic.joins += 1
        start = self._start(behind_ms)
        if start is None:
            viewer.cursor = self.head
            first = self.packing.start(headers, self._batches[-1].timestamp_ms if self._batches else 0, tracks)
        else:
            viewer.cursor, batch = start
            if behind_ms:
                viewer.start_bytes = self._packed_bytes - batch.offset
                self._delay_ms = max(self._delay_ms, behind_ms)
            first = self.packing.start(batch.headers or (), batch.timestamp_ms, tracks)
        self.behind.add(viewer)
        self._write(viewer, first)
        self._catch_up(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        if viewer in self.ready:
            self._settle(viewer)
            self.ready.discard(viewer)
        self.behind.discard(viewer)
        viewer.output = None

    def flush(self) -> None:
        """Pack what came since the last flush and send it to everybody who is ready."""
        count = self._pack()
        if not count or not self.ready:
            return
        newest = [self._batches[index].data for index in range(-count, 0)]
        data = newest[0] if count == 1 else b"".join(newest)
        ready = list(self.ready)
        self._flushed += len(data)  # first: who is full after this write has had it
        for viewer in ready:
            viewer.sink.write(data)
        self.traffic.bytes_out += len(data) * len(ready)

    def pause(self, viewer: Viewer) -> None:
        """A viewer's socket is full. Everything up to the head has been handed to its transport, which will finish it."""
        viewer.stalled_at = self._clock()
        if viewer in self.ready:
            self._settle(viewer)
            self.ready.discard(viewer)
            self.behind.add(viewer)
            viewer.cursor = self.head

    def resume(self, viewer: Viewer) -> None:
        """A viewer's socket takes bytes again."""
        viewer.stalled_at = None
        if viewer in self.behind:
            self._catch_up(viewer)

    def stalled(self, since: float) -> list[Viewer]:
        """The viewers whose socket has taken nothing since that loop time."""
        return [viewer for viewer in self.behind if viewer.stalled_at is not None and viewer.stalled_at < since]

    def settle(self) -> None:
        """Bring every viewer's `bytes_out`, and what is counted by payer, up to now."""
        for viewer in self.ready:
            self._settle(viewer)

    def _settle(self, viewer: Viewer) -> None:
        """Count what a ready viewer was given since it became ready, or since it was settled."""
        size = self._flushed - viewer.mark
        viewer.mark = self._flushed
        viewer.bytes_out += size
        self.traffic.sent[viewer.payer] += size

    def _write(self, viewer: Viewer, data: bytes) -> None:
        if data:
            viewer.sink.write(data)
            viewer.bytes_out += len(data)
            self.traffic.bytes_out += len(data)
            self.traffic.sent[viewer.payer] += len(data)

    def _catch_up(self, viewer: Viewer) -> None:
        """Write batch after batch until the viewer has all or its socket is full."""
        while viewer.output is self and viewer.stalled_at is None:
            self._keep_within_bound(viewer)
            if viewer.cursor >= self.head:
                self.behind.discard(viewer)
                self.ready.add(viewer)
                viewer.mark = self._flushed
                return
            data, viewer.cursor = self._run(viewer.cursor)
            self._write(viewer, data)

    def _keep_within_bound(self, viewer: Viewer) -> None:
        if viewer.cursor >= self.head:
            return
        index = viewer.cursor - self._base
        newest, oldest = self._batches[-1], self._batches[max(index, 0)]
        if (
            index >= 0
            and newest.timestamp_ms - oldest.timestamp_ms <= self.lag_ms + self._delay_ms
            and self._packed_bytes - oldest.offset <= self.lag_bytes + viewer.start_bytes
        ):
            return
        start = self._start(0)
        to, to_ms, offset = self.head, newest.timestamp_ms, self._packed_bytes
        if start is not None:
            to, to_ms, offset = start[0], start[1].timestamp_ms, start[1].offset
        if to > viewer.cursor:
            viewer.cursor = to
            self._count_jump(viewer, to_ms - oldest.timestamp_ms, offset - oldest.offset)

    def _count_jump(self, viewer: Viewer, skipped_ms: int, skipped_bytes: int) -> None:
        """What has left the ring meanwhile was skipped, too, but is not known any more: the figures are a least."""
        traffic = self.traffic
        traffic.jumped += not viewer.jumps
        traffic.jumps += 1
        traffic.skipped_bytes += skipped_bytes
        viewer.jumps += 1
        viewer.skipped_ms += skipped_ms
        viewer.skipped_bytes += skipped_bytes
        self._on_jump(viewer, skipped_ms, skipped_bytes)

    def _run(self, cursor: int) -> tuple[bytes, int]:
        """The batches from `cursor` on in one piece, and the cursor after them. Shared by all who stand at the same place."""
        head = self.head
        if self._burst[0] == cursor and cursor < self._burst[1] <= head:
            return self._burst[2], self._burst[1]
        end, size, parts = cursor, 0, []
        while end < head and size < BURST_BYTES:
            data = self._batches[end - self._base].data
            parts.append(data)
            size += len(data)
            end += 1
        joined = parts[0] if len(parts) == 1 else b"".join(parts)
        self._burst = (cursor, end, joined)
        return joined, end

    def _start(self, behind_ms: int) -> tuple[int, Batch] | None:
        """Index and batch of the newest start at least `behind_ms` back, or else of the oldest start held."""
        if not self._batches:
            return None
        limit = self._batches[-1].timestamp_ms - behind_ms
        found = None
        for index in range(len(self._batches) - 1, -1, -1):
            batch = self._batches[index]
            if batch.headers is not None:
                found = (self._base + index, batch)
                if batch.timestamp_ms <= limit:
                    break
        return found

    def _pack(self) -> int:
        """Pack the ring's new tags into batches, a new one at each mark; returns how many were made."""
        ring = self._ring
        if self._packed >= ring.next:
            return 0
        begin = max(self._packed, ring.first)
        marks = [mark for mark in ring.marks if mark.seq >= begin]
        cuts = [begin] + [mark.seq for mark in marks if mark.seq > begin] + [ring.next]
        headers = {mark.seq: mark.headers for mark in marks}
        for start, end in pairwise(cuts):
            tags = ring.slice(start, end)
            data = self.packing.pack(tags)
            self._batches.append(Batch(data, self._packed_bytes, tags[0].timestamp_ms, end, headers.get(start)))
            self._packed_bytes += len(data)
        self._packed = ring.next
        while self._batches[0].end <= ring.first:
            self._batches.popleft()
            self._base += 1
        return len(cuts) - 1
