"""However many ask for another worker's HLS at once, that worker is asked once."""

from __future__ import annotations

import asyncio
import gzip

from headwater.delivery.hls_cache import PLAYLIST_FRESH_S, PLAYLIST_KEPT_S, SEGMENTS_BYTES_MAX, Fetched, HlsCache
from headwater.live.stream import StreamKey

KEY = StreamKey("play.test", "live", "cam")


class Owner:
    """The worker that is asked, and the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self.answers: dict[str, Fetched | None] = {}
        self.cache = HlsCache(self.fetch, lambda: self.now)

    async def fetch(self, key: StreamKey, what: str) -> Fetched | None:
        self.asked.append(what)
        await asyncio.sleep(0)
        return self.answers.get(what)


async def test_a_playlist_is_fetched_once_for_all_and_again_when_it_is_stale() -> None:
    owner = Owner()
    owner.answers["playlist?"] = Fetched(200, b"#EXTM3U")
    got = await asyncio.gather(*(owner.cache.playlist(KEY, "") for _ in range(50)))
    assert owner.asked == ["playlist?"]
    assert {(each.answer.body, gzip.decompress(each.zipped)) for each in got if each is not None} == {(b"#EXTM3U", b"#EXTM3U")}
    assert await owner.cache.playlist(KEY, "") is got[0]
    owner.now += PLAYLIST_FRESH_S + 0.01
    assert owner.cache.playlist_at_hand(KEY, "") is None
    await owner.cache.playlist(KEY, "")
    assert len(owner.asked) == 2


async def test_a_segment_is_fetched_once_and_kept() -> None:
    owner = Owner()
    owner.answers["segment?7-ab"] = Fetched(200, b"media")
    assert set(await asyncio.gather(*(owner.cache.segment(KEY, "7-ab") for _ in range(50)))) == {b"media"}
    assert owner.cache.segment_at_hand(KEY, "7-ab") == b"media"
    assert len(owner.asked) == 1


async def test_what_nobody_has_is_not_remembered() -> None:
    owner = Owner()
    owner.answers["segment?8-ab"] = Fetched(404, b"no such segment")
    assert await owner.cache.segment(KEY, "8-ab") is None
    assert await owner.cache.segment(KEY, "9-ab") is None
    assert await owner.cache.playlist(KEY, "") is None
    assert owner.cache.bytes == 0


async def test_a_failed_question_fails_for_those_who_wait_and_the_next_one_asks_anew() -> None:
    owner = Owner()
    assert await asyncio.gather(*(owner.cache.playlist(KEY, "") for _ in range(3))) == [None] * 3
    owner.answers["playlist?"] = Fetched(200, b"#EXTM3U")
    assert await owner.cache.playlist(KEY, "") is not None


async def test_memory_is_bounded_and_given_back() -> None:
    owner = Owner()
    size = SEGMENTS_BYTES_MAX // 4
    owner.answers["playlist?"] = Fetched(200, b"#EXTM3U")
    await owner.cache.playlist(KEY, "")
    for number in range(6):
        owner.answers[f"segment?{number}-ab"] = Fetched(200, bytes(size))
        await owner.cache.segment(KEY, f"{number}-ab")
    assert owner.cache.bytes <= SEGMENTS_BYTES_MAX
    assert owner.cache.segment_at_hand(KEY, "0-ab") is None
    assert owner.cache.segment_at_hand(KEY, "5-ab") is not None
    owner.now += PLAYLIST_FRESH_S + PLAYLIST_KEPT_S + 1
    owner.cache.sweep()
    assert owner.cache.bytes == 0
