"""What is kept of streams, in memory: viewers at very many places in the past cost few questions to the database so.

Slices are held by the **block**: those that begin within some minutes, with what stands just before and after them, so that one
block alone answers for every place in it. Another center may note slices of the same stream, and this one is not told of it:
so a block is read again after a while, and after a second as long as nothing is known to follow it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from headwater.center.shift.playlist import LISTED, KeptSlice

BLOCK_MS = 600_000
"""120 slices of 5 s: read in some 2 ms."""

FRESH_S = 1.0
"""How long it holds what there is at the newest end of a stream: media nodes ask once a second for all who ask alike."""

HOLDS_S = 60.0
"""How long a block that others follow holds: a slice that is noted late, by the center of another node, is seen after that."""

SLICES_MAX = 200_000
"""Slices in memory, some 60 MB: a week of one stream, or the last hour of 270."""

BLOCK_SLICES = 20
"""An empty block takes as much as so many slices."""

CONTEXT = LISTED + 2
"""Slices before a block that it holds, too: a window at its begin lists LISTED of them, of which none may reach beyond it."""

T = TypeVar("T")
K = TypeVar("K")


class Block(msgspec.Struct, frozen=True):
    """The slices that begin in a span of time, in order of time, and the CONTEXT ones before them.

    next_ms: when the first one after the span begins, None if there is none.
    """

    slices: Sequence[KeptSlice]
    next_ms: int | None

    def listed(self, until_ms: int, before_ms: int | None) -> tuple[Sequence[KeptSlice], bool]:
        """What a window lists that ends at a time: the last slices that are complete by then; do more follow?

        before_ms: only slices that begin before this time count; None: all. The earlier of both times is within the span.
        """
        counted = self.slices
        if before_ms is not None:
            counted = counted[: bisect_left(counted, before_ms, key=_start)]
        some = counted[max(bisect_right(counted, until_ms, key=_start) - CONTEXT, 0) :]
        listed = [kept for kept in some if kept.end_ms <= until_ms][-LISTED:]
        if not listed or counted[-1] is not listed[-1]:
            return listed, bool(listed)
        return listed, self.next_ms is not None and (before_ms is None or self.next_ms < before_ms)

    def first(self, time_ms: int) -> KeptSlice | None:
        """The first slice that reaches beyond a time within the span."""
        return next((kept for kept in self.slices if kept.end_ms > time_ms), None)


def block_of(time_ms: int) -> int:
    """The number of the block in which a time is; it begins BLOCK_MS times as many milliseconds after 1970."""
    return time_ms // BLOCK_MS


class Memory(Generic[K, T]):
    """Things that take long to find, as long as they hold; each is looked for once for all who ask meanwhile.

    find: looks for one. lasts_s: how long one holds. size: how much of `size_max` it takes; who was not asked for longest goes.
    """

    def __init__(
        self,
        find: Callable[[K], Awaitable[T]],
        clock: Callable[[], float],
        *,
        lasts_s: Callable[[T], float],
        size: Callable[[T], int],
        size_max: int,
    ) -> None:
        self.size = 0
        self._find = find
        self._clock = clock
        self._lasts_s = lasts_s
        self._size = size
        self._size_max = size_max
        self._held: OrderedDict[K, tuple[T, float]] = OrderedDict()
        self._looking: dict[K, asyncio.Task[T]] = {}

    async def get(self, key: K) -> T:
        """The thing of this key. Raises what `find` does."""
        held = self._held.get(key)
        if held is not None and held[1] > self._clock():
            self._held.move_to_end(key)
            return held[0]
        task = self._looking.get(key)
        if task is None:
            task = self._looking[key] = asyncio.ensure_future(self._look(key))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for what is being looked for: a call of the database that is cancelled may leave its thread behind."""
        await asyncio.gather(*self._looking.values(), return_exceptions=True)

    async def _look(self, key: K) -> T:
        try:
            found = await self._find(key)
        finally:
            del self._looking[key]
        self._drop(key)
        self._held[key] = found, self._clock() + self._lasts_s(found)
        self.size += self._size(found)
        while self.size > self._size_max and len(self._held) > 1:
            self._drop(next(iter(self._held)))
        return found

    def _drop(self, key: K) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self.size -= self._size(held[0])


def _start(kept: KeptSlice) -> int:
    return kept.start_ms
