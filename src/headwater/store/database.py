"""The database: opened with its migrations done, read in sessions, changed in transactions that write their audit entry.

SQLite or PostgreSQL, with the same promises: a reader sees one consistent view; writers go one after the other, so that what
a transaction has read (a quota, a name that is free) still holds when it commits.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
from sqlalchemy import Connection, FromClause, event, inspect, make_url, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from headwater.settings import Settings
from headwater.store import crypto
from headwater.store.models import AccessKey, AuditEntry

DATABASE_FILE = "headwater.db"
KEY_FILE = "secret.key"

BUSY_TIMEOUT_S = 10.0
"""How long a writer waits for the one before it: the command line and the server share the database. Writes take ms."""

CONNECT_TIMEOUT_S = 10
"""How long a PostgreSQL server may take to answer a new connection, other continents included."""

IDLE_TRANSACTION_S = 60
"""PostgreSQL ends a transaction that says nothing for so long: a machine that is cut off must not stop all other writers."""

CONNECTIONS = 10
"""Connections to PostgreSQL that are kept; as many again in a rush. Its default is 100 for all who use the server."""

WRITER_LOCK = 0x48656164_77617472
"""The advisory lock of PostgreSQL that a writer holds until its transaction ends; any 64-bit number of our own will do."""

Begin = Literal["read", "write", "note", "migrate"]
"""How a transaction begins: see `Database._engine_for`, `_sqlite` and `_postgresql`."""

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
    """SQLite by default, or PostgreSQL; what is particular to one stands in `_sqlite` and `_postgresql` alone."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._readers = self._sessions("read")
        self._writers = self._sessions("write")
        self._noters = self._sessions("note")

    @classmethod
    async def of(cls, settings: Settings) -> Self:
        """Open the database that the settings name; its secrets' key lies in `data_dir` in any case. Raises as `open`."""
        folder = Path(settings.data_dir)
        return await cls.open(settings.database or folder / DATABASE_FILE, key_file=folder / KEY_FILE)

    @classmethod
    async def open(cls, location: Path | str, *, key_file: Path | None = None) -> Self:
        """Open a file or a URL and bring its tables up to date; several processes may do so at once.

        location: path of a SQLite file, or a URL such as `postgresql://user:password@host/name` (then pass key_file, too).
        key_file: the secrets' key; by default `secret.key` beside the SQLite file.
        Raises crypto.SecretsError, and DatabaseUnusableError, for instance for a file that is no database.
        """
        url = _url(location)
        if key_file is None:
            if url.get_backend_name() != "sqlite" or not url.database:
                raise crypto.SecretsError("a key file must be named for a database that is no file")
            key_file = Path(url.database).with_name(KEY_FILE)
        key = await asyncio.to_thread(crypto.load_or_create_key, key_file)
        engine = _engine(url)
        crypto.bind(engine.dialect, crypto.Cipher(key))
        database = cls(engine)
        try:
            async with _locked(_beside(url, key_file) / "migrate.lock"), database._engine_for("migrate").begin() as connection:
                await connection.run_sync(_migrate)
            async with database.read() as session:  # fails now, not at the first request, if the key is another one
                await session.scalar(select(AccessKey.secret).limit(1))
        except DBAPIError as error:
            await database.close()
            reason = " ".join(str(error.orig).split())  # psycopg speaks in several lines
            raise DatabaseUnusableError(f"database {_name(url)}: {reason}") from error
        except _NewerDatabaseError as error:
            await database.close()
            raise DatabaseUnusableError(f"database {_name(url)}: {error}") from error
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
        """A transaction for what is no change of state: history, clearing up."""
        async with self._writers.begin() as session:
            yield session

    @asynccontextmanager
    async def note(self) -> AsyncIterator[AsyncSession]:
        """A transaction for rows that are only ever added and removed, such as nonces, where only a unique key matters.

        PostgreSQL runs several at once, beside a writer, and may lose the last ones when it crashes.
        """
        async with self._noters.begin() as session:
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

    def _engine_for(self, begin: Begin) -> AsyncEngine:
        options: dict[str, Any] = {"headwater_begin": begin}
        if begin == "read" and self._engine.dialect.name == "postgresql":
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return self._engine.execution_options(**options)

    def _sessions(self, begin: Begin) -> async_sessionmaker[AsyncSession]:
        return async_sessionmaker(self._engine_for(begin), expire_on_commit=False)


def insert_of(connection: AsyncConnection, table: FromClause) -> Any:
    """An INSERT into a table that can say `on_conflict_do_update`, which is not in SQLAlchemy's common language.

    What speaks PostgreSQL is loaded where it is used alone: it takes a tenth of the time of a start.
    """
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)  # type: ignore[arg-type]
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)  # type: ignore[arg-type]


