"""Operations on streams: which are live, which were, and which are forbidden (reference control-plane 7.2)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from headwater.access.presence import StreamPresence
from headwater.domains.rules import format_time
from headwater.domains.streams import Order
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import PageNumber, Request, read_time

StreamPageSize = Annotated[int, msgspec.Meta(ge=1, le=3000)]
YesNo = Literal["yes", "no"]
QueryType = Literal["fuzzy", "strict"]
StreamType = Literal["all", "raw", "trans"]

PUBLISH_TYPE = "edge"
"""Every push comes by an ingest node; `center` is an address of the service's older domains."""


class DescribeLiveStreamsOnlineList(Request):
    """What is live on a streaming domain: `raw` streams as they are pushed, and what the center makes of them (`trans`)."""

    domain_name: str
    app_name: str = ""
    stream_name: str = ""
    query_type: QueryType = "fuzzy"
    stream_type: StreamType = "all"
    only_stream: YesNo = "no"
    page_num: PageNumber = 1
    page_size: StreamPageSize = 2000


@operation(DescribeLiveStreamsOnlineList)
async def describe_live_streams_online_list(call: Call, request: DescribeLiveStreamsOnlineList) -> Fields:
    page = await call.services.streams.online_streams(
        call.account,
        request.domain_name,
        app=request.app_name,
        stream=request.stream_name,
        strict=request.query_type == "strict",
        made=None if request.stream_type == "all" else request.stream_type == "trans",
        page_number=request.page_num,
        page_size=request.page_size,
    )
    only_stream = request.only_stream == "yes"
    return {
        "OnlineInfo": {"LiveStreamOnlineInfo": [_stream_name(item) if only_stream else _online(item) for item in page.items]},
        **_paging(request.page_num, request.page_size, page.total),
    }


class DescribeLiveStreamsPublishList(Request):
    """The pushes that began in a span of time, and what the center made of them (`trans`).

    The request says PageNumber, the response PageNum.
    """

    domain_name: str
    start_time: str
    end_time: str
    app_name: str = ""
    stream_name: str = ""
    query_type: QueryType = "fuzzy"
    stream_type: StreamType = "raw"
    order_by: Order = "publish_time_asc"
    page_number: PageNumber = 1
    page_size: StreamPageSize = 2000


@operation(DescribeLiveStreamsPublishList)
async def describe_live_streams_publish_list(call: Call, request: DescribeLiveStreamsPublishList) -> Fields:
    page = await call.services.streams.publish_history(
        call.account,
        request.domain_name,
        read_time(request.start_time, "InvalidStartTime.Malformed"),
        read_time(request.end_time, "InvalidEndTime.Malformed"),
        app=request.app_name,
        stream=request.stream_name,
        strict=request.query_type == "strict",
        made=None if request.stream_type == "all" else request.stream_type == "trans",
        order=request.order_by,
        page_number=request.page_number,
        page_size=request.page_size,
    )
    return {
        "PublishInfo": {
            "LiveStreamPublishInfo": [
                {
                    "AliInnerErrorFlags": "",
                    "AppName": item.app,
                    "ClientAddr": item.client_ip,
                    "DomainName": item.domain,
                    "EdgeNodeAddr": item.server_ip,
                    "PublishDomain": item.publish_domain,
                    "PublishTime": format_time(item.started_s),
                    "PublishType": PUBLISH_TYPE,
                    "PublishUrl": item.publish_url,
                    "StopTime": "" if item.stopped_s is None else format_time(item.stopped_s),
                    "StreamName": item.stream,
                    "StreamUrl": f"rtmp://{item.domain}/{item.app}/{item.stream}",
                    "TranscodeId": item.template,
                    "Transcoded": "yes" if item.made else "no",
                }
                for item in page.items
            ]
        },
        **_paging(request.page_number, request.page_size, page.total),
    }


class ForbidLiveStream(Request):
    """Cut a stream and forbid it, or with Oneshot only cut it; DomainName is the ingest domain."""

    domain_name: str
    app_name: str
    stream_name: str
    live_stream_type: str
    oneshot: YesNo = "no"
    resume_time: str = ""


@operation(ForbidLiveStream)
async def forbid_live_stream(call: Call, request: ForbidLiveStream) -> Fields:
    await call.services.streams.forbid_stream(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        stream_type=request.live_stream_type,
        oneshot=request.oneshot == "yes",
        resume_time=request.resume_time,
        actor=call.actor,
    )
    return {}


class ResumeLiveStream(Request):
    """Allow a stream again; AppName `*` means every app."""

    domain_name: str
    app_name: str
    stream_name: str
    live_stream_type: str


@operation(ResumeLiveStream)
async def resume_live_stream(call: Call, request: ResumeLiveStream) -> Fields:
    await call.services.streams.resume_stream(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        stream_type=request.live_stream_type,
        actor=call.actor,
    )
    return {}


class DescribeLiveStreamsBlockList(Request):
    """The forbidden streams of a streaming domain, as `domain/app/stream`."""

    domain_name: str
    page_num: PageNumber = 1
    page_size: StreamPageSize = 2000


@operation(DescribeLiveStreamsBlockList)
async def describe_live_streams_block_list(call: Call, request: DescribeLiveStreamsBlockList) -> Fields:
    page = await call.services.streams.blocked_streams(
        call.account, request.domain_name, page_number=request.page_num, page_size=request.page_size
    )
    return {
        "DomainName": request.domain_name,
        "StreamUrls": {"StreamUrl": [f"{ban.domain}/{ban.app}/{ban.stream}" for ban in page.items]},
        **_paging(request.page_num, request.page_size, page.total),
    }


def _stream_name(item: StreamPresence) -> dict[str, Any]:
    return {
        "AppName": item.app,
        "DomainName": item.domain,
        "PublishTime": format_time(item.published_at),
        "StreamName": item.stream,
    }


def _online(item: StreamPresence) -> dict[str, Any]:
    return {
        **_stream_name(item),
        "AudioCodecId": item.audio_codec_id,
        "AudioDataRate": item.audio_kbps,
        "ClientIp": item.client_ip,
        "FrameRate": item.frame_rate,
        "Height": item.height,
        "PublishDomain": item.publish_domain,
        "PublishType": PUBLISH_TYPE,
        "PublishUrl": item.publish_url,
        "ServerIp": item.server_ip,
        "Transcoded": "yes" if item.source else "no",
        "VideoCodecId": item.video_codec_id,
        "VideoDataRate": item.video_kbps,
        "Width": item.width,
    }


def _paging(page_num: int, page_size: int, total: int) -> dict[str, int]:
    return {"PageNum": page_num, "PageSize": page_size, "TotalNum": total, "TotalPage": -(-total // page_size)}
