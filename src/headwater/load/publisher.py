"""A publisher: sends the clip round and round over RTMP at its own pace, one write for each tag, as encoders do."""

from __future__ import annotations

import asyncio
import heapq
import time
from typing import cast

from headwater.load.clip import Clip
from headwater.load.faults import Fault
from headwater.load.session import Run, Session
from headwater.protocols import rtmp

CHUNK_BYTES = 4096
"""As OBS sends."""

TIMER_S = 0.001
"""uvloop's timers count milliseconds: what is due within one is due."""

_GOLDEN = (5**0.5 - 1) / 2
"""Each publisher begins so much of a GOP after the one before, round and round: key frames of any number of publishers are
spread evenly, as those of encoders that know nothing of each other are."""


class Pacer:
    """Wakes all publishers of a process in time, with one timer: one for each tag of each would cost as much as the tags."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: list[tuple[float, int, Publisher]] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, at: float, publisher: Publisher) -> None:
        """Call the publisher's `send_due` at this moment, and again whenever it says."""
        heapq.heappush(self._due, (at, publisher.number, publisher))
        if self._due[0][2] is publisher:
            self._arm()

    def close(self) -> None:
        """Wake nobody any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self.close()
        if self._due:
            self._timer = self._loop.call_at(self._due[0][0], self._wake)

    def _wake(self) -> None:
        due, now = self._due, time.monotonic()
        while due and due[0][0] <= now + TIMER_S:
            _, number, publisher = due[0]
            again_at = publisher.send_due(now)
            if again_at is None:
                heapq.heappop(due)
            else:
                heapq.heapreplace(due, (again_at, number, publisher))
        self._arm()


class Publisher(Session, asyncio.Protocol):
    """One publisher."""

    def __init__(self, run: Run, number: int, clip: Clip, pacer: Pacer) -> None:
        super().__init__(run, number)
        self._pacer = pacer
        self._target = run.plan.target(number)
        self._clip = clip
        self._engine = rtmp.ClientConnection(self._target.rtmp_app, self._target.tc_url, chunk_size_out=CHUNK_BYTES)
        self._transport: asyncio.Transport | None = None
        self._position = 0
        self._lap_ms = 0
        self._start_at = 0.0
        self._stall_s = run.plan.stall_s
        self._paused = False  # the socket takes nothing
        self._waiting = False  # for that to change, while tags are due

    async def _run(self) -> None:
        await self.run.connect(lambda: self, self._target)

    def _close(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._start_at and not self._paused:
            self._engine.end()
            self._write(self._engine.data_to_send())
            transport.close()
        else:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by type
        if self.ended:
            self._transport.abort()
            return
        # uvloop would gather writes otherwise. A TLS transport counts "at the limit" as full, so its limit cannot be zero.
        self._transport.set_write_buffer_limits(high=1 if self._target.tls else 0, low=0)
        self._write(self._engine.data_to_send())

    def data_received(self, data: bytes) -> None:
        """Answers of the server."""
        if self.ended:
            return
        self.tally.received_bytes += len(data)
        try:
            for event in self._engine.receive_data(data):
                self._handle(event)
            self._write(self._engine.data_to_send())
        except rtmp.RemoteProtocolError as error:
            self.fail(Fault("protocol", str(error)))
        except Fault as fault:
            self.fail(fault)

    def _handle(self, event: rtmp.ClientEvent) -> None:
        match event:
            case rtmp.ConnectAccepted():
                self._engine.publish(self._target.rtmp_name)
            case rtmp.ConnectRejected(code, description):
                raise Fault("refused", f"{code}: {description}")
            case rtmp.StatusReceived(code, level, description):
                if level == "error":
                    raise Fault("ended" if self._start_at else "refused", f"{code}: {description}")
                if code == "NetStream.Publish.Start" and not self._start_at:
                    self._start()
            case _:
                pass

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed the connection, or we have."""
        self.fail(Fault("ended", "the server closed the connection" + (f": {exc}" if exc is not None else "")))

    def pause_writing(self) -> None:
        """The server does not read: like an encoder we wait."""
        self._paused = True

    def resume_writing(self) -> None:
        """The server reads again: what was due in the meantime is sent now."""
        self._paused = False
        if self._waiting:
            self._waiting = False
            self._pacer.add(time.monotonic(), self)

    def _start(self) -> None:
        """Accepted: the headers, and from a moment within the next GOP on the frames."""
        self.first(time.time_ns() // 1000)
        for tag in self._clip.headers:
            self._engine.send_tag(tag.kind, 0, tag.payload)
        self._start_at = time.monotonic() + self.number * _GOLDEN % 1 * self._clip.gop_ms / 1000
        self._pacer.add(self._start_at, self)

    def send_due(self, now: float) -> float | None:
        """Send all tags whose time has come. When the next is due; None if this publisher cannot go on."""
        clip, engine = self._clip, self._engine
        while not self.ended:
            frame = clip.frames[self._position]
            timestamp_ms = self._lap_ms + frame.timestamp_ms
            due_at = self._start_at + timestamp_ms / 1000
            if due_at > now + TIMER_S:
                return due_at
            if self._paused:
                self._waiting = True
                return None
            engine.send_tag(frame.kind, timestamp_ms, clip.payload(frame, time.time_ns() // 1000))
            self._write(engine.data_to_send())
            self.tally.tags += 1
            self.media(now, self._stall_s)
            self._position += 1
            if self._position == len(clip.frames):
                self._position = 0
                self._lap_ms += clip.duration_ms
        return None

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self.tally.sent_bytes += len(data)
            self._transport.write(data)
