"""Watermarks: pictures with a place, and the rules that say which streams get them (reference media-plane 2.10).

The center lays them over the renditions of a stream; the source stream stays as it is. A change reaches running renditions at
once.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.names import is_name
from headwater.access.plan import ANY, Watermark
from headwater.access.presence import stream_key
from headwater.cluster.interface import Cluster
from headwater.domains.errors import error, invalid, missing
from headwater.domains.pictures import EDGE_MAX, PictureError, fetch_picture
from headwater.domains.transcoding import main_domain
from headwater.store.database import Actor, Database
from headwater.store.models import Domain, WatermarkPicture, WatermarkRule, WatermarkTemplate

if TYPE_CHECKING:  # it imports `plan_part`
    from headwater.domains.plans import PlanPublisher

Corner = Literal["TopLeft", "TopRight", "BottomLeft", "BottomRight"]

TEMPLATES_MAX: Final = 100
"""Watermarks of an account: each is a picture in the database. Ours."""
RULES_MAX: Final = 100
"""Rules of a domain: they travel with its plan to every node. Ours."""
NAME_MAX, DESCRIPTION_MAX = 128, 512
"""Characters. Ours."""
PATTERN_MAX: Final = 255
TRANSPARENCY: Final = range(256)

_CHOICE = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_GROUP = rf"\({_CHOICE}(?:\|{_CHOICE})*\)|{_CHOICE}"
_PATTERN = re.compile(rf"\*|\*(?:{_GROUP})|(?:{_GROUP})\*", re.ASCII)


class Placement(msgspec.Struct, frozen=True):
    """How a picture lies on another one: its height and its distance from a corner, in pixels of ref_width x ref_height."""

    ref_width: int
    ref_height: int
    height: int
    x: float
    y: float
    corner: str
    transparency: int


class WatermarkRecord(msgspec.Struct, frozen=True):
    """A watermark template. rules: how many use it."""

    id: str
    domain: str
    name: str
    description: str
    picture_url: str
    placement: Placement
    rules: int


class RuleRecord(msgspec.Struct, frozen=True):
    """A rule; fields as of its row (`store.models.WatermarkRule`)."""

    id: str
    domain: str
    app: str
    stream: str
    template: str
    name: str
    description: str


class WatermarkPage(msgspec.Struct, frozen=True):
    """One page of templates; `total` counts all pages."""

    items: list[WatermarkRecord]
    total: int


class RulePage(msgspec.Struct, frozen=True):
    """One page of rules; `total` counts all pages."""

    items: list[RuleRecord]
    total: int


class WatermarkService:
    """Watermark templates of accounts and rules of main streaming domains. Methods raise DomainError for what they refuse.

    private_pictures: pictures may come from servers whose addresses are not public.
    """

    def __init__(
        self,
        database: Database,
        cluster: Cluster,
        plans: PlanPublisher,
        *,
        private_pictures: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._cluster = cluster
        self._plans = plans
        self._private_pictures = private_pictures
        self._clock = clock

    # Templates

    async def add(
        self,
        account_id: str,
        name: str,
        picture_url: str,
        placement: Placement,
        *,
        domain: str = "",
        description: str = "",
        actor: Actor,
    ) -> str:
        """Fetch the picture and keep it with its place (AddLiveStreamWatermark). Returns the id.

        domain: a main streaming domain that it is made for, "" for none; rules of any domain of the account may use it.
        Raises InvalidName, InvalidDescription, InvalidPictureUrl, Invalid... of the placement, QuotaExceeded.Watermark.
        """
        _check_texts(name, description)
        _check_placement(placement)
        async with self._database.read() as session:
            main = await main_domain(session, account_id, domain) if domain else None
            await _check_room(session, account_id)
        data = await self._picture(picture_url)
        id_, now_s = str(uuid.uuid4()), self._clock()
        async with self._database.change(account_id, actor, "AddLiveStreamWatermark", id_, now_s) as change:
            await _check_room(change.session, account_id)
            if main is not None:
                await main_domain(change.session, account_id, main)
            row = WatermarkTemplate(
                id=id_,
                account=account_id,
                domain=main,
                name=name,
                description=description,
                picture_url=picture_url,
                picture=_digest(data),
                created_s=now_s,
                **msgspec.structs.asdict(placement),
            )
            change.session.add(row)
            await change.session.flush()
            change.session.add(WatermarkPicture(template=id_, sha256=row.picture, data=data))
            change.after = _record(row, 0)
        return id_

    async def update(
        self,
        account_id: str,
        id_: str,
        *,
        name: str | None = None,
        description: str | None = None,
        picture_url: str | None = None,
        ref_width: int | None = None,
        ref_height: int | None = None,
        height: int | None = None,
        x: float | None = None,
        y: float | None = None,
        corner: str | None = None,
        transparency: int | None = None,
        actor: Actor,
    ) -> None:
        """Change what is given (UpdateLiveStreamWatermark); a picture is fetched again. Raises as `add`, and
        InvalidTemplateId.NotFound.
        """
        data = None
        if picture_url is not None:
            async with self._database.read() as session:
                await _template(session, account_id, id_)
            data = await self._picture(picture_url)
        given = {
            "ref_width": ref_width,
            "ref_height": ref_height,
            "height": height,
            "x": x,
            "y": y,
            "corner": corner,
            "transparency": transparency,
        }
        async with self._database.change(account_id, actor, "UpdateLiveStreamWatermark", id_, self._clock()) as change:
            session = change.session
            row = await _template(session, account_id, id_)
            change.before = _record(row, 0)
            placement = msgspec.structs.replace(_placement(row), **{key: v for key, v in given.items() if v is not None})
            _check_texts(row.name if name is None else name, row.description if description is None else description)
            _check_placement(placement)
            row.name = row.name if name is None else name
            row.description = row.description if description is None else description
            for key, value in msgspec.structs.asdict(placement).items():
                setattr(row, key, value)
            if data is not None and picture_url is not None:
                row.picture_url, row.picture = picture_url, _digest(data)
                picture = await session.get_one(WatermarkPicture, id_)
                picture.sha256, picture.data = row.picture, data
            change.after = _record(row, 0)
            used = select(WatermarkRule.domain).where(WatermarkRule.template == id_).distinct()
            domains = list(await session.scalars(used))
        await self._plans.publish(domains)

    async def remove(self, account_id: str, id_: str, *, actor: Actor) -> None:
        """Forget a template (DeleteLiveStreamWatermark). Raises InvalidTemplateId.NotFound, Watermark.InUse."""
        async with self._database.change(account_id, actor, "DeleteLiveStreamWatermark", id_, self._clock()) as change:
            row = await _template(change.session, account_id, id_)
            used = select(func.count()).select_from(WatermarkRule).where(WatermarkRule.template == id_)
            if await change.session.scalar(used):
                raise error("Watermark.InUse", "Delete its rules first.")
            change.before = _record(row, 0)
            await change.session.delete(row)

    async def templates(
        self, account_id: str, *, domain: str = "", keyword: str = "", page_number: int = 1, page_size: int = 100
    ) -> WatermarkPage:
        """The account's templates, the newest first (DescribeLiveStreamWatermarks).

        domain: only those that were made for it. keyword: an id, or a part of a name.
        """
        async with self._database.read() as session:
            where = [WatermarkTemplate.account == account_id]
            if domain:
                where.append(WatermarkTemplate.domain == await main_domain(session, account_id, domain))
            if keyword:
                part = WatermarkTemplate.name.contains(keyword, autoescape=True)
                where.append(or_(WatermarkTemplate.id == keyword, part))
            total = await session.scalar(select(func.count()).select_from(WatermarkTemplate).where(*where)) or 0
            page = select(WatermarkTemplate).where(*where).order_by(WatermarkTemplate.created_s.desc(), WatermarkTemplate.id)
            rows = list(await session.scalars(page.limit(page_size).offset((page_number - 1) * page_size)))
            counted = (
                select(WatermarkRule.template, func.count())
                .where(WatermarkRule.template.in_([row.id for row in rows]))
                .group_by(WatermarkRule.template)
            )
            rules: dict[str, int] = {template: int(count) for template, count in (await session.execute(counted)).all()}
            return WatermarkPage([_record(row, rules.get(row.id, 0)) for row in rows], total)

    async def picture(self, account_id: str, id_: str) -> bytes:
        """The PNG or JPEG of a template. Raises InvalidTemplateId.NotFound."""
        async with self._database.read() as session:
            await _template(session, account_id, id_)
            return (await session.get_one(WatermarkPicture, id_)).data

    # Rules

    async def add_rule(
        self,
        account_id: str,
        name: str,
        app: str,
        stream: str,
        template: str,
        *,
        title: str,
        description: str = "",
        actor: Actor,
    ) -> str:
        """Lay a watermark over streams of a domain (AddLiveStreamWatermarkRule). Returns the id.

        stream: a name, `*`, or one `*` before or behind a text or a group such as `(t1|t2)`. Raises InvalidApp, InvalidStream,
        InvalidName, InvalidDescription, InvalidTemplateId.NotFound, ConfigAlreadyExists, QuotaExceeded.WatermarkRule.
        """
        _check_texts(title, description)
        _check_streams(app, stream)
        id_, now_s = str(uuid.uuid4()), self._clock()
        async with self._database.change(account_id, actor, "AddLiveStreamWatermarkRule", id_, now_s) as change:
            session = change.session
            domain = await main_domain(session, account_id, name)
            await _template(session, account_id, template)
            if await _rule_of(session, domain, app, stream) is not None:
                raise error("ConfigAlreadyExists")
            await _check_rules(session, domain)
            row = WatermarkRule(
                id=id_,
                domain=domain,
                app=app,
                stream=stream,
                template=template,
                name=title,
                description=description,
                created_s=now_s,
            )
            session.add(row)
            change.after = _rule(row)
        await self._plans.publish([domain])
        return id_

    async def update_rule(
        self,
        account_id: str,
        id_: str,
        *,
        title: str | None = None,
        description: str | None = None,
        template: str | None = None,
        actor: Actor,
    ) -> None:
        """Change what is given (UpdateLiveStreamWatermarkRule).

        Raises InvalidRuleId.NotFound, InvalidTemplateId.NotFound, InvalidName, InvalidDescription.
        """
        async with self._database.change(account_id, actor, "UpdateLiveStreamWatermarkRule", id_, self._clock()) as change:
            session = change.session
            row = await _owned_rule(session, account_id, id_)
            change.before = _rule(row)
            _check_texts(row.name if title is None else title, row.description if description is None else description)
            if template is not None:
                row.template = (await _template(session, account_id, template)).id
            row.name = row.name if title is None else title
            row.description = row.description if description is None else description
            change.after = _rule(row)
            domain = row.domain
        await self._plans.publish([domain])

    async def remove_rule(
        self, account_id: str, name: str, *, id_: str = "", app: str = "", stream: str = "", actor: Actor
    ) -> None:
        """Delete a rule by its id, or by app and stream as they were added (DeleteLiveStreamWatermarkRule).

        Raises MissingRuleId, InvalidRuleId.NotFound.
        """
        if not id_ and not (app and stream):
            raise missing("RuleId", "Without it, App and Stream are.")
        object_ = id_ or f"{name.lower()}/{app}/{stream}"
        async with self._database.change(account_id, actor, "DeleteLiveStreamWatermarkRule", object_, self._clock()) as change:
            session = change.session
            domain = await main_domain(session, account_id, name)
            row = await session.get(WatermarkRule, id_) if id_ else await _rule_of(session, domain, app, stream)
            if row is None or row.domain != domain or app not in ("", row.app) or stream not in ("", row.stream):
                raise error("InvalidRuleId.NotFound")
            change.before = _rule(row)
            await session.delete(row)
        await self._plans.publish([domain])

    async def rules(self, account_id: str, *, domain: str = "", page_number: int = 1, page_size: int = 100) -> RulePage:
        """The rules of a domain, or of all domains of the account, by domain, app and stream
        (DescribeLiveStreamWatermarkRules).
        """
        async with self._database.read() as session:
            if domain:
                where = WatermarkRule.domain == await main_domain(session, account_id, domain)
            else:
                where = WatermarkRule.domain.in_(select(Domain.name).where(Domain.account == account_id))
            total = await session.scalar(select(func.count()).select_from(WatermarkRule).where(where)) or 0
            page = select(WatermarkRule).where(where).order_by(WatermarkRule.domain, WatermarkRule.app, WatermarkRule.stream)
            rows = await session.scalars(page.limit(page_size).offset((page_number - 1) * page_size))
            return RulePage([_rule(row) for row in rows], total)

    async def switch(self, account_id: str, name: str, app: str, stream: str, template: str, *, actor: Actor) -> None:
        """Give a stream that is live another watermark at once (DynamicUpdateWaterMarkStreamRule).

        It stays the rule of exactly this stream. Raises InvalidApp, InvalidStream, InvalidStream.NotFound (it is not live),
        InvalidTemplateId.NotFound, QuotaExceeded.WatermarkRule.
        """
        if not is_name(app):
            raise invalid("App")
        if not is_name(stream):
            raise invalid("Stream")
        object_ = f"{name.lower()}/{app}/{stream}"
        now_s = self._clock()
        async with self._database.change(account_id, actor, "DynamicUpdateWaterMarkStreamRule", object_, now_s) as change:
            session = change.session
            domain = await main_domain(session, account_id, name)
            await _template(session, account_id, template)
            if await self._cluster.get(stream_key(domain, app, stream)) is None:
                raise error("InvalidStream.NotFound", "It is not live.")
            row = await _rule_of(session, domain, app, stream)
            if row is None:
                await _check_rules(session, domain)
                row = WatermarkRule(
                    id=str(uuid.uuid4()),
                    domain=domain,
                    app=app,
                    stream=stream,
                    template=template,
                    name=stream[:NAME_MAX],
                    description="",
                    created_s=now_s,
                )
                session.add(row)
            else:
                change.before = _rule(row)
                row.template = template
            change.after = _rule(row)
        await self._plans.publish([domain])

    async def _picture(self, url: str) -> bytes:
        try:
            return await fetch_picture(url, allow_private=self._private_pictures)
        except PictureError as fault:
            raise invalid("PictureUrl", str(fault)) from None


# For the live center


async def picture_of(session: AsyncSession, sha256: str) -> bytes | None:
    """The picture that `access.plan.Watermark.picture` names; None if it is gone."""
    return await session.scalar(select(WatermarkPicture.data).where(WatermarkPicture.sha256 == sha256).limit(1))


async def plan_part(session: AsyncSession, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`watermarks` of the plans of these domains."""
    found: dict[str, list[Watermark]] = {}
    rows = (
        select(WatermarkRule, WatermarkTemplate)
        .join(WatermarkTemplate, WatermarkTemplate.id == WatermarkRule.template)
        .where(WatermarkRule.domain.in_(names))
        .order_by(WatermarkRule.domain, WatermarkRule.app, WatermarkRule.stream)
    )
    for rule, template in (await session.execute(rows)).all():
        fields = {**msgspec.structs.asdict(_placement(template)), "rule": rule.id, "app": rule.app, "stream": rule.stream}
        mark = msgspec.convert({**fields, "picture": template.picture}, Watermark)
        found.setdefault(rule.domain, []).append(mark)
    return {name: {"watermarks": tuple(marks)} for name, marks in found.items()}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check_texts(name: str, description: str) -> None:
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise invalid("Name", f"It has 1 to {NAME_MAX} characters.")
    if len(description) > DESCRIPTION_MAX:
        raise invalid("Description", f"It has at most {DESCRIPTION_MAX} characters.")


