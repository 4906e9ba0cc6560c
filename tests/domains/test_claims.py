"""Promises of the register of names that sister services hold."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from headwater.domains.claims import Claim
from headwater.domains.tables import Imported
from headwater.store.models import AuditEntry, NameClaim
from support.domain_world import ACTOR, PLAY, REGION, World, code, refused


async def test_a_name_that_a_sister_service_holds_already_exists(world: World) -> None:
    for number, service in enumerate(("vod", "dcdn", "scdn", "vs")):
        await world.services.claims.add(f"{service}.Example.COM", service.upper(), actor=ACTOR)
        for account in (world.account, world.stranger):
            fault = await refused(world.domains.add(account, f"{service}.example.com", "liveVideo", REGION, actor=ACTOR))
            assert (fault.code, fault.status, fault.message) == (
                "DomainAlreadyExist",
                400,
                "The specified domain already exists.",
            )
        assert (await world.services.claims.claims()).total == number + 1


async def test_only_the_very_name_is_held(world: World) -> None:
    await world.services.claims.add("a.example.com", "vod", actor=ACTOR)
    await world.add("b.a.example.com")
    await world.add("example.com")


async def test_a_name_that_is_released_can_be_added(world: World) -> None:
    await world.services.claims.add(PLAY, "vod", actor=ACTOR)
    await world.services.claims.remove(PLAY.upper(), actor=ACTOR)
    await world.add(PLAY)
    assert await code(world.services.claims.remove(PLAY, actor=ACTOR)) == "EntityNotExist.Claim"


async def test_the_same_account_is_told_which_service_holds_the_name(world: World) -> None:
    claims = world.services.claims
    await claims.add("vod.example.com", "vod", world.account, actor=ACTOR)
    await claims.add("foreign.example.com", "dcdn", actor=ACTOR)
    await world.add("live.example.com")
    assert await claims.holder(world.account, "VOD.example.com") == "vod"
    assert await claims.holder(world.account, "live.example.com") == "live"
    assert await claims.holder(world.account, "foreign.example.com") is None
    assert await claims.holder(world.account, "free.example.com") is None


async def test_nobody_else_learns_it(world: World) -> None:
    claims = world.services.claims
    await claims.add("vod.example.com", "vod", world.account, actor=ACTOR)
    await world.add("live.example.com")
    assert await claims.holder(world.stranger, "vod.example.com") is None
    assert await claims.holder(world.stranger, "live.example.com") is None


async def test_a_live_domain_cannot_be_claimed(world: World) -> None:
    await world.add(PLAY)
    assert await code(world.services.claims.add(PLAY, "vod", actor=ACTOR)) == "DomainAlreadyExist"
    fault = await refused(world.services.claims.import_csv(f"name,service,account\n{PLAY},vod,\nb.com,vod,\n", actor=ACTOR))
    assert (fault.code, fault.message) == ("InvalidCsv.Malformed", f"The CSV file is not valid. Live domains here: {PLAY}.")
    assert (await world.services.claims.claims()).total == 0


async def test_other_services_and_bad_names_are_refused(world: World) -> None:
    assert await code(world.services.claims.add(PLAY, "live", actor=ACTOR)) == "InvalidService"
    assert await code(world.services.claims.add("*.example.com", "vod", actor=ACTOR)) == "InvalidDomainName.Malformed"


async def test_a_list_is_imported_and_may_be_imported_again(world: World) -> None:
    text = (
        "\ufeffservice,name,account,note\r\nVOD,A.example.com,,x\r\ndcdn,b\u00fccher.example,123,\r\nvod,a.example.com,,y\r\n"
    )
    assert await world.services.claims.import_csv(text, actor=ACTOR) == Imported(2, 0, 0)
    page = await world.services.claims.claims()
    assert page.items == [Claim("a.example.com", "vod"), Claim("xn--bcher-kva.example", "dcdn", "123")]
    assert await world.services.claims.import_csv(text, actor=ACTOR) == Imported(0, 0, 2)
    assert await world.services.claims.import_csv("name,service,account\na.example.com,vs,\n", actor=ACTOR) == Imported(0, 1, 0)
    assert (await world.services.claims.claims(search="A.Example.c")).items == [Claim("a.example.com", "vs")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Its first line must name the columns name, service, account."),
        ("name,service\na.com,vod\n", "Its first line must name the columns name, service, account."),
        ("name,service,account\na.com,vod,\n\nb.com,tv,\n", "Line 4: Specified parameter Service is not valid."),
        (
            "name,service,account\n*.com,vod,\nb.com\n",
            (
                "Line 2: The specific value of parameter DomainName is malformed. "
                "Line 3: Specified parameter Service is not valid."
            ),
        ),
        ('name,service,account\n"a.com,vod,\n', "Line 1: unexpected end of data."),
    ],
)
async def test_a_bad_list_is_refused_as_a_whole(world: World, text: str, message: str) -> None:
    fault = await refused(world.services.claims.import_csv(text, actor=ACTOR))
    assert (fault.code, fault.status) == ("InvalidCsv.Malformed", 400)
    assert fault.message == f"The CSV file is not valid. {message}"
    async with world.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(NameClaim)) == 0
        actions = (await session.scalars(select(AuditEntry.action))).all()
    assert "ImportDomainClaims" not in actions


async def test_a_list_that_is_too_long_is_refused(world: World) -> None:
    text = "name,service,account\n" + "".join(f"d{number}.example,vod,\n" for number in range(100_001))
    fault = await refused(world.services.claims.import_csv(text, actor=ACTOR))
    assert fault.message == "The CSV file is not valid. It has more than 100000 rows."


async def test_many_bad_lines_are_not_all_told(world: World) -> None:
    text = "name,service,account\n" + "*,vod,\n" * 1000
    assert (await refused(world.services.claims.import_csv(text, actor=ACTOR))).message.count("Line") == 10


async def test_the_register_is_read_page_by_page(world: World) -> None:
    text = "name,service,account\n" + "".join(f"d{number:04}.example,vod,\n" for number in range(1200))
    assert await world.services.claims.import_csv(text, actor=ACTOR) == Imported(1200, 0, 0)
    page = await world.services.claims.claims(page_number=3, page_size=500)
    assert (page.total, len(page.items), page.items[0].name) == (1200, 200, "d1000.example")
