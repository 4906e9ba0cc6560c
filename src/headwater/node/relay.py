"""The relay between workers: one worker has a stream's publisher, the others pull it once and fan it out themselves.

A worker that pulls a stream gives its hub a publisher that is `remote`; for viewers there is no difference. The stream's
worker is found in the directory, so a stream may change its worker at any time: the others pull it from the new one, and
their viewers stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import structlog

from headwater.access.policy import Policy
from headwater.access.presence import StreamPresence
from headwater.delivery.hls_cache import Fetched
from headwater.delivery.hls_viewers import Play
from headwater.live.hub import Busy, Hub, Undecided
from headwater.live.stream import LiveStream, StreamKey
from headwater.media import flv
from headwater.media.errors import MediaError
from headwater.media.tag import Flags, Tag
from headwater.media.timeline import before
from headwater.node import peers
from headwater.node.directory import Directory
from headwater.node.peers import PeerError
from headwater.observe.log import session_id

if TYPE_CHECKING:
    from headwater.access.verdict import Rules

FIRST_DATA_S = 3.0
"""How long a pull may take to hand over the stream's last GOP: megabytes over a Unix socket, on a busy machine."""

PULL_AGAIN_S = 0.25
"""Pause before a stream is pulled again from a worker that closed the pull, or could not be reached."""

IDLE_S = 10.0
"""A stream that nobody here has watched for so long is no longer pulled."""

TOLD_AT_ONCE_BYTES = 8 * 1024
"""HLS viewers told of in one message to another worker: with the last one they must fit into a request's line of 16 kB."""

WAITING_MAX = 5_000
"""Requests that may wait at once for a publisher that is not there (yet); the others are told at once that it is not."""

HEAD_MAX_BYTES = 4096

log = structlog.get_logger()


