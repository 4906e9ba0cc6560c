"""The database: opened with its migrations done, read in sessions, changed in transactions that write their audit entry."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import alembic.command
import alembic.config
import msgspec
from sqlalchemy import Connection, event, make_url, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from headwater.store import crypto
from headwater.store.models import AccessKey, AuditEntry

DATABASE_FILE = "headwater.db"
KEY_FILE = "secret.key"

BUSY_TIMEOUT_S = 10.0
"""How long a SQLite writer waits for the one before it: the command line and the server share the file. Writes take ms."""

_MIGRATIONS = Path(__file__).with_name("migrations")


class DatabaseUnusableError(Exception):
    """The database cannot be opened; the message names it and says why."""


class Actor(msgspec.Struct, frozen=True):
    """Who makes a change, for the audit log: an access key id, `cli`, or the like, and the request's id if there is one."""

    name: str
    request_id: str = ""


class Change:
    """A transaction that changes state. Set `before` and `after` (anything msgspec can encode)."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self.before: Any = None
        self.after: Any = None


class Database:
    """SQLite by default; nothing here or in the models is particular to it but what `_sqlite` sets."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._readers = async_sessionmaker(engine, expire_on_commit=False)
        self._writer = engine.execution_options(headwater_write=True)
        self._writers = async_sessionmaker(self._writer, expire_on_commit=False)

    @classmethod
    async def open(cls, location: Path | str, *, key_file: Path | None = None) -> Self:
        """Open a file or a URL and bring its tables up to date; several processes may do so at once.

        location: path of a SQLite file, or a SQLAlchemy URL (whoever passes one for a server passes key_file, too).
        key_file: the secrets' key; by default `secret.key` beside the SQLite file.
        Raises crypto.SecretsError, and DatabaseUnusableError, for instance for a file that is no database.
        """
        url = make_url(location) if isinstance(location, str) and "://" in location else _file_url(Path(location))
        if key_file is None:
            if url.get_backend_name() != "sqlite" or not url.database:
                raise crypto.SecretsError("a key file must be named for a database that is no file")
            key_file = Path(url.database).with_name(KEY_FILE)
        key = await asyncio.to_thread(crypto.load_or_create_key, key_file)
        engine = _engine(url)
        crypto.bind(engine.dialect, crypto.Cipher(key))
        database = cls(engine)
        try:
            # the lock file covers what a transaction cannot: the first switch of a new file to WAL
            async with _locked(key_file.with_name("migrate.lock")), database._writer.begin() as connection:
                await connection.run_sync(_migrate)
            async with database.read() as session:  # fails now, not at the first request, if the key is another one
                await session.scalar(select(AccessKey.secret).limit(1))
        except DBAPIError as error:
            await database.close()
            raise DatabaseUnusableError(f"database {url.render_as_string()}: {error.orig}") from error
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session for reading: one consistent view."""
        async with self._readers() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction for what is no change of state: nonces, history, clearing up."""
        async with self._writers.begin() as session:
            yield session

    @asynccontextmanager
    async def change(self, account: str, actor: Actor, action: str, object_: str, now_s: float) -> AsyncIterator[Change]:
        """A transaction for a change of state. Its audit entry is written with it or not at all."""
        async with self._writers.begin() as session:
            change = Change(session)
            yield change
            session.add(
                AuditEntry(
                    time_s=now_s,
                    account=account,
                    actor=actor.name,
                    action=action,
                    object=object_,
                    before=_json(change.before),
                    after=_json(change.after),
                    request_id=actor.request_id,
                )
            )


def _json(value: Any) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()


def _file_url(path: Path) -> URL:
    return URL.create("sqlite+aiosqlite", database=str(path))


def _engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        return create_async_engine(url)
    engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    _sqlite(engine)
    return engine


def _sqlite(engine: AsyncEngine) -> None:
    """WAL lets readers go on beside the one writer. NORMAL loses at most the last commits at a power cut, and no more."""

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself: `begun` does
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        # A reader that turns writer fails at once when another wrote meanwhile; who will write says so and waits its turn.
        write = connection.get_execution_options().get("headwater_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _migrate(connection: Connection) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """One process (or task) at a time; the others wait."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
