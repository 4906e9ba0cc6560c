"""Promises of the database: always up to date, shared by processes, every change audited, secrets unreadable in the file.

What does not speak of a file holds for SQLite and PostgreSQL alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import alembic.command
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import ForeignKey, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

import support.postgres
from headwater.store.crypto import SecretsError, load_or_create_key
from headwater.store.database import Actor, Database, DatabaseUnusableError
from headwater.store.models import AccessKey, Account, ApiNonce, AuditEntry, Base, Domain, WatermarkTemplate
from support.databases import prepared
from support.ports import free_port
from support.postgres import Postgres

ACTOR = Actor("tester", "request-1")


@dataclass(frozen=True)
class Place:
    """Where a database is, still without any tables: it can be opened several times."""

    location: str
    key_file: Path

    async def open(self) -> Database:
        return await Database.open(self.location, key_file=self.key_file)


@pytest.fixture(params=["sqlite", "postgresql"])
def new(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """A database that nobody has opened yet."""
    server: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    return Place(server.new() if server else str(tmp_path / "headwater.db"), tmp_path / "secret.key")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """A database without rows."""
    server: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    return Place(server.emptied() if server else str(prepared(tmp_path)), tmp_path / "secret.key")


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    database = await place.open()
    yield database
    await database.close()


async def audit(database: Database) -> list[AuditEntry]:
    async with database.read() as session:
        return list(await session.scalars(select(AuditEntry).order_by(AuditEntry.id)))


async def add_account(database: Database, id_: str, name: str) -> None:
    async with database.change(id_, ACTOR, "CreateAccount", name, 12.5) as change:
        change.session.add(Account(id=id_, name=name, created_s=12.5))
        change.after = {"name": name}


async def test_the_migrations_build_exactly_the_models(new: Place) -> None:
    def differences(session: Session) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(session.connection()), Base.metadata))

    database = await new.open()
    async with database.read() as session:
        assert await session.run_sync(differences) == []
    await database.close()


async def test_what_is_up_to_date_is_opened_without_loading_migrations(new: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await new.open()).close()
    monkeypatch.delattr(alembic.command, "upgrade")
    await (await new.open()).close()


async def test_several_may_open_a_new_database_at_once(new: Place, tmp_path: Path) -> None:
    key = (await asyncio.to_thread(load_or_create_key, new.key_file)).hex()
    key_files = [tmp_path / f"node-{number}" / "secret.key" for number in range(5)]
    for key_file in key_files:  # as on machines of their own, where no lock file is shared
        key_file.parent.mkdir()
        key_file.write_text(key)
    databases = await asyncio.gather(*(Database.open(new.location, key_file=key_file) for key_file in key_files))
    await add_account(databases[0], "1", "a")
    assert [entry.object for entry in await audit(databases[4])] == ["a"]
    for database in databases:
        await database.close()


def test_several_processes_may_open_a_new_database_at_once(new: Place) -> None:
    program = (
        "import asyncio, pathlib, sys; from headwater.store.database import Database\n"
        "async def main(): await (await Database.open(sys.argv[1], key_file=pathlib.Path(sys.argv[2]))).close()\n"
        "asyncio.run(main())"
    )
    command = [sys.executable, "-c", program, new.location, str(new.key_file)]
    started = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]


async def test_writers_wait_for_each_other(place: Place) -> None:
    one, other = [await place.open() for _ in range(2)]
    await asyncio.gather(*(add_account((one, other)[i % 2], str(i), f"n{i}") for i in range(20)))
    assert len(await audit(one)) == 20
    await one.close()
    await other.close()


async def test_what_a_writer_has_read_still_holds_when_it_commits(place: Place) -> None:
    one, other = [await place.open() for _ in range(2)]

    async def add_if_fewer_than_three(database: Database, number: int) -> None:
        async with database.change("x", ACTOR, "CreateAccount", "", 1.0) as change:
            if (await change.session.scalar(select(func.count()).select_from(Account)) or 0) < 3:
                await asyncio.sleep(0.001)  # another writer would have time to count, too
                change.session.add(Account(id=str(number), name=str(number), created_s=1.0))

    await asyncio.gather(*(add_if_fewer_than_three((one, other)[number % 2], number) for number in range(12)))
    async with one.read() as session:
        assert await session.scalar(select(func.count()).select_from(Account)) == 3
    await one.close()
    await other.close()


async def test_text_is_ordered_by_its_bytes(database: Database) -> None:
    names = ["a-b", "a.b", "aB", "ab", "ac", "a_b", "é", "z"]
    for number, name in enumerate(names):
        await add_account(database, str(number), name)
    async with database.read() as session:
        assert list(await session.scalars(select(Account.name).order_by(Account.name))) == sorted(names)


async def test_a_reader_cannot_write_by_mistake(database: Database) -> None:
    async with database.read() as session:
        session.add(Account(id="1", name="a", created_s=1.0))
        with contextlib.suppress(DBAPIError):
            await session.flush()
    async with database.read() as session:
        assert list(await session.scalars(select(Account))) == []


async def test_a_change_writes_its_audit_entry(database: Database) -> None:
    await add_account(database, "1", "a")
    [entry] = await audit(database)
    assert (entry.time_s, entry.account, entry.actor, entry.request_id) == (12.5, "1", "tester", "request-1")
    assert (entry.action, entry.object, entry.before, entry.after) == ("CreateAccount", "a", "", '{"name":"a"}')


async def test_a_change_that_fails_leaves_no_trace(database: Database) -> None:
    await add_account(database, "1", "a")
    with pytest.raises(IntegrityError):
        await add_account(database, "2", "a")
    with contextlib.suppress(ZeroDivisionError):
        async with database.change("3", ACTOR, "CreateAccount", "c", 1.0) as change:
            change.session.add(Account(id="3", name="c", created_s=1.0))
            raise ZeroDivisionError
    assert len(await audit(database)) == 1
    async with database.read() as session:
        assert list(await session.scalars(select(Account.id))) == ["1"]


async def test_foreign_keys_hold(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.write() as session:
            session.add(AccessKey(id="k", secret="s", account="nobody", status="active", created_s=1.0))


async def test_no_secret_stands_in_the_file(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "headwater.db")
    await add_account(database, "1", "a")
    async with database.write() as session:
        session.add(AccessKey(id="k", secret="very-secret-text", account="1", status="active", created_s=1.0))
    async with database.read() as session:
        assert await session.scalar(select(AccessKey.secret)) == "very-secret-text"
        assert b"very-secret" not in (await session.execute(text("SELECT secret FROM access_keys"))).scalar_one()
    await database.close()
    for path in tmp_path.iterdir():
        assert b"very-secret" not in path.read_bytes()


async def test_another_key_file_is_noticed_at_the_start(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "headwater.db")
    await add_account(database, "1", "a")
    async with database.write() as session:
        session.add(AccessKey(id="k", secret="s", account="1", status="active", created_s=1.0))
    await database.close()
    (tmp_path / "secret.key").unlink()
    with pytest.raises(SecretsError, match="is this the key file"):
        await Database.open(tmp_path / "headwater.db")


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "headwater.db")
    await add_account(database, "1", "a")  # now the files of the write-ahead log are there, too
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    await database.close()
    assert modes == dict.fromkeys(modes, 0o600)
    assert {"headwater.db", "headwater.db-wal"} <= set(modes)


async def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "headwater.db").touch(0o644)
    await (await Database.open(tmp_path / "headwater.db")).close()
    assert stat.S_IMODE((tmp_path / "headwater.db").stat().st_mode) == 0o600


async def test_a_server_that_cannot_be_reached_is_said_in_one_line(tmp_path: Path, postgres: Postgres) -> None:
    absent = postgres.new().replace("test", "absent")
    for url, reason in (
        (absent, "does not exist"),
        (f"postgresql://u:s3cret@/x?host={tmp_path}", "No such file"),
        (f"postgres://u:s3cret@127.0.0.1:{free_port()}/x", "refused"),
    ):
        with pytest.raises(DatabaseUnusableError, match=reason) as raised:
            await Database.open(url, key_file=tmp_path / "secret.key")
        assert "\n" not in str(raised.value)
        assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("url", ["mysql://u:s3cret@h/x", "postgresql://u:s3cret@h:port/x", "://s3cret"])
async def test_another_kind_of_url_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(DatabaseUnusableError, match="expected") as raised:
        await Database.open(url, key_file=tmp_path / "secret.key")
    assert "s3cret" not in str(raised.value)


async def test_a_server_that_was_started_anew_costs_no_request(tmp_path: Path) -> None:
    with support.postgres.running() as server:
        database = await Database.open(server.new(), key_file=tmp_path / "secret.key")
        await add_account(database, "1", "a")
        server.stop()
        server.start()
        await add_account(database, "2", "b")
        assert len(await audit(database)) == 2
        await database.close()


async def test_notes_are_taken_beside_a_writer(tmp_path: Path, postgres: Postgres) -> None:
    database = await Database.open(postgres.emptied(), key_file=tmp_path / "secret.key")
    async with database.write(), database.note() as noting:
        noting.add(ApiNonce(access_key="k", nonce="n", expires_s=1.0))
        await noting.commit()
    await database.close()


async def test_a_url_will_do_and_one_of_a_server_needs_a_key_file(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite+aiosqlite:///{tmp_path}/x.db", key_file=tmp_path / "k")
    await database.close()
    assert (tmp_path / "k").exists()
    with pytest.raises(SecretsError, match="key file must be named"):
        await Database.open("postgresql+psycopg://localhost/x")


async def test_a_reader_sees_one_state_while_others_write(database: Database) -> None:
    await add_account(database, "1", "a")
    async with database.read() as session:
        assert len(list(await session.scalars(select(Account.id)))) == 1
        await add_account(database, "2", "b")
        assert len(list(await session.scalars(select(Account.id)))) == 1


def _goes_with_domain(key: ForeignKey) -> bool:
    return key.target_fullname == "domains.name" and key.ondelete != "SET NULL"


async def test_deleting_a_domain_takes_along_what_belongs_to_it(database: Database) -> None:
    await add_account(database, "1", "a")
    tables = [table for table in Base.metadata.sorted_tables if any(_goes_with_domain(key) for key in table.foreign_keys)]
    fields = {"account": "1", "type": "", "region": "", "scope": "", "status": "", "cname": "", "description": ""}
    async with database.write() as session:
        for name in ("one.test", "two.test"):
            session.add(Domain(name=name, created_s=1, modified_s=1, resource_group_id="", **fields))
        place = {"ref_width": 1, "ref_height": 1, "height": 1, "x": 0, "y": 0, "corner": "", "transparency": 0}
        texts = {"name": "", "description": "", "picture_url": "", "picture": ""}
        session.add(WatermarkTemplate(id="mark", account="1", domain="one.test", created_s=1, **place, **texts))
        await session.flush()
        for table in tables:
            row: dict[str, object] = {}
            for column in table.columns:
                if column.nullable:
                    continue
                if column.foreign_keys:
                    targets = {key.target_fullname for key in column.foreign_keys}
                    others = "mark" if "watermark_templates.id" in targets else "one.test"
                    row[column.name] = "two.test" if column.name == "pull_domain" else others
                elif not (column.primary_key and column.name == "id" and column.type.python_type is int):
                    row[column.name] = column.type.python_type(1) if column.type.python_type in (int, float, bool) else "x"
            await session.execute(table.insert().values(row))
        assert {table.name for table in tables} >= {"domain_functions", "domain_mappings", "stream_bans", "publishes"}
    async with database.write() as session:
        await session.delete(await session.get_one(Domain, "one.test"))
    async with database.read() as session:
        for table in tables:
            assert (await session.execute(select(table))).all() == []
        assert (await session.get_one(WatermarkTemplate, "mark")).domain is None  # it is the account's