def _check_placement(given: Placement) -> None:
    for name, edge in (("RefWidth", given.ref_width), ("RefHeight", given.ref_height), ("Height", given.height)):
        if not 1 <= edge <= EDGE_MAX:
            raise invalid(name, f"It is 1 to {EDGE_MAX}.")
    if given.height > given.ref_height:
        raise invalid("Height", "It is at most RefHeight.")
    for name, offset, edge in (("XOffset", given.x, given.ref_width), ("YOffset", given.y, given.ref_height)):
        if not math.isfinite(offset) or not 0 <= offset <= edge:
            raise invalid(name, f"It is 0 to {edge}, the picture's own edge.")
    if given.corner not in get_args(Corner):
        raise invalid("OffsetCorner", f"It is one of {', '.join(get_args(Corner))}.")
    if given.transparency not in TRANSPARENCY:
        raise invalid("Transparency", "It is 0 (invisible) to 255.")


def _check_streams(app: str, stream: str) -> None:
    if app != ANY and not is_name(app):
        raise invalid("App")
    if len(stream) > PATTERN_MAX or not (is_name(stream) or _PATTERN.fullmatch(stream)):
        raise invalid("Stream", "It is a name, `*`, or one `*` before or behind a text or a group such as `(t1|t2)`.")


async def _check_room(session: AsyncSession, account_id: str) -> None:
    count = select(func.count()).select_from(WatermarkTemplate).where(WatermarkTemplate.account == account_id)
    if (await session.scalar(count) or 0) >= TEMPLATES_MAX:
        raise error("QuotaExceeded.Watermark")


