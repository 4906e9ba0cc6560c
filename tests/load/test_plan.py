"""What a run promises before it begins: which URLs mean what, who is checked, what adds up, and what cannot be."""

from __future__ import annotations

import itertools
import json
import resource
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from headwater.access import signing
from headwater.cli import app
from headwater.load import clock, summary
from headwater.load.faults import MEANINGS
from headwater.load.job import Options, make_plan
from headwater.load.plan import Plan
from headwater.load.runner import RunError, raise_file_limit
from headwater.load.tally import OTHER_TEXTS, Histogram, Report, Tally
from headwater.load.target import parse_target
from support.load_runs import PLAN

OPTIONS = Options(
    urls=["http://play.test/live/cam.flv"],
    clients=1,
    seconds=30,
    delay_s=0.001,
    publish=False,
    file=None,
    bitrate_kbps=1000,
    streams=None,
    key=None,
    check=None,
    stall_s=2,
    stay_s=None,
    processes=1,
    insecure=False,
    json_to=None,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtmp://h/live/cam?k=v", ("rtmp", False, "h", 1935)),
        ("rtmps://h:1936/live/cam", ("rtmp", True, "h", 1936)),
        ("http://h:8080/live/cam.flv?vhost=x", ("flv", False, "h", 8080)),
        ("https://h/live/cam.flv", ("flv", True, "h", 443)),
        ("HTTP://h/live/cam.m3u8", ("hls", False, "h", 80)),
        ("https://h/live/cam.m3u8?x=.flv", ("hls", True, "h", 443)),
        ("ws://h/live/cam.flv", ("ws-flv", False, "h", 80)),
        ("wss://[::1]:8443/live/cam.flv", ("ws-flv", True, "::1", 8443)),
    ],
)
def test_scheme_and_extension_say_what_a_url_means(url: str, expected: tuple[str, bool, str, int]) -> None:
    target = parse_target(url)
    assert (target.protocol, target.tls, target.host, target.port) == expected


def test_an_rtmp_url_is_an_application_and_a_name_with_its_query() -> None:
    target = parse_target("rtmp://h:1935/a/b/cam?vhost=x&auth_key=1-0-0-y")
    assert target.rtmp_app == "a/b"
    assert target.rtmp_name == "cam?vhost=x&auth_key=1-0-0-y"
    assert target.tc_url == "rtmp://h:1935/a/b"


@pytest.mark.parametrize(
    "url",
    ["", "cam.flv", "ftp://h/live/cam.flv", "http:///live/cam.flv", "http://h/live/cam", "rtmp://h/live", "http://h:x/a.flv",
     "http://h/a b.flv", "http://h/a\r\nX: y.flv"],
)  # fmt: skip
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_target(url)


def test_each_client_has_its_own_signed_name() -> None:
    plan = msgspec.structs.replace(PLAN, url="http://h/live/cam-{n}.flv?vhost=x", clients=7, streams=5, key="0123456789abcdef")
    targets = [plan.target(number) for number in range(7)]
    paths = [target.resource.partition("?")[0] for target in targets]
    assert paths == [f"/live/cam-{number % 5}.flv" for number in range(7)]
    for target, path in zip(targets, paths, strict=True):
        token = target.resource.partition("auth_key=")[2]
        assert signing.check(path, token, ["0123456789abcdef"], 60, 0) is None


def test_processes_share_the_clients() -> None:
    plans = [msgspec.structs.replace(PLAN, clients=10, processes=3, index=index) for index in range(3)]
    shares = [list(plan.numbers()) for plan in plans]
    assert sorted(itertools.chain(*shares)) == list(range(10))
    assert max(map(len, shares)) - min(map(len, shares)) == 1


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 300))
def test_as_many_viewers_are_checked_as_asked_for(clients: int, streams: int, check: int) -> None:
    streams, check = min(streams, clients), min(check, clients)
    plan = msgspec.structs.replace(PLAN, clients=clients, streams=streams, check=check)
    checked = [number for number in range(clients) if plan.is_checked(number)]
    by_stream = [sum(number % streams == stream for number in checked) for stream in range(streams)]
    assert len(checked) >= min(check, 1)
    assert max(by_stream) - min(by_stream) <= 1
    assert len(checked) < check + streams
    if streams == 1:
        assert len(checked) == check
    if check == clients:
        assert len(checked) == clients


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"urls": []}, "say which URL"),
        ({"urls": ["http://h/a.flv", "http://h/b.flv"]}, "say which URL"),
        ({"clients": 100, "delay_s": 1}, "do not fit into"),
        ({"publish": True}, "publishing works over rtmp"),
        ({"publish": True, "urls": ["rtmp://h/live/cam"], "clients": 2}, "put {n} into the URL"),
        ({"streams": 2}, "--streams is for viewers"),
        ({"file": Path("x.flv")}, "--file needs --publish"),
        ({"check": "some"}, "a number, or all"),
        ({"check": "-1"}, "a number, or all"),
        ({"urls": ["http://h/live/cam"]}, "must end with .flv or .m3u8"),
        ({"urls": ["http://h:{n}/a.flv"], "clients": 70000, "seconds": 0}, "Port out of range"),
    ],
)
def test_runs_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=r".+") as error:
        make_plan(msgspec.structs.replace(OPTIONS, **changes))
    assert words in str(error.value)


