"""Promises of sub-streaming domains (AddLiveDomainPlayMapping), and of what stopping and deleting does to bindings."""

from __future__ import annotations

import json

import pytest

from headwater.domains.service import DelayChoice
from headwater.domains.urls import Endpoints
from support.domain_world import ACTOR, PLAY, PUSH, World, code, refused

SUB = "sub.example.com"


async def bind(world: World, sub: str = SUB, main: str = PLAY) -> None:
    await world.services.bindings.map_play(world.account, sub, main, actor=ACTOR)


async def unbind(world: World, sub: str = SUB, main: str = PLAY) -> None:
    await world.services.bindings.unmap_play(world.account, sub, main, actor=ACTOR)


async def with_sub(world: World) -> None:
    await world.pair()
    await world.add(SUB)
    await bind(world)


async def streaming_domain(world: World, name: str) -> str | None:
    policy = await world.policy(name)
    assert policy is not None
    return policy.streaming_domain


async def test_a_sub_streaming_domain_plays_the_streams_of_its_main_domain(world: World) -> None:
    await with_sub(world)
    assert await streaming_domain(world, SUB) == PLAY
    await unbind(world)
    assert await streaming_domain(world, SUB) == SUB


async def test_the_relations_are_told_from_every_side(world: World) -> None:
    await with_sub(world)
    mappings = world.services.bindings.mappings
    assert await mappings(world.account, PLAY) == [(PUSH, "publish"), (SUB, "play")]
    assert await mappings(world.account, SUB) == [(PLAY, "vhost")]
    assert await mappings(world.account, PUSH) == [(PLAY, "vhost")]


async def test_a_main_domain_has_many_subs_and_many_ingest_domains(world: World) -> None:
    await with_sub(world)
    await world.add("sub2.example.com")
    await bind(world, "sub2.example.com")
    await world.add("push2.example.com", "liveEdge")
    await world.services.bindings.map(world.account, "push2.example.com", PLAY, actor=ACTOR)
    found = dict(await world.services.bindings.mappings(world.account, PLAY))
    assert found == {PUSH: "publish", "push2.example.com": "publish", SUB: "play", "sub2.example.com": "play"}


async def test_subs_do_not_nest(world: World) -> None:
    await with_sub(world)
    await world.add("other.example.com")
    fault = await refused(bind(world, "other.example.com", SUB))
    assert (fault.code, fault.status) == ("InvalidParam", 400)
    assert fault.message == "Parameter invalid. A sub-streaming domain cannot have sub-streaming domains."
    assert await code(bind(world, PLAY, "other.example.com")) == "InvalidParam"


async def test_only_two_streaming_domains_are_bound(world: World) -> None:
    await world.pair()
    await world.add(SUB)
    for sub, main in ((PUSH, PLAY), (SUB, PUSH), (PLAY, PLAY), (PUSH, PUSH)):
        fault = await refused(bind(world, sub, main))
        assert (fault.code, fault.status, fault.message) == ("InvalidParam", 400, "Parameter invalid.")


async def test_a_sub_has_one_main_domain(world: World) -> None:
    await with_sub(world)
    await world.add("main2.example.com")
    for main in (PLAY, "main2.example.com"):
        fault = await refused(bind(world, SUB, main))
        assert (fault.code, fault.status, fault.message) == ("ConfigAlreadyExists", 400, "Config has already exist.")


async def test_a_sub_is_in_the_live_center_of_its_main_domain(world: World) -> None:
    await world.pair()
    await world.add(SUB, region="cn-beijing")
    assert await code(bind(world)) == "DomainRegionMismatch"


async def test_domains_of_others_are_not_bound(world: World) -> None:
    await with_sub(world)
    for call in (
        world.services.bindings.map_play(world.stranger, SUB, PLAY, actor=ACTOR),
        world.services.bindings.unmap_play(world.stranger, SUB, PLAY, actor=ACTOR),
        bind(world, "none.example.com", PLAY),
    ):
        assert await code(call) == "InvalidDomain.NotFound"


async def test_an_ingest_domain_is_not_bound_to_a_sub(world: World) -> None:
    await with_sub(world)
    await world.add("push2.example.com", "liveEdge")
    fault = await refused(world.services.bindings.map(world.account, "push2.example.com", SUB, actor=ACTOR))
    assert (fault.code, fault.message) == (
        "InvalidPullDomain",
        "The PullDomain should be liveVideo type. It is a sub-streaming domain.",
    )


