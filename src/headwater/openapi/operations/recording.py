"""Operations on recording: templates, commands, what was recorded, clips (reference media-plane 3)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from headwater.access.plan import ANY, RecordFormat
from headwater.domains.library import LibraryFormat, LibraryTemplate
from headwater.domains.record_content import Clip
from headwater.domains.record_rules import GivenFormat
from headwater.domains.recording import Template
from headwater.domains.rules import format_time
from headwater.openapi.errors import parameter_not_implemented
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import PageNumber, Request

RecordPageSize = Annotated[int, msgspec.Meta(ge=5, le=30)]
VodPageSize = Annotated[int, msgspec.Meta(ge=5, le=100)]
Order = Literal["asc", "desc"]

NO_TRANSCODING: Final = "VOD_NO_TRANSCODE"
"""VOD's own template group that leaves files as they are: the one that can be had without VOD."""
NO_VOD: Final = "There is no VOD service here: files are stored as they were recorded."


# Templates


class Format(msgspec.Struct, frozen=True, rename="pascal"):
    """One item of a `RecordFormat.N` list."""

    format: str = ""
    cycle_duration: int | None = None
    oss_object_prefix: str = ""
    slice_oss_object_prefix: str = ""
    slice_duration: int | None = None


class AddLiveAppRecordConfig(Request):
    """Record some streams into a bucket."""

    domain_name: str
    app_name: str
    oss_endpoint: str
    oss_bucket: str
    stream_name: str = ANY
    on_demand: int = 0
    delay_time: int | None = None
    start_time: str = ""
    end_time: str = ""
    record_format: tuple[Format, ...] = ()
    transcode_record_format: tuple[Format, ...] = ()
    transcode_templates: tuple[str, ...] = ()


@operation(AddLiveAppRecordConfig)
async def add_live_app_record_config(call: Call, request: AddLiveAppRecordConfig) -> Fields:
    await call.services.recording.add(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        endpoint=request.oss_endpoint,
        bucket=request.oss_bucket,
        formats=_given(request.record_format),
        rendition_formats=_given(request.transcode_record_format),
        renditions=request.transcode_templates,
        on_demand=request.on_demand,
        delay_s=request.delay_time,
        start_time=request.start_time,
        end_time=request.end_time,
        actor=call.actor,
    )
    return {}


class UpdateLiveAppRecordConfig(Request):
    """Change a recording template; what is absent stays as it is. The bucket cannot change."""

    domain_name: str
    app_name: str
    oss_endpoint: str
    stream_name: str = ANY
    on_demand: int | None = None
    delay_time: int | None = None
    start_time: str = ""
    end_time: str = ""
    record_format: tuple[Format, ...] = ()
    transcode_record_format: tuple[Format, ...] = ()
    transcode_templates: tuple[str, ...] = ()


@operation(UpdateLiveAppRecordConfig)
async def update_live_app_record_config(call: Call, request: UpdateLiveAppRecordConfig) -> Fields:
    await call.services.recording.update(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        endpoint=request.oss_endpoint,
        formats=_given(request.record_format) or None,
        rendition_formats=_given(request.transcode_record_format) or None,
        renditions=request.transcode_templates or None,
        on_demand=request.on_demand,
        delay_s=request.delay_time,
        start_time=request.start_time,
        end_time=request.end_time,
        actor=call.actor,
    )
    return {}


class DeleteLiveAppRecordConfig(Request):
    """Remove the recording template of exactly this app and stream."""

    domain_name: str
    app_name: str
    stream_name: str = ANY


@operation(DeleteLiveAppRecordConfig)
async def delete_live_app_record_config(call: Call, request: DeleteLiveAppRecordConfig) -> Fields:
    await call.services.recording.remove(
        call.account, request.domain_name, request.app_name, request.stream_name, actor=call.actor
    )
    return {}


class DescribeLiveRecordConfig(Request):
    """The recording templates of a domain."""

    domain_name: str
    app_name: str = ""
    stream_name: str = ""
    order: Order = "asc"
    page_num: PageNumber = 1
    page_size: RecordPageSize = 10


