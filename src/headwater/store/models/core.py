"""The tables: accounts, domains and what belongs to them. Times are unix seconds."""

from __future__ import annotations

from sqlalchemy import Double, ForeignKey, Index, MetaData, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from headwater.store.crypto import Encrypted


class Base(DeclarativeBase):
    """The root of all tables; constraints have fixed names, so that migrations can speak of them on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, float: Double}  # noqa: RUF012 (SQLAlchemy reads it from the class)


class Account(Base):
    """A customer. The id has 16 digits, as the service's has."""

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_s: Mapped[float]


class AccessKey(Base):
    """What signs an account's API calls. status: `active` or `inactive`."""

    __tablename__ = "access_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    secret: Mapped[str] = mapped_column(Encrypted("access_keys.secret"))
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    status: Mapped[str]
    created_s: Mapped[float]


class ApiNonce(Base):
    """A signature nonce that was used; the same one again is a replay until it expires with its request's time stamp."""

    __tablename__ = "api_nonces"

    access_key: Mapped[str] = mapped_column(primary_key=True)
    nonce: Mapped[str] = mapped_column(primary_key=True)
    expires_s: Mapped[float] = mapped_column(index=True)


class Domain(Base):
    """An ingest domain (type `liveEdge`) or a streaming domain (`liveVideo`). root: its registrable domain.

    status: `configuring`, `online` or `offline`.
    """

    __tablename__ = "domains"
    __table_args__ = (Index(None, "account", "name"),)  # a page of an account's domains by name is read without sorting

    name: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    type: Mapped[str]
    region: Mapped[str]
    scope: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    created_s: Mapped[float]
    modified_s: Mapped[float]
    cname: Mapped[str]
    description: Mapped[str]
    resource_group_id: Mapped[str]
    root: Mapped[str] = mapped_column(default="", server_default="", index=True)


class DomainMapping(Base):
    """An ingest domain is bound to one streaming domain; a streaming domain may have many ingest domains."""

    __tablename__ = "domain_mappings"

    push_domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    pull_domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), index=True)


class DomainFunction(Base):
    """One configuration of a domain function; `args` is a JSON list of [name, value], in the order in which it came."""

    __tablename__ = "domain_functions"
    __table_args__ = (Index(None, "domain", "function"), {"sqlite_autoincrement": True})  # the id of a deleted one stays dead

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"))
    function: Mapped[str]
    args: Mapped[str] = mapped_column(Encrypted("domain_functions.args"))
    status: Mapped[str]
    created_s: Mapped[float]


class DomainDelay(Base):
    """The delay of one protocol (`rtmp`, `flv`, `hls`) of a streaming domain; `level` is "" if seconds were given."""

    __tablename__ = "domain_delays"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    protocol: Mapped[str] = mapped_column(primary_key=True)
    delay_s: Mapped[int]
    level: Mapped[str]


class StreamBan(Base):
    """A forbidden stream; `domain` is the streaming domain."""

    __tablename__ = "stream_bans"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    app: Mapped[str] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    until_s: Mapped[float] = mapped_column(index=True)
    created_s: Mapped[float]


class Publish(Base):
    """One push from its start to its stop; `domain` is the streaming domain. stopped_s is None while it is live.

    Or a stream that the center has made: then `publish_domain` is the streaming domain, too, which no push has, and
    `publish_url` is the address of the stream of which it was made.
    """

    __tablename__ = "publishes"
    __table_args__ = (Index(None, "domain", "started_s"), UniqueConstraint("session"))

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    session: Mapped[str]
    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"))
    app: Mapped[str]
    stream: Mapped[str]
    publish_domain: Mapped[str]
    publish_url: Mapped[str]
    client_ip: Mapped[str]
    server_ip: Mapped[str]
    node: Mapped[str]
    started_s: Mapped[float] = mapped_column(index=True)
    stopped_s: Mapped[float | None] = mapped_column(index=True)


class AuditEntry(Base):
    """One change of state: who, what, and the object before and after as JSON ("" if there was none).

    Encrypted, because configurations hold keys.
    """

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    time_s: Mapped[float] = mapped_column(index=True)
    account: Mapped[str] = mapped_column(index=True)
    actor: Mapped[str]
    action: Mapped[str]
    object: Mapped[str]
    before: Mapped[str] = mapped_column(Encrypted("audit_log.before"))
    after: Mapped[str] = mapped_column(Encrypted("audit_log.after"))
    request_id: Mapped[str]
