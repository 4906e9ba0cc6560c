"""Every operation takes the parameters and gives the response that the SDKs know, name by name (`operation_shapes.json`)."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import msgspec
import pytest
from sqlalchemy import delete, update

from headwater.access import presence
from headwater.access.presence import StreamPresence, UpstreamPresence
from headwater.cluster.nodes import NodePresence
from headwater.domains.rules import format_time
from headwater.notify.events import RecordStatus, StreamState
from headwater.notify.queue import enqueue
from headwater.openapi.operations import OPERATIONS
from headwater.store.models import Callback, RecordNotify, StreamNotify
from support import pictures
from support.api_server import ApiServer
from support.api_signer import v1_parameters, v3_headers
from support.certificates import Authority
from support.record_rows import Center, recorded
from support.transcoding import JobCenter, job, picture
from support.web_server import Page, WebServer

pytestmark = pytest.mark.xdist_group("shapes")

SHAPES: dict[str, Any] = json.loads(Path(__file__).with_name("operation_shapes.json").read_text())
IGNORED = {"CheckUrl"}
"""An origin's health check: a live domain here has no origin."""

PUSH, PLAY, BARE, SUB = "push.shapes.test", "play.shapes.test", "bare.shapes.test", "sub.shapes.test"
STREAM = {"DomainName": PUSH, "AppName": "live", "StreamName": "cam", "LiveStreamType": "publisher"}
BLOCKED = {"DomainName": PLAY, "AppName": "live", "StreamName": "cam"}
PUSHED = {"Domain": PLAY, "AppName": "live", "StreamName": "cam"}
DELAYED = {"Domain": PLAY, "App": "live", "Stream": "cam"}
PUBLISHED = {"DomainName": PLAY, "AppName": "live", "StreamName": "cam"}
RECORDED = {"OssEndpoint": "oss-cn-shanghai.aliyuncs.com", "OssBucket": "shapes"}
FORMATS = {
    f"{kind}.1.{name}": value
    for kind in ("RecordFormat", "TranscodeRecordFormat")
    for name, value in {
        "Format": "m3u8",
        "OssObjectPrefix": "{StreamName}/{StartTime}_{EndTime}",
        "SliceOssObjectPrefix": "{StreamName}/{UnixTimestamp}_{Sequence}",
    }.items()
}
SPAN = {"StartTime": format_time(time.time() - 600), "EndTime": format_time(time.time() + 600)}
PICTURED = {"DomainName": PLAY, "AppName": "live"}
BUCKET = {"OssEndpoint": "oss-cn-shanghai.aliyuncs.com", "OssBucket": "pictures"}
TOLD = {"DomainName": PLAY, "NotifyUrl": "http://customer.test/told"}
RESOURCE = {"ResourceType": "DOMAIN", "ResourceId.1": PLAY}
STAGED, CLIP = "the id of what is staged", "the id of a clip"
FUNCTION = json.dumps([{"functionName": "range", "functionArgs": [{"argName": "enable", "argValue": "on"}]}])
ISSUED = Authority().issue(PLAY)
CERTIFICATE = {"SSLProtocol": "on", "SSLPub": ISSUED.chain_pem, "SSLPri": ISSUED.key_pem}

CODED = {"Domain": PLAY, "App": "live"}
OWN = {**CODED, "Template": "own", "TemplateType": "h264", "Width": "640", "Height": "360", "FPS": "25", "VideoBitrate": "500"}
RTS = {**OWN, "Template": "own_rts"}
MADE = {"PushDomain": PUSH, "App": "live", "StreamName": "cam", "TranscodingTemplate": "own"}
MIX = {"Template": "mix", "CustomTemplate": '{"height": 720, "scale": 1, "gop": 2, "bframes": 0, "cdesc": "x"}'}
EDGE_JOB = "the id of a job"
NODE = "shapes-node"
EDGE = {"ClusterId": NODE, "JobId": EDGE_JOB}
EDGE_URLS = {"StreamInput": "http://in.test/live/cam.flv", "StreamOutput": "rtmp://out.test/live/cam"}
MARK, MARK_RULE, PICTURE = "the id of a watermark", "the id of its rule", "the URL of its picture"
MARKED = {**CODED, "Stream": "*(a|b)", "TemplateId": MARK, "Name": "rule"}
PLACED = {"RefWidth": "1280", "RefHeight": "720", "Height": "90", "XOffset": "16.5", "YOffset": "16", "Transparency": "200"}

