"""A PostgreSQL server of the tests' own: a private cluster in a temporary folder that listens on a Unix socket there alone."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg

from support.programs import missing

# Nothing that is here need outlive a crash of the machine.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "listen_addresses": "", "max_connections": "200"}

SERVER_USER = "postgres"
"""Who runs the server when the tests run as root, whom PostgreSQL refuses; Debian's package makes this user."""


_EMPTY = """
DO $$ DECLARE name text; filled boolean; BEGIN
    SET LOCAL session_replication_role = replica;  -- foreign keys stand in no order
    FOR name IN SELECT quote_ident(tablename) FROM pg_tables
        WHERE schemaname = current_schema() AND tablename <> 'alembic_version'
    LOOP
        EXECUTE 'SELECT EXISTS (SELECT 1 FROM ' || name || ')' INTO filled;
        IF filled THEN EXECUTE 'DELETE FROM ' || name; END IF;
    END LOOP;
    PERFORM setval(quote_ident(sequencename)::regclass, 1, false) FROM pg_sequences WHERE last_value IS NOT NULL;
END $$
"""
"""Most tables are empty after a test; to truncate all of them takes a third of a second."""


class Postgres:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = (f"test{number}" for number in itertools.count())
        self._shared = ""

    def new(self) -> str:
        """The URL of a new, empty database."""
        name = next(self._names)
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0")
        return self._url(name)

    def emptied(self) -> str:
        """The URL of a database that all tests share one after the other, with its tables, if it has any, made empty."""
        if not self._shared:
            self._shared = self.new()
        else:
            with psycopg.connect(self._shared, autocommit=True) as connection:
                connection.execute(_EMPTY)
        return self._shared

    def sql(self, statement: str, url: str = "") -> None:
        """Run a statement."""
        _run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", url or self._url("postgres"), "-c", statement)

    def _url(self, name: str) -> str:
        return f"postgresql://headwater@/{name}?host={quote(str(self.folder), safe='')}"

    def stop(self) -> None:
        """Stop the server, at once for whoever is connected."""
        _run("pg_ctl", "-D", str(self.folder / "data"), "-m", "fast", "-w", "stop")

    def start(self) -> None:
        """Start the server; it answers once this returns."""
        options = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in SETTINGS.items())
        log = str(self.folder / "log")
        data = str(self.folder / "data")
        _run("pg_ctl", "-D", data, "-l", log, "-w", "-o", f"{options} -c unix_socket_directories={self.folder}", "start")


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """A server for as long as the block lasts. Ends the test if PostgreSQL is not installed."""
    with tempfile.TemporaryDirectory(prefix="headwater-pg-") as name:  # short: it holds a socket
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, SERVER_USER)
        server = Postgres(folder)
        _run("initdb", "-D", str(folder / "data"), "-U", "headwater", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _run(program: str, *arguments: str) -> None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))  # where Debian hides what is no command for users
    path = str(found[-1]) if found else shutil.which(program)
    if path is None:
        missing(f"PostgreSQL's {program} is not installed (make programs)")
    user = SERVER_USER if os.geteuid() == 0 else None
    done = subprocess.run(
        [path, *arguments], user=user, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, f"{program}: {done.stdout.decode()}"