@operation(DescribeLiveRecordConfig)
async def describe_live_record_config(call: Call, request: DescribeLiveRecordConfig) -> Fields:
    page = await call.services.recording.templates(
        call.account,
        request.domain_name,
        app=request.app_name,
        stream=request.stream_name,
        order=request.order,
        page_number=request.page_num,
        page_size=request.page_size,
    )
    return {
        "LiveAppRecordList": {"LiveAppRecord": [_template(item) for item in page.items]},
        "Order": request.order,
        "PageNum": request.page_num,
        "PageSize": request.page_size,
        "TotalNum": page.total,
        "TotalPage": -(-page.total // request.page_size),
    }


def _given(formats: tuple[Format, ...]) -> list[GivenFormat]:
    return [
        GivenFormat(item.format, item.cycle_duration, item.oss_object_prefix, item.slice_oss_object_prefix, item.slice_duration)
        for item in formats
    ]


def _template(item: Template) -> Fields:
    return {
        "AppName": item.app,
        "CreateTime": format_time(item.created_s),
        "DelayTime": item.delay_s,
        "DomainName": item.domain,
        "EndTime": _time_or_none(item.end_s),
        "OnDemond": item.on_demand,  # the service's spelling
        "OssBucket": item.bucket,
        "OssEndpoint": item.endpoint,
        "RecordFormatList": {"RecordFormat": [_format(one) for one in item.formats]},
        "StartTime": _time_or_none(item.start_s),
        "StreamName": item.stream,
        "TranscodeRecordFormatList": {"RecordFormat": [_format(one) for one in item.rendition_formats]},
        "TranscodeTemplates": {"Templates": list(item.renditions)},
    }


def _format(item: RecordFormat) -> Fields:
    return {
        "CycleDuration": item.cycle_s,
        "Format": item.format,
        "OssObjectPrefix": item.object_prefix,
        "SliceDuration": item.slice_s,
        "SliceOssObjectPrefix": item.slice_object_prefix,
    }


def _time_or_none(time_s: float) -> str:
    return format_time(time_s) if time_s else ""


class RealTimeRecordCommand(Request):
    """Start, stop or cut the recording of a live stream by hand."""

    domain_name: str
    app_name: str
    stream_name: str
    command: Literal["start", "stop", "cancel_delay", "restart"]


@operation(RealTimeRecordCommand)
async def real_time_record_command(call: Call, request: RealTimeRecordCommand) -> Fields:
    await call.services.recording.command(
        call.account, request.domain_name, request.app_name, request.stream_name, request.command, actor=call.actor
    )
    return {}


# The media library


class VodFormat(msgspec.Struct, frozen=True, rename="pascal"):
    """One item of a `RecordFormat.N` list of the media library."""

    format: str = ""
    auto_compose: Literal["ON", "OFF"] = "OFF"
    process_method: Literal["", "transcode", "workflow"] = ""
    process_template_id: str = ""
    slice_duration: int = 0
    tags: str = ""
    video_process: str = "origin"


class AddLiveRecordVodConfig(Request):
    """Record some streams into the media library."""

    domain_name: str
    app_name: str
    stream_name: str = ANY
    on_demand: int = 0
    delay_time: int | None = None
    cycle_duration: int | None = None
    record_content: str = "raw"
    record_format: tuple[VodFormat, ...] = ()
    transcode_templates: tuple[str, ...] = ()
    storage_location: str = ""
    space_id: str = ""
    vod_transcode_group_id: str = ""
    auto_compose: Literal["", "ON", "OFF"] = ""
    compose_vod_transcode_group_id: str = ""


@operation(AddLiveRecordVodConfig)
async def add_live_record_vod_config(call: Call, request: AddLiveRecordVodConfig) -> Fields:
    if request.space_id:
        raise parameter_not_implemented("SpaceId", NO_VOD)
    await call.services.library.add(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        location=request.storage_location,
        formats=_library_formats(request),
        content=request.record_content,
        renditions=request.transcode_templates,
        cycle_s=request.cycle_duration,
        on_demand=request.on_demand,
        delay_s=request.delay_time,
        actor=call.actor,
    )
    return {}


class UpdateLiveRecordVodConfig(Request):
    """Change a template of the media library; what is absent stays as it is."""

    domain_name: str
    app_name: str
    stream_name: str = ANY
    on_demand: int | None = None
    delay_time: int | None = None
    cycle_duration: int | None = None
    record_format: tuple[VodFormat, ...] = ()
    transcode_templates: tuple[str, ...] = ()
    vod_transcode_group_id: str = ""
    auto_compose: Literal["", "ON", "OFF"] = ""
    compose_vod_transcode_group_id: str = ""


@operation(UpdateLiveRecordVodConfig)
async def update_live_record_vod_config(call: Call, request: UpdateLiveRecordVodConfig) -> Fields:
    await call.services.library.update(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        formats=_library_formats(request),
        renditions=request.transcode_templates or None,
        cycle_s=request.cycle_duration,
        on_demand=request.on_demand,
        delay_s=request.delay_time,
        actor=call.actor,
    )
    return {}


class DeleteLiveRecordVodConfig(Request):
    """Remove the template of the media library of exactly this app and stream."""

    domain_name: str
    app_name: str
    stream_name: str = ANY


@operation(DeleteLiveRecordVodConfig)
async def delete_live_record_vod_config(call: Call, request: DeleteLiveRecordVodConfig) -> Fields:
    await call.services.library.remove(
        call.account, request.domain_name, request.app_name, request.stream_name, actor=call.actor
    )
    return {}


class DescribeLiveRecordVodConfigs(Request):
    """The templates of a domain for the media library."""

    domain_name: str
    app_name: str = ""
    stream_name: str = ""
    page_num: PageNumber = 1
    page_size: VodPageSize = 10


@operation(DescribeLiveRecordVodConfigs)
async def describe_live_record_vod_configs(call: Call, request: DescribeLiveRecordVodConfigs) -> Fields:
    page = await call.services.library.templates(
        call.account,
        request.domain_name,
        app=request.app_name,
        stream=request.stream_name,
        page_number=request.page_num,
        page_size=request.page_size,
    )
    return {
        "LiveRecordVodConfigs": {"LiveRecordVodConfig": [_library_template(item) for item in page.items]},
        "PageNum": request.page_num,
        "PageSize": request.page_size,
        "Total": str(page.total),
    }


def _library_formats(request: AddLiveRecordVodConfig | UpdateLiveRecordVodConfig) -> list[LibraryFormat] | None:
    """The formats that are asked for, None if none are. What only VOD could do with them is refused; without formats the
    older parameters count.
    """
    if not request.record_format:
        _refuse(request.vod_transcode_group_id not in ("", NO_TRANSCODING), "VodTranscodeGroupId")
        _refuse(request.auto_compose == "ON", "AutoCompose")
        _refuse(bool(request.compose_vod_transcode_group_id), "ComposeVodTranscodeGroupId")
        return None
    for item in request.record_format:
        _refuse(item.auto_compose == "ON", "RecordFormat.N.AutoCompose")
        _refuse(item.process_method == "workflow", "RecordFormat.N.ProcessMethod")
        _refuse(item.process_template_id not in ("", NO_TRANSCODING), "RecordFormat.N.ProcessTemplateId")
        _refuse(item.video_process != "origin", "RecordFormat.N.VideoProcess")
    return [LibraryFormat(item.format, item.slice_duration, item.tags) for item in request.record_format]


def _refuse(asked: bool, parameter: str) -> None:
    if asked:
        advice = f" As a template group, {NO_TRANSCODING} is known." if parameter.endswith("Id") else ""
        raise parameter_not_implemented(parameter, NO_VOD + advice)


def _library_template(item: LibraryTemplate) -> Fields:
    content = [name for name, wanted in (("raw", item.source), ("transcode", bool(item.renditions))) if wanted]
    return {
        "AppName": item.app,
        "AutoCompose": "OFF",
        "ComposeVodTranscodeGroupId": "",
        "CreateTime": format_time(item.created_s),
        "CycleDuration": item.cycle_s,
        "DelayTime": item.delay_s,
        "DomainName": item.domain,
        "FormatConfig": item.given,
        "OnDemand": item.on_demand,
        "RecordContent": ",".join(content),
        "RecordFormatList": {
            "RecordFormat": [
                {
                    "AutoCompose": "OFF",
                    "Format": one.format,
                    "ProcessMethod": "transcode",
                    "ProcessTemplateId": NO_TRANSCODING,
                    "SliceDuration": one.slice_s,
                    "Tags": one.tags,
                    "VideoProcess": "origin",
                }
                for one in item.formats
            ]
        },
        "SpaceId": "",
        "StorageLocation": item.location,
        "StreamName": item.stream,
        "TranscodeTemplates": ",".join(item.renditions),
        "VodTranscodeGroupId": NO_TRANSCODING,
    }


# What was recorded, and clips of it


class DescribeLiveStreamRecordContent(Request):
    """The times of which a stream was recorded."""

    domain_name: str
    app_name: str
    stream_name: str
    start_time: str
    end_time: str


@operation(DescribeLiveStreamRecordContent)
async def describe_live_stream_record_content(call: Call, request: DescribeLiveStreamRecordContent) -> Fields:
    contents = await call.services.record_content.contents(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        request.start_time,
        request.end_time,
    )
    return {
        "RecordContentInfoList": {
            "RecordContentInfo": [
                {
                    "Duration": round(content.end_s - content.start_s, 3),
                    "EndTime": format_time(content.end_s),
                    "OssBucket": content.bucket,
                    "OssEndpoint": content.endpoint,
                    "OssObjectPrefix": content.name,
                    "StartTime": format_time(content.start_s),
                }
                for content in contents
            ]
        }
    }


class CreateLiveStreamRecordIndexFiles(Request):
    """Make a clip: a playlist of the slices that were stored between two times."""

    domain_name: str
    app_name: str
    stream_name: str
    start_time: str
    end_time: str
    oss_endpoint: str
    oss_bucket: str
    oss_object: str
    end_time_included: bool = False


@operation(CreateLiveStreamRecordIndexFiles)
async def create_live_stream_record_index_files(call: Call, request: CreateLiveStreamRecordIndexFiles) -> Fields:
    clip = await call.services.record_content.create_clip(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        request.start_time,
        request.end_time,
        endpoint=request.oss_endpoint,
        bucket=request.oss_bucket,
        object_=request.oss_object,
        whole_end=request.end_time_included,
        actor=call.actor,
    )
    return {"RecordInfo": _clip(clip)}


class DescribeLiveStreamRecordIndexFile(Request):
    """One clip."""

    domain_name: str
    app_name: str
    stream_name: str
    record_id: str


@operation(DescribeLiveStreamRecordIndexFile)
async def describe_live_stream_record_index_file(call: Call, request: DescribeLiveStreamRecordIndexFile) -> Fields:
    clip = await call.services.record_content.clip(
        call.account, request.domain_name, request.app_name, request.stream_name, request.record_id
    )
    return {"RecordIndexInfo": {**_clip(clip), "Format": clip.format}}


class DescribeLiveStreamRecordIndexFiles(Request):
    """The clips of a stream that were made between two times."""

    domain_name: str
    app_name: str
    stream_name: str
    start_time: str
    end_time: str
    order: Order = "asc"
    page_num: PageNumber = 1
    page_size: RecordPageSize = 10


@operation(DescribeLiveStreamRecordIndexFiles)
async def describe_live_stream_record_index_files(call: Call, request: DescribeLiveStreamRecordIndexFiles) -> Fields:
    page = await call.services.record_content.clips(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        request.start_time,
        request.end_time,
        order=request.order,
        page_number=request.page_num,
        page_size=request.page_size,
    )
    return {
        "Order": request.order,
        "PageNum": request.page_num,
        "PageSize": request.page_size,
        "RecordIndexInfoList": {"RecordIndexInfo": [{**_clip(clip), "Format": clip.format} for clip in page.items]},
        "TotalNum": page.total,
        "TotalPage": -(-page.total // request.page_size),
    }


class DeleteLiveStreamRecordIndexFiles(Request):
    """Forget clips, and remove their playlists if RemoveFile says so."""

    domain_name: str
    app_name: str
    stream_name: str
    record_id: list[str]
    remove_file: Literal["true", "false"]


@operation(DeleteLiveStreamRecordIndexFiles)
async def delete_live_stream_record_index_files(call: Call, request: DeleteLiveStreamRecordIndexFiles) -> Fields:
    deletions = await call.services.record_content.delete_clips(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        request.record_id,
        files=request.remove_file == "true",
        actor=call.actor,
    )
    return {
        "Code": "OK",
        "Message": "OK",
        "RecordDeleteInfoList": {"RecordDeleteInfo": [{"Message": item.message, "RecordId": item.id} for item in deletions]},
    }


def _clip(clip: Clip) -> dict[str, Any]:
    return {
        "AppName": clip.app,
        "CreateTime": format_time(clip.created_s),
        "DomainName": clip.domain,
        "Duration": clip.duration_ms / 1000,
        "EndTime": format_time(clip.end_s),
        "Height": clip.height,
        "OssBucket": clip.bucket,
        "OssEndpoint": clip.endpoint,
        "OssObject": clip.key,
        "RecordId": clip.id,
        "RecordUrl": clip.url,
        "StartTime": format_time(clip.start_s),
        "StreamName": clip.stream,
        "Width": clip.width,
    }
