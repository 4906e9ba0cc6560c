"""Operations on watermarks: templates with their pictures, and the rules that say which streams get them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from headwater.domains.watermarks import Placement, RuleRecord, WatermarkRecord
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import PageNumber, Request

WatermarkPageSize = Annotated[int, msgspec.Meta(ge=1, le=100)]
WatermarkType = Literal[0]
"""Pictures are the only kind that there is."""


class AddLiveStreamWatermark(Request):
    """Fetch a picture and keep it with its place on another one."""

    name: str
    type: WatermarkType
    picture_url: str
    ref_width: int
    ref_height: int
    height: int
    x_offset: float = msgspec.field(name="XOffset")
    y_offset: float = msgspec.field(name="YOffset")
    offset_corner: str
    transparency: int
    domain: str = ""
    description: str = ""


@operation(AddLiveStreamWatermark)
async def add_live_stream_watermark(call: Call, request: AddLiveStreamWatermark) -> Fields:
    placement = Placement(
        request.ref_width,
        request.ref_height,
        request.height,
        request.x_offset,
        request.y_offset,
        request.offset_corner,
        request.transparency,
    )
    template = await call.services.watermarks.add(
        call.account,
        request.name,
        request.picture_url,
        placement,
        domain=request.domain,
        description=request.description,
        actor=call.actor,
    )
    return {"TemplateId": template}


class UpdateLiveStreamWatermark(Request):
    """Change what is given of a watermark; the picture is fetched again if its URL is given."""

    template_id: str
    name: str | None = None
    description: str | None = None
    picture_url: str | None = None
    ref_width: int | None = None
    ref_height: int | None = None
    height: int | None = None
    x_offset: float | None = msgspec.field(default=None, name="XOffset")
    y_offset: float | None = msgspec.field(default=None, name="YOffset")
    offset_corner: str | None = None
    transparency: int | None = None


@operation(UpdateLiveStreamWatermark)
async def update_live_stream_watermark(call: Call, request: UpdateLiveStreamWatermark) -> Fields:
    await call.services.watermarks.update(
        call.account,
        request.template_id,
        name=request.name,
        description=request.description,
        picture_url=request.picture_url,
        ref_width=request.ref_width,
        ref_height=request.ref_height,
        height=request.height,
        x=request.x_offset,
        y=request.y_offset,
        corner=request.offset_corner,
        transparency=request.transparency,
        actor=call.actor,
    )
    return {}


class DeleteLiveStreamWatermark(Request):
    """Forget a watermark that no rule uses."""

    template_id: str


@operation(DeleteLiveStreamWatermark)
async def delete_live_stream_watermark(call: Call, request: DeleteLiveStreamWatermark) -> Fields:
    await call.services.watermarks.remove(call.account, request.template_id, actor=call.actor)
    return {}


class DescribeLiveStreamWatermarks(Request):
    """The account's watermarks."""

    domain: str = ""
    key_word: str = ""
    page_number: PageNumber = 1
    page_size: WatermarkPageSize = 100


@operation(DescribeLiveStreamWatermarks)
async def describe_live_stream_watermarks(call: Call, request: DescribeLiveStreamWatermarks) -> Fields:
    page = await call.services.watermarks.templates(
        call.account,
        domain=request.domain,
        keyword=request.key_word,
        page_number=request.page_number,
        page_size=request.page_size,
    )
    return {"WatermarkList": {"Watermark": [_watermark(item) for item in page.items]}, "Total": page.total}


class AddLiveStreamWatermarkRule(Request):
    """Lay a watermark over the renditions of some streams."""

    domain: str
    app: str
    stream: str
    template_id: str
    name: str
    description: str = ""


@operation(AddLiveStreamWatermarkRule)
async def add_live_stream_watermark_rule(call: Call, request: AddLiveStreamWatermarkRule) -> Fields:
    rule = await call.services.watermarks.add_rule(
        call.account,
        request.domain,
        request.app,
        request.stream,
        request.template_id,
        title=request.name,
        description=request.description,
        actor=call.actor,
    )
    return {"RuleId": rule}


class UpdateLiveStreamWatermarkRule(Request):
    """Change what is given of a rule."""

    rule_id: str
    name: str | None = None
    description: str | None = None
    template_id: str | None = None


@operation(UpdateLiveStreamWatermarkRule)
async def update_live_stream_watermark_rule(call: Call, request: UpdateLiveStreamWatermarkRule) -> Fields:
    await call.services.watermarks.update_rule(
        call.account,
        request.rule_id,
        title=request.name,
        description=request.description,
        template=request.template_id,
        actor=call.actor,
    )
    return {}


class DeleteLiveStreamWatermarkRule(Request):
    """Delete a rule, by its id or by its app and stream."""

    domain: str
    rule_id: str = ""
    app: str = ""
    stream: str = ""


@operation(DeleteLiveStreamWatermarkRule)
async def delete_live_stream_watermark_rule(call: Call, request: DeleteLiveStreamWatermarkRule) -> Fields:
    await call.services.watermarks.remove_rule(
        call.account, request.domain, id_=request.rule_id, app=request.app, stream=request.stream, actor=call.actor
    )
    return {}


class DescribeLiveStreamWatermarkRules(Request):
    """The rules of a domain, or of all of the account."""

    domain: str = ""
    page_number: PageNumber = 1
    page_size: WatermarkPageSize = 100


@operation(DescribeLiveStreamWatermarkRules)
async def describe_live_stream_watermark_rules(call: Call, request: DescribeLiveStreamWatermarkRules) -> Fields:
    page = await call.services.watermarks.rules(
        call.account, domain=request.domain, page_number=request.page_number, page_size=request.page_size
    )
    return {"RuleInfoList": {"RuleInfo": [_rule(item) for item in page.items]}, "Total": page.total}


class DynamicUpdateWaterMarkStreamRule(Request):
    """Give a live stream another watermark at once."""

    domain: str
    app: str
    stream: str
    template_id: str


@operation(DynamicUpdateWaterMarkStreamRule)
async def dynamic_update_water_mark_stream_rule(call: Call, request: DynamicUpdateWaterMarkStreamRule) -> Fields:
    await call.services.watermarks.switch(
        call.account, request.domain, request.app, request.stream, request.template_id, actor=call.actor
    )
    return {}


def _watermark(item: WatermarkRecord) -> Fields:
    place = item.placement
    return {
        "TemplateId": item.id,
        "Name": item.name,
        "Description": item.description,
        "Type": 0,
        "PictureUrl": item.picture_url,
        "RefWidth": place.ref_width,
        "RefHeight": place.ref_height,
        "Height": place.height,
        "XOffset": place.x,
        "YOffset": place.y,
        "OffsetCorner": place.corner,
        "Transparency": place.transparency,
        "RuleCount": item.rules,
    }


def _rule(item: RuleRecord) -> Fields:
    return {
        "RuleId": item.id,
        "Domain": item.domain,
        "App": item.app,
        "Stream": item.stream,
        "TemplateId": item.template,
        "Name": item.name,
        "Description": item.description,
    }
