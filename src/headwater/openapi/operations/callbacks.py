"""Operations on callbacks: where pushes, recordings and snapshots are told, and what became of it (reference media-plane 5)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from headwater.domains.errors import error
from headwater.domains.rules import format_time
from headwater.notify.events import Family, Storage
from headwater.notify.service import CallbackPage, CallbackRecord, Status
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import PageNumber, Request, read_time

YesNo = Literal["yes", "no"]
RecordsPageSize = Annotated[int, msgspec.Meta(ge=1, le=500)]

STREAM_FAMILIES: tuple[Family, ...] = ("stream", "exception", "switch")


class SetLiveStreamsNotifyUrlConfig(Request):
    """Where an ingest domain's pushes are told. What is not given stays as it is."""

    domain_name: str
    notify_url: str | None = None
    exception_notify_url: str | None = None
    switch_notify_url: str | None = None
    notify_req_auth: YesNo | None = None
    notify_auth_key: str | None = None


@operation(SetLiveStreamsNotifyUrlConfig)
async def set_live_streams_notify_url_config(call: Call, request: SetLiveStreamsNotifyUrlConfig) -> Fields:
    await call.services.notify.set_stream(
        call.account,
        request.domain_name,
        notify_url=request.notify_url,
        exception_url=request.exception_notify_url,
        switch_url=request.switch_notify_url,
        signed=None if request.notify_req_auth is None else request.notify_req_auth == "yes",
        key=request.notify_auth_key,
        actor=call.actor,
    )
    return {}


class DescribeLiveStreamsNotifyUrlConfig(Request):
    """Where an ingest domain's pushes are told."""

    domain_name: str


@operation(DescribeLiveStreamsNotifyUrlConfig)
async def describe_live_streams_notify_url_config(call: Call, request: DescribeLiveStreamsNotifyUrlConfig) -> Fields:
    found = await call.services.notify.stream(call.account, request.domain_name)
    return {
        "LiveStreamsNotifyConfig": {
            "DomainName": found.domain,
            "ExceptionNotifyUrl": found.exception_url,
            "NotifyAuthKey": found.key,
            "NotifyReqAuth": _yes(found.signed),
            "NotifyUrl": found.notify_url,
        }
    }


class DeleteLiveStreamsNotifyUrlConfig(Request):
    """Tell nothing of an ingest domain's pushes any more."""

    domain_name: str


@operation(DeleteLiveStreamsNotifyUrlConfig)
async def delete_live_streams_notify_url_config(call: Call, request: DeleteLiveStreamsNotifyUrlConfig) -> Fields:
    await call.services.notify.delete_stream(call.account, request.domain_name, actor=call.actor)
    return {}


class DescribeLiveStreamsNotifyRecords(Request):
    """Callbacks of pushes in the last seven days. The request says PageNumber, the response PageNum."""

    domain_name: str
    start_time: str
    end_time: str
    app_name: str = ""
    stream_name: str = ""
    status: Status | None = None
    page_number: PageNumber = 1
    page_size: RecordsPageSize = 100


@operation(DescribeLiveStreamsNotifyRecords)
async def describe_live_streams_notify_records(call: Call, request: DescribeLiveStreamsNotifyRecords) -> Fields:
    page = await _records(call, request, STREAM_FAMILIES)
    return {
        "NotifyRecordsInfo": {"LiveStreamNotifyRecordsInfo": [_record(item) for item in page.items]},
        **_paging(request.page_number, request.page_size, page.total),
    }


class AddLiveRecordNotifyConfig(Request):
    """Where a streaming domain's recordings are told, and who is asked what to record."""

    domain_name: str
    notify_url: str
    on_demand_url: str = ""
    need_status_notify: bool = False
    notify_req_auth: bool = False
    notify_auth_key: str = ""


class UpdateLiveRecordNotifyConfig(AddLiveRecordNotifyConfig):
    """Change that."""


