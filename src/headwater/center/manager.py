"""Decides which jobs must run: from live streams, plans, viewers' demand, the domains' quotas and the machine's cores.

It knows no clock, no processes and no store: all that is told to it. Its decisions are data, which `center.hosts` carries out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import msgspec
import structlog

from headwater.access.cost import cost_cores
from headwater.access.demand import Refused
from headwater.access.plan import ANY, Plan, Rendition
from headwater.access.presence import StreamPresence
from headwater.center.department import Department, Standing, StreamId, Wanted
from headwater.center.jobs import NO_SOURCE, Source

REFUSED_S = 30.0
"""How long a refusal stands after it was last asked for: viewers who come meanwhile get the source stream without waiting."""

SETTLED_S = 10.0
"""A rendition that has run for so long costs what is measured; one that starts is still counted by its estimate."""

log = structlog.get_logger()

JobId = tuple[str, str]
"""Kind and id of a job."""

RenditionId = tuple[StreamId, str]
"""A source stream and a template."""


class Desired(msgspec.Struct, frozen=True):
    """A job that must run, of a stream, or of none (`NO_SOURCE`). waits: why it must not start yet, "" if it may."""

    kind: str
    wanted: Wanted
    source: Source
    waits: str = ""


class Decision(msgspec.Struct, frozen=True):
    """What must be: jobs by kind and id, and the renditions that are refused."""

    jobs: dict[JobId, Desired]
    refused: dict[RenditionId, Refused]


class Load(msgspec.Struct, frozen=True):
    """How busy the machine is. transcode_cores: what the jobs of each stream's renditions use, by stream, as measured.

    standing_cores: what the jobs use that belong to no stream. free_cores: what is left of the machine beside all of them;
    infinite if only `transcode_cores_max` counts.
    """

    transcode_cores: Mapping[StreamId, float] = {}
    free_cores: float = float("inf")
    standing_cores: Mapping[JobId, float] = {}


class KeptPlan(msgspec.Struct, frozen=True):
    """The plan with which a publisher's session began."""

    session: str
    plan: Plan


class _Stream(msgspec.Struct):
    """A source stream: as announced, the plan when it was published, the jobs that it had last, and when it went.

    renditions: those of its app. always: templates of those that run without viewers.
    """

    presence: StreamPresence
    plan: Plan
    jobs: dict[tuple[str, str], Wanted]
    renditions: dict[str, Rendition] = {}
    always: frozenset[str] = frozenset()
    gone_at: float | None = None


