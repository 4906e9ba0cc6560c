"""The tables of what is configured beside a domain's functions: staging, and blocked regions of streams."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.crypto import Encrypted
from headwater.store.models.core import Base


class StagedFunction(Base):
    """A domain function that holds for staging only; `args` as in DomainFunction."""

    __tablename__ = "staged_functions"
    __table_args__ = (Index(None, "domain", "function"), {"sqlite_autoincrement": True})  # the id of a deleted one stays dead

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"))
    function: Mapped[str]
    args: Mapped[str] = mapped_column(Encrypted("staged_functions.args"))
    status: Mapped[str]
    created_s: Mapped[float]


class StreamBlock(Base):
    """A stream that is blocked in some regions (type `blacklist`) or in all others (`whitelist`) until `release_s`."""

    __tablename__ = "stream_blocks"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    app: Mapped[str] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    locations: Mapped[str]
    release_s: Mapped[float] = mapped_column(index=True)
    updated_s: Mapped[float]
