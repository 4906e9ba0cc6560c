"""Promises about watermarks: their pictures, their places, and the streams that get them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from headwater.access import plan as plans
from headwater.access import presence
from headwater.access.plan import Plan, Rendition
from headwater.access.presence import StreamPresence
from headwater.center.department import Center
from headwater.center.transcode.spec import Spec
from headwater.center.transcoding import Transcoding, mark_of
from headwater.domains import pictures
from headwater.domains.pictures import PICTURE_MAX_BYTES, PictureError, check_picture
from headwater.domains.watermarks import Placement, WatermarkService
from headwater.settings import Settings
from support.domain_world import ACTOR, PLAY, PUSH, World, code, refused
from support.transcoding import picture
from support.web_server import Page, WebServer

PLACE = Placement(1280, 720, 90, 16.5, 8.0, "TopLeft", 200)
RED, WIDE = picture(64, 32), picture(128, 32, "JPEG")


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        server.pages["127.0.0.1", "/red.png"] = Page(RED)
        server.pages["127.0.0.1", "/wide.jpg"] = Page(WIDE)
        yield server


def service(world: World) -> WatermarkService:
    world.services.watermarks._private_pictures = True
    return world.services.watermarks


async def add(world: World, web: WebServer, path: str = "/red.png", name: str = "mark", **changes: Any) -> str:
    place = msgspec.structs.replace(PLACE, **changes)
    return await service(world).add(world.account, name, f"http://127.0.0.1:{web.port}{path}", place, actor=ACTOR)


async def rule(world: World, template: str, stream: str = "cam", app: str = "live") -> str:
    return await service(world).add_rule(world.account, PLAY, app, stream, template, title="rule", actor=ACTOR)


async def plan_of(world: World) -> Plan:
    entry = await world.cluster.get(plans.plan_key(PLAY))
    return Plan(PLAY, "", "") if entry is None else plans.decode(entry.value)


async def go_live(world: World, stream: str = "cam") -> StreamPresence:
    item = StreamPresence(PLAY, "live", stream, "s", PUSH, "", 1.0, "", "", "node", 0)
    await world.cluster.put(presence.stream_key(PLAY, "live", stream), presence.encode(item))
    return item


async def test_a_watermark_is_fetched_kept_changed_and_forgotten(world: World, web: WebServer) -> None:
    await world.pair()
    template = await add(world, web)
    assert await service(world).picture(world.account, template) == RED
    id_ = await rule(world, template)
    (mark,) = (await plan_of(world)).watermarks
    assert (mark.rule, mark.picture, mark.x, mark.corner) == (id_, hashlib.sha256(RED).hexdigest(), 16.5, "TopLeft")
    url = f"http://127.0.0.1:{web.port}/wide.jpg"
    await service(world).update(world.account, template, picture_url=url, corner="BottomRight", actor=ACTOR)
    (mark,) = (await plan_of(world)).watermarks
    assert (mark.picture, mark.corner) == (hashlib.sha256(WIDE).hexdigest(), "BottomRight")
    page = await service(world).templates(world.account, keyword="ar")
    assert [(item.id, item.picture_url, item.rules) for item in page.items] == [(template, url, 1)]
    assert (await service(world).templates(world.account, keyword="%")).total == 0
    assert await code(service(world).remove(world.account, template, actor=ACTOR)) == "Watermark.InUse"
    await service(world).remove_rule(world.account, PLAY, id_=id_, actor=ACTOR)
    assert (await plan_of(world)).watermarks == ()
    await service(world).remove(world.account, template, actor=ACTOR)
    assert await code(service(world).picture(world.account, template)) == "InvalidTemplateId.NotFound"


async def test_what_is_no_picture_is_refused_with_the_reason(world: World, web: WebServer) -> None:
    for path, page, reason in (
        ("/none", Page(status=404), "status 404"),
        ("/moved", Page(status=302, headers={"Location": "http://127.0.0.1/"}), "redirects are not followed"),
        ("/text", Page(b"no picture"), "neither a PNG nor a JPEG"),
        ("/gif", Page(picture(8, 8, "GIF")), "neither a PNG nor a JPEG"),
        ("/half", Page(RED[:60]), "broken"),
        ("/big", Page(b"x" * (PICTURE_MAX_BYTES + 1)), "more than 2048 KiB"),
        ("/wide", Page(picture(4097, 1)), "wider or higher"),
    ):
        web.pages["127.0.0.1", path] = page
        fault = await refused(add(world, web, path))
        assert (fault.code, reason in fault.message) == ("InvalidPictureUrl", True), fault
    for url in ("", "ftp://a/b", "http://", "http://a b/", "http://user@a/", f"http://a/{'x' * 2048}", "http://[", "file:///x"):
        call = service(world).add(world.account, "m", url, PLACE, actor=ACTOR)
        assert await code(call) == "InvalidPictureUrl", url


async def test_no_picture_comes_from_the_operators_own_network(world: World, web: WebServer) -> None:
    service(world)._private_pictures = False
    call = world.services.watermarks.add(world.account, "m", f"http://127.0.0.1:{web.port}/red.png", PLACE, actor=ACTOR)
    assert "no public address" in (await refused(call)).message
    assert web.asked == []


async def test_a_server_that_does_not_answer_costs_only_its_time(
    world: World, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.pages["127.0.0.1", "/slow"] = Page(RED, headers={"Content-Length": "100000"})
    monkeypatch.setattr(pictures, "FETCH_S", 0.2)
    assert await code(add(world, web, "/slow")) == "InvalidPictureUrl"


def test_a_bomb_is_no_picture() -> None:
    header = picture(8, 8).replace((8).to_bytes(4, "big") * 2, (60_000).to_bytes(4, "big") * 2, 1)
    with pytest.raises(PictureError):
        check_picture(header)


async def test_places_have_their_bounds(world: World, web: WebServer) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"ref_width": 0}, "InvalidRefWidth"),
        ({"ref_height": 4097}, "InvalidRefHeight"),
        ({"height": 0}, "InvalidHeight"),
        ({"height": 721}, "InvalidHeight"),
        ({"x": -1.0}, "InvalidXOffset"),
        ({"x": float("nan")}, "InvalidXOffset"),
        ({"x": 1281.0}, "InvalidXOffset"),
        ({"y": float("inf")}, "InvalidYOffset"),
        ({"corner": "Middle"}, "InvalidOffsetCorner"),
        ({"transparency": 256}, "InvalidTransparency"),
        ({"name": ""}, "InvalidName"),
        ({"name": "x" * 129}, "InvalidName"),
    ]
    for changes, expected in wrong:
        assert await code(add(world, web, **changes)) == expected, changes


async def test_streams_are_chosen_by_name_or_by_one_asterisk(world: World, web: WebServer) -> None:
    await world.pair()
    template = await add(world, web)
    names = {"cam": "cam", "*": "any", "*(t1|t2)": "a-t2", "(abc|123)*": "123x", "*x": "aax", "x*": "xaa"}
    for pattern, name in names.items():
        await rule(world, template, pattern)
        plan = await plan_of(world)
        assert mark_of(plan, "live", name) is not None, pattern
        assert mark_of(plan, "other", name) is None, pattern
        assert (mark_of(plan, "live", "none") is None) == (pattern != "*"), pattern
        await service(world).remove_rule(world.account, PLAY, app="live", stream=pattern, actor=ACTOR)
    for pattern in ("", "**", "a*b", "*(a|b)*", "*()", "*(a|)", "(a|b)", "a b", "x" * 256, "*(a(b))"):
        assert await code(rule(world, template, pattern)) == "InvalidStream", pattern


async def test_rules_are_unique_changed_and_found_by_their_names(world: World, web: WebServer) -> None:
    await world.pair()
    template, other = await add(world, web), await add(world, web, "/wide.jpg", "other")
    id_ = await rule(world, template)
    assert await code(rule(world, template)) == "ConfigAlreadyExists"
    await service(world).update_rule(world.account, id_, template=other, title="new", actor=ACTOR)
    (found,) = (await service(world).rules(world.account)).items
    assert (found.template, found.name, found.app, found.stream) == (other, "new", "live", "cam")
    assert await code(service(world).update_rule(world.stranger, id_, title="x", actor=ACTOR)) == "InvalidRuleId.NotFound"
    assert await code(service(world).update_rule(world.account, id_, template="x", actor=ACTOR)) == "InvalidTemplateId.NotFound"
    assert await code(service(world).remove_rule(world.account, PLAY, app="live", actor=ACTOR)) == "MissingRuleId"
    assert await code(service(world).remove_rule(world.account, PLAY, id_="x", actor=ACTOR)) == "InvalidRuleId.NotFound"
    await service(world).remove_rule(world.account, PLAY, app="live", stream="cam", actor=ACTOR)
    assert (await service(world).rules(world.account, domain=PLAY)).total == 0
    assert (await service(world).rules(world.stranger)).total == 0


async def test_a_live_stream_gets_another_watermark_at_once(world: World, web: WebServer) -> None:
    await world.pair()
    template, other = await add(world, web), await add(world, web, "/wide.jpg", "other")
    await rule(world, template, "*")
    switch = service(world).switch
    assert await code(switch(world.account, PLAY, "live", "cam", other, actor=ACTOR)) == "InvalidStream.NotFound"
    await go_live(world)
    for expected, id_ in ((WIDE, other), (RED, template)):
        await switch(world.account, PLAY, "live", "cam", id_, actor=ACTOR)
        mark = mark_of(await plan_of(world), "live", "cam")
        assert mark is not None
        assert mark.picture == hashlib.sha256(expected).hexdigest()
    assert (await service(world).rules(world.account)).total == 2


async def test_the_center_lays_the_picture_ready_for_the_job(world: World, web: WebServer, tmp_path: Path) -> None:
    await world.pair()
    await rule(world, await add(world, web))
    center = SimpleNamespace(spool=tmp_path, settings=Settings(), database=world.database)
    department = Transcoding(cast(Center, center))
    await department.start()
    plan = msgspec.structs.replace(await plan_of(world), renditions=(Rendition("live", "own"),))
    (wanted,) = department.wanted(await go_live(world), plan, {"own": 0.0})
    (mark,) = msgspec.json.decode(wanted.spec, type=Spec).marks
    await asyncio.gather(*department._fetching.values())
    assert Path(mark.path).read_bytes() == RED
    await department.close()


async def test_what_is_deleted_with_a_domain_is_its_rules(world: World, web: WebServer) -> None:
    await world.pair()
    template = await add(world, web)
    await rule(world, template)
    await world.domains.delete(world.account, PLAY, actor=ACTOR)
    (left,) = (await service(world).templates(world.account)).items
    assert (left.id, left.rules) == (template, 0)
