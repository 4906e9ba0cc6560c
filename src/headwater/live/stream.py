"""A live stream: one publisher at a time, the ring of its tags, and the outputs that its viewers share."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import NamedTuple, Protocol

import structlog

from headwater.live.dates import Dates
from headwater.live.hls import HlsOutput
from headwater.live.output import Output, Traffic
from headwater.live.packings import PACKINGS, RELAY
from headwater.live.ring import Ring
from headwater.live.viewer import Viewer
from headwater.media import codecs, flv
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Flags, Tag
from headwater.media.timeline import Timeline

FLUSH_S = {"realtime": 0.0, "low": 0.1, "standard": 0.35}
"""The flush interval of each latency profile; 0 flushes after each read of the publisher's socket."""

RELAY_LAG_MS = 10_000
"""A worker that falls further behind than this jumps to a key frame, as any slow viewer does; it is stuck for seconds then."""

IN_STEP_MS = 10_000
"""A product that comes later than this after its source is a delayed one, or not in step any more: it has dates of its own."""

log = structlog.get_logger()


class StreamKey(NamedTuple):
    """A stream's identity everywhere: main streaming domain, app, stream name."""

    domain: str
    app: str
    stream: str

    def __str__(self) -> str:
        return "/".join(self)


class StreamOptions(Protocol):
    """What a stream must know of its domain's policy."""

    @property
    def on_conflict(self) -> str: ...
    @property
    def reconnect_window_s(self) -> float: ...
    @property
    def flush(self) -> str: ...
    @property
    def viewer_lag_s(self) -> float: ...
    @property
    def multi_stream(self) -> bool: ...
    @property
    def viewer_lag_bytes(self) -> int: ...


class Publisher(Protocol):
    """The session that feeds a stream. last_data_at: loop time of the last bytes from the encoder.

    remote: the publisher itself is connected to another worker, and this one pulls its stream from there.
    product: it is a job of the center, which makes this stream of another one, `made_of`; a publisher from outside may take its
    place.
    """

    id: str
    last_data_at: float

    @property
    def remote(self) -> bool: ...
    @property
    def product(self) -> bool: ...
    @property
    def made_of(self) -> StreamKey | None: ...

    def cut(self, reason: str) -> None:
        """End the session from our side."""

    def replaced(self, reason: str) -> None:
        """Another publisher has the stream now: end, or stand by."""


