"""Snapshots of a real push by the real program: through the official SDK, the operator's API and the command."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from support.api import Api, Pair, make_pair, utc
from support.callback_server import CallbackServer
from support.encoders import SIZE, TagPush, ffmpeg_push
from support.flv import FlvTag
from support.server import Server
from support.wait import until

pytestmark = pytest.mark.xdist_group("center")

OSS = {"oss_endpoint": "oss-cn-shanghai.aliyuncs.com", "oss_bucket": "pictures"}


@pytest.fixture(scope="module")
def pair(center: Server) -> Pair:
    return make_pair(center, Api(center, center.account()))


def size(data: bytes) -> tuple[int, int]:
    image = Image.open(BytesIO(data))
    image.load()
    assert image.format == "JPEG"
    return image.size


def taken(pair: Pair, stream: str) -> list[dict[str, Any]]:
    now_s = time.time()
    answer = pair.api.call(
        "DescribeLiveStreamSnapshotInfo",
        domain_name=pair.streaming,
        app_name="live",
        stream_name=stream,
        start_time=utc(now_s - 600),
        end_time=utc(now_s + 600),
    )
    found: list[dict[str, Any]] = answer["LiveStreamSnapshotInfoList"]["LiveStreamSnapshotInfo"]
    return found


@pytest.fixture
def customer() -> Iterator[CallbackServer]:
    with CallbackServer() as server:
        yield server


def test_a_pushed_stream_is_pictured_told_listed_and_its_picture_deleted(
    center: Server, pair: Pair, customer: CallbackServer
) -> None:
    key = "abcdef0123456789"
    pair.api.call("SetSnapshotCallbackAuth", domain_name=pair.streaming, callback_req_auth="yes", callback_auth_key=key)
    pair.api.call(
        "AddLiveAppSnapshotConfig",
        domain_name=pair.streaming,
        app_name="live",
        time_interval=5,
        overwrite_oss_object="{AppName}/{StreamName}.jpg",
        sequence_oss_object="snapshot/{AppName}/{StreamName}/{Sequence}.jpg",
        callback=customer.url("/taken"),
        **OSS,
    )
    folder = center.data_dir / "objects" / "pictures"
    with ffmpeg_push(pair.push_url("show")):
        until(lambda: len(taken(pair, "show")) >= 2, "two pictures are listed", 20)
        found = taken(pair, "show")
        assert [(item["OssObject"], item["IsOverlay"]) for item in found[:2]] == [
            ("live/show.jpg", True),
            ("snapshot/live/show/1.jpg", False),
        ]
        assert size((folder / "live/show.jpg").read_bytes()) == SIZE
        until(lambda: (folder / "snapshot/live/show/2.jpg").exists(), "five seconds later there is another one", 15)
        told = customer.wait("/taken", 2)
    assert [{**call.json, "StreamName": None} for call in told[:2]] == [
        {**item, "DomainName": pair.streaming, "AppName": "live", "StreamName": None} for item in found[:2]
    ]
    signed = f"127.0.0.1|{told[0].headers['ali-live-timestamp']}|{key}"
    assert told[0].headers["ali-live-signature"] == hashlib.md5(signed.encode()).hexdigest()
    first = found[1]
    done = pair.api.call(
        "DeleteSnapshotFiles",
        domain_name=pair.streaming,
        app_name="live",
        stream_name="show",
        create_timestamp_list=[first["CreateTimestamp"]],
        remove_file=True,
    )
    assert (done["SuccessCount"], done["FailureCount"]) == (1, 0)
    assert not (folder / first["OssObject"]).exists()
    assert first["OssObject"] not in [item["OssObject"] for item in taken(pair, "show")]


def test_an_operator_gets_a_picture_at_once(center: Server, clip: list[FlvTag], tmp_path: Path) -> None:
    pair = make_pair(center, Api(center, center.account()))
    token = center.run("token", "create", "pictures").strip()
    url = f"http://127.0.0.1:{center.ports['api']}/operator/v1/snapshot"
    names = {"domain": pair.streaming, "app": "live", "stream": "now"}

    def ask(**changes: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"}
        return httpx.get(url, params={**names, **changes}, headers=headers, trust_env=False, timeout=30)

    assert (ask().status_code, ask().json()["code"]) == (400, "InvalidStream.NotFound")
    assert ask(domain="nobody.test").json()["code"] == "InvalidDomain.NotFound"
    assert ask(domain=pair.ingest).json()["code"] == "IllegalOperation"
    assert ask(stream="../cam").json()["code"] == "InvalidStreamName"
    with TagPush(pair.push_url("now")) as push:
        push.send(clip[:100])
        until(lambda: ask().status_code == 200, "the stream is known and pictured")
        answer = ask()
        assert answer.headers["content-type"] == "image/jpeg"
        assert size(answer.content) == SIZE
        file = tmp_path / "picture.jpg"
        said = center.run("snapshot", pair.streaming, "live", "now", "--output", str(file))
        assert said.strip() == str(file)
        assert size(file.read_bytes()) == SIZE
    assert taken(pair, "now") == [], "without a template nothing is stored"