CALLS: list[tuple[str, dict[str, str]]] = [
    ("AddLiveDomain", {"DomainName": BARE, "LiveDomainType": "liveVideo", "Region": "cn-shanghai"}),
    ("StopLiveDomain", {"DomainName": BARE}),
    ("StartLiveDomain", {"DomainName": BARE}),
    ("DeleteLiveDomain", {"DomainName": BARE}),
    ("DescribeLiveUserDomains", {}),
    ("DescribeLiveDomainDetail", {"DomainName": PLAY}),
    ("DeleteLiveDomainMapping", {"PushDomain": PUSH, "PullDomain": PLAY}),
    ("AddLiveDomainMapping", {"PushDomain": PUSH, "PullDomain": PLAY}),
    ("DescribeLiveDomainMapping", {"DomainName": PLAY}),
    ("AddLiveDomainPlayMapping", {"PlayDomain": SUB, "PullDomain": PLAY}),
    ("DeleteLiveDomainPlayMapping", {"PlayDomain": SUB, "PullDomain": PLAY}),
    ("ModifyLiveDomainSchdmByProperty", {"DomainName": PLAY, "Property": '{"coverage": "overseas"}'}),
    ("DescribeLiveDomainLimit", {"DomainName": PLAY}),
    ("DescribeLiveVerifyContent", {"DomainName": PLAY}),
    ("VerifyLiveDomainOwner", {"DomainName": PLAY, "VerifyType": "dnsCheck"}),
    ("BatchSetLiveDomainConfigs", {"DomainNames": PLAY, "Functions": FUNCTION}),
    ("DescribeLiveDomainConfigs", {"DomainName": PLAY, "FunctionNames": "aliauth,range"}),
    ("BatchDeleteLiveDomainConfigs", {"DomainNames": PLAY, "FunctionNames": "range"}),
    ("SetLiveDomainStagingConfig", {"DomainName": PLAY, "Functions": FUNCTION}),
    ("DescribeLiveDomainStagingConfig", {"DomainName": PLAY, "FunctionNames": "range"}),
    ("PublishLiveStagingConfigToProduction", {"DomainName": PLAY, "FunctionName": "range"}),
    ("SetLiveDomainStagingConfig", {"DomainName": PLAY, "Functions": FUNCTION}),
    ("RollbackLiveStagingConfig", {"DomainName": PLAY, "FunctionName": "range"}),
    ("SetLiveDomainStagingConfig", {"DomainName": PLAY, "Functions": FUNCTION}),
    ("DeleteLiveSpecificStagingConfig", {"DomainName": PLAY, "ConfigId": STAGED}),
    ("SetLiveStreamDelayConfig", {"DomainName": PLAY, "HlsDelay": "9"}),
    ("DescribeLiveStreamDelayConfig", {"DomainName": PLAY}),
    ("TagLiveResources", {**RESOURCE, "Tag.1.Key": "team", "Tag.1.Value": "sports"}),
    ("DescribeLiveTagResources", RESOURCE),
    ("ListLiveTagResources", RESOURCE),
    ("DescribeLiveUserTags", {}),
    ("UnTagLiveResources", {**RESOURCE, "TagKey.1": "other"}),
    ("ChangeLiveDomainResourceGroup", {"DomainName": PLAY, "NewResourceGroupId": "rg-shapes"}),
    ("SetLiveDomainCertificate", {"DomainName": PLAY, "CertName": "shapes", **CERTIFICATE}),
    ("DescribeLiveDomainCertificateInfo", {"DomainName": PLAY}),
    ("DescribeLiveCertificateList", {"DomainName": PLAY}),
    ("DescribeLiveCertificateDetail", {"CertName": "shapes"}),
    ("DescribeLiveHttpsDomainList", {}),
    ("DescribeLiveDomainByCertificate", {"SSLPub": b64encode(ISSUED.pem.encode()).decode()}),
    ("DescribeLiveStreamsOnlineList", {"DomainName": PLAY}),
    ("DescribeLiveStreamsPublishList", {"DomainName": PLAY, **SPAN}),
    ("DescribeLiveDomainBpsData", {"DomainName": PLAY}),
    ("DescribeLiveDomainTrafficData", {"DomainName": PLAY}),
    ("DescribeLiveDomainPushBpsData", {"DomainName": PUSH}),
    ("DescribeLiveDomainPushTrafficData", {"DomainName": PUSH}),
    ("SetLiveStreamBlock", {**BLOCKED, "BlockType": "blacklist", "LocationList": "CN,AS"}),
    ("DescribeStreamLocationBlock", {"DomainName": PLAY}),
    ("DeleteLiveStreamBlock", BLOCKED),
    ("SetLiveDomainMultiStreamConfig", {"Domain": PLAY, "Switch": "on"}),
    ("DescribeLiveDomainMultiStreamConfig", {"Domain": PLAY}),
    ("SetLiveDomainMultiStreamOptimalMode", {**PUSHED, "OptimalMode": "off"}),
    ("SetLiveDomainMultiStreamMaster", {**PUSHED, "UpstreamSequence": "1"}),
    ("QueryLiveDomainMultiStreamList", {"Domain": PLAY}),
    ("OpenLiveShift", {"DomainName": PLAY, "AppName": "live", "Vision": "3"}),
    ("DescribeLiveShiftConfigs", {"DomainName": PLAY}),
    ("CloseLiveShift", {"DomainName": PLAY, "AppName": "live"}),
    ("CreateLiveDelayConfig", {**DELAYED, "DelayTime": "30", "TaskTriggerMode": "CONFIG_ONLY"}),
    ("UpdateLiveDelayConfig", {**DELAYED, "DelayTime": "60"}),
    ("DescribeLiveDelayConfig", DELAYED),
    ("ListLiveDelayConfig", {"Domain": PLAY}),
    ("DeleteLiveDelayConfig", DELAYED),
    ("AddLiveAppSnapshotConfig", {**PICTURED, "TimeInterval": "5", "SequenceOssObject": "{Sequence}.jpg", **BUCKET}),
    ("UpdateLiveAppSnapshotConfig", {**PICTURED, "TimeInterval": "6"}),
    ("DescribeLiveSnapshotConfig", {"DomainName": PLAY}),
    ("DeleteLiveAppSnapshotConfig", PICTURED),
    ("DescribeLiveStreamSnapshotInfo", {**PICTURED, "StreamName": "cam", **SPAN, "Limit": "1"}),
    ("DeleteSnapshotFiles", {**PICTURED, "StreamName": "cam", "CreateTimestampList.1": "1", "RemoveFile": "true"}),
    ("AddLiveStreamTranscode", {**CODED, "Template": "lld", "Lazy": "no"}),
    ("UpdateLiveStreamTranscode", {**CODED, "Template": "lld", "Lazy": "yes"}),
    ("AddCustomLiveStreamTranscode", OWN),
    ("UpdateCustomLiveStreamTranscode", {**OWN, "ResWithSource": '{"Type": "short", "Value": "360"}'}),
    ("AddRtsLiveStreamTranscode", {**RTS, "DeleteBframes": "true", "Opus": "true"}),
    ("UpdateRtsLiveStreamTranscode", RTS),
    ("DescribeLiveStreamTranscodeInfo", {"DomainTranscodeName": PLAY}),
    ("DescribeLiveStreamTranscodeStreamNum", {"DomainName": PLAY, "SplitType": "template"}),
    ("DescribeLiveDomainTranscodeParams", {"pushdomain": PUSH, "app": "live", "template_name": "own"}),
    ("GetTranscodeTaskStatus", MADE),
    ("RestartTranscodeTask", MADE),
    ("AddTrancodeSEI", {**PUBLISHED, "Text": "goal", "Pattern": "keyframe", "Repeat": "0", "Delay": "0"}),
    ("DeleteLiveStreamTranscode", {**CODED, "Template": "lld"}),
    ("DeleteLiveStreamTranscode", {**CODED, "Template": "own"}),
    ("DeleteLiveStreamTranscode", {**CODED, "Template": "own_rts"}),
    ("CreateCustomTemplate", MIX),
    ("GetCustomTemplate", {"Template": "mix"}),
    ("GetAllCustomTemplates", {}),
    ("DeleteCustomTemplate", {"Template": "mix"}),
    ("CreateEdgeTranscodeJob", {"ClusterId": NODE, "Name": "edge", "TemplateId": "lsd", **EDGE_URLS}),
    ("StartEdgeTranscodeJob", EDGE),
    ("GetEdgeTranscodeJob", EDGE),
    ("StopEdgeTranscodeJob", EDGE),
    ("UpdateEdgeTranscodeJob", {**EDGE, "Name": "other"}),
    ("ListEdgeTranscodeJob", {"ClusterId": NODE}),
    ("DeleteEdgeTranscodeJob", EDGE),
    ("GetEdgeTranscodeTemplate", {"ClusterId": NODE, "TemplateId": "lsd"}),
    ("ListEdgeTranscodeTemplate", {"ClusterId": NODE}),
    ("AddLiveStreamWatermark", {"Name": "mark", "Type": "0", "PictureUrl": PICTURE, "OffsetCorner": "TopLeft", **PLACED}),
    ("UpdateLiveStreamWatermark", {"TemplateId": MARK, "Name": "other"}),
    ("AddLiveStreamWatermarkRule", MARKED),
    ("UpdateLiveStreamWatermarkRule", {"RuleId": MARK_RULE, "Name": "another"}),
    ("DynamicUpdateWaterMarkStreamRule", {**CODED, "Stream": "cam", "TemplateId": MARK}),
    ("DescribeLiveStreamWatermarks", {}),
    ("DescribeLiveStreamWatermarkRules", {"Domain": PLAY}),
    ("DeleteLiveStreamWatermarkRule", {"Domain": PLAY, "RuleId": MARK_RULE}),
    ("DeleteLiveStreamWatermarkRule", {**CODED, "Stream": "cam"}),
    ("DeleteLiveStreamWatermark", {"TemplateId": MARK}),
    ("AddLiveAppRecordConfig", {**PUBLISHED, **RECORDED, **FORMATS, "TranscodeTemplates.1": "ld"}),
    ("UpdateLiveAppRecordConfig", {**PUBLISHED, "OssEndpoint": RECORDED["OssEndpoint"], "DelayTime": "20"}),
    ("DescribeLiveRecordConfig", {"DomainName": PLAY}),
    ("RealTimeRecordCommand", {**PUBLISHED, "Command": "start"}),
    ("DeleteLiveAppRecordConfig", PUBLISHED),
    ("AddLiveRecordVodConfig", {**PUBLISHED, "RecordFormat.1.Format": "mp4"}),
    ("UpdateLiveRecordVodConfig", {**PUBLISHED, "CycleDuration": "300"}),
    ("DescribeLiveRecordVodConfigs", {"DomainName": PLAY}),
    ("DeleteLiveRecordVodConfig", PUBLISHED),
    ("DescribeLiveStreamRecordContent", {**PUBLISHED, **SPAN}),
    ("CreateLiveStreamRecordIndexFiles", {**PUBLISHED, **RECORDED, **SPAN, "OssObject": "{Date}/{StreamName}.m3u8"}),
    ("DescribeLiveStreamRecordIndexFile", {**PUBLISHED, "RecordId": CLIP}),
    ("DescribeLiveStreamRecordIndexFiles", {**PUBLISHED, **SPAN}),
    ("DeleteLiveStreamRecordIndexFiles", {**PUBLISHED, "RecordId.1": CLIP, "RemoveFile": "true"}),
    ("SetLiveStreamsNotifyUrlConfig", {"DomainName": PUSH, "NotifyUrl": "http://customer.test/push"}),
    ("DescribeLiveStreamsNotifyUrlConfig", {"DomainName": PUSH}),
    ("DescribeLiveStreamsNotifyRecords", {"DomainName": PUSH, **SPAN}),
    ("DeleteLiveStreamsNotifyUrlConfig", {"DomainName": PUSH}),
    ("AddLiveRecordNotifyConfig", TOLD),
    ("UpdateLiveRecordNotifyConfig", {**TOLD, "NeedStatusNotify": "true"}),
    ("DescribeLiveRecordNotifyConfig", {"DomainName": PLAY}),
    ("DescribeLiveRecordNotifyRecords", {"DomainName": PLAY, **SPAN, "PageNumber": "1", "PageSize": "10"}),
    ("DeleteLiveRecordNotifyConfig", {"DomainName": PLAY}),
    ("AddLiveSnapshotNotifyConfig", TOLD),
    ("UpdateLiveSnapshotNotifyConfig", {**TOLD, "NotifyReqAuth": "yes", "NotifyAuthKey": 16 * "k"}),
    ("DescribeLiveSnapshotNotifyConfig", {"DomainName": PLAY}),
    ("DeleteLiveSnapshotNotifyConfig", {"DomainName": PLAY}),
    ("SetSnapshotCallbackAuth", {"DomainName": PLAY, "CallbackReqAuth": "yes", "CallbackAuthKey": 16 * "k"}),
    ("QuerySnapshotCallbackAuth", {"DomainName": PLAY}),
    ("DeleteSnapshotCallbackAuth", {"DomainName": PLAY}),
    ("ForbidLiveStream", STREAM),
    ("DescribeLiveStreamsBlockList", {"DomainName": PLAY}),
    ("ResumeLiveStream", STREAM),
]
"""Every operation that works, in an order in which all of them succeed and no list is empty."""