def test_a_plan_has_the_options_of_its_user() -> None:
    plan = make_plan(msgspec.structs.replace(OPTIONS, clients=1000, processes=2, seconds=0))
    assert (plan.seconds, plan.processes, plan.streams, plan.check) == (None, 2, 1, 4)
    plan = make_plan(msgspec.structs.replace(OPTIONS, urls=["rtmp://h/live/cam-{n}"], clients=100, streams=10))
    assert (plan.streams, plan.check) == (10, 40)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
    assert make_plan(msgspec.structs.replace(OPTIONS, clients=9, check="all")).check == 9


def test_too_few_open_files_are_told_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(1000, 5000)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    raise_file_limit(100, 1, hls=True)
    assert limits == [(1000, 5000)]
    raise_file_limit(2000, 1, hls=True)
    assert limits[-1] == (4064, 5000)
    with pytest.raises(RunError, match="need 6064 open files in each, and the system allows 5000"):
        raise_file_limit(3000, 1, hls=True)
    raise_file_limit(3000, 2, hls=True)


def test_percentiles_are_right_within_one_percent() -> None:
    histogram = Histogram()
    assert histogram.percentile(50) is None
    for value in range(1, 1001):
        histogram.add(value)
    for percent in (1, 50, 90, 99, 100):
        assert histogram.percentile(percent) == pytest.approx(percent * 10, rel=0.01)
    assert (histogram.least_ms, histogram.most_ms, histogram.count) == (1, 1000, 1000)


def test_tallies_of_processes_add_up_and_survive_the_pipe() -> None:
    total = Tally()
    for index in range(2):
        tally = Tally(started=3, begun=2, tags=10, cpu_s=[0.5], elapsed_s=[1.0 + index])
        tally.first_ms.add(5.0 + index)
        for text in "abcdefg":
            tally.fault("refused", text)
        report = msgspec.json.decode(msgspec.json.encode(Report(tally, final=True)), type=Report)
        total.merge(report.tally)
    assert (total.started, total.begun, total.tags, total.fault_count) == (6, 4, 20, 14)
    assert total.faults["refused"] == {"a": 2, "b": 2, "c": 2, "d": 2, "e": 2, OTHER_TEXTS: 4}
    assert (total.first_ms.count, total.first_ms.least_ms, total.first_ms.most_ms) == (2, 5, 6)
    assert total.elapsed_s == [1, 2]


def test_only_a_run_without_any_fault_is_well() -> None:
    assert summary.is_ok(Tally(started=2, begun=2))
    assert not summary.is_ok(Tally())
    assert not summary.is_ok(Tally(started=2, begun=1))
    assert not summary.is_ok(Tally(started=2, begun=2, stalls=1))
    faulty = Tally(started=2, begun=2)
    faulty.fault("backwards", "by 1 ms")
    assert not summary.is_ok(faulty)


def test_the_clock_is_found_where_it_was_placed() -> None:
    slice_, sei = b"\x65slice", b"\x06\x05\x04abcd\x80"
    frame = b"".join(len(unit).to_bytes(4, "big") + unit for unit in (b"\x09\xf0", sei, slice_))
    at = clock.place(frame, 4)
    assert frame[at + 4 :] == slice_
    assert clock.find(frame) is None
    assert clock.find(frame[:at] + clock.pack(1_795_365_872_396_452) + frame[at:]) == 1_795_365_872_396_452
    assert b"\0\0" not in clock.pack(0)
    assert clock.find(clock.UUID + b"12345") is None
    assert clock.find(clock.UUID + b"not 16 decimals!") is None


def test_the_command_says_why_it_cannot_begin() -> None:
    result = CliRunner().invoke(app, ["load", "http://h/live/cam"])
    assert result.exit_code == 2
    assert "must end with .flv or .m3u8" in result.output.replace("\n", " ")


def test_every_kind_of_fault_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs" / "load.md").read_text()
    assert all(f"| `{kind}` |" in text for kind in MEANINGS)


def test_the_result_is_one_object_of_plain_values() -> None:
    tally = Tally(started=1, begun=1, received_bytes=1_000_000, cpu_s=[0.1], elapsed_s=[2.0])
    tally.first_ms.add(3.5)
    tally.fault("torn", "why")
    found = json.loads(json.dumps(summary.as_object(PLAN, tally)))
    assert found["received_mbit_per_s"] == 4.0
    assert found["first_ms"]["p99"] == 3.5
    assert found["delay_ms"] is None
    assert found["faults"] == {"torn": {"count": 1, "texts": {"why": 1}}}
    assert found["ok"] is False
