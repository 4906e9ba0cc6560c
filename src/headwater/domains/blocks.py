"""Streams that are blocked in some regions of the world, or in all but some, for a while.

Reference control-plane 7.2 (SetLiveStreamBlock). Viewers are placed by the country database (`access.places`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal, cast, get_args

import msgspec
from sqlalchemy import delete, func, select

from headwater.access.names import is_name
from headwater.access.regions import is_region
from headwater.domains import bindings, rules
from headwater.domains.errors import error, invalid
from headwater.domains.function_table import split
from headwater.domains.owned import owned_domain
from headwater.domains.publisher import Publisher
from headwater.store.database import Actor, Database
from headwater.store.models import StreamBlock

BLOCKS_MAX: Final = 200
"""Blocked streams of a domain (reference control-plane 7.2)."""
BLOCK_DEFAULT_S: Final = 7 * 86_400
"""How long a block without ReleaseTime lasts."""
REMEMBERED_S: Final = 7 * 86_400
"""How long a block that is over is still told of."""

BlockType = Literal["blacklist", "whitelist"]
BLOCKING: Final = 1
EXPIRED: Final = 4
"""Statuses of the service: a block holds as soon as it is set, and until its release time."""


class BlockRecord(msgspec.Struct, frozen=True):
    """One blocked stream. Times are unix seconds."""

    domain: str
    app: str
    stream: str
    type: BlockType
    locations: str
    release_s: float
    updated_s: float
    status: int


class BlockPage(msgspec.Struct, frozen=True):
    """One page of blocked streams; `total` counts all pages."""

    items: list[BlockRecord]
    total: int


class BlockService:
    """The blocked streams of streaming domains. Methods raise DomainError for what they refuse.

    publisher: the DomainService's, so that blocks are put one after the other.
    """

    def __init__(self, database: Database, publisher: Publisher, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock

    async def set(
        self,
        account_id: str,
        name: str,
        app: str,
        stream: str,
        *,
        block_type: str,
        locations: str,
        release_time: str = "",
        actor: Actor,
    ) -> None:
        """Block a stream until the release time or for seven days; of two blocks of a stream the newer holds.

        locations: a comma list of regions (`access.regions`). release_time: `yyyy-MM-ddTHH:mm:ssZ`. Raises InvalidAppName,
        InvalidStreamName, InvalidBlockType, InvalidLocationList, InvalidReleaseTime.Malformed, IllegalOperation (not a main
        streaming domain), QuotaExceeded.StreamBlock.
        """
        if not is_name(app):
            raise invalid("AppName")
        if not is_name(stream):
            raise invalid("StreamName")
        if block_type not in get_args(BlockType):
            raise invalid("BlockType")
        regions = [region.upper() for region in split(locations)]
        if not regions or not all(map(is_region, regions)):
            raise invalid("LocationList")
        now_s = self._clock()
        release_s = now_s + BLOCK_DEFAULT_S
        if release_time:
            try:
                release_s = rules.parse_time(release_time)
            except ValueError:
                raise error("InvalidReleaseTime.Malformed") from None
            if release_s <= now_s:
                raise error("InvalidReleaseTime.Malformed")
        async with self._database.change(
            account_id, actor, "SetLiveStreamBlock", f"{name.lower()}/{app}/{stream}", now_s
        ) as change:
            session = change.session
            domain = await owned_domain(session, account_id, name)
            if domain.type != "liveVideo":
                raise error("IllegalOperation")
            await bindings.check_main(session, domain.name)
            await session.execute(
                delete(StreamBlock).where(StreamBlock.domain == domain.name, StreamBlock.release_s < now_s - REMEMBERED_S)
            )
            old = await session.get(StreamBlock, (domain.name, app, stream))
            holding = select(func.count()).select_from(StreamBlock)
            holding = holding.where(StreamBlock.domain == domain.name, StreamBlock.release_s > now_s)
            if (old is None or old.release_s <= now_s) and (await session.scalar(holding) or 0) >= BLOCKS_MAX:
                raise error("QuotaExceeded.StreamBlock")
            change.before = None if old is None else _record(old, now_s)
            row = StreamBlock(
                domain=domain.name,
                app=app,
                stream=stream,
                type=block_type,
                locations=",".join(regions),
                release_s=release_s,
                updated_s=now_s,
            )
            change.after = _record(await session.merge(row), now_s)
        await self._publisher.blocks([(domain.name, app, stream)])

    async def delete(self, account_id: str, name: str, app: str, stream: str, *, actor: Actor) -> None:
        """Block a stream no longer (DeleteLiveStreamBlock). Raises ConfigNotFound if it is not blocked."""
        now_s = self._clock()
        async with self._database.change(
            account_id, actor, "DeleteLiveStreamBlock", f"{name.lower()}/{app}/{stream}", now_s
        ) as change:
            domain = await owned_domain(change.session, account_id, name)
            row = await change.session.get(StreamBlock, (domain.name, app, stream))
            if row is None:
                raise error("ConfigNotFound", "The stream is not blocked.")
            change.before = _record(row, now_s)
            await change.session.delete(row)
        await self._publisher.blocks([(domain.name, app, stream)])

    async def list_blocks(
        self,
        account_id: str,
        name: str,
        *,
        app: str = "",
        stream: str = "",
        block_type: str = "",
        page_number: int = 1,
        page_size: int = 10,
    ) -> BlockPage:
        """The blocked streams of a domain, the newest first, and for a week those that were (DescribeStreamLocationBlock).

        Empty filters match all. Raises InvalidBlockType.
        """
        if block_type and block_type not in get_args(BlockType):
            raise invalid("BlockType")
        now_s = self._clock()
        async with self._database.read() as session:
            domain = await owned_domain(session, account_id, name)
            where = [StreamBlock.domain == domain.name, StreamBlock.release_s > now_s - REMEMBERED_S]
            for column, wanted in ((StreamBlock.app, app), (StreamBlock.stream, stream), (StreamBlock.type, block_type)):
                if wanted:
                    where.append(column == wanted)
            total = await session.scalar(select(func.count()).select_from(StreamBlock).where(*where)) or 0
            page = select(StreamBlock).where(*where).limit(page_size).offset((page_number - 1) * page_size)
            page = page.order_by(StreamBlock.updated_s.desc(), StreamBlock.app, StreamBlock.stream)
            return BlockPage([_record(row, now_s) for row in await session.scalars(page)], total)


def _record(row: StreamBlock, now_s: float) -> BlockRecord:
    return BlockRecord(
        domain=row.domain,
        app=row.app,
        stream=row.stream,
        type=cast(BlockType, row.type),
        locations=row.locations,
        release_s=row.release_s,
        updated_s=row.updated_s,
        status=BLOCKING if row.release_s > now_s else EXPIRED,
    )
