"""Promises of the database: always up to date, shared by processes, every change audited, secrets unreadable in the file."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.exc import IntegrityError

from headwater.store.crypto import SecretsError
from headwater.store.database import Actor, Database
from headwater.store.models import AccessKey, Account, AuditEntry, Base, Domain

ACTOR = Actor("tester", "request-1")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "headwater.db")
    yield database
    await database.close()


async def audit(database: Database) -> list[AuditEntry]:
    async with database.read() as session:
        return list(await session.scalars(select(AuditEntry).order_by(AuditEntry.id)))


async def add_account(database: Database, id_: str, name: str) -> None:
    async with database.change(id_, ACTOR, "CreateAccount", name, 12.5) as change:
        change.session.add(Account(id=id_, name=name, created_s=12.5))
        change.after = {"name": name}


def test_the_migrations_build_exactly_the_models(tmp_path: Path) -> None:
    asyncio.run(_open_and_close(tmp_path / "headwater.db"))

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    engine = create_engine(f"sqlite:///{tmp_path / 'headwater.db'}")
    with engine.connect() as connection:
        assert differences(connection) == []
    engine.dispose()


async def _open_and_close(path: Path) -> None:
    await (await Database.open(path)).close()


async def test_several_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    databases = await asyncio.gather(*(Database.open(tmp_path / "headwater.db") for _ in range(5)))
    await add_account(databases[0], "1", "a")
    assert [entry.object for entry in await audit(databases[4])] == ["a"]
    for database in databases:
        await database.close()


def test_several_processes_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from headwater.store.database import Database\n"
        "async def main(): await (await Database.open(sys.argv[1])).close()\n"
        "asyncio.run(main())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "headwater.db")]
    started = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]


async def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    one, other = [await Database.open(tmp_path / "headwater.db") for _ in range(2)]
    await asyncio.gather(*(add_account((one, other)[i % 2], str(i), f"n{i}") for i in range(20)))
    assert len(await audit(one)) == 20
    await one.close()
    await other.close()


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


async def test_deleting_a_domain_takes_along_what_belongs_to_it(database: Database) -> None:
    await add_account(database, "1", "a")
    tables = [table for table in Base.metadata.tables.values() if any("domains.name" in str(f) for f in table.foreign_keys)]
    fields = {"account": "1", "type": "", "region": "", "scope": "", "status": "", "cname": "", "description": ""}
    async with database.write() as session:
        for name in ("one.test", "two.test"):
            session.add(Domain(name=name, created_s=1, modified_s=1, resource_group_id="", **fields))
        await session.flush()
        for table in tables:
            row: dict[str, object] = {}
            for column in table.columns:
                if column.foreign_keys:
                    row[column.name] = "one.test" if column.name != "pull_domain" else "two.test"
                elif not (column.primary_key and column.name == "id"):
                    row[column.name] = 1 if column.type.python_type in (int, float) else "x"
            await session.execute(table.insert().values(row))
        assert {table.name for table in tables} >= {"domain_functions", "domain_mappings", "stream_bans", "publishes"}
    async with database.write() as session:
        await session.delete(await session.get_one(Domain, "one.test"))
    async with database.read() as session:
        for table in tables:
            assert (await session.execute(select(table))).all() == []
