"""Promises of the proof of ownership, against real DNS and web servers on loopback."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from headwater.cluster.nodes import NodePresence
from headwater.domains.ownership import Challenge, Verification, refusal
from headwater.domains.proof import resolver_address
from headwater.settings import Domains, Ownership, SettingsError
from headwater.store.models import AuditEntry
from headwater.store.models import Domain as DomainRow
from support.domain_world import ACTOR, REGION, World, code, refused, world_with
from support.name_server import NameServer, name_servers
from support.web_server import Page, WebServer

ROOT = "example.com"
NAME = "live.example.com"
RECORD = "verification.example.com"
FILE = "/verification.html"


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@asynccontextmanager
async def asking(folder: Path, *resolvers: NameServer, web: WebServer | None = None, **more: Any) -> AsyncIterator[World]:
    """A world whose checks ask these servers, and may reach loopback."""
    settings = {
        "resolvers": tuple(f"{server.address}:{server.port}" for server in resolvers),
        "file_port": web.port if web else 80,
        "private_addresses": True,
        "query_timeout_s": 5.0,  # servers that are well answer, however busy the machine is
        **more,
    }
    async with world_with(folder, Domains(ownership=Ownership(**settings))) as world:
        yield world


@pytest.fixture
async def world(tmp_path: Path, names: NameServer, web: WebServer) -> AsyncIterator[World]:
    async with asking(tmp_path, names, web=web) as world:
        yield world


async def challenge(world: World, account: str = "", name: str = NAME) -> Challenge:
    return await world.services.ownership.content(account or world.account, name)


async def verify(world: World, method: str = "dnsCheck", account: str = "", name: str = NAME) -> Verification:
    return await world.services.ownership.verify(account or world.account, name, method, actor=ACTOR)


async def prove(world: World, names: NameServer) -> None:
    names.txt(RECORD, (await challenge(world)).content)
    assert (await verify(world)).passed


# What is to be proved


async def test_the_content_is_verify_and_32_hex_digits(world: World) -> None:
    found = await challenge(world)
    assert re.fullmatch(r"verify_[0-9a-f]{32}", found.content)
    assert (found.root, found.record, found.url, found.state) == (
        ROOT,
        "verification.example.com",
        "http://example.com/verification.html",
        "needed",
    )


async def test_the_content_is_one_for_a_root_and_an_account(world: World) -> None:
    mine = await challenge(world)
    assert (await challenge(world, name="other.example.com")).content == mine.content
    assert (await challenge(world, name="EXAMPLE.com")).content == mine.content
    assert (await challenge(world, name="example.org")).content != mine.content
    assert (await challenge(world, world.stranger)).content != mine.content


async def test_the_root_is_the_registrable_domain_of_the_public_suffix_list(world: World) -> None:
    assert (await challenge(world, name="a.b.example.co.uk")).root == "example.co.uk"
    assert (await challenge(world, name="直播.例え.jp")).root == "xn--r8jz45g.jp"
    for suffix in ("co.uk", "github.io"):
        assert await code(challenge(world, name=suffix)) == "InvalidDomainName.Malformed"


# The rule


async def test_a_domain_is_added_only_by_who_has_proved_to_own_its_root(world: World, names: NameServer) -> None:
    fault = await refused(world.add(NAME))
    assert (fault.code, fault.status) == ("DomainOwnerVerifyFail", 400)
    assert fault.message == "Owner verification of the root domain failed."
    await prove(world, names)
    assert (await world.add(NAME)).status == "online"


async def test_once_proved_any_name_under_the_root_may_be_added_and_the_record_may_go(world: World, names: NameServer) -> None:
    await prove(world, names)
    names.records.clear()
    asked = len(names.asked)
    for name in (ROOT, "a.example.com", "b.c.example.com"):
        await world.add(name)
    again = await verify(world, name="d.example.com")
    assert (again.passed, again.challenge.state, again.findings) == (True, "proved", [])
    assert len(names.asked) == asked
    assert await code(world.add("a.example.org")) == "DomainOwnerVerifyFail"


async def test_a_subdomain_of_a_root_that_another_account_has_proved_is_refused(world: World, names: NameServer) -> None:
    await prove(world, names)
    call = world.domains.add(world.stranger, "mine.example.com", "liveVideo", "eu-central-1", actor=ACTOR)
    assert await code(call) == "DomainOwnerConflict"
    names.txt(RECORD, (await challenge(world, world.stranger)).content)
    assert await code(verify(world, account=world.stranger)) == "DomainOwnerConflict"
    assert (await challenge(world, world.stranger)).state == "foreign"


async def test_another_account_has_to_prove_it_again_once_the_operator_has_released_it(world: World, names: NameServer) -> None:
    await prove(world, names)
    await world.services.ownership.release(NAME, actor=ACTOR)
    call = world.domains.add(world.stranger, NAME, "liveVideo", "eu-central-1", actor=ACTOR)
    assert await code(call) == "DomainOwnerVerifyFail"
    names.txt(RECORD, (await challenge(world, world.stranger)).content)
    assert (await verify(world, account=world.stranger)).passed
    await world.domains.add(world.stranger, NAME, "liveVideo", "eu-central-1", actor=ACTOR)
    assert await code(world.services.ownership.release("example.org", actor=ACTOR)) == "EntityNotExist.RootDomain"


async def test_names_that_nobody_can_register_need_no_proof(world: World, names: NameServer) -> None:
    for name in ("a.localhost", "a.test", "b.a.test", "a.b.internal"):
        assert (await challenge(world, name=name)).state == "exempt"
        assert (await verify(world, name=name)).passed
        await world.add(name)
    await world.domains.add(world.stranger, "c.a.test", "liveVideo", "eu-central-1", actor=ACTOR)
    assert names.asked == []
    assert await code(world.add("a.nottest")) == "DomainOwnerVerifyFail"


async def test_the_operator_says_which_names_need_no_proof(tmp_path: Path, names: NameServer) -> None:
    async with asking(tmp_path, names, exempt_suffixes=("corp.example.com",)) as world:
        await world.add("live.corp.example.com")
        for name in ("live.example.com", "a.test", "notcorp.example.com"):
            assert await code(world.add(name)) == "DomainOwnerVerifyFail"


async def test_the_operator_grants_a_root_and_never_over_anothers_domains(world: World) -> None:
    granted = await world.services.ownership.grant(world.account, NAME, actor=ACTOR)
    assert (granted.root, granted.account, granted.method) == (ROOT, world.account, "operator")
    await world.add(NAME)
    assert await code(world.services.ownership.grant(world.stranger, NAME, actor=ACTOR)) == "DomainOwnerConflict"
    await world.domains.delete(world.account, NAME, actor=ACTOR)
    await world.services.ownership.grant(world.stranger, NAME, actor=ACTOR)
    assert [root.account for root in await world.services.ownership.roots()] == [world.stranger]
    assert await world.services.ownership.roots(world.account) == []
    assert await code(world.services.ownership.grant("1", NAME, actor=ACTOR)) == "EntityNotExist.Account"


async def test_a_proof_is_in_the_audit_log(world: World, names: NameServer) -> None:
    await prove(world, names)
    async with world.database.read() as session:
        entry = (await session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()))).first()
    assert entry is not None
    assert (entry.action, entry.object, entry.account) == ("VerifyLiveDomainOwner", ROOT, world.account)
    assert json.loads(entry.after)["method"] == "dnsCheck"


async def test_other_ways_to_verify_are_refused(world: World) -> None:
    for method in ("", "DNSCHECK", "httpCheck"):
        assert await code(verify(world, method)) == "InvalidVerifyType"


# By DNS


async def test_one_of_several_values_is_enough(world: World, names: NameServer) -> None:
    names.txt(RECORD, "v=spf1 -all", f" {(await challenge(world)).content} ")
    assert (await verify(world)).passed


async def test_a_long_answer_comes_over_tcp(world: World, names: NameServer) -> None:
    names.mood = "truncate"
    names.txt(RECORD, *("x" * 200 for _ in range(20)), (await challenge(world)).content)
    assert (await verify(world)).passed


async def test_an_alias_is_followed(world: World, names: NameServer) -> None:
    names.records[RECORD, "CNAME"] = ["proof.example.net."]
    names.txt("proof.example.net", (await challenge(world)).content)
    assert (await verify(world)).passed


async def test_what_was_found_instead_is_said(world: World, names: NameServer) -> None:
    names.txt(RECORD, "verify_00000000000000000000000000000000", "hello\\027[31m")
    result = await verify(world)
    assert not result.passed
    [finding] = result.findings
    assert (finding.source, finding.outcome) == (f"resolver 127.0.0.1:{names.port}", "other")
    text = 'The TXT record verification.example.com says "hello [31m", "verify_00000000000000000000000000000000".'
    assert finding.text == text
    fault = refusal(result)
    assert (fault.code, fault.status) == ("DomainOwnerVerifyFail", 400)
    assert fault.message == f"Owner verification of the root domain failed. {finding.source}: {text}"


@pytest.mark.parametrize(
    ("mood", "outcome", "text"),
    [
        ("well", "missing", "There is no TXT record verification.example.com."),
        ("servfail", "failed", "It answered SERVFAIL."),
        ("silent", "failed", "It did not answer within 0.4 s."),
        ("garbage", "failed", "It did not answer within 0.4 s."),
    ],
)
async def test_a_resolver_that_knows_nothing_is_named(
    tmp_path: Path, names: NameServer, mood: Any, outcome: str, text: str
) -> None:
    names.mood = mood
    patience: dict[str, Any] = {"query_timeout_s": 0.2} if mood in ("silent", "garbage") else {}
    async with asking(tmp_path, names, **patience) as world:
        [finding] = (await verify(world)).findings
        assert (finding.outcome, finding.text) == (outcome, text)


async def test_every_resolver_is_asked_and_one_that_knows_is_enough(tmp_path: Path) -> None:
    with name_servers(3) as servers:
        servers[0].mood = "servfail"
        servers[1].txt(RECORD, "something else")
        async with asking(tmp_path, *servers) as world:
            result = await verify(world)
            assert [finding.outcome for finding in result.findings] == ["failed", "other", "missing"]
            servers[2].txt(RECORD, (await challenge(world)).content)
            result = await verify(world)
            assert result.passed
            assert [finding.outcome for finding in result.findings] == ["failed", "other", "match"]


async def test_the_zones_own_servers_are_asked_when_resolvers_do_not_know_the_record_yet(
    tmp_path: Path, names: NameServer
) -> None:
    with NameServer("127.0.0.2") as zone:
        names.records[ROOT, "NS"] = ["ns.example.net."]
        names.records["ns.example.net", "A"] = ["127.0.0.2"]
        async with asking(tmp_path, names, dns_port=zone.port) as world:
            result = await verify(world)
            assert [finding.source for finding in result.findings] == [
                f"resolver 127.0.0.1:{names.port}",
                f"name server ns.example.net (127.0.0.2:{zone.port})",
            ]
            zone.txt(RECORD, (await challenge(world)).content)
            assert (await verify(world)).passed


async def test_a_name_server_in_a_private_network_is_not_asked(tmp_path: Path, names: NameServer) -> None:
    with NameServer("127.0.0.2") as zone:
        names.records[ROOT, "NS"] = ["ns.example.net."]
        names.records["ns.example.net", "A"] = ["127.0.0.2"]
        async with asking(tmp_path, names, dns_port=zone.port, private_addresses=False) as world:
            zone.txt(RECORD, (await challenge(world)).content)
            assert not (await verify(world)).passed
        assert zone.asked == []


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:5353", "192.0.2.1:5353"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:53", "2001:db8::1"),
    ],
)
def test_resolvers_are_addresses_with_or_without_a_port(text: str, server: str) -> None:
    assert str(resolver_address(text)) == server


@pytest.mark.parametrize("text", ["", "dns.example.com", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:99999", "[::1"])
def test_other_resolvers_cannot_be_set(text: str) -> None:
    with pytest.raises(SettingsError, match=r"domains\.ownership\.resolvers"):
        resolver_address(text)


# By file


def serve(names: NameServer, web: WebServer, page: Page, host: str = ROOT, path: str = FILE) -> None:
    names.records[host, "A"] = ["127.0.0.1"]
    web.pages[host, path] = page


async def test_the_file_on_the_roots_web_server_proves_ownership(world: World, names: NameServer, web: WebServer) -> None:
    serve(names, web, Page((await challenge(world)).content.encode() + b"\n"))
    result = await verify(world, "fileCheck")
    assert result.passed
    assert web.asked == [(ROOT, FILE)]
    await world.add(NAME)


@pytest.mark.parametrize(
    ("page", "outcome", "text"),
    [
        (Page(b"<html>Welcome</html>"), "other", 'It holds "<html>Welcome</html>".'),
        (Page(b"x" * 5000), "other", f'It holds "{"x" * 100}...".'),
        (Page(b"\x1b[31m\n\xff"), "other", 'It holds " [31m \ufffd".'),
        (Page(status=404), "missing", "It answers with HTTP status 404."),
        (Page(status=500), "failed", "It answers with HTTP status 500."),
        (Page(status=302), "failed", "It answers with HTTP status 302."),
    ],
)
async def test_what_the_web_server_says_instead_is_told(
    world: World, names: NameServer, web: WebServer, page: Page, outcome: str, text: str
) -> None:
    serve(names, web, page)
    result = await verify(world, "fileCheck")
    [finding] = result.findings
    assert not result.passed
    assert finding.source == f"http://example.com:{web.port}/verification.html"
    assert (finding.outcome, finding.text) == (outcome, text)


async def test_a_root_without_an_address_is_said(world: World) -> None:
    [finding] = (await verify(world, "fileCheck")).findings
    assert (finding.outcome, finding.text) == ("failed", "example.com has no address on the public internet.")


async def test_a_web_server_that_cannot_be_reached_is_said(tmp_path: Path, names: NameServer) -> None:
    with WebServer() as gone:
        pass
    names.records[ROOT, "A"] = ["127.0.0.1"]
    async with asking(tmp_path, names, web=gone) as world:
        [finding] = (await verify(world, "fileCheck")).findings
        assert finding.outcome == "failed"
        assert finding.text.startswith("example.com could not be asked: ")


async def test_a_web_server_in_a_private_network_is_not_asked(tmp_path: Path, names: NameServer, web: WebServer) -> None:
    async with asking(tmp_path, names, web=web, private_addresses=False) as world:
        serve(names, web, Page((await challenge(world)).content.encode()))
        result = await verify(world, "fileCheck")
        assert not result.passed
        assert result.findings[0].text == "example.com has no address on the public internet."
    assert web.asked == []


async def test_a_redirect_within_the_root_is_followed(world: World, names: NameServer, web: WebServer) -> None:
    to = f"http://www.example.com:{web.port}/proof"
    serve(names, web, Page(status=301, headers={"Location": to}))
    serve(names, web, Page((await challenge(world)).content.encode()), "www.example.com", "/proof")
    assert (await verify(world, "fileCheck")).passed


@pytest.mark.parametrize(
    "to",
    [
        "http://example.org{port}/verification.html",
        "http://notexample.com{port}/verification.html",
        "http://127.0.0.1{port}/verification.html",
        "http://[::1]{port}/verification.html",
        "http://169.254.169.254/latest/meta-data",
        "http://www.example.com:22/verification.html",
        "ftp://example.com/verification.html",
        "file:///etc/passwd",
        "//example.org/verification.html",
        "gopher://example.com",
        "http://[",
    ],
)
async def test_a_redirect_elsewhere_is_not_followed(world: World, names: NameServer, web: WebServer, to: str) -> None:
    location = to.format(port=f":{web.port}")
    serve(names, web, Page(status=302, headers={"Location": location}))
    for host in ("example.org", "notexample.com", "127.0.0.1"):
        serve(names, web, Page((await challenge(world)).content.encode()), host)
    [finding] = (await verify(world, "fileCheck")).findings
    assert finding.outcome == "failed"
    assert finding.text.startswith("It redirects to ")
    assert web.asked == [(ROOT, FILE)]


async def test_a_redirect_into_a_private_network_is_not_followed(
    tmp_path: Path, names: NameServer, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.domains.proof.is_public", lambda address: address == "127.0.0.1")
    serve(names, web, Page(status=302, headers={"Location": f"http://intern.example.com:{web.port}{FILE}"}))
    for address in ("127.0.0.2", "10.0.0.1"):
        names.records["intern.example.com", "A"] = [address]
        async with asking(tmp_path / address, names, web=web, private_addresses=False) as world:
            [finding] = (await verify(world, "fileCheck")).findings
        assert finding.text == "intern.example.com has no address on the public internet."
    assert web.asked == [(ROOT, FILE)] * 2


async def test_a_web_server_that_redirects_forever_is_left(world: World, names: NameServer, web: WebServer) -> None:
    serve(names, web, Page(status=302, headers={"Location": FILE}))
    [finding] = (await verify(world, "fileCheck")).findings
    assert finding.text == "It redirects more than 3 times."
    assert len(web.asked) == 4


async def test_a_web_server_that_never_ends_is_left(tmp_path: Path, names: NameServer, web: WebServer) -> None:
    serve(names, web, Page(b"slow", headers={"Content-Length": "100"}))
    async with asking(tmp_path, names, web=web, file_timeout_s=0.3) as world:
        [finding] = (await verify(world, "fileCheck")).findings
        assert finding.outcome in ("failed", "other")
        assert not (await verify(world, "fileCheck")).passed


async def test_the_body_is_read_only_as_far_as_it_can_matter(world: World, names: NameServer, web: WebServer) -> None:
    serve(names, web, Page(b" " * 5000 + (await challenge(world)).content.encode()))
    assert not (await verify(world, "fileCheck")).passed


# A domain that serves already


async def served(world: World, names: NameServer, name: str = NAME, account: str = "") -> None:
    """A domain from before its root had to be proved, with a CNAME record that leads here."""
    row = DomainRow(
        name=name,
        account=account or world.account,
        type="liveVideo",
        region=REGION,
        scope="overseas",
        status="online",
        created_s=1.0,
        modified_s=1.0,
        cname=f"{name}.w.headwater.internal",
        description="",
        resource_group_id="",
        root=ROOT,
    )
    async with world.database.write() as session:
        session.add(row)
    names.records[name, "CNAME"] = [f"{name}.w.headwater.internal."]


async def test_a_domain_that_serves_with_its_cname_proves_its_root(world: World, names: NameServer) -> None:
    await served(world, names)
    await world.add("b.example.com")
    [root] = await world.services.ownership.roots()
    assert (root.root, root.account, root.method) == (ROOT, world.account, "cname")
    assert await code(world.domains.add(world.stranger, "c.example.com", "liveVideo", REGION, actor=ACTOR)) == (
        "DomainOwnerConflict"
    )


async def test_a_cname_proves_nothing_for_others_or_for_names_that_were_never_added(world: World, names: NameServer) -> None:
    names.records["d.example.com", "CNAME"] = ["d.example.com.w.headwater.internal."]
    assert await code(world.add("d.example.com")) == "DomainOwnerVerifyFail"
    await served(world, names)
    assert await code(world.domains.add(world.stranger, "c.example.com", "liveVideo", REGION, actor=ACTOR)) == (
        "DomainOwnerVerifyFail"
    )
    names.records[NAME, "CNAME"] = ["elsewhere.example.net."]
    assert await code(world.add("b.example.com")) == "DomainOwnerVerifyFail"


async def test_a_cname_proves_nothing_where_two_accounts_have_domains(world: World, names: NameServer) -> None:
    await served(world, names)
    await served(world, names, "other.example.com", world.stranger)
    assert await code(world.add("b.example.com")) == "DomainOwnerVerifyFail"


async def test_a_cname_does_not_bring_back_a_root_that_the_operator_released(world: World, names: NameServer) -> None:
    await served(world, names)
    await world.add("b.example.com")
    await world.services.ownership.release(ROOT, actor=ACTOR)
    assert await code(world.add("e.example.com")) == "DomainOwnerVerifyFail"


async def test_addresses_of_ours_in_place_of_a_cname_prove_nothing(world: World, names: NameServer) -> None:
    await served(world, names)
    del names.records[NAME, "CNAME"]
    names.records[NAME, "A"] = ["192.0.2.1"]
    world.services.nodes.nodes["n"] = NodePresence("n", ("edge",), addresses_v4=("192.0.2.1",))
    assert (await world.services.cnames.check(world.account, NAME)).state == "configured"
    assert await code(world.add("b.example.com")) == "DomainOwnerVerifyFail"
