"""The people who use the web console: their passwords, sessions, and how often they may try to sign in."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import time
from collections.abc import Callable

import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains.errors import error
from headwater.domains.passwords import hash_password, verify_password
from headwater.store.database import Actor, Database
from headwater.store.models import Account, ConsoleSession, ConsoleUser

PASSWORD_LENGTHS = range(10, 257)
"""Characters of a password: ten are beyond guessing at the rate that we allow; 256 bound the work of a hash."""
GENERATED_LENGTH = 20
SESSION_IDLE_S = 12 * 3600.0
"""A session ends when nobody has used it for so long: a working day with its breaks."""
SESSION_MAX_S = 7 * 86400.0
"""A session ends so long after the sign-in in any case."""
SEEN_STEP_S = 60.0
"""A session's last use is noted once a minute and not at each request."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}", re.ASCII)


class UserRecord(msgspec.Struct, frozen=True):
    """A user of the console; account is None for an operator."""

    name: str
    account: str | None
    must_change: bool
    disabled: bool
    created_s: float

    @property
    def operator(self) -> bool:
        """Whether this user sees every account."""
        return self.account is None


class NewUser(msgspec.Struct, frozen=True):
    """What is shown once, when a user is made or gets a new password."""

    name: str
    account_id: str | None
    password: str


class SessionRecord(msgspec.Struct, frozen=True):
    """A session that holds. acting: the account for which an operator acts."""

    user: UserRecord
    acting: str | None
    created_s: float


