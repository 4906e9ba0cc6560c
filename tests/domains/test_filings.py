"""Promises of the ICP filings: who needs one, where they are looked up, and what happens when one ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headwater.domains.filings import Filing
from headwater.domains.rules import Scope, needs_filing
from headwater.domains.tables import Imported
from headwater.settings import Domains, Icp, Ownership
from support.domain_world import ACTOR, EXEMPT, World, code, refused, world_with
from support.web_server import Page, WebServer

CHINA, GERMANY = "cn-shanghai", "eu-central-1"
DAY_S = 86400.0


def settings(**icp: object) -> Domains:
    return Domains(ownership=Ownership(exempt_suffixes=EXEMPT), icp=Icp(required=True, **icp))  # type: ignore[arg-type]


@pytest.fixture
async def china(tmp_path: Path) -> AsyncIterator[World]:
    """A world that asks for filings, from the operator's table."""
    async with world_with(tmp_path, settings()) as world:
        world.now_s = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
        yield world


async def file(world: World, domain: str = "example.com", expires: str = "") -> None:
    await world.services.filings.put(domain, "ICP-1", "Example Ltd", expires, actor=ACTOR)


@pytest.mark.parametrize(
    ("scope", "region", "needed"),
    [
        ("domestic", CHINA, True),
        ("domestic", GERMANY, True),
        ("global", CHINA, True),
        ("global", GERMANY, True),
        ("overseas", CHINA, True),
        ("overseas", GERMANY, False),
    ],
)
async def test_who_needs_a_filing(china: World, scope: Scope, region: str, needed: bool) -> None:
    assert needs_filing(scope, region) is needed
    if needed:
        fault = await refused(china.add("a.example.com", "liveVideo", region, scope))
        assert (fault.code, fault.status) == ("Domain.BeianInvalid", 400)
        assert fault.message == (
            "not allowed to do this operation because the domain registration record invalid in China main land. "
            "There is no ICP filing of example.com."
        )
        assert (await china.domains.list_domains(china.account)).total == 0
        await file(china)
    assert (await china.add("a.example.com", "liveVideo", region, scope)).status == "online"


async def test_nobody_needs_one_unless_the_operator_says_so(world: World) -> None:
    assert not world.services.filings.required
    await world.add("a.example.com", "liveVideo", CHINA, "domestic")


async def test_a_filing_holds_for_all_names_under_its_registrable_domain(china: World) -> None:
    await file(china, "www.example.com")
    for name in ("example.com", "a.example.com", "b.c.example.com"):
        await china.add(name, region=CHINA)
    assert await code(china.add("a.example.org", region=CHINA)) == "Domain.BeianInvalid"


async def test_a_filing_holds_until_the_end_of_its_last_day(china: World) -> None:
    await file(china, expires="2026-11-21")
    fault = await refused(china.add("a.example.com"))
    assert fault.message.endswith("The ICP filing of example.com (ICP-1) ended on 2026-11-21.")
    await file(china, expires="2026-11-22")
    await china.add("a.example.com")


async def test_a_domain_whose_filing_ends_goes_offline_with_the_reason(china: World) -> None:
    await file(china, expires="2026-11-22")
    await china.add("a.example.com")
    await china.add("abroad.example.com", "liveVideo", GERMANY, "overseas")
    await file(china, "example.org")
    await china.add("b.example.org", region=CHINA)
    await china.domains.check_filings()
    assert (await china.domains.detail(china.account, "a.example.com")).status == "online"
    china.now_s += DAY_S
    await china.domains.check_filings()
    record = await china.domains.detail(china.account, "a.example.com")
    assert (record.status, record.description) == (
        "offline",
        "The ICP filing of example.com (ICP-1) ended on 2026-11-22.",
    )
    assert record.modified_s == china.now_s
    policy = await china.policy("a.example.com")
    assert policy is not None
    assert policy.status == "offline"
    for name in ("abroad.example.com", "b.example.org"):
        assert (await china.domains.detail(china.account, name)).status == "online"


async def test_a_domain_without_a_filing_cannot_be_started_until_there_is_one(china: World) -> None:
    await file(china)
    await china.add("a.example.com")
    await china.services.filings.remove("example.com", actor=ACTOR)
    await china.domains.check_filings()
    assert await code(china.domains.start(china.account, "a.example.com", actor=ACTOR)) == "Domain.BeianInvalid"
    await file(china)
    await china.domains.start(china.account, "a.example.com", actor=ACTOR)
    record = await china.domains.detail(china.account, "a.example.com")
    assert (record.status, record.description) == ("online", "")


async def test_all_domains_are_checked_however_many_there_are(china: World) -> None:
    await china.services.quota.set(china.account, 2000, actor=ACTOR)
    await file(china)
    for number in range(15):
        await china.add(f"d{number}.example.com")
    await china.services.filings.remove("example.com", actor=ACTOR)
    await china.domains.check_filings()
    assert (await china.domains.list_domains(china.account, status="offline")).total == 15


