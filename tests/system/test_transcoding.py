"""Transcoding in the real program, set up through the API: a template, a watermark that changes, a text in the stream."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from headwater.center.transcode.sei import TEXT_UUID
from headwater.media.codecs import classify
from headwater.media.tag import AUDIO, VIDEO, Tag
from support.api import Api, Pair, make_pair
from support.encoders import ffmpeg_push
from support.footage import Seen, brightness, watch
from support.players import HttpViewer
from support.server import Server, running
from support.wait import until
from support.web_server import Page, WebServer

SIZE = (320, 180)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    settings = {"center.enabled": "true", "center.transcode_cores": "50", "center.private_pictures": "true"}
    with running(settings) as server:
        yield server


@pytest.fixture
def pictures() -> Iterator[WebServer]:
    """A web server with a white picture and a black one."""
    with WebServer() as web:
        for name, level in (("white", 255), ("black", 0)):
            data = io.BytesIO()
            Image.new("RGB", (40, 40), (level, level, level)).save(data, "PNG")
            web.pages["127.0.0.1", f"/{name}.png"] = Page(data.getvalue())
        yield web


def seen(viewer: HttpViewer, keep: bool = False) -> Seen:
    tags = [Tag(tag.kind, tag.timestamp_ms, tag.body, classify(tag.kind, tag.body)) for tag in viewer.tags]
    return watch([tag for tag in tags if tag.kind in (AUDIO, VIDEO)], keep=keep)


def watermark(pair: Pair, pictures: WebServer, name: str) -> str:
    made = pair.api.call(
        "AddLiveStreamWatermark",
        name=name,
        type=0,
        picture_url=f"http://127.0.0.1:{pictures.port}/{name}.png",
        transparency=255,
        ref_width=320,
        ref_height=180,
        height=80,
        xoffset=0,
        yoffset=0,
        offset_corner="TopLeft",
        domain=pair.streaming,
    )
    return str(made["TemplateId"])


def test_a_template_a_watermark_and_a_text_set_through_the_api(server: Server, pictures: WebServer) -> None:
    pair = make_pair(server, Api(server, server.account()))
    call, domain = pair.api.call, pair.streaming
    call(
        "AddCustomLiveStreamTranscode",
        domain=domain,
        app="live",
        template="mine",
        template_type="h264",
        lazy="yes",
        height=120,
        width=214,
        fps=10,
        video_bitrate=300,
        audio_codec="AAC",
        audio_rate=22050,
    )
    white, black = (watermark(pair, pictures, name) for name in ("white", "black"))
    call("AddLiveStreamWatermarkRule", domain=domain, app="live", stream="(cam|dog)*", template_id=white, name="rule")
    with ffmpeg_push(pair.push_url(), size=SIZE):
        pair.wait_online()
        with HttpViewer(pair.play_url("flv", "cam_mine")) as viewer:
            viewer.wait_frames(12)
            made = seen(viewer, keep=True)
            assert (made.size, made.audio_rate) == ((214, 120), 22050)
            times = made.video_times
            assert (times[-1] - times[0]) / (len(times) - 1) == pytest.approx(100, abs=20)
            until(lambda: brightness(seen(viewer, keep=True).pictures[-1], 10, 10) > 220, "the white mark is there")
            call("DynamicUpdateWaterMarkStreamRule", domain=domain, app="live", stream="cam", template_id=black)
            until(lambda: brightness(seen(viewer, keep=True).pictures[-1], 10, 10) < 30, "it is black now")
            sei = {"pattern": "frame", "repeat": -1, "delay": 0, "text": "hello, viewers"}
            call("AddTrancodeSEI", domain_name=domain, app_name="live", stream_name="cam", **sei)
            text = TEXT_UUID + b"hello, viewers"
            until(lambda: any(text in tag.body for tag in viewer.tags[-20:]), "the text is in the stream")
            assert not viewer.ended.is_set()
