"""The media library: what the API calls recording to VOD (reference media-plane 3.4).

There is no VOD service here that would process files. The library is a bucket, `vod` if the customer names none, in which the
recordings of each domain have a folder, with names of the platform's own choice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.plan import ANY, Record, RecordFormat
from headwater.domains import record_rules
from headwater.domains.bindings import owned_main_domain
from headwater.domains.buckets import LIBRARY_BUCKET, Buckets
from headwater.domains.errors import error, invalid, missing
from headwater.domains.record_keys import check_new
from headwater.domains.record_rules import OnDemand
from headwater.store.database import Actor, Database
from headwater.store.models import Domain, RecordLibraryTemplate

if TYPE_CHECKING:
    from headwater.domains.plans import PlanPublisher

LibraryKind = Literal["m3u8", "flv", "mp4"]

CYCLE_S: Final = range(300, 21_601)
CYCLE_DEFAULT_S: Final = 3600
TAGS_MAX: Final = 16
"""Tags of a format, and (below) characters of one: VOD's own bounds."""
TAG_CHARACTERS_MAX: Final = 32

FILE_NAME: Final = "{AppName}/{StreamName}/{Sequence}_{EscapedStartTime}_{EscapedEndTime}"
SLICE_NAME: Final = "{AppName}/{StreamName}/{UnixTimestamp}_{Sequence}"
"""Names of files and slices below the domain's folder."""

_LOCATION = re.compile(r"(?P<bucket>[^.]+)(?:\.(?P<endpoint>.+))?")


class LibraryFormat(msgspec.Struct, frozen=True):
    """A format of the library. slice_s: 0 for files that are not sliced. tags: the customer's words, with commas."""

    format: str
    slice_s: int = 0
    tags: str = ""


DEFAULT_FORMATS: Final = (LibraryFormat("m3u8", record_rules.SLICE_DEFAULT_S),)
"""What is made if no format is given. Ours: the service leaves that to VOD."""


class LibraryTemplate(msgspec.Struct, frozen=True):
    """A template of the library. location: StorageLocation. source: whether the source stream is recorded. given: whether the
    customer named the formats.
    """

    domain: str
    app: str
    stream: str
    location: str
    endpoint: str
    bucket: str
    on_demand: OnDemand
    delay_s: int
    cycle_s: int
    source: bool
    renditions: tuple[str, ...]
    formats: tuple[LibraryFormat, ...]
    given: bool
    created_s: float


class LibraryPage(msgspec.Struct, frozen=True):
    """One page of templates; `total` counts all pages."""

    items: list[LibraryTemplate]
    total: int


