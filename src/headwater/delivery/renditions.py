"""Names that are made of others: `cam_ld` is the rendition `ld` of the stream `cam`, `cam_multi` a group of renditions.

A viewer of a rendition that is not live waits while the center starts it; where the center refuses, the viewer gets the source
stream under the rendition's name (reference media-plane 1.4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import msgspec
import structlog

from headwater.access import plan as plans
from headwater.access.demand import REFUSED_PREFIX
from headwater.access.plan import ANY, PLAN_PREFIX, Group, Plan, Rendition
from headwater.access.presence import StreamPresence
from headwater.live.hub import Hub
from headwater.live.stream import LiveStream, StreamKey

HLS_WATCHED_S = 20.0
"""Who watches HLS asks for a playlist or a segment at least every 15 s or so."""

WAITING_MAX = 5_000
"""Requests that may wait at once for renditions; the others get the source at once."""

Demanded = tuple[StreamKey, str]
"""A source stream and a template."""

T = TypeVar("T", Rendition, Group)

log = structlog.get_logger()


class Made(msgspec.Struct, frozen=True):
    """What a name stands for: a rendition of a source stream."""

    source: StreamKey
    rendition: Rendition


class GroupOf(msgspec.Struct, frozen=True):
    """What a name stands for: a master playlist of a source stream's renditions. None in place of the source itself."""

    source: StreamKey
    children: tuple[tuple[StreamKey, Rendition | None], ...]


class Names(Protocol):
    """What is live beyond this worker."""

    @property
    def deadline(self) -> float: ...
    def may_wait(self) -> bool: ...
    def elsewhere(self, key: StreamKey) -> bool: ...
    async def appears(self, key: StreamKey, deadline: float) -> bool: ...
    def wake(self, key: StreamKey) -> None: ...
    def announced(self, key: StreamKey) -> StreamPresence | None: ...


