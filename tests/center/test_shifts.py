"""Time shift keeps what a stream was, plays it as it was, and forgets it when its days are over."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import httpx
import msgspec
import pytest
from sqlalchemy import event, func, select
from starlette.applications import Starlette

from headwater.access import presence
from headwater.access.names import split_query
from headwater.access.plan import Plan, Rendition, Shift
from headwater.access.presence import StreamPresence
from headwater.access.shift import Question, SliceAsked, Span, parse
from headwater.center.department import Center
from headwater.center.shift.index import BLOCK_MS, HOLDS_S, Memory
from headwater.center.shift.job import found, prepare, slice_name, write
from headwater.center.shift.playlist import ranges
from headwater.center.shift.slicer import Cut
from headwater.center.shift.spec import ShiftSpec, SliceMade
from headwater.center.shifts import Refused, Shifts
from headwater.center.uploads import Uploads
from headwater.cluster.embedded import EmbeddedCluster
from headwater.settings import Settings
from headwater.store.database import Database
from headwater.store.models import Account, Domain, MediaSlice, ShiftStream, Upload
from headwater.store.objects import ObjectStores
from support.clock import Clock
from support.databases import prepared
from support.m3u8 import Playlist, check_follows
from support.m3u8 import parse as parse_playlist

PLAY, SUB = "play.test", "sub.test"
NOW_S = 1_700_000_000
START_MS = NOW_S * 1000
SLICE_MS = 5000
DAY_S = 86_400


class World:
    """The department with all that it works on, but without jobs: the test makes the slices."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.database = database
        self.clock = Clock(NOW_S)
        self.cluster = EmbeddedCluster()
        self.settings = Settings(data_dir=str(folder))
        self.objects = ObjectStores(self.settings)
        self.plans = {PLAY: Plan(PLAY, "a", "eu", shifts=(Shift("*", "*", 7, 5, True),))}
        self.spool = folder / "spool"
        self.uploads = Uploads(database, self.objects, "n1", now_s=self.clock)
        center = SimpleNamespace(
            node="n1",
            settings=self.settings,
            database=database,
            cluster=self.cluster,
            spool=self.spool,
            objects=self.objects,
            uploads=self.uploads,
            plan=lambda domain: self.plans.get(domain) or Plan(domain, "", ""),
        )
        self.steady = Clock(0)
        self.shifts = Shifts(cast(Center, center), self.clock, self.steady)
        transport = httpx.ASGITransport(Starlette(routes=self.shifts.routes))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://center")
        self.made = 0

    def spec(self, stream: str = "cam", template: str = "", days: int = 7) -> ShiftSpec:
        name = f"{stream}_{template}" if template else stream
        return ShiftSpec(PLAY, "live", stream, template, name, 5, days, f"shift/{name}")

    async def slices(
        self, count: int, *, at_ms: int = START_MS, spec: ShiftSpec | None = None, duration_ms: int = SLICE_MS
    ) -> None:
        """One publisher's slices from a time on."""
        spec = spec or self.spec()
        prepare(self.spool / spec.folder, spec)
        for number in range(count):
            data = f"{spec.name} slice {self.made}".encode()
            self.made += 1
            cut = Cut(at_ms + number * duration_ms, duration_ms, number == 0, data)
            path = self.spool / spec.folder / slice_name(cut)
            digest = write(path, data)
            made = SliceMade(spec, str(path), cut.start_ms, duration_ms, cut.broken, len(data), digest)
            await self.shifts.told("job", msgspec.Raw(msgspec.json.encode(made)))
        self.steady.now_s += HOLDS_S

    async def text(self, query: str, *, name: str = "cam", domain: str = PLAY) -> str:
        """The playlist that a URL's query gets. Raises Refused."""
        asked = parse(split_query(f"?aliyunols=on&{query}")[1])
        assert asked is not None
        question = Question(domain, PLAY, "live", name, asked, f"aliyunols=on&{query}", "")
        return (await self.shifts.playlist(question)).decode()

    async def playlist(self, query: str, **more: str) -> Playlist:
        return parse_playlist(await self.text(query, **more), "http://play.test/live/cam.m3u8")

    async def fetch(self, url: str) -> tuple[int, bytes]:
        """A slice by its address."""
        number, word = url.rpartition("/")[2].removesuffix(".ts").rsplit("-", 2)[1:]
        asked = SliceAsked(PLAY, "live", int(number.removeprefix("t")), word)
        answer = await self.client.get(f"/shift/slice?{quote(msgspec.json.encode(asked))}")
        return answer.status_code, answer.content

    async def live(self, *, on: bool) -> None:
        item = StreamPresence(PLAY, "live", "cam", "s", "push.test", "rtmp://push.test/live/cam", 1.0, "a", "b", "n1", 0)
        key = presence.stream_key(PLAY, "live", "cam")
        await (self.cluster.put(key, presence.encode(item)) if on else self.cluster.delete(key))

    async def stored(self) -> None:
        """All slices are in the store."""
        self.uploads.start()
        async with asyncio.timeout(10):
            while await self.count(Upload):
                await asyncio.sleep(0.01)
        await self.uploads.close()

    async def count(self, table: Any) -> int:
        async with self.database.read() as session:
            return await session.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = await Database.open(prepared(tmp_path))
    async with database.write() as session:
        session.add(Account(id="a", name="a", created_s=1.0))
        await session.flush()
        session.add(
            Domain(
                name=PLAY,
                account="a",
                type="liveVideo",
                region="eu",
                scope="overseas",
                status="online",
                created_s=1.0,
                modified_s=1.0,
                cname="",
                description="",
                resource_group_id="",
            )
        )
    world = World(tmp_path, database)
    yield world
    await world.client.aclose()
    await world.shifts.close()
    await world.cluster.close()
    await database.close()


