"""Recording of a real push by the real program: set, steered, listed and clipped through the official SDK."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_live20161101 import models

from support.api import Api, Pair, Refused, make_pair, utc
from support.callback_server import CallbackServer, Handler
from support.encoders import ffmpeg_push
from support.programs import program
from support.server import Server
from support.wait import until

pytestmark = pytest.mark.xdist_group("center")

OSS = {"oss_endpoint": "oss-cn-shanghai.aliyuncs.com", "oss_bucket": "recordings"}
FILES, SLICES = "{StreamName}/{Sequence}_{EscapedStartTime}_{EscapedEndTime}", "{StreamName}/slices/{UnixTimestamp}_{Sequence}"
SLICED = {"Format": "m3u8", "SliceDuration": 5, "OssObjectPrefix": FILES, "SliceOssObjectPrefix": SLICES}


@pytest.fixture(scope="module")
def pair(center: Server) -> Pair:
    return make_pair(center, Api(center, center.account()))


@pytest.fixture(scope="module")
def customer(pair: Pair) -> Iterator[CallbackServer]:
    """The server to which everything is told."""
    with CallbackServer() as server:
        server.behaves["/question"] = _answer
        pair.api.call(
            "AddLiveRecordNotifyConfig",
            domain_name=pair.streaming,
            notify_url=server.url("/told"),
            on_demand_url=server.url("/question"),
            need_status_notify=True,
        )
        yield server


def _answer(handler: Handler) -> None:
    """Record the one stream, in FLV alone."""
    wanted = "stream=wanted&" in handler.path
    body = json.dumps({"ApiVersion": "1.0", "NeedRecord": wanted, "Interval": {"Flv": 120}, "Format": ["flv"]}).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def told(customer: CallbackServer, stream: str, field: str) -> list[dict[str, Any]]:
    """What a customer was told of a stream: callbacks that have this field."""
    return [item.json for item in customer.at("/told") if item.json["stream"] == stream and field in item.json]


def duration_s(file: Path) -> float:
    """How long the video of a file is, by its packets, as Debian's ffprobe reads it."""
    options = ["-allowed_extensions", "ALL"] if file.suffix == ".m3u8" else []
    command = [program("ffprobe"), "-v", "error", *options, "-select_streams", "v:0"]
    command += ["-show_entries", "packet=pts_time", "-of", "csv=p=0", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    times = [float(line.strip(",")) for line in done.stdout.split() if line.strip(",")]
    return max(times) - min(times)


def add(pair: Pair, stream: str, *formats: dict[str, Any], **arguments: Any) -> None:
    given = [models.AddLiveAppRecordConfigRequestRecordFormat().from_map(item) for item in formats]
    pair.api.call(
        "AddLiveAppRecordConfig",
        domain_name=pair.streaming,
        app_name="live",
        stream_name=stream,
        record_format=given,
        **OSS,
        **arguments,
    )


def command(pair: Pair, stream: str, what: str) -> str:
    """The code with which a command is refused, "" if it is obeyed."""
    try:
        pair.api.call("RealTimeRecordCommand", domain_name=pair.streaming, app_name="live", stream_name=stream, command=what)
    except Refused as refused:
        return refused.code
    return ""


def written_s(center: Server, stream: str) -> float:
    """How many seconds the job that records a stream has written."""
    jobs = json.loads(center.run("jobs", "--json"))
    return sum(float(job["parts"].get("written_s", 0)) for job in jobs if (job["kind"], job["stream"]) == ("record", stream))


def test_a_pushed_stream_is_recorded_told_of_and_a_clip_of_it_plays(
    center: Server, pair: Pair, customer: CallbackServer
) -> None:
    add(pair, "show", SLICED, {"Format": "mp4", "OssObjectPrefix": FILES})
    folder = center.data_dir / "objects" / "recordings"
    of = {"domain_name": pair.streaming, "app_name": "live", "stream_name": "show"}
    start_s = int(time.time()) - 1
    span = {"start_time": utc(start_s), "end_time": utc(start_s + 3600)}
    with ffmpeg_push(pair.push_url("show") + "&callback_myid=1231389741"):
        until(lambda: list(folder.glob("show/slices/*_0.ts")), "a slice is stored", 25)

        def clip() -> dict[str, Any] | None:
            try:
                made: dict[str, Any] = pair.api.call(
                    "CreateLiveStreamRecordIndexFiles", **of, **span, **OSS, oss_object="clips/{AppName}/{StreamName}.m3u8"
                )["RecordInfo"]
            except Refused as refused:
                assert refused.code == "NoRecordContent"
                return None
            return made

        made = until(clip, "the center has noted that it is stored", 10)
        assert (made["Width"], made["Height"], made["OssObject"]) == (160, 90, "clips/live/show.m3u8")
        assert duration_s(folder / made["OssObject"]) == pytest.approx(made["Duration"], abs=0.5)
        assert command(pair, "show", "restart") == ""
        (file,) = until(lambda: list(folder.glob("show/0_*.mp4")), "the files are closed at once", 10)
        assert duration_s(file) >= 4
        (playlist,) = until(lambda: list(folder.glob("show/0_*.m3u8")), "the playlist, too", 10)
        assert duration_s(playlist) >= 4
        assert command(pair, "show", "stop") == ""
        assert command(pair, "show", "cancel_delay") == ""
    (content, *_) = pair.api.call("DescribeLiveStreamRecordContent", **of, **span)["RecordContentInfoList"]["RecordContentInfo"]
    assert content["OssBucket"] == "recordings"
    assert content["Duration"] >= 4
    assert content["OssObjectPrefix"] == SLICES

    until(lambda: len(of_files := told(customer, "show", "uri")) >= 2 and of_files, "both files are told of", 10)
    files = {Path(item["uri"]).suffix: item for item in told(customer, "show", "uri") if Path(item["uri"]).name[0] == "0"}
    assert files.keys() == {".mp4", ".m3u8"}
    assert files[".mp4"] == {
        "domain": pair.streaming,
        "app": "live",
        "stream": "show",
        "uri": f"show/{file.name}",
        "duration": pytest.approx(duration_s(file), abs=0.2),
        "start_time": pytest.approx(start_s + 1, abs=10),
        "stop_time": pytest.approx(files[".mp4"]["start_time"] + duration_s(file), abs=2),
        "push_args": {"callback_myid": "1231389741"},
    }
    begun = ["record_started", "record_paused"]
    until(lambda: [item["event"] for item in told(customer, "show", "event")][:2] == begun, "its states are told")
    records = pair.api.call("DescribeLiveRecordNotifyRecords", **of, **span, page_number=1, page_size=10)["CallbackList"]
    assert {(item["NotifyType"], item["NotifyResult"], item["StorageType"]) for item in records} >= {
        ("file_created", "success", "oss"),
        ("record_started", "success", "oss"),
    }


def test_a_customer_s_server_says_whether_and_how_a_stream_is_recorded(
    center: Server, pair: Pair, customer: CallbackServer
) -> None:
    formats = ({"Format": "mp4", "OssObjectPrefix": FILES}, {"Format": "flv", "OssObjectPrefix": FILES})
    for stream in ("wanted", "unwanted"):
        add(pair, stream, *formats, on_demand=1)
    folder = center.data_dir / "objects" / "recordings"
    with ffmpeg_push(pair.push_url("wanted")), ffmpeg_push(pair.push_url("unwanted")):
        until(lambda: written_s(center, "wanted") >= 1, "the wanted stream is recorded", 15)
        assert command(pair, "wanted", "restart") == ""
        until(lambda: list(folder.glob("wanted/0_*.flv")), "in the format that was asked for", 10)
        asked = customer.wait("/question", 2)
        assert command(pair, "unwanted", "restart") == "TaskNotFound"
    assert {(item.method, item.query["stream"], item.query["codec"]) for item in asked} == {
        ("GET", "wanted", "h264"),
        ("GET", "unwanted", "h264"),
    }
    assert asked[0].query.keys() == {"app", "domain", "stream", "vbitrate", "codec"}
    assert not list(folder.glob("wanted/*.mp4"))
    assert not (folder / "unwanted").exists()


def test_a_stream_is_recorded_by_hand(center: Server, pair: Pair) -> None:
    add(pair, "hand", {"Format": "flv", "OssObjectPrefix": FILES}, on_demand=7)
    folder = center.data_dir / "objects" / "recordings"
    assert command(pair, "hand", "start") == "InvalidStream.NotFound"
    with ffmpeg_push(pair.push_url("hand")):
        pair.wait_online("hand")
        until(lambda: command(pair, "hand", "start") == "", "the center knows the stream", 10)
        assert command(pair, "hand", "start") == "TaskAlreadyStarted"
        assert command(pair, "hand", "cancel_delay") == "TaskNotStopped"
        until(lambda: written_s(center, "hand") >= 1, "a second is recorded", 10)
        assert command(pair, "hand", "stop") == ""
        assert command(pair, "hand", "stop") == "TaskNotFound"
        assert command(pair, "hand", "cancel_delay") == ""
        (file,) = until(lambda: list(folder.glob("hand/0_*.flv")), "the file is closed without a delay", 10)
    assert duration_s(file) > 0.5


def test_other_streams_are_not_recorded(center: Server, pair: Pair) -> None:
    with ffmpeg_push(pair.push_url("other")):
        pair.wait_online("other")
        assert command(pair, "other", "start") == "ConfigNotFound"
    assert not (center.data_dir / "objects" / "recordings" / "other").exists()