def _json(value: Any) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()


def _url(location: Path | str) -> URL:
    """With the drivers that we use, whichever was named. Raises DatabaseUnusableError."""
    if isinstance(location, Path) or "://" not in location:
        return URL.create("sqlite+aiosqlite", database=str(location))
    try:
        url = make_url(location)
    except (ArgumentError, ValueError):  # its text would hold the password
        raise DatabaseUnusableError("database: expected a URL like postgresql://user:password@host/name") from None
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
    driver = drivers.get(url.drivername.partition("+")[0])
    if driver is None:
        raise DatabaseUnusableError(f"database: expected postgresql:// or sqlite://, got {url.drivername}://")
    return url.set(drivername=driver)


def _name(url: URL) -> str:
    """The database as people know it, without a password."""
    return url.database or "" if url.get_backend_name() == "sqlite" else url.render_as_string()


def _beside(url: URL, key_file: Path) -> Path:
    """The folder of the lock file, which covers what a transaction of SQLite cannot: the first switch of a new file to WAL."""
    of_file = url.get_backend_name() == "sqlite" and url.database
    return Path(url.database or "").parent if of_file else key_file.parent


def _engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        if url.database:
            _keep_to_us(Path(url.database))
        engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
        _sqlite(engine)
    else:
        limits = f"-c lock_timeout={BUSY_TIMEOUT_S:g}s -c idle_in_transaction_session_timeout={IDLE_TRANSACTION_S}s"
        engine = create_async_engine(
            url,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "options": limits},
            pool_size=CONNECTIONS,
            max_overflow=CONNECTIONS,
            pool_timeout=BUSY_TIMEOUT_S,
            pool_pre_ping=True,  # a server that was started anew costs nobody a failed request
        )
        _postgresql(engine)
    return engine


def _keep_to_us(file: Path) -> None:
    """Nobody but the owner may read the file; SQLite gives the files beside it (-wal, -shm) the same mode.

    Raises DatabaseUnusableError if the file cannot be made or is somebody else's.
    """
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        file.chmod(0o600)
    except OSError as error:
        raise DatabaseUnusableError(f"database {file}: {error.strerror}") from error


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
        reads = connection.get_execution_options().get("headwater_begin", "read") == "read"
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _postgresql(engine: AsyncEngine) -> None:
    """Gives PostgreSQL the promises of SQLite: a view for readers, one lock for writers.

    The lock is taken before the writer's first look at the data, so at READ COMMITTED it sees all that was committed before.
    One lock for all, because rules span accounts: a name or a root domain that somebody else holds. A change takes
    milliseconds, and every change is small.
    """

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        match connection.get_execution_options().get("headwater_begin", "read"):
            case "write":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")
            case "note":
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
            case "migrate":
                connection.exec_driver_sql("SET LOCAL lock_timeout TO 0")  # somebody else's migration may take its time
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")


class _NewerDatabaseError(Exception):
    """A later version of the program has changed the tables."""


def _migrate(connection: Connection) -> None:
    """Bring the tables up to date. Raises _NewerDatabaseError."""
    revision, newest = _revision(connection) or "", _newest_revision()
    if revision == newest:
        return
    if revision > newest:  # both are numbers of four digits
        raise _NewerDatabaseError(
            f"a newer version of Headwater has brought it to {revision}, this one knows {newest} at most;"
            " install that version, or go back to a copy from before"
        )
    # Alembic is loaded where it has work to do alone: it would take as long as all else that a command does at its start.
    import alembic.command
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")
    if connection.dialect.name == "postgresql":
        _order_by_bytes(connection)


def _revision(connection: Connection) -> str | None:
    """The migration that was done last, as Alembic has noted it down; None for a database without tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return revision


def _newest_revision() -> str:
    """Migrations are numbered in their order, and their files begin with their numbers."""
    return max(path.stem.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _order_by_bytes(connection: Connection) -> None:
    """Let PostgreSQL compare text as SQLite does, whatever the locale of the database: lists come in one order everywhere,
    and an index serves a search for a prefix.
    """
    columns = connection.exec_driver_sql(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS NULL"
        " ORDER BY table_name, ordinal_position"
    ).all()
    for table, rows in itertools.groupby(columns, key=lambda row: row.table_name):
        changes = ", ".join(f'ALTER COLUMN "{row.column_name}" TYPE text COLLATE "C"' for row in rows)
        connection.exec_driver_sql(f'ALTER TABLE "{table}" {changes}')


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """One process (or task) at a time; the others wait."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
