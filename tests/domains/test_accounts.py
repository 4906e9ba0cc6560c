"""Promises about accounts, access keys and replays."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from headwater.domains.errors import DomainError
from headwater.store.models import ApiNonce, AuditEntry
from support.domain_world import World


async def test_a_new_account_has_a_key_that_the_api_finds(world: World) -> None:
    created = await world.accounts.create("team-1", actor=world.actor)
    assert len(created.account_id) == 16
    assert created.account_id.isdecimal()
    key = await world.accounts.access_key(created.access_key_id)
    assert key is not None
    assert (key.secret, key.account_id, key.active) == (created.access_key_secret, created.account_id, True)
    assert await world.accounts.access_key("unknown") is None
    assert [account.name for account in await world.accounts.accounts()] == ["owner", "stranger", "team-1"]


async def test_the_secret_is_not_in_the_audit_log(world: World) -> None:
    created = await world.accounts.create("team-1", actor=world.actor)
    async with world.database.read() as session:
        assert all(created.access_key_secret not in entry.after for entry in await session.scalars(select(AuditEntry)))


@pytest.mark.parametrize("name", ["", " ", "a b", "x" * 65, "ä", "a\n"])
async def test_bad_account_names_are_refused(world: World, name: str) -> None:
    with pytest.raises(DomainError, match=r"InvalidAccountName\.Malformed"):
        await world.accounts.create(name, actor=world.actor)


async def test_an_account_name_is_taken_once(world: World) -> None:
    with pytest.raises(DomainError, match=r"EntityAlreadyExists\.Account"):
        await world.accounts.create("owner", actor=world.actor)


async def test_a_nonce_is_good_once_for_each_key(world: World) -> None:
    expires_s = world.now_s + 60
    assert await world.accounts.use_nonce("k1", "n", expires_s)
    assert not await world.accounts.use_nonce("k1", "n", expires_s)
    assert await world.accounts.use_nonce("k2", "n", expires_s)


async def test_expired_nonces_go_away_a_few_at_a_time(world: World) -> None:
    async def count() -> int:
        async with world.database.read() as session:
            return await session.scalar(select(func.count()).select_from(ApiNonce)) or 0

    for i in range(9):
        await world.accounts.use_nonce("k", str(i), world.now_s + 60)
    world.now_s += 61
    seen = []
    for i in range(3):
        await world.accounts.use_nonce("k", f"new-{i}", world.now_s + 60)
        seen.append(await count())
    assert seen == [6, 3, 3]
