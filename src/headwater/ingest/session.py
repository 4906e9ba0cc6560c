"""A push: one encoder that feeds one live stream, admitted, running, ended with a reason; whatever the protocol."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Protocol

import msgspec
import structlog

from headwater.access.client import Client
from headwater.access.policy import Policy, RemoteAuth
from headwater.access.presence import PublishFault
from headwater.access.refusal import record
from headwater.access.remote import Asker, unanswered
from headwater.access.verdict import Grant, Refusal, Rules, refuse
from headwater.live.hub import Busy, Hub, Undecided
from headwater.live.standby import Standby
from headwater.live.stream import LiveStream, StreamKey
from headwater.observe.counters import Counters

log = structlog.get_logger()


class PushRequest(msgspec.Struct, frozen=True):
    """What an encoder asks for. domain: lower-case, without port. token: the value of auth_key, None if there is none.

    url: as the encoder gave it; usable in lists, so it includes the query. server: our own IP address. args: the query.
    answered: the remote authentication that has agreed.
    source, template: for a job of the center that makes this stream of another one of the app: that one's name, and what makes
    it. `domain` is the streaming domain then.
    """

    domain: str
    app: str
    stream: str
    token: str | None
    url: str
    client: Client
    server: str
    args: Mapping[str, str] = {}
    answered: RemoteAuth | None = None
    source: str = ""
    template: str = ""

    @property
    def headers(self) -> Mapping[str, str]:
        """What an RTMP client says beside the query, under HTTP's names."""
        return {"referer": self.client.referer, "user-agent": self.client.user_agent}

    @property
    def uri(self) -> str:
        """The signed path (reference media-plane 1.5)."""
        return f"/{self.app}/{self.stream}"


FIT_S = 1.0
"""A publisher that stands by and has sent nothing for so long does not take over by itself: it is no better off."""


READ_TIMEOUT, INGEST_EXCEPTION = 3, 501
"""Why a push was cut, as the service counts it (reference media-plane 9)."""

SILENT_S = 3.0
"""A push that is cut after it has sent nothing for so long is cut for that."""


GIVE_WAY_S = 2.0
"""A publisher that another one has replaced does not take its place back for so long: the other one may be connected to another
worker, and the name has to be free for a moment before it can be claimed there."""


class PublishSession:
    """A running push. Its connection calls `stream.write` for each message, `end`, and keeps `last_data_at` and `bytes_in`.

    on_cut: called once when the session is ended by us; the connection says so to the encoder and closes.
    stream: what it feeds: the live stream, or a `Standby` while another publisher is the master.
    upstream: its number among the publishers of its stream, 0 while it has none. reason: why it is the master.
    promoted: it is to become the master even if the present one is well.
    """

    remote = False

    __slots__ = (
        "_ingest",
        "_on_cut",
        "_settled",
        "bytes_in",
        "ended",
        "gave_way_at",
        "id",
        "last_data_at",
        "promoted",
        "published_at",
        "reason",
        "request",
        "stream",
        "upstream",
    )

    def __init__(
        self, ingest: Ingest, session_id: str, request: PushRequest, on_cut: Callable[[str], None], now: float
    ) -> None:
        self._ingest = ingest
        self._on_cut = on_cut
        self.id = session_id
        self.request = request
        self.bytes_in = 0
        self._settled = 0
        self.published_at = time.time()
        self.last_data_at = now
        self.ended = False
        self.gave_way_at = float("-inf")
        self.upstream = 0
        self.reason = "published"
        self.promoted = False
        self.stream: LiveStream | Standby

    @property
    def product(self) -> bool:
        """Whether this is a job of the center."""
        return bool(self.request.source)

    @property
    def made_of(self) -> StreamKey | None:
        """The stream of which a job makes this one."""
        request = self.request
        return StreamKey(request.domain, request.app, request.source) if request.source else None

    def replaced(self, reason: str) -> None:
        """Another publisher is the master now: stand by if the domain lets several push one stream, else end."""
        if self.ended:
            return
        if self.stream.options.multi_stream and not self.product:
            self.stream = Standby(self.stream.key, self.stream.options)
            self.gave_way_at = self._ingest.now
            self._ingest.standing_by.add(self)
            log.info("publisher stands by", session=self.id, stream=str(self.stream.key), reason=reason)
        else:
            self.cut(reason)

    def cut(self, reason: str) -> None:
        """End the session from our side."""
        if not self.ended:
            self.end(reason)
            self._on_cut(reason)
            self._ingest.cut(self, reason)

    def end(self, reason: str) -> None:
        """The session is over; the stream waits for the publisher's return."""
        if self.ended:
            return
        self.ended = True
        log.info(
            "publish ended",
            session=self.id,
            stream=str(self.stream.key),
            reason=reason,
            seconds=round(time.time() - self.published_at, 1),
            bytes=self.bytes_in,
            corrections=self.stream.timeline.corrections,
        )
        self._ingest.ended(self)

    def settle(self) -> int:
        """What came in since this was asked the last time."""
        size = self.bytes_in - self._settled
        self._settled = self.bytes_in
        return size


