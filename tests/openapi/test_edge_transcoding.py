"""Edge transcoding as the official SDKs see it: templates, and a job's life."""

from __future__ import annotations

import secrets

import pytest
from sqlalchemy import select

from headwater.cluster.nodes import NodePresence
from headwater.store.models import AuditEntry, EdgeJob
from support.api_clients import CLIENTS, Caller, Refusal
from support.api_server import ApiServer

NODE = "sdk-node"
URLS = {"StreamInput": "http://in.test/live/cam.flv?key=1234", "StreamOutput": "rtmps://out.test/live/5678?key=9"}


@pytest.fixture(params=sorted(CLIENTS))
def call(request: pytest.FixtureRequest, api_server: ApiServer) -> Caller:
    api_server.services.nodes.nodes[NODE] = NodePresence(NODE, ("center",))
    account = api_server.new_account(f"edge-{secrets.token_hex(4)}")
    return CLIENTS[request.param](api_server.endpoint, account.access_key_id, account.access_key_secret)


def refused(call: Caller, operation: str, **parameters: object) -> tuple[str, int]:
    with pytest.raises(Refusal) as refusal:
        call(operation, **parameters)
    return refusal.value.code, refusal.value.status


async def _kept(api_server: ApiServer, job: str) -> tuple[EdgeJob | None, str]:
    async with api_server.database.read() as session:
        entries = (await session.scalars(select(AuditEntry).where(AuditEntry.object == job))).all()
        return await session.get(EdgeJob, job), "".join(f"{entry.action} {entry.before} {entry.after}\n" for entry in entries)


def test_a_job_is_made_started_stopped_changed_and_deleted(call: Caller, api_server: ApiServer) -> None:
    job = call("CreateEdgeTranscodeJob", ClusterId=NODE, Name="任务_1", TemplateId="lsd", **URLS)["JobId"]
    this = {"ClusterId": NODE, "JobId": job}
    assert call("StartEdgeTranscodeJob", **this)["JobId"] == job
    assert refused(call, "StartEdgeTranscodeJob", **this) == ("OperationDenied", 403)
    assert refused(call, "UpdateEdgeTranscodeJob", **this, Name="other") == ("OperationDenied", 403)
    shown = call("GetEdgeTranscodeJob", **this)["Job"]
    assert (shown["Status"], shown["Name"], shown["Type"], shown["TemplateName"]) == ("1", "任务_1", "common", "lsd")
    assert {name: shown[name] for name in URLS} == URLS
    assert call("StopEdgeTranscodeJob", **this)["JobId"] == job
    assert refused(call, "StopEdgeTranscodeJob", **this) == ("OperationDenied", 403)
    call("UpdateEdgeTranscodeJob", **this, TemplateId="lud265", StreamInput="rtmp://in.test/live/other")
    changed = call("GetEdgeTranscodeJob", **this)["Job"]
    assert (changed["Status"], changed["TemplateName"], changed["StreamInput"], changed["StreamOutput"]) == (
        "0",
        "lud265",
        "rtmp://in.test/live/other",
        URLS["StreamOutput"],
    )
    assert changed["LastStartAt"] <= changed["LastStopAt"] != ""
    other = call("CreateEdgeTranscodeJob", ClusterId=NODE, Name="100_x", TemplateId="ld", **URLS)["JobId"]
    for given, found in (
        ({"Keyword": job}, [job]),
        ({"Keyword": "0_X"}, [other]),
        ({"SortBy": "asc", "PageSize": 1, "PageNo": 2}, [other]),
        ({"Status": 1}, []),
        ({"Type": "ultra-hd"}, []),
    ):
        listed = call("ListEdgeTranscodeJob", ClusterId=NODE, **given)["JobList"]["Job"]
        assert [item["JobId"] for item in listed] == found
    row, told = api_server.do(_kept(api_server, job))
    assert row is not None
    assert told.count("EdgeTranscodeJob") == 4
    assert "5678" not in told
    assert "key=" not in told
    call("DeleteEdgeTranscodeJob", **this)
    assert refused(call, "GetEdgeTranscodeJob", **this) == ("JobNotFound", 404)


def test_nobody_sees_the_jobs_of_another_account(call: Caller, api_server: ApiServer) -> None:
    job = call("CreateEdgeTranscodeJob", ClusterId=NODE, Name="mine", TemplateId="lsd", **URLS)["JobId"]
    account = api_server.account
    stranger = CLIENTS["tea-v3"](api_server.endpoint, account.access_key_id, account.access_key_secret)
    for action in ("Get", "Start", "Stop", "Update", "Delete"):
        assert refused(stranger, f"{action}EdgeTranscodeJob", ClusterId=NODE, JobId=job) == ("JobNotFound", 404)
    assert call("ListEdgeTranscodeJob", ClusterId=NODE)["TotalCount"] == 1


def test_the_templates_are_the_standard_ones_and_the_accounts_own(call: Caller) -> None:
    domain = f"play-{secrets.token_hex(4)}.test"
    call("AddLiveDomain", DomainName=domain, LiveDomainType="liveVideo", Region="cn-shanghai")
    own = {"Template": "own", "TemplateType": "h265", "Width": 640, "Height": 360, "FPS": 25, "VideoBitrate": 500, "Gop": "2s"}
    call("AddCustomLiveStreamTranscode", Domain=domain, App="live", Lazy="yes", **own)
    page = call("ListEdgeTranscodeTemplate", ClusterId=NODE, PageSize=100)
    newest = page["TemplateList"]["Template"][0]
    assert newest.pop("CreateTime")
    assert newest == {
        "Bitrate": "500",
        "Codec": "H.265",
        "Fps": "25",
        "Gop": "2s",
        "Name": "own",
        "Resolution": "640*360",
        "TemplateId": f"{domain}/live/own",
        "Type": "common",
    }
    standard = call("GetEdgeTranscodeTemplate", ClusterId=NODE, TemplateId="lsd")["Template"]
    assert (standard["Resolution"], standard["Codec"], standard["Fps"], standard["Gop"]) == ("-2*432", "H.264", "ws", "ws")
    codecs = call("ListEdgeTranscodeTemplate", ClusterId=NODE, VideoCodec="H.265", Keyword="own")["TemplateList"]["Template"]
    assert [item["Name"] for item in codecs] == ["own"]
    job = call("CreateEdgeTranscodeJob", ClusterId=NODE, Name="j", TemplateId=newest["TemplateId"], **URLS)["JobId"]
    call("DeleteLiveStreamTranscode", Domain=domain, App="live", Template="own")
    assert refused(call, "StartEdgeTranscodeJob", ClusterId=NODE, JobId=job) == ("TemplateNotFound", 404)
    call("DeleteEdgeTranscodeJob", ClusterId=NODE, JobId=job)
