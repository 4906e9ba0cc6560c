"""What was recorded: recordings, their files, the times of which there is something, and clips made of stored slices.

The live center fills the tables (`store.models.files`); here they are asked. A clip, which the API calls an index file, is a
playlist of slices that lie in the store already (reference media-plane 3.2).
"""

from __future__ import annotations

import datetime
import posixpath
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeVar
from urllib.parse import quote

import msgspec
from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.plan import RecordFormat
from headwater.domains.bindings import owned_main_domain
from headwater.domains.buckets import Buckets
from headwater.domains.errors import Code, error, invalid
from headwater.domains.object_names import fill, problem
from headwater.domains.rules import parse_time
from headwater.media.hls import Segment, media_playlist
from headwater.store.database import Actor, Database
from headwater.store.models import Domain, MediaSlice, Publish, RecordedFile, RecordIndexFile, Recording, Upload
from headwater.store.objects import ObjectError, ObjectStores, check_key

SPAN_MAX_S: Final = 4 * 86_400
"""The longest span of one question, and of one clip."""
SLICES_KEPT_S: Final = 90 * 86_400
"""How long slices are known: 3 months. The files themselves are their owner's, and stay."""
KEPT_S: Final = 180 * 86_400
"""How long recordings, their files and clips are known: 6 months."""
DELETED_MAX: Final = 20
"""Clips that one call deletes."""
SLICE_MAX_MS: Final = 600_000
"""No slice is longer: it ends at the first key frame after its time, and streams with rarer ones cannot be watched."""

INDEX_VARIABLES: Final = ("AppName", "StreamName", "Date", "Hour", "Minute", "Second", "UnixTimestamp")
"""Of a clip's name; the first six stand in the service's sample. The times are that of its start."""
ZONE: Final = datetime.timezone(datetime.timedelta(hours=8))
"""Times in names are China's, as in those of recorded files."""
PLAYLIST_TYPE: Final = "application/vnd.apple.mpegurl"

Order = Literal["asc", "desc"]
T = TypeVar("T", bound=msgspec.Struct)


class Content(msgspec.Struct, frozen=True):
    """A time of which a stream was recorded. name: how its slices are called, or else its files: a name with variables."""

    start_s: float
    end_s: float
    endpoint: str
    bucket: str
    name: str


class Clip(msgspec.Struct, frozen=True):
    """An index file; see `store.models.RecordIndexFile`. url: where the bucket would have it."""

    id: str
    domain: str
    app: str
    stream: str
    format: str
    endpoint: str
    bucket: str
    key: str
    start_s: float
    end_s: float
    duration_ms: int
    width: int
    height: int
    created_s: float

    @property
    def url(self) -> str:
        """Where the object is, if its bucket can be reached by its name."""
        return object_url(self.endpoint, self.bucket, self.key)


class ClipPage(msgspec.Struct, frozen=True):
    """One page of clips; `total` counts all pages."""

    items: list[Clip]
    total: int


class Deletion(msgspec.Struct, frozen=True):
    """What became of one clip. message: `OK`, `FileNotFound`, or why the file could not be removed."""

    id: str
    message: str


class RecordingRecord(msgspec.Struct, frozen=True):
    """A recording; see `store.models.Recording`. duration_s: until now, if it goes on. files, bytes: those that it has made."""

    id: int
    app: str
    stream: str
    template: str
    state: str
    trigger: int
    held: bool
    started_s: float
    ended_s: float
    duration_s: float
    files: int
    bytes: int
    error: str


class ObjectRecord(msgspec.Struct, frozen=True):
    """Where an object is, and how large."""

    endpoint: str
    bucket: str
    key: str
    bytes: int


class FileRecord(msgspec.Struct, frozen=True):
    """A recorded file; see `store.models.RecordedFile`."""

    id: int
    recording: int | None
    app: str
    stream: str
    template: str
    format: str
    number: int
    endpoint: str
    bucket: str
    key: str
    start_ms: int
    end_ms: int
    duration_ms: int
    width: int
    height: int
    bytes: int
    state: str
    created_s: float

    @property
    def url(self) -> str:
        """Where the object is, if its bucket can be reached by its name."""
        return object_url(self.endpoint, self.bucket, self.key)


