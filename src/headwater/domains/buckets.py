"""Buckets that customers name in templates: checked when they are saved, and kept apart by account.

A bucket belongs to the account that names it first, if it is empty then, or to which the operator has granted it
(`bucket_register`): names of folders and of what an operator's access key can reach are common to all accounts, and nobody
shall write over the files of others, the operator's own among them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains.errors import error
from headwater.store.database import Database
from headwater.store.models import Bucket
from headwater.store.objects import BUCKET, ENDPOINT, ObjectError, ObjectStores, normal_endpoint

LIBRARY_BUCKET: Final = "vod"
"""The media library's own bucket (`domains.library`): everybody's, in a folder for each domain, so it can be nobody's."""

OWN_PREFIX: Final = "headwater-"
"""How the names begin of buckets that are the platform's own, such as that of time shift."""


class Buckets:
    """The buckets of customers, over the stores of this platform."""

    def __init__(self, database: Database, stores: ObjectStores) -> None:
        self._database = database
        self._stores = stores

    async def check(self, account_id: str, endpoint: str, bucket: str) -> str:
        """Really write to a bucket that is the account's or may become so; returns the endpoint in its plain form, a host name.

        Ask before a transaction: it may take seconds.

        Raises InvalidOssEndpoint.Malformed, InvalidOssBucket.Malformed, InvalidOssBucket.NotFound (which says why it cannot be
        used).
        """
        endpoint = normal_endpoint(endpoint)
        if not ENDPOINT.fullmatch(endpoint):
            raise error("InvalidOssEndpoint.Malformed", "It is a host name such as oss-cn-shanghai.aliyuncs.com.")
        if not BUCKET.fullmatch(bucket):
            raise error("InvalidOssBucket.Malformed", "It has 3 to 63 small letters, digits and hyphens, no hyphen at an end.")
        async with self._database.read() as session:
            row = await session.get(Bucket, (self._stores.store_name(endpoint), bucket))
        if row is not None and row.account != account_id:
            raise error("InvalidOssBucket.NotFound", "It is not a bucket of this account.")
        try:
            if row is None and not _is_ours(bucket) and not await self._stores.is_empty(endpoint, bucket):
                raise error("InvalidOssBucket.NotFound", "It holds files already: the operator must grant it to the account.")
            await self._stores.check(endpoint, bucket)
        except ObjectError as fault:
            raise error("InvalidOssBucket.NotFound", f"{fault}.") from None
        return endpoint

    async def claim(self, session: AsyncSession, account_id: str, endpoint: str, bucket: str, now_s: float) -> None:
        """Make a bucket the account's, within the caller's transaction, if it is nobody's yet.

        endpoint: as `check` returned it. Raises InvalidOssBucket.NotFound if it is another account's.
        """
        key = (self._stores.store_name(endpoint), bucket)
        row = await session.get(Bucket, key)
        if _is_ours(bucket) or (row is not None and row.account != account_id):
            raise error("InvalidOssBucket.NotFound", "It is not a bucket of this account.")
        if row is None:
            session.add(Bucket(store=key[0], bucket=bucket, account=account_id, since_s=now_s))


def _is_ours(bucket: str) -> bool:
    return bucket == LIBRARY_BUCKET or bucket.startswith(OWN_PREFIX)
