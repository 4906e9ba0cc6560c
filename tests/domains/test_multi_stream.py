"""Promises about dual streams: the switch, the optimal mode, the master and the log of its changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from headwater.access import presence
from headwater.access.policy import Session
from headwater.access.presence import StreamPresence, UpstreamPresence
from headwater.domains import multi_stream
from headwater.domains.multi_stream import CHANGES_KEPT, ChangeRecord, OnlineStream, Upstream
from headwater.domains.streams import HISTORY_SPAN_S
from support.domain_world import ACTOR, PLAY, PUSH, World, code

DAY_S = 86_400
PUBLISHED_S = 1_700_000_000.0
FEW = 8
"""So many instead of a limit that is reached only after many calls."""


def master(number: int, reason: str = "published", stream: str = "cam") -> StreamPresence:
    """The presence of a stream whose master is this publisher."""
    return StreamPresence(
        domain=PLAY,
        app="live",
        stream=stream,
        session=f"s{number}",
        publish_domain=PUSH,
        publish_url=f"rtmp://{PUSH}/live/{stream}",
        published_at=PUBLISHED_S,
        client_ip=f"192.0.2.{number}",
        server_ip="192.0.2.99",
        node="n1",
        worker=0,
        upstream=number,
        reason=reason,
    )


async def show(world: World, item: StreamPresence) -> None:
    await world.cluster.put(presence.stream_key(item.domain, item.app, item.stream), presence.encode(item))


async def push(world: World, number: int, stream: str = "cam") -> None:
    publisher = UpstreamPresence(f"s{number}", f"192.0.2.{number}", PUBLISHED_S, "n1", 0)
    await world.cluster.put(presence.upstream_key(PLAY, "live", stream, number), msgspec.json.encode(publisher))


@contextlib.asynccontextmanager
async def recorder(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.streams.run_history())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def online(world: World, **more: Any) -> list[OnlineStream]:
    return (await world.services.multi_stream.online(world.account, PLAY, **more)).items


async def logged(world: World, count: int) -> list[ChangeRecord]:
    """The changes of the one stream, once there are so many."""
    async with asyncio.timeout(10):
        while True:
            [item] = await online(world, end_s=world.now_s + 1)
            if len(item.changes) == count:
                return item.changes
            await asyncio.sleep(0)


async def session(world: World) -> Session:
    policy = await world.policy(PLAY)
    assert policy is not None
    return policy.session


async def test_media_nodes_learn_of_the_switch_and_of_streams_that_only_the_customer_switches(world: World) -> None:
    await world.pair()
    service = world.services.multi_stream
    await service.set_optimal_mode(world.account, PLAY, "live", "cam", False, actor=ACTOR)
    assert (await session(world)).manual == ()  # it means nothing as long as one alone may push
    await service.switch(world.account, PLAY, True, actor=ACTOR)
    assert await service.is_on(world.account, PLAY)
    assert await session(world) == Session(multi_stream=True, manual=("live/cam",))
    await world.domains.publish_all()
    assert await session(world) == Session(multi_stream=True, manual=("live/cam",))
    await service.set_optimal_mode(world.account, PLAY, "live", "cam", True, actor=ACTOR)
    assert await session(world) == Session(multi_stream=True)
    await service.switch(world.account, PLAY, False, actor=ACTOR)
    assert await session(world) == Session()


async def test_live_streams_are_told_with_their_publishers(world: World) -> None:
    await world.pair()
    for number in (10, 2, 1):
        await push(world, number)
    await show(world, master(2))
    await show(world, master(0, stream="single"))
    await show(world, master(1, stream="other"))
    await world.cluster.put(presence.upstream_key(PLAY, "live", "cam", 3), b"x")
    cam, other = await online(world)
    assert [(one.number, one.master) for one in cam.upstreams] == [(1, False), (2, True), (10, False)]
    assert cam.upstreams[0] == Upstream(1, "192.0.2.1", PUBLISHED_S, master=False)
    assert (cam.optimal_mode, other.stream, other.upstreams) == (True, "other", [])
    assert [item.stream for item in await online(world, stream="other")] == ["other"]
    assert await online(world, stream="oth") == []
    page = await world.services.multi_stream.online(world.account, PLAY, page_number=2, page_size=1)
    assert (page.total, [item.stream for item in page.items]) == (2, ["other"])


async def test_every_change_of_the_master_is_logged_once(world: World) -> None:
    await world.pair()
    async with recorder(world):
        await show(world, master(1))
        assert await logged(world, 1) == [ChangeRecord(1, "192.0.2.1", "published", PUBLISHED_S)]
        world.now_s += 60
        await show(world, msgspec.structs.replace(master(1), video_kbps=900))  # news of the same master
        await show(world, master(2, "silent"))
        assert (await logged(world, 2))[0] == ChangeRecord(2, "192.0.2.2", "silent", PUBLISHED_S + 60)
    async with recorder(world):  # a new main process finds the same master
        world.now_s += 60
        await show(world, master(1, "set"))
        assert [change.reason for change in await logged(world, 3)] == ["set", "silent", "published"]
    [item] = await online(world, start_s=PUBLISHED_S + 1, end_s=PUBLISHED_S + 60)
    assert [change.reason for change in item.changes] == ["silent"]
    world.now_s += HISTORY_SPAN_S
    assert await world.streams.purge() >= 2


async def test_of_a_stream_that_changes_all_the_time_the_newest_changes_are_kept(world: World) -> None:
    await world.pair()
    await show(world, master(1))
    async with world.database.write() as transaction:
        for number in range(CHANGES_KEPT + 5):
            await multi_stream.note_master(transaction, master(1 + number % 2, "silent"), world.now_s + number)
    [item] = await online(world, end_s=world.now_s + DAY_S)
    assert [change.changed_s - world.now_s for change in item.changes] == [*range(CHANGES_KEPT + 4, 4, -1)]


async def test_the_customer_makes_a_publisher_the_master(world: World) -> None:
    await world.pair()
    service = world.services.multi_stream

    async def promote(upstream: str, stream: str = "cam") -> None:
        await service.set_master(world.account, PLAY, "live", stream, upstream, actor=ACTOR)

    assert await code(promote("1")) == "CodeTaskNotStarted"
    await service.switch(world.account, PLAY, True, actor=ACTOR)
    assert await code(promote("1")) == "CodeTaskNotExist"
    await show(world, master(1))
    await push(world, 1)
    await push(world, 12)
    for nobody in ("2", "01", "x", "1/", "9" * 5000):
        assert await code(promote(nobody)) == "InvalidUpstreamSequence.NotFound"
    events = world.cluster.subscribe(presence.PROMOTE_SUBJECT)
    await promote("12")
    assert msgspec.json.decode((await anext(events)).payload, type=presence.Promote) == presence.Promote(
        PLAY, "live", "cam", 12
    )
    assert await code(promote("12", "*")) == "InvalidStreamName"


@pytest.mark.parametrize(
    ("span", "expected"),
    [((10.0, 10.0), "InvalidEndTime.Mismatch"), ((0.0, 7 * DAY_S + 1.0), "InvalidTimeSpan")],
)
async def test_a_span_has_seven_days_at_most(world: World, span: tuple[float, float], expected: str) -> None:
    await world.pair()
    assert await code(online(world, start_s=span[0], end_s=span[1])) == expected


async def test_only_the_owner_of_a_main_streaming_domain_has_dual_streams(world: World) -> None:
    await world.pair()
    sub = "sub.example.com"
    await world.add(sub)
    service = world.services.multi_stream
    await service.switch(world.account, sub, True, actor=ACTOR)
    await world.services.bindings.map_play(world.account, sub, PLAY, actor=ACTOR)
    policy = await world.policy(sub)
    assert policy is not None
    assert not policy.session.multi_stream
    for name in (PUSH, sub):
        assert await code(service.switch(world.account, name, True, actor=ACTOR)) == "IllegalOperation"
        assert await code(service.is_on(world.account, name)) == "IllegalOperation"
    assert await code(service.is_on(world.stranger, PLAY)) == "InvalidDomain.NotFound"


async def test_the_optimal_mode_is_off_for_two_hundred_streams_at_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert multi_stream.MANUAL_MAX == 200
    monkeypatch.setattr(multi_stream, "MANUAL_MAX", FEW)
    await world.pair()
    service = world.services.multi_stream
    for number in range(FEW):
        await service.set_optimal_mode(world.account, PLAY, "live", f"s{number}", False, actor=ACTOR)
    more = service.set_optimal_mode(world.account, PLAY, "live", "more", False, actor=ACTOR)
    assert await code(more) == "QuotaExceeded.ManualStream"
    await service.set_optimal_mode(world.account, PLAY, "live", "s7", False, actor=ACTOR)