class Names(Protocol):
    """Who has which stream names, beyond this worker."""

    def claim(self, key: StreamKey, session: str, asked_at: float, *, takeover: bool, product: bool = False) -> int:
        """Make sure that no other worker has the publisher of this name. Returns the number with which HLS must go on, or 0.

        Raises Busy, or Undecided while that is asked.
        """

    def unclaim(self, session: str) -> None:
        """A session that asked has gone, or does not wait for the answer."""

    def elsewhere(self, key: StreamKey) -> bool:
        """Whether another worker has the stream now."""

    def known_elsewhere(self, key: StreamKey) -> bool:
        """Whether another worker has the stream, or had it a moment ago."""


class Ingest:
    """The ingest side of a media node: who may push, and the pushes that run.

    full: what is short for one more publisher, None if there is room. received: bytes from publishers by ingest domain, which
    whoever keeps the books takes away from here. standing_by: sessions that are not their stream's master.
    on_change: told when a session has begun or ended, or its domain's rules have changed. on_fault: told of what was cut.
    """

    def __init__(
        self,
        hub: Hub,
        rules: Rules,
        counters: Counters,
        names: Names,
        loop: asyncio.AbstractEventLoop,
        full: Callable[[], str | None],
        asker: Asker,
        on_change: Callable[[PublishSession], None] = lambda session: None,
        on_fault: Callable[[PublishFault], None] = lambda fault: None,
    ) -> None:
        self.sessions: set[PublishSession] = set()
        self.standing_by: set[PublishSession] = set()
        self.received: Counter[str] = Counter()
        self._hub = hub
        self._names = names
        self._rules = rules
        self._counters = counters
        self._loop = loop
        self._full = full
        self._asker = asker
        self._on_change = on_change
        self._on_fault = on_fault

    def question(self, session_id: str, request: PushRequest) -> Awaitable[PushRequest | Refusal] | None:
        """To be waited for before `publish`, with the request that it gives; None if there is nothing to wait for."""
        verdict = self._judge(request)
        if isinstance(verdict, Refusal) or self._short(verdict, request) is not None:
            return None  # it will be refused, so the customer's server need not be asked
        rule = _to_ask(verdict, request)
        return None if rule is None else self._ask(session_id, request, rule)

    def publish(
        self, session_id: str, request: PushRequest, on_cut: Callable[[str], None], asked_at: float
    ) -> PublishSession | Refusal:
        """Start a push, or say why not; a refusal leaves nothing behind but its count and its line in the log.

        asked_at: loop time at which the encoder asked. Raises Undecided: call again in a moment, with the same `asked_at`.
        """
        verdict = self._admit(request)
        if isinstance(verdict, Grant) and _to_ask(verdict, request):
            verdict = refuse("remote_denied", "denied by remote auth: it has just been changed")
        if isinstance(verdict, Grant):
            session = PublishSession(self, session_id, request, on_cut, self._loop.time())
            key = StreamKey(verdict.domain, request.app, request.stream)
            policy = verdict.stream_policy
            several = policy.session.multi_stream and not session.product
            try:
                try:
                    self._begin(
                        session, key, policy, asked_at, takeover=policy.session.on_conflict == "takeover" and not several
                    )
                except (Busy, Undecided):
                    if not several:
                        raise
                    self._names.unclaim(session_id)
                    session.stream = Standby(key, policy.session)
                    self.standing_by.add(session)
            except Busy as busy:
                verdict = refuse("busy", str(busy))
            else:
                self.sessions.add(session)
                self._on_change(session)
                self._counters.publishes += 1
                log.info(
                    "publish started",
                    session=session_id,
                    stream=str(key),
                    domain=request.domain,
                    protocol=request.client.spoken,
                    client=request.client.origin,
                    master=isinstance(session.stream, LiveStream),
                )
                return session
        return record(self._counters, "publish", session_id, request, verdict)

    def _begin(self, session: PublishSession, key: StreamKey, policy: Policy, asked_at: float, *, takeover: bool) -> None:
        """Make a session the publisher of its stream. Raises Busy and Undecided."""
        hls_number = self._names.claim(key, session.id, asked_at, takeover=takeover, product=session.product)
        latency = policy.latency
        stream = self._hub.publish(
            key, session, policy.session, latency.hls_delay_s, asked_at, behind_s=latency.behind_s, takeover=takeover
        )
        stream.continue_hls(hls_number)
        session.stream = stream

    @property
    def now(self) -> float:
        """The event loop's time."""
        return self._loop.time()

    def relieve(self, key: StreamKey | None = None) -> None:
        """Let publishers that stand by take over where the master has ended or is silent. None: look at all streams."""
        for session in tuple(self.standing_by):
            if key in (None, session.stream.key):
                self._try_to_lead(session)

    def promote(self, key: StreamKey, upstream: int) -> None:
        """The customer wants this publisher as the master."""
        for session in self.standing_by:
            if session.stream.key == key:
                session.promoted = session.upstream == upstream
        self.relieve(key)

    def sweep(self, silence_s: float) -> None:
        """End who stands by and sends nothing, and look where one must take over. To be called about once a second."""
        now = self._loop.time()
        for session in tuple(self.standing_by):
            if now - session.last_data_at >= silence_s:
                session.cut(f"no data for {silence_s:g} s")
        self.relieve()

    def _try_to_lead(self, session: PublishSession) -> None:
        standby = session.stream
        verdict = self._judge(session.request, ignore_expiry=True)
        if isinstance(verdict, Refusal) or not isinstance(standby, Standby):
            return  # `enforce` ends it
        key, policy = standby.key, verdict.stream_policy
        stream = self._hub.streams.get(key)
        held = stream is not None and stream.publisher is not None and not stream.replica
        if not session.promoted:
            manual = f"{key.app}/{key.stream}" in policy.session.manual
            if manual and (held or self._names.elsewhere(key)):
                return  # only the customer may choose another master while there is one
            if self.now - session.last_data_at >= FIT_S or self.now - session.gave_way_at < GIVE_WAY_S:
                return
        try:
            self._begin(session, key, policy, self._loop.time(), takeover=session.promoted)
        except (Busy, Undecided):
            return
        session.reason = "set" if session.promoted else "silent" if held else "ended"
        session.promoted = False
        self.standing_by.discard(session)
        assert isinstance(session.stream, LiveStream)
        log.info("publisher takes over", session=session.id, stream=str(key), reason=session.reason)
        standby.replay(session.stream)

    def cut(self, session: PublishSession, reason: str) -> None:
        """A session was ended from our side (called by the session)."""
        if session.product:
            return
        silent = self._loop.time() - session.last_data_at >= SILENT_S
        request = session.request
        self._on_fault(
            PublishFault(
                publish_domain=request.domain,
                app=request.app,
                stream=request.stream,
                session=session.id,
                client_ip=request.client.origin,
                code=READ_TIMEOUT if silent else INGEST_EXCEPTION,
                reason=reason,
                at_s=time.time(),
            )
        )

    def ended(self, session: PublishSession) -> None:
        """A session has ended (called by the session)."""
        self._settle(session)
        self.sessions.discard(session)
        self.standing_by.discard(session)
        self._on_change(session)
        if isinstance(session.stream, LiveStream):
            self._hub.unpublish(session.stream, session)
        else:
            self._names.unclaim(session.id)

    def settle(self) -> None:
        """Bring `received` up to now."""
        for session in self.sessions:
            self._settle(session)

    def _settle(self, session: PublishSession) -> None:
        size = session.settle()
        if not session.product:  # what the center makes is nobody's upstream traffic
            self.received[session.request.domain] += size

    def enforce(self, domains: Set[str] | None) -> None:
        """Ask again about every running push that the policies and bans of these domains concern, after they have changed.

        None: about all of them.
        """
        for session in tuple(self.sessions):
            if domains is not None and session.stream.key.domain not in domains and session.request.domain not in domains:
                continue
            verdict = self._judge(session.request, ignore_expiry=True)
            if isinstance(verdict, Refusal):
                self._counters.refused["publish", verdict.reason] += 1
                session.cut(verdict.text)
            elif isinstance(session.stream, Standby) and not verdict.stream_policy.session.multi_stream:
                session.cut("the domain takes only one publisher for each stream now")
            elif verdict.domain != session.stream.key.domain:
                session.cut("the ingest domain is bound to another streaming domain now")
            else:
                self._on_change(session)
                rule = _to_ask(verdict, session.request)
                if rule is not None:
                    self._ask_again(session, rule)

    def kick(self, key: StreamKey) -> None:
        """End the push of one stream, once."""
        for session in tuple(self.sessions):
            if session.stream.key == key:
                session.cut("ended by the operator")

    async def _ask(self, session_id: str, request: PushRequest, rule: RemoteAuth) -> PushRequest | Refusal:
        refusal = await self._asker.ask(rule, "publish", request)
        if refusal is None:
            return msgspec.structs.replace(request, answered=rule)
        return record(self._counters, "publish", session_id, request, refusal)

    def _ask_again(self, session: PublishSession, rule: RemoteAuth) -> None:
        session.request = msgspec.structs.replace(session.request, answered=rule)

        def refused(refusal: Refusal) -> None:
            self._counters.refused["publish", refusal.reason] += 1
            session.cut(refusal.text)

        self._asker.ask_later(rule, "publish", session.request, refused)

    def _admit(self, request: PushRequest) -> Grant | Refusal:
        verdict = self._judge(request)
        short = self._short(verdict, request) if isinstance(verdict, Grant) else None
        if short is None:
            return verdict
        self._counters.overload["publish", short] += 1
        return refuse("overload")

    def _short(self, grant: Grant, request: PushRequest) -> str | None:
        """What is short for this publisher. One who returns to its stream is no newcomer: its viewers wait for it.

        Nor is a product, whose source is here already.
        """
        key = StreamKey(grant.domain, request.app, request.stream)
        returning = key in self._hub.streams or self._names.known_elsewhere(key)
        return None if returning or request.source else self._full()

    def _judge(self, request: PushRequest, *, ignore_expiry: bool = False) -> Grant | Refusal:
        if request.source:
            return self._rules.admit_product(request.domain, request.app, request.stream, time.time())
        return self._rules.admit_publish(
            request.domain,
            request.app,
            request.stream,
            request.uri,
            request.token,
            request.client,
            time.time(),
            ignore_expiry=ignore_expiry,
        )


def _to_ask(grant: Grant, request: PushRequest) -> RemoteAuth | None:
    """The rule by which the customer's server must be asked about this push; never about a product."""
    return None if request.source else unanswered(grant.policy.access.remote, request)
