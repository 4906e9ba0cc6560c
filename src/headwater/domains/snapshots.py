"""Snapshots: which streams are pictured how often, and the pictures that were taken (reference media-plane 4).

The pictures are made by the live center (`center.snapshots`), which notes them down by functions of this module.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import structlog
from sqlalchemy import FromClause, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.names import is_name
from headwater.access.plan import ANY, Snapshots
from headwater.cluster.centers import CenterError, CenterRefusal, Centers
from headwater.domains.bindings import main_domain, owned_main_domain
from headwater.domains.buckets import Buckets
from headwater.domains.errors import error, invalid, missing
from headwater.domains.object_names import fill, problem
from headwater.domains.rules import domain_name, format_time
from headwater.notify.configs import URL_MAX, is_url
from headwater.notify.events import SnapshotTaken
from headwater.notify.queue import enqueue
from headwater.store.database import Actor, Database, insert_of
from headwater.store.models import Domain, Snapshot, SnapshotNotify, SnapshotSequence, SnapshotTemplate, Upload
from headwater.store.objects import ObjectError, ObjectStores, check_key

if TYPE_CHECKING:  # it imports `plan_part`
    from headwater.domains.plans import PlanPublisher

INTERVAL_S: Final = range(5, 3601)
"""Seconds between two pictures (reference media-plane 4)."""
TEMPLATES_MAX: Final = 100
"""Templates of a domain: they travel with its plan to every node. Ours."""
OVERWRITE_VARIABLES: Final = ("AppName", "StreamName")
SEQUENCE_VARIABLES: Final = (*OVERWRITE_VARIABLES, "UnixTimestamp", "Sequence")
NUMBERS: Final = ("UnixTimestamp", "Sequence")
"""Of these the name of a numbered picture needs at least one."""
SUFFIXES: Final = (".jpg", ".jpeg")
"""Only JPEG is made, and nothing should pretend to be something else."""
SPAN_MAX_S: Final = 86_400
"""The longest span of one question."""
KEPT_S: Final = 365 * 86_400
"""How long it is remembered that a picture was taken. The file itself is its owner's, and stays."""
DELETED_AT_ONCE: Final = 200
"""Pictures that one call deletes. Ours: each is a request to the object store."""
STRIP_MAX: Final = 100
"""Pictures of a film strip."""
PURGED_AT_ONCE: Final = 500
PURGE_INTERVAL_S: Final = 60.0

OWNER_KIND: Final = "snapshot"
"""Whose uploads these are (`store.models.Upload.owner_kind`)."""

Order = Literal["asc", "desc"]

_log = structlog.get_logger(__name__)


class Template(msgspec.Struct, frozen=True):
    """A snapshot template, as its row (`store.models.SnapshotTemplate`)."""

    domain: str
    app: str
    interval_s: int
    endpoint: str
    bucket: str
    overwrite: str
    sequence: str
    callback: str
    created_s: float


class TemplatePage(msgspec.Struct, frozen=True):
    """One page of templates; `total` counts all pages."""

    items: list[Template]
    total: int


class Taken(msgspec.Struct, frozen=True):
    """A picture as an object; fields as of its row (`store.models.Snapshot`)."""

    domain: str
    app: str
    stream: str
    created_ms: int
    is_overlay: bool
    endpoint: str
    bucket: str
    object: str
    size_bytes: int


class TakenPage(msgspec.Struct, frozen=True):
    """Some pictures. next_s: unix second of the one after them, None if there is none."""

    items: list[Taken]
    next_s: int | None


class Deletion(msgspec.Struct, frozen=True):
    """What became of the pictures of one time. problem: "" if they are deleted."""

    created_ms: int
    problem: str


