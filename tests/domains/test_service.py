"""Promises of the domain product, each checked in the answer and in the policy that media nodes get."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from sqlalchemy import select

from headwater.access.policy import Latency, Session, Signing
from headwater.domains.errors import DomainError
from headwater.domains.service import Delay, DelayChoice, Delays
from headwater.domains.urls import Endpoints
from headwater.store.models import AuditEntry
from support.domain_world import PLAY, PUSH, REGION, World, code, refused

KEY = "aliyunliveexp1234"


def wire(name: str, *, config_id: int | None = None, **args: str) -> str:
    function: dict[str, object] = {
        "functionName": name,
        "functionArgs": [{"argName": n, "argValue": v} for n, v in args.items()],
    }
    if config_id is not None:
        function["configId"] = config_id
    return json.dumps([function])


async def add(world: World, name: str, type_: str = "liveVideo", region: str = REGION) -> None:
    await world.domains.add(world.account, name, type_, region, actor=world.actor)


async def audit(world: World) -> list[AuditEntry]:
    async with world.database.read() as session:
        return list(await session.scalars(select(AuditEntry).order_by(AuditEntry.id)))


async def test_a_new_domain_is_online_at_once_with_a_key_of_its_own(world: World) -> None:
    record = await world.domains.add(world.account, "Demo.Example.COM", "liveVideo", REGION, "global", actor=world.actor)
    assert (record.name, record.type, record.status, record.scope) == ("demo.example.com", "liveVideo", "online", "global")
    assert record.cname == "demo.example.com.w.headwater.internal"
    assert record.created_s == record.modified_s == world.now_s
    assert record == await world.domains.detail(world.account, "DEMO.example.com")
    [function] = await world.domains.functions(world.account, record.name)
    policy = await world.policy(record.name)
    assert policy is not None
    assert policy.streaming_domain == record.name
    assert policy.signing == Signing(keys=(dict(function.args)["auth_key1"],), validity_s=1800)


async def test_an_international_name_is_found_as_it_was_added(world: World) -> None:
    await add(world, "b\u00fccher.example")
    await world.domains.set_functions(world.account, ["B\u00dcCHER.example"], wire("x"), actor=world.actor)
    assert (await world.domains.detail(world.account, "b\u00fccher.example")).name == "xn--bcher-kva.example"
    assert await code(world.domains.detail(world.account, "*.example")) == "InvalidDomainName.Malformed"
    await world.domains.delete(world.account, "b\u00fccher.example", actor=world.actor)
    assert (await world.domains.list_domains(world.account)).total == 0


async def test_what_cannot_be_added_is_refused(world: World) -> None:
    domains, actor = world.domains, world.actor
    assert (
        await code(domains.add(world.account, "*.example.com", "liveVideo", REGION, actor=actor))
        == "InvalidDomainName.Malformed"
    )
    assert await code(domains.add(world.account, "a.example.com", "vod", REGION, actor=actor)) == "InvalidLiveDomainType"
    assert await code(domains.add(world.account, "a.example.com", "liveVideo", "mars", actor=actor)) == "InvalidRegion"
    assert await code(domains.add(world.account, "a.example.com", "liveVideo", REGION, "x", actor=actor)) == "InvalidScope"
    for taken in ("w.headwater.internal", "a.w.headwater.internal", ".".join(["a" * 60] * 4)):
        assert await code(domains.add(world.account, taken, "liveVideo", REGION, actor=actor)) == "InvalidDomainName.Malformed"
    assert (await domains.list_domains(world.account)).total == 0
    assert await world.cluster.list("policy/") == []


async def test_a_name_belongs_to_one_account_only(world: World) -> None:
    await add(world, PLAY)
    for account in (world.account, world.stranger):
        fault = await refused(world.domains.add(account, PLAY, "liveEdge", REGION, actor=world.actor))
        assert (fault.code, fault.status, fault.message) == ("DomainAlreadyExist", 400, "The specified domain already exists.")


async def test_an_account_has_a_quota_even_when_it_hurries(world: World) -> None:
    results = await asyncio.gather(*(add(world, f"d{i}.example.com") for i in range(23)), return_exceptions=True)
    faults = [result for result in results if isinstance(result, DomainError)]
    assert [fault.code for fault in faults] == ["QuotaExceeded.Domain"] * 3
    assert (await world.domains.list_domains(world.account)).total == 20


async def test_a_strangers_domain_does_not_exist(world: World) -> None:
    await world.pair()
    domains, stranger, actor = world.domains, world.stranger, world.actor
    await domains.add(stranger, "own.example.com", "liveVideo", REGION, actor=actor)
    for call in (
        domains.detail(stranger, PLAY),
        domains.delete(stranger, PLAY, actor=actor),
        domains.start(stranger, PLAY, actor=actor),
        domains.stop(stranger, PLAY, actor=actor),
        world.services.bindings.map(stranger, PUSH, "own.example.com", actor=actor),
        world.services.bindings.unmap(stranger, PUSH, PLAY, actor=actor),
        world.services.bindings.mappings(stranger, PLAY),
        domains.functions(stranger, PLAY),
        domains.set_functions(stranger, ["own.example.com", PLAY], wire("x"), actor=actor),
        domains.set_functions(stranger, [PLAY], wire("x"), dry_run=True, actor=actor),
        domains.delete_functions(stranger, [PLAY], ["aliauth"], actor=actor),
        domains.set_delay(stranger, PLAY, actor=actor),
        domains.delays(stranger, PLAY),
        domains.urls(stranger, PLAY, "live", "a", Endpoints()),
        world.streams.online_streams(stranger, PLAY),
        world.streams.blocked_streams(stranger, PLAY),
        world.streams.publish_history(stranger, PLAY, 0, 1),
        world.streams.forbid_stream(stranger, PUSH, "live", "a", actor=actor),
        world.streams.resume_stream(stranger, PUSH, "live", "a", actor=actor),
    ):
        fault = await refused(call)
        assert (fault.code, fault.status) == ("InvalidDomain.NotFound", 404)
        assert fault.message == "The domain provided does not exist in our records."
    assert len(await domains.functions(stranger, "own.example.com")) == 1
    assert (await domains.list_domains(stranger)).total == 1


async def test_stop_and_start_reach_the_policy(world: World) -> None:
    await world.pair()
    world.now_s += 5
    await world.domains.stop(world.account, PLAY, actor=world.actor)
    policy = await world.policy(PLAY)
    assert policy is not None
    assert policy.status == "offline"
    record = await world.domains.detail(world.account, PLAY)
    assert (record.status, record.modified_s - record.created_s) == ("offline", 5)
    await world.domains.start(world.account, PLAY, actor=world.actor)
    policy = await world.policy(PLAY)
    assert policy is not None
    assert policy.status == "online"


async def test_binding_reaches_the_policy_and_can_be_undone(world: World) -> None:
    await world.pair()
    assert await world.services.bindings.mappings(world.account, PUSH) == [(PLAY, "vhost")]
    assert await world.services.bindings.mappings(world.account, PLAY) == [(PUSH, "publish")]
    policy = await world.policy(PUSH)
    assert policy is not None
    assert policy.streaming_domain == PLAY
    await world.services.bindings.unmap(world.account, PUSH, PLAY, actor=world.actor)
    policy = await world.policy(PUSH)
    assert policy is not None
    assert policy.streaming_domain is None
    assert await world.services.bindings.mappings(world.account, PLAY) == []
    assert await code(world.services.bindings.unmap(world.account, PUSH, PLAY, actor=world.actor)) == "DomainMapping.NotFound"


async def test_only_what_fits_is_bound(world: World) -> None:
    await world.pair()
    await add(world, "far.example.com", "liveVideo", "cn-beijing")
    await add(world, "other.example.com")
    await add(world, "free.example.com", "liveEdge")

    async def bind(push: str, pull: str) -> str:
        return await code(world.services.bindings.map(world.account, push, pull, actor=world.actor))

    assert await bind(PLAY, PLAY) == "InvalidPushDomain"
    assert await bind("free.example.com", PUSH) == "InvalidPullDomain"
    assert await bind("free.example.com", "far.example.com") == "DomainRegionMismatch"
    assert await bind(PUSH, "other.example.com") == "PushDomainAlreadyMapped"
    assert await bind(PUSH, PLAY) == "PushDomainAlreadyMapped"
    assert await bind(PUSH, "none.example.com") == "InvalidDomain.NotFound"


async def test_deleting_leaves_nothing(world: World) -> None:
    await world.pair()
    await world.streams.forbid_stream(world.account, PUSH, "live", "a", actor=world.actor)
    await world.domains.delete(world.account, PLAY.upper(), actor=world.actor)
    assert await world.policy(PLAY) is None
    assert await world.bans() == []
    policy = await world.policy(PUSH)
    assert policy is not None
    assert policy.streaming_domain is None
    assert await world.services.bindings.mappings(world.account, PUSH) == []
    await add(world, PLAY)
    assert (await world.streams.blocked_streams(world.account, PLAY)).total == 0


async def test_lists_filter_search_and_page(world: World) -> None:
    await world.pair()
    await add(world, "play-2.example.org", region="cn-beijing")
    await world.domains.stop(world.account, "play-2.example.org", actor=world.actor)

    async def names(**filters: Any) -> list[str]:
        page = await world.domains.list_domains(world.account, **filters)
        assert page.total == len(page.items)
        return [item.name for item in page.items]

    assert await names() == ["play-2.example.org", PLAY, PUSH]
    assert await names(search="PLAY") == ["play-2.example.org", PLAY]
    assert await names(search="%") == []
    assert await names(search="play.", search_type="pre_match") == [PLAY]
    assert await names(search=".com", search_type="suf_match") == [PLAY, PUSH]
    assert await names(search=PUSH, search_type="full_match") == [PUSH]
    assert await names(status="offline") == ["play-2.example.org"]
    assert await names(type_="liveEdge") == [PUSH]
    assert await names(region="cn-beijing") == ["play-2.example.org"]
    assert await code(world.domains.list_domains(world.account, search="a", search_type="x")) == "InvalidDomainSearchType"
    page = await world.domains.list_domains(world.account, page_number=2, page_size=2)
    assert ([item.name for item in page.items], page.total) == ([PUSH], 3)


async def test_a_changed_key_reaches_the_policy_and_keeps_its_config_id(world: World) -> None:
    await world.pair()
    [before] = await world.domains.functions(world.account, PLAY)
    settings = wire("aliauth", auth_type="type_a", auth_key1=KEY, ali_auth_delta="60")
    await world.domains.set_functions(world.account, [PLAY, PUSH], settings, actor=world.actor)
    for name in (PLAY, PUSH):
        policy = await world.policy(name)
        assert policy is not None
        assert policy.signing == Signing(keys=(KEY,), validity_s=60)
    [after] = await world.domains.functions(world.account, PLAY)
    assert after.config_id == before.config_id
    assert dict(after.args)["auth_key1"] == KEY
    await world.domains.delete_functions(world.account, [PLAY], ["aliauth", "absent"], actor=world.actor)
    policy = await world.policy(PLAY)
    assert policy is not None
    assert policy.signing.enabled is False


async def test_headwater_live_reaches_the_policy(world: World) -> None:
    await world.pair()
    await world.domains.set_functions(world.account, [PLAY], wire("headwater_live", flush="low"), actor=world.actor)
    policy = await world.policy(PLAY)
    assert policy is not None
    assert policy.session == Session(flush="low")


async def test_unknown_functions_are_kept_word_for_word(world: World) -> None:
    await add(world, PLAY)
    await world.domains.set_functions(world.account, [PLAY], wire("some_future", b=" x ", a=""), actor=world.actor)
    [function] = await world.domains.functions(world.account, PLAY, ["some_future"])
    assert (function.args, function.status) == ((("b", " x "), ("a", "")), "success")


async def test_multiple_functions_grow_and_are_updated_by_their_config_id(world: World) -> None:
    await add(world, PLAY)
    for path in ("/a", "/b"):
        await world.domains.set_functions(
            world.account, [PLAY], wire("path_based_ttl_set", path=path, ttl="60"), actor=world.actor
        )
    one, two = await world.domains.functions(world.account, PLAY, ["path_based_ttl_set"])
    update = wire("path_based_ttl_set", config_id=one.config_id, path="/c", ttl="60")
    await world.domains.set_functions(world.account, [PLAY], update, actor=world.actor)
    functions = await world.domains.functions(world.account, PLAY, ["path_based_ttl_set"])
    assert [(f.config_id, f.args) for f in functions] == [
        (one.config_id, (("path", "/c"), ("ttl", "60"))),
        (two.config_id, (("path", "/b"), ("ttl", "60"))),
    ]
    for wrong in (wire("some_future", config_id=9999), wire("other_future", config_id=one.config_id)):
        for dry_run in (True, False):
            fault = await refused(world.domains.set_functions(world.account, [PLAY], wrong, dry_run=dry_run, actor=world.actor))
            assert (fault.code, fault.status) == ("ConfigNotFound", 404)


async def test_setting_functions_is_all_or_nothing(world: World) -> None:
    await world.pair()
    both = json.loads(wire("good", a="1")) + json.loads(wire("aliauth", auth_type="bad"))
    call = world.domains.set_functions(world.account, [PUSH, PLAY], json.dumps(both), actor=world.actor)
    assert await code(call) == "InvalidArgValue.Malformed"
    assert await world.domains.functions(world.account, PUSH, ["good"]) == []
    await world.domains.set_functions(world.account, [PUSH, PLAY], wire("good"), dry_run=True, actor=world.actor)
    assert await world.domains.functions(world.account, PUSH, ["good"]) == []
    many = [f"d{i}.example.com" for i in range(51)]
    assert await code(world.domains.set_functions(world.account, many, wire("x"), actor=world.actor)) == "DomainNameOverLimit"


async def test_delays_reach_the_policy_and_add_up(world: World) -> None:
    await world.pair()
    assert await world.domains.delays(world.account, PLAY) == Delays()
    await world.domains.set_delay(
        world.account, PLAY, rtmp=DelayChoice(level="medium"), hls=DelayChoice(9, "short"), actor=world.actor
    )
    await world.domains.set_delay(world.account, PLAY, flv=DelayChoice(1), actor=world.actor)
    assert await world.domains.delays(world.account, PLAY) == Delays(Delay(4, "medium"), Delay(1, None), Delay(9, None))
    policy = await world.policy(PLAY)
    assert policy is not None
    assert policy.latency == Latency(rtmp_delay_s=4, flv_delay_s=1, hls_delay_s=9)
    assert await code(world.domains.set_delay(world.account, PUSH, actor=world.actor)) == "IllegalOperation"


async def test_urls_can_be_asked_for_by_either_domain(world: World) -> None:
    await world.pair()
    ends = Endpoints()
    urls = await world.domains.urls(world.account, PLAY, "live", "a", ends)
    assert urls == await world.domains.urls(world.account, PUSH, "live", "a", ends)
    assert urls.push.startswith(f"rtmp://{PUSH}/live/a?auth_key=")
    assert urls.play["hls"].startswith(f"http://{PLAY}/live/a.m3u8?auth_key=")
    assert await code(world.domains.urls(world.account, PLAY, "-", "a", ends)) == "InvalidAppName"
    assert await code(world.domains.urls(world.account, PLAY, "live", "a/b", ends)) == "InvalidStreamName"
    await world.services.bindings.unmap(world.account, PUSH, PLAY, actor=world.actor)
    assert (await world.domains.urls(world.account, PLAY, "live", "a", ends)).push == ""
    assert await code(world.domains.urls(world.account, PUSH, "live", "a", ends)) == "IllegalOperation"


async def test_the_start_of_the_platform_puts_everything_and_removes_what_is_stale(world: World) -> None:
    await world.pair()
    await world.streams.forbid_stream(world.account, PUSH, "live", "a", actor=world.actor)
    before = {entry.key: entry.value for entry in await world.cluster.list("policy/") + await world.cluster.list("ban/")}
    for key in before:
        await world.cluster.delete(key)
    await world.cluster.put("policy/gone.example.com", b"x")
    await world.cluster.put("ban/gone.example.com/a/b", b"x")
    await world.cluster.put("stream/other", b"x")
    await world.domains.publish_all()
    after = {entry.key: entry.value for entry in await world.cluster.list("policy/") + await world.cluster.list("ban/")}
    assert after == before
    assert await world.cluster.get("stream/other") is not None
    world.now_s += 365 * 86400
    await world.domains.publish_all()
    assert await world.bans() == []


async def test_of_two_changes_at_once_the_policy_shows_both(world: World) -> None:
    await world.pair()
    settings = wire("aliauth", auth_type="type_a", auth_key1=KEY)
    await asyncio.gather(
        world.domains.stop(world.account, PLAY, actor=world.actor),
        world.domains.set_functions(world.account, [PLAY], settings, actor=world.actor),
        world.domains.set_delay(world.account, PLAY, hls=DelayChoice(3), actor=world.actor),
    )
    policy = await world.policy(PLAY)
    assert policy is not None
    assert (policy.status, policy.signing.keys, policy.latency.hls_delay_s) == ("offline", (KEY,), 3)


async def test_every_change_is_in_the_audit_log_and_no_refusal_is(world: World) -> None:
    await world.pair()
    await refused(world.domains.add(world.account, PLAY, "liveVideo", REGION, actor=world.actor))
    await world.domains.stop(world.account, PLAY, actor=world.actor)
    await world.domains.delete(world.account, PLAY, actor=world.actor)
    entries = [entry for entry in await audit(world) if entry.action != "CreateAccount"]
    assert [(entry.action, entry.object) for entry in entries] == [
        ("AddLiveDomain", PUSH),
        ("AddLiveDomain", PLAY),
        ("AddLiveDomainMapping", PUSH),
        ("StopLiveDomain", PLAY),
        ("DeleteLiveDomain", PLAY),
    ]
    assert {(entry.account, entry.actor, entry.request_id) for entry in entries} == {(world.account, "tester", "request-1")}
    stop = entries[3]
    assert (json.loads(stop.before), json.loads(stop.after)) == ({"status": "online"}, {"status": "offline"})
