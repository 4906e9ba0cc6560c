"""Usage is collected without loss and without counting twice, whatever becomes of the workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
import pytest

from headwater.node.usage import IDLE_REPORTS, Books
from headwater.observe.exposition import WorkerSilent
from headwater.observe.traffic import Traffic, WorkerUsage
from headwater.observe.usage import UsageCollector
from support.clock import Clock


class Worker:
    """Answers with what a test says, or not at all."""

    def __init__(self) -> None:
        self.says: WorkerUsage | None = None

    async def read(self) -> WorkerUsage:
        if self.says is None:
            raise WorkerSilent("gone")
        return self.says


class World:
    """A collector of two workers, and what it has recorded."""

    def __init__(self) -> None:
        self.clock = Clock(60)
        self.workers = [Worker(), Worker()]
        self.recorded: list[tuple[float, float, dict[str, int]]] = []
        self.broken = False
        self.collector = UsageCollector([worker.read for worker in self.workers], self.record, self.clock)

    async def record(self, start_s: float, end_s: float, growth: Mapping[str, Traffic]) -> None:
        if self.broken:
            raise OSError("no database")
        self.recorded.append((start_s, end_s, {name: traffic.bytes_out for name, traffic in growth.items()}))

    async def collect(self, now_s: float, **says: WorkerUsage | None) -> list[tuple[float, float, dict[str, int]]]:
        self.clock.now_s = now_s
        self.workers[0].says = says.get("first")
        self.workers[1].says = says.get("second")
        self.recorded.clear()
        await self.collector.collect()
        return self.recorded


def said(run: str, **domains: int) -> WorkerUsage:
    return WorkerUsage(run, {name: Traffic(bytes_out=size) for name, size in domains.items()})


async def test_what_has_grown_since_the_last_time_is_recorded() -> None:
    world = World()
    assert await world.collect(120, first=said("a", x=10), second=said("b", x=1)) == [
        (60, 120, {"x": 10}),
        (60, 120, {"x": 1}),
    ]
    assert await world.collect(180, first=said("a", x=15, y=7), second=said("b", x=1)) == [(120, 180, {"x": 5, "y": 7})]
    assert await world.collect(240, first=said("a", x=15, y=7), second=said("b", x=1)) == []


async def test_a_worker_that_was_restarted_begins_at_nothing() -> None:
    world = World()
    await world.collect(120, first=said("a", x=1000), second=said("b"))
    assert await world.collect(180, first=said("c", x=1500), second=said("b")) == [(120, 180, {"x": 1500})]
    assert await world.collect(240, first=said("c", x=1600), second=said("b")) == [(180, 240, {"x": 100})]


async def test_a_silent_worker_loses_nothing_and_holds_up_nobody() -> None:
    world = World()
    await world.collect(120, first=said("a", x=10), second=said("b", x=1))
    assert await world.collect(180, second=said("b", x=2)) == [(120, 180, {"x": 1})]
    assert await world.collect(240, first=said("a", x=30), second=said("b", x=2)) == [(120, 240, {"x": 20})]


async def test_a_domain_that_a_worker_had_forgotten_begins_at_nothing() -> None:
    world = World()
    await world.collect(120, first=said("a", x=1000, y=1), second=said("b"))
    await world.collect(180, first=said("a", y=1), second=said("b"))
    assert await world.collect(240, first=said("a", x=5, y=1), second=said("b")) == [(180, 240, {"x": 5})]


async def test_what_could_not_be_recorded_is_recorded_the_next_time() -> None:
    world = World()
    world.broken = True
    with pytest.raises(OSError, match="no database"):
        await world.collect(120, first=said("a", x=10), second=said("b"))
    world.broken = False
    assert await world.collect(180, first=said("a", x=12), second=said("b")) == [(60, 180, {"x": 12})]


def test_the_books_of_a_worker_add_up_and_forget_who_is_idle() -> None:
    books = Books()
    received, sent, hls = Counter({"push": 7}), Counter({("play", False): 10, ("play", True): 5}), Counter({("play", True): 1})
    first = books.book(received, [sent, hls])
    assert first.domains == {"push": Traffic(7), "play": Traffic(0, 16, 6)}
    assert not received
    assert not sent
    assert not hls
    for _ in range(IDLE_REPORTS):
        again = books.book(received, [Counter({("play", False): 1}), hls])
        assert again.run == first.run
        assert again.domains["push"] == Traffic(7)
    assert books.book(received, [sent]).domains == {"play": Traffic(0, 16 + IDLE_REPORTS, 6)}
    assert books.book(Counter({"push": 3}), [sent]).domains["push"] == Traffic(3)


def test_two_workers_never_have_the_same_run() -> None:
    runs = {Books().book(Counter(), []).run for _ in range(100)}
    assert len(runs) == 100


def test_what_a_worker_says_survives_the_way_to_the_main_process() -> None:
    usage = Books().book(Counter({"push": 7}), [Counter({("play", True): 2**50})])
    assert msgspec.json.decode(msgspec.json.encode(usage), type=WorkerUsage) == usage
