"""The world in which the tests of the domain product play."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from headwater.store.database import Database
from support.databases import prepared
from support.domain_world import ACTOR, SETTINGS, World


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "sqlite":
        database = await Database.open(prepared(tmp_path))
    else:
        url = request.getfixturevalue("postgres").emptied()
        database = await Database.open(url, key_file=tmp_path / "secret.key")
    world = World(database, msgspec.structs.replace(SETTINGS, data_dir=str(tmp_path)))
    world.account = (await world.accounts.create("owner", actor=ACTOR)).account_id
    world.stranger = (await world.accounts.create("stranger", actor=ACTOR)).account_id
    yield world
    await world.cluster.close()
    await database.close()
