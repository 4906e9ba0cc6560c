"""Promises about changing the edge group of a domain (ModifyLiveDomainSchdmByProperty)."""

from __future__ import annotations

import pytest

from headwater.observe.traffic import Traffic
from support.domain_world import ACTOR, PLAY, PUSH, World, code, refused

GB = 1_000_000_000


@pytest.mark.parametrize("scope", ["domestic", "global", "overseas"])
async def test_the_edge_group_can_be_changed(world: World, scope: str) -> None:
    await world.add(PLAY, scope="overseas" if scope == "domestic" else "domestic")
    world.now_s += 5
    await world.domains.set_scope(world.account, PLAY, scope, actor=ACTOR)
    record = await world.domains.detail(world.account, PLAY)
    assert (record.scope, record.modified_s) == (scope, world.now_s)
    policy = await world.policy(PLAY)
    assert policy is not None
    assert policy.scope == scope


@pytest.mark.parametrize("scope", ["", "china", "GLOBAL", "domestic,global"])
async def test_there_are_three_edge_groups(world: World, scope: str) -> None:
    await world.add(PLAY)
    fault = await refused(world.domains.set_scope(world.account, PLAY, scope, actor=ACTOR))
    assert (fault.code, fault.status) == ("Schedule.NotFound", 400)
    assert fault.message == "there is no schedule domain found by the targeted coverage value"
    assert (await world.domains.detail(world.account, PLAY)).scope == "domestic"


@pytest.mark.parametrize("name", [PLAY, PUSH])
async def test_a_domain_with_much_traffic_in_the_last_day_keeps_its_edge_group(world: World, name: str) -> None:
    await world.pair()
    half = Traffic(bytes_in=501 * GB) if name == PUSH else Traffic(bytes_out=501 * GB)
    for hours_ago in (23, 1):
        at_s = world.now_s - hours_ago * 3600
        await world.usage.record(at_s, at_s + 60, {name: half})
    fault = await refused(world.domains.set_scope(world.account, name, "global", actor=ACTOR))
    assert (fault.code, fault.status) == ("DomainTraffic.ExceedThreshold", 400)
    assert fault.message == "not allowed to do this operation because the last day traffic exceeds the threshold"
    world.now_s += 3 * 3600
    await world.domains.set_scope(world.account, name, "global", actor=ACTOR)


async def test_nobody_changes_anothers_edge_group(world: World) -> None:
    await world.add(PLAY)
    assert await code(world.domains.set_scope(world.stranger, PLAY, "global", actor=ACTOR)) == "InvalidDomain.NotFound"