async def _set_record(call: Call, request: AddLiveRecordNotifyConfig, *, new: bool) -> Fields:
    await call.services.notify.set_record(
        call.account,
        request.domain_name,
        request.notify_url,
        on_demand_url=request.on_demand_url,
        status=request.need_status_notify,
        signed=request.notify_req_auth,
        key=request.notify_auth_key,
        new=new,
        actor=call.actor,
    )
    return {}


@operation(AddLiveRecordNotifyConfig)
async def add_live_record_notify_config(call: Call, request: AddLiveRecordNotifyConfig) -> Fields:
    return await _set_record(call, request, new=True)


@operation(UpdateLiveRecordNotifyConfig)
async def update_live_record_notify_config(call: Call, request: UpdateLiveRecordNotifyConfig) -> Fields:
    return await _set_record(call, request, new=False)


class DeleteLiveRecordNotifyConfig(Request):
    """Tell nothing of recordings any more."""

    domain_name: str


@operation(DeleteLiveRecordNotifyConfig)
async def delete_live_record_notify_config(call: Call, request: DeleteLiveRecordNotifyConfig) -> Fields:
    await call.services.notify.delete_record(call.account, request.domain_name, actor=call.actor)
    return {}


class DescribeLiveRecordNotifyConfig(Request):
    """Where a streaming domain's recordings are told."""

    domain_name: str


@operation(DescribeLiveRecordNotifyConfig)
async def describe_live_record_notify_config(call: Call, request: DescribeLiveRecordNotifyConfig) -> Fields:
    found = await call.services.notify.record(call.account, request.domain_name)
    if found is None:
        raise error("ConfigNotFound")
    return {
        "LiveRecordNotifyConfig": {
            "DomainName": found.domain,
            "NeedStatusNotify": found.status,
            "NotifyAuthKey": found.key,
            "NotifyReqAuth": found.signed,
            "NotifyUrl": found.notify_url,
            "OnDemandUrl": found.on_demand_url,
        }
    }


class DescribeLiveRecordNotifyRecords(Request):
    """Callbacks of recordings in the last seven days."""

    domain_name: str
    start_time: str
    end_time: str
    page_number: PageNumber
    page_size: RecordsPageSize
    app_name: str = ""
    stream_name: str = ""
    status: Status | None = None
    storage_type: Literal["oss", "vod", "all"] = "all"


@operation(DescribeLiveRecordNotifyRecords)
async def describe_live_record_notify_records(call: Call, request: DescribeLiveRecordNotifyRecords) -> Fields:
    storage = None if request.storage_type == "all" else request.storage_type
    page = await _records(call, request, ("record",), storage)
    return {
        "CallbackList": [{**_record(item), "StorageType": item.storage} for item in page.items],
        "Code": 200,
        "Msg": "OK",
        **_paging(request.page_number, request.page_size, page.total),
    }


class AddLiveSnapshotNotifyConfig(Request):
    """Where a streaming domain's snapshots are told."""

    domain_name: str
    notify_url: str
    notify_req_auth: YesNo = "no"
    notify_auth_key: str = ""


@operation(AddLiveSnapshotNotifyConfig)
async def add_live_snapshot_notify_config(call: Call, request: AddLiveSnapshotNotifyConfig) -> Fields:
    await call.services.notify.set_snapshot(
        call.account,
        request.domain_name,
        request.notify_url,
        signed=request.notify_req_auth == "yes",
        key=request.notify_auth_key,
        new=True,
        actor=call.actor,
    )
    return {}


class UpdateLiveSnapshotNotifyConfig(Request):
    """Change that; what is not given stays as it is."""

    domain_name: str
    notify_url: str | None = None
    notify_req_auth: YesNo | None = None
    notify_auth_key: str | None = None


@operation(UpdateLiveSnapshotNotifyConfig)
async def update_live_snapshot_notify_config(call: Call, request: UpdateLiveSnapshotNotifyConfig) -> Fields:
    before = await call.services.notify.snapshot(call.account, request.domain_name)
    if before is None:
        raise error("ConfigNotFound")
    await call.services.notify.set_snapshot(
        call.account,
        request.domain_name,
        before.notify_url if request.notify_url is None else request.notify_url,
        signed=before.signed if request.notify_req_auth is None else request.notify_req_auth == "yes",
        key=before.key if request.notify_auth_key is None else request.notify_auth_key,
        new=False,
        actor=call.actor,
    )
    return {}


