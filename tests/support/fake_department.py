"""A department of the tests: each stream has the job that the test has put there, and all that it is told is kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
from starlette.routing import BaseRoute

from headwater.access.plan import Plan
from headwater.access.presence import StreamPresence
from headwater.center.department import Wanted


class FakeDepartment:
    """mode: of all jobs. needed: templates that it works on. plans: with which it was asked. heard: (job, event) as told."""

    module = "support.fake_job"
    routes: Sequence[BaseRoute] = ()

    def __init__(self, kind: str = "record", *, jobs_per_process: int = 1, follows_plan: bool = False) -> None:
        self.kind = kind
        self.jobs_per_process = jobs_per_process
        self.follows_plan = follows_plan
        self.mode = "run"
        self.linger_s = 0.0
        self.needed: tuple[str, ...] = ()
        self.renditions = False
        self.plans: list[Plan] = []
        self.heard: list[tuple[str, list[object]]] = []
        self.over: list[tuple[str, str]] = []
        self.closed = False

    async def start(self) -> None:
        pass

    def needs(self, stream: StreamPresence, plan: Plan) -> Collection[str]:
        return self.needed

    def wanted(self, stream: StreamPresence, plan: Plan, granted: Mapping[str, float]) -> list[Wanted]:
        self.plans.append(plan)
        if self.renditions:
            spec = {"publish": sorted(granted)}
            return [Wanted(stream.stream, msgspec.json.encode(spec), self.linger_s)] if granted else []
        if not plan.account and self.mode == "run":
            return []
        return [Wanted(stream.stream, msgspec.json.encode({"mode": self.mode, "publish": []}), self.linger_s)]

    async def told(self, job: str, event: msgspec.Raw) -> None:
        self.heard.append((job, msgspec.json.decode(event)))

    async def ended(self, job: str, error: str) -> None:
        self.over.append((job, error))

    async def close(self) -> None:
        self.closed = True

    def events(self, kind: str) -> list[list[object]]:
        """What jobs have told of one kind."""
        return [event for _, event in self.heard if event[0] == kind]