@pytest.fixture(scope="module")
def answers(api_server: ApiServer) -> dict[str, tuple[dict[str, Any], ElementTree.Element]]:
    """What each operation really answers, as JSON (V3) and as XML (V1.0, which has it by default)."""
    key = (api_server.account.access_key_id, api_server.account.access_key_secret)
    with httpx.Client(base_url=f"http://{api_server.endpoint}") as client, WebServer() as web:

        def call_v3(action: str, parameters: dict[str, str]) -> dict[str, Any]:
            headers = v3_headers(action, parameters, *key, host=api_server.endpoint)
            response = client.post("/", params=parameters, headers=headers)
            assert response.status_code == 200, response.text
            answer: dict[str, Any] = response.json()
            return answer

        def call_v1(action: str, parameters: dict[str, str]) -> ElementTree.Element:
            response = client.get("/", params=v1_parameters(action, parameters, *key))
            assert response.status_code == 200, response.text
            return ElementTree.fromstring(response.content)

        for domain, kind in ((PUSH, "liveEdge"), (PLAY, "liveVideo"), (SUB, "liveVideo")):
            call_v3("AddLiveDomain", {"DomainName": domain, "LiveDomainType": kind, "Region": "cn-shanghai"})
        call_v3("AddLiveDomainMapping", {"PushDomain": PUSH, "PullDomain": PLAY})
        url, now_s = f"rtmp://{PUSH}/live/cam", time.time()
        item = StreamPresence(PLAY, "live", "cam", "session", PUSH, url, now_s, "192.0.2.1", "192.0.2.2", "node", 0, upstream=1)
        publisher = msgspec.json.encode(UpstreamPresence("session", "192.0.2.1", now_s, "node", 0))
        api_server.do(api_server.cluster.put(presence.upstream_key(PLAY, "live", "cam", 1), publisher))
        api_server.do(api_server.cluster.put(presence.stream_key(PLAY, "live", "cam"), presence.encode(item)))
        api_server.do(api_server.services.streams._open(item))
        api_server.do(api_server.services.streams._note_master(item))
        api_server.do(_tell(api_server, now_s))
        for second in range(2):
            taken_ms = int(now_s + second) * 1000
            api_server.do(pictures.take(api_server.database, PLAY, taken_ms, sequence="{Sequence}.jpg"))

        api_server.do(recorded(api_server.database, PLAY, "live", "cam", start_s=now_s + 5, seconds=30))
        api_server.services.recording._centers = Center()  # type: ignore[assignment]

        made = msgspec.structs.replace(item, stream="cam_own", source="cam", template="own", upstream=0)
        api_server.do(api_server.cluster.put(presence.stream_key(PLAY, "live", "cam_own"), presence.encode(made)))
        api_server.services.transcoding._centers = JobCenter(job(PLAY, "live", "cam", "own"))  # type: ignore[assignment]
        api_server.services.nodes.nodes[NODE] = NodePresence(NODE, ("center",))
        api_server.services.watermarks._private_pictures = True
        web.pages["127.0.0.1", "/mark.png"] = Page(picture(64, 32))

        def filled(parameters: dict[str, str]) -> dict[str, str]:
            if PICTURE in parameters.values():
                return {**parameters, "PictureUrl": f"http://127.0.0.1:{web.port}/mark.png"}
            if EDGE_JOB in parameters.values():
                job_id = call_v3("ListEdgeTranscodeJob", {"ClusterId": NODE})["JobList"]["Job"][0]["JobId"]
                return {**parameters, "JobId": job_id}
            if MARK in parameters.values():
                mark = call_v3("DescribeLiveStreamWatermarks", {})["WatermarkList"]["Watermark"][0]["TemplateId"]
                return {**parameters, "TemplateId": mark}
            if MARK_RULE in parameters.values():
                rules = call_v3("DescribeLiveStreamWatermarkRules", {})["RuleInfoList"]["RuleInfo"]
                return {**parameters, "RuleId": next(rule["RuleId"] for rule in rules if rule["Stream"] != "cam")}
            if CLIP in parameters.values():
                clips = call_v3("DescribeLiveStreamRecordIndexFiles", {**PUBLISHED, **SPAN})
                id_ = clips["RecordIndexInfoList"]["RecordIndexInfo"][0]["RecordId"]
                return {name: id_ if value == CLIP else value for name, value in parameters.items()}
            if STAGED not in parameters.values():
                return parameters
            staged = call_v3("DescribeLiveDomainStagingConfig", {"DomainName": PLAY, "FunctionNames": "range"})
            return {**parameters, "ConfigId": staged["DomainConfigs"][0]["ConfigId"]}

        found_json = {action: call_v3(action, filled(parameters)) for action, parameters in CALLS}
        found_xml = {action: call_v1(action, filled(parameters)) for action, parameters in CALLS}
    return {action: (found_json[action], found_xml[action]) for action, _ in CALLS}


