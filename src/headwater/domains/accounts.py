"""Accounts and the access keys that sign their API calls."""

from __future__ import annotations

import re
import secrets
import string
import time
from collections.abc import Callable

import msgspec
from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains.errors import error
from headwater.store.database import Actor, Database
from headwater.store.models import AccessKey, Account, ApiNonce

ACCESS_KEYS_MAX = 5
"""Access keys of one account: enough to change them one after the other for several programs."""
NONCES_PURGED = 4
"""Expired nonces that each used one clears away: more than one, so that the table shrinks after a rush, and never a big job."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}", re.ASCII)
_ALPHABET = string.ascii_letters + string.digits


class AccountRecord(msgspec.Struct, frozen=True):
    """An account; its id has 16 digits."""

    id: str
    name: str
    created_s: float


class NewAccount(msgspec.Struct, frozen=True):
    """What is shown once, when an account is created."""

    account_id: str
    name: str
    access_key_id: str
    access_key_secret: str


class NewAccessKey(msgspec.Struct, frozen=True):
    """What is shown once, when an access key is created."""

    access_key_id: str
    access_key_secret: str


class AccessKeyState(msgspec.Struct, frozen=True):
    """An access key as an administrator sees it: without its secret."""

    id: str
    active: bool
    created_s: float


class AccessKeyRecord(msgspec.Struct, frozen=True):
    """An access key with its secret, for checking a signature."""

    id: str
    secret: str
    account_id: str
    active: bool


class AccountService:
    """Creates accounts and answers the API's questions about access keys."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def create(self, name: str, *, actor: Actor) -> NewAccount:
        """A new account with its first access key. Raises InvalidAccountName.Malformed, EntityAlreadyExists.Account."""
        if not _NAME.fullmatch(name):
            raise error("InvalidAccountName.Malformed")
        now_s = self._clock()
        account_id = str(secrets.choice(range(10**15, 10**16)))
        created = NewAccount(account_id, name, "HWAK" + _random(20), _random(32))
        try:
            async with self._database.change(account_id, actor, "CreateAccount", name, now_s) as change:
                change.session.add(Account(id=account_id, name=name, created_s=now_s))
                await change.session.flush()
                change.session.add(
                    AccessKey(
                        id=created.access_key_id,
                        secret=created.access_key_secret,
                        account=account_id,
                        status="active",
                        created_s=now_s,
                    )
                )
                change.after = {"account_id": account_id, "name": name, "access_key_id": created.access_key_id}
        except IntegrityError:
            raise error("EntityAlreadyExists.Account") from None
        return created

    async def accounts(self, at_most: int | None = None) -> list[AccountRecord]:
        """All accounts, or the first ones, by name."""
        async with self._database.read() as session:
            rows = await session.scalars(select(Account).order_by(Account.name).limit(at_most))
            return [AccountRecord(row.id, row.name, row.created_s) for row in rows]

    async def find(self, name_or_id: str) -> str:
        """The id of the account with this name or id. Raises EntityNotExist.Account."""
        async with self._database.read() as session:
            wanted = select(Account.id).where((Account.id == name_or_id) | (Account.name == name_or_id))
            found = (await session.scalars(wanted.order_by(Account.id != name_or_id))).first()
        if found is None:
            raise error("EntityNotExist.Account")
        return found

    async def access_key(self, access_key_id: str) -> AccessKeyRecord | None:
        """The key of that id; None if there is none."""
        async with self._database.read() as session:
            row = await session.get(AccessKey, access_key_id)
            return None if row is None else AccessKeyRecord(row.id, row.secret, row.account, row.status == "active")

    async def access_keys(self, account_id: str) -> list[AccessKeyRecord]:
        """The active keys of an account, the oldest first; for an operator, who has the key file anyway."""
        async with self._database.read() as session:
            wanted = select(AccessKey).where(AccessKey.account == account_id, AccessKey.status == "active")
            rows = await session.scalars(wanted.order_by(AccessKey.created_s))
            return [AccessKeyRecord(row.id, row.secret, row.account, True) for row in rows]

    async def account(self, account_id: str) -> AccountRecord:
        """One account. Raises EntityNotExist.Account."""
        async with self._database.read() as session:
            row = await session.get(Account, account_id)
        if row is None:
            raise error("EntityNotExist.Account")
        return AccountRecord(row.id, row.name, row.created_s)

    async def access_key_states(self, account_id: str) -> list[AccessKeyState]:
        """All keys of an account, the oldest first."""
        async with self._database.read() as session:
            rows = await session.scalars(
                select(AccessKey).where(AccessKey.account == account_id).order_by(AccessKey.created_s, AccessKey.id)
            )
            return [AccessKeyState(row.id, row.status == "active", row.created_s) for row in rows]

    async def create_access_key(self, account_id: str, *, actor: Actor) -> NewAccessKey:
        """A further key of an account. Raises EntityNotExist.Account, QuotaExceeded.AccessKey."""
        now_s = self._clock()
        made = NewAccessKey("HWAK" + _random(20), _random(32))
        async with self._database.change(account_id, actor, "CreateAccessKey", made.access_key_id, now_s) as change:
            if await change.session.get(Account, account_id) is None:
                raise error("EntityNotExist.Account")
            there = select(func.count()).where(AccessKey.account == account_id)
            if (await change.session.scalar(there) or 0) >= ACCESS_KEYS_MAX:
                raise error("QuotaExceeded.AccessKey")
            change.session.add(
                AccessKey(
                    id=made.access_key_id,
                    secret=made.access_key_secret,
                    account=account_id,
                    status="active",
                    created_s=now_s,
                )
            )
            change.after = {"access_key_id": made.access_key_id}
        return made

    async def set_access_key_active(self, account_id: str, access_key_id: str, active: bool, *, actor: Actor) -> None:
        """Let a key sign calls, or no longer. Raises EntityNotExist.AccessKey, for another account's too."""
        action = "EnableAccessKey" if active else "DisableAccessKey"
        async with self._database.change(account_id, actor, action, access_key_id, self._clock()) as change:
            key = await _owned_key(change.session, account_id, access_key_id)
            change.before = {"status": key.status}
            key.status = "active" if active else "inactive"
            change.after = {"status": key.status}

    async def delete_access_key(self, account_id: str, access_key_id: str, *, actor: Actor) -> None:
        """Forget a key for good. Raises EntityNotExist.AccessKey, for another account's too."""
        async with self._database.change(account_id, actor, "DeleteAccessKey", access_key_id, self._clock()) as change:
            key = await _owned_key(change.session, account_id, access_key_id)
            change.before = {"access_key_id": key.id, "status": key.status}
            await change.session.delete(key)

    async def use_nonce(self, access_key_id: str, nonce: str, expires_s: float) -> bool:
        """Note a signature nonce (of a request whose signature is good); False if it was used before: a replay.

        expires_s: unix seconds after which the request's own time stamp is refused anyway.
        """
        expired = select(ApiNonce.access_key, ApiNonce.nonce).where(ApiNonce.expires_s < self._clock()).limit(NONCES_PURGED)
        expired = expired.with_for_update(skip_locked=True)  # where notes are taken side by side, each clears away its own
        try:
            async with self._database.note() as session:
                await session.execute(delete(ApiNonce).where(tuple_(ApiNonce.access_key, ApiNonce.nonce).in_(expired)))
                session.add(ApiNonce(access_key=access_key_id, nonce=nonce, expires_s=expires_s))
        except IntegrityError:
            return False
        return True


async def _owned_key(session: AsyncSession, account_id: str, access_key_id: str) -> AccessKey:
    key = await session.get(AccessKey, access_key_id)
    if key is None or key.account != account_id:
        raise error("EntityNotExist.AccessKey")
    return key


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
