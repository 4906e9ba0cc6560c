"""Streams of a domain: which are live, which were, and which are forbidden."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
import structlog
from sqlalchemy import ColumnElement, delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access import faults, presence
from headwater.access import policy as policies
from headwater.access.names import is_name
from headwater.access.policy import Ban, Kick
from headwater.access.presence import STREAM_PREFIX, StreamPresence
from headwater.cluster.interface import SYNCED, Cluster
from headwater.domains import multi_stream, record_content, rules
from headwater.domains.bindings import is_sub, main_domain
from headwater.domains.errors import error, invalid
from headwater.domains.owned import owned_domain
from headwater.domains.publisher import Publisher
from headwater.notify.events import StreamFault, StreamState
from headwater.notify.queue import enqueue, pending_publish
from headwater.settings import Domains
from headwater.store.database import Actor, Database
from headwater.store.models import Domain, DomainMapping, Publish, StreamBan, StreamNotify

BANS_MAX = 10_000
"""Forbidden streams of a domain (reference control-plane 7.2)."""
BAN_DEFAULT_S = 183 * 86400
"""Six months: how long a ban without ResumeTime lasts (reference media-plane 6.1)."""
HISTORY_SPAN_S = 30 * 86400
"""The longest span of one question about the history, and how far back it reaches (reference control-plane 7.2)."""
PURGED_AT_ONCE = 500
"""Rows that one purge removes of each kind: a few milliseconds of the database's time."""
PURGE_INTERVAL_S = 60.0

