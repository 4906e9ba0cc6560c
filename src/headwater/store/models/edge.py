"""The table of edge transcoding: jobs that read a stream from anywhere and publish it, transcoded, anywhere."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from headwater.store.crypto import Encrypted
from headwater.store.models.core import Base


class EdgeJob(Base):
    """A job of edge transcoding (CreateEdgeTranscodeJob). cluster: the node whose live center does it.

    input, output: URLs, whose queries and stream names are secrets. template: its id. rendition: JSON of
    `access.plan.Rendition`, as the template was when the job was started last, "" before. running: whether it is wanted, not
    whether it works.
    """

    __tablename__ = "edge_jobs"
    __table_args__ = (Index("ix_edge_jobs_account", "account", "cluster"), Index("ix_edge_jobs_cluster", "cluster", "running"))

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    cluster: Mapped[str]
    name: Mapped[str]
    template: Mapped[str]
    template_name: Mapped[str]
    input: Mapped[str] = mapped_column(Encrypted("edge_jobs.input"))
    output: Mapped[str] = mapped_column(Encrypted("edge_jobs.output"))
    rendition: Mapped[str]
    running: Mapped[bool]
    created_s: Mapped[float]
    changed_s: Mapped[float]
    started_s: Mapped[float | None]
    stopped_s: Mapped[float | None]
