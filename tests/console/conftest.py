"""The site in which the tests of the console's pages play."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headwater.domains import passwords
from headwater.store.database import Database
from support.console_site import Site
from support.databases import prepared


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that take no time; that real ones are dear is a test of its own."""
    monkeypatch.setattr(passwords, "COST", 2)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    database = await Database.open(prepared(tmp_path))
    site = Site(database)
    await site.user("op", None)
    yield site
    await site.cluster.close()
    await database.close()