Order = Literal["stream_name_desc", "stream_name_asc", "publish_time_desc", "publish_time_asc"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page; `total` counts the items of all pages."""

    items: list[T]
    total: int


class PublishRecord(msgspec.Struct, frozen=True):
    """One push. `domain` is the streaming domain; stopped_s is None while it is live. Times are unix seconds.

    Or a stream that the center has made: then `publish_domain` is the streaming domain, too, and `publish_url` is the address
    of the stream of which it was made.
    """

    session: str
    domain: str
    app: str
    stream: str
    publish_domain: str
    publish_url: str
    client_ip: str
    server_ip: str
    node: str
    started_s: float
    stopped_s: float | None

    @property
    def made(self) -> bool:
        """Whether the center has made it."""
        return self.publish_domain == self.domain

    @property
    def template(self) -> str:
        """Of a rendition what has made it, "" for a push and for a delayed copy."""
        source = self.publish_url.rpartition("/")[2]
        return self.stream.removeprefix(f"{source}_") if self.made and self.stream.startswith(f"{source}_") else ""


class StreamLimit(msgspec.Struct, frozen=True):
    """How many streams a main streaming domain has live, and may have."""

    domain: str
    streams: int
    streams_max: int


class StreamService:
    """What an account may ask and order about its streams. Methods raise DomainError for what they refuse.

    publisher: the DomainService's, so that both put bans one after the other.
    """

    def __init__(
        self,
        database: Database,
        cluster: Cluster,
        publisher: Publisher,
        settings: Domains,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._cluster = cluster
        self._publisher = publisher
        self._settings = settings
        self._clock = clock

    # Live streams

    async def limit(self, account_id: str, domain: str) -> StreamLimit:
        """How many streams a main streaming domain has live, and may have (DescribeLiveDomainLimit).

        Raises IllegalOperation for an ingest domain and for a sub-streaming domain.
        """
        async with self._database.read() as session:
            found = await owned_domain(session, account_id, domain)
            if found.type != "liveVideo" or await is_sub(session, found.name):
                raise error("IllegalOperation")
        entries = await self._cluster.list(f"{STREAM_PREFIX}{found.name}/")
        live = [item for entry in entries if (item := _decode(entry.key, entry.value)) is not None and not item.source]
        return StreamLimit(found.name, len(live), self._settings.streams_per_domain)

    async def online_streams(
        self,
        account_id: str,
        domain: str,
        *,
        app: str = "",
        stream: str = "",
        strict: bool = False,
        made: bool | None = None,
        page_number: int = 1,
        page_size: int = 2000,
    ) -> Page[StreamPresence]:
        """What is live on a streaming domain, by app and stream (DescribeLiveStreamsOnlineList).

        strict: app and stream must be equal; otherwise it is enough that they contain the text. made: only what the center
        makes of other streams, or only what publishers push. Raises IllegalOperation for an ingest domain.
        """
        async with self._database.read() as session:
            name = await _streaming_domain(session, account_id, domain)
        entries = await self._cluster.list(f"{STREAM_PREFIX}{name}/")
        live = [item for entry in entries if (item := _decode(entry.key, entry.value)) is not None]
        found = [
            item
            for item in live
            if _has(item.app, app, strict) and _has(item.stream, stream, strict) and made in (None, bool(item.source))
        ]
        start = (page_number - 1) * page_size
        return Page(found[start : start + page_size], len(found))

    async def live(self, account_id: str | None) -> list[StreamPresence]:
        """Everything that is live on an account's domains, or with None on anybody's, sorted by name."""
        found = [item for entry in await self._cluster.list(STREAM_PREFIX) if (item := _decode(entry.key, entry.value))]
        if account_id is None:
            return found
        names = {item.domain for item in found}
        async with self._database.read() as session:
            own = set(await session.scalars(select(Domain.name).where(Domain.name.in_(names), Domain.account == account_id)))
        return [item for item in found if item.domain in own]

    async def publish_history(
        self,
        account_id: str,
        domain: str,
        start_s: float,
        end_s: float,
        *,
        app: str = "",
        stream: str = "",
        strict: bool = False,
        made: bool | None = False,
        order: Order = "publish_time_asc",
        page_number: int = 1,
        page_size: int = 2000,
    ) -> Page[PublishRecord]:
        """Pushes to a streaming domain that began between two times (DescribeLiveStreamsPublishList).

        made: True for what the center has made of them (renditions, delayed copies) instead, None for both.
        Raises InvalidEndTime.Mismatch, InvalidTimeSpan (longer than 30 days), IllegalOperation for an ingest domain.
        """
        if end_s <= start_s:
            raise error("InvalidEndTime.Mismatch")
        if end_s - start_s > HISTORY_SPAN_S:
            raise error("InvalidTimeSpan")
        async with self._database.read() as session:
            name = await _streaming_domain(session, account_id, domain)
            where: list[ColumnElement[bool]] = [
                Publish.domain == name,
                Publish.started_s >= start_s,
                Publish.started_s <= end_s,
            ]
            if made is not None:
                where.append(Publish.publish_domain == name if made else Publish.publish_domain != name)
            for column, text in ((Publish.app, app), (Publish.stream, stream)):
                if text:
                    where.append(column == text if strict else column.contains(text, autoescape=True))
            total = await session.scalar(select(func.count()).select_from(Publish).where(*where)) or 0
            page = select(Publish).where(*where).limit(page_size).offset((page_number - 1) * page_size)
            match order:
                case "stream_name_desc":
                    page = page.order_by(Publish.stream.desc(), Publish.id)
                case "stream_name_asc":
                    page = page.order_by(Publish.stream, Publish.id)
                case "publish_time_desc":
                    page = page.order_by(Publish.started_s.desc(), Publish.id.desc())
                case "publish_time_asc":
                    page = page.order_by(Publish.started_s, Publish.id)
            rows = [msgspec.convert(row, PublishRecord, from_attributes=True) for row in await session.scalars(page)]
        return Page(rows, total)

    # Bans

    async def forbid_stream(
        self,
        account_id: str,
        domain: str,
        app: str,
        stream: str,
        *,
        stream_type: str = "publisher",
        oneshot: bool = False,
        resume_time: str = "",
        actor: Actor,
    ) -> None:
        """Cut a stream and forbid it until the resume time or for six months; with oneshot only cut it (ForbidLiveStream).

        domain: the ingest domain; the streaming domain will do, too. resume_time: `yyyy-MM-ddTHH:mm:ssZ`. Raises
        InvalidLiveStreamType, InvalidAppName, InvalidStreamName, InvalidResumeTime.Malformed, IllegalOperation (not bound),
        ConfigAlreadyExists (forbidden already), QuotaExceeded.Blacklist.
        """
        _check_stream_type(stream_type)
        if not is_name(app):
            raise invalid("AppName")
        if not is_name(stream):
            raise invalid("StreamName")
        now_s = self._clock()
        until_s = now_s + BAN_DEFAULT_S
        if resume_time:
            try:
                until_s = rules.parse_time(resume_time)
            except ValueError:
                raise error("InvalidResumeTime.Malformed") from None
            if until_s <= now_s:
                raise error("InvalidResumeTime.Malformed")
        async with self._database.change(
            account_id, actor, "ForbidLiveStream", f"{domain.lower()}/{app}/{stream}", now_s
        ) as change:
            name = await _bound_domain(change.session, account_id, domain)
            change.after = {"domain": name, "oneshot": oneshot, "until_s": None if oneshot else until_s}
            if not oneshot:
                await _add_ban(change.session, StreamBan(domain=name, app=app, stream=stream, until_s=until_s, created_s=now_s))
        if oneshot:
            await self._cluster.publish(policies.KICK_SUBJECT, policies.encode(Kick(name, app, stream)))
        else:
            await self._publisher.bans([(name, app, stream)])

    async def resume_stream(
        self, account_id: str, domain: str, app: str, stream: str, *, stream_type: str = "publisher", actor: Actor
    ) -> None:
        """Allow a stream again, in every app if app is `*` (ResumeLiveStream); one that is not forbidden stays so.

        Raises InvalidLiveStreamType, IllegalOperation (not bound).
        """
        _check_stream_type(stream_type)
        async with self._database.change(
            account_id, actor, "ResumeLiveStream", f"{domain.lower()}/{app}/{stream}", self._clock()
        ) as change:
            name = await _bound_domain(change.session, account_id, domain)
            chosen = (StreamBan.domain == name) & (StreamBan.stream == stream)
            if app != "*":
                chosen &= StreamBan.app == app
            bans = (await change.session.scalars(select(StreamBan).where(chosen))).all()
            await change.session.execute(delete(StreamBan).where(chosen))
            change.before = [_ban(ban) for ban in bans]
        await self._publisher.bans([(ban.domain, ban.app, ban.stream) for ban in bans])

    async def blocked_streams(self, account_id: str, domain: str, *, page_number: int = 1, page_size: int = 2000) -> Page[Ban]:
        """The streams of a streaming domain that are forbidden now (DescribeLiveStreamsBlockList).

        Raises IllegalOperation for an ingest domain.
        """
        async with self._database.read() as session:
            name = await _streaming_domain(session, account_id, domain)
            where = (StreamBan.domain == name) & (StreamBan.until_s > self._clock())
            total = await session.scalar(select(func.count()).select_from(StreamBan).where(where)) or 0
            page = select(StreamBan).where(where).order_by(StreamBan.app, StreamBan.stream)
            rows = await session.scalars(page.limit(page_size).offset((page_number - 1) * page_size))
            return Page([_ban(row) for row in rows], total)

    # What runs beside

    async def run_history(self) -> None:
        """Write every push into the history as it starts and stops, until cancelled; cut those that are one too many.

        What the center makes is written, too, but nobody is told of it.
        Where several may push one stream, that is its master's history, and every change of the master is written, too.

        Pushes that ended while nobody watched are closed with the time at which that is noticed.
        """
        live: dict[str, StreamPresence] = {}
        async for change in self._cluster.watch(STREAM_PREFIX):
            if change.key == SYNCED:
                # what the watch delivered before it began again says nothing, so ask what is there now
                present = {entry.key for entry in await self._cluster.list(STREAM_PREFIX)}
                live = {key: item for key, item in live.items() if key in present}
                await self._close_all_but({item.session for item in live.values()})
                continue
            before = live.pop(change.key, None)
            now = None if change.value is None else _decode(change.key, change.value)
            if now is not None:
                live[change.key] = now
            if before is not None and (now is None or now.session != before.session):
                await self._close([before.session])
            if now is not None and (before is None or now.session != before.session):
                await self._open(now)
            elif now is not None and before is not None and now.width and not before.width and not now.source:
                await self._note_size(now)
            if now is not None and now.upstream and not (before and before.upstream and before.session == now.session):
                await self._note_master(now)
            if now is not None and before is None and not now.source:
                await self._hold_limit(now, live)

    async def run_faults(self, data_dir: str) -> None:
        """Tell customers of pushes that the workers of this node have cut, until cancelled.

        What was laid down while nobody listened is told at the start.
        """
        events = self._cluster.subscribe(presence.FAULT_SUBJECT)
        await self.note_faults(data_dir)
        async for _ in events:
            await self.note_faults(data_dir)

    async def note_faults(self, data_dir: str) -> None:
        """Queue the callbacks of what workers have laid down. Its file goes then; a death in between tells it twice."""
        for path, fault in await asyncio.to_thread(lambda: list(faults.laid(data_dir))):
            if fault is None:
                _log.warning("fault_unreadable", path=str(path))
            else:
                told = StreamFault(
                    domain=fault.publish_domain,
                    app=fault.app,
                    stream=fault.stream,
                    session=fault.session,
                    ip=fault.client_ip,
                    code=fault.code,
                    reason=fault.reason,
                    time_s=fault.at_s,
                )
                async with self._database.write() as session:
                    await enqueue(session, told, self._clock())
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _hold_limit(self, newest: StreamPresence, live: Mapping[str, StreamPresence]) -> None:
        """Cut a stream that has just begun if its domain has too many."""
        if len(live) <= self._settings.streams_per_domain:
            return
        if sum(item.domain == newest.domain and not item.source for item in live.values()) > self._settings.streams_per_domain:
            _log.warning("stream_limit_reached", domain=newest.domain, app=newest.app, stream=newest.stream)
            await self._cluster.publish(policies.KICK_SUBJECT, policies.encode(Kick(newest.domain, newest.app, newest.stream)))

    async def close_history(self) -> None:
        """Write that every push has ended: for the end of a platform, when its workers are gone."""
        await self._close_all_but(set())

    async def run_purge(self) -> None:
        """Remove expired bans and old history, a little at a time, until cancelled."""
        while True:
            await self.purge()
            await asyncio.sleep(PURGE_INTERVAL_S)

    async def purge(self) -> int:
        """Remove some of the bans that have ended and of the history that is too old to be asked for; returns how many."""
        now_s = self._clock()
        ended = select(StreamBan).where(StreamBan.until_s <= now_s).limit(PURGED_AT_ONCE)
        old = select(Publish.id).where(Publish.stopped_s < now_s - HISTORY_SPAN_S).limit(PURGED_AT_ONCE)
        async with self._database.write() as session:
            bans = [(ban.domain, ban.app, ban.stream) for ban in await session.scalars(ended)]
            if bans:
                await session.execute(
                    delete(StreamBan).where(tuple_(StreamBan.domain, StreamBan.app, StreamBan.stream).in_(bans))
                )
            publishes = list(await session.scalars(old))
            if publishes:
                await session.execute(delete(Publish).where(Publish.id.in_(publishes)))
            changes = await multi_stream.purge_changes(session, now_s - HISTORY_SPAN_S, PURGED_AT_ONCE)
            records = await record_content.purge(session, now_s, PURGED_AT_ONCE)
        await self._publisher.bans(bans)
        return len(bans) + len(publishes) + changes + records

    async def _note_master(self, item: StreamPresence) -> None:
        async with self._database.write() as session:
            await multi_stream.note_master(session, item, self._clock())

    async def _open(self, item: StreamPresence) -> None:
        async with self._database.write() as session:
            if await session.get(Domain, item.domain) is None:  # deleted a moment ago; the push is being cut
                return
            row = await session.scalar(select(Publish).where(Publish.session == item.session))
            if row is None:
                session.add(
                    Publish(
                        session=item.session,
                        domain=item.domain,
                        app=item.app,
                        stream=item.stream,
                        publish_domain=item.domain if item.source else item.publish_domain,
                        publish_url=f"rtmp://{item.domain}/{item.app}/{item.source}" if item.source else item.publish_url,
                        client_ip=item.client_ip,
                        server_ip=item.server_ip,
                        node=item.node,
                        started_s=item.published_at,
                        stopped_s=None,
                    )
                )
            else:  # it was away for a moment, or this process was
                if row.stopped_s is None:
                    return
                row.stopped_s = None
            if not item.source:
                await enqueue(session, _state(item, "publish", self._clock()), self._clock())

    async def _note_size(self, item: StreamPresence) -> None:
        """A push is announced before its first picture: tell the size, too, if the push has not been told yet."""
        begun = _state(item, "publish", self._clock())
        async with self._database.write() as session:
            untold = await pending_publish(session, begun)
            targets = await session.get(StreamNotify, item.publish_domain)
            if untold is not None and targets is not None and targets.notify_url:
                begun = msgspec.structs.replace(begun, time_s=untold.created_s)
                untold.url = begun.request(targets.notify_url)[1]

    async def _close(self, sessions: Iterable[str]) -> None:
        """Write that pushes have ended. One too short to have been told is not told at all."""
        now_s = self._clock()
        async with self._database.write() as session:
            for item in sessions:
                row = await session.scalar(select(Publish).where(Publish.session == item, Publish.stopped_s.is_(None)))
                if row is None:
                    continue
                row.stopped_s = now_s
                if row.publish_domain == row.domain:
                    continue  # what the center has made is no push
                done = _state(row, "publish_done", now_s)
                untold = await pending_publish(session, done)
                if untold is not None and untold.next_try_s > now_s:
                    await session.delete(untold)
                else:
                    await enqueue(session, done, now_s)

    async def _close_all_but(self, live: set[str]) -> None:
        async with self._database.read() as session:
            stale = list(await session.scalars(select(Publish.session).where(Publish.stopped_s.is_(None))))
        await self._close(item for item in stale if item not in live)


def _decode(key: str, value: bytes) -> StreamPresence | None:
    try:
        return presence.decode(value)
    except msgspec.DecodeError as fault:
        _log.warning("stream_presence_unreadable", key=key, error=str(fault))
        return None


def _has(text: str, wanted: str, strict: bool) -> bool:
    return not wanted or (text == wanted if strict else wanted in text)


def _state(push: StreamPresence | Publish, type_: Literal["publish", "publish_done"], time_s: float) -> StreamState:
    """What customers are told of a push."""
    size = (push.width, push.height) if isinstance(push, StreamPresence) else (0, 0)
    return StreamState(
        type=type_,
        domain=push.publish_domain,
        app=push.app,
        stream=push.stream,
        session=push.session,
        ip=push.client_ip,
        node=push.node,
        time_s=time_s,
        query=urlsplit(push.publish_url).query,
        width=size[0],
        height=size[1],
    )


def _check_stream_type(text: str) -> None:
    if text != "publisher":
        raise invalid("LiveStreamType")


def _ban(row: StreamBan) -> Ban:
    return Ban(row.domain, row.app, row.stream, row.until_s)


async def _streaming_domain(session: AsyncSession, account_id: str, name: str) -> str:
    domain = await owned_domain(session, account_id, name)
    if domain.type != "liveVideo":
        raise error("IllegalOperation")
    return await main_domain(session, domain.name)


async def _bound_domain(session: AsyncSession, account_id: str, name: str) -> str:
    """The main streaming domain that is meant by a streaming domain or by an ingest domain."""
    domain = await owned_domain(session, account_id, name)
    if domain.type == "liveVideo":
        return await main_domain(session, domain.name)
    mapping = await session.get(DomainMapping, domain.name)
    if mapping is None:
        raise error("IllegalOperation")
    return mapping.pull_domain


async def _add_ban(session: AsyncSession, ban: StreamBan) -> None:
    old = await session.get(StreamBan, (ban.domain, ban.app, ban.stream))
    if old is not None:
        if old.until_s > ban.created_s:
            raise error("ConfigAlreadyExists")
        old.until_s, old.created_s = ban.until_s, ban.created_s
        return
    active = (
        select(func.count()).select_from(StreamBan).where(StreamBan.domain == ban.domain, StreamBan.until_s > ban.created_s)
    )
    if (await session.scalar(active) or 0) >= BANS_MAX:
        raise error("QuotaExceeded.Blacklist")
    session.add(ban)
