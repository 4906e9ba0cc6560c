"""The stream's own clock: turns the 32-bit timestamps of one publisher after another into one timeline that only grows.

Each of audio and video has a clock, which is a pair: a wire timestamp and the time that it means. As long as the wire goes
on in small steps, so does the timeline. A step that cannot be real is a jump of the publisher's clock (an encoder that
restarts a file, a source that is switched), and the track gets a new clock: that of the other track if the tag fits
there, because the other one has made the same jump already and audio must stay with video; otherwise one that goes on
right after the track's last tag.
"""

from __future__ import annotations

from headwater.media.tag import AUDIO, SCRIPT, VIDEO

FRAME_MS = 40
"""The step over a gap whose true length is unknown (a reconnect, a jump): one frame at 25 frames a second."""

JUMP_FORWARD_MS = 10_000
"""A longer step is no pause: a publisher that is silent for 10 s is ended (reference media-plane 5.2)."""

JUMP_BACK_MS = 1_000
"""A step back up to this is disorder, as careless muxers cause, and is held at the last time; a longer one is a restart."""

_HALF = 1 << 31
_MASK = (1 << 32) - 1


def before(wire_ms: int, other_ms: int) -> bool:
    """Whether one timestamp comes before another one that is near, though the wire has only 32 bits of them."""
    return (wire_ms - other_ms) & _MASK >= _HALF


class _Clock:
    """One track's clock. wire: the furthest wire timestamp, which means `time_ms`; last_ms: the last time given out.

    `last_ms` is ahead of `time_ms` only while a track waits for its clock to catch up.
    """

    __slots__ = ("last_ms", "running", "time_ms", "wire")

    def __init__(self) -> None:
        self.wire = 0
        self.time_ms = 0
        self.last_ms = 0
        self.running = False

    def at(self, wire: int) -> int:
        """What a wire timestamp means on this clock."""
        return self.time_ms + ((wire - self.wire + _HALF) & _MASK) - _HALF

    def set(self, wire: int, time_ms: int) -> int:
        """Go on from this pair; the time to give out."""
        self.wire = wire
        self.time_ms = time_ms
        self.last_ms = max(self.last_ms, time_ms)
        self.running = True
        return self.last_ms


class Timeline:
    """Maps the timestamps of a stream's publishers to its timeline in ms, which starts at 0 and never runs back in a track.

    corrections: how often a track's clock had to be set anew within a session.
    """

    def __init__(self) -> None:
        self.corrections = 0
        self._clocks = {AUDIO: _Clock(), VIDEO: _Clock()}
        self._script_ms = 0
        self._started = False
        self._as_is = False
        self._in_step = False

    def begin_session(self, *, as_is: bool = False, in_step: bool = False) -> None:
        """A publisher begins, or has come back: its first tag follows one frame after the last that was given out.

        as_is: the very first tag keeps its timestamp, for these are another timeline's already. in_step: so do those of later
        sessions unless they would run back, for this stream must stay in step with the one that it is made of.
        """
        self._as_is = as_is or in_step
        self._in_step = in_step
        for clock in self._clocks.values():
            clock.running = False

    def map(self, kind: int, wire_timestamp: int) -> int:
        """The time of a tag (AUDIO, VIDEO or SCRIPT) on the stream's timeline."""
        if kind == SCRIPT:
            return self._map_script(wire_timestamp)
        clock = self._clocks[kind]
        if clock.running:
            step = ((wire_timestamp - clock.wire + _HALF) & _MASK) - _HALF
            if 0 <= step <= JUMP_FORWARD_MS:
                clock.wire = wire_timestamp
                clock.time_ms = time_ms = clock.time_ms + step
                if time_ms > clock.last_ms:
                    clock.last_ms = time_ms
                    return time_ms
                return clock.last_ms
            if -JUMP_BACK_MS <= step < 0:
                return clock.last_ms
        return self._set_clock(clock, wire_timestamp)

    def _set_clock(self, clock: _Clock, wire: int) -> int:
        audio, video = self._clocks[AUDIO], self._clocks[VIDEO]
        other = video if clock is audio else audio
        newest = max(audio.last_ms, video.last_ms)
        if clock.running:
            # The track was silent for long while the other one went on: the clock was right all the time.
            time_ms = clock.at(wire)
            if _continues(time_ms, newest):
                return clock.set(wire, time_ms)
            self.corrections += 1
            if other.running:
                time_ms = other.at(wire)
                if _continues(time_ms, clock.last_ms) or _continues(time_ms, newest):
                    return clock.set(wire, time_ms)
            # After its own last tag, so that the other track can follow with the same shift; a track that fell behind
            # long ago has nothing to go on from but the stream.
            own = clock.last_ms if clock.last_ms >= newest - JUMP_BACK_MS else newest
            return clock.set(wire, own + FRAME_MS)
        if other.running:
            # The second track of a session: tracks may begin seconds apart, in either order.
            time_ms = other.at(wire)
            if abs(time_ms - newest) <= JUMP_FORWARD_MS:
                return clock.set(wire, time_ms)
            self.corrections += 1
            return clock.set(wire, newest)
        if self._started:
            first = max(wire, newest + FRAME_MS) if self._in_step else newest + FRAME_MS
        else:
            first = wire if self._as_is else 0
        self._started = True
        return clock.set(wire, first)

    def _map_script(self, wire: int) -> int:
        """Script tags go along: encoders send them at 0 or anything else, so no clock is ever set by one."""
        clocks = self._clocks.values()
        newest = max(clock.last_ms for clock in clocks)
        meant = next((clock.at(wire) for clock in clocks if clock.running), newest)
        self._script_ms = max(self._script_ms, meant if _continues(meant, newest) else newest)
        return self._script_ms


def _continues(time_ms: int, last_ms: int) -> bool:
    return -JUMP_BACK_MS <= time_ms - last_ms <= JUMP_FORWARD_MS