async def _tell(api_server: ApiServer, now_s: float) -> None:
    """As if a push and a recording had been told."""
    async with api_server.database.write() as session:
        session.add(
            StreamNotify(domain=PUSH, notify_url="http://a.test/", exception_url="", switch_url="", signed=False, key="")
        )
        session.add(RecordNotify(domain=PLAY, notify_url="http://a.test/", on_demand_url="", status=True, signed=False, key=""))
        await session.flush()
        push = {"domain": PUSH, "app": "live", "stream": "cam", "session": "s", "ip": "192.0.2.1", "node": "n", "time_s": now_s}
        assert await enqueue(session, StreamState(type="publish", **push), now_s)  # type: ignore[arg-type]
        assert await enqueue(session, RecordStatus(type="record_started", domain=PLAY, app="live", stream="cam"), now_s)
        await session.execute(update(Callback).values(tries=1, state="sent", done_s=now_s))
        await session.execute(delete(StreamNotify))
        await session.execute(delete(RecordNotify))


def check_json(shape: Any, value: Any, where: str) -> None:
    match shape:
        case dict():
            assert isinstance(value, dict), where
            assert sorted(value) == sorted(shape), where
            for name, inner in shape.items():
                check_json(inner, value[name], f"{where}.{name}")
        case [inner]:
            assert isinstance(value, list), where
            assert value, f"{where} is empty, so its items are not checked"
            for item in value:
                check_json(inner, item, f"{where}[]")
        case "int":
            assert type(value) is int, where
        case "float":
            assert isinstance(value, (int, float)), where
        case "str":
            assert type(value) is str, where
        case "bool":
            assert type(value) is bool, where
        case "map":
            assert isinstance(value, dict), where
        case _:
            raise AssertionError(f"{where}: unknown type {shape}")


