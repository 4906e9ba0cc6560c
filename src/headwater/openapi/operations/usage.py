"""Operations on recorded usage: bandwidth and traffic of streaming and of ingest domains (reference control-plane 7.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headwater.domains.rules import format_time
from headwater.domains.usage import DAY_S, INTERVALS_S, POINT_S, SeriesPoint, Side, window
from headwater.openapi.errors import parameter_not_implemented
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import Request, read_time

HOUR_S = 3600


class UsageRequest(Request):
    """Which domains, when, how fine.

    domain_name: several with commas between them; none means all of the account's. interval: anything but what is on offer
    means 300. Filters by network operator and region are refused: usage is not recorded by them.
    """

    domain_name: str = ""
    start_time: str = ""
    end_time: str = ""
    interval: str = ""
    isp_name_en: str = ""
    location_name_en: str = ""


class DescribeLiveDomainBpsData(UsageRequest):
    """Bandwidth to viewers in bit/s; without times, of the last hour."""


class DescribeLiveDomainTrafficData(UsageRequest):
    """Bytes to viewers; without times, of the last day."""


class DescribeLiveDomainPushBpsData(UsageRequest):
    """Bandwidth from publishers in bit/s; without times, of the last day."""


class DescribeLiveDomainPushTrafficData(UsageRequest):
    """Bytes from publishers; without times, of the last day."""


@operation(DescribeLiveDomainBpsData)
async def describe_live_domain_bps_data(call: Call, request: DescribeLiveDomainBpsData) -> Fields:
    return await _series(
        call,
        request,
        "streaming",
        HOUR_S,
        "BpsDataPerInterval",
        lambda point: {
            "BpsValue": str(point.out_bps),
            "HttpBpsValue": str(point.out_plain_bps),
            "HttpsBpsValue": str(point.out_tls_bps),
        },
    )


@operation(DescribeLiveDomainTrafficData)
async def describe_live_domain_traffic_data(call: Call, request: DescribeLiveDomainTrafficData) -> Fields:
    return await _series(
        call,
        request,
        "streaming",
        DAY_S,
        "TrafficDataPerInterval",
        lambda point: {
            "TrafficValue": str(point.traffic.bytes_out),
            "HttpTrafficValue": str(point.traffic.bytes_out_plain),
            "HttpsTrafficValue": str(point.traffic.bytes_out_tls),
        },
    )


@operation(DescribeLiveDomainPushBpsData)
async def describe_live_domain_push_bps_data(call: Call, request: DescribeLiveDomainPushBpsData) -> Fields:
    return await _series(call, request, "ingest", DAY_S, "BpsDataPerInterval", lambda point: {"BpsValue": str(point.in_bps)})


@operation(DescribeLiveDomainPushTrafficData)
async def describe_live_domain_push_traffic_data(call: Call, request: DescribeLiveDomainPushTrafficData) -> Fields:
    return await _series(
        call, request, "ingest", DAY_S, "TrafficDataPerInterval", lambda point: {"TrafficValue": str(point.traffic.bytes_in)}
    )


async def _series(
    call: Call,
    request: UsageRequest,
    side: Side,
    span_s: int,
    name: str,
    values: Callable[[SeriesPoint], dict[str, str]],
) -> Fields:
    for parameter, text in (("IspNameEn", request.isp_name_en), ("LocationNameEn", request.location_name_en)):
        if text:
            raise parameter_not_implemented(parameter)
    start_s, end_s = window(
        read_time(request.start_time, "InvalidStartTime.Malformed") if request.start_time else None,
        read_time(request.end_time, "InvalidEndTime.Malformed") if request.end_time else None,
        span_s,
        call.services.usage.now_s,
    )
    interval_s = _interval_s(request.interval)
    points: Sequence[SeriesPoint] = await call.services.usage.series(
        call.account,
        side,
        [item.strip() for item in request.domain_name.split(",") if item.strip()],
        start_s,
        end_s,
        interval_s,
    )
    return {
        "DomainName": request.domain_name,
        "StartTime": format_time(start_s),
        "EndTime": format_time(end_s),
        "DataInterval": str(interval_s),
        name: {"DataModule": [{"TimeStamp": format_time(point.start_s), **values(point)} for point in points]},
    }


def _interval_s(text: str) -> int:
    return next((interval_s for interval_s in INTERVALS_S if str(interval_s) == text), POINT_S)
