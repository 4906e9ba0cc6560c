"""Operations on domains: their life, their lists and the binding of ingest to streaming domains (reference control-plane 2)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from headwater.access.policy import DomainType
from headwater.domains.ownership import refusal
from headwater.domains.rules import SearchType, format_time
from headwater.domains.service import Status
from headwater.openapi.errors import invalid, parameter_not_implemented
from headwater.openapi.operations.tags import Tags, pairs
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import PageNumber, Request
from headwater.wording import sentence


class AddLiveDomain(Request):
    """Add a domain. CheckUrl, the health check of an origin, is ignored: a live domain here has no origin.

    TopLevelDomain, an access root that the service sets up for single large customers, means nothing here and is refused.
    """

    domain_name: str
    live_domain_type: DomainType
    region: str
    scope: Literal["domestic", "overseas", "global"] = "domestic"
    resource_group_id: str = ""
    top_level_domain: str = ""
    tag: Tags = ()


@operation(AddLiveDomain)
async def add_live_domain(call: Call, request: AddLiveDomain) -> Fields:
    if request.top_level_domain:
        raise parameter_not_implemented("TopLevelDomain", "Leave it out: every domain has its CNAME in the operator's zone.")
    await call.services.domains.add(
        call.account,
        request.domain_name,
        request.live_domain_type,
        request.region,
        request.scope,
        resource_group_id=request.resource_group_id,
        tags=pairs(request.tag),
        actor=call.actor,
    )
    return {}


class DeleteLiveDomain(Request):
    """Forget a domain and all that belongs to it."""

    domain_name: str


@operation(DeleteLiveDomain)
async def delete_live_domain(call: Call, request: DeleteLiveDomain) -> Fields:
    await call.services.domains.delete(call.account, request.domain_name, actor=call.actor)
    return {}


class StartLiveDomain(Request):
    """Put a domain online."""

    domain_name: str


@operation(StartLiveDomain)
async def start_live_domain(call: Call, request: StartLiveDomain) -> Fields:
    await call.services.domains.start(call.account, request.domain_name, actor=call.actor)
    return {}


class StopLiveDomain(Request):
    """Put a domain offline; its settings stay."""

    domain_name: str


@operation(StopLiveDomain)
async def stop_live_domain(call: Call, request: StopLiveDomain) -> Fields:
    await call.services.domains.stop(call.account, request.domain_name, actor=call.actor)
    return {}


class DescribeLiveUserDomains(Request):
    """Page through the account's domains."""

    domain_name: str = ""
    domain_search_type: SearchType = "fuzzy_match"
    domain_status: Status | None = None
    live_domain_type: DomainType | None = None
    region_name: str = ""
    resource_group_id: str = ""
    page_number: PageNumber = 1
    page_size: Annotated[int, msgspec.Meta(ge=1, le=50)] = 20
    tag: Tags = ()


@operation(DescribeLiveUserDomains)
async def describe_live_user_domains(call: Call, request: DescribeLiveUserDomains) -> Fields:
    page = await call.services.domains.list_domains(
        call.account,
        search=request.domain_name,
        search_type=request.domain_search_type,
        status=request.domain_status or "",
        type_=request.live_domain_type or "",
        region=request.region_name,
        resource_group_id=request.resource_group_id,
        tags=pairs(request.tag),
        page_number=request.page_number,
        page_size=request.page_size,
    )
    return {
        "Domains": {
            "PageData": [
                {
                    "Cname": domain.cname,
                    "Description": domain.description,
                    "DomainName": domain.name,
                    "GmtCreated": format_time(domain.created_s),
                    "GmtModified": format_time(domain.modified_s),
                    "LiveDomainStatus": domain.status,
                    "LiveDomainType": domain.type,
                    "RegionName": domain.region,
                    "ResourceGroupId": domain.resource_group_id,
                }
                for domain in page.items
            ]
        },
        "PageNumber": request.page_number,
        "PageSize": request.page_size,
        "TotalCount": page.total,
    }


class DescribeLiveDomainDetail(Request):
    """One domain. SSLPub is its certificate as PEM while HTTPS is on."""

    domain_name: str


@operation(DescribeLiveDomainDetail)
async def describe_live_domain_detail(call: Call, request: DescribeLiveDomainDetail) -> Fields:
    domain = await call.services.domains.detail(call.account, request.domain_name)
    https = await call.services.certificates.https(call.account, request.domain_name)
    certificate = https.certificate if https.enabled else None
    return {
        "DomainDetail": {
            "CertName": certificate.name if certificate else "",
            "Cname": domain.cname,
            "Description": domain.description,
            "DomainName": domain.name,
            "DomainStatus": domain.status,
            "GmtCreated": format_time(domain.created_s),
            "GmtModified": format_time(domain.modified_s),
            "LiveDomainType": domain.type,
            "Region": domain.region,
            "ResourceGroupId": domain.resource_group_id,
            "SSLProtocol": "on" if https.enabled else "off",
            "SSLPub": certificate.chain if certificate else "",
            "Scope": domain.scope,
        }
    }


