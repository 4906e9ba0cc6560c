"""Operations on dual streams: several publishers of one stream (reference control-plane 2.1)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from headwater.domains.multi_stream import CHANGE_REASONS
from headwater.domains.rules import format_time
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import PageNumber, Request, read_time

OnOff = Literal["on", "off"]
MultiStreamPageSize = Annotated[int, msgspec.Meta(ge=1, le=100)]


class SetLiveDomainMultiStreamConfig(Request):
    """Let several publishers push one stream, or one alone."""

    domain: str
    switch: OnOff


@operation(SetLiveDomainMultiStreamConfig)
async def set_live_domain_multi_stream_config(call: Call, request: SetLiveDomainMultiStreamConfig) -> Fields:
    await call.services.multi_stream.switch(call.account, request.domain, request.switch == "on", actor=call.actor)
    return {}


class DescribeLiveDomainMultiStreamConfig(Request):
    """Whether several publishers may push one stream."""

    domain: str


@operation(DescribeLiveDomainMultiStreamConfig)
async def describe_live_domain_multi_stream_config(call: Call, request: DescribeLiveDomainMultiStreamConfig) -> Fields:
    return {"Switch": _on_off(await call.services.multi_stream.is_on(call.account, request.domain))}


class SetLiveDomainMultiStreamOptimalMode(Request):
    """Let the platform choose the master of a stream, or only the customer."""

    domain: str
    app_name: str
    stream_name: str
    optimal_mode: OnOff


@operation(SetLiveDomainMultiStreamOptimalMode)
async def set_live_domain_multi_stream_optimal_mode(call: Call, request: SetLiveDomainMultiStreamOptimalMode) -> Fields:
    await call.services.multi_stream.set_optimal_mode(
        call.account,
        request.domain,
        request.app_name,
        request.stream_name,
        request.optimal_mode == "on",
        actor=call.actor,
    )
    return {}


class SetLiveDomainMultiStreamMaster(Request):
    """Make one publisher of a stream its master; UpstreamSequence as QueryLiveDomainMultiStreamList tells it."""

    domain: str
    app_name: str
    stream_name: str
    upstream_sequence: str


@operation(SetLiveDomainMultiStreamMaster)
async def set_live_domain_multi_stream_master(call: Call, request: SetLiveDomainMultiStreamMaster) -> Fields:
    await call.services.multi_stream.set_master(
        call.account, request.domain, request.app_name, request.stream_name, request.upstream_sequence, actor=call.actor
    )
    return {}


class QueryLiveDomainMultiStreamList(Request):
    """The live streams that several publishers may push: who they are, and how the master has changed."""

    domain: str
    stream_name: str = ""
    start_time: str = ""
    end_time: str = ""
    page_number: PageNumber = 1
    page_size: MultiStreamPageSize = 10


@operation(QueryLiveDomainMultiStreamList)
async def query_live_domain_multi_stream_list(call: Call, request: QueryLiveDomainMultiStreamList) -> Fields:
    page = await call.services.multi_stream.online(
        call.account,
        request.domain,
        stream=request.stream_name,
        start_s=read_time(request.start_time, "InvalidStartTime.Malformed") if request.start_time else None,
        end_s=read_time(request.end_time, "InvalidEndTime.Malformed") if request.end_time else None,
        page_number=request.page_number,
        page_size=request.page_size,
    )
    return {
        "OnlineStreams": [
            {
                "AppName": item.app,
                "ChangeLogs": [
                    {
                        "ChangeReason": CHANGE_REASONS.get(change.reason, change.reason),
                        "ChangeTime": format_time(change.changed_s),
                        "MasterUpstream": str(change.upstream),
                        "UpstreamIp": change.client_ip,
                        "UpstreamSequence": str(change.upstream),
                    }
                    for change in item.changes
                ],
                "Domain": item.domain,
                "OptimalMode": _on_off(item.optimal_mode),
                "StreamName": item.stream,
                "UpstreamList": [
                    {
                        "MasterFlag": one.master,
                        "UpstreamIp": one.client_ip,
                        "UpstreamSequence": str(one.number),
                        "UpstreamTime": format_time(one.since_s),
                    }
                    for one in item.upstreams
                ],
            }
            for item in page.items
        ],
        "PageNumber": request.page_number,
        "PageSize": request.page_size,
        "TotalCount": page.total,
    }


def _on_off(on: bool) -> OnOff:
    return "on" if on else "off"
