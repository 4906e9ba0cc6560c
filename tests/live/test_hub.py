"""Publishers come, go, return and replace one another; viewers and HLS numbers do not notice more than they must."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import ClassVar

import pytest

from headwater.access.policy import Session
from headwater.live.hub import Busy, Hub, Undecided
from headwater.live.stream import LiveStream, StreamKey
from headwater.live.viewer import Viewer
from headwater.media import flv
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Tag

KEY = StreamKey("play.test", "live", "s")
CONFIG, OTHER_CONFIG = b"\x17\x00\x00\x00\x00one", b"\x17\x00\x00\x00\x00two"
KEY_FRAME, FRAME, SOUND = b"\x17\x01\x00\x00\x00k", b"\x27\x01\x00\x00\x00p", b"\xaf\x01a"
OPTIONS = Session()
METADATA = b"\x02\x00\x0aonMetaData\x05"


class Push:
    """A publisher that writes 25 frames a second."""

    remote = False
    product = False
    made_of: StreamKey | None = None

    def __init__(self, hub: Hub, name: str = "one") -> None:
        self.id = name
        self.hub = hub
        self.last_data_at = 0.0
        self.cut_for: str | None = None
        self.stream: LiveStream
        self.clock = 0

    def start(self, options: Session = OPTIONS, config: bytes = CONFIG, asked_at: float = 1000.0, key: StreamKey = KEY) -> Push:
        self.stream = self.hub.publish(key, self, options, 15, asked_at)
        self.stream.write(SCRIPT, self.clock, METADATA)
        self.stream.write(VIDEO, self.clock, config)
        return self

    def frames(self, count: int, first: bytes = KEY_FRAME) -> Push:
        for index in range(count):
            self.stream.write(VIDEO, self.clock & 0xFFFFFFFF, FRAME if index else first)
            self.clock += 40
        return self

    def end(self) -> None:
        self.hub.unpublish(self.stream, self)

    def cut(self, reason: str) -> None:
        self.cut_for = reason
        self.end()

    def replaced(self, reason: str) -> None:
        self.cut(reason)


class Job(Push):
    """A job of the center that makes KEY's rendition."""

    product = True
    made_of = KEY
    made = StreamKey("play.test", "live", "s_sd")


class Player:
    """A viewer over HTTP-FLV."""

    def __init__(self, stream: LiveStream) -> None:
        self.reader = flv.Reader()
        self.tags: list[Tag] = []
        self.ended_for: str | None = None
        self.viewer = Viewer("v", self, self, None, ("play.test", False))
        stream.join(self.viewer, "flv", None)

    def write(self, data: bytes) -> None:
        self.tags += self.reader.feed(data)

    def end_viewer(self, reason: str) -> None:
        self.ended_for = reason
        self.viewer.leave()

    def abort_viewer(self, reason: str) -> None:
        self.end_viewer(reason)

    def of(self, payload: bytes) -> list[int]:
        return [tag.timestamp_ms for tag in self.tags if tag.payload == payload]


@pytest.fixture
async def clock() -> SimpleNamespace:
    return SimpleNamespace(now=1000.0)


