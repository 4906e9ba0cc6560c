"""What operators do about files that cannot be stored and about buckets, by their API and by command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from headwater.cli import app as commands
from headwater.domains.record_rules import GivenFormat
from headwater.operator.app import PATH, create_app
from headwater.store.database import DATABASE_FILE, Database
from headwater.store.models import RecordedFile, Upload
from support.domain_world import ACTOR, PLAY, SETTINGS, World
from support.record_rows import BUCKET, ENDPOINT

MP4 = GivenFormat("mp4", None, "{AppName}/{StreamName}/{StartTime}_{EndTime}")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = await Database.open(tmp_path / DATABASE_FILE)
    world = World(database, msgspec.structs.replace(SETTINGS, data_dir=str(tmp_path)))
    world.account = (await world.accounts.create("owner", actor=ACTOR)).account_id
    await world.pair()
    yield world
    await world.cluster.close()
    await database.close()


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    token = (await world.services.tokens.create("one", "write", actor=ACTOR)).token
    app = create_app(world.services, lambda: world.now_s)
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://api{PATH}", headers=headers) as client:
        yield client


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """Runs a command on the same database, in a thread, and returns what it prints."""

    async def run(*arguments: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, commands, [*arguments, "--data-dir", str(tmp_path)])
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    return run


async def queued(world: World, *, tries: int) -> int:
    """A recorded file that waits to be stored."""
    async with world.database.write() as session:
        file = RecordedFile(
            recording=None,
            domain=PLAY,
            app="live",
            stream="cam",
            template="",
            format="mp4",
            number=tries,
            endpoint=ENDPOINT,
            bucket=BUCKET,
            key=f"cam-{tries}.mp4",
            start_ms=0,
            end_ms=1,
            duration_ms=1,
            width=0,
            height=0,
            bytes=1,
            sha256="",
            state="local",
            created_s=world.now_s,
        )
        session.add(file)
        await session.flush()
        upload = Upload(
            node="n1",
            path="/spool/cam.mp4",
            endpoint=ENDPOINT,
            bucket=BUCKET,
            key=file.key,
            content_type="video/mp4",
            bytes=1,
            sha256="",
            owner_kind="file",
            owner_id=file.id,
            state="waiting",
            tries=tries,
            next_try_s=world.now_s + 600,
            error="the store is away" if tries else "",
            created_s=world.now_s,
        )
        session.add(upload)
        await session.flush()
        return upload.id


async def state(world: World, upload: int) -> tuple[str, int, str]:
    """Of the upload, its tries, and the state of its file."""
    async with world.database.read() as session:
        row = await session.get(Upload, upload)
        assert row is not None
        file = await session.get(RecordedFile, row.owner_id)
        assert file is not None
        return row.state, row.tries, file.state


async def test_files_that_fail_are_listed_given_up_and_tried_again(
    world: World, http: httpx.AsyncClient, run: Callable[..., Any]
) -> None:
    fails, waits = await queued(world, tries=3), await queued(world, tries=0)
    page = (await http.get("/uploads")).json()
    assert page["total"] == 1
    [item] = page["uploads"]
    assert (item["id"], item["domain"], item["kind"], item["error"]) == (fails, PLAY, "file", "the store is away")
    assert [each["id"] for each in (await http.get(f"/uploads?state=waiting&domain={PLAY}")).json()["uploads"]] == [
        fails,
        waits,
    ]
    assert (await http.get("/uploads?domain=other.example.com")).json()["total"] == 0
    assert (await http.get("/uploads?state=lost")).json()["code"] == "InvalidParam"
    assert (await http.post("/uploads/give-up", json={"ids": [fails, -1, 2**40]})).json() == {"given_up": 1}
    assert await state(world, fails) == ("given_up", 3, "failed")
    families = {family.name: family for family in await world.services.uploads.families()}
    counts = {sample.labels["state"]: sample.value for sample in families["headwater_uploads"].samples}
    assert counts == {"waiting": 1, "failing": 0, "given_up": 1}
    assert "/spool/cam.mp4" in await run("uploads", "list", "--given-up")
    assert await world.services.uploads.try_again([fails], domain="other.example.com", actor=ACTOR) == 0
    assert (await http.post("/uploads/retry", json={"ids": [fails]})).json() == {"queued": 1}
    assert await state(world, fails) == ("waiting", 0, "local")
    assert (await http.post("/uploads/retry", json={"ids": "all"})).json()["code"] == "InvalidBody"
    assert await run("uploads", "give-up", str(fails)) == "1 given up\n"
    assert await run("uploads", "retry", str(fails), str(waits)) == "2 queued\n"
    assert json.loads(await run("uploads", "list", "--json")) == []
    changes = await world.services.audit.entries(object_="uploads")
    assert [change.action for change in changes][:3] == ["RetryUploads", "GiveUpUploads", "RetryUploads"]


async def test_a_bucket_is_one_account_s_until_it_is_released(
    world: World, http: httpx.AsyncClient, run: Callable[..., Any]
) -> None:
    recording = world.services.recording
    given: dict[str, Any] = {"formats": [MP4], "endpoint": ENDPOINT, "bucket": BUCKET}
    await recording.add(world.account, PLAY, "live", actor=ACTOR, **given)
    [item] = (await http.get("/buckets")).json()["buckets"]
    assert (item["bucket"], item["account"], item["store"]) == (BUCKET, world.account, "")
    assert (await http.get("/buckets?account=nobody")).json()["total"] == 0
    used = (await http.post("/buckets/release", json={"bucket": BUCKET})).json()
    assert (used["code"], used["message"].endswith(f"A template of {PLAY} names it.")) == ("Bucket.InUse", True)
    await recording.remove(world.account, PLAY, "live", actor=ACTOR)
    upload = await queued(world, tries=0)
    assert (await http.post("/buckets/release", json={"bucket": BUCKET})).json()["code"] == "Bucket.InUse"
    await world.services.uploads.give_up([upload], actor=ACTOR)
    assert BUCKET in await run("bucket", "list", "--account", world.account)
    assert (await http.post("/buckets/release", json={"bucket": BUCKET})).json()["account"] == world.account
    assert (await http.post("/buckets/release", json={"bucket": BUCKET})).json()["code"] == "EntityNotExist.Bucket"
    await recording.add(world.account, PLAY, "live", actor=ACTOR, **given)
    await recording.remove(world.account, PLAY, "live", actor=ACTOR)
    assert await run("bucket", "release", BUCKET) == f"{BUCKET} was the account's {world.account}\n"
    granted = (await http.post("/buckets/grant", json={"bucket": BUCKET, "account": "owner"})).json()
    assert (granted["bucket"], granted["account"]) == (BUCKET, world.account)
    assert await run("bucket", "grant", BUCKET, "owner") == f"{BUCKET} is the account's {world.account}\n"