async def test_what_a_sub_had_of_its_own_is_deleted_and_who_may_view_it_is_kept(world: World) -> None:
    await world.pair()
    await world.add(SUB)
    await world.add("push2.example.com", "liveEdge")
    await world.services.bindings.map(world.account, "push2.example.com", SUB, actor=ACTOR)
    await world.domains.set_delay(world.account, SUB, hls=DelayChoice(9), actor=ACTOR)
    await world.domains.set_functions(world.account, [SUB], wire("headwater_live", flush="low"), actor=ACTOR)
    await world.streams.forbid_stream(world.account, SUB, "live", "a", actor=ACTOR)
    key = (await world.domains.functions(world.account, SUB, ["aliauth"]))[0].args
    await bind(world)
    assert await world.services.bindings.mappings(world.account, "push2.example.com") == []
    assert await streaming_domain(world, "push2.example.com") is None
    [function] = await world.domains.functions(world.account, SUB)
    assert (function.name, function.args) == ("aliauth", key)
    assert await world.bans() == []
    await unbind(world)
    assert (await world.domains.delays(world.account, SUB)).hls is None


async def test_how_streams_are_treated_is_set_on_the_main_domain(world: World) -> None:
    await with_sub(world)
    setting = wire("headwater_live", flush="low")
    for call in (
        world.domains.set_functions(world.account, [SUB], setting, actor=ACTOR),
        world.domains.set_functions(world.account, [SUB], setting, dry_run=True, actor=ACTOR),
        world.domains.set_delay(world.account, SUB, hls=DelayChoice(9), actor=ACTOR),
    ):
        fault = await refused(call)
        assert (fault.code, fault.status) == ("IllegalOperation", 403)
    await world.domains.set_functions(world.account, [SUB], wire("ip_black_list_set", ip_list="192.0.2.1"), actor=ACTOR)
    await world.domains.set_delay(world.account, PLAY, hls=DelayChoice(9), actor=ACTOR)
    assert await world.domains.delays(world.account, SUB) == await world.domains.delays(world.account, PLAY)


async def test_a_sub_inherits_ingest_and_streams_from_its_main_domain(world: World) -> None:
    await with_sub(world)
    urls = await world.domains.urls(world.account, SUB, "live", "cam", Endpoints())
    assert urls.push.startswith(f"rtmp://{PUSH}/live/cam")
    assert urls.play["http-flv"].startswith(f"http://{SUB}/live/cam.flv")
    await world.streams.forbid_stream(world.account, SUB, "live", "a", actor=ACTOR)
    assert [ban.domain for ban in await world.bans()] == [PLAY]
    assert (await world.streams.blocked_streams(world.account, SUB)).total == 1


async def test_a_binding_that_is_not_there_cannot_be_undone(world: World) -> None:
    await with_sub(world)
    await world.add("main2.example.com")
    assert await code(unbind(world, SUB, "main2.example.com")) == "DomainMapping.NotFound"
    assert await code(unbind(world, PLAY, SUB)) == "DomainMapping.NotFound"
    await unbind(world)
    assert await code(unbind(world)) == "DomainMapping.NotFound"
    await bind(world)


async def test_deleting_a_main_domain_frees_its_ingest_domains_and_its_subs(world: World) -> None:
    await with_sub(world)
    await world.domains.delete(world.account, PLAY, actor=ACTOR)
    assert await streaming_domain(world, SUB) == SUB
    assert await streaming_domain(world, PUSH) is None
    for name in (SUB, PUSH):
        assert await world.services.bindings.mappings(world.account, name) == []


async def test_deleting_a_sub_leaves_its_main_domain_alone(world: World) -> None:
    await with_sub(world)
    await world.domains.delete(world.account, SUB, actor=ACTOR)
    assert await world.services.bindings.mappings(world.account, PLAY) == [(PUSH, "publish")]
    assert await world.policy(SUB) is None


async def test_stopping_keeps_every_binding(world: World) -> None:
    await with_sub(world)
    for name in (PUSH, PLAY, SUB):
        await world.domains.stop(world.account, name, actor=ACTOR)
    assert len(await world.services.bindings.mappings(world.account, PLAY)) == 2


@pytest.mark.parametrize("name", [PUSH, SUB])
async def test_only_main_streaming_domains_have_limits(world: World, name: str) -> None:
    await with_sub(world)
    limit = await world.streams.limit(world.account, PLAY)
    assert (limit.domain, limit.streams, limit.streams_max) == (PLAY, 0, 1000)
    assert await code(world.streams.limit(world.account, name)) == "IllegalOperation"


def wire(name: str, **args: str) -> str:
    return json.dumps([{"functionName": name, "functionArgs": [{"argName": n, "argValue": v} for n, v in args.items()]}])
