"""Recorded usage as the official SDKs read it: bandwidth and traffic, of streaming and of ingest domains."""

from __future__ import annotations

import secrets
import time
from typing import Any

import pytest

from headwater.domains.rules import format_time
from headwater.observe.traffic import Traffic
from support.api_clients import CLIENTS, REGION, Caller, Refusal, tea
from support.api_server import ApiServer

NOW = int(time.time())
HOUR = NOW // 3600 * 3600 - 7200
"""The beginning of a whole hour that is over."""
SPAN = {"StartTime": format_time(HOUR), "EndTime": format_time(HOUR + 3600)}


@pytest.fixture(params=CLIENTS)
def call(request: pytest.FixtureRequest, api_server: ApiServer) -> Caller:
    """Each SDK with each signature that it can make, as an account of its own."""
    account = api_server.new_account(f"{request.param}-{secrets.token_hex(4)}")
    return CLIENTS[request.param](api_server.endpoint, account.access_key_id, account.access_key_secret)


@pytest.fixture
def current(api_server: ApiServer) -> Caller:
    """The current SDK with its usual signature, for what does not depend on the client."""
    account = api_server.new_account(f"current-{secrets.token_hex(4)}")
    return tea(api_server.endpoint, account.access_key_id, account.access_key_secret)


def used_pair(api_server: ApiServer, call: Caller) -> tuple[str, str]:
    """An ingest and a streaming domain with traffic in the first and the third five minutes of the hour."""
    token = secrets.token_hex(4)
    push, play = f"push-{token}.test", f"play-{token}.test"
    call("AddLiveDomain", DomainName=push, LiveDomainType="liveEdge", Region=REGION)
    call("AddLiveDomain", DomainName=play, LiveDomainType="liveVideo", Region=REGION)
    for at, size in ((0, 3_000), (600, 30_000)):
        growth = {push: Traffic(size), play: Traffic(0, size * 10, size * 4)}
        api_server.do(api_server.services.usage.record(HOUR + at, HOUR + at + 60, growth))
    return push, play


def rows(answer: dict[str, Any]) -> list[dict[str, str]]:
    (name,) = (name for name in answer if name.endswith("PerInterval"))
    modules: list[dict[str, str]] = answer[name]["DataModule"]
    return modules


def test_bandwidth_and_traffic_of_a_streaming_domain(api_server: ApiServer, call: Caller) -> None:
    _, play = used_pair(api_server, call)
    bandwidth = call("DescribeLiveDomainBpsData", DomainName=play, **SPAN)
    assert (bandwidth["DomainName"], bandwidth["DataInterval"]) == (play, "300")
    assert (bandwidth["StartTime"], bandwidth["EndTime"]) == (SPAN["StartTime"], SPAN["EndTime"])
    assert len(rows(bandwidth)) == 12
    assert rows(bandwidth)[2] == {
        "TimeStamp": format_time(HOUR + 600),
        "BpsValue": "8000",
        "HttpBpsValue": "4800",
        "HttpsBpsValue": "3200",
    }
    assert [row["BpsValue"] for row in rows(bandwidth)[:4]] == ["800", "0", "8000", "0"]
    (hour,) = rows(call("DescribeLiveDomainBpsData", DomainName=play, Interval="3600", **SPAN))
    assert hour["BpsValue"] == "8000", "the peak of the five minutes"
    (traffic,) = rows(call("DescribeLiveDomainTrafficData", DomainName=play, Interval="3600", **SPAN))
    assert traffic == {
        "TimeStamp": SPAN["StartTime"],
        "TrafficValue": "330000",
        "HttpTrafficValue": "198000",
        "HttpsTrafficValue": "132000",
    }


def test_bandwidth_and_traffic_of_an_ingest_domain(api_server: ApiServer, call: Caller) -> None:
    push, _ = used_pair(api_server, call)
    bandwidth = rows(call("DescribeLiveDomainPushBpsData", DomainName=push, **SPAN))
    assert bandwidth[2] == {"TimeStamp": format_time(HOUR + 600), "BpsValue": "800"}
    traffic = rows(call("DescribeLiveDomainPushTrafficData", DomainName=push, **SPAN))
    assert sum(int(row["TrafficValue"]) for row in traffic) == 33_000


def test_several_domains_are_merged_and_none_means_all(api_server: ApiServer, current: Caller) -> None:
    names = [used_pair(api_server, current)[1] for _ in range(2)]
    for asked in ({"DomainName": ", ".join(names)}, {}):
        answer = current("DescribeLiveDomainTrafficData", Interval="86400", **asked, **SPAN)
        assert sum(int(row["TrafficValue"]) for row in rows(answer)) == 660_000


@pytest.mark.parametrize("interval", ["", "60", "299", "1e3", "many"])
def test_an_interval_that_is_not_on_offer_means_five_minutes(current: Caller, interval: str) -> None:
    assert current("DescribeLiveDomainBpsData", Interval=interval)["DataInterval"] == "300"


@pytest.mark.parametrize(
    ("operation", "hours"),
    [
        ("DescribeLiveDomainBpsData", 1),
        ("DescribeLiveDomainTrafficData", 24),
        ("DescribeLiveDomainPushBpsData", 24),
        ("DescribeLiveDomainPushTrafficData", 24),
    ],
)
def test_times_that_are_not_given_follow_from_those_that_are(current: Caller, operation: str, hours: int) -> None:
    begin, end = format_time(HOUR), format_time(HOUR + hours * 3600)
    assert current(operation, StartTime=begin)["EndTime"] == end
    assert current(operation, EndTime=end)["StartTime"] == begin
    assert len(rows(current(operation))) in (12 * hours, 12 * hours + 1)


@pytest.mark.parametrize(
    ("parameters", "code", "status"),
    [
        ({"DomainName": "absent.test"}, "InvalidDomain.NotFound", 404),
        ({"DomainName": "no name"}, "InvalidDomainName.Malformed", 400),
        ({"StartTime": "yesterday"}, "InvalidStartTime.Malformed", 400),
        ({"EndTime": "2026-13-01T00:00:00Z"}, "InvalidEndTime.Malformed", 400),
        ({"StartTime": SPAN["EndTime"], "EndTime": SPAN["StartTime"]}, "InvalidEndTime.Mismatch", 400),
        ({"StartTime": "2020-01-01T00:00:00Z", "EndTime": "2020-12-01T00:00:00Z"}, "InvalidTimeSpan", 400),
        ({"IspNameEn": "unicom"}, "NotImplemented", 501),
        ({"LocationNameEn": "beijing"}, "NotImplemented", 501),
    ],
)
def test_what_cannot_be_answered_is_refused(current: Caller, parameters: dict[str, str], code: str, status: int) -> None:
    with pytest.raises(Refusal) as refusal:
        current("DescribeLiveDomainBpsData", **parameters)
    assert (refusal.value.code, refusal.value.status) == (code, status)


def test_a_domain_of_the_other_kind_is_refused(api_server: ApiServer, current: Caller) -> None:
    push, play = used_pair(api_server, current)
    for operation, name in (("DescribeLiveDomainBpsData", push), ("DescribeLiveDomainPushBpsData", play)):
        with pytest.raises(Refusal) as refusal:
            current(operation, DomainName=name)
        assert refusal.value.code == "IllegalOperation"
