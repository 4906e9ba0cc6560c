"""The tables behind the rules of the domain product: ownership, claims, filings, quotas, tickets, sub-streaming domains."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.models.core import Base


class DomainRoot(Base):
    """A registrable domain that an account has proved to own. method: `dnsCheck`, `fileCheck`, `cname` or `operator`."""

    __tablename__ = "domain_roots"

    root: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    method: Mapped[str]
    proved_s: Mapped[float]


class NameClaim(Base):
    """A domain name that a sister service holds. account: whose it is there, "" if that is no account of this platform."""

    __tablename__ = "name_claims"

    name: Mapped[str] = mapped_column(primary_key=True)
    service: Mapped[str]
    account: Mapped[str]
    created_s: Mapped[float]


class IcpFiling(Base):
    """The ICP filing of a registrable domain, as the operator keeps it. expires_s: None if it does not expire."""

    __tablename__ = "icp_filings"

    root: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[str]
    holder: Mapped[str]
    expires_s: Mapped[float | None]
    modified_s: Mapped[float]


class DomainCount(Base):
    """How many domains an account has, and how many it may have; quota None: as many as the setting says.

    The count is kept here because counting rows takes longer the more there are.
    """

    __tablename__ = "domain_counts"

    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    domains: Mapped[int]
    quota: Mapped[int | None]


class Ticket(Base):
    """What an account asks the operator for. kind: `quota`, `duplicate` or `verification`.

    subject: the domain that it is about, "" for a quota. wanted, granted: a number of domains. status: `open`, `approved`,
    `rejected` or `withdrawn`.
    """

    __tablename__ = "tickets"
    __table_args__ = (Index(None, "account", "status"), Index(None, "status", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    kind: Mapped[str]
    subject: Mapped[str]
    status: Mapped[str]
    wanted: Mapped[int | None]
    granted: Mapped[int | None]
    created_s: Mapped[float]
    modified_s: Mapped[float]


class TicketMessage(Base):
    """One message of a ticket's thread. author: `customer` or `operator`; name: who of them it was."""

    __tablename__ = "ticket_messages"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    ticket: Mapped[int] = mapped_column(ForeignKey("tickets.id", ondelete="CASCADE"), index=True)
    author: Mapped[str]
    name: Mapped[str]
    text: Mapped[str]
    time_s: Mapped[float]


class PlayMapping(Base):
    """A sub-streaming domain plays the streams of its main streaming domain; a main domain may have many of them."""

    __tablename__ = "play_mappings"

    play_domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    pull_domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), index=True)