class Manager:
    """All streams of one node and what is to be done about them.

    departments: by kind of work. cores_max: for renditions, 0 for what the machine has free. idle_s: how long a rendition that
    only viewers want goes on without any. Times are unix seconds.
    """

    def __init__(self, departments: Sequence[Department], *, node: str, cores_max: float, idle_s: float) -> None:
        self._departments = departments
        self._node = node
        self._cores_max = cores_max
        self._idle_s = idle_s
        self._streams: dict[StreamId, _Stream] = {}
        self._plans: dict[str, Plan] = {}
        self._sockets: dict[int, str] = {}
        self._wants: dict[RenditionId, dict[str, float]] = {}
        self._unwanted: dict[RenditionId, float] = {}
        self._granted: dict[RenditionId, float] = {}
        self._since: dict[RenditionId, float] = {}
        self._refused: dict[RenditionId, tuple[Refused, float]] = {}
        self._standing: dict[JobId, Standing] = {}
        self._standing_at: dict[JobId, float] = {}
        self._waiting: dict[JobId, str] = {}
        self._stale: set[StreamId] = set()
        self._kept: dict[StreamId, KeptPlan] = {}
        self._kept_news: dict[StreamId, KeptPlan | None] = {}

    # what it is told

    def keep(self, stream: StreamId, kept: KeptPlan) -> None:
        """With which plan a stream was published, as a center before this one has noted it. Tell it before the streams."""
        self._kept[stream] = kept

    def stream_changed(self, stream: StreamId, presence: StreamPresence | None, now: float) -> None:
        """A stream has been announced, has changed, or is gone. Products, and streams of other nodes, are none of ours."""
        known = self._streams.get(stream)
        if presence is None or presence.source or presence.node != self._node:
            if known is not None and known.gone_at is None:
                known.gone_at = now
            return
        if known is None:
            self._streams[stream] = _Stream(presence, self._plan_of(stream, presence), {})
        else:
            if known.presence.session != presence.session:
                known.plan = self._plan_of(stream, presence)
            known.presence, known.gone_at = presence, None
        self._stale.add(stream)

    def _plan_of(self, stream: StreamId, presence: StreamPresence) -> Plan:
        """The plan of a session that is new here: that of now, unless a center before this one has seen it begin."""
        kept = self._kept.get(stream)
        if kept is None or kept.session != presence.session:
            kept = self._kept[stream] = KeptPlan(presence.session, self.plan(presence.domain))
            self._kept_news[stream] = kept
        return kept.plan

    def resume(self, stream: StreamId, kind: str, wanted: Wanted, gone_at: float) -> None:
        """A job of a stream that had gone before this center came has still to linger. Tell it before the streams."""
        domain, app, name = stream
        presence = StreamPresence(domain, app, name, "", "", "", gone_at, "", "", self._node, 0)
        known = self._streams.setdefault(stream, _Stream(presence, Plan(domain, "", ""), {}, gone_at=gone_at))
        known.jobs[kind, wanted.id] = wanted

    def plan_changed(self, domain: str, plan: Plan | None) -> None:
        """A domain's plan is another one now."""
        if plan is None:
            self._plans.pop(domain, None)
        else:
            self._plans[domain] = plan
        self._stale.update(stream for stream in self._streams if stream[0] == domain)

    def worker_changed(self, index: int, socket: str | None) -> None:
        """A media worker of this node listens at this socket, or is gone."""
        if socket is None:
            self._sockets.pop(index, None)
        else:
            self._sockets[index] = socket

    def want_changed(self, stream: StreamId, template: str, worker: str, now: float, *, wanted: bool) -> None:
        """A media worker has viewers of a rendition, or has none any more."""
        rendition = stream, template
        wants = self._wants.setdefault(rendition, {})
        if wanted:
            wants.setdefault(worker, now)
            self._unwanted.pop(rendition, None)
        else:
            wants.pop(worker, None)
        if not wants:
            del self._wants[rendition]
            self._unwanted[rendition] = now

    def standing_changed(self, kind: str, jobs: Collection[Standing]) -> None:
        """These are now the jobs of a department that belong to no stream."""
        self._standing = {key: job for key, job in self._standing.items() if key[0] != kind}
        self._standing.update({(kind, job.wanted.id): job for job in jobs})

    def again(self, stream: StreamId) -> None:
        """The departments must be asked about a stream again."""
        self._stale.add(stream)

    # what it knows

    def plan(self, domain: str) -> Plan:
        """What a domain's plan says now; an empty one if it has none."""
        return self._plans.get(domain) or Plan(domain, "", "")

    def stream(self, stream: StreamId) -> StreamPresence | None:
        """A stream that is live."""
        known = self._streams.get(stream)
        return known.presence if known is not None and known.gone_at is None else None

    def streams(self) -> Collection[StreamPresence]:
        """All streams that are live."""
        return [known.presence for known in self._streams.values() if known.gone_at is None]

    def kept_news(self) -> dict[StreamId, KeptPlan | None]:
        """What is to be noted, since the last call, for a center after this one; None for streams that are gone."""
        news, self._kept_news = self._kept_news, {}
        return news

    # what it decides

    def decide(self, now: float, load: Load) -> Decision:
        """What must be now."""
        for stream in self._stale:
            if (known := self._streams.get(stream)) is not None and known.gone_at is None:
                self._look_at(stream, known)
        self._grant(now, load)
        for stream in self._stale:
            if (known := self._streams.get(stream)) is not None and known.gone_at is None:
                known.jobs = self._jobs(stream, known)
        self._stale.clear()
        jobs = {key: Desired(key[0], job.wanted, NO_SOURCE, self._waiting.get(key, "")) for key, job in self._standing.items()}
        for stream, known in tuple(self._streams.items()):
            if known.gone_at is not None:
                gone_s = now - known.gone_at
                known.jobs = {key: wanted for key, wanted in known.jobs.items() if gone_s < wanted.linger_s}
                if not known.jobs:
                    del self._streams[stream]
                    self._kept.pop(stream, None)
                    self._kept_news[stream] = None
                    continue
            source = self._source(known.presence)
            for key, wanted in known.jobs.items():
                jobs[key] = Desired(key[0], wanted, source)
        return Decision(jobs, {rendition: refused for rendition, (refused, _) in self._refused.items()})

    def _source(self, presence: StreamPresence) -> Source:
        socket = self._sockets.get(presence.worker, "")
        return Source(presence.domain, presence.app, presence.stream, presence.session, socket)

    def _jobs(self, stream: StreamId, known: _Stream) -> dict[tuple[str, str], Wanted]:
        granted = {template: self._since[of, template] for of, template in self._granted if of == stream}
        newest = self.plan(stream[0])
        jobs: dict[tuple[str, str], Wanted] = {}
        for department in self._departments:
            plan = newest if department.follows_plan else known.plan
            try:
                jobs.update(
                    {(department.kind, wanted.id): wanted for wanted in department.wanted(known.presence, plan, granted)}
                )
            except Exception:  # the fault of one department with one stream must not end the work for all others
                log.exception("department failed", kind=department.kind, stream="/".join(stream))
                jobs.update({key: wanted for key, wanted in known.jobs.items() if key[0] == department.kind})
        return jobs

    # renditions

    def _grant(self, now: float, load: Load) -> None:
        """Decide anew which renditions may run: those that run go on; of the others, who has waited longest comes first."""
        demand = self._demand(now)
        self._since = {key: self._since.get(key, min(self._wants.get(key, {}).values(), default=now)) for key in demand}
        for rendition in [rendition for rendition in self._granted if rendition not in demand]:
            del self._granted[rendition]
            self._stale.add(rendition[0])
        running = Counter(rendition[0][0] for rendition in self._granted)
        dearer = self._dearer(now, load)
        used = self._used_cores(now, load)
        free = self._cores_max - used if self._cores_max else load.free_cores - self._starting_cores(now) * dearer
        free = self._grant_standing(now, free, dearer)
        refused: dict[RenditionId, tuple[Refused, float]] = {}
        waiting = sorted(demand - self._granted.keys(), key=lambda key: (self._since[key], key))
        for stream, template in waiting:
            plan = self.plan(stream[0])
            cost = self._cost(stream, template) * dearer
            if 0 < plan.renditions_max <= running[stream[0]]:
                text = f"{stream[0]} has {plan.renditions_max} renditions, and may have no more"
                refused[stream, template] = Refused("quota", text), now
            elif cost > free:
                refused[stream, template] = Refused("cores", _short_of(cost, free)), now
            else:
                self._granted[stream, template] = now
                running[stream[0]] += 1
                free -= cost
                self._stale.add(stream)
        for rendition, (refusal, at) in self._refused.items():
            if rendition not in demand and now - at < REFUSED_S:
                refused[rendition] = refusal, at
        self._refused = refused

    def _grant_standing(self, now: float, free: float, dearer: float) -> float:
        """Decide which jobs without a stream may start; returns the cores that are left.

        Somebody has asked for these by name, so they come before renditions for viewers.
        """
        self._standing_at = {key: at for key, at in self._standing_at.items() if key in self._standing}
        self._waiting = {}
        for key, job in self._standing.items():
            if key in self._standing_at:
                continue
            cost = job.cores * dearer
            if cost > free:
                self._waiting[key] = _short_of(cost, free)
            else:
                self._standing_at[key] = now
                free -= cost
        return free

    def _demand(self, now: float) -> set[RenditionId]:
        """The renditions that somebody wants, of streams that are there."""
        demand: set[RenditionId] = set()
        for key in [key for key, at in self._unwanted.items() if now - at >= self._idle_s]:
            del self._unwanted[key]
        for stream, known in self._streams.items():
            if known.gone_at is not None:
                # until its publisher is back or its jobs have lingered long enough, everything stays as it is
                demand.update(key for key in self._granted if key[0] == stream)
                continue
            for template in known.renditions:
                key = stream, template
                if self.stream((stream[0], stream[1], f"{stream[2]}_{template}")) is not None:
                    continue  # somebody publishes under this very name
                lingers = key in self._granted and key in self._unwanted
                if template in known.always or key in self._wants or lingers:
                    demand.add(key)
        return demand

    def _look_at(self, stream: StreamId, known: _Stream) -> None:
        """Take in which renditions a stream has, and which of them run without viewers."""
        plan = self.plan(stream[0])
        known.renditions = renditions_of(plan, stream[1]) if plan.renditions else {}
        always: set[str] = set()
        if known.renditions:
            always.update(template for template, rendition in known.renditions.items() if not rendition.lazy)
            for department in self._departments:
                always.update(department.needs(known.presence, plan if department.follows_plan else known.plan))
        known.always = frozenset(always)

    def _cost(self, stream: StreamId, template: str) -> float:
        known = self._streams[stream]
        rendition, source = known.renditions.get(template), known.presence
        if rendition is None:
            return 0.0
        return cost_cores(rendition, source.width, source.height, source.frame_rate)

    def _dearer(self, now: float, load: Load) -> float:
        """How many times its estimate a rendition costs on this machine, as those show that have run for a while; 1 at least.

        Without it, a slow machine would take on more than it can do, and all that ran before would fall behind.
        """
        fresh = {stream for (stream, _), at in self._granted.items() if now - at < SETTLED_S}
        settled = {stream for stream, _ in self._granted} & load.transcode_cores.keys() - fresh
        estimated = sum(self._cost(*rendition) for rendition in self._granted if rendition[0] in settled)
        return max(1.0, sum(load.transcode_cores[stream] for stream in settled) / estimated) if estimated else 1.0

    def _used_cores(self, now: float, load: Load) -> float:
        """What the renditions that run use: as measured, or as estimated where they have just begun."""
        used: dict[StreamId, float] = {}
        fresh: set[StreamId] = set()
        for (stream, template), at in self._granted.items():
            used[stream] = used.get(stream, 0.0) + self._cost(stream, template)
            if now - at < SETTLED_S:
                fresh.add(stream)
        for stream, measured in load.transcode_cores.items():
            if stream in used:
                used[stream] = max(used[stream], measured) if stream in fresh else measured
        standing = 0.0
        for key, at in self._standing_at.items():
            if key in self._standing:
                measured_one = load.standing_cores.get(key, 0.0)
                settled = key in load.standing_cores and now - at >= SETTLED_S
                standing += measured_one if settled else max(self._standing[key].cores, measured_one)
        return sum(used.values()) + standing

    def _starting_cores(self, now: float) -> float:
        """What has just begun will use, and the machine's load does not show yet."""
        fresh = sum(self._cost(stream, template) for (stream, template), at in self._granted.items() if now - at < SETTLED_S)
        standing = [key for key, at in self._standing_at.items() if key in self._standing and now - at < SETTLED_S]
        return fresh + sum(self._standing[key].cores for key in standing)


def _short_of(cost: float, free: float) -> str:
    return f"it would take {cost:.2f} cores, and {max(free, 0.0):.2f} are free"


def renditions_of(plan: Plan, app: str) -> dict[str, Rendition]:
    """The renditions of an app by template: one that names the app beats one for any (reference media-plane 1.2)."""
    found = {rendition.template: rendition for rendition in plan.renditions if rendition.app == ANY}
    found.update({rendition.template: rendition for rendition in plan.renditions if rendition.app == app})
    return found