async def anchored(world: World, query: str) -> str:
    """The query to which a start leads."""
    lines = (await world.text(query)).splitlines()
    assert lines[:2] == ["#EXTM3U", "#EXT-X-VERSION:3"]
    assert lines[2].startswith("#EXT-X-STREAM-INF:BANDWIDTH=")
    assert lines[3].startswith("cam.m3u8?aliyunols=on&")
    return lines[3].removeprefix("cam.m3u8?aliyunols=on&")


def starts(playlist: Playlist) -> list[int]:
    """The slices that are listed, by their numbers from 1."""
    return [segment.sequence for segment in playlist.segments]


async def test_a_range_is_listed_at_once_and_every_slice_can_be_fetched_before_and_after_it_is_stored(world: World) -> None:
    await world.slices(10)
    world.clock.now_s = NOW_S + 100
    query = f"lhs_start_unix_s_0={NOW_S + 7}&lhs_vodend_unix_s_0={NOW_S + 30}"
    text = await world.text(query)
    assert "#EXT-X-PLAYLIST-TYPE:VOD\n" in text
    assert "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:25.000Z\n" in text
    playlist = await world.playlist(query)
    assert playlist.ended
    assert starts(playlist) == [2, 3, 4, 5, 6]
    first = playlist.segments[0].url
    assert await world.fetch(first) == (200, b"cam slice 1")
    await world.stored()
    assert [(await world.fetch(segment.url))[1] for segment in playlist.segments] == [b"cam slice %d" % n for n in range(1, 6)]
    assert list(world.spool.rglob("*.ts")) == []
    assert (await world.fetch(first.replace("-t2-", "-t3-")))[0] == 404, "the word belongs to another slice"
    assert (await world.fetch(first.replace("-t2-", "-t99-")))[0] == 404
    assert await world.text(query) == text


async def test_from_a_start_on_it_is_live_with_a_delay(world: World) -> None:
    await world.slices(40)
    await world.live(on=True)
    world.clock.now_s = NOW_S + 200
    query = await anchored(world, f"lhs_start_unix_s_0={NOW_S + 52}")
    assert query == "lhs_offset_unix_ms_0=148000"
    before = await world.playlist(query)
    for second in range(1, 40):
        world.clock.now_s = NOW_S + 200 + second
        after = await world.playlist(query)
        check_follows(before, after)
        before = after
        place_ms = START_MS + (52 + second) * 1000
        playing = (place_ms - START_MS) // SLICE_MS + 1
        assert playing in starts(after)
        assert not after.ended
        # players begin three target durations before the end
        from_end_s = START_MS / 1000 + after.segments[-1].sequence * 5 - 3 * after.target_s
        assert place_ms / 1000 - 5 < from_end_s <= place_ms / 1000


