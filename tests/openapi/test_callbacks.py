"""Where callbacks go, and what became of them, as the official SDKs set and read it."""

from __future__ import annotations

import secrets
import time

import pytest
from sqlalchemy import update

from headwater.domains.rules import format_time
from headwater.notify.events import FileCreated, StreamState
from headwater.notify.queue import enqueue
from headwater.store.models import Callback
from support.api_clients import CLIENTS, REGION, Caller, Refusal
from support.api_server import ApiServer

KEY = "0123456789abcdef"
URL = "https://cb.example.com/hook?token=a"


@pytest.fixture(params=CLIENTS)
def call(request: pytest.FixtureRequest, api_server: ApiServer) -> Caller:
    """Each SDK with each signature that it can make, as an account of its own."""
    account = api_server.new_account(f"{request.param}-{secrets.token_hex(4)}")
    return CLIENTS[request.param](api_server.endpoint, account.access_key_id, account.access_key_secret)


@pytest.fixture
def domains(call: Caller) -> tuple[str, str]:
    """An ingest and a streaming domain."""
    token = secrets.token_hex(4)
    push, play = f"push-{token}.test", f"play-{token}.test"
    call("AddLiveDomain", DomainName=push, LiveDomainType="liveEdge", Region=REGION)
    call("AddLiveDomain", DomainName=play, LiveDomainType="liveVideo", Region=REGION)
    return push, play


def test_an_ingest_domains_urls_are_set_changed_read_and_deleted(call: Caller, domains: tuple[str, str]) -> None:
    push, _ = domains
    nothing = {
        "DomainName": push,
        "ExceptionNotifyUrl": "",
        "NotifyAuthKey": "",
        "NotifyReqAuth": "no",
        "NotifyUrl": "",
    }
    assert call("DescribeLiveStreamsNotifyUrlConfig", DomainName=push)["LiveStreamsNotifyConfig"] == nothing
    call("SetLiveStreamsNotifyUrlConfig", DomainName=push, NotifyUrl=URL, NotifyReqAuth="yes", NotifyAuthKey=KEY)
    call("SetLiveStreamsNotifyUrlConfig", DomainName=push, ExceptionNotifyUrl="http://cb.example.com:81/e")
    assert call("DescribeLiveStreamsNotifyUrlConfig", DomainName=push)["LiveStreamsNotifyConfig"] == {
        "DomainName": push,
        "ExceptionNotifyUrl": "http://cb.example.com:81/e",
        "NotifyAuthKey": KEY,
        "NotifyReqAuth": "yes",
        "NotifyUrl": URL,
    }
    for _ in range(2):
        call("DeleteLiveStreamsNotifyUrlConfig", DomainName=push)
    assert call("DescribeLiveStreamsNotifyUrlConfig", DomainName=push)["LiveStreamsNotifyConfig"] == nothing


def test_a_streaming_domains_urls_are_added_once_changed_read_and_deleted(call: Caller, domains: tuple[str, str]) -> None:
    _, play = domains
    call("AddLiveRecordNotifyConfig", DomainName=play, NotifyUrl=URL, OnDemandUrl=URL, NeedStatusNotify=True)
    with pytest.raises(Refusal, match="ConfigAlreadyExists"):
        call("AddLiveRecordNotifyConfig", DomainName=play, NotifyUrl=URL)
    assert call("DescribeLiveRecordNotifyConfig", DomainName=play)["LiveRecordNotifyConfig"] == {
        "DomainName": play,
        "NeedStatusNotify": True,
        "NotifyAuthKey": "",
        "NotifyReqAuth": False,
        "NotifyUrl": URL,
        "OnDemandUrl": URL,
    }
    call("UpdateLiveRecordNotifyConfig", DomainName=play, NotifyUrl=URL, NotifyReqAuth=True, NotifyAuthKey=KEY)
    changed = call("DescribeLiveRecordNotifyConfig", DomainName=play)["LiveRecordNotifyConfig"]
    assert (changed["NotifyReqAuth"], changed["NotifyAuthKey"], changed["OnDemandUrl"]) == (True, KEY, "")
    call("DeleteLiveRecordNotifyConfig", DomainName=play)
    with pytest.raises(Refusal, match="ConfigNotFound"):
        call("DescribeLiveRecordNotifyConfig", DomainName=play)

    call("AddLiveSnapshotNotifyConfig", DomainName=play, NotifyUrl=URL)
    call("UpdateLiveSnapshotNotifyConfig", DomainName=play, NotifyReqAuth="yes", NotifyAuthKey=KEY)
    told = call("DescribeLiveSnapshotNotifyConfig", DomainName=play)
    assert (told["NotifyUrl"], told["NotifyReqAuth"], told["NotifyAuthKey"]) == (URL, "yes", KEY)
    call("DeleteLiveSnapshotNotifyConfig", DomainName=play)

    call("SetSnapshotCallbackAuth", DomainName=play, CallbackReqAuth="yes", CallbackAuthKey=KEY)
    assert call("QuerySnapshotCallbackAuth", DomainName=play)["CallbackAuthKey"] == KEY
    call("DeleteSnapshotCallbackAuth", DomainName=play)
    assert call("QuerySnapshotCallbackAuth", DomainName=play)["CallbackReqAuth"] == "no"