class _Spec(msgspec.Struct, frozen=True):
    """The part of a recording's specification that is asked for here."""

    formats: tuple[RecordFormat, ...] = ()


class RecordContentService:
    """What was recorded of the streams of main streaming domains. Methods raise DomainError for what they refuse:
    InvalidDomain.NotFound, IllegalOperation for other domains.

    A stream may be named as viewers name it: `cam_ld` is the rendition `ld` of `cam`.
    """

    def __init__(
        self, database: Database, stores: ObjectStores, buckets: Buckets, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._stores = stores
        self._buckets = buckets
        self._clock = clock

    # Recordings and files

    async def recordings(
        self,
        account_id: str,
        name: str,
        *,
        app: str = "",
        stream: str = "",
        state: str = "",
        before: int | None = None,
        limit: int = 50,
    ) -> list[RecordingRecord]:
        """The newest recordings of a domain; "" matches all. before: only those with a smaller id, for the next page."""
        async with self._database.read() as session:
            domain, since_s = await _owned(session, account_id, name)
            where = [Recording.domain == domain, Recording.state != "declined"]
            where.append(or_(Recording.started_s >= since_s, Recording.started_s == 0))
            for column, wanted in ((Recording.app, app), (Recording.stream, stream), (Recording.state, state)):
                if wanted:
                    where.append(column == wanted)
            if before is not None:
                where.append(Recording.id < before)
            rows = list(await session.scalars(select(Recording).where(*where).order_by(Recording.id.desc()).limit(limit)))
            sums = (
                select(RecordedFile.recording, func.count(), func.sum(RecordedFile.bytes))
                .where(RecordedFile.recording.in_([row.id for row in rows]), RecordedFile.state != "deleted")
                .group_by(RecordedFile.recording)
            )
            files = {recording: (count, int(total)) for recording, count, total in await session.execute(sums)}
        now_s = self._clock()
        return [
            RecordingRecord(
                id=row.id,
                app=row.app,
                stream=row.stream,
                template=row.template,
                state=row.state,
                trigger=row.trigger,
                held=row.held,
                started_s=row.started_s,
                ended_s=row.ended_s,
                duration_s=max((row.ended_s or now_s) - row.started_s, 0.0) if row.started_s else 0.0,
                files=files.get(row.id, (0, 0))[0],
                bytes=files.get(row.id, (0, 0))[1],
                error=row.error,
            )
            for row in rows
        ]

    async def files(
        self,
        account_id: str,
        name: str,
        *,
        recording: int | None = None,
        app: str = "",
        stream: str = "",
        format_: str = "",
        before: int | None = None,
        limit: int = 50,
    ) -> list[FileRecord]:
        """The newest recorded files of a domain, or of one recording; "" matches all. before: as in `recordings`."""
        async with self._database.read() as session:
            domain, since_s = await _owned(session, account_id, name)
            where: list[ColumnElement[bool]] = [RecordedFile.domain == domain, RecordedFile.state != "deleted"]
            where.append(RecordedFile.start_ms >= int(since_s * 1000))
            columns = ((RecordedFile.app, app), (RecordedFile.stream, stream), (RecordedFile.format, format_))
            where += [column == wanted for column, wanted in columns if wanted]
            if recording is not None:
                where.append(RecordedFile.recording == recording)
            if before is not None:
                where.append(RecordedFile.id < before)
            rows = await session.scalars(select(RecordedFile).where(*where).order_by(RecordedFile.id.desc()).limit(limit))
            return [_of_row(FileRecord, row) for row in rows]

    async def find(self, account_id: str, name: str, bucket: str, key: str) -> ObjectRecord:
        """An object that a recording of this domain has made: a file or a slice. Raises InvalidFile.NotFound."""
        async with self._database.read() as session:
            domain, since_s = await _owned(session, account_id, name)
            since_ms = int(since_s * 1000)
            files = select(RecordedFile.endpoint).where(
                RecordedFile.key == key,
                RecordedFile.start_ms >= since_ms,
                RecordedFile.domain == domain,
                RecordedFile.bucket == bucket,
                RecordedFile.state == "stored",
            )
            slices = select(MediaSlice.endpoint).where(
                or_(MediaSlice.key == key, MediaSlice.init_key == key),
                MediaSlice.start_ms >= since_ms,
                MediaSlice.domain == domain,
                MediaSlice.bucket == bucket,
                MediaSlice.state == "stored",
            )
            endpoint = await session.scalar(files.limit(1)) or await session.scalar(slices.limit(1))
        if endpoint is None:
            raise error("InvalidFile.NotFound")
        try:
            size = await self._stores.size(endpoint, bucket, key)
        except ObjectError as fault:
            raise error("InvalidFile.NotFound", f"{fault}.") from None
        if size is None:
            raise error("InvalidFile.NotFound")
        return ObjectRecord(endpoint, bucket, key, size)

    async def read(self, record: ObjectRecord, start: int, length: int) -> bytes:
        """A part of an object. Raises InvalidFile.NotFound if the store cannot give it."""
        try:
            return await self._stores.get_range(record.endpoint, record.bucket, record.key, start, length)
        except ObjectError as fault:
            raise error("InvalidFile.NotFound", f"{fault}.") from None

    async def contents(
        self, account_id: str, name: str, app: str, stream: str, start_time: str, end_time: str
    ) -> list[Content]:
        """The times between start and end of which a stream was recorded (DescribeLiveStreamRecordContent).

        Raises InvalidStartTime.Malformed, InvalidEndTime.Malformed, InvalidEndTime.Mismatch, InvalidTimeSpan.
        """
        start_s, end_s = self._span(start_time, end_time, KEPT_S)
        async with self._database.read() as session:
            domain, since_s = await _owned(session, account_id, name)
            start_ms, end_ms, since_ms = int(start_s * 1000), int(end_s * 1000), int(since_s * 1000)
            slice_end = MediaSlice.start_ms + MediaSlice.duration_ms
            of_slices = (
                select(
                    MediaSlice.recording,
                    MediaSlice.endpoint,
                    MediaSlice.bucket,
                    func.min(MediaSlice.start_ms),
                    func.max(slice_end),
                )
                .where(_of_stream(MediaSlice, domain, app, stream), MediaSlice.kind == "record")
                .where(MediaSlice.start_ms >= since_ms)
                .where(MediaSlice.start_ms >= start_ms - SLICE_MAX_MS, MediaSlice.start_ms < end_ms, slice_end > start_ms)
                .group_by(MediaSlice.recording, MediaSlice.endpoint, MediaSlice.bucket)
            )
            of_files = (
                select(
                    RecordedFile.recording,
                    RecordedFile.endpoint,
                    RecordedFile.bucket,
                    func.min(RecordedFile.start_ms),
                    func.max(RecordedFile.end_ms),
                )
                .where(_of_stream(RecordedFile, domain, app, stream), RecordedFile.state != "deleted")
                .where(RecordedFile.start_ms < end_ms, RecordedFile.end_ms > start_ms, RecordedFile.start_ms >= since_ms)
                .group_by(RecordedFile.recording, RecordedFile.endpoint, RecordedFile.bucket)
            )
            found: dict[tuple[int | None, str, str], tuple[int, int]] = {}
            for query in (of_slices, of_files):
                for recording, endpoint, bucket, first_ms, last_ms in await session.execute(query):
                    known = found.get((recording, endpoint, bucket), (first_ms, last_ms))
                    found[recording, endpoint, bucket] = min(first_ms, known[0]), max(last_ms, known[1])
            recordings = [recording for recording, _, _ in found if recording is not None]
            specs = select(Recording.id, Recording.spec).where(Recording.id.in_(recordings))
            names = {id_: _name(spec) for id_, spec in await session.execute(specs)}
        contents = [
            Content(first_ms / 1000, last_ms / 1000, endpoint, bucket, names.get(recording or 0, ""))
            for (recording, endpoint, bucket), (first_ms, last_ms) in found.items()
        ]
        return sorted(contents, key=lambda content: content.start_s)

    # Clips

    async def create_clip(
        self,
        account_id: str,
        name: str,
        app: str,
        stream: str,
        start_time: str,
        end_time: str,
        *,
        endpoint: str,
        bucket: str,
        object_: str,
        whole_end: bool = False,
        actor: Actor,
    ) -> Clip:
        """Store a playlist of the stored slices that were complete between start and end (CreateLiveStreamRecordIndexFiles).

        object_: its name, with INDEX_VARIABLES. whole_end: the slice in which the end lies belongs to it, too. Slices of
        another bucket are listed by their URLs. Raises as `contents` does (3 months instead of 6),
        InvalidOssEndpoint.Malformed, InvalidOssBucket.Malformed, InvalidOssBucket.NotFound, InvalidOssObject.Malformed,
        InvalidStream.NotFound, InvalidConfig.Changed, NoRecordContent.
        """
        start_s, end_s = self._span(start_time, end_time, SLICES_KEPT_S)
        fault = problem(object_, INDEX_VARIABLES)
        if fault:
            raise error("InvalidOssObject.Malformed", fault)
        async with self._database.read() as session:
            domain, since_s = await _owned(session, account_id, name)
            slices = await _slices(session, domain, app, stream, int(start_s * 1000), int(end_s * 1000), whole_end)
            slices = [item for item in slices if item.start_ms >= since_s * 1000]
            if not slices:
                if not await _is_known(session, domain, app, stream, since_s):
                    raise error("InvalidStream.NotFound")
                raise error("NoRecordContent")
        if len({(item.endpoint, item.bucket) for item in slices}) > 1:
            raise error("InvalidConfig.Changed")
        key = self._clip_key(object_, app, stream, start_s)
        endpoint = await self._buckets.check(account_id, endpoint, bucket)
        now_s = self._clock()
        clip = Clip(
            id=str(uuid.uuid4()),
            domain=domain,
            app=app,
            stream=stream,
            format="m3u8",
            endpoint=endpoint,
            bucket=bucket,
            key=key,
            start_s=start_s,
            end_s=end_s,
            duration_ms=sum(item.duration_ms for item in slices),
            width=max(item.width for item in slices),
            height=max(item.height for item in slices),
            created_s=now_s,
        )
        async with self._database.write() as session:
            await self._buckets.claim(session, account_id, endpoint, bucket, now_s)
        try:
            await self._stores.put_bytes(endpoint, bucket, key, _playlist(clip, slices), content_type=PLAYLIST_TYPE)
        except ObjectError as reason:
            raise error("InvalidOssBucket.NotFound", f"{reason}.") from None
        async with self._database.change(
            account_id, actor, "CreateLiveStreamRecordIndexFiles", f"{domain}/{app}/{stream}", now_s
        ) as change:
            await owned_main_domain(change.session, account_id, name)
            change.session.add(RecordIndexFile(**msgspec.structs.asdict(clip)))
            change.after = clip
        return clip

    async def clip(self, account_id: str, name: str, app: str, stream: str, id_: str) -> Clip:
        """One clip (DescribeLiveStreamRecordIndexFile). Raises InvalidRecordId.NotFound."""
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
            row = await session.get(RecordIndexFile, id_)
        if row is None or (row.domain, row.app, row.stream) != (domain, app, stream):
            raise error("InvalidRecordId.NotFound")
        return _of_row(Clip, row)

    async def clips(
        self,
        account_id: str,
        name: str,
        app: str,
        stream: str,
        start_time: str,
        end_time: str,
        *,
        order: Order = "asc",
        page_number: int = 1,
        page_size: int = 10,
    ) -> ClipPage:
        """The clips of a stream that were made between start and end, by that time (DescribeLiveStreamRecordIndexFiles).

        Raises as `contents` does.
        """
        start_s, end_s = self._span(start_time, end_time, KEPT_S)
        model = RecordIndexFile
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
            where = [model.domain == domain, model.app == app, model.stream == stream]
            where += [model.created_s >= start_s, model.created_s <= end_s]
            total = await session.scalar(select(func.count()).select_from(model).where(*where)) or 0
            by_time = (model.created_s.desc(), model.id.desc()) if order == "desc" else (model.created_s, model.id)
            page = select(model).where(*where).order_by(*by_time).limit(page_size).offset((page_number - 1) * page_size)
            return ClipPage([_of_row(Clip, row) for row in await session.scalars(page)], total)

    async def delete_clips(
        self, account_id: str, name: str, app: str, stream: str, ids: Sequence[str], *, files: bool, actor: Actor
    ) -> list[Deletion]:
        """Forget clips, and with `files` remove them, but not their slices (DeleteLiveStreamRecordIndexFiles).

        A clip whose file cannot be removed is not forgotten. Raises InvalidRecordId for too many.
        """
        wanted = list(dict.fromkeys(ids))
        if not 1 <= len(wanted) <= DELETED_MAX:
            raise invalid("RecordId", f"There can be up to {DELETED_MAX}.")
        async with self._database.read() as session:
            domain = await owned_main_domain(session, account_id, name)
            model = RecordIndexFile
            where = (model.id.in_(wanted), model.domain == domain, model.app == app, model.stream == stream)
            known = {row.id: _of_row(Clip, row) for row in await session.scalars(select(model).where(*where))}
        messages = {}
        for id_ in wanted:
            messages[id_] = "FileNotFound" if id_ not in known else "OK"
            if files and id_ in known:
                try:
                    await self._stores.delete(known[id_].endpoint, known[id_].bucket, known[id_].key)
                except ObjectError as fault:
                    messages[id_] = f"AccessDenied: {fault}"
        gone = [id_ for id_ in wanted if messages[id_] == "OK"]
        if gone:
            async with self._database.change(
                account_id, actor, "DeleteLiveStreamRecordIndexFiles", f"{domain}/{app}/{stream}", self._clock()
            ) as change:
                change.before = [known[id_] for id_ in gone]
                await change.session.execute(delete(model).where(model.id.in_(gone)))
        return [Deletion(id_, messages[id_]) for id_ in wanted]

    def _span(self, start_time: str, end_time: str, kept_s: int) -> tuple[float, float]:
        start_s = _time(start_time, "InvalidStartTime.Malformed")
        end_s = _time(end_time, "InvalidEndTime.Malformed")
        if end_s <= start_s:
            raise error("InvalidEndTime.Mismatch")
        if end_s - start_s > SPAN_MAX_S:
            raise error("InvalidTimeSpan")
        if start_s < self._clock() - kept_s:
            raise error("InvalidStartTime.Malformed", f"Nothing is known of what is older than {kept_s // 86_400} days.")
        return start_s, end_s

    def _clip_key(self, object_: str, app: str, stream: str, start_s: float) -> str:
        start = datetime.datetime.fromtimestamp(start_s, ZONE)
        values = {
            "AppName": app,
            "StreamName": stream,
            "Date": f"{start:%Y-%m-%d}",
            "Hour": f"{start:%H}",
            "Minute": f"{start:%M}",
            "Second": f"{start:%S}",
            "UnixTimestamp": str(int(start_s)),
        }
        key = fill(object_, values)
        try:
            check_key(key)
        except ObjectError as fault:
            raise error("InvalidOssObject.Malformed", f"{fault}.") from None
        return key


async def purge(session: AsyncSession, now_s: float, at_once: int) -> int:
    """Forget some of what is so old that it is not told of any more; returns how many rows."""
    count = 0
    model_and_age: list[tuple[type[RecordIndexFile | MediaSlice | RecordedFile | Recording], ColumnElement[bool]]] = [
        (RecordIndexFile, RecordIndexFile.created_s < now_s - KEPT_S),
        (
            MediaSlice,
            and_(
                MediaSlice.kind == "record",
                MediaSlice.state == "stored",
                MediaSlice.start_ms < int((now_s - SLICES_KEPT_S) * 1000),
            ),
        ),
        (RecordedFile, and_(RecordedFile.state == "stored", RecordedFile.created_s < now_s - KEPT_S)),
        (Recording, _over(now_s - KEPT_S)),
    ]
    for model, is_old in model_and_age:
        old = list(await session.scalars(select(model.id).where(is_old).limit(at_once)))
        if old:
            await session.execute(delete(model).where(model.id.in_(old)))
            count += len(old)
    return count


def _over(before_s: float) -> ColumnElement[bool]:
    """A recording that was closed before this time, and of which nothing is known or waits any more."""
    return and_(
        Recording.state.in_(("closed", "failed")),
        *(time_s < before_s for time_s in (Recording.started_s, Recording.ended_s, Recording.close_at_s)),
        ~exists().where(RecordedFile.recording == Recording.id),
        ~exists().where(MediaSlice.recording == Recording.id),
        ~exists().where(Upload.owner_kind == "init", Upload.owner_id == Recording.id),
    )


def object_url(endpoint: str, bucket: str, key: str) -> str:
    """The URL of an object, as the service writes it."""
    return f"http://{bucket}.{endpoint}/{quote(key)}"


def _of_stream(model: type[MediaSlice | RecordedFile], domain: str, app: str, stream: str) -> ColumnElement[bool]:
    """Rows of a stream, which may be a rendition's name."""
    source, _, template = stream.rpartition("_")
    mine = and_(model.stream == stream, model.template == "")
    if source and template:
        mine = or_(mine, and_(model.stream == source, model.template == template))
    return and_(model.domain == domain, model.app == app, mine)


async def _slices(
    session: AsyncSession, domain: str, app: str, stream: str, start_ms: int, end_ms: int, whole_end: bool
) -> list[MediaSlice]:
    """The stored TS slices that were complete after start_ms, and not after end_ms; whole_end: and the one after them that
    holds end_ms.
    """
    slice_end = MediaSlice.start_ms + MediaSlice.duration_ms
    rows = await session.scalars(
        select(MediaSlice)
        .where(_of_stream(MediaSlice, domain, app, stream))
        .where(MediaSlice.kind == "record", MediaSlice.format == "m3u8", MediaSlice.state == "stored")
        .where(MediaSlice.start_ms >= start_ms - SLICE_MAX_MS, MediaSlice.start_ms < end_ms, slice_end > start_ms)
        .order_by(MediaSlice.start_ms, MediaSlice.id)
    )
    return [row for row in rows if whole_end or row.start_ms + row.duration_ms <= end_ms]


async def _owned(session: AsyncSession, account_id: str, name: str) -> tuple[str, float]:
    """The name of a main streaming domain, and since when it is the account's: what was recorded before, under a domain of
    this name that was deleted, is not for whoever adds it again. Raises as `owned_main_domain` does.
    """
    domain = await owned_main_domain(session, account_id, name)
    return domain, (await session.get_one(Domain, domain)).created_s


async def _is_known(session: AsyncSession, domain: str, app: str, stream: str, since_s: float) -> bool:
    """Whether this stream was ever published, or recorded, as far as is known."""
    sliced = select(MediaSlice.id).where(_of_stream(MediaSlice, domain, app, stream))
    if await session.scalar(sliced.where(MediaSlice.start_ms >= int(since_s * 1000)).limit(1)) is not None:
        return True
    names = {stream, stream.rpartition("_")[0]}
    pushed = select(Publish.id).where(Publish.domain == domain, Publish.app == app, Publish.stream.in_(names)).limit(1)
    return await session.scalar(pushed) is not None


def _playlist(clip: Clip, slices: Sequence[MediaSlice]) -> bytes:
    folder = posixpath.dirname(clip.key)
    segments = []
    for index, item in enumerate(slices):
        same = (item.endpoint, item.bucket) == (clip.endpoint, clip.bucket)
        uri = quote(posixpath.relpath(item.key, folder or ".")) if same else object_url(item.endpoint, item.bucket, item.key)
        last = slices[index - 1]
        cut = index > 0 and (item.discontinuity or item.recording != last.recording or item.number != last.number + 1)
        segments.append(Segment(index, item.duration_ms, uri, cut, item.start_ms))
    return media_playlist(segments, target_duration_s=1, discontinuity_sequence=0, independent=True, ended=True)


def _name(spec: str) -> str:
    """How a recording's slices are called, or its files if it has none; "" if its specification cannot be read."""
    try:
        formats = msgspec.json.decode(spec, type=_Spec).formats
    except msgspec.MsgspecError:
        return ""
    sliced = [item.slice_object_prefix for item in formats if item.slice_object_prefix]
    return next(iter([*sliced, *(item.object_prefix for item in formats)]), "")


def _of_row(type_: type[T], row: object) -> T:
    return type_(**{field: getattr(row, field) for field in type_.__struct_fields__})


def _time(text: str, malformed: Code) -> float:
    try:
        return parse_time(text)
    except ValueError as fault:
        raise error(malformed, f"{fault}.") from None
