"""Which worker of this machine has which stream, as the cluster's store tells."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from headwater.access import presence
from headwater.access.presence import WORKER_PREFIX, WorkerPresence
from headwater.live.stream import StreamKey

REMEMBERED_S = 30.0
"""How long it is known which worker had a stream last: its viewers may still wait there, and its last HLS segments stay."""


HLS_NUMBERS_APART = 64
"""A worker that packs HLS of a stream which another one has packed leaves out so many numbers: those of the segments that the
other one packed after it had told its number. That happens every 5 s (node.announcer), and a segment lasts a second or more."""

NUMBER_KEPT_S = 120
"""The number of a stream that has ended is forgotten once the clock, where numbers come from otherwise, is so far ahead."""


class Directory:
    """Publishers and workers of the machine, as of the last change that was told.

    on_change: told of each stream that has got, lost or changed its worker.
    """

    def __init__(self, node: str, index: int, clock: Callable[[], float], on_change: Callable[[StreamKey], None]) -> None:
        self._node = node
        self._index = index
        self._clock = clock
        self._on_change = on_change
        self._streams: dict[StreamKey, presence.StreamPresence] = {}
        self._owners: dict[StreamKey, int] = {}
        self._last: dict[StreamKey, tuple[int, float]] = {}
        self._sockets: dict[int, str] = {}
        self._hls_numbers: dict[StreamKey, int] = {}

    def elsewhere(self, key: StreamKey) -> int | None:
        """The other worker to which the publisher of a stream is connected; None if there is none."""
        owner = self._owners.get(key)
        return owner if owner != self._index else None

    def announced(self, key: StreamKey) -> presence.StreamPresence | None:
        """A stream of this machine as its worker announces it."""
        return self._streams.get(key)

    def source(self, key: StreamKey) -> int | None:
        """The other worker that has a stream, or had it a moment ago."""
        owner = self._owners.get(key)
        if owner is None:
            owner = self._last.get(key, (None, 0))[0]
        return owner if owner != self._index else None

    def before(self, key: StreamKey) -> int | None:
        """The other worker that had a stream before its present one; None if that was long ago."""
        index = self._last.get(key, (None, 0))[0]
        return index if index not in (self._index, self._owners.get(key)) else None

    def hls_number(self, key: StreamKey) -> int:
        """The number with which a new HLS packaging of a stream must at least begin; 0 if none is known."""
        number = self._hls_numbers.get(key, 0)
        return number + HLS_NUMBERS_APART if number else 0

    def forget(self, key: StreamKey) -> None:
        """The worker that had a stream last says that it is gone."""
        self._last.pop(key, None)

    def socket(self, index: int) -> str | None:
        """The path of a worker's internal socket; None while it is not up."""
        return self._sockets.get(index)

    def others(self) -> list[int]:
        """All other workers that are up."""
        return [index for index in self._sockets if index != self._index]

    def stream_changed(self, key: str, value: bytes | None) -> None:
        """Apply a change below `stream/`."""
        domain, app, name = key.removeprefix(presence.STREAM_PREFIX).split("/")
        stream = StreamKey(domain, app, name)
        before = self._owners.get(stream)
        if value is None:
            now = None
            self._owners.pop(stream, None)
            self._streams.pop(stream, None)
        else:
            told = presence.decode(value)
            if told.node != self._node:
                return
            now = self._owners[stream] = told.worker
            self._streams[stream] = told
            if told.hls_number:
                self._hls_numbers[stream] = told.hls_number
        if now == before:
            return
        if before is not None:
            self._last.pop(stream, None)
            if before != self._index:  # nobody asks this worker itself
                self._last[stream] = (before, self._clock() + REMEMBERED_S)
        self._on_change(stream)

    def worker_changed(self, key: str, value: bytes | None) -> None:
        """Apply a change below `worker/`."""
        node, _, index = key.removeprefix(WORKER_PREFIX).rpartition("/")
        if node != self._node:
            return
        if value is None:
            self._sockets.pop(int(index), None)
        else:
            self._sockets[int(index)] = msgspec.json.decode(value, type=WorkerPresence).internal_socket

    def sweep(self) -> None:
        """Forget who had streams long ago; the oldest stand first."""
        old = time.time() - NUMBER_KEPT_S
        for key in [key for key, number in self._hls_numbers.items() if number < old and key not in self._owners]:
            del self._hls_numbers[key]
        while self._last:
            oldest = next(iter(self._last))
            if self._last[oldest][1] > self._clock():
                return
            del self._last[oldest]
