"""Operations on time shift and on delayed streams (reference media-plane 6.3 and 6.4)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from headwater.access.plan import ANY
from headwater.domains.delays import DelayRule
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import PageNumber, Request

DelayPageSize = Annotated[int, msgspec.Meta(ge=5, le=30)]


class OpenLiveShift(Request):
    """Keep streams for Vision days in slices of Duration seconds, so that viewers can go back in them."""

    domain_name: str
    app_name: str = ANY
    stream_name: str = ANY
    vision: int = 7
    duration: int = 5
    ignore_transcode: bool = True


@operation(OpenLiveShift)
async def open_live_shift(call: Call, request: OpenLiveShift) -> Fields:
    await call.services.time_shift.open(
        call.account,
        request.domain_name,
        app=request.app_name,
        stream=request.stream_name,
        days=request.vision,
        slice_s=request.duration,
        renditions=not request.ignore_transcode,
        actor=call.actor,
    )
    return {}


class CloseLiveShift(Request):
    """Keep these streams no longer."""

    domain_name: str
    app_name: str = ANY
    stream_name: str = ANY


@operation(CloseLiveShift)
async def close_live_shift(call: Call, request: CloseLiveShift) -> Fields:
    await call.services.time_shift.close(
        call.account, request.domain_name, app=request.app_name, stream=request.stream_name, actor=call.actor
    )
    return {}


class DescribeLiveShiftConfigs(Request):
    """For which streams of a domain time shift is on."""

    domain_name: str


@operation(DescribeLiveShiftConfigs)
async def describe_live_shift_configs(call: Call, request: DescribeLiveShiftConfigs) -> Fields:
    rules = await call.services.time_shift.rules(call.account, request.domain_name)
    return {
        "Content": {
            "Config": [
                {
                    "AppName": rule.app,
                    "DomainName": rule.domain,
                    "IgnoreTranscode": not rule.renditions,
                    "StreamName": rule.stream,
                    "Vision": rule.days,
                }
                for rule in rules
            ]
        }
    }


class CreateLiveDelayConfig(Request):
    """Publish delayed copies of streams, DelayTime seconds later."""

    domain: str
    app: str
    stream: str
    delay_time: int
    task_trigger_mode: str


@operation(CreateLiveDelayConfig)
async def create_live_delay_config(call: Call, request: CreateLiveDelayConfig) -> Fields:
    await call.services.delays.create(
        call.account,
        request.domain,
        request.app,
        request.stream,
        request.delay_time,
        request.task_trigger_mode,
        actor=call.actor,
    )
    return {}


class UpdateLiveDelayConfig(Request):
    """Change a rule of delayed copies."""

    domain: str
    app: str
    stream: str
    delay_time: int
    task_trigger_mode: str = ""


@operation(UpdateLiveDelayConfig)
async def update_live_delay_config(call: Call, request: UpdateLiveDelayConfig) -> Fields:
    await call.services.delays.update(
        call.account,
        request.domain,
        request.app,
        request.stream,
        request.delay_time,
        request.task_trigger_mode or None,
        actor=call.actor,
    )
    return {}


class DeleteLiveDelayConfig(Request):
    """Publish these delayed copies no longer."""

    domain: str
    app: str
    stream: str


@operation(DeleteLiveDelayConfig)
async def delete_live_delay_config(call: Call, request: DeleteLiveDelayConfig) -> Fields:
    await call.services.delays.delete(call.account, request.domain, request.app, request.stream, actor=call.actor)
    return {}


class DescribeLiveDelayConfig(Request):
    """The rule of one app and stream."""

    domain: str
    app: str
    stream: str


@operation(DescribeLiveDelayConfig)
async def describe_live_delay_config(call: Call, request: DescribeLiveDelayConfig) -> Fields:
    return _delay(await call.services.delays.rule(call.account, request.domain, request.app, request.stream))


class ListLiveDelayConfig(Request):
    """The rules of a domain's delayed copies."""

    domain: str
    page_num: PageNumber = 1
    page_size: DelayPageSize = 10


@operation(ListLiveDelayConfig)
async def list_live_delay_config(call: Call, request: ListLiveDelayConfig) -> Fields:
    page = await call.services.delays.rules(
        call.account, request.domain, page_number=request.page_num, page_size=request.page_size
    )
    return {"DelayConfigList": {"DelayConfig": [_delay(rule) for rule in page.items]}, "Total": page.total}


def _delay(rule: DelayRule) -> Fields:
    return {
        "App": rule.app,
        "DelayTime": str(rule.delay_s),
        "Domain": rule.domain,
        "Stream": rule.stream,
        "TaskTriggerMode": rule.trigger,
    }
