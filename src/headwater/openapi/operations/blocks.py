"""Operations on streams that are blocked by region (reference control-plane 7.2)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from headwater.domains.rules import format_time
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import PageNumber, Request

BlockPageSize = Annotated[int, msgspec.Meta(ge=1, le=100)]

DONE = {"Status": "ok", "Description": "ok"}
"""A block holds everywhere within a second, so there is nothing to fail later."""


class SetLiveStreamBlock(Request):
    """Block a stream in some regions, or in all others, until ReleaseTime or for seven days."""

    domain_name: str
    app_name: str
    stream_name: str
    block_type: str
    location_list: str
    release_time: str = ""


@operation(SetLiveStreamBlock)
async def set_live_stream_block(call: Call, request: SetLiveStreamBlock) -> Fields:
    await call.services.blocks.set(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        block_type=request.block_type,
        locations=request.location_list,
        release_time=request.release_time,
        actor=call.actor,
    )
    return DONE


class DeleteLiveStreamBlock(Request):
    """Block a stream no longer."""

    domain_name: str
    app_name: str
    stream_name: str


@operation(DeleteLiveStreamBlock)
async def delete_live_stream_block(call: Call, request: DeleteLiveStreamBlock) -> Fields:
    await call.services.blocks.delete(
        call.account, request.domain_name, request.app_name, request.stream_name, actor=call.actor
    )
    return DONE


class DescribeStreamLocationBlock(Request):
    """The streams that are blocked by region, and those that were last week."""

    domain_name: str
    app_name: str = ""
    stream_name: str = ""
    block_type: str = ""
    page_num: PageNumber = 1
    page_size: BlockPageSize = 10


@operation(DescribeStreamLocationBlock)
async def describe_stream_location_block(call: Call, request: DescribeStreamLocationBlock) -> Fields:
    page = await call.services.blocks.list_blocks(
        call.account,
        request.domain_name,
        app=request.app_name,
        stream=request.stream_name,
        block_type=request.block_type,
        page_number=request.page_num,
        page_size=request.page_size,
    )
    return {
        "Count": page.total,
        "PageNum": request.page_num,
        "PageSize": request.page_size,
        "StreamBlockList": {
            "StreamBlock": [
                {
                    "AppName": block.app,
                    "BlockType": block.type,
                    "DomainName": block.domain,
                    "LocationList": block.locations,
                    "ReleaseTime": format_time(block.release_s),
                    "Status": block.status,
                    "StreamName": block.stream,
                    "UpdateTime": format_time(block.updated_s),
                }
                for block in page.items
            ]
        },
        "TotalPage": -(-page.total // request.page_size),
    }