async def _check_rules(session: AsyncSession, domain: str) -> None:
    count = select(func.count()).select_from(WatermarkRule).where(WatermarkRule.domain == domain)
    if (await session.scalar(count) or 0) >= RULES_MAX:
        raise error("QuotaExceeded.WatermarkRule")


async def _template(session: AsyncSession, account_id: str, id_: str) -> WatermarkTemplate:
    row = await session.get(WatermarkTemplate, id_)
    if row is None or row.account != account_id:
        raise error("InvalidTemplateId.NotFound")
    return row


async def _rule_of(session: AsyncSession, domain: str, app: str, stream: str) -> WatermarkRule | None:
    rules = select(WatermarkRule).where(WatermarkRule.domain == domain)
    return await session.scalar(rules.where(WatermarkRule.app == app, WatermarkRule.stream == stream))


async def _owned_rule(session: AsyncSession, account_id: str, id_: str) -> WatermarkRule:
    row = await session.get(WatermarkRule, id_)
    domain = None if row is None else await session.get(Domain, row.domain)
    if row is None or domain is None or domain.account != account_id:
        raise error("InvalidRuleId.NotFound")
    return row


def _placement(row: WatermarkTemplate) -> Placement:
    return msgspec.convert(row, Placement, from_attributes=True)


def _record(row: WatermarkTemplate, rules: int) -> WatermarkRecord:
    return WatermarkRecord(row.id, row.domain or "", row.name, row.description, row.picture_url, _placement(row), rules)


def _rule(row: WatermarkRule) -> RuleRecord:
    return msgspec.convert(row, RuleRecord, from_attributes=True)
