"""The tables of the web console: its users and their sessions."""

from __future__ import annotations

from sqlalchemy import ForeignKey, false
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.models.core import Base


class ConsoleUser(Base):
    """A person who signs in to the console. account is None for an operator, who sees every account.

    password: the hash as `domains.passwords` writes it. must_change: the password was chosen by somebody else.
    """

    __tablename__ = "console_users"

    name: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str | None] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    password: Mapped[str]
    must_change: Mapped[bool] = mapped_column(server_default=false())
    disabled: Mapped[bool] = mapped_column(server_default=false())
    created_s: Mapped[float]


class ConsoleSession(Base):
    """One sign-in. id is the SHA-256 of the cookie, so that the table's reader cannot be its user.

    acting: the account for which an operator acts, None for all of them. seen_s: the last request, to the minute.
    """

    __tablename__ = "console_sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    user: Mapped[str] = mapped_column(ForeignKey("console_users.name", ondelete="CASCADE"), index=True)
    acting: Mapped[str | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    address: Mapped[str]
    created_s: Mapped[float]
    seen_s: Mapped[float] = mapped_column(index=True)
