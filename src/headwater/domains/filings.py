"""ICP filings: whether the law of mainland China lets a domain be served there, as a pluggable source knows it.

Reference control-plane 3.3. A filing is made for a registrable domain and holds for all names under it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

import httpx
import msgspec
from sqlalchemy import func, or_, select

from headwater.domains import rules
from headwater.domains.errors import error, invalid
from headwater.domains.rules import Scope
from headwater.domains.streams import Page
from headwater.domains.tables import ROWS_AT_ONCE, Imported, chunks, read_csv
from headwater.settings import Icp
from headwater.store.database import Actor, Database
from headwater.store.models import IcpFiling

COLUMNS = ("domain", "number", "holder", "expires")
TEXT_MAX = 200
"""Characters of a filing's number or holder."""
ANSWER_MAX_BYTES = 64 * 1024
"""What is read of an endpoint's answer, which has a few hundred bytes."""

SET, REMOVE, IMPORT, CHECK = "SetIcpFiling", "RemoveIcpFiling", "ImportIcpFilings", "AskFilingCheck"
"""Actions in the audit log after which domains are judged anew (`filing_watch`); the object of the first two is the root."""

State = Literal["not_needed", "valid", "expired", "missing", "unknown"]
"""unknown: the source does not answer now."""


class Filing(msgspec.Struct, frozen=True):
    """A filing. root: the registrable domain. expires_s: unix seconds from which it does not hold; None if it always does."""

    root: str
    number: str
    holder: str = ""
    expires_s: float | None = None

    @property
    def last_day(self) -> str:
        """The last day on which it holds, as 2027-12-31; "" if it does not end."""
        return "" if self.expires_s is None else f"{datetime.fromtimestamp(self.expires_s - 1, UTC):%Y-%m-%d}"


class FilingCheck(msgspec.Struct, frozen=True):
    """Whether a domain may be served as it is asked. text: a sentence for its owner."""

    state: State
    root: str
    text: str

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against serving the domain."""
        return self.state in ("not_needed", "valid")


class SourceUnavailable(Exception):
    """The source of filings does not answer; the message says why."""


class FilingSource(Protocol):
    """Where filings are looked up."""

    async def filing(self, root: str) -> Filing | None:
        """The filing of a registrable domain; None if there is none. Raises SourceUnavailable."""


class TableSource:
    """The table that the operator keeps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def filing(self, root: str) -> Filing | None:
        """See FilingSource."""
        async with self._database.read() as session:
            row = await session.get(IcpFiling, root)
            return None if row is None else _filing(row)


class _Answer(msgspec.Struct):
    number: str
    holder: str = ""
    expires: str = ""


class EndpointSource:
    """An HTTP endpoint: `GET <endpoint>?domain=<root>` answers 404, or 200 with JSON.

    That is `{"number": "...", "holder": "...", "expires": "2027-12-31"}`, the last day of a filing that ends; the last two
    may be absent.
    """

    def __init__(self, settings: Icp) -> None:
        self._settings = settings

    async def filing(self, root: str) -> Filing | None:
        """See FilingSource."""
        url = httpx.URL(self._settings.endpoint).copy_merge_params({"domain": root})
        try:
            async with httpx.AsyncClient(timeout=self._settings.timeout_s) as client, client.stream("GET", url) as response:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_MAX_BYTES:
                        raise SourceUnavailable(f"The answer has more than {ANSWER_MAX_BYTES} bytes.")
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise SourceUnavailable(str(fault) or type(fault).__name__) from fault
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise SourceUnavailable(f"It answers with HTTP status {response.status_code}.")
        try:
            answer = msgspec.json.decode(bytes(body), type=_Answer)
            return Filing(root, answer.number, answer.holder, _expiry(answer.expires))
        except (msgspec.DecodeError, ValueError) as fault:
            raise SourceUnavailable(f"Its answer cannot be read: {fault}") from fault


