"""Operations on the functions and the delay of domains (reference control-plane 2.2 and 4)."""

from __future__ import annotations

from typing import Any

from headwater.domains.functions import config_id
from headwater.domains.rules import Level
from headwater.domains.service import Delay, DelayChoice
from headwater.openapi.errors import missing
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import Request

RTMP_DEFAULT = Delay(delay_s=2, level="short")
FLV_DEFAULT = Delay(delay_s=4, level="medium")
HLS_DEFAULT = Delay(delay_s=15, level="long")
"""What the service reports where nothing was set (reference control-plane 2.2, SetLiveStreamDelayConfig)."""


class BatchSetLiveDomainConfigs(Request):
    """Set functions on several domains, or with DryRun only say whether that would go well."""

    domain_names: str
    functions: str
    dry_run: bool = False


@operation(BatchSetLiveDomainConfigs)
async def batch_set_live_domain_configs(call: Call, request: BatchSetLiveDomainConfigs) -> Fields:
    await call.services.domains.set_functions(
        call.account,
        _comma_list("DomainNames", request.domain_names),
        request.functions,
        dry_run=request.dry_run,
        actor=call.actor,
    )
    return {}


class DescribeLiveDomainConfigs(Request):
    """The named functions of a domain, signing keys in clear: the official samples read them here (reference 4.3)."""

    domain_name: str
    function_names: str


@operation(DescribeLiveDomainConfigs)
async def describe_live_domain_configs(call: Call, request: DescribeLiveDomainConfigs) -> Fields:
    names = _comma_list("FunctionNames", request.function_names)
    records = await call.services.domains.functions(call.account, request.domain_name, names)
    return {
        "DomainConfigs": {
            "DomainConfig": [
                {
                    "ConfigId": str(record.config_id),
                    "FunctionArgs": {
                        "FunctionArg": [{"ArgName": name, "ArgValue": value} for name, value in record.args],
                    },
                    "FunctionName": record.name,
                    "Status": record.status,
                }
                for record in records
            ]
        }
    }


class BatchDeleteLiveDomainConfigs(Request):
    """Remove functions by name from several domains."""

    domain_names: str
    function_names: str


@operation(BatchDeleteLiveDomainConfigs)
async def batch_delete_live_domain_configs(call: Call, request: BatchDeleteLiveDomainConfigs) -> Fields:
    await call.services.domains.delete_functions(
        call.account,
        _comma_list("DomainNames", request.domain_names),
        _comma_list("FunctionNames", request.function_names),
        actor=call.actor,
    )
    return {}


class SetLiveDomainStagingConfig(Request):
    """Stage functions: they hold for those who come by a staging address."""

    domain_name: str
    functions: str


@operation(SetLiveDomainStagingConfig)
async def set_live_domain_staging_config(call: Call, request: SetLiveDomainStagingConfig) -> Fields:
    await call.services.staging.set(call.account, request.domain_name, request.functions, actor=call.actor)
    return {}


class DescribeLiveDomainStagingConfig(Request):
    """The named staged functions of a domain; unlike those of production they stand in bare lists."""

    domain_name: str
    function_names: str


@operation(DescribeLiveDomainStagingConfig)
async def describe_live_domain_staging_config(call: Call, request: DescribeLiveDomainStagingConfig) -> Fields:
    names = _comma_list("FunctionNames", request.function_names)
    records = await call.services.staging.functions(call.account, request.domain_name, names)
    return {
        "DomainConfigs": [
            {
                "ConfigId": str(record.config_id),
                "FunctionArgs": [{"ArgName": name, "ArgValue": value} for name, value in record.args],
                "FunctionName": record.name,
                "Status": record.status,
            }
            for record in records
        ]
    }


class PublishLiveStagingConfigToProduction(Request):
    """Make a staged function the one of production."""

    domain_name: str
    function_name: str


@operation(PublishLiveStagingConfigToProduction)
async def publish_live_staging_config_to_production(call: Call, request: PublishLiveStagingConfigToProduction) -> Fields:
    await call.services.staging.publish(call.account, request.domain_name, request.function_name, actor=call.actor)
    return {}


class RollbackLiveStagingConfig(Request):
    """Stage a function no longer."""

    domain_name: str
    function_name: str


@operation(RollbackLiveStagingConfig)
async def rollback_live_staging_config(call: Call, request: RollbackLiveStagingConfig) -> Fields:
    await call.services.staging.rollback(call.account, request.domain_name, request.function_name, actor=call.actor)
    return {}


class DeleteLiveSpecificStagingConfig(Request):
    """Stage some records no longer; ConfigId is a comma list."""

    domain_name: str
    config_id: str


@operation(DeleteLiveSpecificStagingConfig)
async def delete_live_specific_staging_config(call: Call, request: DeleteLiveSpecificStagingConfig) -> Fields:
    ids = [config_id(text) for text in _comma_list("ConfigId", request.config_id)]
    await call.services.staging.delete(call.account, request.domain_name, ids, actor=call.actor)
    return {}


class SetLiveStreamDelayConfig(Request):
    """Set how far behind the live edge viewers of each protocol begin; seconds win over a level."""

    domain_name: str
    rtmp_delay: int | None = None
    rtmp_level: Level | None = None
    flv_delay: int | None = None
    flv_level: Level | None = None
    hls_delay: int | None = None
    hls_level: Level | None = None


@operation(SetLiveStreamDelayConfig)
async def set_live_stream_delay_config(call: Call, request: SetLiveStreamDelayConfig) -> Fields:
    await call.services.domains.set_delay(
        call.account,
        request.domain_name,
        rtmp=DelayChoice(request.rtmp_delay, request.rtmp_level),
        flv=DelayChoice(request.flv_delay, request.flv_level),
        hls=DelayChoice(request.hls_delay, request.hls_level),
        actor=call.actor,
    )
    return {}


class DescribeLiveStreamDelayConfig(Request):
    """The delay of each protocol; Level is empty where seconds were set."""

    domain_name: str


@operation(DescribeLiveStreamDelayConfig)
async def describe_live_stream_delay_config(call: Call, request: DescribeLiveStreamDelayConfig) -> Fields:
    delays = await call.services.domains.delays(call.account, request.domain_name)
    return {
        "LiveStreamFlvDelayConfig": _delay(delays.flv or FLV_DEFAULT),
        "LiveStreamHlsDelayConfig": _delay(delays.hls or HLS_DEFAULT),
        "LiveStreamRtmpDelayConfig": _delay(delays.rtmp or RTMP_DEFAULT),
    }


def _delay(delay: Delay) -> dict[str, Any]:
    return {"Delay": delay.delay_s, "Level": delay.level or ""}


def _comma_list(parameter: str, text: str) -> list[str]:
    """The items of a comma list without the space around them. Raises ApiError when there is none."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise missing(parameter)
    return items
