"""What viewers of FLV, WebSocket-FLV and RTMP find out about a stream, and about a server that does not want them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from headwater.load import clock
from headwater.load.clip import parse_clip
from headwater.media import flv
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag
from headwater.protocols import websocket
from headwater.protocols.rtmp.messages import UserControl, pack_user_control
from headwater.protocols.websocket import Opcode
from support.fake_media import Handler, blurt, flv_file, http_answer, http_flv, rtmp_play, serving, ws_flv
from support.load_runs import fault_counts, run_load
from support.media_clips import flv_clip
from support.ports import free_port

TAGS = flv.Reader().feed(flv_clip(seconds=2, bframes=0))
FRAMES = [index for index, tag in enumerate(TAGS) if tag.kind == VIDEO and not tag.flags & Flags.CONFIG]

Serve = Callable[[list[Tag]], Handler]

SERVERS: dict[str, tuple[str, Callable[..., Handler]]] = {
    "flv": ("http://{}/live/cam.flv", lambda tags, **how: http_flv(flv_file(tags), **how)),
    "chunked": ("http://{}/live/cam.flv", lambda tags, **how: http_flv(flv_file(tags), chunk_bytes=700, **how)),
    "ws": ("ws://{}/live/cam.flv", lambda tags, **how: ws_flv(flv_file(tags), **how)),
    "rtmp": ("rtmp://{}/live/cam", rtmp_play),
}


def changed(index: int, tag: Tag) -> list[Tag]:
    """The clip with another tag in one place."""
    return [*TAGS[:index], tag, *TAGS[index + 1 :]]


def without(*flags: int, kind: int = VIDEO) -> list[Tag]:
    """The clip without the tags of a kind that have one of these flags."""
    return [tag for tag in TAGS if tag.kind != kind or not any(tag.flags & flag for flag in flags)]


@pytest.mark.parametrize("check", [0, 1])
@pytest.mark.parametrize("name", SERVERS)
async def test_a_good_stream_is_all_well(name: str, check: int) -> None:
    url, serve = SERVERS[name]
    async with serving(serve(TAGS, stay=True)) as address:
        tally = await run_load(url.format(address), lambda tally: tally.tags >= len(TAGS), check=check)
    assert tally.faults == {}
    assert (tally.started, tally.begun, tally.checked, tally.open) == (1, 1, check, 0)
    assert tally.tags == len(TAGS)
    assert tally.first_ms.count == 1
    assert tally.first_ms.most_ms > 0
    assert tally.received_bytes > sum(len(tag.payload) for tag in TAGS)


@pytest.mark.parametrize("name", SERVERS)
async def test_who_has_stayed_long_enough_leaves_and_all_is_well(name: str) -> None:
    url, serve = SERVERS[name]
    async with serving(serve(TAGS, stay=True)) as address:
        tally = await run_load(url.format(address), clients=3, check=3, stay_s=0.01)
    assert tally.faults == {}
    assert (tally.begun, tally.open) == (3, 0)


@pytest.mark.parametrize("name", SERVERS)
async def test_the_end_of_the_stream_is_told(name: str) -> None:
    url, serve = SERVERS[name]
    async with serving(serve(TAGS)) as address:
        tally = await run_load(url.format(address), check=0)
    assert fault_counts(tally) == {"ended": 1}
    assert tally.begun == 1


LATE = FRAMES[30]

WRONG: dict[str, tuple[list[Tag], str, str]] = {
    "time runs back": (
        changed(LATE, Tag(VIDEO, TAGS[LATE].timestamp_ms - 500, TAGS[LATE].payload)),
        "backwards",
        "video timestamps ran back by",
    ),
    "no key frame": (without(Flags.KEY), "start", "the first video frame is no key frame"),
    "no configuration": (without(Flags.CONFIG), "start", "a key frame came before the configuration of h264"),
    "audio without configuration": (without(Flags.CONFIG, kind=AUDIO), "start", "an audio frame came before"),
}


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("what", WRONG)
async def test_wrong_streams_are_found_by_every_viewer(name: str, what: str) -> None:
    url, serve = SERVERS[name]
    tags, kind, words = WRONG[what]
    async with serving(serve(tags)) as address:
        tally = await run_load(url.format(address), check=0)
    assert fault_counts(tally) == {kind: 1, "ended": 1}
    assert words in next(iter(tally.faults[kind]))  # type: ignore[index]


@pytest.mark.parametrize("name", SERVERS)
async def test_a_cut_frame_is_found_by_viewers_who_look_into_it(name: str) -> None:
    url, serve = SERVERS[name]
    tags = changed(LATE, Tag(VIDEO, TAGS[LATE].timestamp_ms, TAGS[LATE].payload[:-3]))
    async with serving(serve(tags)) as address:
        checked = await run_load(url.format(address), check=1)
        unchecked = await run_load(url.format(address), check=0)
    assert fault_counts(checked) == {"frame": 1, "ended": 1}
    assert fault_counts(unchecked) == {"ended": 1}


@pytest.mark.parametrize("name", SERVERS)
async def test_a_wrap_of_the_clock_is_no_step_back(name: str) -> None:
    url, serve = SERVERS[name]
    tags = [Tag(tag.kind, (1 << 32) - 1000 + tag.timestamp_ms, tag.payload) for tag in TAGS]
    async with serving(serve(tags)) as address:
        tally = await run_load(url.format(address))
    assert fault_counts(tally) == {"ended": 1}


def torn_size() -> bytes:
    """A PreviousTagSize that is wrong, long after the start."""
    head = flv_file(TAGS[: LATE + 1])
    return head[:-4] + b"\0\0\0\x07" + flv_file(TAGS[LATE + 1 :])[13:]


def torn_tag() -> bytes:
    """Some bytes in the middle are missing."""
    return flv_file(TAGS[:LATE]) + flv_file(TAGS[LATE:])[13 + 40 :]


@pytest.mark.parametrize("check", [0, 1])
@pytest.mark.parametrize("body", [torn_size(), torn_tag()])
async def test_a_torn_stream_ends_the_viewer(body: bytes, check: int) -> None:
    for serve, scheme in ((http_flv(body), "http"), (http_flv(body, chunk_bytes=90), "http"), (ws_flv(body), "ws")):
        async with serving(serve) as address:
            tally = await run_load(f"{scheme}://{address}/live/cam.flv", check=check)
        assert fault_counts(tally) == {"torn": 1}


async def test_what_is_no_flv_is_told() -> None:
    async with serving(http_answer(b"HTTP/1.1 200 OK\r\n\r\n<html>")) as address:
        tally = await run_load(f"http://{address}/live/cam.flv")
    assert fault_counts(tally) == {"torn": 1}


async def test_what_is_no_http_is_told() -> None:
    async with serving(http_answer(b"220 mail.example ESMTP\r\n")) as address:
        tally = await run_load(f"http://{address}/live/cam.flv")
    assert fault_counts(tally) == {"protocol": 1}


@pytest.mark.parametrize("path", ["http://{}/live/cam.flv", "http://{}/live/cam.m3u8", "ws://{}/live/cam.flv"])
async def test_http_refusals_are_told_in_the_servers_words(path: str) -> None:
    answer = b"HTTP/1.1 403 Forbidden\r\nX-Tengine-Error: denied by req auth: no such key\r\nContent-Length: 0\r\n\r\n"
    async with serving(http_answer(answer)) as address:
        tally = await run_load(path.format(address), clients=3, check=0)
    assert tally.faults == {"refused": {"HTTP 403: denied by req auth: no such key": 3}}
    assert tally.begun == 0


async def test_rtmp_refusals_are_told_in_the_servers_words() -> None:
    async with serving(rtmp_play([], refuse="denied by req auth: no such key")) as address:
        tally = await run_load(f"rtmp://{address}/live/cam")
    assert tally.faults == {"refused": {"NetStream.Play.StreamNotFound: denied by req auth: no such key": 1}}


@pytest.mark.parametrize("scheme", ["http", "ws", "rtmp"])
async def test_nobody_listens(scheme: str) -> None:
    tally = await run_load(f"{scheme}://127.0.0.1:{free_port()}/live/cam.flv", clients=2, check=0)
    assert fault_counts(tally) == {"connect": 2}


@pytest.mark.parametrize("scheme", ["https", "wss", "rtmps"])
async def test_a_failed_tls_handshake_is_told(scheme: str) -> None:
    async with serving(blurt(b"220 mail.example ESMTP\r\n")) as address:
        tally = await run_load(f"{scheme}://{address}/live/cam.flv", insecure=True)
    assert fault_counts(tally) == {"tls": 1}


@pytest.mark.parametrize("check", [0, 1])
async def test_rtmp_tells_why_the_stream_is_over(check: int) -> None:
    handler = rtmp_play(TAGS, stay=True, then=lambda engine: engine.end_play("the encoder has gone"))
    async with serving(handler) as address:
        tally = await run_load(f"rtmp://{address}/live/cam", check=check)
    assert tally.faults == {"ended": {"NetStream.Play.UnpublishNotify: the encoder has gone": 1}}


async def test_websocket_tells_why_the_stream_is_over() -> None:
    async with serving(ws_flv(flv_file(TAGS), stay=True, then=websocket.pack_close(1001, "good night"))) as address:
        tally = await run_load(f"ws://{address}/live/cam.flv")
    assert tally.faults == {"ended": {"WebSocket close 1001: good night": 1}}


@pytest.mark.parametrize("check", [0, 1])
async def test_rtmp_pings_are_answered(check: int) -> None:
    heard = bytearray()
    handler = rtmp_play(TAGS, stay=True, then=lambda engine: engine.ping(4711), heard=heard)
    pong = pack_user_control(UserControl.PING_RESPONSE, 4711)
    async with serving(handler) as address:
        await run_load(f"rtmp://{address}/live/cam", lambda tally: pong in heard, check=check)
    assert pong in heard


async def test_websocket_pings_are_answered() -> None:
    heard = bytearray()
    ping = websocket.pack_frame(Opcode.PING, b"hello")
    async with serving(ws_flv(flv_file(TAGS), stay=True, then=ping, heard=heard)) as address:
        await run_load(f"ws://{address}/live/cam.flv", lambda tally: len(heard) >= 11)
    assert websocket.FrameReader().feed(bytes(heard)) == [(Opcode.PONG, b"hello")]


async def test_rtmp_viewers_acknowledge_what_they_have_received() -> None:
    heard = bytearray()
    big = [Tag(VIDEO, tag.timestamp_ms, tag.payload + bytes(40_000)) for tag in TAGS if tag.kind == VIDEO]
    async with serving(rtmp_play([*TAGS, *big], stay=True, heard=heard)) as address:
        tally = await run_load(f"rtmp://{address}/live/cam", lambda tally: len(heard) >= 16, check=0)
    assert heard[:16].hex().startswith("02000000000004030000")
    assert 1_000_000 <= int.from_bytes(heard[12:16], "big") <= tally.received_bytes


@pytest.mark.parametrize("name", SERVERS)
async def test_the_delay_is_measured_from_the_publishers_clock(name: str) -> None:
    url, serve = SERVERS[name]
    clip = parse_clip(flv_clip(seconds=2, bframes=0))
    now_us = time.time_ns() // 1000
    # the first half was sent before the viewer came, which is history; the second just when it comes
    sent = [now_us - 60_000_000] * (len(clip.frames) // 2) + [now_us + 60_000_000] * len(clip.frames)
    frames = [
        Tag(frame.kind, frame.timestamp_ms, clip.payload(frame, sent_us))
        for frame, sent_us in zip(clip.frames, sent, strict=False)
    ]
    expected = sum(frame.split >= 0 for frame in clip.frames[len(clip.frames) // 2 :])
    async with serving(serve([*clip.headers, *frames])) as address:
        tally = await run_load(url.format(address))
    assert fault_counts(tally) == {"ended": 1}
    assert tally.delay_ms.count == expected > 10
    assert -60_000 <= tally.delay_ms.least_ms < -50_000
    assert clock.find(frames[0].payload) == now_us - 60_000_000


async def test_a_stream_of_audio_alone_is_begun_by_its_first_frame() -> None:
    tags = flv.Reader().feed(flv_clip(video=None, seconds=5))
    async with serving(http_flv(flv_file(tags), stay=True)) as address:
        tally = await run_load(f"http://{address}/live/cam.flv", lambda tally: tally.tags == len(tags), check=0)
    assert tally.faults == {}
    assert tally.begun == 1


async def test_many_viewers_of_many_streams_add_up() -> None:
    async with serving(http_flv(flv_file(TAGS), stay=True)) as address:
        tally = await run_load(
            f"http://{address}/live/cam-{{n}}.flv",
            lambda tally: tally.tags == 20 * len(TAGS),
            clients=20,
            streams=5,
            check=10,
        )
    assert tally.faults == {}
    assert (tally.started, tally.begun, tally.checked) == (20, 20, 10)


async def test_a_viewer_without_media_is_told_at_the_end() -> None:
    async with serving(http_flv(flv_file(TAGS[:1]), stay=True)) as address:
        tally = await run_load(f"http://{address}/live/cam.flv", lambda tally: tally.tags == 1, stall_s=0)
    assert fault_counts(tally) == {"silent": 1}
    assert tally.begun == 0
