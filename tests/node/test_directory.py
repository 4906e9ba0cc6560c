"""The directory knows who has a stream, who had it, and with which number its HLS must go on."""

from __future__ import annotations

import time

import msgspec

from headwater.access.presence import StreamPresence, WorkerPresence, encode, stream_key
from headwater.live.stream import StreamKey
from headwater.node.directory import HLS_NUMBERS_APART, REMEMBERED_S, Directory

KEY = StreamKey("play.test", "live", "cam")
PATH = stream_key(*KEY)


class Told:
    """The directory of worker 0 of node `n`, with a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.changes: list[StreamKey] = []
        self.directory = Directory("n", 0, lambda: self.now, self.changes.append)

    def owner(self, worker: int, *, node: str = "n", hls_number: int = 0) -> None:
        self.directory.stream_changed(
            PATH,
            encode(StreamPresence(*KEY, "s", "push.test", "rtmp://", 0.0, "::1", "::1", node, worker, hls_number=hls_number)),
        )

    def gone(self) -> None:
        self.directory.stream_changed(PATH, None)


def test_a_stream_of_another_worker_is_elsewhere_and_ones_own_is_not() -> None:
    told = Told()
    assert told.directory.elsewhere(KEY) is None
    told.owner(1)
    assert (told.directory.elsewhere(KEY), told.directory.source(KEY)) == (1, 1)
    told.owner(0)
    assert (told.directory.elsewhere(KEY), told.directory.source(KEY)) == (None, None)
    assert told.changes == [KEY, KEY]


def test_news_of_the_same_worker_are_no_change() -> None:
    told = Told()
    told.owner(1)
    told.owner(1, hls_number=5)
    assert told.changes == [KEY]


def test_streams_of_other_machines_are_not_ours() -> None:
    told = Told()
    told.owner(1, node="other")
    assert told.directory.source(KEY) is None


def test_the_last_worker_is_remembered_for_a_while() -> None:
    told = Told()
    told.owner(2)
    told.owner(1)
    assert told.directory.before(KEY) == 2
    told.gone()
    assert (told.directory.elsewhere(KEY), told.directory.source(KEY)) == (None, 1)
    told.now += REMEMBERED_S + 1
    told.directory.sweep()
    assert told.directory.source(KEY) is None


def test_a_worker_may_say_that_the_stream_is_gone() -> None:
    told = Told()
    told.owner(1)
    told.gone()
    told.directory.forget(KEY)
    assert told.directory.source(KEY) is None


def test_hls_goes_on_above_what_another_worker_has_numbered_until_the_clock_is_ahead() -> None:
    told = Told()
    assert told.directory.hls_number(KEY) == 0
    number = int(time.time())
    told.owner(1, hls_number=number)
    told.gone()
    told.directory.sweep()
    assert told.directory.hls_number(KEY) == number + HLS_NUMBERS_APART
    told.owner(1, hls_number=number - 100_000)
    told.gone()
    told.directory.sweep()
    assert told.directory.hls_number(KEY) == 0


def test_workers_come_and_go() -> None:
    told = Told()
    told.directory.worker_changed("worker/n/1", msgspec.json.encode(WorkerPresence(7, "/run/worker-1.sock")))
    told.directory.worker_changed("worker/other/2", msgspec.json.encode(WorkerPresence(8, "/elsewhere")))
    assert told.directory.socket(1) == "/run/worker-1.sock"
    assert told.directory.socket(2) is None
    told.directory.worker_changed("worker/n/1", None)
    assert told.directory.socket(1) is None
