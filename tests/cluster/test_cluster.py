"""What every implementation of the cluster's store promises."""

from __future__ import annotations

import asyncio
import gc

import pytest

from headwater.cluster.centers import JobPresence
from headwater.cluster.embedded import EmbeddedCluster
from headwater.cluster.interface import Cluster, ClusterError, ClusterGone, Conflict, Event, LeaseEnded
from headwater.cluster.limits import JOB_TIMEOUT_S, NAME_MAX_BYTES, VALUE_MAX_BYTES
from support.changes import take_change, until_synced
from support.clock import Clock


async def test_a_key_holds_what_was_last_put(cluster: Cluster) -> None:
    first = await cluster.put("policy/a.example", b"1")
    second = await cluster.put("policy/a.example", b"2")
    assert second > first
    entry = await cluster.get("policy/a.example")
    assert entry is not None
    assert (entry.key, entry.value, entry.revision) == ("policy/a.example", b"2", second)
    assert await cluster.get("policy/b.example") is None


async def test_a_list_is_sorted_and_holds_its_prefix_only(cluster: Cluster) -> None:
    for key in ("b/2", "b/10", "a/1", "b", "c/1", "b/é"):
        await cluster.put(key, key.encode())
    assert [entry.key for entry in await cluster.list("b/")] == ["b/10", "b/2", "b/é"]
    assert [entry.key for entry in await cluster.list("")] == ["a/1", "b", "b/10", "b/2", "b/é", "c/1"]
    assert await cluster.list("d/") == []


async def test_a_list_larger_than_any_frame_arrives_whole(cluster: Cluster) -> None:
    for number in range(40):
        await cluster.put(f"big/{number:02}", bytes([number]) * 200_000)
    entries = await cluster.list("big/")
    assert [(entry.key, entry.value) for entry in entries] == [
        (f"big/{number:02}", bytes([number]) * 200_000) for number in range(40)
    ]


async def test_a_deleted_key_is_gone(cluster: Cluster) -> None:
    await cluster.put("k/1", b"x")
    assert await cluster.delete("k/1") is True
    assert await cluster.delete("k/1") is False
    assert await cluster.get("k/1") is None
    assert await cluster.list("k/") == []


async def test_a_conditional_put_or_delete_meets_the_revision_or_raises_conflict(cluster: Cluster) -> None:
    revision = await cluster.put("k/1", b"x", expect_revision=0)
    with pytest.raises(Conflict):
        await cluster.put("k/1", b"y", expect_revision=0)
    with pytest.raises(Conflict):
        await cluster.put("k/1", b"y", expect_revision=revision + 1)
    with pytest.raises(Conflict):
        await cluster.put("k/2", b"y", expect_revision=revision)
    with pytest.raises(Conflict):
        await cluster.delete("k/1", expect_revision=revision + 1)
    newer = await cluster.put("k/1", b"z", expect_revision=revision)
    assert await cluster.delete("k/1", expect_revision=newer) is True
    assert await cluster.delete("k/1", expect_revision=0) is False


