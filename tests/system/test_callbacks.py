"""Customers are told of real pushes by the real program, also after it was killed in the middle of one."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import httpx
import pytest

from headwater.notify.service import TRIES_MAX
from support.api import Api, Pair, make_pair, utc
from support.callback_server import CallbackServer
from support.encoders import SIZE, TagPush, ffmpeg_push
from support.flv import FlvTag
from support.server import Server, running
from support.wait import until

pytestmark = pytest.mark.xdist_group("callbacks")

KEY = "0123456789abcdef"
SETTINGS = {"notify.private_addresses": "true"}


@pytest.fixture(scope="module")
def customer() -> Iterator[CallbackServer]:
    with CallbackServer() as server:
        yield server


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hw-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def told(folder: Path, customer: CallbackServer) -> Iterator[Pair]:
    """A pair of domains whose owner wants to know everything."""
    server = Server(folder, SETTINGS)
    try:
        server.wait_ready()
        pair = make_pair(server, Api(server, server.account()))
        pair.api.call(
            "SetLiveStreamsNotifyUrlConfig",
            domain_name=pair.ingest,
            notify_url=customer.url("/state"),
            exception_notify_url=customer.url("/fault"),
            notify_req_auth="yes",
            notify_auth_key=KEY,
        )
        yield pair
    finally:
        server.kill()


def actions(customer: CallbackServer, stream: str) -> list[str]:
    return [call.query["action"] for call in customer.at("/state") if call.query["id"] == stream]


def test_a_push_is_told_once_when_it_has_lasted_and_once_when_it_ends(
    told: Pair, customer: CallbackServer, clip: list[FlvTag]
) -> None:
    with TagPush(told.push_url("brief")) as brief:
        brief.send(clip)
        brief.stop()
    url = told.push_url("show")
    with ffmpeg_push(url):
        (begun,) = customer.wait("/state", 1)
    done = customer.wait("/state", 2)[1]
    assert list(begun.query) == [
        "action", "ip", "id", "app", "appname", "time", "usrargs", "node", "height", "width",
    ]  # fmt: skip
    assert list(done.query) == list(begun.query)[:-2]
    query = begun.query
    assert (begun.method, query["action"], done.query["action"]) == ("GET", "publish", "publish_done")
    assert (query["ip"], query["id"], query["app"], query["appname"]) == ("127.0.0.1", "show", told.ingest, "live")
    assert (int(query["width"]), int(query["height"])) == SIZE
    assert dict(parse_qsl(query["usrargs"]))["auth_key"] == dict(parse_qsl(url.partition("?")[2]))["auth_key"]
    stamp = begun.headers["ali-live-timestamp"]
    assert begun.headers["ali-live-signature"] == hashlib.md5(f"{told.ingest}|{stamp}|{KEY}".encode()).hexdigest()
    assert actions(customer, "show") == ["publish", "publish_done"]
    assert actions(customer, "brief") == [], "it was over before it was told"
    now_s = time.time()
    answer = told.api.call(
        "DescribeLiveStreamsNotifyRecords",
        domain_name=told.ingest,
        start_time=utc(now_s - 600),
        end_time=utc(now_s + 60),
        status="success",
    )
    records = answer["NotifyRecordsInfo"]["LiveStreamNotifyRecordsInfo"]
    assert [(record["NotifyType"], record["StreamName"], record["NotifyResponse"]) for record in records] == [
        ("publish_done", "show", "ok"),
        ("publish", "show", "ok"),
    ]


def test_a_push_that_is_cut_is_a_fault_and_what_nobody_takes_a_dead_letter_to_resend(
    told: Pair, customer: CallbackServer, clip: list[FlvTag]
) -> None:
    customer.answers["/fault"] = [500]
    with TagPush(told.push_url("bad")) as push:
        push.send(clip)
        told.wait_online("bad")
        told.api.call(
            "ForbidLiveStream",
            domain_name=told.streaming,
            app_name="live",
            stream_name="bad",
            live_stream_type="publisher",
            oneshot="yes",
        )
        fault = customer.wait("/fault", 1)[0]
    assert fault.method == "POST"
    assert fault.headers["content-type"] == "application/json"
    assert {name: fault.json[name] for name in ("event", "domain", "app", "stream", "ip", "code")} == {
        "event": "publish_exception",
        "domain": told.ingest,
        "app": "live",
        "stream": "bad",
        "ip": "127.0.0.1",
        "code": 501,
    }
    server = told.server
    until(lambda: server.run("callbacks", "list", "--domain", told.ingest).strip(), "it is a dead letter", 30)
    assert len(customer.at("/fault")) == TRIES_MAX
    customer.answers["/fault"] = [200]
    token = server.run("token", "create", "caller", "--write").strip()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{server.ports['api']}/operator/v1", headers={"authorization": f"Bearer {token}"}
    ) as operator:
        (dead,) = operator.get("/callbacks").json()["callbacks"]
        assert (dead["type"], dead["error"], dead["tries"]) == ("publish_exception", "status 500", TRIES_MAX)
        assert operator.get("/callbacks?state=lost").status_code == 400
        assert operator.post("/callbacks/drop", json={"ids": [dead["id"] + 1, -1, 2**40]}).json() == {"dropped": 0}
        assert operator.post("/callbacks/resend", json={"ids": [dead["id"]]}).json() == {"queued": 1}
    assert customer.wait("/fault", TRIES_MAX + 1)[-1].body == fault.body
    assert json.loads(server.run("callbacks", "list", "--json")) == []
    metrics = httpx.get(f"http://127.0.0.1:{server.ports['metrics']}/metrics").text
    assert 'headwater_callbacks{state="dead"} 0' in metrics


def test_a_push_in_the_middle_of_which_everything_is_killed_ends_once_when_it_is_started_again(
    told: Pair, folder: Path, customer: CallbackServer
) -> None:
    with ffmpeg_push(told.push_url("late")):
        until(lambda: actions(customer, "late") == ["publish"] or None, "the push is told")
        told.server.kill()
    with running(SETTINGS, data_dir=folder):
        until(lambda: "publish_done" in actions(customer, "late"), "its end is told")
    # what was taken in the instant of the kill is told again
    assert list(dict.fromkeys(actions(customer, "late"))) == ["publish", "publish_done"]
    assert actions(customer, "late")[-1] == "publish_done"
