"""Promises about live, past and forbidden streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from headwater.access import presence
from headwater.access.policy import KICK_SUBJECT, Ban, Kick, decode_kick
from headwater.access.presence import StreamPresence, stream_key
from headwater.domains import rules, streams
from headwater.domains.errors import DomainError
from headwater.domains.streams import Page, PublishRecord
from headwater.settings import Domains, Ownership
from support.domain_world import EXEMPT, PLAY, PUSH, World, world_with


def live(stream: str = "a", app: str = "live", session: str = "s1", at: float = 1_700_000_000.0, **more: Any) -> StreamPresence:
    return StreamPresence(
        PLAY, app, stream, session, PUSH, f"rtmp://{PUSH}/{app}/{stream}", at, "192.0.2.1", "192.0.2.9", "n1", 0, **more
    )


async def show(world: World, item: StreamPresence) -> None:
    await world.cluster.put(stream_key(item.domain, item.app, item.stream), presence.encode(item))


async def hide(world: World, item: StreamPresence) -> None:
    await world.cluster.delete(stream_key(item.domain, item.app, item.stream))


async def history(world: World, **more: Any) -> list[PublishRecord]:
    start_s = 1_700_000_000.0
    page: Page[PublishRecord] = await world.streams.publish_history(world.account, PLAY, start_s, start_s + 86400, **more)
    return page.items


async def until(check: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    async with asyncio.timeout(10):
        while not await check():
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def recorder(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.streams.run_history())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def code(call: Coroutine[Any, Any, object]) -> str:
    with pytest.raises(DomainError) as fault:
        await call
    return fault.value.code


# Live


async def test_the_online_list_filters_and_pages(world: World) -> None:
    await world.pair()
    for app, stream in (("live", "a"), ("live", "ab"), ("other", "a")):
        await show(world, live(stream, app, f"{app}-{stream}"))
    await world.cluster.put(f"stream/{PLAY}.evil.test/live/a", presence.encode(live()))
    await world.cluster.put(f"stream/{PLAY}/live/broken", b"x")

    async def names(**filters: Any) -> list[str]:
        return [f"{i.app}/{i.stream}" for i in (await world.streams.online_streams(world.account, PLAY, **filters)).items]

    assert await names() == ["live/a", "live/ab", "other/a"]
    assert await names(stream="a", strict=True) == ["live/a", "other/a"]
    assert await names(app="ive", stream="b") == ["live/ab"]
    page = await world.streams.online_streams(world.account, PLAY, page_number=2, page_size=2)
    assert ([item.app for item in page.items], page.total) == (["other"], 3)


async def test_lists_are_for_streaming_domains(world: World) -> None:
    await world.pair()
    assert await code(world.streams.online_streams(world.account, PUSH)) == "IllegalOperation"
    assert await code(world.streams.blocked_streams(world.account, PUSH)) == "IllegalOperation"
    assert await code(world.streams.publish_history(world.account, PUSH, 0, 1)) == "IllegalOperation"


# History


async def test_every_push_is_recorded_from_start_to_stop(world: World) -> None:
    await world.pair()
    async with recorder(world):
        await show(world, live())
        await until(lambda: _count(world, 1))
        await show(world, live(video_kbps=900))  # news of the same push
        world.now_s += 60
        await show(world, live(session="s2", at=world.now_s))
        await until(lambda: _count(world, 2))
        world.now_s += 60
        await hide(world, live())
        await until(lambda: _closed(world))
    first, second = await history(world)
    assert first == PublishRecord(
        "s1", PLAY, "live", "a", PUSH, f"rtmp://{PUSH}/live/a", "192.0.2.1", "192.0.2.9", "n1", 1_700_000_000.0, 1_700_000_060.0
    )
    assert (second.session, second.started_s, second.stopped_s) == ("s2", 1_700_000_060.0, 1_700_000_120.0)


async def test_what_the_center_makes_is_in_the_history_and_counts_as_no_push(world: World) -> None:
    await world.pair()
    made = live("a_lld-ll", session="m1", source="a", template="lld-ll")
    async with recorder(world):
        await show(world, live())
        await show(world, made)
        await until(lambda: _count(world, 2, made=None))
        [rendition] = await history(world, made=True)
        assert (rendition.stream, rendition.template, rendition.made, rendition.stopped_s) == ("a_lld-ll", "lld-ll", True, None)
        [push] = await history(world)
        assert (push.session, push.template, push.made) == ("s1", "", False)
        await hide(world, made)
        await until(lambda: _closed(world, made=True))
    assert not await _closed(world)


async def _count(world: World, count: int, **more: Any) -> bool:
    return len(await history(world, **more)) == count


async def _closed(world: World, **more: Any) -> bool:
    return all(row.stopped_s is not None for row in await history(world, **more))


async def test_pushes_that_ended_while_nobody_watched_are_closed_at_the_start(world: World) -> None:
    await world.pair()
    await show(world, live("gone", session="s1"))
    await show(world, live("stays", session="s2"))
    async with recorder(world):
        await until(lambda: _count(world, 2))
    await hide(world, live("gone"))
    world.now_s += 30

    async def closed() -> bool:
        return any(row.stopped_s is not None for row in await history(world))

    async with recorder(world):
        await until(closed)
    assert {row.stream: row.stopped_s for row in await history(world)} == {"gone": world.now_s, "stays": None}


async def test_a_push_to_a_domain_that_was_just_deleted_is_not_recorded(world: World) -> None:
    await world.pair()
    await world.domains.delete(world.account, PLAY, actor=world.actor)
    await show(world, live("early"))
    await world.cluster.put(f"stream/{PLAY}/live/broken", b"x")
    async with recorder(world):
        await world.domains.add(world.account, PLAY, "liveVideo", "eu-central-1", actor=world.actor)
        await until(lambda: _settled(world))
    assert [row.stream for row in await history(world)] in (["late"], ["early", "late"])


async def _settled(world: World) -> bool:
    await show(world, live("late", session="s9"))
    return any(row.stream == "late" for row in await history(world))


async def test_history_is_ordered_filtered_and_bounded(world: World) -> None:
    await world.pair()
    start = world.now_s
    async with recorder(world):
        for i, stream in enumerate(("b", "a", "ab")):
            await show(world, live(stream, session=stream, at=start + i))
        await until(lambda: _count(world, 3))

    async def names(**more: Any) -> list[str]:
        return [row.stream for row in await history(world, **more)]

    assert await names() == ["b", "a", "ab"]
    assert await names(order="publish_time_desc") == ["ab", "a", "b"]
    assert await names(order="stream_name_asc") == ["a", "ab", "b"]
    assert await names(order="stream_name_desc") == ["b", "ab", "a"]
    assert await names(stream="a") == ["a", "ab"]
    assert await names(stream="a", strict=True) == ["a"]
    assert await names(app="none") == []
    assert await names(page_number=2, page_size=2) == ["ab"]
    ask = world.streams.publish_history
    assert [row.stream for row in (await ask(world.account, PLAY, start + 1, start + 1.5)).items] == ["a"]
    assert await code(ask(world.account, PLAY, start, start)) == "InvalidEndTime.Mismatch"
    assert await code(ask(world.account, PLAY, start, start + 30 * 86400 + 1)) == "InvalidTimeSpan"


# Bans


async def test_a_forbidden_stream_is_banned_for_six_months_and_can_be_resumed(world: World) -> None:
    await world.pair()
    await world.streams.forbid_stream(world.account, PUSH, "live", "a", actor=world.actor)
    ban = Ban(PLAY, "live", "a", world.now_s + streams.BAN_DEFAULT_S)
    assert await world.bans() == [ban]
    assert (await world.streams.blocked_streams(world.account, PLAY)).items == [ban]
    await world.streams.resume_stream(world.account, PUSH, "live", "a", actor=world.actor)
    assert await world.bans() == []
    assert (await world.streams.blocked_streams(world.account, PLAY)).total == 0
    await world.streams.resume_stream(world.account, PUSH, "live", "a", actor=world.actor)


async def test_a_ban_ends_at_its_resume_time(world: World) -> None:
    await world.pair()
    resume = rules.format_time(world.now_s + 60)
    await world.streams.forbid_stream(world.account, PLAY, "live", "a", resume_time=resume, actor=world.actor)
    again = world.streams.forbid_stream(world.account, PUSH, "live", "a", actor=world.actor)
    assert await code(again) == "ConfigAlreadyExists"
    world.now_s += 60
    assert (await world.streams.blocked_streams(world.account, PLAY)).total == 0
    await world.streams.forbid_stream(world.account, PUSH, "live", "a", actor=world.actor)
    assert [ban.until_s for ban in await world.bans()] == [world.now_s + streams.BAN_DEFAULT_S]


@pytest.mark.parametrize("resume_time", ["tomorrow", "2020-01-01T00:00:00Z"])
async def test_a_resume_time_must_be_a_time_to_come(world: World, resume_time: str) -> None:
    await world.pair()
    call = world.streams.forbid_stream(world.account, PUSH, "live", "a", resume_time=resume_time, actor=world.actor)
    assert await code(call) == "InvalidResumeTime.Malformed"


async def test_oneshot_cuts_without_a_ban(world: World) -> None:
    await world.pair()
    kicks = world.cluster.subscribe(KICK_SUBJECT)
    await world.streams.forbid_stream(world.account, PUSH, "live", "a", oneshot=True, actor=world.actor)
    assert decode_kick((await anext(kicks)).payload) == Kick(PLAY, "live", "a")
    assert await world.bans() == []


async def test_resume_may_name_every_app(world: World) -> None:
    await world.pair()
    for app, stream in (("one", "a"), ("two", "a"), ("two", "b")):
        await world.streams.forbid_stream(world.account, PUSH, app, stream, actor=world.actor)
    await world.streams.resume_stream(world.account, PUSH, "*", "a", actor=world.actor)
    assert [(ban.app, ban.stream) for ban in await world.bans()] == [("two", "b")]


async def test_the_ban_list_pages_and_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.pair()
    monkeypatch.setattr(streams, "BANS_MAX", 3)
    for stream in ("a", "b", "c"):
        await world.streams.forbid_stream(world.account, PUSH, "live", stream, actor=world.actor)
    page = await world.streams.blocked_streams(world.account, PLAY, page_number=2, page_size=2)
    assert ([ban.stream for ban in page.items], page.total) == (["c"], 3)
    call = world.streams.forbid_stream(world.account, PUSH, "live", "d", actor=world.actor)
    assert await code(call) == "QuotaExceeded.Blacklist"


async def test_what_cannot_be_forbidden_is_refused(world: World) -> None:
    await world.pair()
    forbid, resume, account, actor = world.streams.forbid_stream, world.streams.resume_stream, world.account, world.actor
    assert await code(forbid(account, PUSH, "*", "a", actor=actor)) == "InvalidAppName"
    assert await code(forbid(account, PUSH, "live", "a/b", actor=actor)) == "InvalidStreamName"
    assert await code(forbid(account, PUSH, "live", "a", stream_type="player", actor=actor)) == "InvalidLiveStreamType"
    assert await code(resume(account, PUSH, "live", "a", stream_type="player", actor=actor)) == "InvalidLiveStreamType"
    await world.services.bindings.unmap(account, PUSH, PLAY, actor=actor)
    assert await code(forbid(account, PUSH, "live", "a", actor=actor)) == "IllegalOperation"


# Clearing up


async def test_ended_bans_and_old_history_go_away_a_little_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.pair()
    monkeypatch.setattr(streams, "PURGED_AT_ONCE", 2)
    for stream in ("a", "b", "c"):
        await show(world, live(stream, session=stream))
        await world.streams.forbid_stream(world.account, PUSH, "live", stream, actor=world.actor)
    async with recorder(world):
        await until(lambda: _count(world, 3))
        for stream in ("a", "b", "c"):
            await hide(world, live(stream))
        await until(lambda: _closed(world))
    assert await world.streams.purge() == 0
    world.now_s += 365 * 86400
    assert [await world.streams.purge() for _ in range(3)] == [4, 2, 0]
    assert await world.bans() == []
    assert await history(world) == []


async def test_a_stream_beyond_the_domains_limit_is_cut(tmp_path: Path) -> None:
    domains = Domains(ownership=Ownership(exempt_suffixes=EXEMPT), streams_per_domain=2)
    async with world_with(tmp_path, domains) as world:
        await world.pair()
        kicks = world.cluster.subscribe(KICK_SUBJECT)
        async with recorder(world):
            for name in ("a", "b"):
                await show(world, live(name, session=name))
            await until(lambda: _live(world, 2))
            assert (await world.streams.limit(world.account, PLAY)).streams == 2
            await show(world, live("c", session="c"))
            assert decode_kick((await anext(kicks)).payload) == Kick(PLAY, "live", "c")
            for name in ("c", "a"):
                await hide(world, live(name))
            await until(lambda: _live(world, 1))
            await show(world, live("d", session="d"))
            await show(world, live("e", session="e"))
            assert decode_kick((await anext(kicks)).payload) == Kick(PLAY, "live", "e"), "d had room"


async def _live(world: World, count: int) -> bool:
    return sum(item.stopped_s is None for item in await history(world)) == count
