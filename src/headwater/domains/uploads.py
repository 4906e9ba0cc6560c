"""The queue of uploads as people see it: which files cannot be stored, to be tried again at once, or given up.

`center.uploads` carries the files; it looks at the queue every few seconds, so what is changed here needs no word to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, Literal, cast

import msgspec
from sqlalchemy import ColumnElement, Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains.streams import Page
from headwater.domains.tables import ROWS_AT_ONCE, chunks
from headwater.observe.families import Family, Sample
from headwater.store.database import Actor, Database
from headwater.store.models import MediaSlice, RecordedFile, Recording, Snapshot, Upload

Show = Literal["failing", "waiting", "given_up"]
"""`failing`: waits, and was tried in vain at least once. `waiting`: all that wait, those among them."""

ID_END: Final = 2**31
"""Numbers of uploads are smaller."""


class QueuedFile(msgspec.Struct, frozen=True):
    """A file that is not stored yet. kind: `file` (recorded), `slice`, `init`, `shift` or `snapshot`; domain: whose it is.

    node, path: where it lies. tries: how often it failed; error: why it did last; next_try_s: not before.
    """

    id: int
    kind: str
    domain: str
    node: str
    path: str
    endpoint: str
    bucket: str
    key: str
    bytes: int
    state: Literal["waiting", "given_up"]
    tries: int
    created_s: float
    next_try_s: float
    error: str


_DOMAIN: ColumnElement[str] = func.coalesce(
    case(
        (
            Upload.owner_kind == "file",
            select(RecordedFile.domain).where(RecordedFile.id == Upload.owner_id).scalar_subquery(),
        ),
        (
            Upload.owner_kind.in_(("slice", "shift")),
            select(MediaSlice.domain).where(MediaSlice.id == Upload.owner_id).scalar_subquery(),
        ),
        (Upload.owner_kind == "init", select(Recording.domain).where(Recording.id == Upload.owner_id).scalar_subquery()),
        (Upload.owner_kind == "snapshot", select(Snapshot.domain).where(Snapshot.id == Upload.owner_id).scalar_subquery()),
    ),
    "",
)
"""The main streaming domain of an upload, "" if the row that owned it is gone."""


class UploadService:
    """Shows the queue, and does what an operator decides about its files."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def page(
        self, show: Show = "failing", *, domain: str = "", page_number: int = 1, page_size: int = 100
    ) -> Page[QueuedFile]:
        """Files that are not stored yet, the oldest first; of one domain or of all."""
        chosen = _chosen(domain).where(Upload.state == ("given_up" if show == "given_up" else "waiting"))
        if show == "failing":
            chosen = chosen.where(Upload.tries > 0)
        page = chosen.order_by(Upload.id).limit(page_size).offset((page_number - 1) * page_size)
        async with self._database.read() as session:
            total = await session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
            return Page([_file(row, of) for row, of in await session.execute(page)], total)

    async def try_again(self, ids: Iterable[int], *, domain: str = "", actor: Actor) -> int:
        """Let files be tried now, given up or not; returns how many there were of these.

        domain: leave out those that are not of this one, for a user who may see no other.
        """
        return await self._change("RetryUploads", ids, domain, actor, give_up=False)

    async def give_up(self, ids: Iterable[int], *, domain: str = "", actor: Actor) -> int:
        """Try files no more; returns how many there were of these. The local files stay, for somebody to fetch or to remove."""
        return await self._change("GiveUpUploads", ids, domain, actor, give_up=True)

    async def families(self) -> list[Family]:
        """The queue's metrics."""
        tried = case((Upload.state == "given_up", "given_up"), (Upload.tries > 0, "failing"), else_="waiting")
        async with self._database.read() as session:
            counts = await session.execute(
                select(tried, func.count()).where(Upload.state.in_(("waiting", "given_up"))).group_by(tried)
            )
            by_state = {str(state): int(number) for state, number in counts}
            oldest = await session.scalar(select(func.min(Upload.created_s)).where(Upload.state == "waiting"))
        age_s = 0.0 if oldest is None else max(self._clock() - oldest, 0.0)
        return [
            Family(
                "headwater_uploads",
                "gauge",
                "Files that are not stored yet: waiting for their first try, failing, or given up.",
                [Sample({"state": state}, by_state.get(state, 0)) for state in ("waiting", "failing", "given_up")],
            ),
            Family("headwater_uploads_oldest_seconds", "gauge", "Age of the oldest file that waits.", [Sample({}, age_s)]),
        ]

    async def _change(self, action: str, ids: Iterable[int], domain: str, actor: Actor, *, give_up: bool) -> int:
        now_s = self._clock()
        done: list[int] = []
        states = ("waiting",) if give_up else ("waiting", "given_up")
        async with self._database.change("", actor, action, "uploads", now_s) as change:
            for wanted in chunks(sorted({number for number in ids if 0 < number < ID_END}), ROWS_AT_ONCE):
                chosen = _chosen(domain).where(Upload.id.in_(wanted), Upload.state.in_(states))
                for row, _ in (await change.session.execute(chosen)).all():
                    done.append(row.id)
                    if give_up:
                        row.state = "given_up"
                    else:
                        row.state, row.tries, row.next_try_s = "waiting", 0, now_s
                    await _tell_owner(change.session, row, failed=give_up)
            change.before = done
        return len(done)


async def _tell_owner(session: AsyncSession, upload: Upload, *, failed: bool) -> None:
    """A file that was given up is `failed` in lists, and `local` again once it is tried anew."""
    if upload.owner_kind == "file":
        file = await session.get(RecordedFile, upload.owner_id)
        if file is not None and file.state in ("local", "failed"):
            file.state = "failed" if failed else "local"
    elif upload.owner_kind in ("slice", "shift"):
        part = await session.get(MediaSlice, upload.owner_id)
        if part is not None and part.state in ("local", "failed"):
            part.state = "failed" if failed else "local"


def _chosen(domain: str) -> Select[Upload, str]:
    chosen = select(Upload, _DOMAIN.label("of_domain"))
    return chosen.where(_DOMAIN.in_((domain.lower(),))) if domain else chosen


def _file(row: Upload, domain: str) -> QueuedFile:
    return QueuedFile(
        id=row.id,
        kind=row.owner_kind,
        domain=domain,
        node=row.node,
        path=row.path,
        endpoint=row.endpoint,
        bucket=row.bucket,
        key=row.key,
        bytes=row.bytes,
        state=cast(Literal["waiting", "given_up"], row.state),
        tries=row.tries,
        created_s=row.created_s,
        next_try_s=row.next_try_s,
        error=row.error,
    )
