"""The page of files that cannot be stored: operators see why, try them again and give them up."""

from __future__ import annotations

import pytest

from headwater.store.models import Upload
from support.console_site import Site


@pytest.fixture
async def owned(site: Site) -> Site:
    await site.domain(await site.account("ada"), "play.example.test", "liveVideo")
    return site


async def failing(site: Site, key: str) -> int:
    place = {
        "endpoint": "oss.example.test",
        "bucket": "records",
        "key": key,
        "node": "n1",
        "path": f"spool/{key}",
        "content_type": "image/jpeg",
    }
    fate = {"state": "waiting", "tries": 3, "created_s": 1.0, "next_try_s": 9e9, "error": "the bucket is full"}
    async with site.database.write() as session:
        row = Upload(owner_kind="snapshot", owner_id=99, **place, **fate, bytes=2048, sha256="")
        session.add(row)
        await session.flush()
        return row.id


async def test_operators_try_files_again_or_give_them_up(owned: Site) -> None:
    tried, given_up = await failing(owned, "one.jpg"), await failing(owned, "two.jpg")
    visitor = await owned.visitor("op")
    page = await visitor.get("/uploads")
    assert "the bucket is full" in page.text
    assert "2.05 kB" in page.text
    await visitor.post("/uploads", {"what": "give_up", "id": [str(given_up), "x", "99"]})
    await visitor.post("/uploads", {"what": "try_again", "id": str(tried)})
    service = owned.services.uploads
    assert [item.id for item in (await service.page("given_up")).items] == [given_up]
    assert [(item.id, item.tries) for item in (await service.page("waiting")).items] == [(tried, 0)]
    assert "Every file was stored" in (await visitor.get("/uploads")).text
    page = await visitor.get("/uploads?state=given_up")
    assert "two." in page.text
    assert "Give up" not in page.text, "it is given up already"


async def test_users_of_an_account_have_no_such_page(owned: Site) -> None:
    visitor = await owned.visitor("ada")
    assert (await visitor.get("/uploads")).status in (403, 404)
    assert "/uploads" not in (await visitor.get("/domains")).links
