"""The operator's API on a real server, and a second platform that shares the register of the first."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from headwater.domains import limiter
from headwater.domains.limiter import ADDRESS_TRIES
from headwater.domains.tables import TEXT_MAX
from headwater.operator.app import BODY_MAX_BYTES, create_app
from headwater.settings import Domains, Ownership, SettingsError, SharedClaims, load
from headwater.store.models import AuditEntry, OperatorToken
from support.api import REGION, Api, Refused
from support.domain_world import ACTOR, EXEMPT, World, code, world_with
from support.ports import free_port
from support.server import Server, running
from support.web_server import Page, WebServer

pytestmark = pytest.mark.xdist_group("claims")

CLAIMS = "/operator/v1/claims"


@pytest.fixture(scope="module")
def register() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def writer(register: Server) -> Iterator[httpx.Client]:
    with client(register, "writer", "--write") as http:
        yield http


def client(server: Server, name: str, *flags: str) -> httpx.Client:
    token = server.run("token", "create", name, *flags).strip()
    return httpx.Client(
        base_url=f"http://127.0.0.1:{server.ports['api']}", headers={"authorization": f"Bearer {token}"}, trust_env=False
    )


@pytest.fixture
def name() -> str:
    return f"a{secrets.token_hex(5)}.test"


def add(api: Api, name: str) -> str:
    """ "" or the code of the refusal."""
    try:
        api.call("AddLiveDomain", domain_name=name, live_domain_type="liveVideo", region=REGION)
    except Refused as fault:
        return fault.code
    return ""


def told(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which is JSON and carries the request's id."""
    body = response.json()
    assert set(body) == {"code", "message", "request_id"}
    return response.status_code, body["code"]


def test_a_claim_is_put_read_listed_and_deleted(register: Server, writer: httpx.Client, name: str) -> None:
    api = Api(register, register.account())
    claim = {"name": name, "service": "vod", "account": ""}
    assert told(writer.get(f"{CLAIMS}/{name}")) == (404, "EntityNotExist.Claim")
    assert writer.put(f"{CLAIMS}/{name.upper()}", json={"service": "VOD"}).json() == claim
    assert writer.get(f"{CLAIMS}/{name}").json() == {"name": name, "service": "vod"}
    page = writer.get(CLAIMS, params={"search": name, "page_size": "1"}).json()
    assert page == {"claims": [claim], "total": 1, "page": 1, "page_size": 1}
    assert add(api, name) == "DomainAlreadyExist"
    assert writer.delete(f"{CLAIMS}/{name}").status_code == 200
    assert told(writer.delete(f"{CLAIMS}/{name}")) == (404, "EntityNotExist.Claim")
    assert add(api, name) == ""
    assert writer.get(f"{CLAIMS}/{name}").json() == {"name": name, "service": "live"}
    assert told(writer.put(f"{CLAIMS}/{name}", json={"service": "vod"})) == (400, "DomainAlreadyExist")


def test_a_list_comes_as_json_or_csv_all_of_it_or_nothing(writer: httpx.Client, name: str) -> None:
    def post(rows: Any) -> httpx.Response:
        return writer.post(f"{CLAIMS}/import", json={"claims": rows})

    good = [{"name": f"{part}.{name}", "service": "scdn"} for part in "abc"]
    bad = post([*good, {"name": "*.example.com", "service": "vod"}])
    assert told(bad) == (400, "InvalidParam")
    assert "Row 4: " in bad.json()["message"]
    assert writer.get(CLAIMS, params={"search": name}).json()["total"] == 0
    assert post(good).json() == {"added": 3, "changed": 0, "unchanged": 0}
    text = f"name,service,account\na.{name},vs,\nd.{name},vs,\n"
    headers = {"content-type": "text/csv; charset=utf-8"}
    sent = writer.post(f"{CLAIMS}/import", content=text, headers=headers)
    assert sent.json() == {"added": 1, "changed": 1, "unchanged": 0}
    assert told(writer.post(f"{CLAIMS}/import", content=b"\xff\xfe", headers=headers)) == (400, "InvalidCsv.Malformed")
    assert told(writer.post(f"{CLAIMS}/import", content=text)) == (415, "InvalidContentType")
    numbers = [writer.get(CLAIMS, params={"search": name, "page": str(n), "page_size": "3"}).json() for n in (1, 2, 3)]
    assert [[claim["name"][0] for claim in page["claims"]] for page in numbers] == [["a", "b", "c"], ["d"], []]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "InvalidBody")),
        (b"[]", (400, "InvalidBody")),
        (b'{"service": 1}', (400, "InvalidBody")),
        (b'{"service": "vod", "x": 1}', (400, "InvalidBody")),
        (b'{"service": "\xff"}', (400, "InvalidBody")),
        (b"[" * 4000, (400, "InvalidBody")),
        (b'{"service": "live"}', (400, "InvalidService")),
        (b'{"service": "vod", "account": "\\u0000"}', (400, "InvalidAccount")),
        (b" " * (BODY_MAX_BYTES + 1), (413, "RequestTooLarge")),
    ],
)
def test_bodies_that_cannot_be_used_are_refused(
    writer: httpx.Client, name: str, body: bytes, expected: tuple[int, str]
) -> None:
    assert told(writer.put(f"{CLAIMS}/{name}", content=body)) == expected


