"""Time shift as a media node serves it: asks the live center once for all who ask alike, and keeps what it says for a while."""

from __future__ import annotations

import asyncio
import gzip
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec

from headwater.access.refusal import Refusal, refuse
from headwater.access.shift import Question, SliceAsked, Span
from headwater.delivery.hls_cache import PLAYLIST_FRESH_S, Fetched

KEPT_BYTES_MAX = 64 * 1024 * 1024
"""Playlists and slices kept: 100 slices of 5 s at 1 Mbit/s. The live center has them on disk."""

ENTRY_BYTES = 1024
"""What an answer takes beside its bytes, so that very many small ones are bounded, too."""

AskCenter = Callable[[str, bytes], Awaitable[Fetched]]
"""Asks the live center: a path, and a question in JSON."""


class Held(msgspec.Struct, frozen=True):
    """An answer of the center's. zipped: of a playlist. until: loop time at which it is stale; slices never are."""

    answer: Fetched
    zipped: bytes
    until: float

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return ENTRY_BYTES + len(self.answer.body) + len(self.zipped)


class ShiftCache:
    """What the center has said, the most lately used of it."""

    def __init__(self, ask: AskCenter, clock: Callable[[], float]) -> None:
        self.bytes = 0
        self._ask = ask
        self._clock = clock
        self._held: OrderedDict[tuple[str, bytes], Held] = OrderedDict()
        self._asked: dict[tuple[str, bytes], asyncio.Task[Fetched]] = {}

    async def playlist(self, question: Question) -> tuple[bytes, bytes] | Refusal:
        """A playlist, plain and gzipped, or why there is none."""
        held = await self._get("/shift/playlist", msgspec.json.encode(question), fresh_s=PLAYLIST_FRESH_S)
        return (held.answer.body, held.zipped) if held.answer.status == 200 else _refusal(held.answer)

    async def timeline(self, span: Span) -> list[tuple[int, int]] | Refusal:
        """The ranges in a span of which slices are kept, in unix milliseconds, or why none can be told."""
        held = await self._get("/shift/timeline", msgspec.json.encode(span), fresh_s=PLAYLIST_FRESH_S)
        if held.answer.status != 200:
            return _refusal(held.answer)
        return msgspec.json.decode(held.answer.body, type=list[tuple[int, int]])

    async def slice(self, asked: SliceAsked) -> bytes | None:
        """The bytes of a slice; None if there is none of this address."""
        held = await self._get("/shift/slice", msgspec.json.encode(asked), fresh_s=None)
        return held.answer.body if held.answer.status == 200 else None

    async def _get(self, path: str, body: bytes, *, fresh_s: float | None) -> Held:
        """fresh_s: how long the answer holds, None for ever if it is a good one."""
        key = path, body
        held = self._held.get(key)
        if held is not None and held.until > self._clock():
            self._held.move_to_end(key)
            return held
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.ensure_future(self._ask(path, body))
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        answer = await asyncio.shield(task)
        held = self._held.get(key)
        if held is None or held.answer is not answer:  # whoever waited with us may have kept it already
            held = self._keep(key, answer, fresh_s)
        return held

    def _keep(self, key: tuple[str, bytes], answer: Fetched, fresh_s: float | None) -> Held:
        self._drop(key)
        lasts = fresh_s is None and answer.status == 200
        zipped = b"" if lasts else gzip.compress(answer.body, compresslevel=6, mtime=0)
        held = Held(answer, zipped, float("inf") if lasts else self._clock() + (fresh_s or PLAYLIST_FRESH_S))
        self._held[key] = held
        self.bytes += held.bytes
        while self.bytes > KEPT_BYTES_MAX and len(self._held) > 1:
            self._drop(next(iter(self._held)))
        return held

    def _drop(self, key: tuple[str, bytes]) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self.bytes -= held.bytes


def _refusal(answer: Fetched) -> Refusal:
    return refuse("not_found", answer.text, answer.status)
