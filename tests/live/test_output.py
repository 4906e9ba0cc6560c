"""Every viewer of an output gets whole tags, begins with a key frame, and never waits for a slower one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.live.output import LAG_BYTES, Output, Traffic
from headwater.live.ring import Ring
from headwater.live.stream import LiveStream
from headwater.live.viewer import Viewer
from headwater.media.tag import VIDEO, Flags, Tag

HEADER = Tag(VIDEO, 0, b"config", Flags.CONFIG)


class TextPacking:
    """Packs tags as readable words."""

    name = "text"

    def start(self, headers: Sequence[Tag], timestamp_ms: int, tracks: int) -> bytes:
        return b"start:" + b",".join(tag.payload for tag in headers) + b";"

    def pack(self, tags: Sequence[Tag]) -> bytes:
        return b"".join(b"%s%d;" % (b"K" if tag.flags & Flags.KEY else b"p", tag.timestamp_ms) for tag in tags)


class Socket:
    """A transport that takes `room` bytes, then pauses its viewer until it is drained, as uvloop's does with high=0."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.got = b""
        self.waiting = b""
        self.viewer: Viewer

    def write(self, data: bytes) -> None:
        assert not self.waiting, "written to while paused"
        self.got += data[: self.room]
        self.waiting = data[self.room :]
        self.room = max(self.room - len(data), 0)
        if self.waiting:
            self.viewer.pause_writing()

    def drain(self, room: int) -> None:
        taken, self.waiting = self.waiting[:room], self.waiting[room:]
        self.got += taken
        self.room = room - len(taken)
        if taken and not self.waiting:
            self.viewer.resume_writing()

    def end_viewer(self, reason: str) -> None: ...

    def abort_viewer(self, reason: str) -> None: ...


class World:
    """A ring, one output and a clock."""

    def __init__(self, lag_ms: int = 10_000, lag_bytes: int = LAG_BYTES) -> None:
        self.ring = Ring(seconds=20, bytes_max=1_000_000)
        self.now = 0
        self.jumps: list[tuple[int, int]] = []
        self.traffic = Traffic()
        self.output = Output(
            cast(LiveStream, SimpleNamespace(ring=self.ring, tracks=0)),
            TextPacking(),
            self.traffic,
            lag_ms=lag_ms,
            lag_bytes=lag_bytes,
            clock=lambda: self.now / 1000,
            on_jump=lambda viewer, skipped_ms, skipped_bytes: self.jumps.append((skipped_ms, skipped_bytes)),
        )

    def play(self, until_ms: int, gop_ms: int = 2000, flush_ms: int = 400) -> None:
        """Let media come until a moment, flushing as the stream would."""
        while self.now < until_ms:
            self.ring.append(Tag(VIDEO, self.now, bytes(10), Flags.KEY if self.now % gop_ms == 0 else 0), (HEADER,))
            self.now += 40
            if self.now % flush_ms == 0:
                self.output.flush()

    def join(self, room: int = 1_000_000, behind_ms: int = 0, *, tls: bool = False) -> Socket:
        socket = Socket(room)
        socket.viewer = Viewer("v", socket, socket, None, ("d", tls))
        self.output.join(socket.viewer, (HEADER,), behind_ms)
        return socket


def times(got: bytes) -> list[int]:
    words = got.decode().split(";")
    assert words[0] == "start:config"
    assert words[-1] == "", "the last tag is torn"
    return [int(word[1:]) for word in words[1:-1]]


def test_who_joins_late_gets_the_newest_gop_at_once() -> None:
    world = World()
    world.play(5000)
    socket = world.join()
    assert socket.got.startswith(b"start:config;K4000;")
    assert times(socket.got)[-1] == 4760, "what was flushed by then"
    world.play(5600)
    assert times(socket.got) == list(range(4000, 5600, 40))


def test_who_joins_makes_no_flush_for_the_others() -> None:
    world = World()
    world.play(2000)
    written: list[bytes] = []
    world.join().viewer.sink = cast(Socket, SimpleNamespace(write=written.append))
    for at in range(2040, 2400, 40):
        world.play(at)
        world.join()
    assert not written
    world.play(2400)
    assert len(written) == 1


def test_who_joins_with_a_delay_starts_at_an_older_key_frame() -> None:
    world = World()
    world.play(9000)
    assert times(world.join(behind_ms=4000).got)[0] == 4000


def test_who_joins_before_the_first_key_frame_starts_with_what_comes() -> None:
    world = World()
    socket = world.join()
    world.play(800)
    assert times(socket.got) == list(range(0, 800, 40))


def test_everybody_gets_the_very_same_bytes_objects() -> None:
    world = World()
    world.play(2000)
    written: list[list[bytes]] = [[], []]
    for record in written:
        socket = world.join()
        socket.viewer.sink = cast(Socket, SimpleNamespace(write=record.append))
    world.play(4000)
    assert written[0]
    assert all(one is other for one, other in zip(*written, strict=True))


