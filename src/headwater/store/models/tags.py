"""Tags of domains."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.models.core import Base


class DomainTag(Base):
    """One tag of a domain: the customer's own word for it, such as `team` = `sports`."""

    __tablename__ = "domain_tags"
    __table_args__ = (Index(None, "key", "value", "domain"),)

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
