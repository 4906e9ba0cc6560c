"""Databases that are ready: migrations are done once for each test process, for they cost more than most tests do."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headwater.store.database import DATABASE_FILE, Database


def prepared(folder: Path) -> Path:
    """The path of a SQLite file in a folder, with all tables and no rows, as an older start of the program has left it."""
    file = folder / DATABASE_FILE
    with file.open("xb") as new:  # never over a database that is in use
        new.write(_content())
    return file


@functools.cache
def _content() -> bytes:
    async def migrate(file: Path) -> None:
        await (await Database.open(file)).close()

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as beside:  # the caller may be within an event loop
        file = Path(folder) / DATABASE_FILE
        beside.submit(asyncio.run, migrate(file)).result()
        return file.read_bytes()