def check_xml(shape: Any, elements: list[ElementTree.Element], where: str) -> None:
    match shape:
        case dict():
            assert len(elements) == 1, where
            assert {child.tag for child in elements[0]} == set(shape), where
            for name, inner in shape.items():
                check_xml(inner, elements[0].findall(name), f"{where}/{name}")
        case [inner]:
            for element in elements:
                check_xml(inner, [element], where)
        case "int":
            assert (elements[0].text or "").isdecimal(), where
        case "float":
            assert float(elements[0].text or "") >= 0, where
        case "bool":
            assert elements[0].text in ("true", "false"), where


def test_every_operation_that_works_is_looked_at() -> None:
    assert set(SHAPES) == set(OPERATIONS) == {action for action, _ in CALLS}


@pytest.mark.parametrize("action", sorted(SHAPES))
def test_the_response_is_the_one_that_the_sdk_knows(
    action: str, answers: dict[str, tuple[dict[str, Any], ElementTree.Element]]
) -> None:
    as_json, as_xml = answers[action]
    check_json(SHAPES[action]["response"], as_json, action)
    assert as_xml.tag == f"{action}Response"
    check_xml(SHAPES[action]["response"], [as_xml], action)


@pytest.mark.parametrize("action", sorted(SHAPES))
def test_the_request_has_the_parameters_that_the_sdk_sends(action: str) -> None:
    fields = msgspec.structs.fields(OPERATIONS[action].request_type)
    assert {field.encode_name for field in fields if field.required} == set(SHAPES[action]["required"])
    assert {field.encode_name for field in fields if not field.required} == set(SHAPES[action]["optional"]) - IGNORED