class LibraryService:
    """Templates of main streaming domains for the media library. Methods raise DomainError for what they refuse."""

    def __init__(
        self, database: Database, plans: PlanPublisher, buckets: Buckets, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._plans = plans
        self._buckets = buckets
        self._clock = clock

    async def add(
        self,
        account_id: str,
        name: str,
        app: str,
        stream: str = ANY,
        *,
        location: str = "",
        formats: Sequence[LibraryFormat] | None = None,
        content: str = "raw",
        renditions: Sequence[str] = (),
        cycle_s: int | None = None,
        on_demand: int = 0,
        delay_s: int | None = None,
        actor: Actor,
    ) -> None:
        """Record some streams to the library from their next push on (AddLiveRecordVodConfig).

        location: `bucket.endpoint`, a bucket, or "" for the library's own. content: `raw`, `transcode`, or both. Raises
        InvalidCycleDuration.Malformed, InvalidRecordContent, MissingTranscodeTemplates, InvalidTranscodeTemplates,
        InvalidStorageLocation, and as `RecordingService.add` does.
        """
        app, stream = record_rules.names(app, stream)
        now_s = self._clock()
        cycle_s = CYCLE_DEFAULT_S if cycle_s is None else cycle_s
        source, with_renditions = _content(content)
        _check(cycle_s, renditions, with_renditions)
        template = LibraryTemplate(
            domain="",
            app=app,
            stream=stream,
            location=location,
            endpoint="",
            bucket="",
            on_demand=record_rules.on_demand(on_demand),
            delay_s=record_rules.DELAY_DEFAULT_S if delay_s is None else record_rules.delay_s(delay_s),
            cycle_s=cycle_s,
            source=source,
            renditions=record_rules.template_names(renditions),
            formats=DEFAULT_FORMATS if formats is None else _formats(formats),
            given=formats is not None,
            created_s=now_s,
        )
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
            await check_new(session, domain, app, stream)
            row = await session.get_one(Domain, domain)
            bucket, endpoint = _place(location, row.region)
        endpoint = await self._buckets.check(account_id, endpoint, bucket)
        template = msgspec.structs.replace(template, domain=domain, endpoint=endpoint, bucket=bucket)
        async with self._database.change(
            account_id, actor, "AddLiveRecordVodConfig", f"{domain}/{app}/{stream}", now_s
        ) as change:
            await owned_main_domain(change.session, account_id, name)
            await check_new(change.session, domain, app, stream)
            if bucket != LIBRARY_BUCKET:
                await self._buckets.claim(change.session, account_id, endpoint, bucket, now_s)
            change.session.add(RecordLibraryTemplate(**_columns(template)))
            change.after = template
        await self._plans.publish([domain])

    async def update(
        self,
        account_id: str,
        name: str,
        app: str,
        stream: str = ANY,
        *,
        formats: Sequence[LibraryFormat] | None = None,
        renditions: Sequence[str] | None = None,
        cycle_s: int | None = None,
        on_demand: int | None = None,
        delay_s: int | None = None,
        actor: Actor,
    ) -> None:
        """Change what is given, from the next push on (UpdateLiveRecordVodConfig). Raises as `add` does, and ConfigNotFound."""
        app, stream = record_rules.names(app, stream)
        object_ = f"{name.lower()}/{app}/{stream}"
        async with self._database.change(account_id, actor, "UpdateLiveRecordVodConfig", object_, self._clock()) as change:
            domain = await owned_main_domain(change.session, account_id, name)
            row = await _row(change.session, domain, app, stream)
            before = _template(row)
            after = msgspec.structs.replace(
                before,
                on_demand=before.on_demand if on_demand is None else record_rules.on_demand(on_demand),
                delay_s=before.delay_s if delay_s is None else record_rules.delay_s(delay_s),
                cycle_s=before.cycle_s if cycle_s is None else cycle_s,
                renditions=before.renditions if renditions is None else record_rules.template_names(renditions),
                formats=before.formats if formats is None else _formats(formats),
                given=before.given or formats is not None,
            )
            _check(after.cycle_s, after.renditions, bool(before.renditions))
            for column, value in _columns(after).items():
                setattr(row, column, value)
            change.before, change.after = before, after
        await self._plans.publish([domain])

    async def remove(self, account_id: str, name: str, app: str, stream: str = ANY, *, actor: Actor) -> None:
        """Remove the template of exactly this app and stream (DeleteLiveRecordVodConfig). Raises ConfigNotFound."""
        app, stream = record_rules.names(app, stream)
        object_ = f"{name.lower()}/{app}/{stream}"
        async with self._database.change(account_id, actor, "DeleteLiveRecordVodConfig", object_, self._clock()) as change:
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
        page_number: int = 1,
        page_size: int = 10,
    ) -> LibraryPage:
        """The templates of a domain in the order in which they were made (DescribeLiveRecordVodConfigs); "" matches all."""
        model = RecordLibraryTemplate
        async with self._database.read() as session:
            where = [model.domain == await owned_main_domain(session, account_id, name)]
            for column, wanted in ((model.app, app), (model.stream, stream)):
                if wanted:
                    where.append(column == wanted)
            total = await session.scalar(select(func.count()).select_from(model).where(*where)) or 0
            page = select(model).where(*where).order_by(model.id).limit(page_size).offset((page_number - 1) * page_size)
            return LibraryPage([_template(row) for row in await session.scalars(page)], total)


async def records(session: AsyncSession, names: Sequence[str]) -> list[tuple[str, Record]]:
    """The library's share of `recording.plan_part`: templates as records of the plans of these domains."""
    found = []
    rows = select(RecordLibraryTemplate).where(RecordLibraryTemplate.domain.in_(names)).order_by(RecordLibraryTemplate.id)
    for row in await session.scalars(rows):
        item = _template(row)
        formats = tuple(
            RecordFormat(
                format=cast(LibraryKind, one.format),
                cycle_s=item.cycle_s,
                object_prefix=f"{item.domain}/{FILE_NAME}",
                slice_object_prefix=f"{item.domain}/{SLICE_NAME}" if one.slice_s else "",
                slice_s=one.slice_s,
            )
            for one in item.formats
        )
        record = Record(
            app=item.app,
            stream=item.stream,
            endpoint=item.endpoint,
            bucket=item.bucket,
            on_demand=item.on_demand,
            delay_s=item.delay_s,
            formats=formats if item.source else (),
            rendition_formats=formats if item.renditions else (),
            renditions=item.renditions,
            storage="vod",
        )
        found.append((item.domain, record))
    return found


