"""Tags and resource groups: a customer's own order among domains; media nodes know nothing of it."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import ColumnElement, delete, exists, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains.errors import error, invalid
from headwater.domains.owned import owned_domain
from headwater.store.database import Actor, Database
from headwater.store.models import Domain, DomainTag

TAGS_MAX = 20
"""Tags of one domain, and tags in one call (reference control-plane 2.2, Tags)."""
RESOURCES_MAX = 50
"""Domains in one call (there)."""
TEXT_MAX = 128
"""Characters of a key and of a value, as in the service's other products; the Live pages name no number."""
PAGE_SIZE = 50
"""Tags on one page of ListLiveTagResources, which lets nobody choose."""

_RESERVED = re.compile(r"\s*(aliyun|acs:)|.*https?://", re.IGNORECASE | re.DOTALL)
"""What no key or value may begin with or contain, as in the service's other products."""
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
"""A resource group's id, such as `rg-acfmxgv2v5iguvq`."""

Tag = tuple[str, str]
"""Key and value."""


class TagPage(msgspec.Struct, frozen=True):
    """Some tags as (domain, key, value), by domain and key. next_token: what to ask the next page with; "" at the end."""

    items: list[tuple[str, str, str]]
    next_token: str


class GroupCount(msgspec.Struct, frozen=True):
    """A resource group ("" for none) and how many domains of the account are in it."""

    id: str
    domains: int


