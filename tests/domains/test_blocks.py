"""Promises about streams that are blocked by region."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from headwater.access.policy import BLOCK_PREFIX, Block, RegionRule, decode_block
from headwater.domains import blocks as block_service
from headwater.domains.errors import DomainError
from headwater.domains.rules import format_time
from support.domain_world import ACTOR, PLAY, PUSH, World

WEEK_S = 7 * 86_400
FEW = 8
"""So many instead of a limit that is reached only after many calls."""


async def blocks(world: World) -> list[Block]:
    """What media nodes are told."""
    return [decode_block(entry.value) for entry in await world.cluster.list(BLOCK_PREFIX)]


async def block(world: World, stream: str = "cam", *, domain: str = PLAY, **more: str) -> None:
    arguments = {"block_type": "blacklist", "locations": "CN,AS", **more}
    await world.services.blocks.set(world.account, domain, "live", stream, actor=ACTOR, **arguments)


async def code(call: Awaitable[object]) -> str:
    with pytest.raises(DomainError) as refused:
        await call
    return refused.value.code


async def test_a_block_reaches_media_nodes_and_the_newest_holds(world: World) -> None:
    await world.pair()
    await block(world)
    assert await blocks(world) == [Block(PLAY, "live", "cam", RegionRule(("CN", "AS")), world.now_s + WEEK_S)]
    release_s = world.now_s + 60
    await block(world, block_type="whitelist", locations=" us ", release_time=format_time(release_s))
    assert await blocks(world) == [Block(PLAY, "live", "cam", RegionRule(("US",), allow=True), release_s)]
    [record] = (await world.services.blocks.list_blocks(world.account, PLAY)).items
    assert (record.type, record.locations, record.status) == ("whitelist", "US", 1)
    world.now_s += 61
    [record] = (await world.services.blocks.list_blocks(world.account, PLAY)).items
    assert record.status == 4
    world.now_s += WEEK_S
    assert (await world.services.blocks.list_blocks(world.account, PLAY)).total == 0


async def test_a_deleted_block_and_a_deleted_domain_leave_nothing_behind(world: World) -> None:
    await world.pair()
    await block(world)
    await world.services.blocks.delete(world.account, PLAY, "live", "cam", actor=ACTOR)
    assert await blocks(world) == []
    assert await code(world.services.blocks.delete(world.account, PLAY, "live", "cam", actor=ACTOR)) == "ConfigNotFound"
    await block(world)
    await world.domains.delete(world.account, PLAY, actor=ACTOR)
    assert await blocks(world) == []


async def test_the_store_is_filled_with_blocks_at_start(world: World) -> None:
    await world.pair()
    await block(world)
    await block(world, "brief", release_time=format_time(world.now_s + 1))
    for entry in await world.cluster.list(BLOCK_PREFIX):
        await world.cluster.delete(entry.key)
    world.now_s += 2
    await world.domains.publish_all()
    assert [item.stream for item in await blocks(world)] == ["cam"]


async def test_lists_filter_and_page(world: World) -> None:
    await world.pair()
    for number in range(3):
        world.now_s += 1
        await block(world, f"s{number}", block_type="whitelist" if number == 1 else "blacklist")
    page = await world.services.blocks.list_blocks(world.account, PLAY, page_size=2, page_number=2)
    assert (page.total, [item.stream for item in page.items]) == (3, ["s0"])
    assert [item.stream for item in (await world.services.blocks.list_blocks(world.account, PLAY, stream="s1")).items] == ["s1"]
    assert (await world.services.blocks.list_blocks(world.account, PLAY, block_type="blacklist")).total == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"block_type": "graylist"}, "InvalidBlockType"),
        ({"locations": ""}, "InvalidLocationList"),
        ({"locations": "CN,ZZ"}, "InvalidLocationList"),
        ({"locations": "CN-BJ"}, "InvalidLocationList"),
        ({"release_time": "tomorrow"}, "InvalidReleaseTime.Malformed"),
        ({"release_time": "2001-01-01T00:00:00Z"}, "InvalidReleaseTime.Malformed"),
        ({"stream": "*"}, "InvalidStreamName"),
        ({"domain": PUSH}, "IllegalOperation"),
        ({"domain": "other.example.com"}, "InvalidDomain.NotFound"),
    ],
)
async def test_what_cannot_be_is_refused(world: World, arguments: dict[str, str], expected: str) -> None:
    await world.pair()
    assert await code(block(world, **arguments)) == expected
    assert await code(world.services.blocks.list_blocks(world.account, PLAY, block_type="x")) == "InvalidBlockType"


async def test_a_domain_has_two_hundred_blocks_at_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert block_service.BLOCKS_MAX == 200
    monkeypatch.setattr(block_service, "BLOCKS_MAX", FEW)
    await world.pair()
    for number in range(FEW):
        await block(world, f"s{number}")
    assert await code(block(world, "more")) == "QuotaExceeded.StreamBlock"
    await block(world, "s7", locations="US")
    world.now_s += WEEK_S
    await block(world, "more")
