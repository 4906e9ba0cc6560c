"""Promises about tags and resource groups."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from headwater.domains.errors import DomainError
from headwater.domains.tags import PAGE_SIZE, TAGS_MAX
from headwater.store.models import AuditEntry
from support.domain_world import ACTOR, PLAY, PUSH, REGION, World


async def refusal(work: object) -> str:
    with pytest.raises(DomainError) as raised:
        await work  # type: ignore[misc]
    return raised.value.code


async def audit_rows(world: World) -> int:
    async with world.database.read() as session:
        return await session.scalar(select(func.count()).select_from(AuditEntry)) or 0


async def test_a_tag_is_given_changed_and_taken_away(world: World) -> None:
    await world.pair()
    tags = world.services.tags
    await tags.tag(world.account, [PUSH, PLAY], [("team", "sports"), ("空", "é")], actor=ACTOR)
    await tags.tag(world.account, [PLAY.upper()], [("team", "news")], actor=ACTOR)
    assert await tags.tags_of(world.account, [PUSH, PLAY]) == {
        PUSH: {"team": "sports", "空": "é"},
        PLAY: {"team": "news", "空": "é"},
    }
    assert await tags.all_tags(world.account) == {"team": ["news", "sports"], "空": ["é"]}
    await tags.untag(world.account, [PUSH, PLAY], ["team", "absent"], actor=ACTOR)
    assert await tags.tags_of(world.account, [PUSH]) == {PUSH: {"空": "é"}}
    await tags.untag(world.account, [PUSH], actor=ACTOR)
    assert await tags.tags_of(world.account, [PUSH, PLAY]) == {PLAY: {"空": "é"}}


async def test_a_change_of_tags_stands_in_the_audit_log(world: World) -> None:
    await world.pair()
    await world.services.tags.tag(world.account, [PLAY], [("a", "1")], actor=ACTOR)
    await world.services.tags.untag(world.account, [PLAY], actor=ACTOR)
    await world.services.tags.move(world.account, PLAY, "rg-1", actor=ACTOR)
    async with world.database.read() as session:
        rows = (await session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(3))).all()
    assert [(row.action, row.before, row.after) for row in reversed(rows)] == [
        ("TagLiveResources", f'{{"{PLAY}":{{}}}}', f'{{"{PLAY}":{{"a":"1"}}}}'),
        ("UnTagLiveResources", f'{{"{PLAY}":{{"a":"1"}}}}', f'{{"{PLAY}":{{}}}}'),
        ("ChangeLiveDomainResourceGroup", '{"resource_group_id":""}', '{"resource_group_id":"rg-1"}'),
    ]


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        (("", "v"), "InvalidTagKey.Malformed"),
        (("k" * 129, "v"), "InvalidTagKey.Malformed"),
        (("Aliyun-x", "v"), "InvalidTagKey.Malformed"),
        (("acs:x", "v"), "InvalidTagKey.Malformed"),
        (("see http://x", "v"), "InvalidTagKey.Malformed"),
        (("a\nb", "v"), "InvalidTagKey.Malformed"),
        (("a\0", "v"), "InvalidTagKey.Malformed"),
        (("k", "v" * 129), "InvalidTagValue.Malformed"),
        (("k", "ACS:v"), "InvalidTagValue.Malformed"),
        (("k", "\x1b[31m"), "InvalidTagValue.Malformed"),
        (("k", "\u202etxt"), "InvalidTagValue.Malformed"),
    ],
)
async def test_what_is_no_tag_is_refused(world: World, tag: tuple[str, str], code: str) -> None:
    await world.pair()
    before = await audit_rows(world)
    assert await refusal(world.services.tags.tag(world.account, [PLAY], [("fine", "1"), tag], actor=ACTOR)) == code
    assert await world.services.tags.tags_of(world.account, [PLAY]) == {}
    assert await audit_rows(world) == before


async def test_a_domain_has_twenty_tags_at_most_and_a_refusal_changes_none_of_the_domains(world: World) -> None:
    await world.pair()
    tags = world.services.tags
    await tags.tag(world.account, [PLAY], [(f"k{n:02}", "") for n in range(TAGS_MAX - 1)], actor=ACTOR)
    await tags.tag(world.account, [PLAY], [("k00", "changed"), ("k19", "")], actor=ACTOR)
    assert await refusal(tags.tag(world.account, [PUSH, PLAY], [("one", "more")], actor=ACTOR)) == "QuotaExceeded.Tag"
    assert await refusal(tags.tag(world.account, [PUSH], [("a", "1"), ("a", "2")], actor=ACTOR)) == "Duplicate.TagKey"
    found = await tags.tags_of(world.account, [PUSH, PLAY])
    assert list(found) == [PLAY]
    assert len(found[PLAY]) == TAGS_MAX


async def test_nobody_tags_or_sees_what_is_another_accounts(world: World) -> None:
    await world.pair()
    tags = world.services.tags
    await tags.tag(world.account, [PLAY], [("a", "1")], actor=ACTOR)
    assert await refusal(tags.tag(world.stranger, [PLAY], [("a", "2")], actor=ACTOR)) == "InvalidDomain.NotFound"
    assert await refusal(tags.untag(world.stranger, [PLAY], actor=ACTOR)) == "InvalidDomain.NotFound"
    assert await refusal(tags.move(world.stranger, PLAY, "rg-1", actor=ACTOR)) == "InvalidDomain.NotFound"
    assert await tags.all_tags(world.stranger) == {}
    assert (await tags.find(world.stranger, tags=[("a", "")])).items == []
    assert await tags.tags_of(world.account, [PLAY]) == {PLAY: {"a": "1"}}


async def test_tags_are_found_page_by_page(world: World) -> None:
    await world.pair()
    tags = world.services.tags
    names = [PLAY, PUSH, *(f"d{n}.example.com" for n in range(3))]
    for name in names[2:]:
        await world.domains.add(world.account, name, "liveVideo", REGION, actor=ACTOR)
    await tags.tag(world.account, names, [(f"k{n:02}", str(n)) for n in range(TAGS_MAX)], actor=ACTOR)
    await tags.tag(world.account, [PLAY], [("k00", "other")], actor=ACTOR)
    first = await tags.find(world.account, tags=[("k00", "0"), ("k01", "")])
    second = await tags.find(world.account, tags=[("k00", "0"), ("k01", "")], next_token=first.next_token)
    assert (len(first.items), len(second.items), second.next_token) == (PAGE_SIZE, 30, "")
    items = first.items + second.items
    assert items == sorted((name, f"k{n:02}", str(n)) for name in names if name != PLAY for n in range(TAGS_MAX))
    assert {domain for domain, _, _ in (await tags.find(world.account, [PLAY], [("k00", "0")])).items} == set()
    for token in ("x", "é", "W10=", "eyJhIjoxfQ=="):
        assert await refusal(tags.find(world.account, [PLAY], next_token=token)) == "InvalidNextToken"


async def test_domains_are_listed_by_tag(world: World) -> None:
    await world.domains.add(world.account, PLAY, "liveVideo", REGION, tags=[("team", "a"), ("x", "")], actor=ACTOR)
    await world.domains.add(world.account, PUSH, "liveEdge", REGION, tags=[("team", "b")], actor=ACTOR)

    async def listed(*tags: tuple[str, str], **filters: str) -> list[str]:
        page = await world.domains.list_domains(world.account, tags=tags, **filters)  # type: ignore[arg-type]
        assert page.total == len(page.items)
        return [item.name for item in page.items]

    assert await listed(("team", "")) == [PLAY, PUSH]
    assert await listed(("team", "b")) == [PUSH]
    assert await listed(("team", "a"), ("x", "")) == [PLAY]
    assert await listed(("team", "a"), type_="liveEdge") == []
    assert await listed(("TEAM", "a")) == []


async def test_a_refused_tag_adds_no_domain(world: World) -> None:
    add = world.domains.add(world.account, PLAY, "liveVideo", REGION, tags=[("acs:x", "")], actor=ACTOR)
    assert await refusal(add) == "InvalidTagKey.Malformed"
    assert (await world.domains.list_domains(world.account)).total == 0


async def test_a_domain_moves_between_resource_groups(world: World) -> None:
    await world.pair()
    tags = world.services.tags
    await tags.move(world.account, PLAY, "rg-acfmxgv2v5iguvq", actor=ACTOR)
    assert (await world.domains.detail(world.account, PLAY)).resource_group_id == "rg-acfmxgv2v5iguvq"
    assert [(group.id, group.domains) for group in await tags.groups(world.account)] == [("", 1), ("rg-acfmxgv2v5iguvq", 1)]
    page = await world.domains.list_domains(world.account, resource_group_id="rg-acfmxgv2v5iguvq")
    assert ([item.name for item in page.items], page.total) == ([PLAY], 1)
    for group in ("", "rg x", "-rg", "r" * 65, "rg\n", "rg\uff10"):
        assert await refusal(tags.move(world.account, PLAY, group, actor=ACTOR)) == "InvalidNewResourceGroupId"
    add = world.domains.add(world.account, "x.example.com", "liveVideo", REGION, resource_group_id="a b", actor=ACTOR)
    assert await refusal(add) == "InvalidResourceGroupId"