@pytest.mark.parametrize("key", ["", "k" * (NAME_MAX_BYTES + 1), "é" * (NAME_MAX_BYTES // 2 + 1)])
async def test_a_key_without_a_name_or_with_an_endless_one_is_refused(cluster: Cluster, key: str) -> None:
    with pytest.raises(ClusterError):
        await cluster.put(key, b"x")


async def test_the_largest_value_fits_and_a_larger_one_is_refused(cluster: Cluster) -> None:
    largest = bytes(VALUE_MAX_BYTES)
    await cluster.put("k" * NAME_MAX_BYTES, largest)
    entry = await cluster.get("k" * NAME_MAX_BYTES)
    assert entry is not None
    assert entry.value == largest
    with pytest.raises(ClusterError):
        await cluster.put("k", largest + b"x")
    with pytest.raises(ClusterError):
        await cluster.publish("s", largest + b"x")
    with pytest.raises(ClusterError):
        await cluster.offer("q", "j", largest + b"x")


async def test_a_watch_tells_what_exists_then_synced_then_every_change_in_order(cluster: Cluster) -> None:
    await cluster.put("w/1", b"a")
    await cluster.put("w/2", b"b")
    await cluster.put("v/1", b"other")
    watch = cluster.watch("w/")
    assert await until_synced(watch) == [("w/1", b"a"), ("w/2", b"b")]
    await cluster.put("w/3", b"c")
    await cluster.put("v/2", b"other")
    await cluster.put("w/3", b"d")
    await cluster.delete("w/1")
    changes = [await anext(watch) for _ in range(3)]
    assert [(change.key, change.value) for change in changes] == [("w/3", b"c"), ("w/3", b"d"), ("w/1", None)]
    assert changes[0].revision < changes[1].revision < changes[2].revision


async def test_an_empty_prefix_is_synced_at_once_and_watchers_do_not_disturb_each_other(cluster: Cluster) -> None:
    one, two = cluster.watch("none/"), cluster.watch("")
    assert await until_synced(one) == []
    assert await until_synced(two) == []
    await cluster.put("some/1", b"x")
    assert await take_change(two) == ("some/1", b"x")
    await cluster.put("none/1", b"y")
    assert await take_change(one) == ("none/1", b"y")


async def test_a_waiting_watch_survives_that_its_reader_was_cancelled(cluster: Cluster) -> None:
    watch = cluster.watch("w/")
    await until_synced(watch)
    reading = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await cluster.put("w/1", b"x")
    assert await take_change(watch) == ("w/1", b"x")


async def test_a_watch_of_many_large_values_arrives_whole(cluster: Cluster) -> None:
    for number in range(20):
        await cluster.put(f"big/{number:02}", bytes([number]) * 300_000)
    watch = cluster.watch("big/")
    assert await until_synced(watch) == [(f"big/{number:02}", bytes([number]) * 300_000) for number in range(20)]


async def test_a_watcher_that_does_not_read_starts_over_and_learns_what_has_gone(cluster: Cluster) -> None:
    await cluster.put("w/old", b"1")
    watch = cluster.watch("w/")
    assert await until_synced(watch) == [("w/old", b"1")]
    await cluster.put("w/short-lived", b"1")
    assert await take_change(watch) == ("w/short-lived", b"1")
    await cluster.delete("w/short-lived")
    for number in range(3000):
        await cluster.put("w/busy", str(number).encode())
    await cluster.delete("w/old")

    known: dict[str, bytes] = {"w/old": b"1", "w/short-lived": b"1"}
    delivered = 0
    for key, value in await until_synced(watch):
        delivered += 1
        if value is None:
            del known[key]
        else:
            known[key] = value
    assert known == {"w/busy": b"2999"}
    assert delivered < 2500


async def test_revoking_a_lease_deletes_its_keys(cluster: Cluster) -> None:
    lease = await cluster.lease(30)
    await cluster.put("l/1", b"x", lease=lease)
    await cluster.put("l/2", b"x", lease=lease)
    await cluster.put("l/3", b"x")
    watch = cluster.watch("l/")
    await until_synced(watch)
    await lease.revoke()
    assert [await take_change(watch) for _ in range(2)] == [("l/1", None), ("l/2", None)]
    assert [entry.key for entry in await cluster.list("l/")] == ["l/3"]
    with pytest.raises(LeaseEnded):
        await cluster.put("l/1", b"x", lease=lease)
    await lease.revoke()


async def test_a_key_belongs_to_the_lease_of_its_last_put(cluster: Cluster) -> None:
    one, two = await cluster.lease(30), await cluster.lease(30)
    await cluster.put("l/moved", b"x", lease=one)
    await cluster.put("l/moved", b"y", lease=two)
    await cluster.put("l/freed", b"x", lease=one)
    await cluster.put("l/freed", b"y")
    await cluster.put("l/anew", b"x", lease=one)
    await cluster.delete("l/anew")
    await cluster.put("l/anew", b"y")
    await one.revoke()
    assert [entry.key for entry in await cluster.list("l/")] == ["l/anew", "l/freed", "l/moved"]
    await two.revoke()
    assert [entry.key for entry in await cluster.list("l/")] == ["l/anew", "l/freed"]


@pytest.mark.parametrize("ttl_s", [0, -1, float("nan"), float("inf"), 1e9])
async def test_a_lease_without_a_sensible_time_to_live_is_refused(cluster: Cluster, ttl_s: float) -> None:
    with pytest.raises(ClusterError):
        await cluster.lease(ttl_s)


async def test_an_event_reaches_each_subscriber_of_its_subject(cluster: Cluster) -> None:
    exact, below, other = cluster.subscribe("kick.a"), cluster.subscribe("kick.>"), cluster.subscribe("kick.b")
    await cluster.publish("kick.a", b"1")
    await cluster.publish("kick", b"2")
    await cluster.publish("kicks.a", b"3")
    await cluster.publish("kick.b", b"4")
    assert await anext(exact) == Event("kick.a", b"1")
    assert [await anext(below), await anext(below)] == [Event("kick.a", b"1"), Event("kick.b", b"4")]
    assert await anext(other) == Event("kick.b", b"4")


async def test_events_before_the_subscription_are_not_delivered(cluster: Cluster) -> None:
    await cluster.publish("s.1", b"before")
    subscription = cluster.subscribe("s.>")
    await cluster.publish("s.1", b"after")
    assert await anext(subscription) == Event("s.1", b"after")


async def test_a_subscriber_that_does_not_read_keeps_the_newest_events_only(cluster: Cluster) -> None:
    subscription = cluster.subscribe("s.>")
    for number in range(4000):
        await cluster.publish("s.1", str(number).encode())
    await cluster.publish("s.last", b"")
    count = 0
    async for event in subscription:
        count += 1
        if event.subject == "s.last":
            break
    assert count < 2500


async def test_a_wildcard_cannot_be_published_on(cluster: Cluster) -> None:
    with pytest.raises(ClusterError):
        await cluster.publish("kick.>", b"x")


async def test_jobs_are_given_out_once_in_the_order_of_their_offer(cluster: Cluster) -> None:
    assert await cluster.offer("record", "1", b"a") is True
    assert await cluster.offer("record", "2", b"b") is True
    assert await cluster.offer("record", "1", b"again") is False
    assert await cluster.offer("snapshot", "1", b"c") is True
    first, second = await cluster.take("record"), await cluster.take("record")
    assert [(job.id, job.payload, job.attempt) for job in (first, second)] == [("1", b"a", 1), ("2", b"b", 1)]
    assert await cluster.offer("record", "1", b"still running") is False
    await first.done()
    assert await cluster.offer("record", "1", b"new") is True


async def test_takers_that_wait_are_served_in_turn_and_one_that_gives_up_loses_no_job(cluster: Cluster) -> None:
    gives_up = asyncio.ensure_future(cluster.take("q"))
    waits = asyncio.ensure_future(cluster.take("q"))
    await cluster.get("a round trip, so that both wait")
    assert await cluster.offer("q", "1", b"")
    gives_up.cancel()
    assert (await waits).id == "1"


async def test_a_released_job_goes_to_another_taker_with_a_higher_attempt(cluster: Cluster) -> None:
    await cluster.offer("q", "1", b"x")
    job = await cluster.take("q")
    await job.keep_alive()
    await job.release()
    with pytest.raises(ClusterError):
        await job.done()
    again = await cluster.take("q")
    assert (again.id, again.attempt) == ("1", 2)
    with pytest.raises(ClusterError):
        await job.keep_alive()
    await again.done()
    with pytest.raises(ClusterError):
        await again.done()


async def test_a_job_whose_taker_lets_it_lapse_returns(cluster: Cluster, store: EmbeddedCluster, clock: Clock) -> None:
    await cluster.offer("q", "1", b"x")
    job = await cluster.take("q")
    clock.now_s += JOB_TIMEOUT_S - 1
    await job.keep_alive()
    clock.now_s += JOB_TIMEOUT_S - 1
    store.expire()
    await job.keep_alive()
    clock.now_s += JOB_TIMEOUT_S
    store.expire()
    with pytest.raises(ClusterError):
        await job.keep_alive()
    assert (await cluster.take("q")).attempt == 2


async def test_a_withdrawn_job_is_gone_and_its_taker_learns_it(cluster: Cluster) -> None:
    await cluster.offer("q", "queued", b"")
    assert await cluster.withdraw("q", "queued") is True
    assert await cluster.withdraw("q", "queued") is False
    await cluster.offer("q", "running", b"")
    job = await cluster.take("q")
    assert await cluster.withdraw("q", "running") is True
    with pytest.raises(ClusterError):
        await job.keep_alive()
    # The same id again is another job, which the old taker cannot touch.
    await cluster.offer("q", "running", b"")
    await cluster.take("q")
    with pytest.raises(ClusterError):
        await job.done()


async def test_after_close_readers_end_and_takers_and_calls_get_cluster_gone(cluster: Cluster) -> None:
    watch, subscription = cluster.watch("w/"), cluster.subscribe("s")
    await until_synced(watch)
    taking = asyncio.ensure_future(cluster.take("q"))
    reading = asyncio.ensure_future(anext(watch))
    await cluster.get("a round trip, so that both wait")
    await cluster.close()
    with pytest.raises(ClusterGone):
        await taking
    with pytest.raises(StopAsyncIteration):
        await reading
    assert [event async for event in subscription] == []
    with pytest.raises(ClusterGone):
        await cluster.get("w/1")
    with pytest.raises(ClusterGone):
        cluster.watch("w/")


async def test_nothing_stays_of_readers_jobs_and_leases_that_are_gone(cluster: Cluster, store: EmbeddedCluster) -> None:
    watch, subscription = cluster.watch("w/"), cluster.subscribe("s.>")
    await until_synced(watch)
    lease = await cluster.lease(30)
    await cluster.put("w/1", b"x", lease=lease)
    await cluster.offer("q", "1", b"x")
    await (await cluster.take("q")).done()
    await lease.revoke()
    del watch, subscription
    gc.collect()
    for _ in range(3):
        await cluster.get("a round trip, so that the store has heard of it")
    gc.collect()
    assert store.sizes() == {"keys": 0, "leases": 0, "watches": 0, "subscriptions": 0, "queues": 0}


async def test_what_exists_is_told_once_and_in_its_last_form_while_the_store_changes() -> None:
    cluster = EmbeddedCluster()
    for number in range(10):
        await cluster.put(f"k/{number}", b"old")
    watch = cluster.watch("k/")
    told = [await take_change(watch) for _ in range(4)]
    await cluster.put("k/1", b"new")  # told already: comes again
    await cluster.put("k/8", b"new")  # not told yet: comes once
    await cluster.delete("k/3")
    await cluster.delete("k/9")
    await cluster.put("k/31", b"new")
    await cluster.put("k/0", b"new")
    told += await until_synced(watch)
    assert told == [
        *((f"k/{number}", b"old") for number in range(4)),
        ("k/31", b"new"),
        *((f"k/{number}", b"old") for number in range(4, 8)),
        ("k/8", b"new"),
    ]
    assert [await take_change(watch) for _ in range(3)] == [("k/1", b"new"), ("k/3", None), ("k/0", b"new")]
    await cluster.close()


@pytest.mark.parametrize(
    ("domain", "template", "name"),
    [("play.test", "", "play.test/live/cam"), ("play.test", "low", "play.test/live/cam_low"), ("", "", "job-1")],
)
def test_a_job_is_called_by_what_it_works_on(domain: str, template: str, name: str) -> None:
    assert JobPresence("record", "job-1", domain, "live", "cam", "s", "running", 1.0, template=template).name == name