def _place(location: str, region: str) -> tuple[str, str]:
    """Bucket and endpoint of a StorageLocation. Raises InvalidStorageLocation."""
    if not location:
        return LIBRARY_BUCKET, f"oss-{region}.aliyuncs.com"
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise invalid("StorageLocation", "It is a bucket, or a bucket and its endpoint with a dot between them.")
    return match["bucket"], match["endpoint"] or f"oss-{region}.aliyuncs.com"


def _content(text: str) -> tuple[bool, bool]:
    """Whether the source and whether renditions are recorded. Raises InvalidRecordContent."""
    wanted = {part.strip() for part in text.split(",")}
    if not wanted or not wanted <= {"raw", "transcode"}:
        raise invalid("RecordContent", "It is raw, transcode, or both with a comma.")
    return "raw" in wanted, "transcode" in wanted


def _check(cycle_s: int, renditions: Sequence[str], with_renditions: bool) -> None:
    if cycle_s not in CYCLE_S:
        raise error("InvalidCycleDuration.Malformed", f"It is {CYCLE_S[0]} to {CYCLE_S[-1]} seconds.")
    if with_renditions and not renditions:
        raise missing("TranscodeTemplates", "It says which renditions are recorded.")
    if renditions and not with_renditions:
        raise invalid("TranscodeTemplates", "Renditions are recorded only if RecordContent says so.")


def _formats(given: Sequence[LibraryFormat]) -> tuple[LibraryFormat, ...]:
    """Raises InvalidFormat.Malformed, InvalidSliceDuration, InvalidTags."""
    found = []
    for item in given:
        if item.format not in get_args(LibraryKind):
            raise error("InvalidFormat.Malformed", f"It is one of {', '.join(get_args(LibraryKind))}.")
        slice_s = item.slice_s or record_rules.SLICE_DEFAULT_S
        if item.format in record_rules.SLICED and slice_s not in record_rules.SLICE_S:
            raise invalid("SliceDuration", f"It is {record_rules.SLICE_S[0]} to {record_rules.SLICE_S[-1]} seconds.")
        tags = [tag.strip() for tag in item.tags.split(",")]
        if len(tags) > TAGS_MAX or any(len(tag) > TAG_CHARACTERS_MAX for tag in tags):
            raise invalid("Tags", f"There can be {TAGS_MAX} with {TAG_CHARACTERS_MAX} characters each.")
        found.append(LibraryFormat(item.format, slice_s if item.format in record_rules.SLICED else 0, item.tags))
    if not found or len({item.format for item in found}) != len(found):
        raise error("InvalidFormat.Malformed", "Each format can be given once.")
    return tuple(found)


async def _row(session: AsyncSession, domain: str, app: str, stream: str) -> RecordLibraryTemplate:
    model = RecordLibraryTemplate
    row = await session.scalar(select(model).where(model.domain == domain, model.app == app, model.stream == stream))
    if row is None:
        raise error("ConfigNotFound", "Exactly this app and stream have no template of the media library.")
    return row


def _template(row: RecordLibraryTemplate) -> LibraryTemplate:
    return LibraryTemplate(
        domain=row.domain,
        app=row.app,
        stream=row.stream,
        location=row.location,
        endpoint=row.endpoint,
        bucket=row.bucket,
        on_demand=cast(OnDemand, row.on_demand),
        delay_s=row.delay_s,
        cycle_s=row.cycle_s,
        source=row.source,
        renditions=msgspec.json.decode(row.renditions, type=tuple[str, ...]),
        formats=msgspec.json.decode(row.formats, type=tuple[LibraryFormat, ...]),
        given=row.given,
        created_s=row.created_s,
    )


def _columns(template: LibraryTemplate) -> dict[str, Any]:
    columns = {field: getattr(template, field) for field in template.__struct_fields__}
    for field in ("renditions", "formats"):
        columns[field] = msgspec.json.encode(columns[field]).decode()
    return columns
