"""Pictures of streams as the live center notes them down, without a stream and without a file."""

from __future__ import annotations

from headwater.domains import snapshots
from headwater.domains.snapshots import Taken
from headwater.store.database import Database


async def take(
    database: Database,
    domain: str,
    created_ms: int,
    *,
    stream: str = "cam",
    endpoint: str = "oss-cn-shanghai.aliyuncs.com",
    bucket: str = "pictures",
    overwrite: str = "",
    sequence: str = "",
    is_stored: bool = True,
    callback: str = "",
) -> list[Taken]:
    """Note down a picture of 1000 bytes under the names that the templates give."""
    async with database.write() as session:
        number = await snapshots.numbers(session, domain, "live", stream) + 1
        taken = [
            Taken(domain, "live", stream, created_ms, is_overlay, endpoint, bucket, name, 1000)
            for name, is_overlay in snapshots.names(overwrite, sequence, "live", stream, created_ms, number)
        ]
        await snapshots.note(session, taken, is_stored=is_stored)
        if is_stored:
            await snapshots.tell(session, [(item, callback) for item in taken])
        if sequence:
            await snapshots.note_numbers(session, {(domain, "live", stream): (number, created_ms / 1000)})
    return taken
