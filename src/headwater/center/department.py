"""A department of the center: one kind of work, which says what jobs a live stream needs and takes what they make.

The center (`center.manager`) asks all departments whenever a stream, a plan or the demand for a rendition changes, and sees
to it that exactly the wanted jobs run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from starlette.routing import BaseRoute

from headwater.access.plan import Plan
from headwater.access.presence import StreamPresence
from headwater.center.uploads import Uploads
from headwater.cluster.interface import Cluster
from headwater.settings import Settings
from headwater.store.database import Database
from headwater.store.objects import ObjectStores

StreamId = tuple[str, str, str]
"""Main streaming domain, app, stream."""


class Wanted(msgspec.Struct, frozen=True):
    """A job that must run. id: unique within the department. spec: encoded JSON; a changed one is told to the running job.

    template: of the rendition that it works on, "" for the source stream.
    linger_s: how long the job goes on once the stream's publisher has gone, for it may be back: then the job is told its new
    session as a changed source.
    """

    id: str
    spec: bytes
    linger_s: float = 0.0
    template: str = ""


class Standing(msgspec.Struct, frozen=True):
    """A job that must run whatever streams there are. cores: what it will take, by estimate, until it can be measured."""

    wanted: Wanted
    cores: float


class AskFailed(Exception):
    """A job did not answer; the message says why."""


class Center(Protocol):
    """What a department has of the center. Given to its constructor.

    spool: the folder for files of jobs that run and of what still has to be uploaded.
    objects: where files are kept for good. uploads: the node's one queue of uploads; a department registers its kinds of files
    in its constructor, the center starts the queue after all departments' `start` and closes it after them.
    """

    node: str
    settings: Settings
    database: Database
    cluster: Cluster
    spool: Path
    objects: ObjectStores
    uploads: Uploads

    def stream(self, stream: StreamId) -> StreamPresence | None:
        """A source stream that is live on this node now."""

    def streams(self) -> Collection[StreamPresence]:
        """All of them."""

    def plan(self, domain: str) -> Plan:
        """What a domain's plan says now; an empty one if it has none."""

    def again(self, stream: StreamId) -> None:
        """Ask `wanted` about a stream again: something else that it depends on has changed."""

    def resume(self, stream: StreamId, kind: str, wanted: Wanted, gone_at: float) -> None:
        """Let a job linger, whose stream had gone before this center came; to be called by `start`.

        gone_at: unix seconds since when the stream is gone. If it comes back, all is as ever.
        """

    def stand(self, kind: str, jobs: Collection[Standing]) -> None:
        """Let exactly these jobs of a department run, beside those of streams, as far as there are cores for them."""

    async def ask(self, kind: str, job: str, question: object) -> msgspec.Raw:
        """Ask a running job. Raises AskFailed."""

    def restart(self, kind: str, job: str) -> None:
        """Let a running job finish and begin anew. Raises AskFailed."""


class Department(Protocol):
    """One kind of work; `center.server.DEPARTMENTS` makes them with the `Center`.

    kind: `transcode`, `record`, `snapshot`, `shift`, `delay` or `edge`; the first part of its job ids in `job/` keys.
    module: what a job process runs (`python -m module`). jobs_per_process: how many jobs share one.
    follows_plan: a changed plan holds at once; otherwise it holds from a stream's next publish on.
    routes: what the center's internal server answers for it (API, console and media nodes ask there).
    """

    kind: str
    module: str
    jobs_per_process: int
    follows_plan: bool
    routes: Sequence[BaseRoute]

    async def start(self) -> None:
        """Take up what an earlier run has left behind. Called once, before any job."""

    def needs(self, stream: StreamPresence, plan: Plan) -> Collection[str]:
        """The templates whose renditions of a stream this department works on; they run as if a viewer wanted them."""

    def wanted(self, stream: StreamPresence, plan: Plan, granted: Mapping[str, float]) -> list[Wanted]:
        """The jobs of a live source stream.

        granted: templates of the renditions that may run now, because their viewers, their config or another department want
        them, and quota and cores allow it; with the unix second since when they are wanted.
        """

    async def told(self, job: str, event: msgspec.Raw) -> None:
        """A job says that something has happened; events of a job come in order, the next one after this returns."""

    async def ended(self, job: str, error: str) -> None:
        """A job is over; error "" if it was asked to stop. One that failed is started again, with pauses that grow."""

    async def close(self) -> None:
        """All jobs are over."""