async def test_a_start_in_a_pause_or_before_everything_begins_with_the_first_slice_after_it(world: World) -> None:
    await world.slices(4)
    await world.slices(4, at_ms=START_MS + 600_000)
    world.clock.now_s = NOW_S + 1000
    for asked_s, begins_s in ((NOW_S - 3600, NOW_S), (NOW_S + 300, NOW_S + 600)):
        query = await anchored(world, f"lhs_start_unix_s_0={asked_s}")
        assert query == f"lhs_offset_unix_ms_0={(NOW_S + 1000 - begins_s) * 1000}"
    with pytest.raises(Refused, match="nothing is kept from this time on"):
        await world.text(f"lhs_start_unix_s_0={NOW_S + 900}")


async def test_a_pause_is_played_as_a_pause_and_marked_and_the_end_of_all_is_an_end(world: World) -> None:
    await world.slices(4)
    await world.slices(4, at_ms=START_MS + 60_000)
    await world.live(on=True)
    query = "lhs_offset_unix_s_0=1000"
    seen = []
    for second in range(20, 120, 5):
        world.clock.now_s = NOW_S + 1000 + second
        seen.append(await world.playlist(query))
    for before, after in itertools.pairwise(seen):
        check_follows(before, after)
    assert starts(seen[4]) == [1, 2, 3, 4], "during the pause"
    assert seen[-1].segments[0].discontinuity
    assert (starts(seen[-1]), seen[-1].discontinuity_sequence, seen[-1].ended) == ([5, 6, 7, 8], 1, False)
    await world.live(on=False)
    assert (await world.playlist(query)).ended


