"""A play: who may watch, the viewers who do, and the end of those who no longer may; whatever the protocol."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Protocol, cast

import msgspec
import structlog

from headwater.access.client import Client
from headwater.access.policy import Answers, RemoteAuth
from headwater.access.refusal import record
from headwater.access.remote import Asker, unanswered
from headwater.access.verdict import Grant, Refusal, Rules, refuse
from headwater.delivery.renditions import Renditions
from headwater.live.hub import Hub
from headwater.live.stream import LiveStream, StreamKey
from headwater.live.viewer import Owner, Sink, Viewer
from headwater.observe.counters import Counters

log = structlog.get_logger()


class PlayRequest(msgspec.Struct, frozen=True):
    """What a player asks for. uri: the signed path with its extension. token: the value of auth_key, None if there is none.

    args: the query. headers: those of an HTTP request, if remote authentication asks about it.
    answered: the remote authentication that has agreed.
    """

    domain: str
    app: str
    stream: str
    uri: str
    token: str | None
    client: Client
    args: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    answered: RemoteAuth | None = None


Found = tuple[Grant, LiveStream] | Refusal


class Sources(Protocol):
    """Where streams come from that are not here (yet): other workers, or publishers that are about to come."""

    def find(self, key: StreamKey) -> LiveStream | Awaitable[LiveStream | None] | None:
        """The stream, if it is here; otherwise what to wait for, or None if waiting is in vain."""

    async def appears(self, key: StreamKey, deadline: float) -> bool:
        """Wait until something has changed about a stream; False if nothing has until that loop time."""

    @property
    def deadline(self) -> float:
        """The loop time until which a request that comes now may wait for its publisher."""

    def may_wait(self) -> bool:
        """Whether one more request may wait for a publisher."""

    def elsewhere(self, key: StreamKey) -> bool:
        """Whether another worker has the stream now."""

    def known_elsewhere(self, key: StreamKey) -> bool:
        """Whether another worker has the stream, or had it a moment ago."""


class Delivery:
    """The delivery side of a media node. full: what is short for one more viewer, None if there is room.

    renditions: what names mean that are made of others.
    """

    def __init__(
        self,
        hub: Hub,
        rules: Rules,
        counters: Counters,
        sources: Sources,
        full: Callable[[], str | None],
        asker: Asker,
        renditions: Renditions,
    ) -> None:
        self.renditions = renditions
        self.hub = hub
        self.sources = sources
        self._rules = rules
        self._counters = counters
        self.full = full
        self._asker = asker

    @property
    def revision(self) -> tuple[int, int]:
        """Of everything told by which a play may be judged otherwise, or its name mean something else (Rules, Renditions)."""
        return self._rules.revision, self.renditions.revision

    def remote(self, domain: str, client: Client) -> RemoteAuth | None:
        """The remote authentication of a domain."""
        policy = self._rules.policy(domain, staging=client.staging)
        return policy.access.remote if policy is not None else None

    def question(
        self, session_id: str, request: PlayRequest, *, ignore_expiry: bool = False
    ) -> Awaitable[PlayRequest | Refusal] | None:
        """To be waited for before `admit`, with the request that it gives; None if there is nothing to wait for."""
        rule = unanswered(self.remote(request.domain, request.client), request)
        if rule is None or isinstance(self.judge(request, ignore_expiry=ignore_expiry), Refusal):
            return None
        if not ignore_expiry and self.full() is not None:
            return None  # it will be refused, so the customer's server need not be asked
        return self._ask(session_id, request, rule)

    def admit(self, session_id: str, request: PlayRequest, *, ignore_expiry: bool = False) -> tuple[Grant, StreamKey] | Refusal:
        """May this client play, and is there room? A refusal leaves nothing behind but its count and its line in the log.

        ignore_expiry: for a viewer who was admitted before and asks for more (an HLS playlist again).
        """
        verdict = self.judge(request, ignore_expiry=ignore_expiry)
        if isinstance(verdict, Grant):
            short = None if ignore_expiry else self.full()
            if short is not None:
                self._counters.overload["play", short] += 1
                verdict = refuse("overload")
            elif unanswered(verdict.policy.access.remote, request):
                verdict = refuse("remote_denied", "denied by remote auth: it has just been changed")
            else:
                return verdict, StreamKey(verdict.domain, request.app, request.stream)
        return self.refuse(session_id, request, verdict)

    def admit_part(self, session_id: str, request: PlayRequest) -> Grant | Refusal:
        """May this client have a part of a play, such as an HLS segment? Its address is the proof of a signature (Rules)."""
        verdict = self._rules.admit_part(request.domain, request.app, request.stream, request.client, time.time())
        verdict = self._placed(request, verdict)
        return verdict if isinstance(verdict, Grant) else self.refuse(session_id, request, verdict)

    def alike(self, grant: Grant) -> bool:
        """Whether everybody who sends the same bytes is judged alike, as long as `revision` is the same."""
        return not (grant.policy.access.by_connection or self._rules.any_blocks)

    def refuse(self, session_id: str, request: PlayRequest, refusal: Refusal) -> Refusal:
        """Count and log a refusal, and return it."""
        return record(self._counters, "play", session_id, request, refusal)

    def stream_key(self, domain: str, app: str, stream: str) -> StreamKey | None:
        """The stream that is meant, without asking whether it may be played: None unless the domain delivers now."""
        policy = self._rules.policy(domain)
        if policy is None or policy.type != "liveVideo" or policy.status != "online" or policy.streaming_domain is None:
            return None
        return StreamKey(policy.streaming_domain, app, stream)

    def answers(self, domain: str, client: Client) -> Answers:
        """How a domain answers this client over HTTP; the default for an unknown one."""
        policy = self._rules.policy(domain, staging=client.staging)
        return policy.answers if policy is not None else Answers()

    def find(self, session_id: str, request: PlayRequest) -> Found | Awaitable[Found]:
        """The live stream that this client may play, or why not; later, if the stream is not here (yet)."""
        admitted = self.admit(session_id, request)
        if isinstance(admitted, Refusal):
            return admitted
        grant, key = admitted
        served = self.renditions.at_once(key)
        if served is None:
            return self._find_later(session_id, request, self._rendition(key))
        stream = self.sources.find(served)
        if isinstance(stream, LiveStream):
            return grant, stream
        if stream is None:
            return self.refuse(session_id, request, refuse("not_found"))
        return self._find_later(session_id, request, stream)

    async def _rendition(self, key: StreamKey) -> LiveStream | None:
        """The stream to be served for a rendition that is not live (yet)."""
        found = self.sources.find(await self.renditions.later(key))
        return found if found is None or isinstance(found, LiveStream) else await found

    async def _find_later(self, session_id: str, request: PlayRequest, coming: Awaitable[LiveStream | None]) -> Found:
        stream = await coming
        if stream is None:
            return self.refuse(session_id, request, refuse("not_found"))
        admitted = self.admit(session_id, request, ignore_expiry=True)  # the rules may have changed meanwhile
        return admitted if isinstance(admitted, Refusal) else (admitted[0], stream)

    def join(self, session_id: str, request: PlayRequest, grant: Grant, stream: LiveStream, sink: Sink, owner: Owner) -> Viewer:
        """Give the stream to an admitted client; from here on the fan-out writes to its transport."""
        client = request.client
        viewer = Viewer(session_id, sink, owner, request, (grant.policy.domain, client.secure))
        latency = grant.stream_policy.latency
        behind_s = latency.rtmp_delay_s if client.protocol == "rtmp" else latency.flv_delay_s
        log.info("play started", session=session_id, stream=str(stream.key), protocol=client.protocol, client=client.origin)
        stream.join(viewer, client.protocol, behind_s)
        return viewer

    def leave(self, viewer: Viewer, reason: str) -> None:
        """A viewer's connection is over."""
        output = viewer.output
        if output is None:
            return
        stream = output.stream
        stream.leave(viewer)
        log.info(
            "play ended",
            session=viewer.id,
            stream=str(stream.key),
            protocol=cast(PlayRequest, viewer.request).client.protocol,
            reason=reason,
            seconds=round(time.time() - viewer.since_s, 1),
            bytes=viewer.bytes_out,
            jumps=viewer.jumps,
            skipped_ms=viewer.skipped_ms,
            skipped_bytes=viewer.skipped_bytes,
        )

    def enforce(self, domains: Set[str] | None) -> None:
        """Ask again about every viewer whom the policies and bans of these domains concern, after they have changed.

        None: about everybody. HLS viewers are asked at each playlist.
        """
        for stream in tuple(self.hub.streams.values()):
            key = stream.key
            for viewer in stream.viewers():
                request = cast(PlayRequest, viewer.request)
                if domains is not None and key.domain not in domains and request.domain not in domains:
                    continue
                verdict = self.judge(request, ignore_expiry=True)
                if isinstance(verdict, Refusal):
                    self._counters.refused["play", verdict.reason] += 1
                    viewer.owner.end_viewer(verdict.text)
                elif verdict.domain != key.domain:
                    viewer.owner.end_viewer("the domain belongs to another stream now")
                elif (rule := unanswered(verdict.policy.access.remote, request)) is not None:
                    self._ask_again(viewer, rule)

    async def _ask(self, session_id: str, request: PlayRequest, rule: RemoteAuth) -> PlayRequest | Refusal:
        refusal = await self._asker.ask(rule, "play", request)
        return self.refuse(session_id, request, refusal) if refusal else msgspec.structs.replace(request, answered=rule)

    def _ask_again(self, viewer: Viewer, rule: RemoteAuth) -> None:
        request = msgspec.structs.replace(cast(PlayRequest, viewer.request), answered=rule)
        viewer.request = request

        def refused(refusal: Refusal) -> None:
            if viewer.output is not None:
                self._counters.refused["play", refusal.reason] += 1
                viewer.owner.end_viewer(refusal.text)

        self._asker.ask_later(rule, "play", request, refused)

    def judge(self, request: PlayRequest, *, ignore_expiry: bool) -> Grant | Refusal:
        verdict = self._rules.admit_play(
            request.domain,
            request.app,
            request.stream,
            request.uri,
            request.token,
            request.client,
            time.time(),
            ignore_expiry=ignore_expiry,
        )
        return self._placed(request, verdict)

    def _placed(self, request: PlayRequest, verdict: Grant | Refusal) -> Grant | Refusal:
        """A stream that is blocked in a region is so under every name: its renditions and groups show the same."""
        if isinstance(verdict, Grant) and self._rules.any_blocks:
            source = self.renditions.source(StreamKey(verdict.domain, verdict.app, verdict.stream))
            if source is not None:
                return self._rules.blocked(*source, request.client, time.time()) or verdict
        return verdict
