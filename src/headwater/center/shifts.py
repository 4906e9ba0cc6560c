"""The department of time shift: has slices of live streams made, keeps them for some days, and lists them for viewers.

| request | answer |
|---|---|
| GET /shift/playlist?`Question` | an HLS playlist |
| GET /shift/timeline?`Span` | JSON, the ranges of which slices are kept: pairs of unix milliseconds |
| GET /shift/slice?`SliceAsked` | the bytes of a slice |

The questions of `access.shift` are JSON; what cannot be answered gets 404 with a text for the viewer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
import structlog
from sqlalchemy import Select, delete, exists, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headwater.access import presence
from headwater.access.plan import DELAYED, Plan, Shift, best_match
from headwater.access.presence import StreamPresence
from headwater.access.shift import Question, SliceAsked, Span, anchored
from headwater.center.department import Center, Wanted
from headwater.center.manager import renditions_of
from headwater.center.shift import index, playlist
from headwater.center.shift import job as files
from headwater.center.shift.index import Block, Memory
from headwater.center.shift.playlist import KeptSlice
from headwater.center.shift.spec import ShiftSpec, SliceMade
from headwater.store.models import Domain, MediaSlice, ShiftStream, Upload
from headwater.store.objects import ObjectError

OWNER = "shift"
"""The kind of our files in the queue of uploads, and of our slices among all."""

FOLDER = "shift"
"""Where our jobs' folders are in the spool."""

PURGE_S = 600.0
"""How often slices whose days are over are looked for."""

UNUSED_S = 3600.0
"""So long after the last change a folder of the spool without slices is removed. A job writes or loses a file every minute."""

PURGED_AT_ONCE = 200
"""Slices that are removed before the database is asked for more."""

SPREAD_MS = 60_000
"""Slices that begin so long before a range may still reach into it; a slice of 30 s with key frames as far apart is one."""

NAMES_MAX = 10_000
"""Names that viewers asked for are remembered for a second, so many at most."""

CANDIDATES_MAX = 16
"""Underscores at which a name is tried as a rendition's: `<stream>_<template>`."""

_PLAYABLE = ("local", "stored")

Identity = tuple[str, str, str, str]
"""What slices belong to: domain, app, stream, template."""

T = TypeVar("T")

log = structlog.get_logger()


class Refused(Exception):
    """There is nothing to be played; the message is for the viewer."""


