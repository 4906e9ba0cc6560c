"""The page of callbacks that could not be delivered: operators see, resend and drop them."""

from __future__ import annotations

import pytest

from headwater.store.models import Callback
from support.console_site import Site


@pytest.fixture
async def owned(site: Site) -> Site:
    await site.domain(await site.account("ada"), "push.example.test", "liveEdge")
    return site


async def dead_letter(site: Site, stream: str) -> int:
    fields = {"family": "publish", "type": "publish", "domain": "push.example.test", "app": "live", "stream": stream}
    sent = {"method": "GET", "url": "http://cb.example.test/hook?secret=1", "body": "", "storage": "", "lane": stream}
    fate = {"state": "dead", "tries": 5, "created_s": 1.0, "next_try_s": 1.0, "done_s": 6.0, "error": "it answered 500"}
    async with site.database.write() as session:
        row = Callback(**fields, **sent, **fate, session="s", header="", response="", signer="", key="")
        session.add(row)
        await session.flush()
        return row.id


async def test_operators_resend_and_drop_what_could_not_be_delivered(owned: Site) -> None:
    kept, dropped = await dead_letter(owned, "kept"), await dead_letter(owned, "dropped")
    visitor = await owned.visitor("op")
    page = await visitor.get("/callbacks")
    assert "it answered 500" in page.text
    assert "secret" not in page.text
    await visitor.post("/callbacks", {"what": "resend", "id": str(kept)})
    await visitor.post("/callbacks", {"what": "drop", "id": [str(dropped), "x", "99"]})
    assert (await owned.services.callbacks.dead()).items == []
    assert [item.id for item in (await owned.services.callbacks.queued()).items] == [kept]
    assert "Nothing is left undelivered" in (await visitor.get("/callbacks")).text


async def test_users_of_an_account_have_no_such_page(owned: Site) -> None:
    visitor = await owned.visitor("ada")
    assert (await visitor.get("/callbacks")).status in (403, 404)
    assert "/callbacks" not in (await visitor.get("/domains")).links
