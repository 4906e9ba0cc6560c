"""The table of recorded usage: what each domain received and sent, in points of five minutes."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.models.core import Base


class UsagePoint(Base):
    """The bytes of one domain in the five minutes from `start_s` on, a multiple of 300; a time without traffic has no row.

    bytes_in: from publishers, of an ingest domain. bytes_out: to viewers, of a streaming domain; bytes_out_tls: those of them
    that went over TLS.
    """

    __tablename__ = "usage_points"
    # the rows of a domain stand together, which is how they are read; a separate row id would only double the table
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 (SQLAlchemy reads it from the class)

    domain: Mapped[str] = mapped_column(ForeignKey("domains.name", ondelete="CASCADE"), primary_key=True)
    start_s: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)
    bytes_in: Mapped[int] = mapped_column(BigInteger)
    bytes_out: Mapped[int] = mapped_column(BigInteger)
    bytes_out_tls: Mapped[int] = mapped_column(BigInteger)