class DeleteLiveSnapshotNotifyConfig(Request):
    """Tell nothing of snapshots any more."""

    domain_name: str


@operation(DeleteLiveSnapshotNotifyConfig)
async def delete_live_snapshot_notify_config(call: Call, request: DeleteLiveSnapshotNotifyConfig) -> Fields:
    await call.services.notify.delete_snapshot(call.account, request.domain_name, actor=call.actor)
    return {}


class DescribeLiveSnapshotNotifyConfig(Request):
    """Where a streaming domain's snapshots are told."""

    domain_name: str


@operation(DescribeLiveSnapshotNotifyConfig)
async def describe_live_snapshot_notify_config(call: Call, request: DescribeLiveSnapshotNotifyConfig) -> Fields:
    found = await call.services.notify.snapshot(call.account, request.domain_name)
    if found is None:
        raise error("ConfigNotFound")
    return {
        "DomainName": found.domain,
        "NotifyAuthKey": found.key,
        "NotifyReqAuth": _yes(found.signed),
        "NotifyUrl": found.notify_url,
    }


class SetSnapshotCallbackAuth(Request):
    """Sign the callbacks that snapshot templates name."""

    domain_name: str
    callback_req_auth: YesNo
    callback_auth_key: str


@operation(SetSnapshotCallbackAuth)
async def set_snapshot_callback_auth(call: Call, request: SetSnapshotCallbackAuth) -> Fields:
    await call.services.notify.set_snapshot_signing(
        call.account,
        request.domain_name,
        signed=request.callback_req_auth == "yes",
        key=request.callback_auth_key,
        actor=call.actor,
    )
    return {}


class QuerySnapshotCallbackAuth(Request):
    """How the callbacks that snapshot templates name are signed."""

    domain_name: str


@operation(QuerySnapshotCallbackAuth)
async def query_snapshot_callback_auth(call: Call, request: QuerySnapshotCallbackAuth) -> Fields:
    found = await call.services.notify.snapshot_signing(call.account, request.domain_name)
    return {"CallbackAuthKey": found.key, "CallbackReqAuth": _yes(found.signed), "DomainName": found.domain}


class DeleteSnapshotCallbackAuth(Request):
    """Sign them no longer."""

    domain_name: str


@operation(DeleteSnapshotCallbackAuth)
async def delete_snapshot_callback_auth(call: Call, request: DeleteSnapshotCallbackAuth) -> Fields:
    await call.services.notify.delete_snapshot_signing(call.account, request.domain_name, actor=call.actor)
    return {}


async def _records(
    call: Call,
    request: DescribeLiveStreamsNotifyRecords | DescribeLiveRecordNotifyRecords,
    families: tuple[Family, ...],
    storage: Storage | None = None,
) -> CallbackPage:
    return await call.services.callbacks.records(
        call.account,
        request.domain_name,
        families,
        read_time(request.start_time, "InvalidStartTime.Malformed"),
        read_time(request.end_time, "InvalidEndTime.Malformed"),
        app=request.app_name,
        stream=request.stream_name,
        status=request.status,
        storage=storage,
        page_number=request.page_number,
        page_size=request.page_size,
    )


def _record(item: CallbackRecord) -> dict[str, Any]:
    return {
        "AppName": item.app,
        "Description": item.error,
        "DomainName": item.domain,
        "NotifyContent": item.body or item.url.partition("?")[2],
        "NotifyHeader": item.header,
        "NotifyResponse": item.response,
        "NotifyResult": "success" if item.state == "sent" else "failed",
        "NotifyTime": format_time(item.created_s),
        "NotifyType": item.type,
        "NotifyUrl": item.url,
        "StreamName": item.stream,
    }


def _paging(page_num: int, page_size: int, total: int) -> dict[str, int]:
    return {"PageNum": page_num, "PageSize": page_size, "TotalNum": total, "TotalPage": -(-total // page_size)}


def _yes(on: bool) -> YesNo:
    return "yes" if on else "no"