class Shifts:
    """The department. now_s: unix seconds; clock: seconds that never jump."""

    kind = "shift"
    module = "headwater.center.shift"
    jobs_per_process = 16
    follows_plan = False

    def __init__(
        self, center: Center, now_s: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.routes: Sequence[BaseRoute] = (
            Route("/shift/playlist", self._playlist),
            Route("/shift/timeline", self._timeline),
            Route("/shift/slice", self._slice),
        )
        self._center = center
        self._now_s = now_s
        self._settings = center.settings.shift
        self._streams: Memory[tuple[str, str, str], ShiftStream | None] = Memory(
            self._find, clock, lasts_s=lambda _: index.FRESH_S, size=lambda _: 1, size_max=NAMES_MAX
        )
        self._blocks: Memory[tuple[Identity, int], Block] = Memory(
            self._block,
            clock,
            lasts_s=lambda block: index.FRESH_S if block.next_ms is None else index.HOLDS_S,
            size=lambda block: index.BLOCK_SLICES + len(block.slices),
            size_max=index.SLICES_MAX,
        )
        self._purging: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        center.uploads.register(OWNER, _stored)

    # What jobs there are

    async def start(self) -> None:
        """Note down the slices that were made when nobody listened, and begin to remove those whose days are over."""
        folder = self._center.spool / FOLDER
        if folder.is_dir():
            for of_stream in sorted(folder.iterdir()):
                await self._adopt(await asyncio.to_thread(files.found, of_stream))
                await asyncio.to_thread(files.remove_unused, of_stream, 0)
        self._closing.clear()
        self._purging = asyncio.create_task(self._purge_on_and_on(), name="time shift purge")

    def needs(self, stream: StreamPresence, plan: Plan) -> Collection[str]:
        """All renditions of a stream whose rule says so."""
        rule = _rule(plan, stream.app, stream.stream)
        if rule is None or not rule.renditions:
            return ()
        return renditions_of(plan, stream.app)

    def wanted(self, stream: StreamPresence, plan: Plan, granted: Mapping[str, float]) -> list[Wanted]:
        """A job for the stream and one for each rendition that runs, if the rule says so."""
        rule = _rule(plan, stream.app, stream.stream)
        if rule is None:
            return []
        templates = ["", *(sorted(granted) if rule.renditions else ())]
        return [_wanted(stream, rule, template) for template in templates]

    async def told(self, job: str, event: msgspec.Raw) -> None:
        """A slice is complete: from now on it can be played, and it is to be stored."""
        made = msgspec.json.decode(event, type=SliceMade)
        async with self._center.database.write() as session:
            await self._note(session, made)
        self._center.uploads.wake()

    async def ended(self, job: str, error: str) -> None:
        """The slices of a job stay."""

    async def close(self) -> None:
        """Stop removing, between two transactions: a call of the database that is cancelled may leave its thread behind."""
        self._closing.set()
        if self._purging is not None:
            await self._purging
        await self._streams.close()
        await self._blocks.close()

    async def _adopt(self, made: list[SliceMade]) -> None:
        async with self._center.database.write() as session:
            for one in made:
                known = select(exists().where(Upload.node == self._center.node, Upload.path == one.path))
                if not await session.scalar(known):
                    await self._note(session, one)

    async def _note(self, session: AsyncSession, made: SliceMade) -> None:
        spec = made.spec
        stream = await session.get(ShiftStream, (spec.domain, spec.app, spec.stream, spec.template))
        if stream is None:
            stream = ShiftStream(
                domain=spec.domain, app=spec.app, stream=spec.stream, template=spec.template, last_number=0, run=0, longest_ms=0
            )
            session.add(stream)
        stream.last_number += 1
        stream.run += made.broken
        stream.longest_ms = max(stream.longest_ms, made.duration_ms)
        stream.days = spec.days
        key = _key(spec, made.start_ms)
        kept = MediaSlice(
            kind=OWNER,
            recording=None,
            file_number=stream.run,
            domain=spec.domain,
            app=spec.app,
            stream=spec.stream,
            template=spec.template,
            format="m3u8",
            number=stream.last_number,
            endpoint=self._settings.endpoint,
            bucket=self._settings.bucket,
            key=key,
            init_key="",
            start_ms=made.start_ms,
            duration_ms=made.duration_ms,
            width=0,
            height=0,
            bytes=made.bytes,
            discontinuity=made.broken,
            state="local",
            local_path=made.path,
        )
        session.add(kept)
        await session.flush()
        self._center.uploads.enqueue(
            session,
            Path(made.path),
            endpoint=kept.endpoint,
            bucket=kept.bucket,
            key=key,
            bytes_=made.bytes,
            sha256=made.sha256,
            owner_kind=OWNER,
            owner_id=kept.id,
            content_type="video/mp2t",
        )

    # What viewers ask

    async def _playlist(self, request: Request) -> Response:
        question = _question(request, Question)
        try:
            body = await self.playlist(question)
        except Refused as refused:
            return Response(str(refused), 404)
        return Response(body, media_type="application/vnd.apple.mpegurl")

    async def playlist(self, question: Question) -> bytes:
        """The playlist for a viewer. Raises Refused."""
        stream = await self._allowed(question.domain, question.main, question.app, question.name)
        asked, now_ms = question.asked, self._now_ms()
        if asked.vod:
            assert asked.start_ms is not None
            assert asked.end_ms is not None
            slices = await self._between(stream, asked.start_ms, asked.end_ms)
            if not slices:
                raise Refused("nothing is kept of this time")
            longest_ms = max(kept.duration_ms for kept in slices)
            return playlist.media(slices, question.name, question.tail, longest_ms=longest_ms, ended=True, vod=True)
        if asked.start_ms is not None:
            first = await self._first(stream, asked.start_ms)
            if first is None or (asked.end_ms is not None and first.start_ms >= asked.end_ms):
                raise Refused("nothing is kept from this time on")
            offset_ms = max(now_ms - max(asked.start_ms, first.start_ms), 0)
            uri = f"{question.name}.m3u8?{anchored(question.query, offset_ms)}"
            return playlist.entry([first], uri)
        assert asked.offset_ms is not None
        return await self._window(stream, question, now_ms - asked.offset_ms)

    async def _window(self, stream: ShiftStream, question: Question, place_ms: int) -> bytes:
        end_ms, longest_ms = question.asked.end_ms, stream.longest_ms
        until_ms = playlist.window_end_ms(place_ms, longest_ms)
        newest_ms = until_ms if end_ms is None else min(until_ms, end_ms)
        block = await self._blocks.get((_identity(stream), index.block_of(newest_ms)))
        listed, more = block.listed(until_ms, end_ms)
        if not listed:
            raise Refused("nothing is kept of this time")
        if more:
            ended = False
        elif end_ms is not None and min(until_ms, self._now_ms() - longest_ms) >= end_ms:
            ended = True
        else:
            ended = until_ms > listed[-1].end_ms + longest_ms and not await self._is_live(stream)
        return playlist.media(listed, question.name, question.tail, longest_ms=longest_ms, ended=ended, vod=False)

    async def _first(self, stream: ShiftStream, time_ms: int) -> KeptSlice | None:
        """The first slice that reaches beyond a time."""
        identity = _identity(stream)
        block = await self._blocks.get((identity, index.block_of(time_ms)))
        if (found := block.first(time_ms)) is None and block.next_ms is not None:
            block = await self._blocks.get((identity, index.block_of(block.next_ms)))
            found = block.first(time_ms)
        return found

    async def _between(self, stream: ShiftStream, start_ms: int, end_ms: int) -> list[KeptSlice]:
        """The slices that have something of a range."""
        slices = _of(_identity(stream)).with_only_columns(*_COLUMNS)
        rows = slices.where(MediaSlice.start_ms > start_ms - SPREAD_MS, MediaSlice.start_ms < end_ms)
        async with self._center.database.read() as session:
            found = [_kept(row) for row in await session.execute(rows.order_by(MediaSlice.start_ms))]
        return [kept for kept in found if kept.end_ms > start_ms]

    async def _block(self, key: tuple[Identity, int]) -> Block:
        """What is kept of a stream in a block's span, from the database."""
        identity, number = key
        begin_ms, end_ms = number * index.BLOCK_MS, (number + 1) * index.BLOCK_MS
        start = MediaSlice.start_ms
        starts = _of(identity).with_only_columns(start)
        oldest = starts.where(start < begin_ms).order_by(start.desc()).offset(index.CONTEXT - 1).limit(1).scalar_subquery()
        after = starts.where(start >= end_ms).order_by(start).limit(1).scalar_subquery()
        range_ = start.between(func.coalesce(oldest, 0), func.coalesce(after, end_ms))
        async with self._center.database.read() as session:
            rows = await session.execute(_of(identity).with_only_columns(*_COLUMNS).where(range_).order_by(start))
            found = [_kept(row) for row in rows]
        next_ms = found.pop().start_ms if found and found[-1].start_ms >= end_ms else None
        return Block(found, next_ms)

    async def _timeline(self, request: Request) -> Response:
        span = _question(request, Span)
        try:
            stream = await self._allowed(span.domain, span.main, span.app, span.name)
        except Refused as refused:
            return Response(str(refused), 404)
        async with self._center.database.read() as session:
            rows = await session.execute(
                _of(_identity(stream))
                .with_only_columns(MediaSlice.start_ms, MediaSlice.duration_ms)
                .where(MediaSlice.start_ms > span.start_ms - SPREAD_MS, MediaSlice.start_ms < span.end_ms)
                .order_by(MediaSlice.start_ms)
            )
            found = playlist.ranges(((start, start + length) for start, length in rows), span.start_ms, span.end_ms)
        return Response(msgspec.json.encode(found), media_type="application/json")

    async def _slice(self, request: Request) -> Response:
        asked = _question(request, SliceAsked)
        async with self._center.database.read() as session:
            row = await session.get(MediaSlice, asked.id)
        good = row is not None and (row.kind, row.domain, row.app) == (OWNER, asked.main, asked.app)
        if row is None or not good or not secrets.compare_digest(_word(row.key), asked.word):
            return Response("no such slice, or no longer", 404)
        if row.state == "local":
            with contextlib.suppress(OSError):  # stored and removed at this very moment
                return Response(await asyncio.to_thread(Path(row.local_path).read_bytes), media_type="video/mp2t")
        try:
            data = await self._center.objects.get(row.endpoint, row.bucket, row.key)
        except ObjectError as error:
            log.warning("a slice cannot be read", key=row.key, error=str(error))
            return Response("the slice cannot be read", 404)
        return Response(data, media_type="video/mp2t")

    async def _allowed(self, domain: str, main: str, app: str, name: str) -> ShiftStream:
        """The stream that is meant, if time shift is on for it at the domain at which it is played. Raises Refused."""
        stream = await self._streams.get((main, app, name))
        if stream is None:
            raise Refused("nothing is kept of this stream")
        rule = _rule(self._center.plan(domain), app, stream.stream)
        if rule is None or (stream.template and not rule.renditions):
            raise Refused("time shift is not on for this stream at this domain")
        return stream

    async def _find(self, key: tuple[str, str, str]) -> ShiftStream | None:
        """The stream of a name, or else the rendition whose name it is. key: main streaming domain, app, name."""
        domain, app, name = key
        cuts = [at for at, letter in enumerate(name) if letter == "_"][:CANDIDATES_MAX]
        candidates = [(name, ""), *((name[:at], name[at + 1 :]) for at in cuts)]
        query = select(ShiftStream).where(
            ShiftStream.domain == domain,
            ShiftStream.app == app,
            tuple_(ShiftStream.stream, ShiftStream.template).in_(candidates),
        )
        async with self._center.database.read() as session:
            found = {(row.stream, row.template): row for row in await session.scalars(query)}
        return next((found[candidate] for candidate in candidates if candidate in found), None)

    async def _is_live(self, stream: ShiftStream) -> bool:
        name = _name(stream.stream, stream.template)
        return await self._center.cluster.get(presence.stream_key(stream.domain, stream.app, name)) is not None

    def _now_ms(self) -> int:
        return round(self._now_s() * 1000)

    # Whose days are over

    async def _purge_on_and_on(self) -> None:
        while not self._closing.is_set():
            try:
                await self.purge()
                await asyncio.to_thread(self._sweep)
            except Exception:  # the top of this task
                log.exception("slices could not be removed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), PURGE_S)

    def _sweep(self) -> None:
        """Remove the folders of streams that are not made slices of any more."""
        folder = self._center.spool / FOLDER
        for of_stream in list(folder.iterdir()) if folder.is_dir() else ():
            files.remove_unused(of_stream, UNUSED_S)

    async def purge(self) -> int:
        """Remove the slices whose days are over, and all of domains that are gone; returns how many."""
        async with self._center.database.read() as session:
            streams = list(await session.scalars(select(ShiftStream)))
            domains = set(await session.scalars(select(Domain.name).where(Domain.name.in_({s.domain for s in streams}))))
        removed = 0
        for stream in streams:
            gone = stream.domain not in domains
            before_ms = round((self._now_s() - (0 if gone else stream.days * 86_400)) * 1000)
            while not self._closing.is_set() and (found := await self._oldest(stream, before_ms)):
                removed += len(found)
                for row in found:
                    await self._center.objects.delete(row.endpoint, row.bucket, row.key)
                async with self._center.database.write() as session:
                    ids = [row.id for row in found]
                    await session.execute(delete(Upload).where(Upload.owner_kind == OWNER, Upload.owner_id.in_(ids)))
                    await session.execute(delete(MediaSlice).where(MediaSlice.id.in_(ids)))
                for row in found:
                    if row.local_path:
                        await asyncio.to_thread(Path(row.local_path).unlink, missing_ok=True)
            if gone and not self._closing.is_set():
                await self._forget(stream)
        return removed

    async def _oldest(self, stream: ShiftStream, before_ms: int) -> list[MediaSlice]:
        async with self._center.database.read() as session:
            old = _of(_identity(stream), playable=False).where(MediaSlice.start_ms < before_ms)
            return list(await session.scalars(old.order_by(MediaSlice.start_ms).limit(PURGED_AT_ONCE)))

    async def _forget(self, stream: ShiftStream) -> None:
        async with self._center.database.write() as session:
            row = await session.get(ShiftStream, (stream.domain, stream.app, stream.stream, stream.template))
            if row is not None:
                await session.delete(row)


def _question(request: Request, type_: type[T]) -> T:
    return msgspec.json.decode(unquote(request.url.query), type=type_)


def _rule(plan: Plan, app: str, stream: str) -> Shift | None:
    """The rule for a source stream. A delayed copy has none: what it shows is kept as its source's."""
    return None if stream.endswith(DELAYED) else best_match(plan.shifts, app, stream)


def _wanted(stream: StreamPresence, rule: Shift, template: str) -> Wanted:
    name = _name(stream.stream, template)
    identity = f"{stream.domain}/{stream.app}/{name}"
    spec = ShiftSpec(
        domain=stream.domain,
        app=stream.app,
        stream=stream.stream,
        template=template,
        name=name,
        slice_s=rule.slice_s,
        days=rule.days,
        folder=f"{FOLDER}/{hashlib.sha256(identity.encode()).hexdigest()[:24]}",
    )
    return Wanted(identity, msgspec.json.encode(spec), template=template)


def _name(stream: str, template: str) -> str:
    return f"{stream}_{template}" if template else stream


def _key(spec: ShiftSpec, start_ms: int) -> str:
    """The name of a slice in the store; it ends in a word that cannot be guessed, which is in the slice's address, too."""
    day = time.strftime("%Y-%m-%d", time.gmtime(start_ms // 1000))
    return f"{spec.domain}/{spec.app}/{spec.name}/{day}/{start_ms}-{secrets.token_hex(8)}.ts"


def _word(key: str) -> str:
    return key.removesuffix(".ts").rpartition("-")[2]


def _identity(stream: ShiftStream) -> Identity:
    return stream.domain, stream.app, stream.stream, stream.template


def _of(identity: Identity, *, playable: bool = True) -> Select[MediaSlice]:
    """The slices of a stream."""
    domain, app, stream, template = identity
    query = select(MediaSlice).where(
        MediaSlice.kind == OWNER,
        MediaSlice.domain == domain,
        MediaSlice.app == app,
        MediaSlice.stream == stream,
        MediaSlice.template == template,
    )
    return query.where(MediaSlice.state.in_(_PLAYABLE)) if playable else query


_COLUMNS = (
    MediaSlice.number,
    MediaSlice.file_number,
    MediaSlice.discontinuity,
    MediaSlice.start_ms,
    MediaSlice.duration_ms,
    MediaSlice.bytes,
    MediaSlice.id,
    MediaSlice.key,
)
"""What is read of a slice for playlists: whole rows as objects would take ten times as long."""


def _kept(row: Sequence[Any]) -> KeptSlice:
    number, run, broken, start_ms, duration_ms, bytes_, id_, key = row
    return KeptSlice(number, run, broken, start_ms, duration_ms, bytes_, f"t{id_}-{_word(key)}")


async def _stored(session: AsyncSession, slice_: int) -> None:
    """The store has confirmed a slice."""
    row = await session.get(MediaSlice, slice_)
    if row is not None:
        row.state, row.local_path = "stored", ""
