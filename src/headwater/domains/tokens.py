"""Tokens by which programs, such as other platforms that share a register, use the operator's API."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from typing import Literal, cast, get_args

import msgspec
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from headwater.domains.errors import error, invalid
from headwater.store.database import Actor, Database
from headwater.store.models import OperatorToken

Access = Literal["read", "write"]
"""read: look names up and list them. write: change the register, too."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
PREFIX = "hwt_"
"""Tells a person, or a scanner for secrets that got out, what this is."""
TOKEN_BYTES = 32
"""Random bytes of a token: nobody guesses 256 bits, so a fast hash is enough to keep it."""


class TokenRecord(msgspec.Struct, frozen=True):
    """A token as the operator sees it, without itself."""

    name: str
    access: Access
    created_s: float


class NewToken(msgspec.Struct, frozen=True):
    """A token that was just made; it cannot be shown again."""

    name: str
    access: Access
    token: str


class TokenService:
    """Makes, lists, checks and revokes tokens. Methods raise DomainError for what they refuse."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def create(self, name: str, access: str, *, actor: Actor) -> NewToken:
        """A new token. name: whose it is. Raises InvalidTokenName, InvalidAccess, EntityAlreadyExists.Token."""
        if not NAME.fullmatch(name):
            raise invalid("TokenName")
        if access not in get_args(Access):
            raise invalid("Access")
        token, now_s = PREFIX + secrets.token_urlsafe(TOKEN_BYTES), self._clock()
        row = OperatorToken(name=name, hash=_hash(token), access=access, created_s=now_s)
        try:
            async with self._database.change("", actor, "CreateOperatorToken", name, now_s) as change:
                change.session.add(row)
                await change.session.flush()
                change.after = _record(row)
        except IntegrityError:
            raise error("EntityAlreadyExists.Token") from None
        return NewToken(name, cast(Access, access), token)

    async def tokens(self) -> list[TokenRecord]:
        """All tokens by name."""
        async with self._database.read() as session:
            return [_record(row) for row in await session.scalars(select(OperatorToken).order_by(OperatorToken.name))]

    async def find(self, token: str) -> TokenRecord | None:
        """Whose token this is; None if it is nobody's."""
        async with self._database.read() as session:
            row = await session.scalar(select(OperatorToken).where(OperatorToken.hash == _hash(token)))
            return None if row is None else _record(row)

    async def revoke(self, name: str, *, actor: Actor) -> None:
        """Take a token back; its next request is refused. Raises EntityNotExist.Token."""
        async with self._database.change("", actor, "RevokeOperatorToken", name, self._clock()) as change:
            row = await change.session.get(OperatorToken, name)
            if row is None:
                raise error("EntityNotExist.Token")
            change.before = _record(row)
            await change.session.delete(row)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _record(row: OperatorToken) -> TokenRecord:
    return TokenRecord(row.name, cast(Access, row.access), row.created_s)
