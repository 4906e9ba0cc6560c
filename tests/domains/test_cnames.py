"""What the platform says of a domain's CNAME record, asked of a real DNS server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from headwater.cluster.nodes import NodeList, NodePresence
from headwater.domains import cnames
from headwater.domains.cnames import CnameService
from headwater.domains.errors import DomainError
from headwater.settings import Ownership
from headwater.store.database import Database
from support.databases import prepared
from support.domain_world import ACTOR, PLAY, REGION, World
from support.name_server import NameServer

NAME = "play.example.test"
TARGET = f"{NAME}.w.headwater.internal"


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as names:
        yield names


@pytest.fixture
async def world(tmp_path: Path, names: NameServer) -> AsyncIterator[World]:
    database = await Database.open(prepared(tmp_path))
    world = World(database)
    world.account = (await world.accounts.create("owner", actor=ACTOR)).account_id
    await world.domains.add(world.account, NAME, "liveVideo", REGION, "overseas", actor=ACTOR)
    yield world
    await world.cluster.close()
    await database.close()


def service(world: World, names: NameServer, *nodes: NodePresence) -> CnameService:
    patience_s = 5 if names.mood == "well" else 0.3
    settings = Ownership(resolvers=(f"{names.address}:{names.port}",), query_timeout_s=patience_s)
    listed = NodeList(world.cluster)
    listed.nodes.update((node.id, node) for node in nodes)
    return CnameService(world.database, settings, "w.headwater.internal", listed, lambda: world.now_s)


async def look(world: World, names: NameServer) -> tuple[str, str]:
    world.now_s += cnames.FRESH_S
    state = await service(world, names).check(world.account, NAME)
    return state.state, state.found


async def test_a_record_that_leads_to_us_is_configured(world: World, names: NameServer) -> None:
    names.records[NAME, "CNAME"] = [f"{TARGET}."]
    assert await look(world, names) == ("configured", TARGET)


async def test_so_is_one_that_leads_to_us_over_others(world: World, names: NameServer) -> None:
    names.records[NAME, "CNAME"] = ["alias.example.test."]
    names.records["alias.example.test", "CNAME"] = [f"{TARGET.upper()}."]
    assert await look(world, names) == ("configured", TARGET)


async def test_no_record_is_not_found(world: World, names: NameServer) -> None:
    assert await look(world, names) == ("missing", "")
    names.txt(NAME, "a name with other records")
    assert await look(world, names) == ("missing", "")


async def test_where_it_points_instead_is_said(world: World, names: NameServer) -> None:
    names.records[NAME, "A"] = ["192.0.2.2", "192.0.2.1"]
    assert await look(world, names) == ("elsewhere", "192.0.2.1, 192.0.2.2")
    names.records[NAME, "CNAME"] = ["gone.example.net."]
    assert await look(world, names) == ("elsewhere", "gone.example.net")
    names.records["gone.example.net", "CNAME"] = [f"{NAME}."]  # round and round
    assert await look(world, names) == ("elsewhere", "gone.example.net")


async def test_the_addresses_of_our_nodes_in_place_of_a_record_are_as_good(world: World, names: NameServer) -> None:
    nodes = [NodePresence("a", ("edge",), addresses_v4=("192.0.2.1",)), NodePresence("b", (), addresses_v6=("2001:db8::1",))]
    names.records[NAME, "A"] = ["192.0.2.1"]
    names.records[NAME, "AAAA"] = ["2001:db8::1"]
    assert (await service(world, names, *nodes).check(world.account, NAME)).state == "configured"
    world.now_s += cnames.FRESH_S
    names.records[NAME, "A"] = ["192.0.2.1", "192.0.2.2"]
    found = await service(world, names, *nodes).check(world.account, NAME)
    assert (found.state, found.found) == ("elsewhere", "192.0.2.1, 192.0.2.2, 2001:db8::1")


async def test_what_was_found_outlives_a_restart_but_not_its_domain(world: World, names: NameServer) -> None:
    names.records[NAME, "CNAME"] = [f"{TARGET}."]
    made = await service(world, names).check(world.account, NAME)
    after = service(world, names)
    assert await after.known([NAME]) == {NAME: made}
    await world.domains.delete(world.account, NAME, actor=ACTOR)
    assert await after.known([NAME]) == {}


@pytest.mark.parametrize("mood", ["silent", "servfail", "garbage"])
async def test_without_an_answer_nothing_is_claimed(world: World, names: NameServer, mood: str) -> None:
    names.mood = mood  # type: ignore[assignment]
    assert (await look(world, names))[0] == "unknown"


async def test_a_page_that_asks_every_second_does_not_ask_dns_every_second(world: World, names: NameServer) -> None:
    checks = service(world, names)
    await checks.check(world.account, NAME)
    asked = len(names.asked)
    await checks.check(world.account, NAME)
    assert len(names.asked) == asked
    world.now_s += cnames.FRESH_S
    await checks.check(world.account, NAME)
    assert len(names.asked) > asked


async def test_a_foreign_domain_is_not_looked_up(world: World, names: NameServer) -> None:
    stranger = (await world.accounts.create("stranger", actor=ACTOR)).account_id
    with pytest.raises(DomainError) as caught:
        await service(world, names).check(stranger, NAME)
    assert caught.value.code == "InvalidDomain.NotFound"
    assert names.asked == []


async def test_all_domains_are_looked_up_in_their_turn(
    world: World, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cnames, "ROUND_PAUSE_S", 0)
    monkeypatch.setattr(cnames, "NAMES_AT_ONCE", 1)
    await world.domains.add(world.account, "push.example.test", "liveEdge", REGION, "overseas", actor=ACTOR)
    names.records[NAME, "CNAME"] = [f"{TARGET}."]
    checks = service(world, names)
    task = asyncio.create_task(checks.run())
    async with asyncio.timeout(10):
        while len(known := await checks.known([NAME, "push.example.test", PLAY])) < 2:
            await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert {name: state.state for name, state in known.items()} == {NAME: "configured", "push.example.test": "missing"}
