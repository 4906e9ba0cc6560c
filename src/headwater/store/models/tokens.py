"""The tokens by which programs use the operator's API."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.models.core import Base


class OperatorToken(Base):
    """A token. hash: its SHA-256, so that the table's reader cannot be its user. access: `read` or `write`."""

    __tablename__ = "operator_tokens"

    name: Mapped[str] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(unique=True)
    access: Mapped[str]
    created_s: Mapped[float]