class Renditions:
    """Plans and refusals as the cluster's store tells them, and what viewers here want.

    wait_s: how long a viewer waits for a rendition that has to be started. on_demand: told when `wanted` may have grown.
    revision: grows with each change of a plan.
    """

    def __init__(
        self,
        hub: Hub,
        names: Names,
        clock: Callable[[], float],
        *,
        wait_s: float,
        on_demand: Callable[[], None] = lambda: None,
    ) -> None:
        self.revision = 0
        self._hub = hub
        self._names = names
        self._clock = clock
        self._wait_s = wait_s
        self._on_demand = on_demand
        self._encoded: dict[str, bytes] = {}
        self._plans: dict[str, Plan] = {}
        self._refused: set[StreamKey] = set()
        self._waiting: Counter[Demanded] = Counter()

    # what the store tells

    def plan_changed(self, key: str, value: bytes | None) -> None:
        """Take note of a key below PLAN_PREFIX; a plan rests as it travels until somebody asks for one of its streams."""
        self.revision += 1
        domain = key.removeprefix(PLAN_PREFIX)
        self._plans.pop(domain, None)
        if value is None:
            self._encoded.pop(domain, None)
        else:
            self._encoded[domain] = value

    def refused_changed(self, key: str, value: bytes | None) -> None:
        """Take note of a key below REFUSED_PREFIX."""
        domain, app, stream = key.removeprefix(REFUSED_PREFIX).split("/")
        name = StreamKey(domain, app, stream)
        (self._refused.discard if value is None else self._refused.add)(name)
        self._names.wake(name)

    def plan(self, domain: str) -> Plan | None:
        """A main streaming domain's plan."""
        plan = self._plans.get(domain)
        if plan is None and (encoded := self._encoded.get(domain)) is not None:
            plan = self._plans[domain] = plans.decode(encoded)
        return plan

    # what names mean

    def made(self, key: StreamKey) -> Made | None:
        """The rendition that a name stands for, None if it is no rendition's.

        Where a name can be read in several ways, that counts whose source is live, or else the one with the shortest template.
        """
        first = None
        for source, suffix in self._readings(key):
            found = self._rendition(key, suffix)
            if found is not None:
                if self.live(source):
                    return Made(source, found)
                first = first or Made(source, found)
        return first

    def group(self, key: StreamKey) -> GroupOf | None:
        """The group that a name stands for, None if it is no group's."""
        for source, suffix in self._readings(key):
            found = _of_app((group for group in self._plan_of(key).groups if group.name == suffix), key.app)
            if found is not None:
                children: list[tuple[StreamKey, Rendition | None]] = []
                for child in found.children:
                    rendition = self._rendition(key, child)
                    if not child:
                        children.append((source, None))
                    elif rendition is not None:
                        children.append((StreamKey(key.domain, key.app, f"{source.stream}_{child}"), rendition))
                return GroupOf(source, tuple(children))
        return None

    def source(self, key: StreamKey) -> StreamKey | None:
        """The stream of which a name shows a rendition or a group; None if it shows itself."""
        found = self.made(key) or self.group(key)
        return None if found is None else found.source

    def live(self, key: StreamKey) -> bool:
        """Whether a stream is here or at another worker, or waits here for its publisher."""
        return key in self._hub.streams or self._names.elsewhere(key)

    def announced(self, key: StreamKey) -> StreamPresence | None:
        """A stream as its worker announces it; None if it is not live."""
        return self._names.announced(key)

    # for viewers

    def at_once(self, key: StreamKey) -> StreamKey | None:
        """The stream to look for when a viewer asks for this one; None if that is not known yet: see `later`."""
        if key.domain not in self._encoded or self.live(key):
            return key
        made = self.made(key)
        if made is None:
            return key
        return made.source if key in self._refused and self.live(made.source) else None

    async def later(self, key: StreamKey) -> StreamKey:
        """As `at_once`, after waiting for the source for a moment, and for the rendition for `wait_s`."""
        made = self.made(key)
        if made is None:
            return key
        source = made.source
        deadline = self._names.deadline
        while not self.live(source):
            if not self._names.may_wait() or not await self._names.appears(source, deadline):
                return key
        if self._waiting.total() >= WAITING_MAX:
            return source
        demanded = source, made.rendition.template
        self._waiting[demanded] += 1
        self._on_demand()
        try:
            return await self._settled(key, source)
        finally:
            self._waiting[demanded] -= 1
            if not self._waiting[demanded]:
                del self._waiting[demanded]
            self._on_demand()

    async def _settled(self, key: StreamKey, source: StreamKey) -> StreamKey:
        deadline = self._clock() + self._wait_s
        while not self.live(key):
            if key in self._refused:
                return source
            if not await self._names.appears(key, deadline):
                log.warning("rendition did not begin in time, its viewer gets the source", stream=str(key), wait_s=self._wait_s)
                return source
        return key

    # for the center

    def wanted(self) -> set[Demanded]:
        """The renditions that viewers of this worker watch, or wait for."""
        wanted = set(self._waiting)
        for key, stream in self._hub.streams.items():
            if key.domain in self._encoded and self._watched(stream) and (made := self.made(key)) is not None:
                wanted.add((made.source, made.rendition.template))
        return wanted

    def _watched(self, stream: LiveStream) -> bool:
        if stream.outputs:
            return True
        return stream.hls is not None and self._clock() - stream.hls.asked_at < HLS_WATCHED_S

    def _plan_of(self, key: StreamKey) -> Plan:
        return self.plan(key.domain) or Plan(key.domain, "", "")

    def _rendition(self, key: StreamKey, template: str) -> Rendition | None:
        return _of_app((item for item in self._plan_of(key).renditions if item.template == template), key.app)

    def _readings(self, key: StreamKey) -> Iterator[tuple[StreamKey, str]]:
        """The ways to read a name as a source's and a suffix; only some templates' names have `_` themselves."""
        if key.domain not in self._encoded:
            return
        at = key.stream.rfind("_")
        while at > 0:
            yield StreamKey(key.domain, key.app, key.stream[:at]), key.stream[at + 1 :]
            at = key.stream.rfind("_", 0, at)


def _of_app(items: Iterable[T], app: str) -> T | None:
    """The one for this very app, or else the one for any (reference media-plane 1.2)."""
    found = {item.app: item for item in items}
    return found.get(app) or found.get(ANY)
