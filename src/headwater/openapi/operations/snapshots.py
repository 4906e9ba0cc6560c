"""Operations on snapshots: templates, and the pictures that were taken (reference media-plane 4)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from headwater.domains.rules import format_time
from headwater.domains.snapshots import DELETED_AT_ONCE
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import PageNumber, Request, read_time

Order = Literal["asc", "desc"]
SnapshotPageSize = Annotated[int, msgspec.Meta(ge=5, le=30)]
SnapshotLimit = Annotated[int, msgspec.Meta(ge=1, le=100)]
TimeInterval = Annotated[int, msgspec.Meta(ge=5, le=3600)]
CreateTimestamps = Annotated[list[Annotated[int, msgspec.Meta(ge=0, lt=2**53)]], msgspec.Meta(max_length=DELETED_AT_ONCE)]

REMOVED = "-"
"""Removes a name from a template; an empty parameter counts as one that is not given."""


class AddLiveAppSnapshotConfig(Request):
    """Take a picture of an app's streams every TimeInterval seconds."""

    domain_name: str
    app_name: str
    time_interval: TimeInterval
    oss_endpoint: str
    oss_bucket: str
    overwrite_oss_object: str = ""
    sequence_oss_object: str = ""
    callback: str = ""


@operation(AddLiveAppSnapshotConfig)
async def add_live_app_snapshot_config(call: Call, request: AddLiveAppSnapshotConfig) -> Fields:
    await call.services.snapshots.add(
        call.account,
        request.domain_name,
        request.app_name,
        interval_s=request.time_interval,
        endpoint=request.oss_endpoint,
        bucket=request.oss_bucket,
        overwrite=request.overwrite_oss_object,
        sequence=request.sequence_oss_object,
        callback=request.callback,
        actor=call.actor,
    )
    return {}


class UpdateLiveAppSnapshotConfig(Request):
    """Change what is given of a template; a name or callback that is `-` is removed."""

    domain_name: str
    app_name: str
    time_interval: TimeInterval | None = None
    oss_endpoint: str | None = None
    oss_bucket: str | None = None
    overwrite_oss_object: str | None = None
    sequence_oss_object: str | None = None
    callback: str | None = None


@operation(UpdateLiveAppSnapshotConfig)
async def update_live_app_snapshot_config(call: Call, request: UpdateLiveAppSnapshotConfig) -> Fields:
    await call.services.snapshots.update(
        call.account,
        request.domain_name,
        request.app_name,
        interval_s=request.time_interval,
        endpoint=request.oss_endpoint,
        bucket=request.oss_bucket,
        overwrite=_unless_removed(request.overwrite_oss_object),
        sequence=_unless_removed(request.sequence_oss_object),
        callback=_unless_removed(request.callback),
        actor=call.actor,
    )
    return {}


class DeleteLiveAppSnapshotConfig(Request):
    """Take no more pictures of an app's streams."""

    domain_name: str
    app_name: str


@operation(DeleteLiveAppSnapshotConfig)
async def delete_live_app_snapshot_config(call: Call, request: DeleteLiveAppSnapshotConfig) -> Fields:
    await call.services.snapshots.remove(call.account, request.domain_name, request.app_name, actor=call.actor)
    return {}


class DescribeLiveSnapshotConfig(Request):
    """The snapshot templates of a domain."""

    domain_name: str
    app_name: str = ""
    order: Order = "asc"
    page_num: PageNumber = 1
    page_size: SnapshotPageSize = 10


@operation(DescribeLiveSnapshotConfig)
async def describe_live_snapshot_config(call: Call, request: DescribeLiveSnapshotConfig) -> Fields:
    page = await call.services.snapshots.templates(
        call.account,
        request.domain_name,
        app=request.app_name,
        order=request.order,
        page_number=request.page_num,
        page_size=request.page_size,
    )
    return {
        "LiveStreamSnapshotConfigList": {
            "LiveStreamSnapshotConfig": [
                {
                    "AppName": item.app,
                    "Callback": item.callback,
                    "CreateTime": format_time(item.created_s),
                    "DomainName": item.domain,
                    "OssBucket": item.bucket,
                    "OssEndpoint": item.endpoint,
                    "OverwriteOssObject": item.overwrite,
                    "SequenceOssObject": item.sequence,
                    "TimeInterval": item.interval_s,
                }
                for item in page.items
            ]
        },
        "Order": request.order,
        "PageNum": request.page_num,
        "PageSize": request.page_size,
        "TotalNum": page.total,
        "TotalPage": -(-page.total // request.page_size),
    }


class DescribeLiveStreamSnapshotInfo(Request):
    """The pictures of a stream that were taken within a day or less."""

    domain_name: str
    app_name: str
    stream_name: str
    start_time: str
    end_time: str
    limit: SnapshotLimit = 10
    order: Order = "asc"


@operation(DescribeLiveStreamSnapshotInfo)
async def describe_live_stream_snapshot_info(call: Call, request: DescribeLiveStreamSnapshotInfo) -> Fields:
    page = await call.services.snapshots.taken(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        read_time(request.start_time, "InvalidStartTime.Malformed"),
        read_time(request.end_time, "InvalidEndTime.Malformed"),
        limit=request.limit,
        order=request.order,
    )
    fields = {
        "LiveStreamSnapshotInfoList": {
            "LiveStreamSnapshotInfo": [
                {
                    "CreateTime": format_time(item.created_ms / 1000),
                    "CreateTimestamp": item.created_ms,
                    "IsOverlay": item.is_overlay,
                    "OssBucket": item.bucket,
                    "OssEndpoint": item.endpoint,
                    "OssObject": item.object,
                }
                for item in page.items
            ]
        }
    }
    return fields if page.next_s is None else {**fields, "NextStartTime": format_time(page.next_s)}


class DeleteSnapshotFiles(Request):
    """Forget pictures, and with RemoveFile remove their files, too."""

    domain_name: str
    app_name: str
    stream_name: str
    create_timestamp_list: CreateTimestamps
    remove_file: bool


@operation(DeleteSnapshotFiles)
async def delete_snapshot_files(call: Call, request: DeleteSnapshotFiles) -> Fields:
    deletions = await call.services.snapshots.delete(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        request.create_timestamp_list,
        files=request.remove_file,
        actor=call.actor,
    )
    failures = sum(bool(item.problem) for item in deletions)
    return {
        "FailureCount": failures,
        "SnapshotDeleteInfoList": {
            "SnapshotDeleteInfo": [{"CreateTimestamp": item.created_ms, "Message": item.problem or "OK"} for item in deletions]
        },
        "SuccessCount": len(deletions) - failures,
    }


def _unless_removed(text: str | None) -> str | None:
    return "" if text == REMOVED else text