async def test_what_changes_in_the_table_takes_effect_at_the_next_look(china: World) -> None:
    async def status(name: str) -> str:
        await china.services.filing_watch.look()
        return (await china.domains.detail(china.account, name)).status

    await file(china)
    await file(china, "example.org")
    await china.add("a.example.com")
    await china.add("a.example.org")
    assert await status("a.example.com") == "online"
    await china.services.filings.remove("example.com", actor=ACTOR)
    assert await status("a.example.com") == "offline"
    await file(china, expires="2026-11-21")
    assert await status("a.example.com") == "offline"
    await file(china, expires="2026-11-22")
    assert await status("a.example.com") == "online"
    await china.services.filings.import_csv(
        "domain,number,holder,expires\nexample.com,1,,2026-11-21\nexample.org,1,,2026-11-21\n", actor=ACTOR
    )
    assert [await status("a.example.com"), await status("a.example.org")] == ["offline", "offline"]
    policy = await china.policy("a.example.com")
    assert policy is not None
    assert policy.status == "offline"


async def test_a_filing_that_ends_is_found_once_a_day_and_when_the_operator_asks(china: World) -> None:
    async def status() -> str:
        await china.services.filing_watch.look()
        return (await china.domains.detail(china.account, "a.example.com")).status

    await file(china, expires="2026-11-22")
    await china.add("a.example.com")
    assert await status() == "online"
    china.now_s += DAY_S - 1
    assert await status() == "online"
    await china.services.filings.ask_check(actor=ACTOR)
    assert await status() == "offline"
    await file(china, expires="2026-11-23")
    assert await status() == "online"
    china.now_s += DAY_S
    assert await status() == "offline"


async def test_a_domain_that_its_owner_stopped_stays_so_whatever_its_filing(china: World) -> None:
    await file(china)
    await china.add("a.example.com")
    await china.domains.stop(china.account, "a.example.com", actor=ACTOR)
    await china.services.filings.remove("example.com", actor=ACTOR)
    await china.services.filing_watch.look()
    await file(china)
    await china.services.filing_watch.look()
    record = await china.domains.detail(china.account, "a.example.com")
    assert (record.status, record.description) == ("offline", "")


# The operator's table


async def test_the_operator_keeps_number_holder_and_expiry(china: World) -> None:
    filings = china.services.filings
    put = await filings.put("a.B\u00fccher.example", "\u4eacICP\u590712345\u53f7", "Example", "2027-12-31", actor=ACTOR)
    assert put == Filing("xn--bcher-kva.example", "\u4eacICP\u590712345\u53f7", "Example", 1830297600.0)
    assert put.last_day == "2027-12-31"
    assert (await filings.filings(search="12345")).items == [put]
    assert (await filings.filings(search="nothing")).items == []
    await filings.remove("b\u00fccher.example", actor=ACTOR)
    assert (await filings.filings()).total == 0
    assert await code(filings.remove("b\u00fccher.example", actor=ACTOR)) == "EntityNotExist.Filing"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (("*.example.com", "1", "", ""), "InvalidDomainName.Malformed"),
        (("example.com", "", "", ""), "InvalidNumber"),
        (("example.com", "1" * 201, "", ""), "InvalidNumber"),
        (("example.com", "1\x1b", "", ""), "InvalidNumber"),
        (("example.com", "1", "x\n", ""), ""),
        (("example.com", "1", "x\ny", ""), "InvalidHolder"),
        (("example.com", "1", "", "31.12.2027"), "InvalidExpires"),
        (("example.com", "1", "", "2027-02-30"), "InvalidExpires"),
        (("example.com", "1", "", "9999-12-31"), "InvalidExpires"),
    ],
)
async def test_what_cannot_be_a_filing_is_refused(china: World, fields: tuple[str, str, str, str], wanted: str) -> None:
    call = china.services.filings.put(*fields, actor=ACTOR)
    if wanted:
        assert await code(call) == wanted
    else:
        await call


async def test_filings_are_imported_as_a_whole_or_not_at_all(china: World) -> None:
    filings = china.services.filings
    good = "domain,number,holder,expires\nexample.com,1,A,2027-01-01\nexample.org,2,,\n"
    assert await filings.import_csv(good, actor=ACTOR) == Imported(2, 0, 0)
    assert await filings.import_csv(good.replace(",2,,", ",3,,"), actor=ACTOR) == Imported(0, 1, 1)
    fault = await refused(filings.import_csv(good.replace("2027-01-01", "soon"), actor=ACTOR))
    assert fault.message == "The CSV file is not valid. Line 2: Specified parameter Expires is not valid."
    assert [filing.number for filing in (await filings.filings()).items] == ["1", "3"]


# An HTTP endpoint


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[tuple[World, WebServer]]:
    """A world that asks an endpoint."""
    with WebServer() as web:
        async with world_with(tmp_path, settings(endpoint=f"http://127.0.0.1:{web.port}/icp?key=k", timeout_s=0.5)) as world:
            yield world, web


def answer(web: WebServer, page: Page) -> None:
    web.pages["127.0.0.1", "/icp?key=k&domain=example.com"] = page