def test_a_full_socket_keeps_its_place_and_goes_on_without_a_gap() -> None:
    world = World()
    world.play(2000)
    slow, fast = world.join(), world.join()
    slow.room = 10
    world.play(6000)
    assert world.output.stalled(since=6.0) == [slow.viewer]
    while slow.waiting:
        slow.drain(1_000_000)
    assert slow.got == fast.got
    assert slow.viewer in world.output.ready
    assert not world.jumps


def test_who_falls_behind_the_bound_jumps_to_a_key_frame() -> None:
    world = World(lag_ms=3000)
    world.play(2000)
    slow = world.join()
    slow.room = 10
    world.play(9000)
    while slow.waiting:
        slow.drain(1_000_000)
    seen = times(slow.got)
    gaps = [after for before, after in pairwise(seen) if after - before != 40]
    assert gaps == [8000]
    assert slow.viewer.jumps == 1
    assert (world.traffic.jumps, world.traffic.jumped) == (1, 1)
    assert world.jumps == [(slow.viewer.skipped_ms, slow.viewer.skipped_bytes)]
    assert slow.viewer.skipped_ms > 3000
    missed = b"".join(b"%s%d;" % (b"p" if at % 2000 else b"K", at) for at in range(8000 - slow.viewer.skipped_ms, 8000, 40))
    assert slow.viewer.skipped_bytes == world.traffic.skipped_bytes == len(missed)


def test_a_bound_in_bytes_makes_a_viewer_jump_too() -> None:
    world = World(lag_bytes=300)
    world.play(2000)
    slow, fast = world.join(), world.join()
    slow.room = 10
    world.play(7000)
    while slow.waiting:
        slow.drain(1_000_000)
    seen = times(slow.got)
    assert [after for before, after in pairwise(seen) if after - before != 40] == [6000]
    assert slow.viewer.jumps == 1
    assert len(fast.got) - len(slow.got) == slow.viewer.skipped_bytes > 300


def test_a_delay_that_the_domain_wants_is_not_held_against_a_viewer() -> None:
    world = World(lag_ms=1000, lag_bytes=100)
    world.play(9000)
    late = world.join(room=10, behind_ms=6000)
    while late.waiting:
        late.drain(100)
    assert times(late.got)[0] == 2000
    assert not late.viewer.jumps


def test_every_byte_that_was_sent_is_counted_once_for_its_viewer_and_its_payer() -> None:
    world = World(lag_ms=3000)
    world.play(1000)
    sockets = [world.join(), world.join(room=10), world.join(tls=True)]
    for at in range(2000, 30_000, 1000):
        world.play(at)
        if at % 5000 == 0:
            world.output.settle()
            sockets[1].drain(1_000_000)
            sockets[1].room = 10
        if at == 20_000:
            sockets[2].viewer.leave()
    world.output.settle()
    assert sockets[1].viewer.jumps
    for socket in sockets:
        assert socket.viewer.bytes_out == len(socket.got) + len(socket.waiting)
    sizes = [socket.viewer.bytes_out for socket in sockets]
    assert world.traffic.sent == {("d", False): sizes[0] + sizes[1], ("d", True): sizes[2]}
    assert world.traffic.bytes_out == sum(sizes)


def test_a_slow_viewer_costs_the_others_nothing() -> None:
    world = World()
    world.play(2000)
    stuck, fast = world.join(), world.join()
    stuck.room = 0
    world.play(40_000)
    assert times(fast.got)[-1] == 39_960
    assert world.output.ready == {fast.viewer}


def test_nothing_is_kept_of_who_has_left() -> None:
    world = World()
    world.play(2000)
    sockets = [world.join(), world.join(room=3)]
    for socket in sockets:
        socket.viewer.leave()
    assert world.output.viewers == 0
    world.play(4000)
    assert times(sockets[0].got)[-1] < 2000


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.integers(1, 15)), max_size=60),
    st.sampled_from([800, 2000, 5000]),
    st.sampled_from([1000, 4000]),
)
def test_no_pace_of_reading_tears_a_tag_or_runs_time_back(steps: list[tuple[int, int, int]], gop_ms: int, lag_ms: int) -> None:
    world = World(lag_ms)
    world.play(1000, gop_ms)
    sockets = [world.join(room) for room in (1_000_000, 50, 0, 5)]
    for which, room, count in steps:
        world.play(world.now + 40 * count, gop_ms)
        if sockets[which].waiting or sockets[which].room < room:
            sockets[which].drain(room)
    for socket in sockets:
        for _ in range(1000):
            if not socket.waiting:
                break
            socket.drain(100_000)
        seen = times(socket.got)
        assert seen == sorted(set(seen))
        assert all(after - before == 40 or after % gop_ms == 0 for before, after in pairwise(seen))
    assert times(sockets[0].got)[-1] == world.ring.slice(0)[-1].timestamp_ms or world.now % 400
