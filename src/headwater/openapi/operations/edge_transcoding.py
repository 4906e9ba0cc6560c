"""Operations on edge transcoding: jobs that read a stream from anywhere and publish it, transcoded, anywhere."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from headwater.domains.edge_transcoding import COMMON, EdgeJobRecord, EdgeTemplate
from headwater.domains.rules import format_time
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import PageNumber, Request

EdgePageSize = Annotated[int, msgspec.Meta(ge=1, le=100)]
EdgeType = Literal["common", "nbhd-2", "ultra-hd"]
SortBy = Literal["asc", "desc"]
Status = Annotated[int, msgspec.Meta(ge=0, le=1)]
"""0: not started, 1: running."""


class CreateEdgeTranscodeJob(Request):
    """Keep a job; it does nothing until it is started."""

    cluster_id: str
    name: str
    stream_input: str
    stream_output: str
    template_id: str


@operation(CreateEdgeTranscodeJob)
async def create_edge_transcode_job(call: Call, request: CreateEdgeTranscodeJob) -> Fields:
    job_id = await call.services.edge_transcoding.create(
        call.account,
        request.cluster_id,
        request.name,
        request.template_id,
        request.stream_input,
        request.stream_output,
        actor=call.actor,
    )
    return {"JobId": job_id}


class _Job(Request):
    """Which job is meant."""

    cluster_id: str
    job_id: str


class StartEdgeTranscodeJob(_Job):
    """Let a job run."""


@operation(StartEdgeTranscodeJob)
async def start_edge_transcode_job(call: Call, request: StartEdgeTranscodeJob) -> Fields:
    await call.services.edge_transcoding.start(call.account, request.cluster_id, request.job_id, actor=call.actor)
    return {"JobId": request.job_id}


class StopEdgeTranscodeJob(_Job):
    """Let a job run no longer."""


@operation(StopEdgeTranscodeJob)
async def stop_edge_transcode_job(call: Call, request: StopEdgeTranscodeJob) -> Fields:
    await call.services.edge_transcoding.stop(call.account, request.cluster_id, request.job_id, actor=call.actor)
    return {"JobId": request.job_id}


class UpdateEdgeTranscodeJob(_Job):
    """Change what is given of a job that does not run."""

    name: str = ""
    stream_input: str = ""
    stream_output: str = ""
    template_id: str = ""


@operation(UpdateEdgeTranscodeJob)
async def update_edge_transcode_job(call: Call, request: UpdateEdgeTranscodeJob) -> Fields:
    await call.services.edge_transcoding.update(
        call.account,
        request.cluster_id,
        request.job_id,
        name=request.name,
        template_id=request.template_id,
        input_url=request.stream_input,
        output_url=request.stream_output,
        actor=call.actor,
    )
    return {"JobId": request.job_id}


class DeleteEdgeTranscodeJob(_Job):
    """Forget a job; one that runs is ended."""


@operation(DeleteEdgeTranscodeJob)
async def delete_edge_transcode_job(call: Call, request: DeleteEdgeTranscodeJob) -> Fields:
    await call.services.edge_transcoding.delete(call.account, request.cluster_id, request.job_id, actor=call.actor)
    return {}


class GetEdgeTranscodeJob(_Job):
    """One job."""


@operation(GetEdgeTranscodeJob)
async def get_edge_transcode_job(call: Call, request: GetEdgeTranscodeJob) -> Fields:
    return {"Job": _job(await call.services.edge_transcoding.job(call.account, request.cluster_id, request.job_id))}


class ListEdgeTranscodeJob(Request):
    """The jobs of a node."""

    cluster_id: str
    keyword: str = ""
    page_no: PageNumber = 1
    page_size: EdgePageSize = 10
    sort_by: SortBy = "desc"
    status: Status | None = None
    type: EdgeType = "common"


@operation(ListEdgeTranscodeJob)
async def list_edge_transcode_job(call: Call, request: ListEdgeTranscodeJob) -> Fields:
    page = await call.services.edge_transcoding.jobs(
        call.account,
        request.cluster_id,
        running=None if request.status is None else request.status == 1,
        keyword=request.keyword,
        newest_first=request.sort_by == "desc",
        page_number=request.page_no,
        page_size=request.page_size,
    )
    if request.type != COMMON:
        return {"JobList": {"Job": []}, "TotalCount": 0}
    return {"JobList": {"Job": [_job(record) for record in page.items]}, "TotalCount": page.total}


class GetEdgeTranscodeTemplate(Request):
    """One template that a job may use."""

    cluster_id: str
    template_id: str


@operation(GetEdgeTranscodeTemplate)
async def get_edge_transcode_template(call: Call, request: GetEdgeTranscodeTemplate) -> Fields:
    found = await call.services.edge_transcoding.template(call.account, request.cluster_id, request.template_id)
    return {"Template": _template(found)}


class ListEdgeTranscodeTemplate(Request):
    """The templates that a job may use."""

    cluster_id: str
    keyword: str = ""
    page_no: PageNumber = 1
    page_size: EdgePageSize = 10
    sort_by: SortBy = "desc"
    type: EdgeType = "common"
    video_codec: Literal["H.264", "H.265", ""] = ""


@operation(ListEdgeTranscodeTemplate)
async def list_edge_transcode_template(call: Call, request: ListEdgeTranscodeTemplate) -> Fields:
    page = await call.services.edge_transcoding.templates(
        call.account,
        request.cluster_id,
        codec=request.video_codec,
        keyword=request.keyword,
        newest_first=request.sort_by == "desc",
        page_number=request.page_no,
        page_size=request.page_size,
    )
    if request.type != COMMON:
        return {"TemplateList": {"Template": []}, "TotalCount": 0}
    return {"TemplateList": {"Template": [_template(item) for item in page.items]}, "TotalCount": page.total}


def _job(record: EdgeJobRecord) -> Fields:
    return {
        "CreateTime": format_time(record.created_s),
        "JobId": record.id,
        "LastStartAt": _time(record.started_s),
        "LastStopAt": _time(record.stopped_s),
        "Name": record.name,
        "Status": "1" if record.running else "0",
        "StreamInput": record.input,
        "StreamOutput": record.output,
        "TemplateId": record.template,
        "TemplateName": record.template_name,
        "Type": COMMON,
    }


def _template(template: EdgeTemplate) -> Fields:
    return {
        "Bitrate": template.bitrate,
        "Codec": template.codec,
        "CreateTime": _time(template.created_s),
        "Fps": template.fps,
        "Gop": template.gop,
        "Name": template.name,
        "Resolution": template.resolution,
        "TemplateId": template.id,
        "Type": COMMON,
    }


def _time(seconds: float | None) -> str:
    return "" if seconds is None else format_time(seconds)
