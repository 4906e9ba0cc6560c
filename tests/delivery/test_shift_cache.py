"""The live center is asked once for all who ask alike, and what is kept of its answers is bounded."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from headwater.access.refusal import Refusal
from headwater.access.shift import Question, ShiftAsked, SliceAsked, Span
from headwater.delivery import shift
from headwater.delivery.hls_cache import PLAYLIST_FRESH_S, Fetched
from headwater.delivery.shift import ShiftCache
from support.clock import Clock

QUESTION = Question("play.test", "play.test", "live", "cam", ShiftAsked(offset_ms=1000))


class Center:
    """Answers with what the test says, and counts."""

    def __init__(self) -> None:
        self.answer = Fetched(200, b"#EXTM3U\n")
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def ask(self, path: str, question: bytes) -> Fetched:
        self.asked.append(path)
        await self.open.wait()
        return self.answer


async def test_whoever_comes_while_a_question_is_under_way_gets_its_answer() -> None:
    center, clock = Center(), Clock()
    cache = ShiftCache(center.ask, clock)
    center.open.clear()
    waiting = [asyncio.ensure_future(cache.playlist(QUESTION)) for _ in range(50)]
    await asyncio.sleep(0)
    center.open.set()
    (first, *others) = await asyncio.gather(*waiting)
    assert isinstance(first, tuple)
    assert all(other == first for other in others)
    assert len(center.asked) == 1
    clock.now_s += PLAYLIST_FRESH_S / 2
    await cache.playlist(QUESTION)
    assert len(center.asked) == 1
    clock.now_s += PLAYLIST_FRESH_S
    await cache.playlist(QUESTION)
    await cache.playlist(msgspec.structs.replace(QUESTION, domain="sub.test"))
    assert len(center.asked) == 3


async def test_a_slice_is_fetched_once_and_a_missing_one_asked_for_again() -> None:
    center, clock = Center(), Clock()
    cache = ShiftCache(center.ask, clock)
    asked = SliceAsked("play.test", "live", 1, "0" * 16)
    center.answer = Fetched(404, b"no", "no such slice, or no longer")
    assert await cache.slice(asked) is None
    clock.now_s += 10
    center.answer = Fetched(200, b"G" * 188)
    assert await cache.slice(asked) == b"G" * 188
    clock.now_s += 100_000
    assert await cache.slice(asked) == b"G" * 188
    assert len(center.asked) == 2


async def test_why_there_is_nothing_is_told() -> None:
    center = Center()
    cache = ShiftCache(center.ask, Clock())
    center.answer = Fetched(503, b"", "the live center is not running")
    refused = await cache.playlist(QUESTION)
    assert isinstance(refused, Refusal)
    assert (refused.http_status, refused.text) == (503, "the live center is not running")
    assert isinstance(await cache.timeline(Span("play.test", "play.test", "live", "cam", 0, 1)), Refusal)


async def test_what_is_kept_is_bounded_however_many_ask_for_whatever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "KEPT_BYTES_MAX", 100_000)
    center = Center()
    cache = ShiftCache(center.ask, Clock())
    center.answer = Fetched(404, b"", "nothing is kept of this time")
    for offset_ms in range(1000):
        await cache.playlist(msgspec.structs.replace(QUESTION, asked=ShiftAsked(offset_ms=offset_ms)))
        assert cache.bytes <= 100_000
    assert len(cache._held) < 100
