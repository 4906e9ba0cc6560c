"""Viewers ask for renditions and groups by their names: what is not live is started, and what is refused is the source."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import msgspec
import pytest

from headwater.access.client import Client, Peer
from headwater.access.plan import Audio, Group, Rendition, Video
from headwater.access.policy import Policy, Signing
from headwater.access.signing import sign
from headwater.access.verdict import Refusal
from headwater.delivery.http import Join
from headwater.delivery.play import PlayRequest
from headwater.live.stream import LiveStream
from headwater.media.tag import AUDIO, VIDEO
from headwater.protocols.http import Request, Response
from support import center_world
from support.center_world import PRODUCT, World
from support.encoders import clip as make_clip
from support.media_worker import DOMAIN, KEY, Encoder
from support.wait import eventually

LD, HD = (Rendition("*", name, video=Video(height=90, kbps=300), audio=Audio(kbps=64)) for name in ("ld", "hd"))
PEER = Peer("192.0.2.1", "127.0.0.1")
SECRET = "0123456789abcdef"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with center_world.world() as world:
        yield world


async def _find(world: World, name: str, protocol: str = "flv") -> LiveStream | str:
    """The stream that a player of this name is given, or why it gets none."""
    request = PlayRequest(DOMAIN, "live", name, f"/live/{name}.flv", None, Client("192.0.2.1", protocol))
    found = world.worker.node.delivery.find("viewer", request)
    if not isinstance(found, (tuple, Refusal)):
        found = await found
    return found.reason if isinstance(found, Refusal) else found[1]


async def _get(world: World, target: str, agent: str = "player") -> Response:
    """The answer to a player of HLS."""
    parts = urlsplit(target)
    request = Request("GET", parts.path, parts.query, {"host": DOMAIN, "user-agent": agent}, "1.1", keep_alive=True)
    answer = world.worker.node.http.answer("viewer", request, PEER)
    if not isinstance(answer, (Response, Join)):
        answer = await answer
    assert isinstance(answer, Response)
    return answer


async def _source(world: World, frames: int = 60) -> Encoder:
    encoder = Encoder(world.worker)
    encoder.write(frames)
    await world.announce()
    await eventually(lambda: world.center.stream((KEY.domain, KEY.app, KEY.stream)) is not None, "the center knows the stream")
    return encoder


async def _planned(world: World) -> None:
    await eventually(lambda: world.worker.node.renditions.plan(DOMAIN) is not None, "the worker knows the plan")


async def test_a_lazy_rendition_begins_for_its_first_viewer_of_any_protocol(world: World) -> None:
    await world.plan(LD, HD)
    await _source(world)
    await _planned(world)
    started = await asyncio.gather(_find(world, "cam_ld"), _find(world, "cam_hd", "rtmp"))
    assert [str(stream) and stream.key.stream for stream in started if isinstance(stream, LiveStream)] == ["cam_ld", "cam_hd"]
    await eventually(lambda: not world.center.hosts.jobs.get(("transcode", "cam")), "nobody watched, so it has ended", 20)


async def test_a_rendition_goes_on_while_somebody_watches_hls(world: World) -> None:
    await world.plan(LD)
    encoder = await _source(world)
    await _planned(world)
    asking = asyncio.create_task(_get(world, "/live/cam_ld.m3u8"))
    product = await world.product()
    while not asking.done():
        encoder.write(25)
        await asyncio.sleep(0.05)
    answer = asking.result()
    assert answer.status == 200, answer
    assert b"cam_ld-" in answer.body
    assert product.hls is not None
    assert world.worker.node.renditions.wanted() == {(KEY, "ld")}
    product.hls.asked_at -= 60
    await eventually(lambda: not world.center.hosts.jobs.get(("transcode", "cam")), "the rendition has ended", 20)


async def test_a_refused_rendition_is_its_source_in_every_protocol(world: World) -> None:
    await world.plan(LD, HD, most=1)
    await _source(world, 120)
    await _planned(world)
    ld = await _find(world, "cam_ld")
    assert isinstance(ld, LiveStream)
    assert ld.key == PRODUCT
    viewer = asyncio.create_task(_hold(world))
    hd = await _find(world, "cam_hd")
    assert isinstance(hd, LiveStream)
    assert hd.key == KEY
    answer = await _get(world, "/live/cam_hd.m3u8")
    assert b"\ncam-" in answer.body
    viewer.cancel()


async def _hold(world: World) -> None:
    """Want the rendition `ld` on and on."""
    while True:
        await _find(world, "cam_ld")
        await asyncio.sleep(0.01)


async def test_who_was_given_the_source_keeps_it(world: World) -> None:
    await world.plan(LD, most=1)
    encoder = await _source(world, 120)
    await _planned(world)
    node = world.worker.node
    node.renditions.refused_changed("refused/play.test/live/cam_ld", b"")
    assert b"\ncam-" in (await _get(world, "/live/cam_ld.m3u8")).body
    node.renditions.refused_changed("refused/play.test/live/cam_ld", None)
    stream = await _find(world, "cam_ld")
    encoder.write(60)
    assert isinstance(stream, LiveStream)
    assert stream.key == PRODUCT
    assert b"\ncam-" in (await _get(world, "/live/cam_ld.m3u8")).body


async def test_a_rendition_that_does_not_begin_in_time_is_its_source() -> None:
    async with center_world.world(wait_s=0.1) as world:
        world.renditions.renditions = False
        await world.plan(LD)
        await _source(world)
        await _planned(world)
        stream = await _find(world, "cam_ld")
        assert isinstance(stream, LiveStream)
        assert stream.key == KEY


async def test_without_its_source_a_rendition_is_not_found(world: World) -> None:
    await world.plan(LD)
    await _planned(world)
    assert await _find(world, "cam_ld") == "not_found"
    assert await _find(world, "cam_nothing") == "not_found"
    assert (await _get(world, "/live/cam_ld.m3u8")).status == 404
    assert world.worker.node.renditions.wanted() == set()


async def test_a_real_stream_of_that_name_wins(world: World) -> None:
    await world.plan(LD)
    await _source(world)
    await _planned(world)
    own = Encoder(world.worker, PRODUCT)
    own.write(30)
    stream = await _find(world, "cam_ld")
    assert isinstance(stream, LiveStream)
    assert stream.publisher is own


async def test_a_group_is_a_master_playlist_of_its_renditions() -> None:
    policy = Policy(
        DOMAIN, "1", "liveVideo", "online", "cn", streaming_domain=DOMAIN, signing=Signing(keys=(SECRET,), validity_s=60)
    )
    async with center_world.world(policy) as world:
        await world.plan(LD, HD, groups=(Group("live", "multi", ("ld", "hd", "")),))
        encoder = await _source(world, 0)
        for tag in make_clip(3):
            if tag.kind in (AUDIO, VIDEO):
                encoder.stream.write(tag.kind, tag.timestamp_ms, tag.body)
        await _planned(world)
        issued = int(time.time()) - 50
        token = sign("/live/cam_multi.m3u8", issued, SECRET, "r1", "7")
        answer = await _get(world, f"/live/cam_multi.m3u8?user=me&auth_key={token}")
        lines = answer.body.decode().splitlines()
        assert answer.status == 200, answer
        children = [line for line in lines if line and not line.startswith("#")]
        assert [child.partition("?")[0] for child in children] == ["cam_ld.m3u8", "cam_hd.m3u8", "cam.m3u8"]
        assert all("user=me&" in child and f"auth_key={issued}-r1-7-" in child for child in children)
        assert "#EXT-X-STREAM-INF:BANDWIDTH=418600" in lines[3]
        source = await _get(world, f"/live/{children[2]}")
        assert source.status == 200, source
        assert (await _get(world, "/live/cam_multi.m3u8")).status == 403
        assert len(world.worker.node.http.hls_viewers) == 1
        # the viewer may go over to another child when its signature has expired meanwhile; nobody else may come by it
        world.worker.node.rules.set_policy(msgspec.structs.replace(policy, signing=Signing(keys=(SECRET,), validity_s=1)))
        assert (await _get(world, f"/live/{children[2]}")).status == 200
        assert (await _get(world, f"/live/{children[2]}".replace("headwater_group=cam_multi&", ""))).status == 403
        assert (await _get(world, f"/live/{children[2]}", agent="another")).status == 403
        assert (await _get(world, f"/live/{children[0]}x")).status == 403


async def test_a_group_of_a_stream_that_is_not_live_is_not_found(world: World) -> None:
    await world.plan(LD, groups=(Group("live", "multi", ("ld",)),))
    await _planned(world)
    assert (await _get(world, "/live/cam_multi.m3u8")).status == 404