async def test_an_endpoint_is_asked_for_the_registrable_domain(endpoint: tuple[World, WebServer]) -> None:
    world, web = endpoint
    assert await code(world.add("a.example.com")) == "Domain.BeianInvalid"
    answer(web, Page(json.dumps({"number": "7", "holder": "x", "expires": "2099-01-01", "more": 1}).encode()))
    await world.add("a.example.com")
    answer(web, Page(json.dumps({"number": "7", "expires": "2020-01-01"}).encode()))
    assert await code(world.add("b.example.com")) == "Domain.BeianInvalid"


@pytest.mark.parametrize(
    "page",
    [Page(status=500), Page(b"<html>"), Page(b"{}"), Page(b'{"number":"1","expires":"soon"}'), Page(b"x" * 100_000)],
)
async def test_while_the_endpoint_fails_a_new_domain_is_configuring(endpoint: tuple[World, WebServer], page: Page) -> None:
    world, web = endpoint
    answer(web, page)
    record = await world.add("a.example.com")
    assert record.status == "configuring"
    assert record.description.startswith("The ICP filing of example.com cannot be looked up now. ")
    policy = await world.policy("a.example.com")
    assert policy is not None
    assert policy.status == "configuring"
    await world.domains.settle()
    assert (await world.domains.detail(world.account, "a.example.com")).status == "configuring"


async def test_a_domain_that_is_configuring_is_online_once_its_filing_is_found(endpoint: tuple[World, WebServer]) -> None:
    world, web = endpoint
    answer(web, Page(status=503))
    await world.add("a.example.com")
    answer(web, Page(b'{"number":"1"}'))
    await world.domains.settle()
    record = await world.domains.detail(world.account, "a.example.com")
    assert (record.status, record.description) == ("online", "")
    policy = await world.policy("a.example.com")
    assert policy is not None
    assert policy.status == "online"


async def test_a_domain_that_is_configuring_is_offline_if_it_has_no_filing(endpoint: tuple[World, WebServer]) -> None:
    world, web = endpoint
    answer(web, Page(status=503))
    await world.add("a.example.com")
    answer(web, Page(status=404))
    await world.domains.settle()
    record = await world.domains.detail(world.account, "a.example.com")
    assert (record.status, record.description) == ("offline", "There is no ICP filing of example.com.")


async def test_nothing_can_be_done_with_a_domain_that_is_configuring(endpoint: tuple[World, WebServer]) -> None:
    world, web = endpoint
    answer(web, Page(status=503))
    await world.add("a.example.com")
    domains, account = world.domains, world.account
    fault = await refused(domains.delete(account, "a.example.com", actor=ACTOR))
    assert (fault.code, fault.status, fault.message) == ("InvalidOperation", 400, "Delete domain until configure compete.")
    fault = await refused(domains.stop(account, "a.example.com", actor=ACTOR))
    assert (fault.code, fault.status) == ("ServiceBusy", 403)
    assert await code(domains.start(account, "a.example.com", actor=ACTOR)) == "ServiceUnavailable"
    assert await code(domains.set_scope(account, "a.example.com", "overseas", actor=ACTOR)) == "ServiceBusy"
    answer(web, Page(b'{"number":"1"}'))
    assert await code(domains.start(account, "a.example.com", actor=ACTOR)) == "ServiceBusy"


async def test_a_failing_endpoint_puts_nobody_offline(endpoint: tuple[World, WebServer]) -> None:
    world, web = endpoint
    answer(web, Page(b'{"number":"1"}'))
    await world.add("a.example.com")
    answer(web, Page(status=500))
    await world.domains.check_filings()
    assert (await world.domains.detail(world.account, "a.example.com")).status == "online"
    assert await code(world.domains.start(world.account, "a.example.com", actor=ACTOR)) == "ServiceUnavailable"


# Edge groups


async def test_the_edge_group_changes_only_with_a_filing(china: World) -> None:
    await china.add("a.example.com", "liveVideo", GERMANY, "overseas")

    async def change(scope: str) -> None:
        await china.domains.set_scope(china.account, "a.example.com", scope, actor=ACTOR)

    for scope in ("domestic", "global"):
        assert await code(change(scope)) == "Domain.BeianInvalid"
    await change("overseas")
    await file(china)
    await change("global")
    assert (await china.domains.detail(china.account, "a.example.com")).scope == "global"
    policy = await china.policy("a.example.com")
    assert policy is not None
    assert policy.scope == "global"


async def test_a_domain_that_went_offline_is_back_once_it_is_where_no_filing_is_needed(china: World) -> None:
    await file(china, expires="2026-11-22")
    await china.add("a.example.com", "liveVideo", GERMANY, "global")
    china.now_s += DAY_S
    await china.domains.check_filings()
    assert (await china.domains.detail(china.account, "a.example.com")).status == "offline"
    await china.domains.set_scope(china.account, "a.example.com", "overseas", actor=ACTOR)
    record = await china.domains.detail(china.account, "a.example.com")
    assert (record.scope, record.status, record.description) == ("overseas", "online", "")
    await china.domains.stop(china.account, "a.example.com", actor=ACTOR)
    await china.domains.set_scope(china.account, "a.example.com", "overseas", actor=ACTOR)
    assert (await china.domains.detail(china.account, "a.example.com")).status == "offline"
