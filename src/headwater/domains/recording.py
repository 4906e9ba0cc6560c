"""Recording templates: what is recorded of which streams into which bucket (reference media-plane 3.1).

A template is for one stream, for all streams of an app or for all of a domain; a stream is recorded by the one that names it
most exactly, from its next push on. Templates of the media library (`domains.library`) count among them: a stream is recorded
to the one or the other. The recording itself is the live center's work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.names import is_name
from headwater.access.plan import ANY, Record, RecordFormat
from headwater.cluster.centers import CenterError, CenterRefusal, Centers
from headwater.domains import library, record_rules
from headwater.domains.bindings import owned_main_domain
from headwater.domains.buckets import Buckets
from headwater.domains.errors import Code, error, invalid
from headwater.domains.record_keys import check_new
from headwater.domains.record_rules import GivenFormat, OnDemand
from headwater.store.database import Actor, Database
from headwater.store.models import RecordTemplate

if TYPE_CHECKING:  # it imports `plan_part`
    from headwater.domains.plans import PlanPublisher

REFUSALS: Final[tuple[Code, ...]] = (
    "ConfigNotFound",
    "InvalidStream.NotFound",
    "TaskAlreadyStarted",
    "TaskNotFound",
    "TaskNotStopped",
)
"""Why the center does not obey a command: no template, no live stream, or a recording in another state."""

Order = Literal["asc", "desc"]
Command = Literal["start", "stop", "cancel_delay", "restart"]


class Template(msgspec.Struct, frozen=True):
    """A recording template; fields as of `access.plan.Record`."""

    domain: str
    app: str
    stream: str
    endpoint: str
    bucket: str
    on_demand: OnDemand
    delay_s: int
    start_s: float
    end_s: float
    formats: tuple[RecordFormat, ...]
    rendition_formats: tuple[RecordFormat, ...]
    renditions: tuple[str, ...]
    created_s: float


class TemplatePage(msgspec.Struct, frozen=True):
    """One page of templates; `total` counts all pages."""

    items: list[Template]
    total: int


class RecordingService:
    """Recording templates of main streaming domains, and recording by hand.

    Methods raise DomainError for what they refuse: InvalidDomain.NotFound, IllegalOperation for other domains.
    """

    def __init__(
        self,
        database: Database,
        plans: PlanPublisher,
        buckets: Buckets,
        centers: Centers,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._plans = plans
        self._buckets = buckets
        self._centers = centers
        self._clock = clock

    async def add(
        self,
        account_id: str,
        name: str,
        app: str,
        stream: str = ANY,
        *,
        endpoint: str,
        bucket: str,
        formats: Sequence[GivenFormat] = (),
        rendition_formats: Sequence[GivenFormat] = (),
        renditions: Sequence[str] = (),
        on_demand: int = 0,
        delay_s: int | None = None,
        start_time: str = "",
        end_time: str = "",
        actor: Actor,
    ) -> None:
        """Record some streams from their next push on (AddLiveAppRecordConfig).

        Raises what `record_rules` raises, InvalidOssEndpoint.Malformed, InvalidOssBucket.Malformed, InvalidOssBucket.NotFound,
        ConfigAlreadyExists, QuotaExceeded.RecordConfig.
        """
        app, stream = record_rules.names(app, stream)
        now_s = self._clock()
        found = record_rules.formats(formats)
        of_renditions = record_rules.formats(rendition_formats)
        start_s, end_s = record_rules.period(start_time, end_time, stream, now_s)
        template = Template(
            domain="",
            app=app,
            stream=stream,
            endpoint=endpoint,
            bucket=bucket,
            on_demand=record_rules.on_demand(on_demand),
            delay_s=record_rules.DELAY_DEFAULT_S if delay_s is None else record_rules.delay_s(delay_s),
            start_s=start_s,
            end_s=end_s,
            formats=found,
            rendition_formats=of_renditions,
            renditions=record_rules.renditions(renditions, found, of_renditions),
            created_s=now_s,
        )
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
            await check_new(session, domain, app, stream)
        template = msgspec.structs.replace(
            template, domain=domain, endpoint=await self._buckets.check(account_id, endpoint, bucket)
        )
        async with self._database.change(
            account_id, actor, "AddLiveAppRecordConfig", f"{domain}/{app}/{stream}", now_s
        ) as change:
            await owned_main_domain(change.session, account_id, name)
            await check_new(change.session, domain, app, stream)
            await self._buckets.claim(change.session, account_id, template.endpoint, bucket, now_s)
            change.session.add(RecordTemplate(**_columns(template)))
            change.after = template
        await self._plans.publish([domain])

    async def update(
        self,
        account_id: str,
        name: str,
        app: str,
        stream: str = ANY,
        *,
        endpoint: str,
        formats: Sequence[GivenFormat] | None = None,
        rendition_formats: Sequence[GivenFormat] | None = None,
        renditions: Sequence[str] | None = None,
        on_demand: int | None = None,
        delay_s: int | None = None,
        start_time: str = "",
        end_time: str = "",
        actor: Actor,
    ) -> None:
        """Change what is given, from the next push on (UpdateLiveAppRecordConfig); the bucket stays.

        Formats that are given take the place of those that were: see `record_rules.formats`. Raises as `add` does, and
        ConfigNotFound.
        """
        app, stream = record_rules.names(app, stream)
        now_s = self._clock()
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
            before = _template(await _row(session, domain, app, stream))
        found = before.formats if formats is None else record_rules.formats(formats, before.formats)
        of_renditions = (
            before.rendition_formats
            if rendition_formats is None
            else record_rules.formats(rendition_formats, before.rendition_formats or before.formats)
        )
        start_s, end_s = before.start_s, before.end_s
        if start_time or end_time:
            start_s, end_s = record_rules.period(start_time, end_time, stream, now_s)
        after = msgspec.structs.replace(
            before,
            endpoint=await self._buckets.check(account_id, endpoint, before.bucket),
            on_demand=before.on_demand if on_demand is None else record_rules.on_demand(on_demand),
            delay_s=before.delay_s if delay_s is None else record_rules.delay_s(delay_s),
            start_s=start_s,
            end_s=end_s,
            formats=found,
            rendition_formats=of_renditions,
            renditions=record_rules.renditions(before.renditions if renditions is None else renditions, found, of_renditions),
        )
        async with self._database.change(
            account_id, actor, "UpdateLiveAppRecordConfig", f"{domain}/{app}/{stream}", now_s
        ) as change:
            await owned_main_domain(change.session, account_id, name)
            row = await _row(change.session, domain, app, stream)
            if _template(row) != before:  # somebody else was faster
                raise error("ServiceBusy")
            await self._buckets.claim(change.session, account_id, after.endpoint, after.bucket, now_s)
            for column, value in _columns(after).items():
                setattr(row, column, value)
            change.before, change.after = before, after
        await self._plans.publish([domain])

    async def remove(self, account_id: str, name: str, app: str, stream: str = ANY, *, actor: Actor) -> None:
        """Remove the template of exactly this app and stream (DeleteLiveAppRecordConfig). Raises ConfigNotFound."""
        app, stream = record_rules.names(app, stream)
        async with self._database.change(
            account_id, actor, "DeleteLiveAppRecordConfig", f"{name.lower()}/{app}/{stream}", self._clock()
        ) as change:
            domain = await owned_main_domain(change.session, account_id, name)
            row = await _row(change.session, domain, app, stream)
            change.before = _template(row)
            await change.session.delete(row)
        await self._plans.publish([domain])

    async def templates(
        self,
        account_id: str,
        name: str,
        *,
        app: str = "",
        stream: str = "",
        order: Order = "asc",
        page_number: int = 1,
        page_size: int = 10,
    ) -> TemplatePage:
        """The templates of a domain in the order in which they were made (DescribeLiveRecordConfig); "" matches all."""
        async with self._database.read() as session:
            where = [RecordTemplate.domain == await owned_main_domain(session, account_id, name)]
            for column, wanted in ((RecordTemplate.app, app), (RecordTemplate.stream, stream)):
                if wanted:
                    where.append(column == wanted)
            total = await session.scalar(select(func.count()).select_from(RecordTemplate).where(*where)) or 0
            page = select(RecordTemplate).where(*where).limit(page_size).offset((page_number - 1) * page_size)
            page = page.order_by(RecordTemplate.id.desc() if order == "desc" else RecordTemplate.id)
            return TemplatePage([_template(row) for row in await session.scalars(page)], total)

    async def command(self, account_id: str, name: str, app: str, stream: str, command: Command, *, actor: Actor) -> None:
        """Start, stop or cut the recording of a live stream (RealTimeRecordCommand).

        `start` begins it, `stop` pauses it (its files close after the template's delay), `cancel_delay` closes the files of a
        stopped one now, `restart` closes the files and begins anew. Raises InvalidAppName, InvalidStreamName, REFUSALS of the
        center, ServiceUnavailable if no center answers.
        """
        if not is_name(app):
            raise invalid("AppName")
        if not is_name(stream):
            raise invalid("StreamName")
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
        question = {"domain": domain, "app": app, "stream": stream, "command": command}
        try:
            await self._centers.ask("POST", "/record/command", question)
        except CenterRefusal as refusal:
            known = next((code for code in REFUSALS if code == refusal.code), None)
            raise error(known or "ServiceUnavailable", "" if known else f"{refusal}.") from None
        except CenterError as fault:
            raise error("ServiceUnavailable", f"{fault}.") from None
        async with self._database.change(
            account_id, actor, "RealTimeRecordCommand", f"{domain}/{app}/{stream}", self._clock()
        ) as change:
            change.after = {"command": command}


async def plan_part(session: AsyncSession, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`records` of the plans of these domains."""
    found: dict[str, list[Record]] = {}
    rows = select(RecordTemplate).where(RecordTemplate.domain.in_(names)).order_by(RecordTemplate.id)
    for row in await session.scalars(rows):
        item = _template(row)
        record = Record(
            app=item.app,
            stream=item.stream,
            endpoint=item.endpoint,
            bucket=item.bucket,
            on_demand=item.on_demand,
            delay_s=item.delay_s,
            start_s=int(item.start_s),
            end_s=int(item.end_s),
            formats=item.formats,
            rendition_formats=item.rendition_formats,
            renditions=item.renditions,
        )
        found.setdefault(row.domain, []).append(record)
    for domain, record in await library.records(session, names):
        found.setdefault(domain, []).append(record)
    return {name: {"records": tuple(records)} for name, records in found.items()}


async def _row(session: AsyncSession, domain: str, app: str, stream: str) -> RecordTemplate:
    wanted = select(RecordTemplate).where(
        RecordTemplate.domain == domain, RecordTemplate.app == app, RecordTemplate.stream == stream
    )
    row = await session.scalar(wanted)
    if row is None:
        raise error("ConfigNotFound", "Exactly this app and stream have no recording template.")
    return row


def _template(row: RecordTemplate) -> Template:
    return Template(
        domain=row.domain,
        app=row.app,
        stream=row.stream,
        endpoint=row.endpoint,
        bucket=row.bucket,
        on_demand=cast(OnDemand, row.on_demand),
        delay_s=row.delay_s,
        start_s=row.start_s,
        end_s=row.end_s,
        formats=msgspec.json.decode(row.formats, type=tuple[RecordFormat, ...]),
        rendition_formats=msgspec.json.decode(row.rendition_formats, type=tuple[RecordFormat, ...]),
        renditions=msgspec.json.decode(row.renditions, type=tuple[str, ...]),
        created_s=row.created_s,
    )


def _columns(template: Template) -> dict[str, Any]:
    """A template as the columns of its row."""
    columns = {field: getattr(template, field) for field in template.__struct_fields__}
    for field in ("formats", "rendition_formats", "renditions"):
        columns[field] = msgspec.json.encode(columns[field]).decode()
    return columns
