"""Promises about the rules of time shift and of delayed streams."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from headwater.access import plan as plans
from headwater.access.plan import Delay, Plan, Shift, best_match
from headwater.domains import delays as delay_service
from headwater.domains import time_shift as shift_service
from headwater.domains.delays import DelayRule
from headwater.domains.errors import DomainError
from headwater.domains.time_shift import ShiftRule
from support.domain_world import ACTOR, PLAY, PUSH, World

SUB = "sub.example.com"
FEW = 8
"""So many instead of a limit that is reached only after many calls."""


async def plan_of(world: World, domain: str = PLAY) -> Plan | None:
    """What the center and media nodes are told."""
    entry = await world.cluster.get(plans.plan_key(domain))
    return None if entry is None else plans.decode(entry.value)


async def code(call: Awaitable[object]) -> str:
    with pytest.raises(DomainError) as refused:
        await call
    return refused.value.code


async def test_time_shift_reaches_the_plan_the_newest_rule_holds_and_closing_removes_it(world: World) -> None:
    await world.pair()
    shift = world.services.time_shift
    await shift.open(world.account, PLAY, actor=ACTOR)
    await shift.open(world.account, PLAY, app="live", stream="cam", days=1, slice_s=10, renditions=True, actor=ACTOR)
    await shift.open(world.account, PLAY, app="live", stream="cam", days=3, actor=ACTOR)
    plan = await plan_of(world)
    assert plan is not None
    assert plan.shifts == (Shift("*", "*"), Shift("live", "cam", 3))
    assert await shift.rules(world.account, PLAY) == [
        ShiftRule(PLAY, "*", "*", 7, 5, False),
        ShiftRule(PLAY, "live", "cam", 3, 5, False),
    ]
    await shift.close(world.account, PLAY, actor=ACTOR)
    await shift.close(world.account, PLAY, app="live", stream="cam", actor=ACTOR)
    assert await plan_of(world) is None
    assert await code(shift.close(world.account, PLAY, actor=ACTOR)) == "ConfigNotFound"


async def test_a_sub_streaming_domain_has_time_shift_of_its_own_but_no_delayed_streams(world: World) -> None:
    await world.pair()
    await world.add(SUB)
    delays = world.services.delays
    await delays.create(world.account, SUB, "live", "cam", 30, "CONFIG_ONLY", actor=ACTOR)
    await world.services.bindings.map_play(world.account, SUB, PLAY, actor=ACTOR)
    await world.services.time_shift.open(world.account, SUB, actor=ACTOR)
    plan = await plan_of(world, SUB)
    assert plan is not None
    assert (plan.shifts, plan.delays) == ((Shift("*", "*"),), ())
    assert await code(delays.create(world.account, SUB, "live", "cam", 30, "CONFIG_ONLY", actor=ACTOR)) == "IllegalOperation"


async def test_a_domain_has_a_hundred_rules_at_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (shift_service.RULES_MAX, delay_service.RULES_MAX) == (100, 100)
    for module in (shift_service, delay_service):
        monkeypatch.setattr(module, "RULES_MAX", FEW)
    await world.pair()
    shift, delays = world.services.time_shift, world.services.delays
    for number in range(FEW):
        await shift.open(world.account, PLAY, stream=f"s{number}", actor=ACTOR)
        await delays.create(world.account, PLAY, "live", f"s{number}", 30, "CONFIG_ONLY", actor=ACTOR)
    assert await code(shift.open(world.account, PLAY, actor=ACTOR)) == "QuotaExceeded.ShiftConfig"
    more = delays.create(world.account, PLAY, "live", "more", 30, "CONFIG_ONLY", actor=ACTOR)
    assert await code(more) == "QuotaExceeded.DelayConfig"
    await shift.open(world.account, PLAY, stream="s7", days=1, actor=ACTOR)


async def test_delayed_streams_reach_the_plan_change_and_page(world: World) -> None:
    await world.pair()
    delays = world.services.delays
    for stream in ("cam", "*", "b"):
        await delays.create(world.account, PLAY, "live", stream, 30, "PUBLISH_CONFIG", actor=ACTOR)
    await delays.update(world.account, PLAY, "live", "cam", 3600, None, actor=ACTOR)
    await delays.update(world.account, PLAY, "live", "b", 16, "PUBLISH_ONLY", actor=ACTOR)
    plan = await plan_of(world)
    assert plan is not None
    assert plan.delays == (
        Delay("live", "*", 30, "PUBLISH_CONFIG"),
        Delay("live", "b", 16, "PUBLISH_ONLY"),
        Delay("live", "cam", 3600, "PUBLISH_CONFIG"),
    )
    again = delays.create(world.account, PLAY, "live", "cam", 30, "CONFIG_ONLY", actor=ACTOR)
    assert await code(again) == "ConfigAlreadyExists"
    page = await delays.rules(world.account, PLAY, page_number=2, page_size=2)
    assert (page.total, [rule.stream for rule in page.items]) == (3, ["cam"])
    assert await delays.rule(world.account, PLAY, "live", "cam") == DelayRule(PLAY, "live", "cam", 3600, "PUBLISH_CONFIG")
    for stream in ("cam", "*", "b"):
        await delays.delete(world.account, PLAY, "live", stream, actor=ACTOR)
    assert await plan_of(world) is None


async def test_neither_is_for_ingest_domains_or_for_strangers(world: World) -> None:
    await world.pair()
    shift, delays = world.services.time_shift, world.services.delays
    assert await code(shift.rules(world.account, PUSH)) == "IllegalOperation"
    assert await code(delays.rules(world.account, PUSH)) == "IllegalOperation"
    assert await code(shift.rules(world.stranger, PLAY)) == "InvalidDomain.NotFound"
    assert await code(delays.rules(world.stranger, PLAY)) == "InvalidDomain.NotFound"


def test_the_rule_that_says_most_of_a_stream_holds() -> None:
    rules = [Shift("*", "*", 1), Shift("*", "cam", 2), Shift("live", "*", 3), Shift("live", "cam", 4)]
    for app, stream, days in (("live", "cam", 4), ("live", "b", 3), ("x", "cam", 2), ("x", "b", 1)):
        assert best_match(rules, app, stream) == Shift(app if days > 2 else "*", stream if days % 2 == 0 else "*", days)
    assert best_match(rules[1:2], "live", "b") is None
