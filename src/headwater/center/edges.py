"""The department of edge transcoding: lets the jobs run that are started in the database, for this node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headwater.access.cost import cost_cores
from headwater.access.plan import Plan, Rendition
from headwater.access.presence import StreamPresence
from headwater.center.department import AskFailed, Center, Standing, Wanted
from headwater.center.edge.spec import EdgeSpec
from headwater.store.models import EdgeJob

LOOK_S: Final = 5.0
"""How often the database is read without being told to: whoever has changed it may not have reached us."""

log = structlog.get_logger()


class Edges:
    """The department. Its jobs belong to no live stream of ours."""

    kind = "edge"
    module = "headwater.center.edge"
    jobs_per_process = 1  # a codec that crashes takes nothing with it but its own job
    follows_plan = True

    def __init__(self, center: Center) -> None:
        self._center = center
        self._specs: dict[str, bytes] = {}
        self._looking: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self.routes: Sequence[BaseRoute] = [Route("/edge/look", self._told_to_look, methods=["POST"])]

    async def start(self) -> None:
        """Begin to look."""
        self._looking = asyncio.get_running_loop().create_task(self._keep_looking())

    def needs(self, stream: StreamPresence, plan: Plan) -> Collection[str]:
        """None: no stream of ours has to do with it."""
        return ()

    def wanted(self, stream: StreamPresence, plan: Plan, granted: Mapping[str, float]) -> list[Wanted]:
        """None: no stream of ours has to do with it."""
        return []

    async def told(self, job: str, event: msgspec.Raw) -> None:
        """These jobs tell nothing."""

    async def ended(self, job: str, error: str) -> None:
        """Nothing is left open."""

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self._look()
            except SQLAlchemyError as error:
                log.warning("jobs of edge transcoding cannot be read", error=str(error))
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        async with self._lock:  # what was read later must not be overwritten by what was read before
            started = select(EdgeJob).where(EdgeJob.cluster == self._center.node, EdgeJob.running)
            async with self._center.database.read() as session:
                rows = (await session.scalars(started.order_by(EdgeJob.started_s, EdgeJob.id))).all()
            jobs = [_standing(row) for row in rows]
            self._center.stand(self.kind, jobs)
            before, self._specs = self._specs, {job.wanted.id: job.wanted.spec for job in jobs}
            for id_, spec in self._specs.items():
                if before.get(id_, spec) != spec:
                    # stopped, changed and started again before we have looked
                    with contextlib.suppress(AskFailed):
                        self._center.restart(self.kind, id_)

    async def _told_to_look(self, _: Request) -> Response:
        await self._look()
        return Response(status_code=204)


def _standing(row: EdgeJob) -> Standing:
    rendition = msgspec.json.decode(row.rendition, type=Rendition)
    spec = EdgeSpec(rendition, row.input, row.output)
    return Standing(Wanted(row.id, msgspec.json.encode(spec)), cost_cores(rendition, 0, 0, 0))
