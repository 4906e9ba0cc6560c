"""The tables of certificates: what each account holds, which domain uses which, and the orders at the ACME authority."""

from __future__ import annotations

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.crypto import Encrypted
from headwater.store.models.core import Base


class Certificate(Base):
    """A certificate with its private key, named within its account.

    source: `upload`, or `free` if our ACME client had it issued. chain: PEM, the certificate itself first. names: the DNS
    names that it is for, joined by commas. fingerprint: SHA-256 of the certificate in hex. warned_days: for which time
    before its end the last warning was given.
    """

    __tablename__ = "certificates"
    __table_args__ = (UniqueConstraint("account", "name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    name: Mapped[str]
    source: Mapped[str]
    chain: Mapped[str]
    key: Mapped[str] = mapped_column(Encrypted("certificates.key"))
    key_type: Mapped[str]
    common_name: Mapped[str]
    issuer: Mapped[str]
    organization: Mapped[str]
    names: Mapped[str]
    fingerprint: Mapped[str] = mapped_column(index=True)
    not_before_s: Mapped[float]
    not_after_s: Mapped[float] = mapped_column(index=True)
    created_s: Mapped[float]
    updated_s: Mapped[float]
    warned_days: Mapped[int | None]


class DomainHttps(Base):
    """HTTPS of a domain: on or off, and with which certificate.

    type: how the certificate was chosen, as SetLiveDomainCertificate says it: `upload`, `cas` or `free`. certificate is
    None while a free one is on its way.
    """

    __tablename__ = "domain_https"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    enabled: Mapped[bool]
    type: Mapped[str]
    certificate: Mapped[int | None] = mapped_column(ForeignKey("certificates.id"), index=True)
    updated_s: Mapped[float]


class CertificateOrder(Base):
    """The free certificate of a domain: its running order at the authority, or when the next one begins.

    order_url, key: of the running order, "" and None if there is none. failures: since the last success. error: what went
    wrong last, in words for the domain's owner. begun_s: when the last order began.
    """

    __tablename__ = "certificate_orders"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    challenge: Mapped[str]
    order_url: Mapped[str]
    key: Mapped[str | None] = mapped_column(Encrypted("certificate_orders.key"))
    failures: Mapped[int]
    error: Mapped[str]
    next_s: Mapped[float] = mapped_column(index=True)
    begun_s: Mapped[float] = mapped_column(index=True)


class AcmeAccount(Base):
    """Our account at an ACME authority: one for each directory and contact address."""

    __tablename__ = "acme_accounts"

    directory: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Encrypted("acme_accounts.key"))
    url: Mapped[str]
