"""Operations on domains: their life, their lists and the binding of ingest to streaming domains (reference control-plane 2)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from headwater.access.policy import DomainType
from headwater.domains.rules import SearchType, format_time
from headwater.domains.service import Status
from headwater.openapi.errors import parameter_not_implemented
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import PageNumber, Request, Tag


class AddLiveDomain(Request):
    """Add a domain. CheckUrl, the health check of an origin, is ignored: a live domain here has no origin."""

    domain_name: str
    live_domain_type: DomainType
    region: str
    scope: Literal["domestic", "overseas", "global"] = "domestic"
    resource_group_id: str = ""
    top_level_domain: str = ""
    tag: tuple[Tag, ...] = ()


@operation(AddLiveDomain)
async def add_live_domain(call: Call, request: AddLiveDomain) -> Fields:
    if request.tag:
        raise parameter_not_implemented("Tag")
    if request.top_level_domain:
        raise parameter_not_implemented("TopLevelDomain")
    await call.services.domains.add(
        call.account,
        request.domain_name,
        request.live_domain_type,
        request.region,
        request.scope,
        resource_group_id=request.resource_group_id,
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
    tag: tuple[Tag, ...] = ()


@operation(DescribeLiveUserDomains)
async def describe_live_user_domains(call: Call, request: DescribeLiveUserDomains) -> Fields:
    if request.tag:
        raise parameter_not_implemented("Tag")
    page = await call.services.domains.list_domains(
        call.account,
        search=request.domain_name,
        search_type=request.domain_search_type,
        status=request.domain_status or "",
        type_=request.live_domain_type or "",
        region=request.region_name,
        resource_group_id=request.resource_group_id,
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
    """One domain. It has no certificate of its own yet, hence SSLProtocol `off`."""

    domain_name: str


@operation(DescribeLiveDomainDetail)
async def describe_live_domain_detail(call: Call, request: DescribeLiveDomainDetail) -> Fields:
    domain = await call.services.domains.detail(call.account, request.domain_name)
    return {
        "DomainDetail": {
            "CertName": "",
            "Cname": domain.cname,
            "Description": domain.description,
            "DomainName": domain.name,
            "DomainStatus": domain.status,
            "GmtCreated": format_time(domain.created_s),
            "GmtModified": format_time(domain.modified_s),
            "LiveDomainType": domain.type,
            "Region": domain.region,
            "ResourceGroupId": domain.resource_group_id,
            "SSLProtocol": "off",
            "SSLPub": "",
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
