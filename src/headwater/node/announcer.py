"""Announces this worker's live streams in the cluster's store, and keeps their rates up to date there.

An announcement is also the claim to the name: of two workers that take a publisher of one name in the same instant, the store
knows the one that came first, and the other one ends its publisher.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import msgspec
import structlog

from headwater.access.presence import StreamPresence, encode, stream_key
from headwater.cluster.interface import Cluster, ClusterError, Conflict, Lease
from headwater.ingest.session import PublishSession
from headwater.live.stream import LiveStream, StreamKey
from headwater.media import codecs
from headwater.media.errors import MediaError
from headwater.media.tag import VIDEO, Flags
from headwater.node.config import WorkerConfig

UPDATE_S = 5.0
"""How often rates are taken anew."""

YOUNG_S, YOUNG_UPDATE_S = 10.0, 0.5
"""A stream that has begun less than this ago, and whose pictures are not known yet, is looked at more often: it waits to be
recorded, and customers are told its size after two seconds (reference media-plane 5.2).
"""

RETRY_S = 0.5
"""How long to wait when the store cannot be reached; announcements are made up for once it can."""

log = structlog.get_logger()


class Rates:
    """Rates of one publisher's session, from the growth of its sums between two looks."""

    def __init__(self, stream: LiveStream, now: float) -> None:
        self.meter = stream.meter
        self._at = now
        self._sums = (0, 0, 0)
        self.video_kbps = self.audio_kbps = self.frame_rate = 0

    def look(self, now: float) -> None:
        """Take the rates since the last look, unless that was a moment ago."""
        seconds = now - self._at
        if seconds < 1:
            return
        sums = (self.meter.video_bytes, self.meter.audio_bytes, self.meter.frames)
        grown = [new - old for new, old in zip(sums, self._sums, strict=True)]
        self._at, self._sums = now, sums
        self.video_kbps, self.audio_kbps = (round(size * 8 / 1000 / seconds) for size in grown[:2])
        self.frame_rate = round(grown[2] / seconds)


