"""The pages of live streams: what they show, and that nobody sees another account's."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec
import pytest

from headwater.access import presence
from headwater.access.presence import StreamPresence
from support.console_site import ACTOR, Site

PUSH, PLAY = "push.example.test", "play.example.test"
ROOT = f"/streams/{PLAY}/live/cam"
CAM = StreamPresence(
    domain=PLAY,
    app="live",
    stream="cam",
    session="s1",
    publish_domain=PUSH,
    publish_url=f"rtmp://{PUSH}/live/cam",
    published_at=1_700_000_000.0,
    client_ip="192.0.2.1",
    server_ip="192.0.2.2",
    node="node",
    worker=0,
    width=1280,
    height=720,
    video_codec_id=7,
)
RENDITION = msgspec.structs.replace(CAM, stream="cam_lld", session="s2", source="cam", template="lld", width=640, height=360)


@pytest.fixture
async def live(site: Site) -> Site:
    account = await site.account("ada")
    await site.domain(account, PUSH, "liveEdge")
    await site.domain(account, PLAY)
    await site.services.bindings.map(account, PUSH, PLAY, actor=ACTOR)
    for item in (CAM, RENDITION):
        await site.cluster.put(presence.stream_key(PLAY, "live", item.stream), presence.encode(item))
    return site


async def test_the_list_has_what_is_pushed_and_not_what_is_made_of_it(live: Site) -> None:
    page = await (await live.visitor("ada")).get("/streams")
    assert ROOT in page.links
    assert "1280" in page.text
    assert "cam_lld" not in page.text


async def test_a_search_finds_streams_by_any_part_of_their_names(live: Site) -> None:
    visitor = await live.visitor("ada")
    assert ROOT in (await visitor.get("/streams?q=CAM")).links
    assert "No stream matches" in (await visitor.get("/streams?q=other")).text


async def test_a_streams_page_shows_its_preview_and_its_renditions(live: Site) -> None:
    page = await (await live.visitor("op")).get(ROOT)
    assert any(link.startswith("/player?embedded") for link in page.links)
    assert "cam_lld" in page.text
    assert "360" in page.text


async def test_renditions_that_run_or_would_begin_are_played_in_the_page_and_no_others(live: Site) -> None:
    account = await live.services.accounts.find("ada")
    await live.services.transcoding.add(account, PLAY, "live", "lsd", kind="preset", lazy=True, actor=ACTOR)
    visitor = await live.visitor("ada")

    async def previews(query: str) -> str:
        page = await visitor.get(ROOT + query)
        return unquote(next(link for link in page.links if link.startswith("/player?embedded")))

    assert {f"{ROOT}?play=cam_lld", f"{ROOT}?play=cam_lsd"} <= set((await visitor.get(ROOT)).links)
    assert "/live/cam_lld.flv" in await previews("?play=cam_lld")
    assert "/live/cam_lsd.flv" in await previews("?play=cam_lsd")
    assert "/live/cam.flv" in await previews("?play=other")


async def test_a_stream_that_is_not_live_has_a_page_too(live: Site) -> None:
    page = await (await live.visitor("ada")).get(f"/streams/{PLAY}/live/gone")
    assert page.status == 200
    assert "Not live" in page.text


async def test_another_accounts_streams_are_not_there(live: Site) -> None:
    await live.account("bob")
    visitor = await live.visitor("bob")
    assert ROOT not in (await visitor.get("/streams")).links
    assert (await visitor.get(ROOT)).status == 404
    assert (await visitor.get(f"/recorded/{PLAY}/bucket/file.mp4")).status == 404


async def test_a_stream_is_forbidden_and_allowed_again(live: Site) -> None:
    visitor = await live.visitor("ada")
    await visitor.post(ROOT, {"what": "forbid"})
    account = (await live.services.accounts.accounts())[0].id
    assert [ban.stream for ban in (await live.services.streams.blocked_streams(account, PLAY)).items] == ["cam"]
    await visitor.post(ROOT, {"what": "resume"})
    assert (await live.services.streams.blocked_streams(account, PLAY)).items == []


async def test_without_a_center_the_page_says_why_there_is_no_picture(live: Site) -> None:
    page = await (await live.visitor("ada")).post(f"{ROOT}/picture", page=ROOT)
    assert page.status == 200
    assert any(attrs.get("role") == "alert" for _, attrs in page.tags)


async def test_what_was_not_recorded_cannot_be_had(live: Site) -> None:
    visitor = await live.visitor("ada")
    for path in ("bucket/no.mp4", "bucket/..%2f..%2fsecret.key", "headwater.db/x"):
        assert (await visitor.get(f"/recorded/{PLAY}/{path}")).status == 404