class Pull(asyncio.Protocol):
    """One stream as it comes from another worker. It is the stream's publisher here.

    source: the other worker's index. free_since: loop time since when that worker's stream has been without its publisher.
    ready: set once the last GOP is in the ring, so that viewers start with it, or once the pull has failed.
    """

    remote = True
    product = False
    made_of = None

    def __init__(self, relay: Relay, key: StreamKey, source: int, loop: asyncio.AbstractEventLoop) -> None:
        self.id = session_id()
        self.key = key
        self.source = source
        self.last_data_at = loop.time()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.stream: LiveStream | None = None
        self.status = 0
        self.free_since: float | None = None
        self._relay = relay
        self._head = b""
        self._reader: flv.Reader | None = None
        self._newest_ms = 0
        self._skip_until_ms: int | None = None
        self._closed = False
        self._transport: asyncio.Transport | None = None

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The other worker is there: ask for the stream."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by type
        if self._closed:
            self._transport.abort()
            return
        target = f"{peers.stream_path('relay', self.key)}?behind_s={self._relay.behind_s(self.key)}"
        self._transport.write(peers.request(target))

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer."""
        if self._reader is None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                if len(self._head) > HEAD_MAX_BYTES:
                    self.close()
                return
            self._head = b""
            if not self._begin(head):
                return
        assert self._reader is not None
        try:
            tags = self._reader.feed(data)
        except MediaError as error:
            log.error("a relayed stream is broken", stream=str(self.key), error=str(error))
            self.close()
            return
        stream = self.stream
        if stream is None:
            return
        for tag in tags:
            if self._skip_until_ms is None or not self._is_known(tag):
                stream.write(tag.kind, tag.timestamp_ms, tag.payload)
        if not self.ready.done() and (self._newest_ms < 0 or (tags and tags[-1].timestamp_ms >= self._newest_ms)):
            self.ready.set_result(None)

    def _is_known(self, tag: Tag) -> bool:
        """Whether a frame is from before the publisher came to the other worker: viewers here have seen what was then."""
        assert self._skip_until_ms is not None
        if tag.flags & (Flags.CONFIG | Flags.METADATA):
            return False
        known = before(tag.timestamp_ms, self._skip_until_ms)
        if not known and tag.timestamp_ms != self._skip_until_ms:
            self._skip_until_ms = None
        return known

    def connection_lost(self, exc: Exception | None) -> None:
        """The other worker has no more of this stream, or is gone."""
        self.close()

    def _begin(self, head: bytes) -> bool:
        self.status, headers = peers.parse_head(head)
        if self.status != 200:
            self.close()
            return False
        self._newest_ms = int(headers.get("x-newest-ms", "-1"))
        self._reader = flv.Reader()
        self.stream = self._relay.begun(self)
        if self.stream is None:
            self.close()
        elif self.stream.ring.next:
            self._skip_until_ms = int(headers.get("x-session-ms", "0"))
        return self.stream is not None

    # the end

    def cut(self, reason: str) -> None:
        """End the pull from our side."""
        self.close()

    def replaced(self, reason: str) -> None:
        """A publisher has come to this worker."""
        self.close()

    def close(self) -> None:
        """Stop pulling; the stream here waits for what comes next."""
        if self._closed:
            return
        self._closed = True
        if self._transport is not None:
            self._transport.abort()
        if not self.ready.done():
            self.ready.set_result(None)
        self._relay.ended(self)


class Relay:
    """All pulls of a worker, and whoever waits for a stream that is not here (yet).

    wait_s: how long a request waits for a publisher that nobody knows. waiting: how many wait now.
    on_free: told when another worker's stream has lost its publisher.
    """

    def __init__(
        self,
        hub: Hub,
        rules: Rules,
        loop: asyncio.AbstractEventLoop,
        *,
        node: str,
        index: int,
        wait_s: float,
        on_free: Callable[[StreamKey], None] = lambda key: None,
    ) -> None:
        self._on_free = on_free
        self.directory = Directory(node, index, loop.time, self._moved)
        self._hub = hub
        self._rules = rules
        self._loop = loop
        self._wait_s = wait_s
        self._pulls: dict[StreamKey, Pull] = {}
        self._idle_since: dict[StreamKey, float] = {}
        self._again: dict[StreamKey, asyncio.TimerHandle] = {}
        self._waiting: dict[StreamKey, set[asyncio.Future[None]]] = {}
        self.waiting = 0
        self._questions: dict[str, asyncio.Task[int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._pulls)

    # for players

    def find(self, key: StreamKey) -> LiveStream | Awaitable[LiveStream | None] | None:
        """The stream, if it is here; otherwise what to wait for, or None if waiting is in vain."""
        stream = self._hub.streams.get(key)
        if stream is not None:
            pull = self._pulls.get(key)
            if pull is None or pull.ready.done():
                return stream
        elif self.directory.source(key) is None and not self.may_wait():
            return None
        return self._find_later(key)

    async def _find_later(self, key: StreamKey) -> LiveStream | None:
        deadline = self._loop.time() + self._wait_s
        while not self._closed:
            source = self.directory.source(key)
            if source is not None and (key not in self._hub.streams or key in self._pulls):
                pull = self._pull(key, source)
                await asyncio.wait([pull.ready], timeout=FIRST_DATA_S)
            stream = self._hub.streams.get(key)
            if stream is not None:
                return stream
            if not await self.appears(key, deadline):
                return None
        return None

    def may_wait(self) -> bool:
        """Whether one more request may wait for a publisher."""
        return self._wait_s > 0 and self.waiting < WAITING_MAX

    async def appears(self, key: StreamKey, deadline: float) -> bool:
        """Wait until something has changed about a stream; False if nothing has until that loop time."""
        left_s = deadline - self._loop.time()
        if left_s <= 0:
            return False
        future: asyncio.Future[None] = self._loop.create_future()
        waiting = self._waiting.setdefault(key, set())
        waiting.add(future)
        self.waiting += 1
        try:
            await asyncio.wait([future], timeout=left_s)
            return future.done()
        finally:
            self.waiting -= 1
            waiting.discard(future)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]

    @property
    def deadline(self) -> float:
        """The loop time until which a request that comes now may wait for its publisher."""
        return self._loop.time() + self._wait_s

    def elsewhere(self, key: StreamKey) -> bool:
        """Whether another worker has the stream now."""
        return self.directory.elsewhere(key) is not None

    def announced(self, key: StreamKey) -> StreamPresence | None:
        """A stream of this machine as its worker announces it; None if it is not live."""
        return self.directory.announced(key)

    def known_elsewhere(self, key: StreamKey) -> bool:
        """Whether another worker has the stream, or had it a moment ago."""
        return self.directory.source(key) is not None or self.directory.before(key) is not None

    async def fetch(self, key: StreamKey, what: str) -> Fetched | None:
        """Ask the worker that has a stream, or else the one that had it before. what: `playlist?query` or `segment?name`."""
        kind, _, query = what.partition("?")
        answer = None
        for index in (self.directory.source(key), self.directory.before(key)):
            said = await self._ask(index, f"{peers.stream_path(kind, key)}?{query}")
            if said is not None:
                answer = Fetched(said.status, said.body, said.headers.get("x-tengine-error", ""))
                if said.status == 200:
                    break
        return answer

    # for HLS viewers, who come to one worker after the other

    async def ask_home(self, index: int, viewer: int) -> bool:
        """Whether the worker at which an HLS viewer is counted knows it."""
        answer = await self._ask(index, f"/hls-viewer?{viewer:x}")
        return answer is not None and answer.status == 200

    async def tell_homes(self, guests: dict[int, dict[int, Play]]) -> None:
        """Tell other workers which of their HLS viewers were here."""
        for index, viewers in guests.items():
            told: list[str] = []
            size = 0
            for viewer, play in viewers.items():
                told.append(f"{viewer:x},{quote(play.stream)},{quote(play.client)}")
                size += len(told[-1]) + 1
                if size >= TOLD_AT_ONCE_BYTES:
                    await self._ask(index, f"/hls-viewers?{';'.join(told)}", "POST")
                    told, size = [], 0
            if told:
                await self._ask(index, f"/hls-viewers?{';'.join(told)}", "POST")

    async def _ask(self, index: int | None, target: str, method: str = "GET") -> peers.Answer | None:
        socket = self.directory.socket(index) if index is not None else None
        if socket is None:
            return None
        try:
            return await peers.ask(socket, target, method)
        except PeerError as error:
            log.info("another worker could not be asked", worker=index, error=str(error))
            return None

    # for encoders

    def claim(self, key: StreamKey, session: str, asked_at: float, *, takeover: bool, product: bool = False) -> int:
        """Make sure that no other worker has the publisher of this name. Returns the number with which HLS must go on, or 0.

        Raises Busy, or Undecided while that is asked.

        session: who asks; as in `Hub.publish`, the same question is repeated until it is decided.
        """
        owner = self.directory.elsewhere(key)
        if owner is None:
            self._questions.pop(session, None)
            return self.directory.hls_number(key)
        question = self._questions.get(session)
        if question is None or (question.done() and not _refused(question)):
            self._questions[session] = self._loop.create_task(
                self._ask_owner(key, owner, session, asked_at, takeover=takeover, product=product)
            )
            raise Undecided
        if question.done():
            del self._questions[session]
            raise Busy("the stream is being published on another worker")
        raise Undecided

    def unclaim(self, session: str) -> None:
        """A session that asked has gone."""
        question = self._questions.pop(session, None)
        if question is not None:
            question.cancel()

    async def _ask_owner(
        self, key: StreamKey, owner: int, session: str, asked_at: float, *, takeover: bool, product: bool
    ) -> int:
        """The answer's status: 409 if the name is kept. A dead owner is soon forgotten."""
        ago_ms = round((self._loop.time() - asked_at) * 1000)
        query = f"by={session}&takeover={int(takeover)}&product={int(product)}&asked_ms_ago={ago_ms}"
        target = f"{peers.stream_path('hand-over', key)}?{query}"
        answer = await self._ask(owner, target, "POST")
        return answer.status if answer is not None else 0

    # what happens

    def changed(self, stream: LiveStream) -> None:
        """A stream here has got or lost its publisher."""
        self.wake(stream.key)
        if stream.publisher is None and self.directory.elsewhere(stream.key) is not None:
            self._follow(stream.key)

    def begun(self, pull: Pull) -> LiveStream | None:
        """A pull has its first bytes: the stream is here now. None if it is not wanted any more."""
        key = pull.key
        policy = self._policy(key)
        if self._pulls.get(key) is not pull or policy is None:
            return None
        stream = self._hub.streams.get(key)
        if stream is not None and stream.publisher is not None:
            return None  # its publisher is here
        latency = policy.latency
        stream = self._hub.publish(key, pull, policy.session, latency.hls_delay_s, self._loop.time(), behind_s=latency.behind_s)
        log.info("stream is pulled", session=pull.id, stream=str(key), worker=pull.source)
        return stream

    def ended(self, pull: Pull) -> None:
        """A pull is over (called by the pull)."""
        key = pull.key
        if self._pulls.get(key) is pull:
            del self._pulls[key]
        if pull.status == 404 and self.directory.elsewhere(key) is None:
            self.directory.forget(key)
        if pull.stream is not None:
            waited_s = self._loop.time() - pull.free_since if pull.free_since is not None else 0.0
            self._hub.unpublish(pull.stream, pull, waited_s)
        stream = self._hub.streams.get(key)
        if stream is not None and stream.publisher is None and not self._closed and key not in self._again:
            self._again[key] = self._loop.call_later(PULL_AGAIN_S, self._follow, key)

    def behind_s(self, key: StreamKey) -> int:
        """How far behind the newest tag a pull must begin, for the sake of the viewers who want to start there."""
        policy = self._policy(key)
        return policy.latency.behind_s if policy is not None else 0

    def sweep(self) -> None:
        """Let go of what nobody watches any more. To be called about once a second."""
        now = self._loop.time()
        self.directory.sweep()
        for key, pull in tuple(self._pulls.items()):
            stream = pull.stream
            if stream is None or stream.outputs or stream.relays is not None:
                self._idle_since.pop(key, None)
            elif now - self._idle_since.setdefault(key, now) > IDLE_S:
                pull.close()
                self._hub.end(stream, "nobody watches it here")
        for key in [key for key in self._idle_since if key not in self._pulls]:
            del self._idle_since[key]

    async def close(self) -> None:
        """End every pull and every wait."""
        self._closed = True
        for timer in self._again.values():
            timer.cancel()
        for pull in tuple(self._pulls.values()):
            pull.close()
        for key in tuple(self._waiting):
            self.wake(key)
        tasks = [*self._tasks, *self._questions.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _moved(self, key: StreamKey) -> None:
        """The directory has another worker for a stream."""
        self.wake(key)
        pull = self._pulls.get(key)
        if pull is not None:
            pull.free_since = self._free_since(key)
        if self.directory.elsewhere(key) is not None:
            self._follow(key)
        else:
            self._on_free(key)

    def _follow(self, key: StreamKey) -> None:
        """Pull a stream that waits here for its publisher from the worker that has it now."""
        timer = self._again.pop(key, None)
        if timer is not None:
            timer.cancel()
        stream = self._hub.streams.get(key)
        source = self.directory.elsewhere(key)
        if stream is None or source is None or self._closed:
            return
        pull = self._pulls.get(key)
        if pull is not None and pull.source != source:
            pull.close()  # comes back here by its timer, or goes on below
        if stream.publisher is None:
            self._pull(key, source)

    def _pull(self, key: StreamKey, source: int) -> Pull:
        """The pull of a stream, begun unless it runs."""
        pull = self._pulls.get(key)
        if pull is None:
            pull = self._pulls[key] = Pull(self, key, source, self._loop)
            pull.free_since = self._free_since(key)
            task = self._loop.create_task(self._connect(pull))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return pull

    def _free_since(self, key: StreamKey) -> float | None:
        return self._loop.time() if self.directory.elsewhere(key) is None else None

    async def _connect(self, pull: Pull) -> None:
        path = self.directory.socket(pull.source)
        try:
            if path is None:
                raise FileNotFoundError(f"worker {pull.source} is not up")
            await self._loop.create_unix_connection(lambda: pull, path)
        except OSError as error:
            log.info("a stream could not be pulled", stream=str(pull.key), worker=pull.source, error=str(error))
            pull.close()

    def _policy(self, key: StreamKey) -> Policy | None:
        return self._rules.policy(key.domain)

    def wake(self, key: StreamKey) -> None:
        """Let everybody who waits for a stream look again."""
        for future in self._waiting.get(key, ()):
            if not future.done():
                future.set_result(None)


def _refused(question: asyncio.Task[int]) -> bool:
    return not question.cancelled() and question.result() == 409