class FilingService:
    """Asks the source, and keeps the operator's table. Methods raise DomainError for what they refuse."""

    def __init__(
        self,
        database: Database,
        settings: Icp,
        clock: Callable[[], float] = time.time,
        source: FilingSource | None = None,
    ) -> None:
        """source: where filings are looked up; by default what the settings say."""
        self._database = database
        self._settings = settings
        self._clock = clock
        self._source = source or (EndpointSource(settings) if settings.endpoint else TableSource(database))

    @property
    def required(self) -> bool:
        """Whether this installation asks for filings at all."""
        return self._settings.required

    async def check(self, name: str, scope: Scope, region: str) -> FilingCheck:
        """Whether a domain with a valid name may be served in this edge group from this live center."""
        root = rules.root_domain(name) or name.removeprefix(".")
        if not (self._settings.required and rules.needs_filing(scope, region)):
            return FilingCheck("not_needed", root, "No ICP filing is needed.")
        try:
            filing = await self._source.filing(root)
        except SourceUnavailable as fault:
            return FilingCheck("unknown", root, f"The ICP filing of {root} cannot be looked up now. {fault}")
        if filing is None:
            return FilingCheck("missing", root, f"There is no ICP filing of {root}.")
        if filing.expires_s is not None and filing.expires_s <= self._clock():
            return FilingCheck("expired", root, f"The ICP filing of {root} ({filing.number}) ended on {filing.last_day}.")
        return FilingCheck("valid", root, f"ICP filing {filing.number}.")

    # The operator's table

    async def filings(self, *, search: str = "", page_number: int = 1, page_size: int = 100) -> Page[Filing]:
        """The table by domain; search: a part of domain, number or holder."""
        chosen = select(IcpFiling)
        if search:
            columns = (IcpFiling.root, IcpFiling.number, IcpFiling.holder)
            chosen = chosen.where(or_(*(column.icontains(search, autoescape=True) for column in columns)))
        page = chosen.order_by(IcpFiling.root).limit(page_size).offset((page_number - 1) * page_size)
        async with self._database.read() as session:
            total = await session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
            return Page([_filing(row) for row in await session.scalars(page)], total)

    async def put(self, domain: str, number: str, holder: str = "", expires: str = "", *, actor: Actor) -> Filing:
        """Note a filing, or correct it. domain: any name under its registrable domain. expires: its last day, `2027-12-31`.

        Raises InvalidDomainName.Malformed, InvalidNumber, InvalidHolder, InvalidExpires.
        """
        filing = _checked(domain, number, holder, expires)
        await self._put([filing], SET, filing.root, actor)
        return filing

    async def import_csv(self, text: str, *, actor: Actor) -> Imported:
        """Note the filings of a CSV file with the columns domain, number, holder, expires. Raises InvalidCsv.Malformed."""
        filings = read_csv(text, COLUMNS, lambda row: _checked(row["domain"], row["number"], row["holder"], row["expires"]))
        return await self._put(filings, IMPORT, f"{len(filings)} filings", actor)

    async def remove(self, domain: str, *, actor: Actor) -> None:
        """Forget a filing; its domains go offline at once (see `filing_watch`). Raises EntityNotExist.Filing."""
        root = _root(domain)
        async with self._database.change("", actor, REMOVE, root, self._clock()) as change:
            row = await change.session.get(IcpFiling, root)
            if row is None:
                raise error("EntityNotExist.Filing")
            change.before = _filing(row)
            await change.session.delete(row)

    async def ask_check(self, *, actor: Actor) -> None:
        """Have all domains judged by their filings now: a server that runs does so within seconds, another at its start."""
        async with self._database.change("", actor, CHECK, "", self._clock()):
            pass

    async def _put(self, filings: list[Filing], action: str, object_: str, actor: Actor) -> Imported:
        now_s = self._clock()
        wanted = {filing.root: filing for filing in filings}
        added = changed = 0
        async with self._database.change("", actor, action, object_, now_s) as change:
            before: list[Filing] = []
            after: list[Filing] = []
            for roots in chunks(wanted, ROWS_AT_ONCE):
                rows = await change.session.scalars(select(IcpFiling).where(IcpFiling.root.in_(roots)))
                known = {row.root: row for row in rows}
                for filing in (wanted[root] for root in roots):
                    row = known.get(filing.root)
                    if row is None:
                        added += 1
                        change.session.add(IcpFiling(**msgspec.structs.asdict(filing), modified_s=now_s))
                    elif _filing(row) != filing:
                        changed += 1
                        before.append(_filing(row))
                        row.number, row.holder, row.expires_s = filing.number, filing.holder, filing.expires_s
                        row.modified_s = now_s
                    else:
                        continue
                    after.append(filing)
                await change.session.flush()
            change.before, change.after = before or None, after
        return Imported(added, changed, len(wanted) - added - changed)


def _root(domain: str) -> str:
    name = rules.domain_name(domain, leading_dot=True)
    return rules.root_domain(name) or name.removeprefix(".")


def _checked(domain: str, number: str, holder: str, expires: str) -> Filing:
    number, holder = number.strip(), holder.strip()
    if not number or len(number) > TEXT_MAX or not number.isprintable():
        raise invalid("Number")
    if len(holder) > TEXT_MAX or not holder.isprintable():
        raise invalid("Holder")
    try:
        return Filing(_root(domain), number, holder, _expiry(expires.strip()))
    except ValueError:
        raise invalid("Expires") from None


def _expiry(last_day: str) -> float | None:
    """The end of the last day, UTC; None for "". Raises ValueError."""
    if not last_day:
        return None
    try:
        return (datetime.strptime(last_day, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)).timestamp()
    except OverflowError:
        raise ValueError(f"there is no day after {last_day}") from None


def _filing(row: IcpFiling) -> Filing:
    return Filing(row.root, row.number, row.holder, row.expires_s)