@pytest.mark.parametrize("query", ["page=0", "page=x", "page=1e9", "page_size=1001", "page=", "search=%00", "page=%D9%A3"])
def test_queries_that_cannot_be_used_are_refused(writer: httpx.Client, query: str) -> None:
    assert told(writer.get(f"{CLAIMS}?{query}")) == (400, "InvalidParam")


def test_other_paths_and_methods_are_answered_in_json(writer: httpx.Client) -> None:
    assert told(writer.get("/operator/v1/secrets")) == (404, "NotFound")
    assert told(writer.post(CLAIMS)) == (405, "NotFound")
    assert told(writer.get(f"{CLAIMS}/*.example.com")) == (400, "InvalidDomainName.Malformed")


def test_a_token_reads_or_writes_until_it_is_revoked_and_is_shown_once(register: Server, name: str) -> None:
    with client(register, "reader") as reader:
        assert reader.get(CLAIMS).status_code == 200
        assert told(reader.put(f"{CLAIMS}/{name}", json={"service": "vod"})) == (403, "Forbidden")
        assert told(reader.post(f"{CLAIMS}/import", json={"claims": []})) == (403, "Forbidden")
        token = reader.headers["authorization"].removeprefix("Bearer ")
        listed = register.run("token", "list", "--json")
        assert {"name": "reader", "access": "read"}.items() <= next(
            entry for entry in json.loads(listed) if entry["name"] == "reader"
        ).items()
        assert token not in listed + register.said()
        register.run("token", "revoke", "reader")
        refusal = reader.get(CLAIMS)
        assert told(refusal) == (401, "InvalidToken")
        assert refusal.headers["www-authenticate"] == "Bearer"


def test_a_platform_asks_the_register_of_another(register: Server, writer: httpx.Client, name: str) -> None:
    with client(register, "other-platform") as reader:
        settings = {
            "domains.shared_claims.url": f"http://127.0.0.1:{register.ports['api']}/operator/v1/",
            "domains.shared_claims.token": reader.headers["authorization"].removeprefix("Bearer "),
        }
    writer.put(f"{CLAIMS}/held.{name}", json={"service": "dcdn"})
    assert add(Api(register, register.account()), f"live.{name}") == ""
    with running(settings) as platform:
        api = Api(platform, platform.account())
        assert [add(api, f"{label}.{name}") for label in ("held", "live", "free")] == [
            "DomainAlreadyExist",
            "DomainAlreadyExist",
            "",
        ]
        register.run("token", "revoke", "other-platform")
        assert add(api, f"b.{name}") == "ServiceUnavailable"
        platform.wait_log("shared register unanswered")


# What a server of our own shows best from within


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_with(tmp_path, Domains()) as world:
        yield world