def test_what_became_of_callbacks_is_read_in_pages_by_stream_and_by_status(
    api_server: ApiServer, call: Caller, domains: tuple[str, str]
) -> None:
    push, play = domains
    now_s = time.time()
    call("SetLiveStreamsNotifyUrlConfig", DomainName=push, NotifyUrl=URL)
    call("AddLiveRecordNotifyConfig", DomainName=play, NotifyUrl=URL)

    async def tell() -> None:
        async with api_server.database.write() as session:
            for stream in ("a", "b"):
                about = {"app": "live", "stream": stream, "session": "s"}
                begun = StreamState(type="publish", domain=push, ip="192.0.2.1", node="n", time_s=now_s, **about)  # type: ignore[arg-type]
                assert await enqueue(session, begun, now_s)
            file = FileCreated(domain=play, app="live", stream="a", uri="a.mp4", duration_s=1, start_s=1, stop_s=2)
            assert await enqueue(session, file, now_s)
            await session.flush()
            mine = Callback.domain.in_(domains)
            done = {"tries": 1, "state": "sent", "done_s": now_s, "response": "ok"}
            await session.execute(update(Callback).where(mine, Callback.stream == "a").values(**done))
            failed = {"tries": 5, "state": "dead", "done_s": now_s, "error": "status 500"}
            await session.execute(update(Callback).where(mine, Callback.stream == "b").values(**failed))

    api_server.do(tell())
    span = {"StartTime": format_time(now_s - 60), "EndTime": format_time(now_s + 60)}
    answer = call("DescribeLiveStreamsNotifyRecords", DomainName=push, **span, PageSize=1)
    assert (answer["TotalNum"], answer["TotalPage"], answer["PageNum"]) == (2, 2, 1)
    (failed,) = call("DescribeLiveStreamsNotifyRecords", DomainName=push, **span, Status="failed")["NotifyRecordsInfo"][
        "LiveStreamNotifyRecordsInfo"
    ]
    assert (failed["StreamName"], failed["NotifyResult"], failed["Description"]) == ("b", "failed", "status 500")
    (good,) = call("DescribeLiveStreamsNotifyRecords", DomainName=push, **span, AppName="live", StreamName="a")[
        "NotifyRecordsInfo"
    ]["LiveStreamNotifyRecordsInfo"]
    assert (good["NotifyType"], good["NotifyResult"], good["NotifyResponse"]) == ("publish", "success", "ok")
    assert good["NotifyContent"].startswith("token=a&action=publish&ip=192.0.2.1&id=a&")
    recorded = call("DescribeLiveRecordNotifyRecords", DomainName=play, **span, PageNumber=1, PageSize=10)
    (file,) = recorded["CallbackList"]
    assert (file["NotifyType"], file["NotifyUrl"], '"uri":"a.mp4"' in file["NotifyContent"]) == ("file_created", URL, True)