class LiveStream:
    """One stream of the hub; made at its first publish, closed when its reconnect window has passed.

    publisher: None while we wait for it to come back. replica: the last one was `remote`, so the stream is another worker's.
    packed_before: HLS players may know the stream from another packaging, so the next one begins with a discontinuity mark.
    headers: metadata and codec configuration in force now. dates: of the stream's times; a rendition has those of its source.
    tracks: which of `flv.HAS_AUDIO` and `flv.HAS_VIDEO` the publisher has sent. id: of this very stream and its clock.
    """

    def __init__(
        self,
        key: StreamKey,
        options: StreamOptions,
        *,
        ring: Ring,
        traffic: dict[str, Traffic],
        loop: asyncio.AbstractEventLoop,
        hls_delay_s: int,
    ) -> None:
        self.key = key
        self.id = secrets.token_hex(8)
        self.options = options
        self.ring = ring
        self.publisher: Publisher | None = None
        self.replica = False
        self.packed_before = False
        self.timeline = Timeline()
        self.outputs: dict[str, Output] = {}
        self.relays: Output | None = None
        self.hls: HlsOutput | None = None
        self.hls_delay_s = hls_delay_s
        self.next_hls_number = 0
        self.meter = Meter()
        self._traffic = traffic
        self._loop = loop
        self._metadata: Tag | None = None
        self._video_config: Tag | None = None
        self._audio_config: Tag | None = None
        self.headers: tuple[Tag, ...] = ()
        self.tracks = 0
        self._wait_for_key = False
        self._flush_handle: asyncio.Handle | None = None
        self._relay_handle: asyncio.Handle | None = None
        self.dates = Dates()
        self._dated = False
        self._source: LiveStream | None = None
        self._attached_at = 0  # in the ring
        self._own_since = 0  # what the ring holds from before was packed as HLS by another worker

    # The publisher's side

    def attach(self, publisher: Publisher, source: LiveStream | None = None) -> None:
        """A publisher begins, or takes over. Its first video frame must be a key frame; its clock continues the stream's.

        source: what a product is made of, if that is here.
        """
        first = self.publisher is None and self.ring.next == 0
        self.publisher = publisher
        if self.replica:
            self._own_since = self.ring.next
            self.packed_before = True
        self.replica = publisher.remote
        self.timeline.begin_session(as_is=publisher.remote, in_step=publisher.product)
        self._wait_for_key = True
        self._attached_at = self.ring.next
        self.tracks = 0
        self.meter = Meter()
        self._source = source
        self._dated = False
        if not first and self.hls is not None:
            self.hls.discontinuity()

    def write(self, kind: int, wire_timestamp: int, payload: bytes) -> None:
        """Take one message of the publisher into the ring."""
        flags = codecs.classify(kind, payload)
        if kind == VIDEO:
            self.tracks |= flv.HAS_VIDEO
            if self._wait_for_key:
                if flags & Flags.KEY:
                    self._wait_for_key = False
                elif not flags & Flags.CONFIG:
                    return
        elif kind == AUDIO:
            self.tracks |= flv.HAS_AUDIO
        elif not payload:
            return
        tag = Tag(kind, self.timeline.map(kind, wire_timestamp), payload, flags)
        if flags & (Flags.CONFIG | Flags.METADATA) and not self._remember(tag):
            return
        if kind == VIDEO:
            self.meter.video_bytes += len(payload)
            self.meter.frames += not flags & Flags.CONFIG
        elif kind == AUDIO:
            self.meter.audio_bytes += len(payload)
        self.ring.append(tag, self.headers)
        if not self._dated and kind != SCRIPT and not flags & Flags.CONFIG:
            self._begin_dates(tag.timestamp_ms)
        if self._flush_handle is None and (self.outputs or self.hls is not None):
            self._schedule()
        if self.relays is not None and self._relay_handle is None:
            self._relay_handle = self._loop.call_soon(self._flush_relays)

    def attached_ms(self) -> int:
        """Since when all that the ring holds is of the present publisher, or of the last one."""
        own = self.ring.slice(self._attached_at)
        if own:
            return own[0].timestamp_ms
        newest = self.ring.slice(self.ring.next - 1)
        return newest[0].timestamp_ms + 1 if newest else 0

    def note_date(self) -> None:
        """Compare the newest tag's date with its arrival. To be called about once a second."""
        publisher = self.publisher
        if publisher is None or not self._dated:
            return
        newest_ms = self.ring.slice(self.ring.next - 1)[0].timestamp_ms
        arrived_ms = round((time.time() - (self._loop.time() - publisher.last_data_at)) * 1000)
        if self._source is None:
            self.dates.note(newest_ms, arrived_ms)
        elif not _in_step(self.dates, newest_ms, arrived_ms):
            self._source, self.dates = None, Dates()
            self.dates.begin(newest_ms, arrived_ms)

    def _begin_dates(self, time_ms: int) -> None:
        self._dated = True
        now_ms = round(time.time() * 1000)
        if self._source is not None and _in_step(self._source.dates, time_ms, now_ms):
            self.dates = self._source.dates
        else:
            if self._source is not None:
                self._source, self.dates = None, Dates()
            self.dates.begin(time_ms, now_ms)

    def _remember(self, tag: Tag) -> bool:
        """Keep the newest configuration for newcomers; False if it says nothing new, so that nobody need be told."""
        if tag.flags & Flags.METADATA:
            known, self._metadata = self._metadata, tag
        elif tag.kind == VIDEO:
            known, self._video_config = self._video_config, tag
        else:
            known, self._audio_config = self._audio_config, tag
        if known is not None and known.payload == tag.payload:
            return False
        held = (self._metadata, self._video_config, self._audio_config)
        self.headers = tuple(header for header in held if header is not None)
        return True

    # The viewers' side

    def join(self, viewer: Viewer, protocol: str, behind_s: int | None) -> None:
        """Give the stream to a viewer: its beginning and a GOP at once, then everything as it comes.

        behind_s: how far behind the newest tag to start; None for the newest GOP.
        """
        output = self.outputs.get(protocol)
        if output is None:
            output = Output(
                self,
                PACKINGS[protocol],
                self._traffic[protocol],
                lag_ms=int(self.options.viewer_lag_s * 1000),
                lag_bytes=self.options.viewer_lag_bytes,
                clock=self._loop.time,
                on_jump=self._log_jump,
            )
            self.outputs[protocol] = output
        output.join(viewer, self.headers, (behind_s or 0) * 1000)

    def join_relay(self, viewer: Viewer, behind_s: int) -> None:
        """Give the stream to another worker, whose viewers must not wait for two flush intervals: each read is passed on."""
        if self.relays is None:
            self.relays = Output(
                self, RELAY, self._traffic[RELAY.name], lag_ms=RELAY_LAG_MS, clock=self._loop.time, on_jump=self._log_jump
            )
        self.relays.join(viewer, self.headers, behind_s * 1000)

    def leave(self, viewer: Viewer) -> None:
        """Take a viewer out; an output without viewers is dropped."""
        output = viewer.output
        if output is None:
            return
        output.leave(viewer)
        if output is self.relays:
            if not output.viewers:
                self.relays = None
        elif not output.viewers and self.outputs.get(output.packing.name) is output:
            del self.outputs[output.packing.name]

    def viewers(self) -> list[Viewer]:
        """Everybody who watches over a shared output."""
        return [viewer for output in self.outputs.values() for viewer in (*output.ready, *output.behind)]

    def playlist_source(self, now_s: float) -> HlsOutput:
        """The HLS output, begun at the first request with what the ring holds.

        now_s: unix time. The first segment's number is the unix second in which its media came: segments last a second or
        more, so numbers go on upwards across re-publishes, restarts and other nodes, with nothing to store.
        """
        if self.hls is None:
            own = self.ring.slice(self._own_since)
            span_ms = own[-1].timestamp_ms - own[0].timestamp_ms if own else 0
            number = max(int(now_s - span_ms / 1000), self.next_hls_number)
            self.hls = HlsOutput(
                self.key.stream,
                self.ring,
                self.hls_delay_s,
                number,
                since=self._own_since,
                marked=self.packed_before,
                date=lambda time_ms: self.dates.at(time_ms),
            )
            self.packed_before = True
            self.hls.flush(self.headers)
        return self.hls

    def continue_hls(self, number: int) -> None:
        """HLS of this stream was packed elsewhere before: the next packaging has at least this number. 0 if it was not."""
        self.next_hls_number = max(self.next_hls_number, number)
        self.packed_before |= number > 0

    def drop_hls(self) -> None:
        """Stop packaging HLS and forget the segments; a later request begins anew and the numbers go on."""
        if self.hls is not None:
            self.hls.close()
            self.release_hls()

    def release_hls(self) -> None:
        """Stop packaging HLS; who holds the output still has its segments."""
        if self.hls is not None:
            self.next_hls_number = self.hls.next_number
            self.hls = None

    # The life of the stream

    def set_options(self, options: StreamOptions, hls_delay_s: int, behind_s: int = 0) -> None:
        """Take over a changed policy; HLS segments keep their length until packaging begins anew."""
        self.options = options
        self.hls_delay_s = hls_delay_s
        self.ring.reach_back(behind_s)
        for output in self.outputs.values():
            output.lag_ms = int(options.viewer_lag_s * 1000)
            output.lag_bytes = options.viewer_lag_bytes

    def flush(self) -> None:
        """Send what came since the last flush to everybody."""
        self._flush_handle = None
        for output in tuple(self.outputs.values()):
            output.flush()
        if self.hls is not None:
            self.hls.flush(self.headers)

    def detach(self) -> None:
        """The publisher is gone: send what is left; viewers wait for its return."""
        self.publisher = None
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        self.flush()
        self._flush_relays()

    def close(self, reason: str) -> None:
        """The stream is over: every viewer is told, and nothing is kept."""
        self.detach()
        relays = [] if self.relays is None else [*self.relays.ready, *self.relays.behind]
        for viewer in (*self.viewers(), *relays):
            viewer.owner.end_viewer(reason)
        self.outputs.clear()
        self.relays = None

    def _flush_relays(self) -> None:
        if self._relay_handle is not None:
            self._relay_handle.cancel()
            self._relay_handle = None
        if self.relays is not None:
            self.relays.flush()

    def _schedule(self) -> None:
        interval_s = FLUSH_S[self.options.flush]
        if interval_s and (self.outputs or self.hls is not None):
            self._flush_handle = self._loop.call_later(interval_s, self.flush)
        else:
            self._flush_handle = self._loop.call_soon(self.flush)

    def _log_jump(self, viewer: Viewer, skipped_ms: int, skipped_bytes: int) -> None:
        log.info(
            "viewer too slow, jumped to a key frame",
            session=viewer.id,
            stream=str(self.key),
            skipped_ms=skipped_ms,
            skipped_bytes=skipped_bytes,
        )


def _in_step(dates: Dates, time_ms: int, now_ms: int) -> bool:
    date_ms = dates.at(time_ms)
    return date_ms is not None and abs(now_ms - date_ms) <= IN_STEP_MS


class Meter:
    """What the publisher sent: sums since its session began, from which rates are taken."""

    __slots__ = ("audio_bytes", "frames", "video_bytes")

    def __init__(self) -> None:
        self.audio_bytes = 0
        self.video_bytes = 0
        self.frames = 0
