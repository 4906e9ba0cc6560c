"""What DNS said last of each domain's CNAME record."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.models.core import Base


class CnameCheck(Base):
    """The last look-up of a domain; for state and found see `domains.cnames.CnameState`."""

    __tablename__ = "cname_checks"

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    state: Mapped[str]
    found: Mapped[str]
    checked_s: Mapped[float]