async def test_a_window_is_right_wherever_blocks_of_memory_begin_and_end(world: World) -> None:
    first_ms = START_MS // BLOCK_MS * BLOCK_MS - 22_000  # a window that ends in the next block lists slices of this one
    begins_ms = [first_ms, first_ms + BLOCK_MS, first_ms + 4 * BLOCK_MS]  # the last after a pause that has empty blocks
    for begin_ms in begins_ms:
        await world.slices(9, at_ms=begin_ms)
    await world.live(on=True)
    ends_ms = [begin_ms + number * SLICE_MS for begin_ms in begins_ms for number in range(1, 10)]
    now_ms = ends_ms[-1] + 3600_000
    world.clock.now_s = now_ms / 1000
    statements: list[str] = []
    event.listen(world.database._engine.sync_engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    for place_ms in [at_ms + off_ms for at_ms in ends_ms for off_ms in (-15_001, -15_000, 60_000, BLOCK_MS, 2 * BLOCK_MS)]:
        for end_ms in (None, begins_ms[1] + 1, begins_ms[2]):
            complete = [
                number
                for number, ended_ms in enumerate(ends_ms, 1)
                if ended_ms <= place_ms + 15_000 and (end_ms is None or ended_ms - SLICE_MS < end_ms)
            ]
            query = f"lhs_offset_unix_ms_0={now_ms - place_ms}" + (f"&lhs_end_unix_ms_0={end_ms}" if end_ms else "")
            if complete:
                assert starts(await world.playlist(query)) == complete[-4:]
            else:
                with pytest.raises(Refused):
                    await world.text(query)
    for at_ms in range(begins_ms[0], ends_ms[-1], 7001):
        expected_ms = next(ended_ms - SLICE_MS for ended_ms in ends_ms if ended_ms > at_ms)
        query = await anchored(world, f"lhs_start_unix_ms_0={at_ms}")
        assert query == f"lhs_offset_unix_ms_0={now_ms - max(expected_ms, at_ms)}"
    slices = [statement for statement in statements if "media_slices" in statement]
    assert 0 < len(slices) <= 10, "each block is read once, whoever asks"


async def test_memory_forgets_what_was_not_asked_for_longest_and_looks_once_for_all_who_ask_at_once() -> None:
    looked: list[int] = []
    clock = Clock(0)

    async def find(key: int) -> int:
        looked.append(key)
        await asyncio.sleep(0)
        if key < 0:
            raise LookupError
        return key

    memory: Memory[int, int] = Memory(find, clock, lasts_s=lambda _: 5, size=lambda found: found, size_max=10)
    assert await asyncio.gather(*(memory.get(4) for _ in range(9))) == [4] * 9
    assert [await memory.get(key) for key in (5, 4, 3, 4, 3)] == [5, 4, 3, 4, 3]
    assert (looked, memory.size) == ([4, 5, 3], 7), "5 was not asked for longest"
    clock.now_s = 5
    assert [await memory.get(key) for key in (3, 4, 20)] == [3, 4, 20]
    assert (looked, memory.size) == ([4, 5, 3, 3, 4, 20], 20), "what is larger than all is kept alone"
    for _ in range(2):
        with pytest.raises(LookupError):
            await memory.get(-1)
    assert looked[-2:] == [-1, -1], "a failure is not remembered"
    await memory.close()


async def test_with_an_end_it_is_live_until_then(world: World) -> None:
    await world.slices(40)
    await world.live(on=True)
    world.clock.now_s = NOW_S + 300
    query = await anchored(world, f"lhs_start_unix_s_0={NOW_S}&lhs_end_unix_s_0={NOW_S + 42}")
    playlist = await world.playlist(query)
    assert (starts(playlist), playlist.ended) == ([1, 2, 3], False)
    world.clock.now_s += 60
    playlist = await world.playlist(query)
    assert (starts(playlist), playlist.ended) == ([6, 7, 8, 9], True)


async def test_an_offset_beyond_what_is_kept_is_refused(world: World) -> None:
    await world.slices(4)
    world.clock.now_s = NOW_S + 20
    with pytest.raises(Refused, match="nothing is kept of this time"):
        await world.text("lhs_offset_unix_s_0=3600")
    with pytest.raises(Refused, match="nothing is kept of this time"):
        await world.text(f"lhs_start_unix_s_0={NOW_S - 100}&lhs_vodend_unix_s_0={NOW_S - 50}")
    with pytest.raises(Refused, match="nothing is kept of this stream"):
        await world.text("lhs_offset_unix_s_0=10", name="other")


async def test_a_sub_streaming_domain_and_a_rendition_play_only_where_it_is_on_for_them(world: World) -> None:
    await world.slices(4)
    await world.slices(4, spec=world.spec(template="sd"))
    await world.slices(4, spec=world.spec("a_b", "hd_x"))
    world.clock.now_s = NOW_S + 20
    query = f"lhs_start_unix_s_0={NOW_S}&lhs_vodend_unix_s_0={NOW_S + 20}"
    for name in ("cam_sd", "a_b_hd_x"):
        playlist = await world.playlist(query, name=name)
        assert (await world.fetch(playlist.segments[0].url))[1].startswith(name.encode())
    with pytest.raises(Refused, match="time shift is not on"):
        await world.text(query, domain=SUB)
    world.plans[SUB] = Plan(SUB, "a", "eu", shifts=(Shift("live", "cam", 1),))
    assert starts(await world.playlist(query, domain=SUB)) == [1, 2, 3, 4]
    with pytest.raises(Refused, match="time shift is not on"):
        await world.text(query, domain=SUB, name="cam_sd")


async def test_the_timeline_tells_what_is_kept(world: World) -> None:
    await world.slices(4)
    await world.slices(4, at_ms=START_MS + 22_000)
    await world.slices(4, at_ms=START_MS + 100_000)

    async def timeline(start_ms: int, end_ms: int, name: str = "cam") -> tuple[int, Any]:
        span = Span(PLAY, PLAY, "live", name, start_ms, end_ms)
        answer = await world.client.get(f"/shift/timeline?{quote(msgspec.json.encode(span))}")
        return answer.status_code, answer.json() if answer.status_code == 200 else answer.text

    whole = [[START_MS, START_MS + 42_000], [START_MS + 100_000, START_MS + 120_000]]
    assert await timeline(START_MS - 60_000, START_MS + 600_000) == (200, whole)
    assert (await timeline(START_MS + 7000, START_MS + 101_000))[1] == [
        [START_MS + 7000, whole[0][1]],
        [whole[1][0], START_MS + 101_000],
    ]
    assert await timeline(START_MS + 50_000, START_MS + 60_000) == (200, [])
    assert await timeline(START_MS, START_MS + 1, "other") == (404, "nothing is kept of this stream")


def test_ranges_join_what_touches() -> None:
    assert ranges([(0, 10), (12, 20), (5000, 6000)], 5, 5500) == [(5, 20), (5000, 5500)]
    assert ranges([], 0, 10) == []


async def test_slices_go_when_their_days_are_over_first_from_the_store_and_numbers_go_on(world: World) -> None:
    await world.slices(3)
    await world.stored()
    await world.slices(2, at_ms=START_MS + 86_400_000)
    world.clock.now_s = NOW_S + 7 * DAY_S
    assert await world.shifts.purge() == 0
    world.clock.now_s += 60
    assert await world.shifts.purge() == 3
    assert [path.name for path in Path(world.settings.data_dir, "objects").rglob("*.ts")] == []
    query = f"lhs_start_unix_s_0={NOW_S + DAY_S}&lhs_vodend_unix_s_0={NOW_S + DAY_S + 60}"
    assert starts(await world.playlist(query)) == [4, 5]
    world.clock.now_s += 2 * DAY_S
    assert await world.shifts.purge() == 2
    assert await world.count(Upload) == 0
    assert list(world.spool.rglob("*.ts")) == []
    await world.slices(1, at_ms=START_MS + 9 * 86_400_000)
    query = f"lhs_start_unix_s_0={NOW_S + 9 * DAY_S}&lhs_vodend_unix_s_0={NOW_S + 9 * DAY_S + 60}"
    assert starts(await world.playlist(query)) == [6]


async def test_the_slices_of_a_deleted_domain_go_at_once(world: World) -> None:
    await world.slices(3)
    await world.stored()
    async with world.database.write() as session:
        domain = await session.get(Domain, PLAY)
        assert domain is not None
        await session.delete(domain)
    world.clock.now_s = NOW_S + 60
    assert await world.shifts.purge() == 3
    assert (await world.count(MediaSlice), await world.count(ShiftStream)) == (0, 0)


async def test_slices_that_nobody_noted_down_are_taken_up_at_the_next_start(world: World) -> None:
    spec = world.spec()
    await world.slices(2)
    folder = world.spool / spec.folder
    for number in (3, 2):
        write(folder / slice_name(Cut(START_MS + number * SLICE_MS, SLICE_MS, False, b"")), b"left %d" % number)
    (folder / "123-x.ts").write_bytes(b"no slice")
    await world.shifts.start()
    await world.shifts.close()
    await world.shifts.start()
    world.clock.now_s = NOW_S + 30
    playlist = await world.playlist(f"lhs_start_unix_s_0={NOW_S}&lhs_vodend_unix_s_0={NOW_S + 20}")
    assert starts(playlist) == [1, 2, 3, 4]
    assert await world.fetch(playlist.segments[3].url) == (200, b"left 3")
    made = found(folder)
    assert [one.sha256 for one in made][2] == hashlib.sha256(b"left 2").hexdigest()


async def test_the_spool_forgets_streams_that_have_nothing_left_to_store(world: World) -> None:
    gone, waiting = world.spool / "shift" / "gone", world.spool / "shift" / "waiting"
    for folder in (gone, waiting):
        prepare(folder, world.spec())
    write(waiting / slice_name(Cut(START_MS, SLICE_MS, False, b"")), b"left")
    await world.shifts.start()
    assert not gone.exists()
    assert len(found(waiting)) == 1


def test_jobs_are_of_streams_and_renditions_that_a_rule_names(world: World) -> None:
    item = StreamPresence(PLAY, "live", "cam", "s", "push.test", "rtmp://push.test/live/cam", 1.0, "a", "b", "n1", 0)
    every = Plan(PLAY, "a", "eu", shifts=(Shift("live", "*", 3, 10, True),), renditions=(Rendition("live", "sd"),))

    def jobs(plan: Plan, stream: StreamPresence = item) -> list[str]:
        return [wanted.id for wanted in world.shifts.wanted(stream, plan, {"sd": 1.0})]

    assert jobs(every) == ["play.test/live/cam", "play.test/live/cam_sd"]
    assert [wanted.template for wanted in world.shifts.wanted(item, every, {"sd": 1.0})] == ["", "sd"]
    assert list(world.shifts.needs(item, every)) == ["sd"]
    source = msgspec.structs.replace(every, shifts=(Shift("*", "*"),))
    assert (jobs(source), list(world.shifts.needs(item, source))) == (["play.test/live/cam"], [])
    assert jobs(every, msgspec.structs.replace(item, stream="cam-alidelay")) == []
    assert jobs(msgspec.structs.replace(every, shifts=(Shift("live", "b"),))) == []
    spec = msgspec.json.decode(world.shifts.wanted(item, every, {})[0].spec, type=ShiftSpec)
    assert (spec.slice_s, spec.days, spec.name) == (10, 3, "cam")
