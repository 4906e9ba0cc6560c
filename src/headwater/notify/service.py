"""Sends the queue of callbacks and shows what became of them (reference media-plane 5.2 and 5.4).

Callbacks of one lane (a stream's pushes, its recordings, its snapshots) go out in order: the next one waits until the one
before it was taken or given up. Lanes do not wait for each other. One that was taken just before this process died is sent
again: a callback comes at least once.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec
import structlog
from sqlalchemy import ColumnElement, delete, func, or_, select, update

from headwater.domains.errors import error
from headwater.domains.owned import owned_domain
from headwater.domains.streams import Page
from headwater.domains.tables import ROWS_AT_ONCE, chunks
from headwater.notify.client import Answer, CallFailed, Client
from headwater.notify.events import Family, Storage, signature
from headwater.observe.families import Family as MetricFamily
from headwater.observe.families import Sample
from headwater.settings import Notify
from headwater.store.database import Actor, Database
from headwater.store.models import Callback

TRIES_MAX = 5
"""Reference media-plane 5.2: five tries."""
PAUSE_S = 1.0
"""Between two tries (5.2)."""
LOOK_S = 0.25
"""How often the queue is looked at: a callback is sent within so much of its cause."""
AT_ONCE = 256
"""Calls under way at once. Each waits for somebody else's server and costs us next to nothing."""
AT_ONCE_PER_DOMAIN = 16
"""Of these, for one domain, so that servers that do not answer leave room for the others'."""
WAITS_MAX_S = 60.0
"""No callback waits so long for its turn in time; one that would was noted before the clock went back."""
KEPT_S = 7 * 86400
"""How long the record of a callback is kept (DescribeLiveStreamsNotifyRecords)."""
DEAD_MAX = 10_000
"""Dead letters that a domain may have; the oldest go first. Ours."""
ID_END = 2**31
"""Numbers of callbacks are smaller."""
PURGE_S = 60.0
PURGED_AT_ONCE = 1000

Status = Literal["success", "failed"]

_log = structlog.get_logger(__name__)


class CallbackRecord(msgspec.Struct, frozen=True):
    """A callback as customers and operators see it; fields as of `store.models.Callback`."""

    id: int
    family: str
    type: str
    domain: str
    app: str
    stream: str
    method: str
    url: str
    body: str
    storage: str
    state: Literal["queued", "sent", "dead"]
    tries: int
    created_s: float
    next_try_s: float
    done_s: float | None
    header: str
    response: str
    error: str


CallbackPage = Page[CallbackRecord]
"""The newest first."""