class SnapshotService:
    """Snapshot templates of main streaming domains and what was taken by them. Methods raise DomainError for what they refuse:
    IllegalOperation for other domains.
    """

    def __init__(
        self,
        database: Database,
        plans: PlanPublisher,
        stores: ObjectStores,
        buckets: Buckets,
        centers: Centers,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._plans = plans
        self._stores = stores
        self._buckets = buckets
        self._centers = centers
        self._clock = clock

    # Templates

    async def add(
        self,
        account_id: str,
        name: str,
        app: str,
        *,
        interval_s: int,
        endpoint: str,
        bucket: str,
        overwrite: str = "",
        sequence: str = "",
        callback: str = "",
        actor: Actor,
    ) -> None:
        """Take pictures of an app's streams, of all streams for `*`, from their next push on (AddLiveAppSnapshotConfig).

        Raises ConfigAlreadyExists, QuotaExceeded.SnapshotConfig, InvalidOssBucket.NotUsable, MissingOssObject, and Invalid...
        for a parameter that is wrong.
        """
        _check_app(app)
        _check(interval_s, overwrite, sequence, callback)
        now_s = self._clock()
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
        endpoint = await self._buckets.check(account_id, endpoint, bucket)
        async with self._database.change(account_id, actor, "AddLiveAppSnapshotConfig", f"{domain}/{app}", now_s) as change:
            session = change.session
            domain = await owned_main_domain(session, account_id, name)
            if await session.get(SnapshotTemplate, (domain, app)) is not None:
                raise error("ConfigAlreadyExists")
            count = select(func.count()).select_from(SnapshotTemplate).where(SnapshotTemplate.domain == domain)
            if (await session.scalar(count) or 0) >= TEMPLATES_MAX:
                raise error("QuotaExceeded.SnapshotConfig")
            await self._buckets.claim(session, account_id, endpoint, bucket, now_s)
            row = SnapshotTemplate(
                domain=domain,
                app=app,
                interval_s=interval_s,
                endpoint=endpoint,
                bucket=bucket,
                overwrite=overwrite,
                sequence=sequence,
                callback=callback,
                created_s=now_s,
            )
            session.add(row)
            change.after = _template(row)
        await self._plans.publish([domain])

    async def update(
        self,
        account_id: str,
        name: str,
        app: str,
        *,
        interval_s: int | None = None,
        endpoint: str | None = None,
        bucket: str | None = None,
        overwrite: str | None = None,
        sequence: str | None = None,
        callback: str | None = None,
        actor: Actor,
    ) -> None:
        """Change what is given, from the next push on (UpdateLiveAppSnapshotConfig); "" removes a name or the callback.

        Raises as `add` does, and ConfigNotFound.
        """
        now_s = self._clock()
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
            known = await session.get(SnapshotTemplate, (domain, app))
            if known is None:
                raise error("ConfigNotFound", "The app has no snapshot template.")
            before = _template(known)
        given = {
            "interval_s": interval_s,
            "endpoint": endpoint,
            "bucket": bucket,
            "overwrite": overwrite,
            "sequence": sequence,
            "callback": callback,
        }
        after = msgspec.structs.replace(before, **{field: value for field, value in given.items() if value is not None})
        _check(after.interval_s, after.overwrite, after.sequence, after.callback)
        if endpoint is not None or bucket is not None:
            after = msgspec.structs.replace(after, endpoint=await self._buckets.check(account_id, after.endpoint, after.bucket))
        async with self._database.change(account_id, actor, "UpdateLiveAppSnapshotConfig", f"{domain}/{app}", now_s) as change:
            await owned_main_domain(change.session, account_id, name)
            row = await change.session.get(SnapshotTemplate, (domain, app))
            if row is None or _template(row) != before:  # somebody else was faster
                raise error("ServiceBusy")
            await self._buckets.claim(change.session, account_id, after.endpoint, after.bucket, now_s)
            for field in given:
                setattr(row, field, getattr(after, field))
            change.before, change.after = before, after
        await self._plans.publish([domain])

    async def remove(self, account_id: str, name: str, app: str, *, actor: Actor) -> None:
        """Take no more pictures of an app's streams from their next push on (DeleteLiveAppSnapshotConfig).

        Raises ConfigNotFound.
        """
        async with self._database.change(
            account_id, actor, "DeleteLiveAppSnapshotConfig", f"{name.lower()}/{app}", self._clock()
        ) as change:
            domain = await owned_main_domain(change.session, account_id, name)
            row = await change.session.get(SnapshotTemplate, (domain, app))
            if row is None:
                raise error("ConfigNotFound", "The app has no snapshot template.")
            change.before = _template(row)
            await change.session.delete(row)
        await self._plans.publish([domain])

    async def templates(
        self,
        account_id: str,
        name: str,
        *,
        app: str = "",
        order: Order = "asc",
        page_number: int = 1,
        page_size: int = 10,
    ) -> TemplatePage:
        """The templates of a domain by app, only that of one app if it is named (DescribeLiveSnapshotConfig)."""
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
            where = [SnapshotTemplate.domain == domain, *([SnapshotTemplate.app == app] if app else [])]
            total = await session.scalar(select(func.count()).select_from(SnapshotTemplate).where(*where)) or 0
            by_app = SnapshotTemplate.app.desc() if order == "desc" else SnapshotTemplate.app
            page = select(SnapshotTemplate).where(*where).order_by(by_app)
            rows = await session.scalars(page.limit(page_size).offset((page_number - 1) * page_size))
            return TemplatePage([_template(row) for row in rows], total)

    # Pictures

    async def taken(
        self,
        account_id: str,
        name: str,
        app: str,
        stream: str,
        start_s: float,
        end_s: float,
        *,
        limit: int = 10,
        order: Order = "asc",
    ) -> TakenPage:
        """Pictures of a stream that are stored and were taken from start_s to end_s, both included
        (DescribeLiveStreamSnapshotInfo).

        Whoever goes on with `next_s` (as the start, or for `desc` as the end) misses nothing and gets nothing twice. So a page
        ends where a second ends: it may be shorter than `limit`, and longer if more was taken in a single second.
        Raises InvalidEndTime.Mismatch, InvalidTimeSpan (longer than a day).
        """
        if end_s <= start_s:
            raise error("InvalidEndTime.Mismatch")
        if end_s - start_s > SPAN_MAX_S:
            raise error("InvalidTimeSpan")
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
            found = (
                select(Snapshot)
                .where(*_of_stream(domain, app, stream), Snapshot.state == "stored")
                .where(Snapshot.created_ms >= int(start_s) * 1000, Snapshot.created_ms < (int(end_s) + 1) * 1000)
            )
            columns = (Snapshot.created_ms, Snapshot.id)
            direction = [column.desc() if order == "desc" else column.asc() for column in columns]
            rows = list(await session.scalars(found.order_by(*direction).limit(limit + 1)))
            if len(rows) <= limit:
                return TakenPage([_taken(row) for row in rows], None)
            next_s = rows[limit].created_ms // 1000
            whole = [row for row in rows if row.created_ms // 1000 != next_s]
            if whole:
                return TakenPage([_taken(row) for row in whole], next_s)
            begin_ms = next_s * 1000
            same = found.where(Snapshot.created_ms >= begin_ms, Snapshot.created_ms < begin_ms + 1000)
            rows = list(await session.scalars(same.order_by(*direction)))
            beyond = Snapshot.created_ms >= begin_ms + 1000 if order == "asc" else Snapshot.created_ms < begin_ms
            after = await session.scalar(found.where(beyond).order_by(*direction).limit(1))
            return TakenPage([_taken(row) for row in rows], None if after is None else after.created_ms // 1000)

    async def strip(self, account_id: str, name: str, app: str, stream: str, *, count: int = 12) -> list[Taken]:
        """The newest pictures of a stream, oldest first: the numbered ones, or else the one that is always overwritten."""
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
            newest = (
                select(Snapshot)
                .where(*_of_stream(domain, app, stream), Snapshot.state == "stored")
                .order_by(Snapshot.created_ms.desc(), Snapshot.id.desc())
                .limit(2 * min(count, STRIP_MAX))
            )
            rows = [_taken(row) for row in await session.scalars(newest)]
        chosen = [item for item in rows if not item.is_overlay] or rows
        return chosen[: min(count, STRIP_MAX)][::-1]

    async def picture(self, account_id: str, name: str, app: str, stream: str, created_ms: int) -> bytes:
        """The JPEG of a picture that was taken then. Raises InvalidSnapshot.NotFound, Snapshot.NotReadable."""
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
            of_time = (*_of_stream(domain, app, stream), Snapshot.created_ms == created_ms, Snapshot.state == "stored")
            row = await session.scalar(select(Snapshot).where(*of_time).order_by(Snapshot.is_overlay).limit(1))
        if row is None:
            raise error("InvalidSnapshot.NotFound")
        try:
            return await self._stores.get(row.endpoint, row.bucket, row.object)
        except ObjectError as fault:
            raise error("Snapshot.NotReadable", f"{fault}.") from None

    async def take(self, name: str, app: str, stream: str, *, account_id: str = "") -> bytes:
        """A JPEG of a live stream as it is now, of a rendition that runs too; stored, too, if the app has a template.

        name: a streaming domain. account_id: "" for an operator, who may look at all. Raises InvalidAppName, InvalidStreamName,
        InvalidStream.NotFound (it is not live), Snapshot.NotTaken, ServiceUnavailable (no live center).
        """
        if not is_name(app):
            raise invalid("AppName")
        if not is_name(stream):
            raise invalid("StreamName")
        async with self._database.read() as session:
            domain = await session.get(Domain, domain_name(name, leading_dot=True))
            if domain is None or (account_id and domain.account != account_id):
                raise error("InvalidDomain.NotFound")
            if domain.type != "liveVideo":
                raise error("IllegalOperation")
            main = await main_domain(session, domain.name)
        try:
            return await self._centers.fetch("POST", "/snapshot/now", {"domain": main, "app": app, "stream": stream})
        except CenterRefusal as fault:
            if fault.status == 404:
                raise error("InvalidStream.NotFound", str(fault)) from None
            raise error("Snapshot.NotTaken", str(fault)) from None
        except CenterError as fault:
            raise error("ServiceUnavailable", f"{fault}.") from None

    async def delete(
        self,
        account_id: str,
        name: str,
        app: str,
        stream: str,
        created_ms: Sequence[int],
        *,
        files: bool,
        actor: Actor,
    ) -> list[Deletion]:
        """Forget pictures by the times at which they were taken, and with `files` remove their files (DeleteSnapshotFiles).

        A picture whose file cannot be removed is not forgotten. Raises InvalidCreateTimestampList for too many.
        """
        times = list(dict.fromkeys(created_ms))
        if not 1 <= len(times) <= DELETED_AT_ONCE:
            raise invalid("CreateTimestampList")
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
            chosen = select(Snapshot).where(*_of_stream(domain, app, stream), Snapshot.created_ms.in_(times))
            rows = list(await session.scalars(chosen))
        problems = dict.fromkeys(times, "FileNotFound") | {row.created_ms: "" for row in rows}
        if files:
            for row in rows:
                try:
                    await self._stores.delete(row.endpoint, row.bucket, row.object)
                except ObjectError as fault:
                    problems[row.created_ms] = str(fault)
        gone = [row for row in rows if not problems[row.created_ms]]
        object_ = f"{domain}/{app}/{stream}"
        async with self._database.change(account_id, actor, "DeleteSnapshotFiles", object_, self._clock()) as change:
            await owned_main_domain(change.session, account_id, name)
            change.before = {"objects": [row.object for row in gone], "files": files}
            await change.session.execute(delete(Snapshot).where(Snapshot.id.in_([row.id for row in gone])))
            paths = await drop_uploads(change.session, [row.id for row in gone])
        await remove_files(paths)
        return [Deletion(time_ms, problems[time_ms]) for time_ms in times]

    # What runs beside

    async def run_purge(self) -> None:
        """Forget what is a year old, a little at a time, until cancelled."""
        while True:
            await self.purge()
            await asyncio.sleep(PURGE_INTERVAL_S)

    async def purge(self) -> int:
        """Forget some of the pictures, and of the streams' numbers, that are a year old; returns how many."""
        oldest_s = self._clock() - KEPT_S
        async with self._database.write() as session:
            old = select(Snapshot.id).where(Snapshot.created_ms < oldest_s * 1000).limit(PURGED_AT_ONCE)
            ids = list(await session.scalars(old))
            if ids:
                await session.execute(delete(Snapshot).where(Snapshot.id.in_(ids)))
            unused = select(SnapshotSequence).where(SnapshotSequence.last_s < oldest_s).limit(PURGED_AT_ONCE)
            sequences = list(await session.scalars(unused))
            for row in sequences:
                await session.delete(row)
        return len(ids) + len(sequences)


# For the live center


def names(overwrite: str, sequence: str, app: str, stream: str, created_ms: int, number: int) -> list[tuple[str, bool]]:
    """The names of a picture, each with whether it overwrites the picture before (IsOverlay).

    number: of all numbered pictures of its stream, from 1 on. A name that is too long with those of app and stream in it is
    left out.
    """
    values = {"AppName": app, "StreamName": stream, "UnixTimestamp": str(created_ms // 1000), "Sequence": str(number)}
    found = []
    for template, is_overlay in ((overwrite, True), (sequence, False)):
        if not template:
            continue
        name = fill(template, values)
        try:
            check_key(name)
        except ObjectError as fault:
            _log.warning("snapshot_name_unusable", app=app, stream=stream, name=name, reason=str(fault))
        else:
            found.append((name, is_overlay))
    return found


async def numbers(session: AsyncSession, domain: str, app: str, stream: str) -> int:
    """How many numbered pictures were ever taken of a stream."""
    row = await session.get(SnapshotSequence, (domain, app, stream))
    return 0 if row is None else row.taken


async def note(session: AsyncSession, pictures: Sequence[Taken], *, is_stored: bool) -> None:
    """Write down that pictures were taken, and are stored or wait for it.

    An object has one row: whatever stood for it before, its newest picture takes its place. One plain statement for all: this
    is done for each picture of each stream. Raises IntegrityError if the domain of one is gone.
    """
    state = "stored" if is_stored else "waiting"
    rows = [msgspec.structs.asdict(taken) | {"state": state} for taken in pictures]
    await _put(session, Snapshot.__table__, ("domain", "endpoint", "bucket", "object"), rows)


async def note_numbers(session: AsyncSession, numbers: Mapping[tuple[str, str, str], tuple[int, float]]) -> None:
    """Remember by stream the number of its newest picture and when it was taken (unix seconds): the next one has another."""
    rows = [
        {"domain": domain, "app": app, "stream": stream, "taken": number, "last_s": taken_s}
        for (domain, app, stream), (number, taken_s) in numbers.items()
    ]
    await _put(session, SnapshotSequence.__table__, ("domain", "app", "stream"), rows)


async def row_of(session: AsyncSession, taken: Taken) -> int:
    """The id of an object's row, 0 if it has none."""
    return await session.scalar(select(Snapshot.id).where(*_of_object(taken))) or 0


async def stored(session: AsyncSession, snapshot: int) -> None:
    """A picture that had to wait is stored (the handler of `center.uploads` for OWNER_KIND)."""
    row = await session.get(Snapshot, snapshot)
    if row is not None:
        row.state = "stored"
        template = await template_of(session, row.domain, row.app)
        await tell(session, [(_taken(row), "" if template is None else template.callback)])


async def tell(session: AsyncSession, pictures: Sequence[tuple[Taken, str]]) -> None:
    """Queue the callbacks of pictures that are stored, each with its template's own URL ("" for none), if it is to have one."""
    names = {taken.domain for taken, callback in pictures if not callback}
    told = select(SnapshotNotify.domain).where(SnapshotNotify.domain.in_(names))
    listening = set(await session.scalars(told)) if names else set()
    for taken, callback in pictures:
        if callback or taken.domain in listening:
            event = SnapshotTaken(
                domain=taken.domain,
                app=taken.app,
                stream=taken.stream,
                create_time=format_time(taken.created_ms / 1000),
                create_timestamp=taken.created_ms,
                is_overlay=taken.is_overlay,
                endpoint=taken.endpoint,
                bucket=taken.bucket,
                object=taken.object,
                callback=callback,
            )
            await enqueue(session, event, taken.created_ms / 1000)


async def template_of(session: AsyncSession, domain: str, app: str) -> SnapshotTemplate | None:
    """The template of an app: one that names it beats one for any (reference media-plane 1.2)."""
    rows = select(SnapshotTemplate).where(SnapshotTemplate.domain == domain, SnapshotTemplate.app.in_((app, ANY)))
    by_app = {row.app: row for row in await session.scalars(rows)}
    return by_app.get(app) or by_app.get(ANY)


async def drop_uploads(session: AsyncSession, ids: Sequence[int]) -> list[Path]:
    """Take pictures out of the queue of uploads; returns their local files, to be removed once this is committed."""
    if not ids:
        return []
    queued = select(Upload).where(Upload.owner_kind == OWNER_KIND, Upload.owner_id.in_(ids), Upload.state != "stored")
    uploads = list(await session.scalars(queued))
    for upload in uploads:
        await session.delete(upload)
    return [Path(upload.path) for upload in uploads]


async def remove_files(paths: Sequence[Path]) -> None:
    """Remove files of this node; those of other nodes are not here, and are removed by the center that made them."""
    for path in paths:
        await asyncio.to_thread(path.unlink, missing_ok=True)


async def plan_part(session: AsyncSession, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`snapshots` of the plans of these domains."""
    found: dict[str, list[Snapshots]] = {}
    rows = select(SnapshotTemplate).where(SnapshotTemplate.domain.in_(names))
    for row in await session.scalars(rows.order_by(SnapshotTemplate.domain, SnapshotTemplate.app)):
        found.setdefault(row.domain, []).append(
            Snapshots(row.app, row.interval_s, row.endpoint, row.bucket, row.overwrite, row.sequence, row.callback)
        )
    return {name: {"snapshots": tuple(templates)} for name, templates in found.items()}


def _check_app(app: str) -> None:
    if app != ANY and not is_name(app):
        raise invalid("AppName")


def _check(interval_s: int, overwrite: str, sequence: str, callback: str) -> None:
    if interval_s not in INTERVAL_S:
        raise invalid("TimeInterval")
    if wrong := overwrite and _wrong_name(overwrite, OVERWRITE_VARIABLES):
        raise error("InvalidOverwriteOssObject.Malformed", wrong)
    if wrong := sequence and _wrong_name(sequence, SEQUENCE_VARIABLES, NUMBERS):
        raise error("InvalidSequenceOssObject.Malformed", wrong)
    if not overwrite and not sequence:
        raise missing("OverwriteOssObject", "Without it, SequenceOssObject is.")
    if callback and not is_url(callback):
        raise error("InvalidCallback.Malformed", f"It must be an HTTP or HTTPS URL of at most {URL_MAX} characters.")


def _wrong_name(template: str, variables: Sequence[str], one_of: Sequence[str] = ()) -> str:
    wrong = problem(template, variables, one_of)
    if not wrong and not template.lower().endswith(SUFFIXES):
        wrong = "It must end in .jpg, for JPEG is what it will be."
    return wrong


def _template(row: SnapshotTemplate) -> Template:
    return msgspec.convert(row, Template, from_attributes=True)


def _taken(row: Snapshot) -> Taken:
    return msgspec.convert(row, Taken, from_attributes=True)


async def _put(session: AsyncSession, table: FromClause, key: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, or put them in the places of those that have the same key."""
    if not rows:
        return
    connection = await session.connection()
    statement = insert_of(connection, table)
    columns = {name: statement.excluded[name] for name in rows[0] if name not in key}
    await connection.execute(statement.on_conflict_do_update(index_elements=key, set_=columns), rows)


def _of_object(taken: Taken) -> tuple[Any, ...]:
    return (
        Snapshot.domain == taken.domain,
        Snapshot.endpoint == taken.endpoint,
        Snapshot.bucket == taken.bucket,
        Snapshot.object == taken.object,
    )


def _of_stream(domain: str, app: str, stream: str) -> tuple[Any, ...]:
    return Snapshot.domain == domain, Snapshot.app == app, Snapshot.stream == stream
