"""A department of the center: one kind of work, which says what jobs a live stream needs and takes what they make.

The center (`center.manager`) asks all departments whenever a stream, a plan or the demand for a rendition changes, and sees
to it that exactly the wanted jobs run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from starlette.routing import BaseRoute

from headwater.access.plan import Plan
from headwater.access.presence import StreamPresence


class Wanted(msgspec.Struct, frozen=True):
    """A job that must run. id: unique within the department. spec: encoded JSON; a changed one is told to the running job."""

    id: str
    spec: bytes


class Department(Protocol):
    """One kind of work.

    kind: `transcode`, `record`, `snapshot`, `shift` or `delay`; the first part of its job ids in `job/` keys.
    module: what a job process runs (`python -m module`). jobs_per_process: how many jobs share one.
    routes: what the center's internal server answers for it (API, console and media nodes ask there).
    """

    kind: str
    module: str
    jobs_per_process: int
    routes: Sequence[BaseRoute]

    async def start(self) -> None:
        """Take up what an earlier run has left behind. Called once, before any job."""

    def wanted(self, stream: StreamPresence, plan: Plan, demand: Mapping[str, float]) -> list[Wanted]:
        """The jobs of a live source stream. demand: templates that viewers want now, with the unix second since which."""

    async def told(self, job: str, event: msgspec.Raw) -> None:
        """A job says that something has happened; events of a job come in order, the next one after this returns."""

    async def ended(self, job: str, error: str) -> None:
        """A job is over; error "" if it was asked to stop."""

    async def close(self) -> None:
        """All jobs are over."""
