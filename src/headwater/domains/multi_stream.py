"""Dual streams: several publishers of one stream, of whom one is the master and the others stand by.

Reference control-plane 2.1 and 2.2 (SetLiveDomainMultiStreamConfig and its family); values, defaults and bounds of the query
are those that the documentation of the SDK names. Media nodes do the switching: they learn the settings from the policy, and
tell who pushes under `upstream/`, and who is the master in the stream's presence (`access.presence`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
import structlog
from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access import presence
from headwater.access.names import is_name
from headwater.access.presence import PROMOTE_SUBJECT, STREAM_PREFIX, UPSTREAM_PREFIX, Promote, StreamPresence, UpstreamPresence
from headwater.cluster.interface import Cluster, Entry
from headwater.domains import bindings
from headwater.domains.errors import error, invalid
from headwater.domains.owned import owned_domain
from headwater.domains.publisher import Publisher
from headwater.notify.events import MasterSwitch
from headwater.notify.queue import enqueue
from headwater.store.database import Actor, Database
from headwater.store.models import Domain, ManualStream, MasterChange, MultiStreamDomain

MANUAL_MAX: Final = 200
"""Streams of a domain whose optimal mode is off: they travel with its policy to every media node. Ours."""
CHANGES_KEPT: Final = 100
"""Changes of the master that are kept for each stream, so that one that changes all the time fills no table. Ours."""
SPAN_MAX_S: Final = 7 * 86_400
"""The longest span of changes that may be asked for."""
SPAN_DEFAULT_S: Final = 86_400
"""How long before its end a span begins of which only the end is said."""

T = TypeVar("T")

StreamName = tuple[str, str]
"""App and stream."""

_log = structlog.get_logger(__name__)


CHANGE_REASONS: Final = {
    "published": "master stream published",
    "ended": "master stream no data",
    "silent": "master stream no data",
    "set": "merge cut manually",
}
"""ChangeReason for the reason of a presence. The service names the last two; the first is ours: there was no master before."""


class Upstream(msgspec.Struct, frozen=True):
    """One publisher of a stream. since_s: unix seconds since which it pushes."""

    number: int
    client_ip: str
    since_s: float
    master: bool


class ChangeRecord(msgspec.Struct, frozen=True):
    """A publisher that became the master. reason: as in StreamPresence. changed_s: unix seconds."""

    upstream: int
    client_ip: str
    reason: str
    changed_s: float


class OnlineStream(msgspec.Struct, frozen=True):
    """A live stream that several publishers may push. changes: newest first."""

    domain: str
    app: str
    stream: str
    optimal_mode: bool
    upstreams: list[Upstream]
    changes: list[ChangeRecord]


class OnlinePage(msgspec.Struct, frozen=True):
    """One page of live streams; `total` counts all pages."""

    items: list[OnlineStream]
    total: int


class MultiStreamService:
    """Dual streams of main streaming domains. Methods raise DomainError for what they refuse, IllegalOperation for others.

    publisher: the DomainService's, so that policies are put one after the other.
    """

    def __init__(
        self, database: Database, cluster: Cluster, publisher: Publisher, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._cluster = cluster
        self._publisher = publisher
        self._clock = clock

    async def switch(self, account_id: str, name: str, on: bool, *, actor: Actor) -> None:
        """Let several publishers push one stream of a domain, or one alone (SetLiveDomainMultiStreamConfig)."""
        now_s = self._clock()
        async with self._database.change(account_id, actor, "SetLiveDomainMultiStreamConfig", name.lower(), now_s) as change:
            domain = await _main_domain(change.session, account_id, name)
            row = await change.session.get(MultiStreamDomain, domain.name)
            change.before, change.after = {"on": row is not None}, {"on": on}
            if on and row is None:
                change.session.add(MultiStreamDomain(domain=domain.name, since_s=now_s))
            elif row is not None and not on:
                await change.session.delete(row)
            domain.modified_s = now_s
        await self._publisher.policies([domain.name])

    async def is_on(self, account_id: str, name: str) -> bool:
        """Whether several publishers may push one stream of a domain (DescribeLiveDomainMultiStreamConfig)."""
        async with self._database.read() as session:
            domain = await _main_domain(session, account_id, name)
            return await session.get(MultiStreamDomain, domain.name) is not None

    async def set_optimal_mode(self, account_id: str, name: str, app: str, stream: str, on: bool, *, actor: Actor) -> None:
        """Let the platform choose a stream's master, or only the customer (SetLiveDomainMultiStreamOptimalMode).

        The stream need not be live. Raises InvalidAppName, InvalidStreamName, QuotaExceeded.ManualStream.
        """
        _check_names(app, stream)
        object_ = f"{name.lower()}/{app}/{stream}"
        async with self._database.change(
            account_id, actor, "SetLiveDomainMultiStreamOptimalMode", object_, self._clock()
        ) as change:
            session = change.session
            domain = await _main_domain(session, account_id, name)
            row = await session.get(ManualStream, (domain.name, app, stream))
            change.before, change.after = {"on": row is None}, {"on": on}
            if on and row is not None:
                await session.delete(row)
            elif not on and row is None:
                count = select(func.count()).select_from(ManualStream).where(ManualStream.domain == domain.name)
                if (await session.scalar(count) or 0) >= MANUAL_MAX:
                    raise error("QuotaExceeded.ManualStream")
                session.add(ManualStream(domain=domain.name, app=app, stream=stream))
        await self._publisher.policies([domain.name])

    async def set_master(self, account_id: str, name: str, app: str, stream: str, upstream: str, *, actor: Actor) -> None:
        """Make a publisher the master of its stream (SetLiveDomainMultiStreamMaster). upstream: its number.

        Raises InvalidAppName, InvalidStreamName, CodeTaskNotStarted (the switch is off), CodeTaskNotExist (the stream is not
        live), InvalidUpstreamSequence.NotFound.
        """
        _check_names(app, stream)
        async with self._database.read() as session:
            domain = await _main_domain(session, account_id, name)
            if await session.get(MultiStreamDomain, domain.name) is None:
                raise error("CodeTaskNotStarted", "Dual streams are off for this domain.")
        live = await self._cluster.get(presence.stream_key(domain.name, app, stream))
        master = None if live is None else _read(live, StreamPresence)
        if master is None:
            raise error("CodeTaskNotExist", "The stream is not live.")
        upstreams = await self._upstreams(f"{UPSTREAM_PREFIX}{domain.name}/{app}/{stream}/")
        number = {str(number): number for number, _ in upstreams.get((app, stream), [])}.get(upstream)
        if number is None:
            raise error("InvalidUpstreamSequence.NotFound")
        object_ = f"{domain.name}/{app}/{stream}"
        async with self._database.change(account_id, actor, "SetLiveDomainMultiStreamMaster", object_, self._clock()) as change:
            await _main_domain(change.session, account_id, name)
            change.before, change.after = {"upstream": master.upstream}, {"upstream": number}
        await self._cluster.publish(PROMOTE_SUBJECT, msgspec.json.encode(Promote(domain.name, app, stream, number)))

    async def online(
        self,
        account_id: str,
        name: str,
        *,
        stream: str = "",
        start_s: float | None = None,
        end_s: float | None = None,
        page_number: int = 1,
        page_size: int = 10,
    ) -> OnlinePage:
        """The live streams that several publishers may push, by app and stream (QueryLiveDomainMultiStreamList).

        stream: the exact name, "" for all. start_s, end_s: of the changes that are told; the end is now by default, the start a
        day before the end. Raises InvalidEndTime.Mismatch, InvalidTimeSpan (longer than seven days).
        """
        end_s = self._clock() if end_s is None else end_s
        start_s = end_s - SPAN_DEFAULT_S if start_s is None else start_s
        if end_s <= start_s:
            raise error("InvalidEndTime.Mismatch")
        if end_s - start_s > SPAN_MAX_S:
            raise error("InvalidTimeSpan")
        async with self._database.read() as session:
            domain = (await _main_domain(session, account_id, name)).name
        entries = await self._cluster.list(f"{STREAM_PREFIX}{domain}/")
        live = [item for entry in entries if (item := _read(entry, StreamPresence)) is not None and item.upstream]
        found = [item for item in live if not stream or item.stream == stream]
        page = found[(page_number - 1) * page_size : page_number * page_size]
        upstreams = await self._upstreams(f"{UPSTREAM_PREFIX}{domain}/")
        wanted = [(item.app, item.stream) for item in page]
        changes: dict[StreamName, list[ChangeRecord]] = {key: [] for key in wanted}
        async with self._database.read() as session:
            rows = select(ManualStream).where(
                ManualStream.domain == domain, tuple_(ManualStream.app, ManualStream.stream).in_(wanted)
            )
            manual = {(row.app, row.stream) for row in await session.scalars(rows)}
            told = (
                select(MasterChange)
                .where(
                    MasterChange.domain == domain,
                    tuple_(MasterChange.app, MasterChange.stream).in_(wanted),
                    MasterChange.changed_s >= start_s,
                    MasterChange.changed_s <= end_s,
                )
                .order_by(MasterChange.id.desc())
            )
            for change in await session.scalars(told):
                changes[change.app, change.stream].append(
                    ChangeRecord(change.upstream, change.client_ip, change.reason, change.changed_s)
                )
        items = [
            OnlineStream(
                domain=domain,
                app=item.app,
                stream=item.stream,
                optimal_mode=(item.app, item.stream) not in manual,
                upstreams=[
                    Upstream(number, one.client_ip, one.since, one.session == item.session)
                    for number, one in upstreams.get((item.app, item.stream), [])
                ],
                changes=changes[item.app, item.stream],
            )
            for item in page
        ]
        return OnlinePage(items, len(found))

    async def _upstreams(self, prefix: str) -> dict[StreamName, list[tuple[int, UpstreamPresence]]]:
        """The publishers below a prefix, those of each stream by number."""
        found: dict[StreamName, list[tuple[int, UpstreamPresence]]] = {}
        for entry in await self._cluster.list(prefix):
            _, _, app, stream, number = entry.key.split("/")
            if (one := _read(entry, UpstreamPresence)) is not None:
                found.setdefault((app, stream), []).append((int(number), one))
        for publishers in found.values():
            publishers.sort(key=lambda publisher: publisher[0])
        return found


async def note_master(session: AsyncSession, item: StreamPresence, now_s: float) -> None:
    """Log who is the master of a stream, unless the log says so already, and tell the customer of a change.

    Of a stream's changes the newest are kept.
    """
    if await session.get(Domain, item.domain) is None:  # deleted a moment ago; the push is being cut
        return
    of_stream = (MasterChange.domain == item.domain, MasterChange.app == item.app, MasterChange.stream == item.stream)
    newest = select(MasterChange).where(*of_stream).order_by(MasterChange.id.desc())
    last = await session.scalar(newest.limit(1))
    if last is not None and last.session == item.session:
        return
    session.add(
        MasterChange(
            domain=item.domain,
            app=item.app,
            stream=item.stream,
            session=item.session,
            upstream=item.upstream,
            client_ip=item.client_ip,
            reason=item.reason,
            changed_s=item.published_at if item.reason == "published" else now_s,
        )
    )
    await session.flush()
    if last is not None and item.reason != "published":
        switch = MasterSwitch(
            domain=item.publish_domain,
            app=item.app,
            stream=item.stream,
            session=item.session,
            upstream=item.upstream,
            ip=item.client_ip,
            reason=CHANGE_REASONS.get(item.reason, item.reason),
            time_s=now_s,
        )
        await enqueue(session, switch, now_s)
    oldest = await session.scalar(newest.with_only_columns(MasterChange.id).offset(CHANGES_KEPT).limit(1))
    if oldest is not None:
        await session.execute(delete(MasterChange).where(*of_stream, MasterChange.id <= oldest))


async def purge_changes(session: AsyncSession, before_s: float, at_once: int) -> int:
    """Remove some of the changes that are older than this; returns how many."""
    old = list(await session.scalars(select(MasterChange.id).where(MasterChange.changed_s < before_s).limit(at_once)))
    if old:
        await session.execute(delete(MasterChange).where(MasterChange.id.in_(old)))
    return len(old)


async def _main_domain(session: AsyncSession, account_id: str, name: str) -> Domain:
    domain = await owned_domain(session, account_id, name)
    if domain.type != "liveVideo":
        raise error("IllegalOperation")
    await bindings.check_main(session, domain.name)
    return domain


def _check_names(app: str, stream: str) -> None:
    if not is_name(app):
        raise invalid("AppName")
    if not is_name(stream):
        raise invalid("StreamName")


def _read(entry: Entry, type_: type[T]) -> T | None:
    """What a media node put, None if that is unreadable."""
    try:
        return msgspec.json.decode(entry.value, type=type_)
    except msgspec.DecodeError as fault:
        _log.warning("presence_unreadable", key=entry.key, error=str(fault))
        return None
