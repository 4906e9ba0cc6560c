"""What a page never does: show another account's things, run what it was given as text, or load from elsewhere."""

from __future__ import annotations

import base64
import json
import re

import httpx
import pytest

from support.console_site import ACTOR, Page, Site

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}%0d%0aSet-Cookie:a=b"


async def test_every_answer_carries_the_headers(site: Site) -> None:
    visitor = await site.visitor("op")
    for path in ("/domains", "/sign-in", "/absent", "/static/console.css", "/player", "/domains/absent.example.test"):
        answer = await visitor.http.get(path, follow_redirects=False)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in (await visitor.http.get("/domains")).headers["content-security-policy"]
    assert (await visitor.http.get("/domains")).headers["cache-control"] == "no-store"


async def test_pages_have_no_script_or_style_of_their_own(site: Site) -> None:
    account = await site.account("ada")
    await site.domain(account, "play.example.test")
    visitor = await site.visitor("op")
    for path in ("/domains", "/domains/add", "/domains/play.example.test/urls", "/audit", "/accounts", "/password"):
        html = (await visitor.get(path)).html
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|hx-on|hx-vals|javascript:", html), path
        assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", html), path


def harmless(page: Page) -> None:
    """Nothing that was put in as text became a tag, an attribute, a header or an expression."""
    assert "<script>alert" not in page.html
    assert not any("onerror" in attrs for _, attrs in page.tags)
    assert not any(tag == "img" for tag, _ in page.tags)
    assert "49" not in re.findall(r"\}?49%", page.html)
    assert "a" not in page.response.cookies


@pytest.mark.parametrize("text", [HOSTILE, "a" * 5000, "\0", "é" * 300, "../../etc/passwd", "' OR 1=1 --", "%"])
async def test_hostile_text_stays_text(site: Site, text: str) -> None:
    account = await site.account("ada")
    await site.domain(account, "play.example.test")
    visitor = await site.visitor("op")
    for path, params in (
        ("/domains", {"q": text}),
        ("/domains", {"page": text, "size": text, "type": text, "region": text, "status": text}),
        ("/domains/add", {"name": text, "type": text}),
        ("/domains/add/check", {"name": text}),
        ("/domains/play.example.test/urls", {"app": text, "stream": text}),
        ("/audit", {"actor": text, "action": text, "object": text, "from": text, "before": text}),
        ("/sign-in", {"next": text}),
    ):
        page = Page(await visitor.http.get(path, params=params))
        assert page.status < 500, path
        harmless(page)
    for path, data, on in (
        ("/domains/add", {"name": text, "type": text, "region": text, "scope": text, "account": account}, "/domains/add"),
        ("/accounts", {"name": text}, "/accounts"),
        ("/users", {"name": text}, "/users"),
        ("/domains/batch", {"name": text, "what": "stop"}, "/domains"),
        ("/domains/play.example.test/binding", {"other": text, "what": "ingest"}, "/domains/play.example.test/binding"),
        ("/act-for", {"account": text, "back": text}, "/domains"),
        ("/preferences", {"language": text, "theme": text, "back": text}, "/domains"),
    ):
        page = await visitor.post(path, data, page=on)
        assert page.status < 500, path
        harmless(page)
    harmless(Page(await visitor.http.get(f"/domains/{httpx.QueryParams({'q': text})}")))


async def test_a_stranger_cannot_make_a_page_say_something_with_tags(site: Site) -> None:
    visitor = await site.visitor("op")
    for notice in (json.dumps([["good", HOSTILE]]), json.dumps({"a": 1}), "[1]", "\xff", "[[1,2,3]]"):
        packed = base64.urlsafe_b64encode(notice.encode()).decode()
        page = Page(await visitor.http.get("/domains", headers={"cookie": cookies(visitor.http, headwater_notice=packed)}))
        assert page.status == 200
        harmless(page)


def cookies(client: httpx.AsyncClient, **more: str) -> str:
    return "; ".join(f"{name}={value}" for name, value in {**dict(client.cookies), **more}.items())


async def test_a_hostile_name_in_the_audit_log_is_text(site: Site) -> None:
    await site.services.users.create("ada", None, actor=ACTOR)
    visitor = await site.visitor("op")
    await visitor.http.get("/domains", headers={"user-agent": HOSTILE})
    harmless(await visitor.get("/audit"))


async def test_users_of_an_account_see_that_account_alone(site: Site) -> None:
    ada, eve = await site.account("ada"), await site.account("eve")
    await site.domain(ada, "play.example.test")
    await site.domain(ada, "push.example.test", "liveEdge")
    await site.domain(eve, "eve.example.internal")
    visitor = await site.visitor("eve")
    page = await visitor.get("/domains")
    assert "eve.example.internal" in page.text
    assert "example.test" not in page.html
    own = "/domains/eve.example.internal"
    for path in (
        "/domains/play.example.test",
        "/domains/play.example.test/urls",
        "/domains/push.example.test/binding",
        "/domains/play.example.test/delay",
        f"/accounts/{ada}",
        "/accounts",
        "/users",
    ):
        page = await visitor.get(path)
        assert page.status == 404, path
        assert "ada" not in page.text
    for path, data in (
        ("/domains/play.example.test/status", {"what": "delete"}),
        ("/domains/push.example.test/binding", {"what": "main", "other": "eve.example.internal"}),
        ("/domains/play.example.test/delay", {"rtmp": "short"}),
        ("/domains/batch", {"what": "delete", "name": "play.example.test"}),
        (f"/accounts/{ada}/keys", {"what": "create"}),
        (f"/accounts/{ada}/users", {"name": "mole"}),
        ("/accounts", {"name": "mole"}),
        ("/users", {"name": "mole"}),
        ("/users/ada", {"what": "delete"}),
        ("/act-for", {"account": ada}),
    ):
        await visitor.post(path, data, page=own)
    assert (await site.services.domains.detail(ada, "play.example.test")).status == "online"
    assert len(await site.services.accounts.access_key_states(ada)) == 1
    assert {user.name for user in await site.services.users.users()} == {"op", "ada", "eve"}
    assert "ada" not in (await visitor.get("/audit")).text


async def test_an_account_user_cannot_bind_anothers_domain(site: Site) -> None:
    ada, eve = await site.account("ada"), await site.account("eve")
    await site.domain(ada, "play.example.test")
    await site.domain(eve, "push.example.internal", "liveEdge")
    visitor = await site.visitor("eve")
    page = await visitor.post("/domains/push.example.internal/binding", {"what": "main", "other": "play.example.test"})
    assert "There is no such domain." in page.text
    assert await site.services.bindings.mappings(eve, "push.example.internal") == []


async def test_an_operator_acts_for_an_account_and_the_log_says_who_it_was(site: Site) -> None:
    ada, eve = await site.account("ada"), await site.account("eve")
    await site.domain(ada, "play.example.test")
    await site.domain(eve, "eve.example.internal")
    operator = await site.visitor("op")
    assert "eve.example.internal" in (await operator.get("/domains")).text
    await operator.post("/act-for", {"account": ada}, page="/domains")
    assert "eve.example.internal" not in (await operator.get("/domains")).text
    await operator.post("/domains/play.example.test/status", {"what": "stop"}, page="/domains/play.example.test")
    (entry, *_) = await site.services.audit.entries(ada)
    assert (entry.actor, entry.action, entry.object, entry.account) == (
        "console op",
        "StopLiveDomain",
        "play.example.test",
        ada,
    )
    assert entry.request_id
