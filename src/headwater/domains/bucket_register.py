"""The register of buckets as operators see it: whose each is, and how one becomes free again."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from sqlalchemy import func, select, union_all

from headwater.domains.errors import error
from headwater.domains.streams import Page
from headwater.store.database import Actor, Database
from headwater.store.models import Bucket, Domain, RecordLibraryTemplate, RecordTemplate, SnapshotTemplate, Upload
from headwater.store.objects import ObjectStores


class ClaimedBucket(msgspec.Struct, frozen=True):
    """A bucket and the account whose it is. store: "" for folders of this machine, else the URL of the object store."""

    store: str
    bucket: str
    account: str
    since_s: float


class BucketService:
    """For operators: whose buckets are, and how one becomes free again. Methods raise DomainError for what they refuse."""

    def __init__(self, database: Database, stores: ObjectStores, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._stores = stores
        self._clock = clock

    async def page(self, *, account: str = "", page_number: int = 1, page_size: int = 100) -> Page[ClaimedBucket]:
        """The buckets of one account or of all, by store and name."""
        chosen = select(Bucket)
        if account:
            chosen = chosen.where(Bucket.account == account)
        page = chosen.order_by(Bucket.store, Bucket.bucket).limit(page_size).offset((page_number - 1) * page_size)
        async with self._database.read() as session:
            total = await session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
            return Page(
                [msgspec.convert(row, ClaimedBucket, from_attributes=True) for row in await session.scalars(page)], total
            )

    async def release(self, bucket: str, store: str = "", *, actor: Actor) -> ClaimedBucket:
        """Make a bucket nobody's: the next account that names it gets it. What lies in it stays where it is.

        Raises EntityNotExist.Bucket; Bucket.InUse if a template of the account names it, or a file waits to be stored in it.
        """
        async with self._database.change("", actor, "ReleaseBucket", bucket, self._clock()) as change:
            row = await change.session.get(Bucket, (store, bucket))
            if row is None:
                raise error("EntityNotExist.Bucket")
            domains = select(Domain.name).where(Domain.account == row.account)
            named = union_all(
                *(
                    select(template.endpoint, template.domain).where(template.bucket == bucket, template.domain.in_(domains))
                    for template in (RecordTemplate, RecordLibraryTemplate, SnapshotTemplate)
                )
            )
            for endpoint, domain in (await change.session.execute(named)).all():
                if self._stores.store_name(endpoint) == store:
                    raise error("Bucket.InUse", f"A template of {domain} names it.")
            queued = select(Upload.endpoint).where(Upload.bucket == bucket, Upload.state == "waiting").distinct()
            for endpoint in (await change.session.scalars(queued)).all():
                if self._stores.store_name(endpoint) == store:
                    raise error("Bucket.InUse", "Files wait to be stored in it.")
            released = _claimed(row)
            change.before = released
            await change.session.delete(row)
        return released


def _claimed(row: Bucket) -> ClaimedBucket:
    return msgspec.convert(row, ClaimedBucket, from_attributes=True)