class CallbackService:
    """The queue: its sender (`run`), and what it shows. Methods raise DomainError for what they refuse."""

    def __init__(self, database: Database, settings: Notify, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._client = Client(allow_private=settings.private_addresses)
        self._clock = clock
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._domains: Counter[str] = Counter()
        self._sent: Counter[tuple[str, str]] = Counter()
        self._freed = asyncio.Event()

    # The sender

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        try:
            while True:
                self._freed.clear()
                if await self.send_due():
                    continue
                try:
                    async with asyncio.timeout(LOOK_S):
                        await self._freed.wait()
                except TimeoutError:
                    pass
        finally:
            await self.close()

    async def close(self) -> None:
        """Break off what is under way: it stays in the queue."""
        tasks = tuple(self._lanes.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def send_due(self) -> bool:
        """Begin to send what is due and may go; True if anything was begun.

        Of each lane the first, and the domains in turn: the first of each, then the second of each, and so on.
        """
        room = AT_ONCE - len(self._lanes)
        if room <= 0:
            return False
        first = select(func.min(Callback.id)).where(Callback.state == "queued").group_by(Callback.lane)
        turn = func.row_number().over(partition_by=Callback.domain, order_by=(Callback.next_try_s, Callback.id)).label("turn")
        now_s = self._clock()
        is_due = or_(Callback.next_try_s <= now_s, Callback.next_try_s > now_s + WAITS_MAX_S)
        turns = select(Callback.id, turn).where(Callback.id.in_(first), is_due).subquery()
        due = (
            select(Callback)
            .join(turns, turns.c.id == Callback.id)
            .where(turns.c.turn <= AT_ONCE_PER_DOMAIN)
            .order_by(turns.c.turn, Callback.next_try_s)
            .limit(AT_ONCE * 2)  # those under way are among them
        )
        busy = set(self._lanes)  # before the look: what is under way then may be taken, and noted so, before its rows are here
        async with self._database.read() as session:
            rows = [row for row in await session.scalars(due) if row.lane not in busy]
        begun = False
        for row in rows:
            if room <= 0:
                break
            if self._domains[row.domain] >= AT_ONCE_PER_DOMAIN:
                continue
            room -= 1
            begun = True
            self._domains[row.domain] += 1
            task = asyncio.create_task(self._send(row))
            self._lanes[row.lane] = task
            task.add_done_callback(functools.partial(self._free, row.lane, row.domain))
        return begun

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._lanes:
            await asyncio.gather(*tuple(self._lanes.values()), return_exceptions=True)
            await asyncio.sleep(0)

    def _free(self, lane: str, domain: str, task: asyncio.Task[None]) -> None:
        del self._lanes[lane]
        self._domains[domain] -= 1
        if not self._domains[domain]:
            del self._domains[domain]
        self._freed.set()

    async def _send(self, row: Callback) -> None:
        """Try a callback once and note what came of it."""
        try:
            await self._note(row, *await self._tried(row))
        except Exception:  # the top of this task: it stays in the queue
            _log.exception("callback_not_noted", type=row.type, domain=row.domain, stream=row.stream)
            await asyncio.sleep(PAUSE_S)

    async def _tried(self, row: Callback) -> tuple[dict[str, str], Answer | None, str]:
        """The headers of its signature, the answer, and what was wrong with it ("" if it was taken)."""
        headers: dict[str, str] = {}
        if row.key:
            stamp = int(self._clock())
            headers = {"ALI-LIVE-TIMESTAMP": str(stamp), "ALI-LIVE-SIGNATURE": signature(row.signer, row.key, stamp)}
        try:
            answer = await self._client.call(row.method, row.url, headers, row.body.encode())
        except CallFailed as failure:
            return headers, None, str(failure)
        except Exception as failure:  # whatever a customer's server can make a library raise
            _log.exception("callback_call_failed", domain=row.domain)
            return headers, None, type(failure).__name__
        return headers, answer, "" if answer.good else f"status {answer.status}"

    async def _note(self, row: Callback, headers: dict[str, str], answer: Answer | None, fault: str) -> None:
        tries, now_s = row.tries + 1, self._clock()
        state = "sent" if not fault else "dead" if tries >= TRIES_MAX else "queued"
        values = {
            "tries": tries,
            "state": state,
            "next_try_s": now_s + PAUSE_S,
            "done_s": None if state == "queued" else now_s,
            "header": msgspec.json.encode(headers).decode() if headers else "",
            "response": "" if answer is None else _text(answer.body),
            "error": fault,
        }
        async with self._database.write() as session:
            await session.execute(update(Callback).where(Callback.id == row.id).values(**values))
        if state != "queued":
            self._sent[row.family, state] += 1
        say = _log.info if state == "sent" else _log.warning
        url = row.url.partition("?")[0]  # the rest holds the customer's secrets, such as a push's signature
        say("callback_sent" if state == "sent" else "callback_refused", type=row.type, url=url, tries=tries, error=fault)

    async def run_purge(self) -> None:
        """Remove records that are too old, until cancelled."""
        while True:
            await self.purge()
            await asyncio.sleep(PURGE_S)

    async def purge(self) -> int:
        """Remove some of the records that are too old; returns how many. Dead letters go, too: after a week, or when there are
        too many of a domain.
        """
        old = (
            select(Callback.id)
            .where(Callback.state.in_(("sent", "dead")), Callback.done_s < self._clock() - KEPT_S)
            .limit(PURGED_AT_ONCE)
        )
        rank = func.row_number().over(partition_by=Callback.domain, order_by=Callback.id.desc()).label("rank")
        ranks = select(Callback.id, rank).where(Callback.state == "dead").subquery()
        async with self._database.write() as session:
            ids = set(await session.scalars(old))
            ids.update(await session.scalars(select(ranks.c.id).where(ranks.c.rank > DEAD_MAX).limit(PURGED_AT_ONCE)))
            if ids:
                await session.execute(delete(Callback).where(Callback.id.in_(ids)))
        return len(ids)

    # What became of them

    async def records(
        self,
        account_id: str,
        domain: str,
        families: Sequence[Family],
        start_s: float,
        end_s: float,
        *,
        app: str = "",
        stream: str = "",
        status: Status | None = None,
        storage: Storage | None = None,
        page_number: int = 1,
        page_size: int = 100,
    ) -> CallbackPage:
        """Callbacks of a domain in a span of the last seven days, by the time of their cause.

        status `failed`: those that were tried in vain, given up or not. Raises InvalidEndTime.Mismatch.
        """
        if end_s <= start_s:
            raise error("InvalidEndTime.Mismatch")
        async with self._database.read() as session:
            name = (await owned_domain(session, account_id, domain)).name
        where = [
            Callback.domain == name,
            Callback.family.in_(families),
            Callback.created_s >= max(start_s, self._clock() - KEPT_S),
            Callback.created_s <= end_s,
            Callback.tries > 0,
        ]
        if app:
            where.append(Callback.app == app)
        if stream:
            where.append(Callback.stream == stream)
        if status is not None:
            where.append(Callback.state == "sent" if status == "success" else Callback.state != "sent")
        if storage is not None:
            where.append(Callback.storage == storage)
        return await self._page(where, page_number, page_size)

    async def dead(self, *, domain: str = "", page_number: int = 1, page_size: int = 100) -> CallbackPage:
        """The dead letters: callbacks that were given up."""
        return await self._page(_in_state("dead", domain), page_number, page_size)

    async def queued(self, *, domain: str = "", page_number: int = 1, page_size: int = 100) -> CallbackPage:
        """What is still to be sent."""
        return await self._page(_in_state("queued", domain), page_number, page_size)

    async def resend(self, ids: Iterable[int], *, actor: Actor) -> int:
        """Queue dead letters anew, at the end of their lanes' turn; returns how many there were of these."""
        return await self._change("ResendCallbacks", ids, actor, drop=False)

    async def drop(self, ids: Iterable[int], *, actor: Actor) -> int:
        """Remove dead letters; returns how many there were of these."""
        return await self._change("DropCallbacks", ids, actor, drop=True)

    async def families(self) -> list[MetricFamily]:
        """The queue's metrics."""
        async with self._database.read() as session:
            counts = await session.execute(select(Callback.state, func.count()).group_by(Callback.state))
            by_state = {state: int(number) for state, number in counts if state != "sent"}
            oldest = await session.scalar(select(func.min(Callback.created_s)).where(Callback.state == "queued"))
        age_s = 0.0 if oldest is None else max(self._clock() - oldest, 0.0)
        return [
            MetricFamily(
                "headwater_callbacks",
                "gauge",
                "Callbacks that wait (queued) or were given up (dead).",
                [Sample({"state": state}, by_state.get(state, 0)) for state in ("queued", "dead")],
            ),
            MetricFamily(
                "headwater_callbacks_done",
                "counter",
                "Callbacks that were taken (sent) or given up (dead).",
                [Sample({"family": family, "state": state}, count) for (family, state), count in sorted(self._sent.items())],
            ),
            MetricFamily(
                "headwater_callbacks_oldest_seconds", "gauge", "Age of the oldest callback that waits.", [Sample({}, age_s)]
            ),
        ]

    async def _change(self, action: str, ids: Iterable[int], actor: Actor, *, drop: bool) -> int:
        now_s = self._clock()
        done: list[int] = []
        async with self._database.change("", actor, action, "callbacks", now_s) as change:
            for wanted in chunks(sorted({number for number in ids if 0 < number < ID_END}), ROWS_AT_ONCE):
                chosen = select(Callback).where(Callback.id.in_(wanted), Callback.state == "dead")
                for row in await change.session.scalars(chosen):
                    done.append(row.id)
                    if drop:
                        await change.session.delete(row)
                    else:
                        row.state, row.tries, row.next_try_s, row.done_s = "queued", 0, now_s, None
            change.before = done
        return len(done)

    async def _page(self, where: Sequence[ColumnElement[bool]], page_number: int, page_size: int) -> CallbackPage:
        async with self._database.read() as session:
            total = await session.scalar(select(func.count()).select_from(Callback).where(*where)) or 0
            page = select(Callback).where(*where).order_by(Callback.created_s.desc(), Callback.id.desc())
            rows = await session.scalars(page.limit(page_size).offset((page_number - 1) * page_size))
            return Page([msgspec.convert(row, CallbackRecord, from_attributes=True) for row in rows], total)


def _in_state(state: str, domain: str) -> list[ColumnElement[bool]]:
    where = [Callback.state == state]
    return [*where, Callback.domain == domain.lower()] if domain else where


def _text(body: bytes) -> str:
    """An answer as databases keep text."""
    return body.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
