"""Operations on tags and resource groups (reference control-plane 2.2, Tags)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from headwater.domains.tags import RESOURCES_MAX, TAGS_MAX
from headwater.openapi.errors import missing
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import Request, Tag

ResourceType = Literal["DOMAIN"]
ResourceIds = Annotated[tuple[str, ...], msgspec.Meta(max_length=RESOURCES_MAX)]
Tags = Annotated[tuple[Tag, ...], msgspec.Meta(max_length=TAGS_MAX)]


class TagLiveResources(Request):
    """Give tags to domains."""

    resource_id: ResourceIds
    resource_type: ResourceType
    tag: Tags


@operation(TagLiveResources)
async def tag_live_resources(call: Call, request: TagLiveResources) -> Fields:
    await call.services.tags.tag(call.account, request.resource_id, pairs(request.tag), actor=call.actor)
    return {}


class UnTagLiveResources(Request):
    """Take tags from domains: the named ones, or all of them, if All says so and none is named."""

    resource_id: ResourceIds
    resource_type: ResourceType
    all: bool = False
    tag_key: Annotated[tuple[str, ...], msgspec.Meta(max_length=TAGS_MAX)] = ()


@operation(UnTagLiveResources)
async def un_tag_live_resources(call: Call, request: UnTagLiveResources) -> Fields:
    if not request.tag_key and not request.all:
        raise missing("TagKey")
    await call.services.tags.untag(call.account, request.resource_id, request.tag_key or None, actor=call.actor)
    return {}


class DescribeLiveTagResources(Request):
    """The tags of the named domains."""

    resource_id: ResourceIds
    resource_type: ResourceType
    tag: Tags = ()


@operation(DescribeLiveTagResources)
async def describe_live_tag_resources(call: Call, request: DescribeLiveTagResources) -> Fields:
    found = await call.services.tags.tags_of(call.account, request.resource_id, pairs(request.tag))
    return {
        "TagResources": [
            {"ResourceId": domain, "Tag": [{"Key": key, "Value": value} for key, value in tags.items()]}
            for domain, tags in found.items()
        ]
    }


class ListLiveTagResources(Request):
    """Page through the tags of the named domains, or of those that have the given tags.

    TagOwnerBid, which tells the service's own businesses apart, is ignored: there is one here.
    """

    resource_type: ResourceType
    next_token: str = ""
    resource_id: ResourceIds = ()
    tag: Tags = ()
    tag_owner_bid: str = ""
    tag_owner_uid: str = ""


@operation(ListLiveTagResources)
async def list_live_tag_resources(call: Call, request: ListLiveTagResources) -> Fields:
    if not request.resource_id and not request.tag:
        raise missing("ResourceId")
    items: list[tuple[str, str, str]] = []
    next_token = ""
    if request.tag_owner_uid in ("", call.account):  # another account's tags are not this one's to see
        page = await call.services.tags.find(call.account, request.resource_id, pairs(request.tag), request.next_token)
        items, next_token = page.items, page.next_token
    return {
        "NextToken": next_token,
        "TagResources": {
            "TagResource": [
                {"ResourceId": domain, "ResourceType": "DOMAIN", "TagKey": key, "TagValue": value}
                for domain, key, value in items
            ]
        },
    }


class DescribeLiveUserTags(Request):
    """Every tag that the account uses."""


@operation(DescribeLiveUserTags)
async def describe_live_user_tags(call: Call, _: DescribeLiveUserTags) -> Fields:
    found = await call.services.tags.all_tags(call.account)
    return {"Tags": [{"Key": key, "Value": values} for key, values in found.items()]}


class ChangeLiveDomainResourceGroup(Request):
    """Put a domain into a resource group."""

    domain_name: str
    new_resource_group_id: str


@operation(ChangeLiveDomainResourceGroup)
async def change_live_domain_resource_group(call: Call, request: ChangeLiveDomainResourceGroup) -> Fields:
    await call.services.tags.move(call.account, request.domain_name, request.new_resource_group_id, actor=call.actor)
    return {}


def pairs(tags: tuple[Tag, ...]) -> list[tuple[str, str]]:
    """Tags as the services take them."""
    return [(tag.key, tag.value) for tag in tags]