class TagService:
    """What an account says about its domains. Methods raise DomainError; foreign domains are as good as absent."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def tag(self, account_id: str, domains: Sequence[str], tags: Sequence[Tag], *, actor: Actor) -> None:
        """Give every tag to every domain; a key that a domain has already gets the new value (TagLiveResources).

        All or nothing. Raises InvalidTagKey.Malformed, InvalidTagValue.Malformed, Duplicate.TagKey, QuotaExceeded.Tag.
        """
        wanted = checked(tags)
        object_ = ",".join(domains)
        async with self._database.change(account_id, actor, "TagLiveResources", object_, self._clock()) as change:
            names = [(await owned_domain(change.session, account_id, domain)).name for domain in domains]
            change.before = await _of_domains(change.session, names)
            for name in dict.fromkeys(names):
                await put(change.session, name, wanted)
            change.after = await _of_domains(change.session, names)

    async def untag(self, account_id: str, domains: Sequence[str], keys: Iterable[str] | None = None, *, actor: Actor) -> None:
        """Take tags from domains, all of them if no keys are given; absent ones are ignored (UnTagLiveResources)."""
        object_ = ",".join(domains)
        async with self._database.change(account_id, actor, "UnTagLiveResources", object_, self._clock()) as change:
            names = [(await owned_domain(change.session, account_id, domain)).name for domain in domains]
            change.before = await _of_domains(change.session, names)
            chosen = delete(DomainTag).where(DomainTag.domain.in_(names))
            await change.session.execute(chosen if keys is None else chosen.where(DomainTag.key.in_(list(keys))))
            change.after = await _of_domains(change.session, names)

    async def tags_of(self, account_id: str, domains: Sequence[str], tags: Sequence[Tag] = ()) -> dict[str, dict[str, str]]:
        """The tags of these domains, of those that have any and, where tags are given, all of these (DescribeLiveTagResources).

        A tag with an empty value asks for the key alone.
        """
        async with self._database.read() as session:
            names = [(await owned_domain(session, account_id, domain)).name for domain in domains]
            found = await _of_domains(session, names)
        return {
            name: has
            for name, has in found.items()
            if has and all(key in has and value in ("", has[key]) for key, value in tags)
        }

    async def find(
        self, account_id: str, domains: Sequence[str] = (), tags: Sequence[Tag] = (), next_token: str = ""
    ) -> TagPage:
        """All tags of the account's domains that are among these and have all these tags (ListLiveTagResources).

        Either may be empty, then it does not narrow. Raises InvalidNextToken.
        """
        async with self._database.read() as session:
            where = [Domain.account == account_id, *tagged(tags)]
            if domains:
                names = [(await owned_domain(session, account_id, domain)).name for domain in domains]
                where.append(Domain.name.in_(names))
            if next_token:
                where.append(tuple_(DomainTag.domain, DomainTag.key) > tuple_(*_read_token(next_token)))
            rows = (
                await session.execute(
                    select(DomainTag.domain, DomainTag.key, DomainTag.value)
                    .join(Domain, Domain.name == DomainTag.domain)
                    .where(*where)
                    .order_by(DomainTag.domain, DomainTag.key)
                    .limit(PAGE_SIZE + 1)
                )
            ).all()
        items = [(domain, key, value) for domain, key, value in rows[:PAGE_SIZE]]
        return TagPage(items, _token(*items[-1][:2]) if len(rows) > PAGE_SIZE else "")

    async def all_tags(self, account_id: str) -> dict[str, list[str]]:
        """Every key that the account uses, with its values (DescribeLiveUserTags)."""
        async with self._database.read() as session:
            rows = await session.execute(
                select(DomainTag.key, DomainTag.value)
                .join(Domain, Domain.name == DomainTag.domain)
                .where(Domain.account == account_id)
                .distinct()
                .order_by(DomainTag.key, DomainTag.value)
            )
            found: dict[str, list[str]] = {}
            for key, value in rows:
                found.setdefault(key, []).append(value)
        return found

    async def move(self, account_id: str, domain: str, group: str, *, actor: Actor) -> None:
        """Put a domain into a resource group (ChangeLiveDomainResourceGroup). Raises InvalidNewResourceGroupId."""
        group = resource_group(group, "NewResourceGroupId")
        async with self._database.change(
            account_id, actor, "ChangeLiveDomainResourceGroup", domain.lower(), self._clock()
        ) as change:
            row = await owned_domain(change.session, account_id, domain)
            change.before = {"resource_group_id": row.resource_group_id}
            row.resource_group_id = group
            change.after = {"resource_group_id": group}

    async def groups(self, account_id: str) -> list[GroupCount]:
        """The resource groups that hold domains of the account, by id."""
        async with self._database.read() as session:
            rows = await session.execute(
                select(Domain.resource_group_id, func.count())
                .where(Domain.account == account_id)
                .group_by(Domain.resource_group_id)
                .order_by(Domain.resource_group_id)
            )
            return [GroupCount(group, number) for group, number in rows]


def resource_group(text: str, parameter: str = "ResourceGroupId") -> str:
    """The id of a resource group, checked. Groups are kept by another product of the service: any id of the right form will do.

    Raises Invalid<parameter>.
    """
    if not _GROUP.fullmatch(text):
        raise invalid(parameter)
    return text


def checked(tags: Sequence[Tag]) -> dict[str, str]:
    """Tags as a customer gives them, by key.

    Raises InvalidTagKey.Malformed, InvalidTagValue.Malformed, Duplicate.TagKey, QuotaExceeded.Tag.
    """
    for key, value in tags:
        if not key or not _is_text(key):
            raise error("InvalidTagKey.Malformed")
        if not _is_text(value):
            raise error("InvalidTagValue.Malformed")
    wanted = dict(tags)
    if len(wanted) != len(tags):
        raise error("Duplicate.TagKey")
    if len(wanted) > TAGS_MAX:
        raise error("QuotaExceeded.Tag")
    return wanted


async def put(session: AsyncSession, domain: str, tags: Mapping[str, str]) -> None:
    """Give checked tags to a domain within a change. Raises QuotaExceeded.Tag."""
    for key, value in tags.items():
        await session.merge(DomainTag(domain=domain, key=key, value=value))
    await session.flush()
    number = await session.scalar(select(func.count()).select_from(DomainTag).where(DomainTag.domain == domain)) or 0
    if number > TAGS_MAX:
        raise error("QuotaExceeded.Tag")


def tagged(tags: Sequence[Tag]) -> list[ColumnElement[bool]]:
    """Conditions on a Domain: it has all these tags. An empty value asks for the key alone."""
    conditions: list[ColumnElement[bool]] = []
    for key, value in tags:
        has = (DomainTag.domain == Domain.name) & (DomainTag.key == key)
        conditions.append(exists().where(has & (DomainTag.value == value) if value else has).correlate(Domain))
    return conditions


def _is_text(text: str) -> bool:
    return len(text) <= TEXT_MAX and (not text or text.isprintable()) and not _RESERVED.match(text)


async def _of_domains(session: AsyncSession, names: Iterable[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    rows = select(DomainTag).where(DomainTag.domain.in_(list(found))).order_by(DomainTag.domain, DomainTag.key)
    for row in await session.scalars(rows.execution_options(populate_existing=True)):
        found[row.domain][row.key] = row.value
    return found


def _token(domain: str, key: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((domain, key))).decode()


def _read_token(token: str) -> tuple[str, str]:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token.encode("ascii")), type=tuple[str, str])
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise invalid("NextToken") from None
