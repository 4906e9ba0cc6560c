"""What customers receive, byte for byte (reference media-plane 3.3, 4 and 5)."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headwater.notify.events import (
    FileCreated,
    MasterSwitch,
    RecordStatus,
    SnapshotTaken,
    StreamFault,
    StreamState,
    signature,
    signer_of,
)

BEGUN = StreamState(
    type="publish",
    domain="push.example.com",
    app="live",
    stream="show",
    session="s1",
    ip="192.0.2.7",
    node="node-1",
    time_s=1_700_000_000.9,
    query="vhost=play.example.com&auth_key=1-0-0-ab",
    width=1280,
    height=720,
)


def test_a_begun_push_is_a_get_with_the_documented_query_in_the_documented_order() -> None:
    assert BEGUN.request("http://cb.example.com/hook") == (
        "GET",
        (
            "http://cb.example.com/hook?action=publish&ip=192.0.2.7&id=show&app=push.example.com&appname=live&time=1700000000"
            "&usrargs=vhost%3Dplay.example.com%26auth_key%3D1-0-0-ab&node=node-1&height=720&width=1280"
        ),
        "",
    )


def test_an_ended_push_has_no_size_and_a_query_of_the_customers_own_stays() -> None:
    ended = msgspec.structs.replace(BEGUN, type="publish_done", query="")
    assert ended.request("https://cb.example.com/?token=1") == (
        "GET",
        (
            "https://cb.example.com/?token=1&action=publish_done&ip=192.0.2.7&id=show&app=push.example.com&appname=live"
            "&time=1700000000&usrargs=&node=node-1"
        ),
        "",
    )


def test_a_push_whose_size_is_unknown_says_none() -> None:
    assert "height" not in msgspec.structs.replace(BEGUN, width=0).request("http://cb.example.com/")[1]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.from_regex(r"[0-9A-Fa-f:.]{2,39}", fullmatch=True))
def test_whatever_a_publisher_says_comes_back_from_the_query_and_adds_nothing(query: str, ip: str) -> None:
    _, url, _ = msgspec.structs.replace(BEGUN, query=query, ip=ip).request("http://cb.example.com/hook")
    assert url.isascii()
    assert " " not in url
    assert "\n" not in url
    fields = parse_qsl(urlsplit(url).query, keep_blank_values=True, errors="strict")
    assert [name for name, _ in fields] == [
        "action", "ip", "id", "app", "appname", "time", "usrargs", "node", "height", "width",
    ]  # fmt: skip
    assert dict(fields)["usrargs"] == query
    assert dict(fields)["ip"] == ip


def test_states_of_a_recording_are_posted_as_documented() -> None:
    event = RecordStatus(type="record_started", domain="play.example.com", app="live", stream="show")
    assert event.request("http://cb.example.com/r") == (
        "POST",
        "http://cb.example.com/r",
        '{"domain":"play.example.com","app":"live","stream":"show","event":"record_started"}',
    )


def test_a_created_file_is_posted_as_documented() -> None:
    event = FileCreated(
        domain="demo.aliyundoc.com",
        app="liveApp",
        stream="liveStream",
        uri="liveApp/liveStream/0_2017-03-08-23:09:46_2017-03-08-23:10:40.flv",
        duration_s=69.403,
        start_s=1488985786.4,
        stop_s=1488985840.0,
        push_args={"callback_args1": "value1", "callback_myid": "1231389741"},
    )
    assert event.request("http://cb.example.com/r")[2] == (
        '{"domain":"demo.aliyundoc.com","app":"liveApp","stream":"liveStream",'
        '"uri":"liveApp/liveStream/0_2017-03-08-23:09:46_2017-03-08-23:10:40.flv",'
        '"duration":69.403,"start_time":1488985786,"stop_time":1488985840,'
        '"push_args":{"callback_args1":"value1","callback_myid":"1231389741"}}'
    )
    bare = msgspec.structs.replace(event, push_args={}).request("http://cb.example.com/r")[2]
    assert "push_args" not in bare
    assert "event" not in bare


def test_a_snapshot_is_posted_with_the_fields_of_the_query_api() -> None:
    event = SnapshotTaken(
        domain="play.example.com",
        app="live",
        stream="show",
        create_time="2026-01-02T03:04:05Z",
        create_timestamp=1767323045000,
        is_overlay=False,
        endpoint="oss.example.com",
        bucket="pictures",
        object="live/show/1.jpg",
    )
    assert event.request("http://cb.example.com/s") == (
        "POST",
        "http://cb.example.com/s",
        (
            '{"DomainName":"play.example.com","AppName":"live","StreamName":"show","CreateTime":"2026-01-02T03:04:05Z",'
            '"CreateTimestamp":1767323045000,"IsOverlay":false,"OssEndpoint":"oss.example.com","OssBucket":"pictures",'
            '"OssObject":"live/show/1.jpg"}'
        ),
    )


def test_faults_and_switches_are_posted_with_our_own_fields() -> None:
    fault = StreamFault(
        domain="push.example.com",
        app="live",
        stream="show",
        session="s1",
        ip="192.0.2.7",
        code=3,
        reason="silent",
        time_s=1_700_000_000.0,
    )
    assert fault.request("http://cb.example.com/e")[2] == (
        '{"event":"publish_exception","domain":"push.example.com","app":"live","stream":"show","ip":"192.0.2.7","code":3,'
        '"reason":"silent","time":1700000000}'
    )
    switch = MasterSwitch(
        domain="push.example.com",
        app="live",
        stream="show",
        session="s2",
        upstream=2,
        ip="192.0.2.8",
        reason="master stream no data",
        time_s=1_700_000_000.0,
    )
    assert switch.request("http://cb.example.com/w")[2] == (
        '{"event":"stream_switch","domain":"push.example.com","app":"live","stream":"show","upstream":"2",'
        '"upstream_ip":"192.0.2.8","reason":"master stream no data","time":1700000000}'
    )


def test_signatures_are_those_of_the_worked_examples() -> None:
    assert signature("learn.aliyundoc.com", "yourkey", 1519375990) == "9e226fc2c250be266e3657e156f68c12"
    assert signature("demo.aliyundoc.com", "abcdef0123456789", 1609220385) == "9425c175740f6fc91106f7db942c5e9a"


def test_pushes_are_signed_by_the_ingest_domain_and_the_rest_by_the_callbacks_host() -> None:
    url = "https://cb.example.com:8443/hook"
    assert signer_of(BEGUN, url) == "push.example.com"
    assert signer_of(RecordStatus(type="record_error", domain="play.example.com", app="a", stream="b"), url) == "cb.example.com"
