"""Edge transcoding in the real program: from one stream of ours to another, through the API, and over every interruption."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from headwater.media.codecs import classify
from headwater.media.tag import AUDIO, VIDEO, Tag
from support.api import Api, Pair, Refused, make_pair
from support.certificates import Authority
from support.encoders import ffmpeg_push
from support.footage import Seen, watch
from support.players import HttpViewer
from support.server import Server, running
from support.wait import until

pytestmark = pytest.mark.xdist_group("edge")

NODE = "edge-node"
SIZE = (320, 180)
MADE = (214, 120)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose certificate is good for itself as the other end of its jobs."""
    authority, folder = Authority(), tmp_path_factory.mktemp("tls")
    issued, root = authority.issue("127.0.0.1"), folder / "root.pem"
    for name, text in (("root", authority.root.pem), ("chain", issued.chain_pem), ("key", issued.key_pem)):
        (folder / f"{name}.pem").write_text(text)
    settings = {
        "tls.certificate": str(folder / "chain.pem"),
        "tls.key": str(folder / "key.pem"),
        "center.enabled": "true",
        "center.transcode_cores": "50",
        "center.private_edge_urls": "true",
        "node.id": NODE,
    }
    with running(settings, {"SSL_CERT_FILE": str(root)}) as server:
        yield server


@pytest.fixture(scope="module")
def pair(server: Server) -> Pair:
    pair = make_pair(server, Api(server, server.account()))
    pair.session(reconnect_window=0)
    for name, kind in (("small", "h264"), ("small-hevc", "h265")):
        pair.api.call(
            "AddCustomLiveStreamTranscode",
            domain=pair.streaming,
            app="none",  # no stream of ours is made by it
            template=name,
            template_type=kind,
            lazy="yes",
            height=MADE[1],
            width=MADE[0],
            fps=25,
            video_bitrate=300,
            gop="1s",
            audio_codec="AAC",
        )
    return pair


def new_job(pair: Pair) -> str:
    job = pair.api.call(
        "CreateEdgeTranscodeJob",
        cluster_id=NODE,
        name="relay",
        stream_input=pair.play_url("rtmp"),
        stream_output=pair.push_url("out"),
        template_id=f"{pair.streaming}/none/small",
    )
    return str(job["JobId"])


def do(pair: Pair, action: str, job: str, **given: str) -> dict[str, Any]:
    return pair.api.call(f"{action}EdgeTranscodeJob", cluster_id=NODE, job_id=job, **given)


def made(viewer: HttpViewer) -> Seen:
    tags = [Tag(tag.kind, tag.timestamp_ms, tag.body, classify(tag.kind, tag.body)) for tag in viewer.tags]
    return watch([tag for tag in tags if tag.kind in (AUDIO, VIDEO)])


def watch_output(pair: Pair, stream: str = "out", codec: str = "h264") -> None:
    pair.wait_online(stream)
    with HttpViewer(pair.play_url("flv", stream)) as viewer:
        viewer.wait_frames(10)
        seen = made(viewer)
        assert (seen.size, seen.codec) == (MADE, codec)


def test_a_job_outlives_its_input_may_be_stopped_changed_and_deleted_and_logs_no_secret(server: Server, pair: Pair) -> None:
    job = new_job(pair)
    do(pair, "Start", job)
    server.wait_log("input is not read")  # nobody publishes yet
    with ffmpeg_push(pair.push_url(), size=SIZE):
        watch_output(pair)
        shown, gone = do(pair, "Get", job)["Job"], len(server.events("input is not read"))
        assert (shown["Status"], shown["TemplateName"], shown["LastStopAt"]) == ("1", "small", "")
    until(lambda: len(server.events("input is not read")) > gone, "the input is gone")
    with ffmpeg_push(pair.push_url(), size=SIZE), HttpViewer(pair.play_url("flv", "out")) as viewer:
        until(lambda: len(server.events("input is read")) == 2, "the input is found again")
        so_far = len(viewer.tags)
        viewer.wait_frames(so_far + 10)
        assert made(viewer).size == MADE
        until(lambda: server.run("jobs").split()[:2] == ["edge", "running"], "the job is told to run")
        do(pair, "Stop", job)
        pair.wait_offline("out")
        encrypted = {
            "stream_input": pair.play_url("flv", scheme="https"),
            "stream_output": pair.push_url("other", scheme="rtmps"),
        }
        do(pair, "Update", job, template_id=f"{pair.streaming}/none/small-hevc", **encrypted)
        do(pair, "Start", job)
        watch_output(pair, "other", "hevc")
        do(pair, "Delete", job)
        pair.wait_offline("other")
    with pytest.raises(Refused, match="JobNotFound"):
        do(pair, "Get", job)
    lines = [line for line in server.said().splitlines() if "edge-" in line or "put is " in line]
    assert any("live/..." in line for line in lines)
    assert "auth_key" not in "".join(lines)
