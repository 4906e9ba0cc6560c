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
from headwater.store.objects import BUCKET, ObjectStores


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

    async def grant(self, bucket: str, account_id: str, store: str = "", *, actor: Actor) -> ClaimedBucket:
        """Make a bucket an account's, whatever lies in it.

        Raises InvalidOssBucket.Malformed; Bucket.InUse if it is another account's.
        """
        if not BUCKET.fullmatch(bucket):
            raise error("InvalidOssBucket.Malformed", "It has 3 to 63 small letters, digits and hyphens, no hyphen at an end.")
        now_s = self._clock()
        async with self._database.change("", actor, "GrantBucket", bucket, now_s) as change:
            row = await change.session.get(Bucket, (store, bucket))
            if row is not None and row.account != account_id:
                raise error("Bucket.InUse", f"It is the account's {row.account}: release it first.")
            if row is None:
                row = Bucket(store=store, bucket=bucket, account=account_id, since_s=now_s)
                change.session.add(row)
            granted = _claimed(row)
            change.after = granted
        return granted

    async def release(self, bucket: str, store: str = "", *, actor: Actor) -> ClaimedBucket:
        """Make a bucket nobody's. What lies in it stays where it is, and until it is empty only `grant` gives it to an account.

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