class AddLiveDomainMapping(Request):
    """Bind an ingest domain to a streaming domain."""

    push_domain: str
    pull_domain: str


@operation(AddLiveDomainMapping)
async def add_live_domain_mapping(call: Call, request: AddLiveDomainMapping) -> Fields:
    await call.services.bindings.map(call.account, request.push_domain, request.pull_domain, actor=call.actor)
    return {}


class DeleteLiveDomainMapping(Request):
    """Undo the binding."""

    push_domain: str
    pull_domain: str


@operation(DeleteLiveDomainMapping)
async def delete_live_domain_mapping(call: Call, request: DeleteLiveDomainMapping) -> Fields:
    await call.services.bindings.unmap(call.account, request.push_domain, request.pull_domain, actor=call.actor)
    return {}


class DescribeLiveDomainMapping(Request):
    """The domains bound to this one; Type says what each of them is."""

    domain_name: str


@operation(DescribeLiveDomainMapping)
async def describe_live_domain_mapping(call: Call, request: DescribeLiveDomainMapping) -> Fields:
    mappings = await call.services.bindings.mappings(call.account, request.domain_name)
    return {"LiveDomainModels": {"LiveDomainModel": [{"DomainName": name, "Type": relation} for name, relation in mappings]}}


class AddLiveDomainPlayMapping(Request):
    """Make a streaming domain a sub-streaming domain of another one."""

    play_domain: str
    pull_domain: str


@operation(AddLiveDomainPlayMapping)
async def add_live_domain_play_mapping(call: Call, request: AddLiveDomainPlayMapping) -> Fields:
    await call.services.bindings.map_play(call.account, request.play_domain, request.pull_domain, actor=call.actor)
    return {}


class DeleteLiveDomainPlayMapping(Request):
    """Undo the binding of a sub-streaming domain."""

    play_domain: str
    pull_domain: str


@operation(DeleteLiveDomainPlayMapping)
async def delete_live_domain_play_mapping(call: Call, request: DeleteLiveDomainPlayMapping) -> Fields:
    await call.services.bindings.unmap_play(call.account, request.play_domain, request.pull_domain, actor=call.actor)
    return {}


class _Property(msgspec.Struct):
    coverage: str


class ModifyLiveDomainSchdmByProperty(Request):
    """Change the edge group. Property is JSON, `{"coverage": "overseas"}`."""

    domain_name: str
    property: str


@operation(ModifyLiveDomainSchdmByProperty)
async def modify_live_domain_schdm_by_property(call: Call, request: ModifyLiveDomainSchdmByProperty) -> Fields:
    try:
        coverage = msgspec.json.decode(request.property, type=_Property).coverage
    except (msgspec.DecodeError, UnicodeEncodeError) as fault:
        raise invalid("Property", sentence(fault)) from None
    await call.services.domains.set_scope(call.account, request.domain_name, coverage, actor=call.actor)
    return {}


class DescribeLiveDomainLimit(Request):
    """How many streams a main streaming domain takes, and has. The same of its renditions; it relays none yet."""

    domain_name: str


@operation(DescribeLiveDomainLimit)
async def describe_live_domain_limit(call: Call, request: DescribeLiveDomainLimit) -> Fields:
    limit = await call.services.streams.limit(call.account, request.domain_name)
    renditions, renditions_max = await call.services.transcoding.limit(call.account, request.domain_name)
    return {
        "LiveDomainLimitList": {
            "LiveDomainLimit": [
                {
                    "DomainName": limit.domain,
                    "LimitNum": limit.streams_max,
                    "CurrentNum": limit.streams,
                    "LimitTranscodeNum": renditions_max,
                    "CurrentTranscodeNum": renditions,
                    "LimitTransferNum": 0,
                    "CurrentTransferNum": 0,
                }
            ]
        }
    }


class DescribeLiveVerifyContent(Request):
    """The text by which an account proves that it owns a domain."""

    domain_name: str


@operation(DescribeLiveVerifyContent)
async def describe_live_verify_content(call: Call, request: DescribeLiveVerifyContent) -> Fields:
    challenge = await call.services.ownership.content(call.account, request.domain_name)
    return {"Content": challenge.content}


class VerifyLiveDomainOwner(Request):
    """Look for that text in DNS or on the web server. The error says what was found instead."""

    domain_name: str
    verify_type: Literal["dnsCheck", "fileCheck"]


@operation(VerifyLiveDomainOwner)
async def verify_live_domain_owner(call: Call, request: VerifyLiveDomainOwner) -> Fields:
    result = await call.services.ownership.verify(call.account, request.domain_name, request.verify_type, actor=call.actor)
    if not result.passed:
        raise refusal(result)
    return {"Content": result.challenge.content}