class Announcer:
    """Puts `stream/...` keys under the worker's lease: one for each stream that has a publisher.

    give_up: called for a stream whose name another worker has.
    """

    def __init__(
        self,
        cluster: Cluster,
        lease: Lease,
        config: WorkerConfig,
        loop: asyncio.AbstractEventLoop,
        give_up: Callable[[LiveStream, str], None],
    ) -> None:
        self._give_up = give_up
        self._cluster = cluster
        self._lease = lease
        self._config = config
        self._loop = loop
        self._wanted: dict[StreamKey, LiveStream] = {}
        self._told: dict[StreamKey, tuple[StreamPresence, int]] = {}
        self._rates: dict[StreamKey, Rates] = {}
        self._news = asyncio.Event()
        self._young = False
        self._last_numbers: dict[StreamKey, int] = {}
        self._withdrawn: dict[StreamKey, list[asyncio.Future[None]]] = {}

    def changed(self, stream: LiveStream) -> None:
        """A stream has got or lost its publisher."""
        if stream.publisher is not None and not stream.publisher.remote:
            self._wanted[stream.key] = stream
        elif self._wanted.pop(stream.key, None) is not None:
            self._last_numbers[stream.key] = _hls_number(stream)
        self._news.set()

    async def withdrawn(self, key: StreamKey) -> None:
        """Wait until a stream that has lost its publisher is no longer announced."""
        if key in self._told and key not in self._wanted:
            future: asyncio.Future[None] = self._loop.create_future()
            self._withdrawn.setdefault(key, []).append(future)
            await future

    async def run(self) -> None:
        """Keep the store in step with what is live, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    YOUNG_UPDATE_S if self._young else UPDATE_S
                ):  # not wait_for, which in Python 3.11 can swallow a cancellation
                    await self._news.wait()
            self._news.clear()
            try:
                await self._tell()
            except ClusterError as error:
                log.warning("streams could not be announced", error=str(error))
                self._news.set()
                await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Take everything back."""
        try:
            await self._lease.revoke()
        except ClusterError as error:
            log.warning("the worker's lease was not given back, it will lapse", error=str(error))

    async def _tell(self) -> None:
        for key in [key for key in self._told if key not in self._wanted]:
            last, revision = self._told[key]
            number = self._last_numbers.get(key, 0)
            with contextlib.suppress(Conflict):  # another worker has the name by now
                if number > last.hls_number:  # the next worker must go on above it
                    last = msgspec.structs.replace(last, hls_number=number)
                    revision = await self._cluster.put(
                        stream_key(*key), encode(last), lease=self._lease, expect_revision=revision
                    )
                await self._cluster.delete(stream_key(*key), expect_revision=revision)
            self._forget(key)
        for key in [key for key in self._last_numbers if key not in self._told]:
            del self._last_numbers[key]
        self._young = False
        for key, stream in tuple(self._wanted.items()):
            presence = self._presence(stream)
            if presence is not None and not presence.video_codec_id:
                self._young |= time.time() - presence.published_at < YOUNG_S
            told, revision = self._told.get(key, (None, 0))
            if presence is None or presence == told:
                continue
            try:
                now = await self._cluster.put(stream_key(*key), encode(presence), lease=self._lease, expect_revision=revision)
            except Conflict:
                await self._lose(key, stream)
            else:
                self._told[key] = presence, now

    async def _lose(self, key: StreamKey, stream: LiveStream) -> None:
        """The announcement is not ours any more: the lease had lapsed, or another worker was first."""
        self._forget(key)
        if await self._cluster.get(stream_key(*key)) is None:
            self._news.set()  # nobody has it: announce it anew
        elif self._wanted.get(key) is stream and stream.publisher is not None:
            self._give_up(stream, "another worker")

    def _forget(self, key: StreamKey) -> None:
        self._told.pop(key, None)
        self._rates.pop(key, None)
        self._last_numbers.pop(key, None)
        for future in self._withdrawn.pop(key, ()):
            if not future.done():
                future.set_result(None)

    def _presence(self, stream: LiveStream) -> StreamPresence | None:
        session = stream.publisher
        if not isinstance(session, PublishSession):
            return None
        now = self._loop.time()
        rates = self._rates.get(stream.key)
        if rates is None or rates.meter is not stream.meter:
            rates = self._rates[stream.key] = Rates(stream, now)
        rates.look(now)
        request = session.request
        width = height = video_codec_id = audio_codec_id = 0
        names: list[str] = []
        for tag in stream.headers:
            if not tag.flags & Flags.CONFIG:
                continue
            with contextlib.suppress(MediaError):  # a broken configuration is the viewers' trouble, not ours
                if tag.kind == VIDEO:
                    video = codecs.parse_video_config(tag.payload)
                    if video is not None:
                        width, height, video_codec_id = video.width, video.height, video.codec_id
                        names.append(codecs.video_name(video))
                else:
                    audio = codecs.parse_audio_config(tag.payload)
                    if audio is not None:
                        audio_codec_id = audio.codec_id
                        names.append(codecs.audio_name(audio))
        return StreamPresence(
            domain=stream.key.domain,
            app=stream.key.app,
            stream=stream.key.stream,
            session=session.id,
            publish_domain=request.domain,
            publish_url=request.url,
            published_at=session.published_at,
            client_ip=request.client.origin,
            server_ip=request.server,
            node=self._config.node,
            worker=self._config.index,
            upstream=session.upstream,
            reason=session.reason,
            hls_number=_hls_number(stream),
            codecs=",".join(names) if all(names) else "",
            source=request.source,
            template=request.template,
            width=width,
            height=height,
            frame_rate=rates.frame_rate,
            video_kbps=rates.video_kbps,
            audio_kbps=rates.audio_kbps,
            video_codec_id=video_codec_id,
            audio_codec_id=audio_codec_id,
        )


def _hls_number(stream: LiveStream) -> int:
    """The number that the stream's next HLS segment will have, 0 if none was packed."""
    return stream.hls.next_number if stream.hls is not None else stream.next_hls_number
