"""HLS of streams that another worker packs: fetched once, kept, and given to everybody here.

However many ask at once, the other worker is asked once: who comes while a question is under way waits for its answer.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec

from headwater.live.stream import StreamKey

PLAYLIST_FRESH_S = 0.4
"""A playlist is asked for again when it is older. Segments last a second or more, so players notice no delay."""

PLAYLIST_KEPT_S = 5.0
"""A playlist that nobody has asked for in this time is forgotten."""

SEGMENTS_BYTES_MAX = 128 * 1024 * 1024
"""Segments kept: 200 of 5 s at 1 Mbit/s. The worker that packed them has them, too, as long as players may want them."""


class Fetched(msgspec.Struct, frozen=True):
    """Another worker's answer. text: why, if the status is not 200."""

    status: int
    body: bytes
    text: str = ""


Fetch = Callable[[StreamKey, str], Awaitable[Fetched | None]]
"""Asks whichever worker has a stream for what stands under the second argument; None if none has it or can be reached."""


class Playlist(msgspec.Struct, frozen=True):
    """A playlist, plain and gzipped, or the reason why there is none. until: loop time at which it is stale."""

    answer: Fetched
    zipped: bytes
    until: float


class HlsCache:
    """Playlists and segments of other workers."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float]) -> None:
        self.bytes = 0
        self._fetch = fetch
        self._clock = clock
        self._playlists: dict[tuple[StreamKey, str], Playlist] = {}
        self._segments: OrderedDict[tuple[StreamKey, str], bytes] = OrderedDict()
        self._asked: dict[tuple[StreamKey, str], asyncio.Task[Fetched | None]] = {}

    def playlist_at_hand(self, key: StreamKey, query: str) -> Playlist | None:
        """A playlist that is fresh."""
        held = self._playlists.get((key, query))
        return held if held is not None and held.until > self._clock() else None

    async def playlist(self, key: StreamKey, query: str) -> Playlist | None:
        """A playlist that is fresh now, fetched if need be. query: as `HlsOutput.playlist` takes it."""
        held = self.playlist_at_hand(key, query)
        if held is None:
            answer = await self._once(key, f"playlist?{query}")
            if answer is None:
                return None
            held = self.playlist_at_hand(key, query)  # whoever waited with us may have packed it already
            if held is None:
                zipped = gzip.compress(answer.body, compresslevel=6, mtime=0)
                held = Playlist(answer, zipped, self._clock() + PLAYLIST_FRESH_S)
                self._playlists[key, query] = held
        return held

    def segment_at_hand(self, key: StreamKey, name: str) -> bytes | None:
        """A segment that was fetched before. name: `<number>-<word>`."""
        held = self._segments.get((key, name))
        if held is not None:
            self._segments.move_to_end((key, name))
        return held

    async def segment(self, key: StreamKey, name: str) -> bytes | None:
        """A segment's bytes; None if no worker has it."""
        answer = await self._once(key, f"segment?{name}")
        if answer is None or answer.status != 200:
            return None
        held = self.segment_at_hand(key, name)
        if held is None:
            held = self._segments[key, name] = answer.body
            self.bytes += len(held)
            while self.bytes > SEGMENTS_BYTES_MAX and len(self._segments) > 1:
                self.bytes -= len(self._segments.popitem(last=False)[1])
        return held

    def sweep(self) -> None:
        """Forget what nobody asks for any more. To be called about once a second."""
        now = self._clock()
        for name in [name for name, held in self._playlists.items() if held.until + PLAYLIST_KEPT_S < now]:
            del self._playlists[name]
        live = {key for key, _ in self._playlists}
        for held in [held for held in self._segments if held[0] not in live]:
            self.bytes -= len(self._segments.pop(held))

    async def _once(self, key: StreamKey, what: str) -> Fetched | None:
        task = self._asked.get((key, what))
        if task is None:
            task = self._asked[key, what] = asyncio.ensure_future(self._fetch(key, what))
            task.add_done_callback(lambda _: self._asked.pop((key, what), None))
        return await asyncio.shield(task)