async def test_wrong_tokens_use_up_an_address_and_right_ones_do_not(world: World) -> None:
    app = create_app(world.services, lambda: world.now_s)
    token = (await world.services.tokens.create("one", "read", actor=ACTOR)).token
    right, wrong = {"authorization": f"bearer {token}"}, {"authorization": f"Bearer {token}x"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as http:
        for _ in range(ADDRESS_TRIES + 1):
            assert (await http.get(CLAIMS, headers=right)).status_code == 200
        for headers in [{}, {"authorization": f"Basic {token}"}, *[wrong] * (ADDRESS_TRIES - 2)]:
            assert told(await http.get(CLAIMS, headers=headers)) == (401, "InvalidToken")
        refusal = await http.get(CLAIMS, headers=wrong)
        assert told(refusal) == (429, "Throttling")
        world.now_s += float(refusal.headers["retry-after"])
        assert told(await http.get(CLAIMS, headers=wrong)) == (401, "InvalidToken")
        world.now_s += limiter.WINDOW_S
        assert (await http.get(CLAIMS, headers=right)).status_code == 200


async def test_a_list_that_is_too_long_is_not_read_to_its_end(world: World) -> None:
    app = create_app(world.services, lambda: world.now_s)
    token = (await world.services.tokens.create("one", "write", actor=ACTOR)).token
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read <= 2 * TEXT_MAX:
            read += 1024 * 1024
            yield b" " * 1024 * 1024

    headers = {"authorization": f"Bearer {token}", "content-type": "text/csv"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as http:
        assert told(await http.post(f"{CLAIMS}/import", content=endless(), headers=headers)) == (413, "RequestTooLarge")


async def test_changes_stand_in_the_audit_log_with_the_tokens_name_and_only_its_hash_is_kept(world: World) -> None:
    app = create_app(world.services, lambda: world.now_s)
    made = await world.services.tokens.create("one", "write", actor=ACTOR)
    headers = {"authorization": f"Bearer {made.token}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api", headers=headers) as http:
        await http.put(f"{CLAIMS}/a.example.com", json={"service": "vod"})
    async with world.database.read() as session:
        entry = (await session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1))).one()
        row = (await session.scalars(select(OperatorToken))).one()
    assert (entry.action, entry.object, entry.actor) == ("AddDomainClaim", "a.example.com", "token one")
    assert entry.request_id
    assert made.token not in row.hash
    assert await code(world.services.tokens.create("one", "read", actor=ACTOR)) == "EntityAlreadyExists.Token"
    assert await code(world.services.tokens.create("a b", "read", actor=ACTOR)) == "InvalidTokenName"
    assert await code(world.services.tokens.revoke("two", actor=ACTOR)) == "EntityNotExist.Token"


@pytest.mark.parametrize(
    "page",
    [
        Page(b"not found", 404),
        Page(b'{"code": "NotFound"}', 404),
        Page(b'{"name": "other.example.com"}'),
        Page(b"<html>"),
        Page(b"x" * 20_000),
        Page(b"", 302, {"Location": "/elsewhere"}),
    ],
)
async def test_an_answer_that_is_no_answer_frees_no_name(tmp_path: Path, page: Page) -> None:
    with WebServer() as web:
        web.pages["127.0.0.1", "/operator/v1/claims/a.example.com"] = page
        for required in (True, False):
            shared = SharedClaims(f"http://127.0.0.1:{web.port}/operator/v1", "token", required=required)
            domains = Domains(ownership=Ownership(exempt_suffixes=EXEMPT), shared_claims=shared)
            async with world_with(tmp_path / str(required), domains) as world:
                if required:
                    assert await code(world.add("a.example.com")) == "ServiceUnavailable"
                else:
                    await world.add("a.example.com")


async def test_a_register_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    shared = SharedClaims(f"http://127.0.0.1:{free_port()}/operator/v1", "token")
    domains = Domains(ownership=Ownership(exempt_suffixes=EXEMPT), shared_claims=shared)
    async with world_with(tmp_path, domains) as world:
        assert await code(world.add("a.example.com")) == "ServiceUnavailable"


def test_a_url_needs_a_token() -> None:
    for url, token in (("http://register.test", ""), ("ftp://register.test", "x")):
        with pytest.raises(SettingsError, match="shared_claims"):
            load(None, {}, [("domains.shared_claims.url", url), ("domains.shared_claims.token", token)])
