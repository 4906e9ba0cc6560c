"""The seed's procedure through the official SDKs: add, bind, configure, forbid, resume, stop, delete. The media is made up."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from headwater.access import policy as policies
from headwater.access import presence
from headwater.access.presence import PROMOTE_SUBJECT, Promote, StreamPresence, UpstreamPresence
from headwater.domains.rules import format_time
from support import pictures
from support.api_clients import CLIENTS, REGION, Caller, Refusal, tea
from support.api_server import ApiServer
from support.record_rows import recorded
from support.transcoding import picture
from support.web_server import Page, WebServer


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


@pytest.fixture
def names() -> tuple[str, str]:
    """An ingest and a streaming domain that nobody has."""
    token = secrets.token_hex(4)
    return f"push-{token}.test", f"play-{token}.test"


def add_pair(call: Caller, push: str, play: str) -> None:
    call("AddLiveDomain", DomainName=push, LiveDomainType="liveEdge", Region=REGION, Scope="overseas")
    call("AddLiveDomain", DomainName=play, LiveDomainType="liveVideo", Region=REGION)
    call("AddLiveDomainMapping", PushDomain=push, PullDomain=play)


def refusal(call: Caller, operation: str, **parameters: Any) -> tuple[str, int]:
    with pytest.raises(Refusal) as caught:
        call(operation, **parameters)
    return caught.value.code, caught.value.status


def go_live(api_server: ApiServer, push: str, play: str, stream: str = "cam") -> StreamPresence:
    item = StreamPresence(
        domain=play,
        app="live",
        stream=stream,
        session=secrets.token_hex(4),
        publish_domain=push,
        publish_url=f"rtmp://{push}/live/{stream}",
        published_at=time.time(),
        client_ip="192.0.2.1",
        server_ip="192.0.2.2",
        node="node",
        worker=0,
        width=1280,
        height=720,
        frame_rate=25,
        video_kbps=900,
        audio_kbps=96,
        video_codec_id=7,
        audio_codec_id=10,
    )
    api_server.do(api_server.cluster.put(presence.stream_key(play, "live", stream), presence.encode(item)))
    return item


def policy(api_server: ApiServer, domain: str) -> policies.Policy | None:
    entry = api_server.do(api_server.cluster.get(policies.policy_key(domain)))
    return None if entry is None else policies.decode_policy(entry.value)


def test_a_domain_is_added_shown_stopped_started_and_deleted(call: Caller, names: tuple[str, str]) -> None:
    push, play = names
    answer = call("AddLiveDomain", DomainName=push, LiveDomainType="liveEdge", Region=REGION, Scope="overseas")
    assert answer["RequestId"] == answer["RequestId"].upper()
    call("AddLiveDomain", DomainName=play, LiveDomainType="liveVideo", Region=REGION)
    listed = call("DescribeLiveUserDomains")
    assert (listed["PageNumber"], listed["PageSize"], listed["TotalCount"]) == (1, 20, 2)
    assert [item["DomainName"] for item in listed["Domains"]["PageData"]] == [play, push]
    item = listed["Domains"]["PageData"][1]
    assert (item["LiveDomainStatus"], item["LiveDomainType"], item["RegionName"]) == ("online", "liveEdge", REGION)
    detail = call("DescribeLiveDomainDetail", DomainName=push)["DomainDetail"]
    assert (detail["DomainStatus"], detail["Region"], detail["Scope"]) == ("online", REGION, "overseas")
    assert (detail["SSLProtocol"], detail["Cname"]) == ("off", item["Cname"])
    datetime.strptime(detail["GmtCreated"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    call("StopLiveDomain", DomainName=push)
    assert call("DescribeLiveDomainDetail", DomainName=push)["DomainDetail"]["DomainStatus"] == "offline"
    assert call("DescribeLiveUserDomains", DomainStatus="offline")["TotalCount"] == 1
    call("StartLiveDomain", DomainName=push)
    assert call("DescribeLiveDomainDetail", DomainName=push)["DomainDetail"]["DomainStatus"] == "online"
    call("DeleteLiveDomain", DomainName=push)
    assert refusal(call, "DescribeLiveDomainDetail", DomainName=push) == ("InvalidDomain.NotFound", 404)
    assert call("DescribeLiveUserDomains")["TotalCount"] == 1


def test_domains_are_searched_and_paged(current: Caller) -> None:
    token = secrets.token_hex(4)
    for number in range(5):
        kind = "liveEdge" if number % 2 else "liveVideo"
        current("AddLiveDomain", DomainName=f"d{number}-{token}.test", LiveDomainType=kind, Region=REGION)
    page = current("DescribeLiveUserDomains", PageNumber=2, PageSize=2)
    assert [item["DomainName"] for item in page["Domains"]["PageData"]] == [f"d2-{token}.test", f"d3-{token}.test"]
    assert (page["PageNumber"], page["PageSize"], page["TotalCount"]) == (2, 2, 5)
    assert current("DescribeLiveUserDomains", PageNumber=9)["Domains"]["PageData"] == []
    for search, text, count in (
        ("fuzzy_match", token, 5),
        ("pre_match", "d1", 1),
        ("suf_match", ".test", 5),
        ("full_match", token, 0),
        ("full_match", f"d4-{token}.test", 1),
    ):
        assert current("DescribeLiveUserDomains", DomainName=text, DomainSearchType=search)["TotalCount"] == count
    assert current("DescribeLiveUserDomains", LiveDomainType="liveEdge")["TotalCount"] == 2
    assert current("DescribeLiveUserDomains", RegionName="cn-beijing")["TotalCount"] == 0


def test_an_ingest_domain_is_bound_and_unbound(call: Caller, api_server: ApiServer, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    models = call("DescribeLiveDomainMapping", DomainName=push)["LiveDomainModels"]
    assert models == {"LiveDomainModel": [{"DomainName": play, "Type": "vhost"}]}
    models = call("DescribeLiveDomainMapping", DomainName=play)["LiveDomainModels"]
    assert models == {"LiveDomainModel": [{"DomainName": push, "Type": "publish"}]}
    bound = policy(api_server, push)
    assert bound is not None
    assert bound.streaming_domain == play
    call("DeleteLiveDomainMapping", PushDomain=push, PullDomain=play)
    assert call("DescribeLiveDomainMapping", DomainName=push)["LiveDomainModels"] == {"LiveDomainModel": []}


def test_functions_are_set_read_and_deleted(call: Caller, api_server: ApiServer, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    args = [
        {"argName": "auth_type", "argValue": "type_a"},
        {"argName": "auth_key1", "argValue": "0123456789abcdef"},
        {"argName": "ali_auth_delta", "argValue": 3600},
    ]
    header = [{"argName": "key", "argValue": "X-ü &=+*~"}, {"argName": "value", "argValue": "<1>"}]
    functions = [
        {"functionName": "aliauth", "functionArgs": args},
        {"functionName": "some_future", "functionArgs": header},
    ]
    text = json.dumps(functions, ensure_ascii=False)
    call("BatchSetLiveDomainConfigs", DomainNames=f"{push},{play}", Functions=text, DryRun=True)
    untouched = policy(api_server, play)
    assert untouched is not None
    assert untouched.signing.keys != ("0123456789abcdef",)
    call("BatchSetLiveDomainConfigs", DomainNames=f"{push}, {play}", Functions=text)
    for domain in names:
        known = policy(api_server, domain)
        assert known is not None
        assert known.signing == policies.Signing(keys=("0123456789abcdef",), validity_s=3600)
    configs = call("DescribeLiveDomainConfigs", DomainName=play, FunctionNames="aliauth,some_future,unknown")
    auth, resp = configs["DomainConfigs"]["DomainConfig"]
    assert (auth["FunctionName"], auth["Status"], auth["ConfigId"].isdecimal()) == ("aliauth", "success", True)
    assert {"ArgName": "ali_auth_delta", "ArgValue": "3600"} in auth["FunctionArgs"]["FunctionArg"]
    assert resp["FunctionArgs"] == {
        "FunctionArg": [{"ArgName": "key", "ArgValue": "X-ü &=+*~"}, {"ArgName": "value", "ArgValue": "<1>"}]
    }
    call("BatchDeleteLiveDomainConfigs", DomainNames=f"{push},{play}", FunctionNames="some_future")
    configs = call("DescribeLiveDomainConfigs", DomainName=play, FunctionNames="some_future")
    assert configs["DomainConfigs"] == {"DomainConfig": []}


def test_a_dry_run_finds_faults_and_changes_nothing(current: Caller, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(current, push, play)
    before = current("DescribeLiveDomainConfigs", DomainName=play, FunctionNames="aliauth")["DomainConfigs"]
    good = json.dumps([{"functionName": "aliauth", "functionArgs": [{"argName": "auth_type", "argValue": "no_auth"}]}])
    bad = good.replace("no_auth", "type_z")
    current("BatchSetLiveDomainConfigs", DomainNames=play, Functions=good, DryRun=True)
    with pytest.raises(Refusal, match=r"InvalidArgValue\.Malformed"):
        current("BatchSetLiveDomainConfigs", DomainNames=play, Functions=bad, DryRun=True)
    assert current("DescribeLiveDomainConfigs", DomainName=play, FunctionNames="aliauth")["DomainConfigs"] == before


def test_delays_have_the_documented_defaults_and_are_set(call: Caller, api_server: ApiServer, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    delays = call("DescribeLiveStreamDelayConfig", DomainName=play)
    assert delays["LiveStreamRtmpDelayConfig"] == {"Delay": 2, "Level": "short"}
    assert delays["LiveStreamFlvDelayConfig"] == {"Delay": 4, "Level": "medium"}
    assert delays["LiveStreamHlsDelayConfig"] == {"Delay": 15, "Level": "long"}
    call("SetLiveStreamDelayConfig", DomainName=play, HlsLevel="short", FlvDelay=7, FlvLevel="long")
    delays = call("DescribeLiveStreamDelayConfig", DomainName=play)
    assert delays["LiveStreamFlvDelayConfig"] == {"Delay": 7, "Level": ""}
    assert delays["LiveStreamHlsDelayConfig"] == {"Delay": 3, "Level": "short"}
    known = policy(api_server, play)
    assert known is not None
    assert (known.latency.flv_delay_s, known.latency.hls_delay_s) == (7, 3)
    assert refusal(call, "SetLiveStreamDelayConfig", DomainName=push, FlvDelay=1) == ("IllegalOperation", 403)
    assert refusal(call, "SetLiveStreamDelayConfig", DomainName=play, FlvDelay=9999) == ("InvalidFlvDelay", 400)
    assert refusal(call, "SetLiveStreamDelayConfig", DomainName=play, HlsLevel="tiny") == ("InvalidHlsLevel", 400)


def test_live_streams_are_listed(call: Caller, api_server: ApiServer, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    for stream in ("cam", "cam2", "other"):
        go_live(api_server, push, play, stream)
    answer = call("DescribeLiveStreamsOnlineList", DomainName=play)
    assert (answer["PageNum"], answer["PageSize"], answer["TotalNum"], answer["TotalPage"]) == (1, 2000, 3, 1)
    item = answer["OnlineInfo"]["LiveStreamOnlineInfo"][0]
    assert (item["DomainName"], item["AppName"], item["StreamName"], item["PublishDomain"]) == (play, "live", "cam", push)
    assert (item["ClientIp"], item["ServerIp"], item["PublishType"]) == ("192.0.2.1", "192.0.2.2", "edge")
    assert (item["Width"], item["Height"], item["FrameRate"], item["Transcoded"]) == (1280, 720, 25, "no")
    assert (item["VideoCodecId"], item["VideoDataRate"], item["AudioCodecId"], item["AudioDataRate"]) == (7, 900, 10, 96)

    def streams(**parameters: Any) -> list[str]:
        found = call("DescribeLiveStreamsOnlineList", DomainName=play, **parameters)["OnlineInfo"]["LiveStreamOnlineInfo"]
        return [item["StreamName"] for item in found]

    assert streams(StreamName="cam") == ["cam", "cam2"]
    assert streams(StreamName="cam", QueryType="strict") == ["cam"]
    assert streams(PageSize=2, PageNum=2) == ["other"]
    assert streams(StreamType="raw") == ["cam", "cam2", "other"]
    assert streams(StreamType="trans") == []
    answer = call("DescribeLiveStreamsOnlineList", DomainName=play, OnlyStream="yes", StreamName="other")
    entry = {name: value for name, value in answer["OnlineInfo"]["LiveStreamOnlineInfo"][0].items() if value is not None}
    assert set(entry) == {"DomainName", "AppName", "StreamName", "PublishTime"}
    assert refusal(call, "DescribeLiveStreamsOnlineList", DomainName=push) == ("IllegalOperation", 403)


def test_the_history_of_pushes_is_listed(current: Caller, api_server: ApiServer, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(current, push, play)
    for stream in ("b", "a"):
        item = go_live(api_server, push, play, stream)
        api_server.do(api_server.services.streams._open(item))
    api_server.do(api_server.services.streams._close([item.session]))
    span = {"StartTime": format_time(time.time() - 60), "EndTime": format_time(time.time() + 60)}
    answer = current("DescribeLiveStreamsPublishList", DomainName=play, OrderBy="stream_name_asc", PageNumber=1, **span)
    first, second = answer["PublishInfo"]["LiveStreamPublishInfo"]
    assert (answer["PageNum"], answer["TotalNum"], answer["TotalPage"]) == (1, 2, 1)
    assert (first["StreamName"], second["StreamName"], second["StopTime"]) == ("a", "b", "")
    assert first["StopTime"] >= first["PublishTime"]
    assert (first["ClientAddr"], first["EdgeNodeAddr"], first["Transcoded"]) == ("192.0.2.1", "192.0.2.2", "no")
    assert (
        current("DescribeLiveStreamsPublishList", DomainName=play, StreamName="a", QueryType="strict", **span)["TotalNum"] == 1
    )
    assert current("DescribeLiveStreamsPublishList", DomainName=play, StreamType="trans", **span)["TotalNum"] == 0
    made = msgspec.structs.replace(item, stream="a_ld", session="made", publish_domain=play, source="a", template="ld")
    api_server.do(api_server.services.streams._open(made))
    answer = current("DescribeLiveStreamsPublishList", DomainName=play, StreamType="trans", **span)
    [rendition] = answer["PublishInfo"]["LiveStreamPublishInfo"]
    assert (rendition["StreamName"], rendition["Transcoded"], rendition["TranscodeId"]) == ("a_ld", "yes", "ld")
    assert rendition["PublishUrl"] == f"rtmp://{play}/live/a"
    assert current("DescribeLiveStreamsPublishList", DomainName=play, **span)["TotalNum"] == 2
    assert current("DescribeLiveStreamsPublishList", DomainName=play, StreamType="all", **span)["TotalNum"] == 3
    late = {**span, "EndTime": span["StartTime"]}
    assert refusal(current, "DescribeLiveStreamsPublishList", DomainName=play, **late) == ("InvalidEndTime.Mismatch", 400)
    long = {**span, "StartTime": format_time(time.time() - 32 * 86400)}
    assert refusal(current, "DescribeLiveStreamsPublishList", DomainName=play, **long) == ("InvalidTimeSpan", 400)
    bad = {**span, "StartTime": "yesterday"}
    assert refusal(current, "DescribeLiveStreamsPublishList", DomainName=play, **bad) == ("InvalidStartTime.Malformed", 400)


def test_a_stream_is_forbidden_and_resumed(call: Caller, api_server: ApiServer, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    stream = {"DomainName": push, "AppName": "live", "StreamName": "cam", "LiveStreamType": "publisher"}
    until = format_time(time.time() + 600)
    call("ForbidLiveStream", **stream, ResumeTime=until)
    answer = call("DescribeLiveStreamsBlockList", DomainName=play)
    assert answer["StreamUrls"] == {"StreamUrl": [f"{play}/live/cam"]}
    assert (answer["DomainName"], answer["PageNum"], answer["PageSize"], answer["TotalNum"]) == (play, 1, 2000, 1)
    entry = api_server.do(api_server.cluster.get(policies.ban_key(play, "live", "cam")))
    assert entry is not None
    assert format_time(policies.decode_ban(entry.value).until_s) == until
    assert refusal(call, "ForbidLiveStream", **stream) == ("ConfigAlreadyExists", 400)
    call("ResumeLiveStream", **stream)
    assert call("DescribeLiveStreamsBlockList", DomainName=play)["StreamUrls"] == {"StreamUrl": []}
    assert api_server.do(api_server.cluster.get(policies.ban_key(play, "live", "cam"))) is None
    call("ForbidLiveStream", **stream)
    call("ResumeLiveStream", **{**stream, "AppName": "*"})
    assert call("DescribeLiveStreamsBlockList", DomainName=play)["TotalNum"] == 0


def test_a_stream_can_be_cut_once(current: Caller, api_server: ApiServer, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(current, push, play)

    stream = {"DomainName": push, "AppName": "live", "StreamName": "cam", "LiveStreamType": "publisher"}

    async def cut() -> policies.Kick:
        events = api_server.cluster.subscribe(policies.KICK_SUBJECT)
        await asyncio.to_thread(current, "ForbidLiveStream", **stream, Oneshot="yes")
        return policies.decode_kick((await anext(events)).payload)

    assert api_server.do(cut()) == policies.Kick(play, "live", "cam")
    assert current("DescribeLiveStreamsBlockList", DomainName=play)["TotalNum"] == 0


def test_what_cannot_be_is_refused_with_the_services_code(
    current: Caller, api_server: ApiServer, names: tuple[str, str]
) -> None:
    push, play = names
    add_pair(current, push, play)
    add = {"LiveDomainType": "liveVideo", "Region": REGION}
    assert refusal(current, "AddLiveDomain", DomainName=play, **add) == ("DomainAlreadyExist", 400)
    assert refusal(current, "AddLiveDomain", DomainName="*.a.test", **add) == ("InvalidDomainName.Malformed", 400)
    assert refusal(current, "AddLiveDomain", DomainName="x.a.test", **{**add, "Region": "moon"}) == ("InvalidRegion", 400)
    assert refusal(current, "AddLiveDomain", DomainName="x.a.test", **{**add, "LiveDomainType": "x"}) == (
        "InvalidLiveDomainType",
        400,
    )
    assert refusal(current, "AddLiveDomain", DomainName="x.a.test", **add, TopLevelDomain="y") == ("NotImplemented", 501)
    tag = [{"Key": "acs:a", "Value": "b"}]
    assert refusal(current, "AddLiveDomain", DomainName="x.a.test", **add, Tag=tag) == ("InvalidTagKey.Malformed", 400)
    for operation in ("StartLiveDomain", "StopLiveDomain", "DeleteLiveDomain", "DescribeLiveDomainMapping"):
        assert refusal(current, operation, DomainName="nobody.test") == ("InvalidDomain.NotFound", 404)
    other = f"other-{push}"
    current("AddLiveDomain", DomainName=other, LiveDomainType="liveEdge", Region="cn-beijing")
    for pair, code in (
        ((play, play), ("InvalidPushDomain", 400)),
        ((push, push), ("InvalidPullDomain", 400)),
        ((push, play), ("PushDomainAlreadyMapped", 400)),
        ((other, play), ("DomainRegionMismatch", 400)),
    ):
        assert refusal(current, "AddLiveDomainMapping", PushDomain=pair[0], PullDomain=pair[1]) == code
    unbound = refusal(current, "DeleteLiveDomainMapping", PushDomain=other, PullDomain=play)
    assert unbound == ("DomainMapping.NotFound", 404)
    stream = {"AppName": "live", "StreamName": "cam", "LiveStreamType": "publisher"}
    assert refusal(current, "ForbidLiveStream", DomainName=other, **stream) == ("IllegalOperation", 403)
    assert refusal(current, "ForbidLiveStream", DomainName=push, **stream, ResumeTime="x") == (
        "InvalidResumeTime.Malformed",
        400,
    )
    assert refusal(current, "ForbidLiveStream", DomainName=push, **{**stream, "LiveStreamType": "player"}) == (
        "InvalidLiveStreamType",
        400,
    )
    many = ",".join(f"d{number}.test" for number in range(51))
    assert refusal(current, "BatchDeleteLiveDomainConfigs", DomainNames=many, FunctionNames="aliauth") == (
        "DomainNameOverLimit",
        400,
    )
    functions = {"DomainNames": play, "Functions": "{"}
    assert refusal(current, "BatchSetLiveDomainConfigs", **functions) == ("InvalidFunctions.Malformed", 400)
    missing = json.dumps([{"functionName": "some_future", "functionArgs": [], "configId": 999999}])
    assert refusal(current, "BatchSetLiveDomainConfigs", DomainNames=play, Functions=missing) == ("ConfigNotFound", 404)
    assert refusal(current, "DescribeLiveUserDomains", PageSize=51) == ("InvalidPageSize", 400)


def test_the_twenty_first_domain_is_over_the_quota(current: Caller) -> None:
    token = secrets.token_hex(4)
    for number in range(20):
        current("AddLiveDomain", DomainName=f"d{number}-{token}.test", LiveDomainType="liveEdge", Region=REGION)
    more = {"DomainName": f"more-{token}.test", "LiveDomainType": "liveEdge", "Region": REGION}
    assert refusal(current, "AddLiveDomain", **more) == ("QuotaExceeded.Domain", 400)


def test_an_operation_that_is_not_built_says_so(current: Caller) -> None:
    assert refusal(current, "DescribeCasters") == ("NotImplemented", 501)


def test_nobody_sees_or_touches_anothers_domains(current: Caller, api_server: ApiServer, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(current, push, play)
    account = api_server.new_account(f"stranger-{push.removesuffix('.test')}")
    stranger = tea(api_server.endpoint, account.access_key_id, account.access_key_secret)
    gone = ("InvalidDomain.NotFound", 404)
    assert stranger("DescribeLiveUserDomains")["TotalCount"] == 0
    for operation in ("DescribeLiveDomainDetail", "StopLiveDomain", "DeleteLiveDomain", "DescribeLiveStreamsBlockList"):
        assert refusal(stranger, operation, DomainName=play) == gone
    assert refusal(stranger, "DescribeLiveDomainConfigs", DomainName=play, FunctionNames="aliauth") == gone
    assert refusal(stranger, "BatchDeleteLiveDomainConfigs", DomainNames=play, FunctionNames="aliauth") == gone


@pytest.mark.parametrize("client", CLIENTS)
def test_a_wrong_key_is_refused(client: str, api_server: ApiServer) -> None:
    nobody = CLIENTS[client](api_server.endpoint, "nobody", "x")
    assert refusal(nobody, "DescribeLiveUserDomains") == ("InvalidAccessKeyId.NotFound", 404)
    wrong = CLIENTS[client](api_server.endpoint, api_server.account.access_key_id, "wrong")
    code = "InvalidAccessKeySecret" if client == "classic" else "SignatureDoesNotMatch"  # the classic client's own finding
    assert refusal(wrong, "DescribeLiveUserDomains") == (code, 400)


def test_domains_are_tagged_and_found_again(call: Caller, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    team = f"team-{push}"
    one, two = {"Key": team, "Value": "a"}, {"Key": "x", "Value": "空 +&"}
    call("TagLiveResources", ResourceType="DOMAIN", ResourceId=[push, play], Tag=[one, two])
    call("UnTagLiveResources", ResourceType="DOMAIN", ResourceId=[push], TagKey=["x"])
    listed = call("DescribeLiveUserDomains", Tag=[one])["Domains"]["PageData"]
    assert [domain["DomainName"] for domain in listed] == sorted(names)
    assert {"Key": team, "Value": ["a"]} in call("DescribeLiveUserTags")["Tags"]
    call("UnTagLiveResources", ResourceType="DOMAIN", ResourceId=[push, play], All=True)
    assert call("DescribeLiveUserDomains", Tag=[one])["TotalCount"] == 0
    call("ChangeLiveDomainResourceGroup", DomainName=play, NewResourceGroupId="rg-1")
    assert call("DescribeLiveDomainDetail", DomainName=play)["DomainDetail"]["ResourceGroupId"] == "rg-1"


def test_the_tags_of_domains_are_listed(current: Caller, names: tuple[str, str]) -> None:  # newer than the classic SDK
    push, play = names
    add_pair(current, push, play)
    one, two = {"Key": "team", "Value": "a"}, {"Key": "x", "Value": "b"}
    current("TagLiveResources", ResourceType="DOMAIN", ResourceId=[push], Tag=[one])
    current("TagLiveResources", ResourceType="DOMAIN", ResourceId=[play], Tag=[one, two])
    found = current("DescribeLiveTagResources", ResourceType="DOMAIN", ResourceId=[play])["TagResources"]
    assert [(item["ResourceId"], item["Tag"]) for item in found] == [(play, [one, two])]
    rows = current("ListLiveTagResources", ResourceType="DOMAIN", Tag=[one])["TagResources"]["TagResource"]
    assert [(row["ResourceId"], row["TagKey"], row["TagValue"]) for row in rows] == [
        (play, "team", "a"),
        (play, "x", "b"),
        (push, "team", "a"),
    ]


def test_functions_are_staged_published_and_rolled_back(call: Caller, api_server: ApiServer, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    functions = json.dumps([{"functionName": "gzip", "functionArgs": [{"argName": "enable", "argValue": "off"}]}])
    call("SetLiveDomainStagingConfig", DomainName=play, Functions=functions)
    [staged] = call("DescribeLiveDomainStagingConfig", DomainName=play, FunctionNames="gzip")["DomainConfigs"]
    assert staged["FunctionArgs"] == [{"ArgName": "enable", "ArgValue": "off"}]
    known = policy(api_server, play)
    assert known is not None
    assert known.staged is not None
    assert (known.answers.gzip, known.staged.answers.gzip) == (True, False)
    call("DeleteLiveSpecificStagingConfig", DomainName=play, ConfigId=staged["ConfigId"])
    call("SetLiveDomainStagingConfig", DomainName=play, Functions=functions)
    call("RollbackLiveStagingConfig", DomainName=play, FunctionName="gzip")
    refused = refusal(call, "PublishLiveStagingConfigToProduction", DomainName=play, FunctionName="gzip")
    assert refused == ("ConfigNotFound", 404)
    call("SetLiveDomainStagingConfig", DomainName=play, Functions=functions)
    call("PublishLiveStagingConfigToProduction", DomainName=play, FunctionName="gzip")
    known = policy(api_server, play)
    assert known is not None
    assert (known.answers.gzip, known.staged) == (False, None)


def test_streams_are_blocked_by_region(call: Caller, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    stream = {"DomainName": play, "AppName": "live", "StreamName": "cam"}
    done = call("SetLiveStreamBlock", **stream, BlockType="whitelist", LocationList="CN,AS")
    assert (done["Status"], done["Description"]) == ("ok", "ok")
    [block] = call("DescribeStreamLocationBlock", DomainName=play)["StreamBlockList"]["StreamBlock"]
    assert (block["LocationList"], block["BlockType"], block["Status"]) == ("CN,AS", "whitelist", 1)
    call("DeleteLiveStreamBlock", **stream)
    assert call("DescribeStreamLocationBlock", DomainName=play)["Count"] == 0


def test_time_shift_and_delayed_streams_are_set_read_and_removed(call: Caller, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    call("OpenLiveShift", DomainName=play)
    call("OpenLiveShift", DomainName=play, AppName="live", StreamName="cam", Vision=3, Duration=10, IgnoreTranscode=False)
    every, cam = call("DescribeLiveShiftConfigs", DomainName=play)["Content"]["Config"]
    assert every == {"DomainName": play, "AppName": "*", "StreamName": "*", "Vision": 7, "IgnoreTranscode": True}
    assert cam == {"DomainName": play, "AppName": "live", "StreamName": "cam", "Vision": 3, "IgnoreTranscode": False}
    call("CloseLiveShift", DomainName=play, AppName="live", StreamName="cam")
    assert call("DescribeLiveShiftConfigs", DomainName=play)["Content"]["Config"] == [every]

    rule = {"Domain": play, "App": "live", "Stream": "cam"}
    call("CreateLiveDelayConfig", **rule, DelayTime=30, TaskTriggerMode="PUBLISH_CONFIG")
    call("UpdateLiveDelayConfig", **rule, DelayTime=60)
    stored = {**rule, "DelayTime": "60", "TaskTriggerMode": "PUBLISH_CONFIG"}
    found = call("DescribeLiveDelayConfig", **rule)
    assert {name: found[name] for name in stored} == stored
    listed = call("ListLiveDelayConfig", Domain=play, PageNum=1, PageSize=10)
    assert (listed["Total"], listed["DelayConfigList"]["DelayConfig"]) == (1, [stored])
    assert refusal(call, "CreateLiveDelayConfig", **{**rule, "App": "*"}, DelayTime=1, TaskTriggerMode="CONFIG_ONLY") == (
        "InvalidParameters",
        400,
    )
    call("DeleteLiveDelayConfig", **rule)
    assert call("ListLiveDelayConfig", Domain=play)["Total"] == 0


def test_snapshot_templates_are_set_changed_read_and_removed(call: Caller, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    app = {"DomainName": play, "AppName": "live"}
    bucket = {"OssEndpoint": "oss-cn-shanghai.aliyuncs.com", "OssBucket": f"pictures-{secrets.token_hex(4)}"}
    call(
        "AddLiveAppSnapshotConfig",
        **app,
        **bucket,
        TimeInterval=5,
        OverwriteOssObject="{AppName}/{StreamName}.jpg",
        SequenceOssObject="snapshot/{AppName}/{StreamName}/{UnixTimestamp}.jpg",
        Callback="https://learn.aliyundoc.com",
    )
    again = {**app, **bucket, "TimeInterval": 5, "OverwriteOssObject": "x.jpg"}
    assert refusal(call, "AddLiveAppSnapshotConfig", **again) == ("ConfigAlreadyExists", 400)
    call("UpdateLiveAppSnapshotConfig", **app, TimeInterval=3600, OverwriteOssObject="-", Callback="-")
    found = call("DescribeLiveSnapshotConfig", DomainName=play, PageSize=5)
    assert {name: found[name] for name in ("Order", "PageNum", "PageSize", "TotalNum", "TotalPage")} == {
        "Order": "asc",
        "PageNum": 1,
        "PageSize": 5,
        "TotalNum": 1,
        "TotalPage": 1,
    }
    [template] = found["LiveStreamSnapshotConfigList"]["LiveStreamSnapshotConfig"]
    del template["CreateTime"]
    assert template == {
        **app,
        **bucket,
        "TimeInterval": 3600,
        "OverwriteOssObject": "",
        "SequenceOssObject": "snapshot/{AppName}/{StreamName}/{UnixTimestamp}.jpg",
        "Callback": "",
    }
    call("DeleteLiveAppSnapshotConfig", **app)
    assert refusal(call, "DeleteLiveAppSnapshotConfig", **app) == ("ConfigNotFound", 404)


def test_who_is_told_of_snapshots_is_set_changed_read_and_removed(call: Caller, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    domain = {"DomainName": play}
    assert refusal(call, "DescribeLiveSnapshotNotifyConfig", **domain) == ("ConfigNotFound", 404)
    assert refusal(call, "UpdateLiveSnapshotNotifyConfig", **domain, NotifyUrl="https://a.test/") == ("ConfigNotFound", 404)
    call("AddLiveSnapshotNotifyConfig", **domain, NotifyUrl="https://learn.aliyundoc.com/snapshots")
    call("UpdateLiveSnapshotNotifyConfig", **domain, NotifyReqAuth="yes", NotifyAuthKey="abcdef0123456789")
    told = call("DescribeLiveSnapshotNotifyConfig", **domain)
    assert (told["NotifyUrl"], told["NotifyReqAuth"], told["NotifyAuthKey"]) == (
        "https://learn.aliyundoc.com/snapshots",
        "yes",
        "abcdef0123456789",
    )
    call("DeleteLiveSnapshotNotifyConfig", **domain)
    assert refusal(call, "DescribeLiveSnapshotNotifyConfig", **domain) == ("ConfigNotFound", 404)
    assert call("QuerySnapshotCallbackAuth", **domain)["CallbackReqAuth"] == "no"
    call("SetSnapshotCallbackAuth", **domain, CallbackReqAuth="yes", CallbackAuthKey="abcdef0123456789")
    signing = call("QuerySnapshotCallbackAuth", **domain)
    assert (signing["CallbackReqAuth"], signing["CallbackAuthKey"]) == ("yes", "abcdef0123456789")
    call("DeleteSnapshotCallbackAuth", **domain)
    assert call("QuerySnapshotCallbackAuth", **domain)["CallbackAuthKey"] == ""


def test_pictures_are_told_of_page_by_page_and_deleted(call: Caller, api_server: ApiServer, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    for number in range(3):
        taken_ms = 1_767_225_600_000 + number * 5000
        api_server.do(pictures.take(api_server.database, play, taken_ms, sequence="{StreamName}/{Sequence}.jpg"))
    stream = {"DomainName": play, "AppName": "live", "StreamName": "cam"}
    start, end = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"
    page = call("DescribeLiveStreamSnapshotInfo", **stream, StartTime=start, EndTime=end, Limit=2)
    first, _ = page["LiveStreamSnapshotInfoList"]["LiveStreamSnapshotInfo"]
    assert first == {
        "CreateTime": start,
        "CreateTimestamp": 1_767_225_600_000,
        "IsOverlay": False,
        "OssBucket": "pictures",
        "OssEndpoint": "oss-cn-shanghai.aliyuncs.com",
        "OssObject": "cam/1.jpg",
    }
    assert page["NextStartTime"] == "2026-01-01T00:00:10Z"
    rest = call("DescribeLiveStreamSnapshotInfo", **stream, StartTime=page["NextStartTime"], EndTime=end)
    assert [item["OssObject"] for item in rest["LiveStreamSnapshotInfoList"]["LiveStreamSnapshotInfo"]] == ["cam/3.jpg"]
    assert "NextStartTime" not in rest
    done = call("DeleteSnapshotFiles", **stream, CreateTimestampList=[first["CreateTimestamp"], 5], RemoveFile=True)
    assert (done["SuccessCount"], done["FailureCount"]) == (1, 1)
    assert done["SnapshotDeleteInfoList"]["SnapshotDeleteInfo"] == [
        {"CreateTimestamp": first["CreateTimestamp"], "Message": "OK"},
        {"CreateTimestamp": 5, "Message": "FileNotFound"},
    ]


def test_recording_templates_are_set_read_and_removed(call: Caller, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    files = "record/{AppName}/{StreamName}/{Sequence}{EscapedStartTime}{EscapedEndTime}"
    slices = "record/{AppName}/{StreamName}/{UnixTimestamp}_{Sequence}"
    place = {"OssEndpoint": "oss-cn-shanghai.aliyuncs.com", "OssBucket": play.removesuffix(".test")}
    of = {"DomainName": play, "AppName": "live", "StreamName": "cam"}
    call(
        "AddLiveAppRecordConfig",
        **of,
        **place,
        OnDemand=7,
        RecordFormat=[
            {"Format": "m3u8", "CycleDuration": 600, "OssObjectPrefix": files, "SliceOssObjectPrefix": slices},
            {"Format": "mp4", "OssObjectPrefix": files},
        ],
        TranscodeRecordFormat=[{"Format": "flv", "OssObjectPrefix": files}],
        TranscodeTemplates=["ld"],
    )
    again = {**of, **place, "RecordFormat": [{"Format": "mp4", "OssObjectPrefix": files}]}
    assert refusal(call, "AddLiveAppRecordConfig", **again) == ("ConfigAlreadyExists", 400)
    call("AddLiveAppRecordConfig", **{**again, "AppName": "*", "StreamName": "*"})
    listed = call("DescribeLiveRecordConfig", DomainName=play, PageSize=5, Order="asc")
    exact, every = listed["LiveAppRecordList"]["LiveAppRecord"]
    assert (listed["TotalNum"], listed["TotalPage"], listed["PageNum"], listed["Order"]) == (2, 1, 1, "asc")
    assert (every["AppName"], every["StreamName"], every["OnDemond"], every["DelayTime"]) == ("*", "*", 0, 180)
    assert {**of, **place}.items() <= exact.items()
    assert (exact["OnDemond"], exact["StartTime"], exact["EndTime"]) == (7, "", "")
    hls, mp4 = exact["RecordFormatList"]["RecordFormat"]
    assert hls == {
        "Format": "m3u8",
        "CycleDuration": 600,
        "OssObjectPrefix": files,
        "SliceOssObjectPrefix": slices,
        "SliceDuration": 30,
    }
    assert (mp4["Format"], mp4["CycleDuration"], mp4["SliceDuration"]) == ("mp4", 3600, 0)
    assert [item["Format"] for item in exact["TranscodeRecordFormatList"]["RecordFormat"]] == ["flv"]
    assert exact["TranscodeTemplates"] == {"Templates": ["ld"]}

    changed = [{"Format": "m3u8", "CycleDuration": 900, "SliceDuration": 10}]
    call("UpdateLiveAppRecordConfig", **of, OssEndpoint=place["OssEndpoint"], DelayTime=20, RecordFormat=changed)
    listed = call("DescribeLiveRecordConfig", DomainName=play, AppName="live", StreamName="cam")
    (exact,) = listed["LiveAppRecordList"]["LiveAppRecord"]
    assert exact["RecordFormatList"]["RecordFormat"] == [{**hls, "CycleDuration": 900, "SliceDuration": 10}]
    assert (exact["DelayTime"], exact["OnDemond"]) == (20, 7)
    call("DeleteLiveAppRecordConfig", **of)
    call("DeleteLiveAppRecordConfig", DomainName=play, AppName="*")
    assert call("DescribeLiveRecordConfig", DomainName=play)["LiveAppRecordList"]["LiveAppRecord"] == []
    assert refusal(call, "DeleteLiveAppRecordConfig", **of) == ("ConfigNotFound", 404)


def test_recording_to_the_media_library_is_set_read_and_removed(call: Caller, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    of = {"DomainName": play, "AppName": "live", "StreamName": "cam"}
    call("AddLiveRecordVodConfig", **of, VodTranscodeGroupId="VOD_NO_TRANSCODE", CycleDuration=300, OnDemand=2)
    found = call("DescribeLiveRecordVodConfigs", DomainName=play)
    (item,) = found["LiveRecordVodConfigs"]["LiveRecordVodConfig"]
    assert (found["Total"], found["PageNum"], found["PageSize"]) == ("1", 1, 10)
    told = {**of, "CycleDuration": 300, "OnDemand": 2, "RecordContent": "raw", "AutoCompose": "OFF", "FormatConfig": False}
    assert told.items() <= item.items()
    group = "e2d796d3bb5fd8049d32bff62f940711"
    assert refusal(call, "UpdateLiveRecordVodConfig", **of, VodTranscodeGroupId=group) == ("NotImplemented", 501)
    call("UpdateLiveRecordVodConfig", **of, VodTranscodeGroupId="VOD_NO_TRANSCODE", CycleDuration=600)
    (item,) = call("DescribeLiveRecordVodConfigs", DomainName=play)["LiveRecordVodConfigs"]["LiveRecordVodConfig"]
    assert (item["CycleDuration"], item["OnDemand"]) == (600, 2)
    call("DeleteLiveRecordVodConfig", **of)
    assert call("DescribeLiveRecordVodConfigs", DomainName=play)["Total"] == "0"


def test_what_was_recorded_is_told_and_clipped(call: Caller, api_server: ApiServer, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    start_s = int(time.time()) + 20
    api_server.do(recorded(api_server.database, play, "live", "cam", start_s=start_s, seconds=60))
    of = {"DomainName": play, "AppName": "live", "StreamName": "cam"}
    span = {"StartTime": format_time(start_s - 10), "EndTime": format_time(start_s + 100)}
    (content,) = call("DescribeLiveStreamRecordContent", **of, **span)["RecordContentInfoList"]["RecordContentInfo"]
    assert (content["StartTime"], content["EndTime"]) == (format_time(start_s), format_time(start_s + 60))
    assert (content["Duration"], content["OssBucket"]) == (60.0, "shapes")
    bucket = play.removesuffix(".test")
    place = {"OssEndpoint": "oss-cn-shanghai.aliyuncs.com", "OssBucket": bucket, "OssObject": "{AppName}/{StreamName}.m3u8"}
    made = call("CreateLiveStreamRecordIndexFiles", **of, **place, **span)["RecordInfo"]
    assert (made["Duration"], made["Width"], made["Height"], made["OssObject"]) == (60.0, 320, 180, "live/cam.m3u8")
    assert made["RecordUrl"] == f"http://{bucket}.oss-cn-shanghai.aliyuncs.com/live/cam.m3u8"
    one = call("DescribeLiveStreamRecordIndexFile", **of, RecordId=made["RecordId"])["RecordIndexInfo"]
    assert one == {**made, "Format": "m3u8"}
    today = {"StartTime": format_time(time.time() - 60), "EndTime": format_time(time.time() + 60)}
    listed = call("DescribeLiveStreamRecordIndexFiles", **of, **today, Order="desc")
    assert listed["RecordIndexInfoList"]["RecordIndexInfo"] == [one]
    assert (listed["TotalNum"], listed["TotalPage"], listed["PageSize"], listed["Order"]) == (1, 1, 10, "desc")
    gone = call("DeleteLiveStreamRecordIndexFiles", **of, RecordId=[made["RecordId"], "unknown"], RemoveFile="true")
    assert gone["RecordDeleteInfoList"]["RecordDeleteInfo"] == [
        {"RecordId": made["RecordId"], "Message": "OK"},
        {"RecordId": "unknown", "Message": "FileNotFound"},
    ]
    missing = {**of, "StreamName": "other"}
    assert refusal(call, "CreateLiveStreamRecordIndexFiles", **missing, **place, **span) == ("InvalidStream.NotFound", 400)


def test_dual_streams_are_switched_on_listed_and_steered(call: Caller, api_server: ApiServer, names: tuple[str, str]) -> None:
    push, play = names
    add_pair(call, push, play)
    stream = {"Domain": play, "AppName": "live", "StreamName": "cam"}
    assert call("DescribeLiveDomainMultiStreamConfig", Domain=play)["Switch"] == "off"
    off = refusal(call, "SetLiveDomainMultiStreamMaster", **stream, UpstreamSequence="2")
    assert off == ("CodeTaskNotStarted", 400)
    call("SetLiveDomainMultiStreamConfig", Domain=play, Switch="on")
    assert call("DescribeLiveDomainMultiStreamConfig", Domain=play)["Switch"] == "on"
    assert refusal(call, "SetLiveDomainMultiStreamConfig", Domain=play, Switch="yes") == ("InvalidSwitch", 400)
    call("SetLiveDomainMultiStreamOptimalMode", **stream, OptimalMode="off")
    known = policy(api_server, play)
    assert known is not None
    assert (known.session.multi_stream, known.session.manual) == (True, ("live/cam",))

    master = msgspec.structs.replace(go_live(api_server, push, play), upstream=1)
    api_server.do(api_server.cluster.put(presence.stream_key(play, "live", "cam"), presence.encode(master)))
    for number, session in ((1, master.session), (2, "other")):
        publisher = UpstreamPresence(session, f"192.0.2.{number}", 1_700_000_000.0, "node", 0)
        key = presence.upstream_key(play, "live", "cam", number)
        api_server.do(api_server.cluster.put(key, msgspec.json.encode(publisher)))
    [found] = call("QueryLiveDomainMultiStreamList", Domain=play, StreamName="cam")["OnlineStreams"]
    assert (found["OptimalMode"], found["StreamName"], found["ChangeLogs"]) == ("off", "cam", [])
    time = "2023-11-14T22:13:20Z"
    assert found["UpstreamList"] == [
        {"MasterFlag": True, "UpstreamIp": "192.0.2.1", "UpstreamSequence": "1", "UpstreamTime": time},
        {"MasterFlag": False, "UpstreamIp": "192.0.2.2", "UpstreamSequence": "2", "UpstreamTime": time},
    ]
    assert call("QueryLiveDomainMultiStreamList", Domain=play, StreamName="ca")["TotalCount"] == 0

    async def promoted() -> Promote:
        events = api_server.cluster.subscribe(PROMOTE_SUBJECT)
        await asyncio.to_thread(call, "SetLiveDomainMultiStreamMaster", **stream, UpstreamSequence="2")
        return msgspec.json.decode((await anext(events)).payload, type=Promote)

    assert api_server.do(promoted()) == Promote(play, "live", "cam", 2)
    unknown = refusal(call, "SetLiveDomainMultiStreamMaster", **stream, UpstreamSequence="3")
    assert unknown == ("InvalidUpstreamSequence.NotFound", 404)


def test_templates_and_watermarks_are_made_shown_and_deleted(
    call: Caller, api_server: ApiServer, names: tuple[str, str]
) -> None:
    push, play = names
    add_pair(call, push, play)
    keys = {"Domain": play, "App": "live"}
    media = {"TemplateType": "h264", "Width": 640, "Height": 360, "FPS": 25, "VideoBitrate": 500}
    call("AddLiveStreamTranscode", **keys, Template="lhd", Lazy="no")
    limits = '{"UpLimit": 30, "LowerLimit": 15}'
    call("AddCustomLiveStreamTranscode", **keys, Template="own", **media, FpsWithSource=limits, Gop="2s", Lazy="yes")
    call("AddRtsLiveStreamTranscode", **keys, Template="own_rts", **media, DeleteBframes=True, Opus=True)
    assert refusal(call, "AddLiveStreamTranscode", **keys, Template="lhd") == ("ConfigAlreadyExists", 400)
    found = call("DescribeLiveStreamTranscodeInfo", DomainTranscodeName=play)["DomainTranscodeList"]["DomainTranscodeInfo"]
    assert [(item["TranscodeTemplate"], item["IsLazy"]) for item in found] == [("lhd", False), ("own", True), ("own_rts", True)]
    own, rts = (item["CustomTranscodeParameters"] for item in found[1:])
    assert (own["Width"], own["Gop"], own["FpsWithSource"]) == (640, "2s", {"UpLimit": 30, "LowerLimit": 15})
    assert (rts["RtsFlag"], rts["Bframes"], rts["AudioCodec"]) == ("yes", "no", "opus")
    for template in ("lhd", "own", "own_rts"):
        call("DeleteLiveStreamTranscode", **keys, Template=template)
    api_server.services.watermarks._private_pictures = True
    with WebServer() as web:
        web.pages["127.0.0.1", "/mark.png"] = Page(picture(64, 32))
        mark = call(
            "AddLiveStreamWatermark",
            Name="mark",
            Type=0,
            PictureUrl=f"http://127.0.0.1:{web.port}/mark.png",
            RefWidth=1280,
            RefHeight=720,
            Height=90,
            XOffset=16.5,
            YOffset=8.0,
            OffsetCorner="TopRight",
            Transparency=255,
        )["TemplateId"]
    rule = call("AddLiveStreamWatermarkRule", **keys, Stream="*(a|b)", TemplateId=mark, Name="rule")["RuleId"]
    (shown,) = call("DescribeLiveStreamWatermarks", KeyWord=mark)["WatermarkList"]["Watermark"]
    assert (shown["XOffset"], shown["RuleCount"]) == (16.5, 1)
    assert refusal(call, "DeleteLiveStreamWatermark", TemplateId=mark) == ("Watermark.InUse", 400)
    call("DeleteLiveStreamWatermarkRule", Domain=play, RuleId=rule)
    call("DeleteLiveStreamWatermark", TemplateId=mark)