class UserService:
    """Users and their sessions. Methods raise DomainError for what they refuse."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    # Users

    async def create(self, name: str, account_id: str | None, *, password: str = "", actor: Actor) -> NewUser:
        """A new user of an account, or an operator (account_id None). Without a password a random one is made.

        It must be changed at the first sign-in, since somebody else has seen it.
        Raises InvalidUserName.Malformed, InvalidPassword.Malformed, EntityAlreadyExists.User, EntityNotExist.Account.
        """
        if not NAME.fullmatch(name):
            raise error("InvalidUserName.Malformed")
        chosen = _checked(password) if password else generate_password()
        hashed, now_s = await hash_password(chosen), self._clock()
        try:
            async with self._database.change(account_id or "", actor, "CreateConsoleUser", name, now_s) as change:
                if account_id is not None and await change.session.get(Account, account_id) is None:
                    raise error("EntityNotExist.Account")
                user = ConsoleUser(
                    name=name, account=account_id, password=hashed, must_change=True, disabled=False, created_s=now_s
                )
                change.session.add(user)
                await change.session.flush()
                change.after = _record(user)
        except IntegrityError:
            raise error("EntityAlreadyExists.User") from None
        return NewUser(name, account_id, chosen)

    async def users(self, account_id: str | None = None) -> list[UserRecord]:
        """All users, or those of one account, by name."""
        wanted = select(ConsoleUser).order_by(ConsoleUser.name)
        if account_id is not None:
            wanted = wanted.where(ConsoleUser.account == account_id)
        async with self._database.read() as session:
            return [_record(user) for user in await session.scalars(wanted)]

    async def reset_password(self, name: str, *, actor: Actor) -> NewUser:
        """A new random password, which must be changed at the next sign-in; all sessions of the user end.

        Raises EntityNotExist.User.
        """
        password = generate_password()
        account = await self._set_password(name, password, must_change=True, action="ResetConsolePassword", actor=actor)
        return NewUser(name, account, password)

    async def change_password(self, name: str, current: str, new: str, *, actor: Actor) -> None:
        """Change one's own password; all sessions of the user end, this one too.

        Raises InvalidPassword.Malformed, InvalidPassword.Unchanged, InvalidPassword.Mismatch, EntityNotExist.User.
        """
        _checked(new)
        async with self._database.read() as session:
            stored = (await _user(session, name)).password
        if not await verify_password(current, stored):
            raise error("InvalidPassword.Mismatch")
        if current == new:
            raise error("InvalidPassword.Unchanged")
        await self._set_password(name, new, must_change=False, action="ChangeConsolePassword", actor=actor)

    async def set_disabled(self, name: str, disabled: bool, *, actor: Actor) -> None:
        """Lock a user out, sessions included, or let them in again. Raises EntityNotExist.User, LastOperator."""
        action = "DisableConsoleUser" if disabled else "EnableConsoleUser"
        async with self._database.change("", actor, action, name, self._clock()) as change:
            user = await _user(change.session, name)
            if disabled:
                await _keep_an_operator(change.session, user)
                await change.session.execute(delete(ConsoleSession).where(ConsoleSession.user == name))
            change.before = _record(user)
            user.disabled = disabled
            change.after = _record(user)

    async def delete(self, name: str, *, actor: Actor) -> None:
        """Forget a user; sessions end. Raises EntityNotExist.User, LastOperator."""
        async with self._database.change("", actor, "DeleteConsoleUser", name, self._clock()) as change:
            user = await _user(change.session, name)
            await _keep_an_operator(change.session, user)
            change.before = _record(user)
            await change.session.delete(user)

    # Sessions

    async def sign_in(self, name: str, password: str, address: str) -> str:
        """Open a session and return its cookie. Raises SignInFailed, which does not say what was wrong."""
        async with self._database.read() as session:
            user = await session.get(ConsoleUser, name)
        # hash even for who may not sign in, so that the time tells nothing
        good = await verify_password(password[: PASSWORD_LENGTHS[-1]], None if user is None else user.password)
        if user is None or not good or user.disabled:
            raise error("SignInFailed")
        cookie, now_s = secrets.token_urlsafe(32), self._clock()
        async with self._database.change(user.account or "", Actor(f"console {name}"), "SignIn", name, now_s) as change:
            stale = (ConsoleSession.seen_s < now_s - SESSION_IDLE_S) | (ConsoleSession.created_s < now_s - SESSION_MAX_S)
            await change.session.execute(delete(ConsoleSession).where(stale))
            change.session.add(
                ConsoleSession(id=_digest(cookie), user=name, acting=None, address=address, created_s=now_s, seen_s=now_s)
            )
            change.after = {"address": address}
        return cookie

    async def session(self, cookie: str) -> SessionRecord | None:
        """The session of a cookie if it still holds."""
        now_s, id_ = self._clock(), _digest(cookie)
        async with self._database.read() as session:
            found = await session.get(ConsoleSession, id_)
            if found is None:
                return None
            user = await _user(session, found.user)
        if user.disabled or found.seen_s < now_s - SESSION_IDLE_S or found.created_s < now_s - SESSION_MAX_S:
            return None
        if now_s - found.seen_s >= SEEN_STEP_S:
            async with self._database.write() as session:
                await session.execute(update(ConsoleSession).where(ConsoleSession.id == id_).values(seen_s=now_s))
        return SessionRecord(_record(user), found.acting if user.account is None else None, found.created_s)

    async def act_for(self, cookie: str, account_id: str | None) -> None:
        """Let an operator's session act for an account, or for none. Raises EntityNotExist.Account."""
        async with self._database.write() as session:
            if account_id is not None and await session.get(Account, account_id) is None:
                raise error("EntityNotExist.Account")
            await session.execute(update(ConsoleSession).where(ConsoleSession.id == _digest(cookie)).values(acting=account_id))

    async def sign_out(self, cookie: str) -> None:
        """End a session."""
        async with self._database.write() as session:
            await session.execute(delete(ConsoleSession).where(ConsoleSession.id == _digest(cookie)))

    async def _set_password(self, name: str, password: str, *, must_change: bool, action: str, actor: Actor) -> str | None:
        hashed = await hash_password(password)
        async with self._database.change("", actor, action, name, self._clock()) as change:
            user = await _user(change.session, name)
            user.password, user.must_change = hashed, must_change
            await change.session.execute(delete(ConsoleSession).where(ConsoleSession.user == name))
            return user.account


def generate_password() -> str:
    """A random password that is easy to copy: no look-alikes."""
    alphabet = [char for char in string.ascii_letters + string.digits if char not in "0O1lI"]
    return "".join(secrets.choice(alphabet) for _ in range(GENERATED_LENGTH))


def _checked(password: str) -> str:
    if len(password) not in PASSWORD_LENGTHS:
        raise error("InvalidPassword.Malformed")
    return password


async def _user(session: AsyncSession, name: str) -> ConsoleUser:
    user = await session.get(ConsoleUser, name)
    if user is None:
        raise error("EntityNotExist.User")
    return user


async def _keep_an_operator(session: AsyncSession, user: ConsoleUser) -> None:
    """Raises LastOperator if nobody could administer the platform without this user."""
    others = select(func.count()).where(
        ConsoleUser.account.is_(None), ConsoleUser.disabled.is_(False), ConsoleUser.name != user.name
    )
    if user.account is None and not await session.scalar(others):
        raise error("LastOperator")


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode(errors="replace")).hexdigest()


def _record(user: ConsoleUser) -> UserRecord:
    return msgspec.convert(user, UserRecord, from_attributes=True)