@pytest.fixture
async def hub(clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Hub:
    loop = SimpleNamespace(time=lambda: clock.now, call_later=lambda *_: Timer(*_), call_soon=lambda *_: Timer(0, *_))
    made = Hub(
        loop,  # type: ignore[arg-type]
        ring_seconds=20,
        ring_bytes=10_000_000,
        takeover_after_s=3,
        silence_s=10,
        stalled_s=30,
    )
    Timer.all.clear()
    return made


class Timer:
    """What call_later gives; `fire` runs those of a method."""

    all: ClassVar[list[Timer]] = []

    def __init__(self, delay: float, call: Callable[..., None], *arguments: object) -> None:
        self.delay, self.call, self.arguments, self.cancelled = delay, call, arguments, False
        Timer.all.append(self)

    def cancel(self) -> None:
        self.cancelled = True

    @classmethod
    def fire(cls, name: str) -> None:
        for timer in [timer for timer in cls.all if timer.call.__name__ == name and not timer.cancelled]:
            timer.cancelled = True
            timer.call(*timer.arguments)


async def test_a_second_push_of_a_live_name_is_refused(hub: Hub, clock: SimpleNamespace) -> None:
    first = Push(hub).start()
    first.last_data_at = clock.now + 0.25
    with pytest.raises(Busy):
        Push(hub, "two").start()
    assert first.cut_for is None
    assert hub.streams[KEY].publisher is first


async def test_a_second_push_waits_while_the_first_shows_no_life(hub: Hub, clock: SimpleNamespace) -> None:
    first = Push(hub).start()
    first.last_data_at = clock.now - 0.5
    with pytest.raises(Undecided):
        Push(hub, "two").start()
    first.end()
    assert Push(hub, "two").start().stream.publisher is not first


async def test_a_push_silent_for_three_seconds_is_replaced(hub: Hub, clock: SimpleNamespace) -> None:
    first = Push(hub).start()
    first.last_data_at = clock.now - 3.0
    second = Push(hub, "two").start()
    assert first.cut_for is not None
    assert hub.streams[KEY].publisher is second


async def test_a_domain_may_let_the_newer_push_win(hub: Hub, clock: SimpleNamespace) -> None:
    first = Push(hub).start()
    first.last_data_at = clock.now
    second = Push(hub, "two").start(Session(on_conflict="takeover"))
    assert first.cut_for is not None
    first.end()
    assert hub.streams[KEY].publisher is second


async def test_ten_seconds_without_data_end_a_push(hub: Hub, clock: SimpleNamespace) -> None:
    push = Push(hub).start()
    push.last_data_at = clock.now
    clock.now += 9.9
    hub.sweep()
    assert push.cut_for is None
    clock.now += 0.1
    hub.sweep()
    assert push.cut_for == "no data for 10 s"


async def test_viewers_stay_and_time_goes_on_when_the_publisher_returns(hub: Hub) -> None:
    first = Push(hub)
    first.clock = 5_000_000
    first.start().frames(50)
    player = Player(first.stream)
    first.end()
    assert player.ended_for is None
    second = Push(hub, "two")
    second.clock = 17
    second.start().frames(50)
    second.stream.flush()
    times = player.of(KEY_FRAME) + player.of(FRAME)
    assert player.ended_for is None
    assert sorted(times) == list(range(min(times), min(times) + 100 * 40, 40))


async def test_a_returning_publisher_begins_with_a_key_frame(hub: Hub) -> None:
    first = Push(hub).start().frames(10)
    player = Player(first.stream)
    first.end()
    Push(hub, "two").start().frames(10, first=b"\x27\x01\x00\x00\x00torn").stream.flush()
    assert player.of(b"\x27\x01\x00\x00\x00torn") == []
    assert len(player.of(KEY_FRAME)) == 1


async def test_configuration_is_repeated_to_viewers_only_when_it_changes(hub: Hub) -> None:
    first = Push(hub).start().frames(10)
    player = Player(first.stream)
    first.end()
    second = Push(hub, "two").start().frames(10)
    second.end()
    Push(hub, "three").start(config=OTHER_CONFIG).frames(10).stream.flush()
    assert len(player.of(CONFIG)) == 1
    assert len(player.of(OTHER_CONFIG)) == 1


async def test_viewers_are_told_when_the_window_has_passed_and_nothing_stays(hub: Hub) -> None:
    push = Push(hub).start(Session(reconnect_window_s=7)).frames(10)
    player = Player(push.stream)
    push.end()
    assert [timer.delay for timer in Timer.all if timer.call.__name__ == "end"] == [7]
    Timer.fire("end")
    assert player.ended_for == "the publisher did not return"
    assert not hub.streams
    assert all(timer.cancelled for timer in Timer.all)


async def test_without_a_window_viewers_end_with_the_push(hub: Hub) -> None:
    push = Push(hub).start(Session(reconnect_window_s=0)).frames(10)
    player = Player(push.stream)
    push.end()
    assert player.ended_for is not None
    assert not hub.streams


async def test_hls_goes_on_after_a_return_and_ends_with_the_stream(hub: Hub) -> None:
    asyncio.get_running_loop()
    push = Push(hub).start()
    for _ in range(8):
        push.frames(50)
    output = hub.hls(KEY)
    assert output is not None
    before = output.playlist()[0].decode()
    push.end()
    second = Push(hub, "two").start()
    for _ in range(8):
        second.frames(50)
    second.stream.flush()
    after = output.playlist()[0].decode()
    assert "#EXT-X-DISCONTINUITY\n" not in before
    assert after.count("#EXT-X-DISCONTINUITY\n") == 1
    second.end()
    Timer.fire("end")
    ended = hub.hls(KEY)
    assert ended is output
    assert ended.playlist()[0].endswith(b"#EXT-X-ENDLIST\n")
    Timer.fire("_drop_tail")
    assert hub.hls(KEY) is None


async def test_hls_stops_when_nobody_asks_and_its_numbers_go_on(hub: Hub, clock: SimpleNamespace) -> None:
    push = Push(hub).start()
    for _ in range(8):
        push.frames(50)
    push.last_data_at = clock.now + 1000
    output = hub.hls(KEY)
    assert output is not None
    number = output.next_number
    output.asked_at = clock.now - 61
    hub.sweep()
    assert hub.streams[KEY].hls is None
    again = hub.hls(KEY)
    assert again is not None
    assert again is not output
    assert again.next_number > number


async def test_a_viewer_who_takes_nothing_is_ended(hub: Hub, clock: SimpleNamespace) -> None:
    push = Push(hub).start().frames(10)
    push.last_data_at = clock.now + 1000
    player = Player(push.stream)
    player.viewer.pause_writing()
    clock.now += 29
    hub.sweep()
    assert player.ended_for is None
    clock.now += 2
    hub.sweep()
    assert player.ended_for == "took no data for 30 s"


async def test_audio_alone_is_a_stream_too(hub: Hub) -> None:
    push = Push(hub)
    push.stream = hub.publish(KEY, push, Session(), 15, 1000.0)
    for ms in range(0, 3000, 20):
        push.stream.write(AUDIO, ms, SOUND)
    assert Player(push.stream).of(SOUND)[0] == 2000


async def test_a_name_is_handed_over_to_another_worker_under_the_same_rules(hub: Hub, clock: SimpleNamespace) -> None:
    push = Push(hub).start()
    player = Player(push.stream)
    push.last_data_at = clock.now
    with pytest.raises(Undecided):
        hub.hand_over(KEY, "other", takeover=False, asked_at=push.last_data_at)
    with pytest.raises(Busy):
        hub.hand_over(KEY, "other", takeover=False, asked_at=push.last_data_at - 1)
    hub.hand_over(KEY, "other", takeover=True, asked_at=push.last_data_at)
    assert push.cut_for == "another publisher took over"
    assert hub.streams[KEY].publisher is None
    assert player.ended_for is None


async def test_a_stream_that_is_pulled_gives_way_to_a_publisher_of_its_own(hub: Hub, clock: SimpleNamespace) -> None:
    relay = Push(hub, "relay")
    relay.remote = True
    relay.clock = 50_000
    relay.start().frames(10)
    player = Player(relay.stream)
    assert player.of(KEY_FRAME) == [50_000]  # the times are the other worker's
    push = Push(hub).start()
    assert relay.cut_for is not None
    push.frames(10)
    push.stream.flush()
    assert player.of(KEY_FRAME) == [50_000, 50_000 + 9 * 40 + 40]
    assert not push.stream.replica


async def test_a_pulled_stream_is_not_ended_for_its_silence_nor_packed_as_hls(hub: Hub, clock: SimpleNamespace) -> None:
    relay = Push(hub, "relay")
    relay.remote = True
    relay.start().frames(3)
    relay.last_data_at = clock.now - 1000
    hub.sweep()
    assert relay.cut_for is None
    assert hub.hls(KEY) is None


async def test_a_rendition_has_the_dates_of_its_source(
    hub: Hub, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.live.stream.time.time", lambda: clock.now + 1_795_434_000)
    push, job = Push(hub).start().frames(1), Job(hub)
    clock.now += 0.8  # the encoder's delay
    job.start(key=Job.made).frames(25)
    push.frames(24)
    clock.now += 0.2
    push.last_data_at = job.last_data_at = clock.now
    hub.sweep()
    assert job.stream.dates.at(480) == push.stream.dates.at(480) == 1_795_435_000_480


async def test_a_product_that_is_delayed_on_purpose_has_dates_of_its_own(
    hub: Hub, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.live.stream.time.time", lambda: clock.now + 1_795_434_000)
    push, job = Push(hub).start().frames(1), Job(hub)
    clock.now += 60
    job.start(key=Job.made).frames(25)
    assert push.stream.dates.at(480) == 1_795_435_000_480
    assert job.stream.dates.at(480) == 1_795_435_060_480


async def test_a_rendition_that_falls_far_behind_gets_dates_of_its_own(
    hub: Hub, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.live.stream.time.time", lambda: clock.now + 1_795_434_000)
    push = Push(hub).start().frames(1)
    job = Job(hub).start(key=Job.made).frames(25)
    clock.now += 20
    push.last_data_at, job.last_data_at = clock.now - 20, clock.now
    hub.sweep()
    assert push.stream.dates.at(960) == 1_795_435_000_960
    assert job.stream.dates.at(960) == 1_795_435_020_000
