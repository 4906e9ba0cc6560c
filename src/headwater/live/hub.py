"""The hub: every live stream of this process, and the rules by which publishers come, go and replace one another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from headwater.live.hls import HlsOutput
from headwater.live.output import Traffic
from headwater.live.packings import PACKINGS, RELAY
from headwater.live.ring import Ring
from headwater.live.stream import LiveStream, Publisher, StreamKey, StreamOptions

HLS_IDLE_S = 60.0
"""HLS packaging stops when nobody has asked for a playlist or segment for so long; several reloads of the slowest player."""

HLS_TAIL_S = 30.0
"""How long the last playlist, with its end mark, and the last segments stay after a stream has ended."""

HANDOVER_S = 5.0
"""Viewers wait at least so long for a stream whose publisher has gone over to another worker: it must be found and pulled."""

UNDER_WAY_S = 0.2
"""What comes from a publisher so soon after another one has asked for its name was under way before: no sign of life."""

log = structlog.get_logger()


class Busy(Exception):
    """The name is live already, and its publisher neither silent nor to be replaced."""


class Undecided(Exception):
    """The name is live already, but its publisher has shown no life since the question was asked: ask again in a moment.

    It may be an encoder that has lost its network and is returning, before the end of its old connection is noticed here.
    """


class Hub:
    """All streams of one worker.

    ring_seconds, ring_bytes: size of each stream's ring. takeover_after_s: a publisher silent for so long may be replaced.
    silence_s: a publisher silent for so long is ended. stalled_s: a viewer who takes nothing for so long is ended.
    on_change: told when a stream gets or loses its publisher, or its HLS begins (for the announcement in the cluster).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        ring_seconds: float,
        ring_bytes: int,
        takeover_after_s: float,
        silence_s: float,
        stalled_s: float,
        on_change: Callable[[LiveStream], None] = lambda stream: None,
    ) -> None:
        self.streams: dict[StreamKey, LiveStream] = {}
        self.traffic = {name: Traffic() for name in PACKINGS}
        self.relay_traffic = Traffic()
        self._all_traffic = self.traffic | {RELAY.name: self.relay_traffic}
        self.corrections = 0
        self.on_change = on_change
        self._loop = loop
        self._ring_seconds = ring_seconds
        self._ring_bytes = ring_bytes
        self._takeover_after_s = takeover_after_s
        self._silence_s = silence_s
        self._stalled_s = stalled_s
        self._windows: dict[StreamKey, asyncio.TimerHandle] = {}
        self._tails: dict[StreamKey, tuple[HlsOutput, asyncio.TimerHandle]] = {}

    def publish(
        self,
        key: StreamKey,
        publisher: Publisher,
        options: StreamOptions,
        hls_delay_s: int,
        asked_at: float,
        *,
        behind_s: int = 0,
        takeover: bool | None = None,
    ) -> LiveStream:
        """Give a name to a publisher. Raises Busy if another one has it and keeps it, Undecided if that is not known yet.

        asked_at: loop time at which the publisher asked for the first time. behind_s: how far back viewers may begin.
        takeover: whether a publisher that is well may be replaced; None: as the options say.
        """
        if takeover is None:
            takeover = options.on_conflict == "takeover"
        stream = self.streams.get(key)
        if stream is not None and stream.publisher is not None:
            self._check_room(stream.publisher, takeover, asked_at, product=publisher.product)
            self._replace(stream, publisher.id)
        if stream is None:
            stream = LiveStream(
                key,
                options,
                ring=Ring(self._ring_seconds, self._ring_bytes),
                traffic=self._all_traffic,
                loop=self._loop,
                hls_delay_s=hls_delay_s,
            )
            self.streams[key] = stream
        window = self._windows.pop(key, None)
        if window is not None:
            window.cancel()
        stream.set_options(options, hls_delay_s, behind_s)
        stream.attach(publisher, self.streams.get(publisher.made_of) if publisher.made_of is not None else None)
        if stream.replica and stream.hls is not None:  # its owner packs it from now on
            self._keep_tail(stream.key, stream.hls)
            stream.release_hls()
        self.on_change(stream)
        return stream

    def hand_over(self, key: StreamKey, by: str, *, takeover: bool, asked_at: float, product: bool = False) -> None:
        """Give up a name to session `by` of another worker; viewers wait until the stream can be pulled from there.

        takeover: whether a publisher that is well may be replaced. product: the session is one. Raises as `publish` does.
        """
        stream = self.streams.get(key)
        if stream is None or stream.publisher is None or stream.replica:
            return
        self._check_room(stream.publisher, takeover, asked_at, product=product)
        self.give_up(stream, by)

    def give_up(self, stream: LiveStream, by: str) -> None:
        """A stream's publisher here must go, for another worker has one; viewers wait until it can be pulled from there."""
        publisher = stream.publisher
        if publisher is None:
            return
        self._lose(stream, max(stream.options.reconnect_window_s, HANDOVER_S))
        log.info("publisher replaced", session=publisher.id, stream=str(stream.key), by=by)
        publisher.replaced("another publisher took over")

    def _check_room(self, holder: Publisher, takeover: bool, asked_at: float, *, product: bool) -> None:
        """Raises Busy or Undecided unless the holder of a name may be replaced.

        product: the newcomer is a product, which may take the place of another product, but never that of an encoder.
        """
        if holder.remote or holder.product:
            return
        busy = Busy(f"the stream is being published by session {holder.id}")
        if product:
            raise busy
        if takeover or self._loop.time() - holder.last_data_at >= self._takeover_after_s:
            return
        if holder.last_data_at > asked_at + UNDER_WAY_S:
            raise busy
        raise Undecided

    def _replace(self, stream: LiveStream, by: str) -> None:
        """End a stream's publisher; another one follows at once, so nobody else need know."""
        replaced, stream.publisher = stream.publisher, None
        assert replaced is not None
        if not replaced.remote:
            log.info("publisher replaced", session=replaced.id, stream=str(stream.key), by=by)
        replaced.replaced("another publisher took over")

    def unpublish(self, stream: LiveStream, publisher: Publisher, waited_s: float = 0) -> None:
        """A publisher's session has ended: viewers wait for its return. One that was replaced before changes nothing.

        waited_s: how long they have waited already, at the worker whose stream this one repeats.
        """
        if stream.publisher is publisher:
            self._lose(stream, max(stream.options.reconnect_window_s - waited_s, 0))

    def _lose(self, stream: LiveStream, window_s: float) -> None:
        if stream.options.multi_stream:
            window_s = max(window_s, HANDOVER_S)  # one who stands by may take over
        stream.detach()
        self.corrections += stream.timeline.corrections
        stream.timeline.corrections = 0
        self.on_change(stream)
        if window_s > 0:
            self._windows[stream.key] = self._loop.call_later(window_s, self.end, stream, "the publisher did not return")
        else:
            self.end(stream, "the publisher ended the stream")

    def end(self, stream: LiveStream, reason: str) -> None:
        """End a stream for good: publisher and viewers are told, and only the end of its HLS playlist stays for a while."""
        if self.streams.get(stream.key) is not stream:
            return
        del self.streams[stream.key]
        window = self._windows.pop(stream.key, None)
        if window is not None:
            window.cancel()
        publisher = stream.publisher
        stream.close(reason)
        if publisher is not None:
            publisher.cut(reason)
            self.on_change(stream)
        if stream.hls is not None:
            stream.hls.end()
            self._keep_tail(stream.key, stream.hls)
        if not stream.replica:
            log.info("stream ended", stream=str(stream.key), reason=reason)

    def hls(self, key: StreamKey) -> HlsOutput | None:
        """The HLS output of a stream that is live, or that has ended a moment ago."""
        stream = self.streams.get(key)
        if stream is not None and not stream.replica:
            begun = stream.hls is None
            output = stream.playlist_source(time.time())
            if begun:
                self.on_change(stream)
            return output
        tail = self._tails.get(key)
        return tail[0] if tail is not None else None

    def hls_if_active(self, key: StreamKey) -> HlsOutput | None:
        """As `hls`, but begins nothing: for segments, which only a playlist can have named."""
        stream = self.streams.get(key)
        if stream is not None and stream.hls is not None:
            return stream.hls
        tail = self._tails.get(key)
        return tail[0] if tail is not None else None

    def sweep(self) -> None:
        """End what has been silent or stalled for too long. To be called about once a second."""
        now = self._loop.time()
        for stream in tuple(self.streams.values()):
            publisher = stream.publisher
            if publisher is not None and not publisher.remote and now - publisher.last_data_at >= self._silence_s:
                publisher.cut(f"no data for {self._silence_s:g} s")
            stream.note_date()
            for output in tuple(stream.outputs.values()):
                for viewer in output.stalled(now - self._stalled_s):
                    viewer.owner.abort_viewer(f"took no data for {self._stalled_s:g} s")
            if stream.hls is not None and now - stream.hls.asked_at > HLS_IDLE_S:
                stream.drop_hls()

    def close(self, reason: str) -> None:
        """End every stream."""
        for stream in tuple(self.streams.values()):
            self.end(stream, reason)
        for key in tuple(self._tails):
            self._drop_tail(key)

    def _keep_tail(self, key: StreamKey, output: HlsOutput) -> None:
        self._drop_tail(key)
        self._tails[key] = (output, self._loop.call_later(HLS_TAIL_S, self._drop_tail, key))

    def _drop_tail(self, key: StreamKey) -> None:
        tail = self._tails.pop(key, None)
        if tail is not None:
            tail[1].cancel()
            tail[0].close()
